//! `cargo xtask generate`: reference files made from the program itself, so that they cannot disagree with it.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use anyhow::{Context as _, bail};
use clap::Args;

use crate::shell;

#[derive(Args)]
pub(crate) struct Options {
    /// Change nothing; fail when a file is not up to date.
    #[arg(long)]
    check: bool,
}

/// What `tollway reference <name>` prints, and where it is kept.
const FILES: [(&str, &str); 5] = [
    ("config-schema", "docs/reference/config.schema.json"),
    ("config", "docs/reference/config.md"),
    ("openapi", "docs/reference/openapi.json"),
    ("providers", "docs/reference/providers.md"),
    ("cli", "docs/reference/cli.md"),
];

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    shell::step("build tollway", shell::cargo().args(["build", "--workspace", "--bins"]))?;
    let program = shell::target_directory()?.join("debug/tollway");
    let mut stale = Vec::new();
    for (name, path) in FILES {
        let mut command = Command::new(&program);
        // Help texts wrap at the terminal's width where there is one.
        command.args(["reference", name]).current_dir(shell::root()).env("COLUMNS", "100");
        let fresh = shell::read(&mut command).with_context(|| format!("cannot make {path}"))?;
        let full = shell::root().join(path);
        let kept = fs::read_to_string(&full).unwrap_or_default();
        if kept == fresh {
            continue;
        }
        if options.check {
            println!("{path} is not up to date:\n{}", difference(&kept, &fresh));
            stale.push(path);
            continue;
        }
        if let Some(folder) = full.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&full, fresh).with_context(|| format!("cannot write {path}"))?;
        println!("wrote {path}");
    }
    if !stale.is_empty() {
        bail!("{} not up to date; run `cargo xtask generate` and commit the result", stale.join(", "));
    }
    Ok(())
}

/// Where two texts begin to differ, and by how much.
fn difference(kept: &str, fresh: &str) -> String {
    const SHOWN: usize = 5;
    let (kept, fresh): (Vec<_>, Vec<_>) = (kept.lines().collect(), fresh.lines().collect());
    let same = kept.iter().zip(&fresh).take_while(|(kept, fresh)| kept == fresh).count();
    let (kept_rest, fresh_rest) =
        (kept.get(same..).unwrap_or_default(), fresh.get(same..).unwrap_or_default());
    let same_end =
        kept_rest.iter().rev().zip(fresh_rest.iter().rev()).take_while(|(kept, fresh)| kept == fresh).count();
    let mut text = format!("  from line {}:\n", same + 1);
    for (sign, rest) in [('-', kept_rest), ('+', fresh_rest)] {
        let changed = rest.get(..rest.len() - same_end).unwrap_or_default();
        for line in changed.iter().take(SHOWN) {
            let _ = writeln!(text, "  {sign} {line}");
        }
        if changed.len() > SHOWN {
            let _ = writeln!(text, "  {sign} … {} more lines", changed.len() - SHOWN);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kept: &str, fresh: &str, expected: &str) {
        assert_eq!(difference(kept, fresh), expected);
    }

    #[test]
    fn the_difference_shows_only_what_changed() {
        check("a\nb\nc", "a\nx\nc", "  from line 2:\n  - b\n  + x\n");
        check("a\nc", "a\nb\nc", "  from line 2:\n  + b\n");
        check("", "a\n", "  from line 1:\n  + a\n");
        check(
            "1\n2\n3\n4\n5\n6\n7",
            "",
            "  from line 1:\n  - 1\n  - 2\n  - 3\n  - 4\n  - 5\n  - … 2 more lines\n",
        );
        check("a\na", "a", "  from line 2:\n  - a\n");
    }
}

//! Running other programs: shown to the user as they go, their output kept for counting.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, PipeReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Instant;

use anyhow::{Context as _, bail};

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    // The manifest is in `<root>/xtask`.
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// Cargo, started in the root: the one that runs us, so that toolchain choices carry over.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Where cargo puts what it builds.
pub(crate) fn target_directory() -> anyhow::Result<PathBuf> {
    let output = cargo().args(["metadata", "--format-version=1", "--no-deps"]).output()?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let directory = metadata.get("target_directory").and_then(|value| value.as_str());
    Ok(directory.context("cargo metadata names no target directory")?.into())
}

/// Is the program on the path?
pub(crate) fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Runs `command` to its end under the title `title`, showing its output; fails when it fails.
pub(crate) fn step(title: &str, command: &mut Command) -> anyhow::Result<()> {
    let start = begin(title);
    let status = command.status().with_context(|| cannot_start(command))?;
    end(title, start, status)
}

/// Like [`step`], and returns what the program printed, line by line, whether it succeeded or not.
pub(crate) fn watched(title: &str, command: &mut Command) -> anyhow::Result<(ExitStatus, Vec<String>)> {
    let start = begin(title);
    let (reader, writer) = std::io::pipe()?;
    let mut child =
        command.stdout(writer.try_clone()?).stderr(writer).spawn().with_context(|| cannot_start(command))?;
    // Our copies of the writing end would keep the pipe open after the program has ended.
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let lines = echo(reader)?;
    let status = child.wait()?;
    // A failure is the caller's to report, together with the count of tests.
    if status.success() {
        end(title, start, status)?;
    }
    Ok((status, lines))
}

/// Runs `command` quietly and returns its standard output as text.
pub(crate) fn read(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| cannot_start(command))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Prints every line as it comes and keeps it without colours.
fn echo(reader: PipeReader) -> anyhow::Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    let mut screen = std::io::stdout();
    while reader.read_until(b'\n', &mut line)? > 0 {
        screen.write_all(&line)?;
        screen.flush()?;
        lines.push(plain(&String::from_utf8_lossy(&line)));
        line.clear();
    }
    Ok(lines)
}

/// `line` without terminal colours and white space at its ends.
fn plain(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        text.push_str(before);
        rest = after.split_once(|char: char| char.is_ascii_alphabetic()).map_or("", |(_, tail)| tail);
    }
    text.push_str(rest);
    text.trim().to_owned()
}

fn begin(title: &str) -> Instant {
    println!("==> {title}");
    Instant::now()
}

fn end(title: &str, start: Instant, status: ExitStatus) -> anyhow::Result<()> {
    let seconds = start.elapsed().as_secs_f64();
    if !status.success() {
        bail!("{title}: {status} after {seconds:.1} s");
    }
    println!("<== {title}: {seconds:.1} s");
    Ok(())
}

fn cannot_start(command: &Command) -> String {
    format!("cannot start `{}`", AsRef::<OsStr>::as_ref(command.get_program()).to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_removed() {
        fn check(line: &str, expected: &str) {
            assert_eq!(plain(line), expected);
        }
        check("plain\n", "plain");
        check("\u{1b}[32m3 passed\u{1b}[0m in 0.1s", "3 passed in 0.1s");
        check("  \u{1b}[1;31mred\u{1b}[0m and \u{1b}[2mdim\u{1b}[0m", "red and dim");
        check("cut off \u{1b}[3", "cut off");
    }

    #[test]
    fn output_is_kept_even_when_the_program_fails() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; exit 3"]);
        let (status, lines) = watched("a failing program", &mut command).unwrap();
        assert_eq!((status.code(), lines.join(" ")), (Some(3), "one two".to_owned()));
    }
}

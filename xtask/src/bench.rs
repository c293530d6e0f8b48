//! `cargo xtask bench`: builds the benchmark and the gateway as users get it, and runs the one on the other.

use std::process::Command;

use anyhow::{Context as _, bail};

use crate::shell;

/// Builds and runs the benchmark with `options`, of which only `--profile` is read here.
pub(crate) fn run(mut options: Vec<String>) -> anyhow::Result<()> {
    let profile = take(&mut options, "--profile")?.unwrap_or_else(|| "release".to_owned());
    let has =
        |name: &str| options.iter().any(|option| option == name || option.starts_with(&format!("{name}=")));
    let needs_gateway = !["--bare-only", "--gateway", "--help", "-h"].into_iter().any(has);

    let mut build = shell::cargo();
    build.args(["build", "--bins", "--profile", &profile, "--package", "tollway-bench"]);
    // The scenario `cluster` has its servers started by this.
    build.args(["--package", "tollway-testkit"]);
    if needs_gateway {
        build.args(["--package", "tollway-gateway"]);
    }
    shell::step(&format!("build with profile {profile}"), &mut build)?;
    // Cargo calls the folder of its `dev` profile `debug`.
    let folder = if profile == "dev" { "debug" } else { &profile };
    let program = shell::target_directory()?.join(folder).join("bench");
    let status = Command::new(&program)
        .args(&options)
        .status()
        .with_context(|| format!("cannot start {}", program.display()))?;
    if !status.success() {
        bail!("the benchmark ended with {status}");
    }
    Ok(())
}

/// Removes `--name VALUE` or `--name=VALUE` from `options` and returns the value.
fn take(options: &mut Vec<String>, name: &str) -> anyhow::Result<Option<String>> {
    let Some(at) = options.iter().position(|option| option.split('=').next() == Some(name)) else {
        return Ok(None);
    };
    let option = options.remove(at);
    if let Some((_, value)) = option.split_once('=') {
        return Ok(Some(value.to_owned()));
    }
    if at >= options.len() {
        bail!("{name} needs a value");
    }
    Ok(Some(options.remove(at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &str, value: Option<&str>, rest: &str) {
        let mut options: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        assert_eq!(take(&mut options, "--profile").unwrap().as_deref(), value, "{words}");
        assert_eq!(options.join(" "), rest, "{words}");
    }

    #[test]
    fn an_option_is_taken_wherever_it_is() {
        check("", None, "");
        check("--quick", None, "--quick");
        check("--quick --profile perf --only chat", Some("perf"), "--quick --only chat");
        check("--profile=dist --quick", Some("dist"), "--quick");
        assert!(take(&mut vec!["--profile".to_owned()], "--profile").is_err());
    }
}

//! `cargo xtask ci`: what the automatic checks run.

use std::process::Command;

use crate::shell;

pub(crate) fn run() -> anyhow::Result<()> {
    shell::step("every check", Command::new(".ci/run").current_dir(shell::root()))
}

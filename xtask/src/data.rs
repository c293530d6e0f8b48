//! `cargo xtask generate-data`: a large database. How a gateway that has it is asked: docs/performance.md.

use std::path::PathBuf;

use crate::shell;

/// What to make.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The database: a path for SQLite, or a URL. What is in it already is kept [default: `large.db` in the target
    /// directory].
    #[arg(long)]
    database: Option<String>,
    /// Keys that it holds in the end.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Receipts that it holds in the end.
    #[arg(long, default_value_t = 10_000_000)]
    receipts: u64,
}

/// Fills the database.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let usual = || -> anyhow::Result<PathBuf> { Ok(shell::target_directory()?.join("large.db")) };
    let database = match &options.database {
        Some(database) => database.clone(),
        None => usual()?.display().to_string(),
    };
    let mut command = shell::cargo();
    command.args(["run", "--release", "--package", "tollway-ledger", "--example", "large", "--", "fill"]);
    command.arg(&database).args([options.keys.to_string(), options.receipts.to_string()]);
    shell::step(&format!("keys and receipts in {database}"), &mut command)
}

//! The binary `tollway`.

mod admin_key;
mod alerts;
mod board;
mod calm;
mod catalog;
mod chat;
mod check;
mod cli;
mod data_dir;
mod db;
mod foreign_flags;
mod keys;
mod ledger;
mod log;
mod models;
mod output;
mod reference;
mod reload;
mod salt_key;
mod serve;
mod services;
mod spend;
mod state;
mod welcome;
mod why;

use std::process::ExitCode;

use clap::Parser;

/// Small and fast to build; long-running processes keep less memory than with the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cli.run() {
        Ok(code) => code,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

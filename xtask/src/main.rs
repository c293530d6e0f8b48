//! The project's own tasks.
//!
//! ```text
//! cargo xtask test       every test: Rust, Python clients, Node clients
//! cargo xtask generate   reference files made from the program itself
//! cargo xtask deny       licences, banned crates, sources
//! cargo xtask ci         everything the automatic checks run
//! cargo xtask bench      the gateway beside a bare proxy, in one run
//! cargo xtask soak       a million mixed calls, watching memory
//! cargo xtask generate-data  a large database, and how long it takes to answer
//! ```
#![expect(
    clippy::print_stdout,
    reason = "progress and results on standard output are what a task runner is for"
)]

mod bench;
mod ci;
mod count;
mod data;
mod deny;
mod generate;
mod services;
mod shell;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own tasks.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Options {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run every test of the project, installing and starting what they need.
    Test(test::Options),
    /// Write the reference files that are made from the program itself.
    Generate(generate::Options),
    /// Fill a database with a million keys and ten million receipts, and measure it.
    GenerateData(data::Options),
    /// Check licences, banned crates and sources with cargo-deny.
    Deny,
    /// Run everything the automatic checks run (`.ci/run`).
    Ci,
    /// Measure the gateway beside a bare proxy; `--help` lists the options.
    #[command(disable_help_flag = true)]
    Bench {
        /// Options of the benchmark.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Make a million mixed calls and watch memory: `bench --only soak`.
    #[command(disable_help_flag = true)]
    Soak {
        /// Options of the benchmark, `--calls N` and `--minutes N` first of all.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
}

fn main() -> ExitCode {
    let result = match Options::parse().task {
        Task::Test(options) => return test::run(&options),
        Task::Generate(options) => generate::run(&options),
        Task::GenerateData(options) => data::run(&options),
        Task::Deny => deny::run(),
        Task::Ci => ci::run(),
        Task::Bench { options } => bench::run(options),
        Task::Soak { mut options } => {
            options.extend(["--only".to_owned(), "soak".to_owned()]);
            bench::run(options)
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

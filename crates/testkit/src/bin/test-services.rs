//! Starts a PostgreSQL and a Redis for tests, and stops them in the end.
//!
//! `test-services COMMAND…` runs the command with the servers' addresses in its environment. Without a command it prints
//! the addresses, one `NAME=URL` a line, and keeps the servers until its standard input closes.
#![expect(clippy::print_stdout, reason = "the addresses are this program's answer")]

use std::io::{self, Read as _};
use std::process::{Command, ExitCode};

use tollway_testkit::services::{POSTGRES, Postgres, REDIS, REQUIRED, Redis};

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<ExitCode> {
    let (postgres, redis) = (Postgres::start()?, Redis::start()?);
    let variables = [(POSTGRES, postgres.url()), (REDIS, redis.url()), (REQUIRED, "1".to_owned())];
    let mut arguments = std::env::args_os().skip(1);
    if let Some(program) = arguments.next() {
        let status = Command::new(program).args(arguments).envs(variables).status()?;
        return Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    for (name, value) in variables {
        println!("{name}={value}");
    }
    // An empty line ends the list.
    println!();
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(ExitCode::SUCCESS)
}

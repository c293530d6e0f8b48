//! Starts a PostgreSQL and a Redis for tests, and stops them in the end.
//!
//! `test-services COMMAND…` runs the command with the servers' addresses in its environment. Without a command it prints
//! the addresses, one `NAME=URL` a line, and keeps the servers until its standard input closes.
#![expect(clippy::print_stdout, reason = "the addresses are this program's answer")]

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::process::{Command, ExitCode};

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;
use tollway_testkit::services::{POSTGRES, Postgres, REDIS, REQUIRED, Redis};

fn main() -> ExitCode {
    let run = || -> io::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let code = runtime.block_on(run());
        // After a signal, a thread may be waiting still.
        runtime.shutdown_background();
        code
    };
    run().unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

/// The servers stop when this returns: after the command, the end of the input, or a signal to end.
async fn run() -> io::Result<ExitCode> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (postgres, redis) = (Postgres::start()?, Redis::start()?);
    let variables = [(POSTGRES, postgres.url()), (REDIS, redis.url()), (REQUIRED, "1".to_owned())];
    let mut arguments = std::env::args_os().skip(1);
    let work = match arguments.next() {
        Some(program) => {
            let mut command = Command::new(program);
            command.args(arguments.collect::<Vec<OsString>>()).envs(variables);
            spawn_blocking(move || command.status().map(|status| status.success()))
        }
        None => {
            for (name, value) in variables {
                println!("{name}={value}");
            }
            // An empty line ends the list.
            println!();
            spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new()).map(|_| true))
        }
    };
    let succeeded = tokio::select! {
        done = work => done.map_err(io::Error::other)??,
        _ = interrupt.recv() => false,
        _ = terminate.recv() => false,
    };
    Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

//! Instructions per call: a number that a noisy machine cannot disturb.
//!
//! Hardware counters (`perf stat`) are used where the machine has them. Elsewhere each server runs under valgrind
//! twice, with few calls and with many; the difference divided by the extra calls leaves out start and stop.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use crate::call::{Call, SHORT};
use crate::connection::Connection;
use crate::process::{Place, Server, free_port};
use crate::report::{Aim, Better, Measure, Report, Target};
use crate::stage::{Stage, sibling};

/// Longest wait for a server that runs under valgrind, some fifty times slower than otherwise.
const PATIENCE: Duration = Duration::from_secs(120);

/// Adds instructions per small chat call to `report`.
pub(crate) fn run(stage: &Stage, report: &mut Report) -> anyhow::Result<()> {
    eprintln!("instructions: small chat calls, one connection");
    let mut measure =
        Measure::new("chat: instructions per call (user)", "k", Better::Less, Aim::TimesAtMost(1.6));
    let count = if counters_work() { by_counters } else { by_valgrind };
    for target in [Target::Bare, Target::Tollway] {
        if stage.server(target).is_some() {
            measure.push(target, count(stage, target)? / 1e3);
        }
    }
    report.add([measure]);
    Ok(())
}

fn counters_work() -> bool {
    let output = Command::new("perf").args(["stat", "-x,", "-e", "instructions:u", "true"]).output();
    output.is_ok_and(|output| counted(&output.stderr).is_some())
}

/// The count in the output of `perf stat -x,`.
fn counted(output: &[u8]) -> Option<f64> {
    String::from_utf8_lossy(output).lines().find_map(|line| {
        let (value, rest) = line.split_once(',')?;
        if rest.contains("instructions") { value.parse().ok() } else { None }
    })
}

fn by_counters(stage: &Stage, target: Target) -> anyhow::Result<f64> {
    const CALLS: u32 = 5_000;
    let server = stage.server(target).context("the server is gone")?;
    let id = server.id().to_string();
    let mut perf = Command::new("perf")
        .args(["stat", "-x,", "-e", "instructions:u", "-p", &id])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    // `perf` says nothing when it has attached.
    std::thread::sleep(Duration::from_millis(500));
    repeat(server, CALLS)?;
    Command::new("sh").arg("-c").arg(format!("kill -INT {}", perf.id())).status()?;
    let mut output = Vec::new();
    if let Some(stderr) = &mut perf.stderr {
        std::io::Read::read_to_end(stderr, &mut output)?;
    }
    perf.wait()?;
    let total = counted(&output).context("`perf stat` counted nothing")?;
    Ok(total / f64::from(CALLS))
}

fn by_valgrind(stage: &Stage, target: Target) -> anyhow::Result<f64> {
    const FEW: u32 = 200;
    const MANY: u32 = 1_200;
    let few = under_valgrind(stage, target, FEW)?;
    let many = under_valgrind(stage, target, MANY)?;
    ensure!(many > few, "valgrind saw no calls; is the program a script that starts another?");
    Ok((many - few) / f64::from(MANY - FEW))
}

/// Instructions of a whole life with `calls` calls.
fn under_valgrind(stage: &Stage, target: Target, calls: u32) -> anyhow::Result<f64> {
    let port = free_port()?;
    let (program, arguments) = match target {
        Target::Tollway => {
            let program = stage.gateway_program.clone().context("no gateway to measure")?;
            (program, stage.gateway_arguments(port))
        }
        _ => {
            let arguments = ["--port", &port.to_string(), "--upstream", &stage.upstream().to_string()];
            (sibling("bare-proxy")?, arguments.map(str::to_owned).to_vec())
        }
    };
    let log = stage.directory.join("valgrind.log");
    let counts = stage.directory.join("callgrind.out");
    let mut option = OsString::from("--callgrind-out-file=");
    option.push(&counts);
    let mut command = Command::new("valgrind");
    command.arg("--tool=callgrind").arg(option).arg(program).args(arguments);
    let mut server = Server::spawn(command, Place { core: stage.cores.server, log: &log, port })
        .context("neither hardware counters nor valgrind are available")?;
    server.wait_for(&Call::openai("chat", None, SHORT), PATIENCE)?;
    repeat(&server, calls)?;
    server.stop(PATIENCE)?;
    total(&counts)
}

/// The total of a callgrind output file.
fn total(counts: &Path) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(counts)?;
    let line = |name| text.lines().find_map(|line| line.strip_prefix(name));
    let Some(total) = line("totals:").or_else(|| line("summary:")) else {
        bail!("{} has no total", counts.display())
    };
    let total: f64 = total.trim().parse()?;
    ensure!(total > 0.0, "valgrind counted nothing");
    Ok(total)
}

fn repeat(server: &Server, calls: u32) -> anyhow::Result<()> {
    let call = Call::openai("chat", None, SHORT);
    let request = call.bytes(server.address);
    let mut connection = Connection::open(server.address)?;
    for _ in 0..calls {
        connection.call(&request, call.expect)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_perf() {
        assert_eq!(counted(b"123456,,instructions:u,1000,100.00,,\n"), Some(123_456.0));
        assert_eq!(counted(b"<not supported>,,instructions:u,0,100.00,,\n"), None);
        assert_eq!(counted(b""), None);
    }
}

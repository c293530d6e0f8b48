//! Measures the gateway beside a bare pass-through proxy, in the same run on the same core.
//!
//! Start it with `cargo xtask bench`, which builds what it needs. The server under test has one core to itself; the
//! load generator and the upstream share the other. Every measurement is repeated in rounds that alternate between
//! the servers, so that a noisy neighbour disturbs both alike. `docs/performance.md` explains each number.
#![expect(clippy::print_stdout, reason = "the table of results is this program's answer")]

mod call;
mod connection;
mod instructions;
mod load;
mod process;
mod report;
mod scenarios;
mod soak;
mod stage;
mod toll;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;

use crate::report::Report;
use crate::scenarios::SCENARIOS;
use crate::stage::{Cores, Stage};

/// Measures tollway beside a bare pass-through proxy.
#[derive(Parser)]
#[command(
    name = "cargo xtask bench",
    after_help = "`--profile NAME` (default: release) chooses the build profile."
)]
struct Options {
    /// Fewer and shorter rounds: a first impression in under a minute.
    #[arg(long)]
    quick: bool,
    /// Run only this scenario; may be repeated. `list` prints their names, `soak` runs the soak.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Also write the results as JSON, every sample included.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Count instructions per call too (hardware counters where there are any, else valgrind; slow).
    #[arg(long)]
    instructions: bool,
    /// Measure the bare proxy alone: a check of the machine and the bench itself.
    #[arg(long)]
    bare_only: bool,
    /// Fail when an aim is missed.
    #[arg(long)]
    strict: bool,
    /// Rounds per measurement [default: 7, quick: 3].
    #[arg(long)]
    rounds: Option<usize>,
    /// Calls of the soak.
    #[arg(long, default_value_t = 1_000_000)]
    calls: u64,
    /// Longest time the soak may take, in minutes.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// The gateway's binary [default: `tollway` beside this program].
    #[arg(long, value_name = "FILE")]
    gateway: Option<PathBuf>,
    /// For `toll` and `cluster`: a build without keys, limits and ledger to compare with [default: the gateway itself,
    /// called with the master key].
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
}

/// How long and how often to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    pub(crate) sample: Duration,
    pub(crate) quick: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what was asked for; `false` when `--strict` and an aim was missed.
fn run(options: &Options) -> anyhow::Result<bool> {
    if options.only.iter().any(|name| name == "list") {
        for scenario in SCENARIOS {
            println!("{:<10} {}", scenario.name, scenario.about);
        }
        println!("{:<10} a million mixed calls, watching memory", "soak");
        return Ok(true);
    }
    let effort = Effort {
        rounds: options.rounds.unwrap_or(if options.quick { 3 } else { 7 }).max(1),
        sample: Duration::from_millis(if options.quick { 700 } else { 2500 }),
        quick: options.quick,
    };
    let cores = Cores::claim()?;
    let foreign = foreign_load()?;
    if foreign > 5.0 {
        eprintln!(
            "warning: other programs use {foreign:.0} % of this machine; rates and latencies will suffer"
        );
    }
    let mut stage = Stage::set_up(cores, gateway(options)?)?;
    stage.baseline = options.baseline.as_ref().map(std::path::absolute).transpose()?;
    let mut report = Report::default();
    if options.only.iter().any(|name| name == "soak") {
        soak::run(&mut stage, options.calls, Duration::from_secs(60 * options.minutes), &mut report)?;
    }
    for scenario in chosen(options)? {
        eprintln!("{}: {}", scenario.name, scenario.about);
        (scenario.run)(&mut stage, effort, &mut report)
            .with_context(|| format!("scenario `{}`", scenario.name))?;
    }
    if options.instructions {
        instructions::run(&stage, &mut report)?;
    }
    println!("{}", report.table());
    if let Some(path) = &options.json {
        std::fs::write(path, report.json(&machine(), foreign))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(!options.strict || report.missed() == 0)
}

/// The gateway to measure; `None` with `--bare-only`.
fn gateway(options: &Options) -> anyhow::Result<Option<PathBuf>> {
    if options.bare_only {
        return Ok(None);
    }
    if let Some(path) = &options.gateway {
        return Ok(Some(std::path::absolute(path)?));
    }
    stage::sibling("tollway").map(Some)
}

fn chosen(options: &Options) -> anyhow::Result<Vec<&'static scenarios::Scenario>> {
    if options.only.is_empty() {
        return Ok(SCENARIOS.iter().collect());
    }
    let find = |name: &String| {
        SCENARIOS
            .iter()
            .find(|scenario| scenario.name == name)
            .with_context(|| format!("no scenario is called `{name}`; `--only list` prints them"))
    };
    options.only.iter().filter(|name| *name != "soak").map(find).collect()
}

/// How busy the machine is before anything was started, in percent of all cores.
fn foreign_load() -> anyhow::Result<f64> {
    let read = || -> anyhow::Result<(f64, f64)> {
        let text = std::fs::read_to_string("/proc/stat")?;
        let numbers = text.lines().next().unwrap_or_default().split_whitespace().skip(1);
        let times: Vec<f64> = numbers.filter_map(|word| word.parse().ok()).collect();
        // The fourth and fifth are idle and waiting for a disk.
        Ok((times.iter().take(8).sum(), times.iter().skip(3).take(2).sum()))
    };
    let (total, idle) = read()?;
    std::thread::sleep(Duration::from_millis(500));
    let (total_after, idle_after) = read()?;
    Ok((1.0 - (idle_after - idle) / (total_after - total).max(1.0)) * 100.0)
}

/// What the numbers were measured on.
fn machine() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{}, Linux {}", model.map_or("unknown processor", |(_, name)| name), kernel.trim())
}

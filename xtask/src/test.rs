//! `cargo xtask test`: every test of the project, from a clean clone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};

use crate::count::{Count, Runner};
use crate::services::{self, Servers};
use crate::shell;

#[derive(Args)]
pub(crate) struct Options {
    /// Run only the tests written in this language; may be repeated.
    #[arg(long, value_enum)]
    only: Vec<Suite>,
    /// Run only tests whose name contains this text.
    #[arg(long)]
    filter: Option<String>,
    /// Go on with the next suite after one has failed.
    #[arg(long)]
    keep_going: bool,
}

/// The suites, by the language their tests are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// Unit, property and integration tests, documentation examples.
    Rust,
    /// Python clients against the running gateway.
    Python,
    /// Node clients against the running gateway.
    Node,
}

/// Runs what was asked for and ends with `N passed, N failed` on a line of its own.
pub(crate) fn run(options: &Options) -> ExitCode {
    let start = Instant::now();
    let mut tally = Tally::default();
    let result = suites(options, &mut tally);
    if result.is_err() && tally.count.failed == 0 {
        // Something broke before any test could fail: a build, an installation, a crash of the runner.
        tally.count.failed = 1;
    }
    if result.is_ok() && tally.count == Count::default() {
        println!("FAILED: no test ran; does any name contain the filter's text?");
        tally.count.failed = 1;
    }
    let Count { passed, failed } = tally.count;
    if let Err(error) = &result {
        println!("FAILED: {error:#}");
    }
    println!("{:.0} s in all", start.elapsed().as_secs_f64());
    println!("{passed} passed, {failed} failed");
    if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn suites(options: &Options, tally: &mut Tally) -> anyhow::Result<()> {
    let wanted = |suite| options.only.is_empty() || options.only.contains(&suite);
    let filter = options.filter.as_deref();
    tally.keep_going = options.keep_going;
    tally.filtered = filter.is_some();
    services::for_rust()?;
    // Everything at once, with the features of the whole workspace, so that no later step builds a second variant.
    shell::step(
        "build programs and examples",
        shell::cargo().args(["build", "--workspace", "--bins", "--examples"]),
    )?;
    let servers = services::Servers::start()?;
    if wanted(Suite::Rust) {
        rust(filter, &servers, tally)?;
    }
    let mut programs = None;
    let end_to_end = [(Suite::Python, "tests/python"), (Suite::Node, "tests/node")];
    for (suite, folder) in end_to_end.into_iter().filter(|(suite, _)| wanted(*suite)) {
        let folder = shell::root().join(folder);
        if !folder.is_dir() {
            println!("==> {} is not in this checkout: no {suite:?} tests to run", folder.display());
            continue;
        }
        let programs = match &programs {
            Some(built) => built,
            None => programs.insert(Programs::build(&servers)?),
        };
        match suite {
            Suite::Python => python(&folder, programs, filter, tally)?,
            _ => node(&folder, programs, filter, tally)?,
        }
    }
    Ok(())
}

/// Test results so far.
#[derive(Debug, Default)]
struct Tally {
    count: Count,
    keep_going: bool,
    filtered: bool,
}

impl Tally {
    /// Runs a test runner and counts its tests; fails when it failed, unless asked to keep going.
    fn run(
        &mut self,
        title: &str,
        runner: Runner,
        command: &mut Command,
        empty: Option<i32>,
    ) -> anyhow::Result<()> {
        let (status, lines) = shell::watched(title, command)?;
        let mut count = runner.count(&lines);
        let nothing_matched = empty.is_some() && status.code() == empty;
        let failed = !status.success() && !nothing_matched;
        if failed && count.failed == 0 {
            count.failed = 1;
        }
        // Documentation examples, cargo's, may be none; a whole suite without tests is a suite that was not found.
        if status.success() && count == Count::default() && !self.filtered && runner != Runner::Cargo {
            bail!("{title}: the runner succeeded without running a test");
        }
        self.count += count;
        if failed && !self.keep_going {
            bail!("{title}: {status}; {} tests passed, {} failed", count.passed, count.failed);
        }
        Ok(())
    }
}

fn rust(filter: Option<&str>, servers: &Servers, tally: &mut Tally) -> anyhow::Result<()> {
    if shell::installed("cargo-nextest") {
        let mut command = shell::cargo();
        command.args(["nextest", "run", "--workspace", "--no-fail-fast", "--no-tests=pass"]).args(filter);
        servers.offer_to(&mut command);
        tally.run("Rust tests (nextest)", Runner::Nextest, &mut command, None)?;
    } else {
        let mut command = shell::cargo();
        command.args(["test", "--workspace", "--bins", "--lib", "--tests", "--no-fail-fast"]).args(filter);
        servers.offer_to(&mut command);
        tally.run("Rust tests", Runner::Cargo, &mut command, None)?;
    }
    let mut command = shell::cargo();
    command.args(["test", "--workspace", "--doc", "--no-fail-fast"]).args(filter);
    tally.run("documentation examples", Runner::Cargo, &mut command, None)
}

/// Rounds of killing a process that writes its journal.
const CRASHES: &str = "100";

/// Runs the tests of several gateways for long, one after the other, and kills processes that write journals.
pub(crate) fn cluster() -> anyhow::Result<()> {
    services::for_rust()?;
    shell::step("build programs", shell::cargo().args(["build", "--workspace", "--bins"]))?;
    let servers = Servers::start()?;
    let mut command = shell::cargo();
    command.args(["test", "--package", "tollway-gateway", "--test", "cluster", "--"]);
    command.args(["--test-threads", "1", "--nocapture"]).env("TOLLWAY_SOAK", "1");
    servers.offer_to(&mut command);
    shell::step("tests of several gateways, for long", &mut command)?;
    let mut command = shell::cargo();
    command.args(["test", "--package", "tollway-ledger", "--test", "crash"]);
    command.env("TOLLWAY_CRASH_ROUNDS", CRASHES);
    shell::step("processes that are killed while they write", &mut command)
}

/// The programs the end-to-end suites start.
struct Programs<'a> {
    servers: &'a Servers,
    gateway: PathBuf,
    provider: PathBuf,
    /// Where the suites' environments are kept.
    home: PathBuf,
}

impl Programs<'_> {
    fn build(servers: &Servers) -> anyhow::Result<Programs<'_>> {
        shell::step(
            "build tollway and fake-provider",
            shell::cargo().args(["build", "--workspace", "--bins"]),
        )?;
        let target = shell::target_directory()?;
        let program = |name: &str| {
            let path = target.join("debug").join(name);
            if path.is_file() { Ok(path) } else { bail!("the workspace builds no program `{name}`") }
        };
        let home = target.join("e2e");
        fs::create_dir_all(&home)?;
        Ok(Programs { servers, gateway: program("tollway")?, provider: program("fake-provider")?, home })
    }

    fn offer_to(&self, command: &mut Command) {
        self.servers.offer_to(command);
        command.env("TOLLWAY_BIN", &self.gateway).env("FAKE_PROVIDER_BIN", &self.provider);
    }
}

fn python(
    folder: &Path,
    programs: &Programs<'_>,
    filter: Option<&str>,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    services::for_python()?;
    let environment = programs.home.join("venv");
    let version = shell::read(Command::new("python3").arg("--version"))?;
    let wanted = version + &read(&folder.join("requirements.txt"))?;
    once(&environment.join("installed.txt"), &wanted, || {
        shell::step(
            "create the Python environment",
            Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment),
        )?;
        let mut pip = Command::new(environment.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"]);
        shell::step("install the Python clients", pip.current_dir(folder))
    })?;
    let mut command = Command::new(environment.join("bin/python"));
    command.args(["-m", "pytest", "-p", "no:cacheprovider"]).current_dir(folder);
    if let Some(filter) = filter {
        command.args(["-k", filter]);
    }
    programs.offer_to(&mut command);
    // pytest's 5 means that no test was selected: fine for a filter, a broken suite otherwise.
    tally.run("Python clients", Runner::Pytest, &mut command, filter.map(|_| 5))
}

fn node(
    folder: &Path,
    programs: &Programs<'_>,
    filter: Option<&str>,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    services::for_node()?;
    let version = shell::read(Command::new("node").arg("--version"))?;
    let wanted = version + &read(&folder.join("package-lock.json"))?;
    once(&folder.join("node_modules/.installed"), &wanted, || {
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund"]).current_dir(folder);
        shell::step("install the Node clients", &mut npm)
    })?;
    let mut command = Command::new("node");
    command.args(["--test", "--test-reporter=spec"]).current_dir(folder);
    if let Some(filter) = filter {
        command.arg(format!("--test-name-pattern={filter}"));
    }
    programs.offer_to(&mut command);
    tally.run("Node clients", Runner::Node, &mut command, None)
}

/// Does `work` unless the file `stamp` says that it was done for exactly this `wanted`.
fn once(stamp: &Path, wanted: &str, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    if fs::read_to_string(stamp).is_ok_and(|done| done == wanted) {
        return Ok(());
    }
    work()?;
    if let Some(folder) = stamp.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

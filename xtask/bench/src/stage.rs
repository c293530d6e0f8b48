//! The servers of a run and the cores they own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::call::{self, Call, SHORT};
use crate::process::{Place, Server, free_port};
use crate::report::Target;

/// Longest wait for a server's first answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which core does what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cores {
    /// The server under test.
    pub(crate) server: usize,
    /// Load generator and upstream.
    pub(crate) load: usize,
}

impl Cores {
    /// Chooses two of the allowed cores and moves this process to the second.
    pub(crate) fn claim() -> anyhow::Result<Cores> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let allowed = parse_list(list.context("the kernel lists no cores")?.trim());
        let (Some(&server), Some(&load)) = (allowed.first(), allowed.last()) else {
            anyhow::bail!("the kernel lists no cores");
        };
        if server == load {
            eprintln!("warning: one core only; server and load share it, and the results say little");
        }
        let moved = Command::new("taskset")
            .args(["-a", "-c", "-p", &load.to_string(), &std::process::id().to_string()])
            .output()
            .context("cannot run `taskset` (package util-linux)")?;
        ensure!(moved.status.success(), "taskset failed: {}", String::from_utf8_lossy(&moved.stderr));
        Ok(Cores { server, load })
    }
}

/// Reads a kernel list of cores: `0-3,8`.
fn parse_list(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

/// The servers, up and warm.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) cores: Cores,
    pub(crate) directory: PathBuf,
    pub(crate) gateway_program: Option<PathBuf>,
    /// A gateway that knows neither keys nor a ledger.
    pub(crate) baseline: Option<PathBuf>,
    upstream: Server,
    bare: Server,
    gateway: Option<Server>,
}

impl Stage {
    /// Starts the upstream, the bare proxy and, when `gateway` names its binary, the gateway.
    pub(crate) fn set_up(cores: Cores, gateway: Option<PathBuf>) -> anyhow::Result<Stage> {
        let directory = std::env::temp_dir().join(format!("tollway-bench-{}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        let chat = Call::openai("chat", None, SHORT);

        let log = directory.join("upstream.log");
        let place = Place { core: cores.load, log: &log, port: free_port()? };
        let port = place.port.to_string();
        let arguments = ["--port".as_ref(), port.as_ref()];
        let mut upstream = Server::start(&sibling("bench-upstream")?, &arguments, place)?;
        upstream.wait_for(&chat, PATIENCE).context("the bench's upstream did not start")?;

        let mut bare = start_bare(cores, &directory, &upstream)?;
        bare.wait_for(&chat, PATIENCE).context("the bare proxy did not start")?;
        let mut stage = Stage {
            cores,
            directory,
            gateway_program: gateway,
            baseline: None,
            upstream,
            bare,
            gateway: None,
        };
        std::fs::write(stage.config(), call::config(stage.upstream.address))?;
        stage.renew_gateway()?;
        Ok(stage)
    }

    /// Where to send calls for `target`; `None` for a gateway that is not measured.
    pub(crate) fn server(&self, target: Target) -> Option<&Server> {
        match target {
            Target::Direct => Some(&self.upstream),
            Target::Bare => Some(&self.bare),
            Target::Tollway => self.gateway.as_ref(),
        }
    }

    /// Replaces the bare proxy by a fresh process and returns the time from its start to its first answer.
    pub(crate) fn renew_bare(&mut self) -> anyhow::Result<Duration> {
        self.bare = start_bare(self.cores, &self.directory, &self.upstream)?;
        self.bare.wait_for(&Call::openai("chat", None, SHORT), PATIENCE)
    }

    /// Replaces the gateway by a fresh process with an empty data directory. Returns the time from its start to its
    /// first answer, `None` when no gateway is measured.
    pub(crate) fn renew_gateway(&mut self) -> anyhow::Result<Option<Duration>> {
        let Some(program) = self.gateway_program.clone() else { return Ok(None) };
        // The old one lets go of its data before the new one looks at it.
        self.gateway = None;
        let data = self.data();
        if data.exists() {
            std::fs::remove_dir_all(&data)?;
        }
        std::fs::create_dir_all(&data)?;
        let log = self.directory.join("tollway.log");
        let place = Place { core: self.cores.server, log: &log, port: free_port()? };
        let arguments = self.gateway_arguments(place.port);
        let arguments: Vec<&OsStr> = arguments.iter().map(AsRef::as_ref).collect();
        let mut gateway = Server::start(&program, &arguments, place)?;
        let chat = Call::openai("chat", None, SHORT);
        let time = gateway.wait_for(&chat, PATIENCE).context("the gateway did not start")?;
        self.gateway = Some(gateway);
        Ok(Some(time))
    }

    /// The command line of `tollway` for the bench.
    pub(crate) fn gateway_arguments(&self, port: u16) -> Vec<String> {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let port = port.to_string();
        let words = ["serve", "--config", &text(self.config()), "--host", "127.0.0.1", "--port", &port];
        let mut arguments = words.map(str::to_owned).to_vec();
        arguments.extend(["--data-dir".to_owned(), text(self.data())]);
        arguments
    }

    /// The upstream's address.
    pub(crate) fn upstream(&self) -> std::net::SocketAddr {
        self.upstream.address
    }

    /// Where the gateway keeps its data.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn config(&self) -> PathBuf {
        self.directory.join("config.yaml")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.gateway = None;
        // A leftover in the temporary directory is no reason to lose the results.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn start_bare(cores: Cores, directory: &Path, upstream: &Server) -> anyhow::Result<Server> {
    let log = directory.join("bare-proxy.log");
    let place = Place { core: cores.server, log: &log, port: free_port()? };
    let (port, target) = (place.port.to_string(), upstream.address.to_string());
    let arguments = ["--port".as_ref(), port.as_ref(), "--upstream".as_ref(), target.as_ref()];
    Server::start(&sibling("bare-proxy")?, &arguments, place)
}

/// The program `name` built beside this one.
pub(crate) fn sibling(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    ensure!(path.exists(), "{} does not exist; `cargo xtask bench` builds it", path.display());
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_lists_are_read() {
        fn check(list: &str, expected: &[usize]) {
            assert_eq!(parse_list(list), expected, "{list}");
        }
        check("0", &[0]);
        check("0-3", &[0, 1, 2, 3]);
        check("0-1,8,10-11", &[0, 1, 8, 10, 11]);
        check("", &[]);
    }
}

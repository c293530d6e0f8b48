//! Server processes: started on a core of their own, and what the kernel says they use.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::call::Call;
use crate::connection::Connection;

/// A running server; killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    log: PathBuf,
    started: Instant,
    pub(crate) address: SocketAddr,
}

/// Where a server runs and where it writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) core: usize,
    pub(crate) log: &'a Path,
    pub(crate) port: u16,
}

impl Server {
    /// Starts `program` at `place`. It may not listen yet.
    pub(crate) fn start(program: &Path, arguments: &[&OsStr], place: Place<'_>) -> anyhow::Result<Server> {
        let mut command = Command::new("taskset");
        command.arg("-c").arg(place.core.to_string()).arg(program).args(arguments);
        Server::spawn(command, place)
    }

    /// Starts `command` as it is.
    pub(crate) fn spawn(mut command: Command, place: Place<'_>) -> anyhow::Result<Server> {
        let log = File::create(place.log)?;
        let started = Instant::now();
        let child = command
            // Loopback traffic must not take a detour that the environment asks for.
            .envs([("NO_PROXY", "127.0.0.1"), ("no_proxy", "127.0.0.1")])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, place.port));
        Ok(Server { child, log: place.log.to_owned(), started, address })
    }

    /// Repeats `call` until it is answered well. Returns the time since the process was started.
    pub(crate) fn wait_for(&mut self, call: &Call, patience: Duration) -> anyhow::Result<Duration> {
        let request = call.bytes(self.address);
        loop {
            let answer = Connection::warm(self.address, &request, call.expect);
            let Err(error) = answer else { return Ok(self.started.elapsed()) };
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended with {status}: {}", self.log_tail());
            }
            if self.started.elapsed() > patience {
                bail!(
                    "no good answer from the server in {patience:?}: {error}; its log: {}",
                    self.log_tail()
                );
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Processor time used until now.
    pub(crate) fn cpu(&self) -> anyhow::Result<Cpu> {
        Cpu::of(self.child.id())
    }

    /// Resident memory now, in bytes.
    pub(crate) fn memory(&self) -> anyhow::Result<f64> {
        self.status("VmRSS:")
    }

    /// Highest resident memory since [`Server::forget_peak`], in bytes.
    pub(crate) fn peak_memory(&self) -> anyhow::Result<f64> {
        self.status("VmHWM:")
    }

    /// Starts measuring the peak anew.
    pub(crate) fn forget_peak(&self) -> anyhow::Result<()> {
        fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5")
            .context("cannot reset the memory peak")
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks the server to end and waits until it has.
    pub(crate) fn stop(mut self, patience: Duration) -> anyhow::Result<()> {
        Command::new("sh").arg("-c").arg(format!("kill -TERM {}", self.child.id())).status()?;
        let deadline = Instant::now() + patience;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                bail!("the server did not end in {patience:?} after SIGTERM");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn status(&self, field: &str) -> anyhow::Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kib = || text.lines().find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB"));
        let kib: f64 = kib().context("/proc/<pid>/status has no memory figures")?.trim().parse()?;
        Ok(kib * 1024.0)
    }

    fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(15)..).unwrap_or_default().join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processor time of a process at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Cpu {
    /// Nanoseconds on a core, by thread.
    threads: BTreeMap<String, u64>,
    /// User and system time in hundredths of a second, ended threads included.
    ticks: u64,
}

impl Cpu {
    fn of(process: u32) -> anyhow::Result<Cpu> {
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{process}/task"))? {
            let entry = entry?;
            // A thread may end between the listing and the look; a kernel may keep no such statistics.
            let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
            let nanoseconds = text.split_whitespace().next().and_then(|word| word.parse().ok());
            threads.insert(entry.file_name().to_string_lossy().into_owned(), nanoseconds.unwrap_or(0));
        }
        let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks =
            fields.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
        Ok(Cpu { threads, ticks })
    }

    /// Time used between `earlier` and `self`: from the scheduler's nanoseconds, or from the ticks when a thread
    /// ended in between and took its count with it.
    pub(crate) fn since(&self, earlier: &Cpu) -> Duration {
        let complete = earlier.threads.keys().all(|thread| self.threads.contains_key(thread));
        let nanoseconds = |cpu: &Cpu| cpu.threads.values().sum::<u64>();
        if complete && nanoseconds(self) > 0 {
            return Duration::from_nanos(nanoseconds(self).saturating_sub(nanoseconds(earlier)));
        }
        Duration::from_millis(10 * self.ticks.saturating_sub(earlier.ticks))
    }
}

/// A port nobody listens on.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(earlier: (&[(&str, u64)], u64), later: (&[(&str, u64)], u64), expected: Duration) {
        let cpu = |(threads, ticks): (&[(&str, u64)], u64)| Cpu {
            threads: threads.iter().map(|(name, time)| ((*name).to_owned(), *time)).collect(),
            ticks,
        };
        assert_eq!(cpu(later).since(&cpu(earlier)), expected);
    }

    #[test]
    fn processor_time_counts_all_threads() {
        let ns = Duration::from_nanos;
        check((&[("1", 100)], 0), (&[("1", 150)], 9), ns(50));
        check((&[("1", 100)], 0), (&[("1", 150), ("2", 30)], 9), ns(80));
        // Thread 2 ended: its share is only in the ticks.
        check((&[("1", 100), ("2", 5)], 1), (&[("1", 150)], 9), Duration::from_millis(80));
        // No scheduler statistics at all.
        check((&[("1", 0)], 1), (&[("1", 0)], 3), Duration::from_millis(20));
    }

    #[test]
    fn this_process_uses_processor_time() {
        let id = std::process::id();
        let before = Cpu::of(id).unwrap();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(30) {
            std::hint::spin_loop();
        }
        assert!(Cpu::of(id).unwrap().since(&before) > Duration::ZERO);
    }
}

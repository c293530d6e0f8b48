//! A long run of mixed traffic that watches memory: what leaks shows as a slope.
//!
//! Half of the calls are streams, a third are translated between dialects, one in fifty carries a 100 KB prompt.
//! The upstream fails every tenth call, and a fifth of the clients go away: half of these before the answer, half
//! inside it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::call::{Call, Expect, SHORT, prompt};
use crate::connection::{Connection, Failure};
use crate::process::Server;
use crate::report::{Aim, Better, Measure, Report, Target};
use crate::stage::Stage;

const CONNECTIONS: usize = 48;
const SAMPLE_EVERY: Duration = Duration::from_millis(250);
const MIB: f64 = 1024.0 * 1024.0;

/// Makes `calls` calls, or as many as fit in `longest`.
pub(crate) fn run(
    stage: &mut Stage,
    calls: u64,
    longest: Duration,
    report: &mut Report,
) -> anyhow::Result<()> {
    stage.renew_gateway()?;
    let target = if stage.gateway_program.is_some() { Target::Tollway } else { Target::Bare };
    let server = stage.server(target).context("the server is gone")?;
    eprintln!("soak: {calls} calls at most, {} minutes at most", longest.as_secs() / 60);

    let traffic = Traffic::new(server, target, calls);
    let start = Instant::now();
    let samples = thread::scope(|scope| -> anyhow::Result<Vec<Sample>> {
        let mut threads = Vec::new();
        for _ in 0..CONNECTIONS {
            threads.push(
                thread::Builder::new()
                    .stack_size(128 << 10)
                    .spawn_scoped(scope, || traffic.work(start + longest))?,
            );
        }
        let samples = watch(server, &traffic, start, || threads.iter().all(|thread| thread.is_finished()));
        traffic.stop.store(true, Ordering::Relaxed);
        samples
    })?;
    let seconds = start.elapsed().as_secs_f64();
    // What a crash would look like: the server no longer answers a plain call.
    let call = Call::openai("chat", None, SHORT);
    Connection::warm(server.address, &call.bytes(server.address), call.expect)
        .context("the server does not answer after the soak")?;

    let tally = traffic.tally.totals();
    eprintln!(
        "soak: {seconds:.0} s; {} answered, {} upstream errors passed on, {} left by the client, {} broken; {:.1} MiB of data written",
        tally.good,
        tally.errors,
        tally.aborted,
        tally.broken,
        folder_bytes(&stage.data()) / MIB
    );
    ensure!(
        tally.broken * 1000 <= tally.good,
        "{} calls were broken: neither answered nor refused",
        tally.broken
    );
    let done = as_float(traffic.next.load(Ordering::Relaxed).min(calls));
    report.add(measures(&samples, target, done / seconds));
    Ok(())
}

fn measures(samples: &[Sample], target: Target, rate: f64) -> [Measure; 5] {
    let mut speed = Measure::new("soak: calls per second", "1/s", Better::More, Aim::Shown);
    speed.push(target, rate);
    let mut begin = Measure::new("soak: memory at the start", "MiB", Better::Less, Aim::Shown);
    begin.push(target, samples.first().map_or(0.0, |sample| sample.memory / MIB));
    let mut peak = Measure::new("soak: memory peak", "MiB", Better::Less, Aim::AtMost(100.0));
    peak.push(target, samples.iter().map(|sample| sample.memory).fold(0.0, f64::max) / MIB);
    let settled = samples.get(samples.len() / 2..).unwrap_or_default();
    let calls = settled.last().map_or(0.0, |sample| sample.calls)
        - settled.first().map_or(0.0, |sample| sample.calls);
    let mut growth = Measure::new("soak: growth in the second half", "MiB", Better::Less, Aim::AtMost(4.0));
    growth.push(target, slope(settled) * calls / MIB);
    let mut steepness = Measure::new("soak: that is, per million calls", "MiB", Better::Less, Aim::Shown);
    steepness.push(target, slope(settled) * 1e6 / MIB);
    [speed, begin, peak, growth, steepness]
}

/// Memory after a number of calls.
#[derive(Debug, Clone, Copy)]
struct Sample {
    calls: f64,
    memory: f64,
}

fn watch(
    server: &Server,
    traffic: &Traffic,
    start: Instant,
    done: impl Fn() -> bool,
) -> anyhow::Result<Vec<Sample>> {
    let mut samples = Vec::new();
    let mut told = start;
    while !done() {
        let calls = traffic.next.load(Ordering::Relaxed).min(traffic.calls);
        let memory = server.memory().context("the server died during the soak")?;
        samples.push(Sample { calls: as_float(calls), memory });
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            eprintln!("soak: {calls} calls, {:.1} MiB", memory / MIB);
        }
        thread::sleep(SAMPLE_EVERY);
    }
    Ok(samples)
}

/// Bytes per call: the least-squares line through the samples.
fn slope(samples: &[Sample]) -> f64 {
    let count = samples.iter().map(|_| 1.0).sum::<f64>();
    if count < 2.0 {
        return 0.0;
    }
    let mean = |of: fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (calls, memory) = (mean(|sample| sample.calls), mean(|sample| sample.memory));
    let (mut above, mut below) = (0.0, 0.0);
    for sample in samples {
        above += (sample.calls - calls) * (sample.memory - memory);
        below += (sample.calls - calls).powi(2);
    }
    if below > 0.0 { above / below } else { 0.0 }
}

/// The calls of the soak, handed out by number.
struct Traffic {
    address: std::net::SocketAddr,
    menu: Vec<(Vec<u8>, Expect)>,
    large: (Vec<u8>, Expect),
    calls: u64,
    next: AtomicU64,
    stop: AtomicBool,
    tally: Tally,
}

impl Traffic {
    fn new(server: &Server, target: Target, calls: u64) -> Traffic {
        let ready = |call: Call| (call.bytes(server.address), call.expect);
        let (mut menu, chunks) = (Vec::new(), Some(20));
        for _ in 0..2 {
            menu.push(ready(Call::openai("flaky", None, SHORT)));
            menu.push(ready(Call::openai("flaky-stream20", chunks, SHORT)));
        }
        if target == Target::Tollway {
            menu.push(ready(Call::openai("claude-flaky", None, SHORT)));
            menu.push(ready(Call::openai("claude-flaky-stream20", chunks, SHORT)));
        } else {
            menu.push(ready(Call::anthropic("flaky", None, SHORT)));
            menu.push(ready(Call::anthropic("flaky-stream20", chunks, SHORT)));
        }
        let large = ready(Call::openai("flaky-stream20", chunks, &prompt(100_000)));
        Traffic {
            address: server.address,
            menu,
            large,
            calls,
            next: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            tally: Tally::default(),
        }
    }

    fn work(&self, deadline: Instant) {
        let mut connection = None;
        while Instant::now() < deadline && !self.stop.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.calls {
                return;
            }
            self.call(number, &mut connection);
        }
    }

    /// Makes one call, on the connection at hand or a new one.
    fn call(&self, number: u64, slot: &mut Option<Connection>) {
        let kinds = u64::try_from(self.menu.len()).unwrap_or(1);
        let kind = usize::try_from(number % kinds).unwrap_or(0);
        let Some((request, expect)) =
            (if number.is_multiple_of(50) { Some(&self.large) } else { self.menu.get(kind) })
        else {
            return;
        };
        let taken = slot.take().map_or_else(|| Connection::open(self.address), Ok);
        let Ok(mut connection) = taken else {
            return Tally::add(&self.tally.broken);
        };
        // Spread by a large odd number, so that leaving does not go in step with the kind of call.
        let fate = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let leave = |connection: &mut Connection, early: bool| -> Result<Outcome, Failure> {
            connection.send(request)?;
            if !early {
                connection.peek_status()?;
            }
            Ok(Outcome::Left)
        };
        let outcome = match fate % 10 {
            0 => leave(&mut connection, true),
            1 => leave(&mut connection, false),
            _ => connection.call(request, *expect).map(|_| Outcome::Good),
        };
        match outcome {
            Ok(Outcome::Good) => {
                Tally::add(&self.tally.good);
                *slot = Some(connection);
            }
            Ok(Outcome::Left) => Tally::add(&self.tally.aborted),
            Err(Failure::Status(..)) => {
                Tally::add(&self.tally.errors);
                *slot = Some(connection);
            }
            Err(Failure::Broken(_)) => Tally::add(&self.tally.broken),
        }
    }
}

enum Outcome {
    Good,
    Left,
}

#[derive(Debug, Default)]
struct Tally {
    good: AtomicU64,
    errors: AtomicU64,
    aborted: AtomicU64,
    broken: AtomicU64,
}

struct Totals {
    good: u64,
    errors: u64,
    aborted: u64,
    broken: u64,
}

impl Tally {
    fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn totals(&self) -> Totals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            good: read(&self.good),
            errors: read(&self.errors),
            aborted: read(&self.aborted),
            broken: read(&self.broken),
        }
    }
}

/// Size of the files in a folder, in bytes.
fn folder_bytes(folder: &Path) -> f64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0.0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => folder_bytes(&entry.path()),
        Ok(data) => as_float(data.len()),
        Err(_) => 0.0,
    };
    entries.flatten().map(size).sum()
}

/// A count as a float; counts here stay far below the 2^53 that a float holds exactly.
fn as_float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(samples: &[(f64, f64)], expected: f64) {
        let samples: Vec<_> = samples.iter().map(|&(calls, memory)| Sample { calls, memory }).collect();
        assert!((slope(&samples) - expected).abs() < 1e-9, "{samples:?}");
    }

    #[test]
    fn the_slope_is_bytes_per_call() {
        check(&[], 0.0);
        check(&[(0.0, 5.0)], 0.0);
        check(&[(0.0, 5.0), (0.0, 9.0)], 0.0);
        check(&[(0.0, 100.0), (10.0, 120.0), (20.0, 140.0)], 2.0);
        check(&[(0.0, 7.0), (10.0, 7.0)], 0.0);
    }
}

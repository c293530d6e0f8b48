//! The load generator: blocking connections, one thread each.
//!
//! Threads and prepared bytes are cheaper than an HTTP library here, so that the load's core is never the first to be
//! full.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::call::Call;
use crate::connection::{Connection, Failure};
use crate::process::Server;

/// What a closed loop measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Saturated {
    pub(crate) calls: f64,
    pub(crate) events: f64,
    /// Wall clock, in seconds.
    pub(crate) seconds: f64,
    /// Processor time of the server, in seconds.
    pub(crate) cpu: f64,
}

/// Drives `server` with `connections` connections, each sending its next call as soon as the last is answered.
pub(crate) fn saturate(
    server: &Server,
    call: &Call,
    connections: usize,
    duration: Duration,
) -> anyhow::Result<Saturated> {
    let request = call.bytes(server.address);
    let barrier = Barrier::new(connections + 1);
    let work = || -> Result<(u32, usize), Failure> {
        // The first call opens the path: connections, caches, the server's own pools.
        let ready = Connection::warm(server.address, &request, call.expect);
        barrier.wait();
        barrier.wait();
        let mut connection = ready?;
        let (mut calls, mut events) = (0, 0);
        let deadline = Instant::now() + duration;
        while Instant::now() < deadline {
            events += connection.call(&request, call.expect)?.events;
            calls += 1;
        }
        Ok((calls, events))
    };
    thread::scope(|scope| {
        let threads = (0..connections)
            .map(|_| thread::Builder::new().stack_size(128 << 10).spawn_scoped(scope, work))
            .collect::<std::io::Result<Vec<_>>>()?;
        barrier.wait();
        let before = server.cpu();
        let start = Instant::now();
        barrier.wait();
        let (mut calls, mut events) = (0.0, 0.0);
        for thread in threads {
            let (more, more_events) = joined(thread)?;
            calls += f64::from(more);
            events += more_events as f64;
        }
        let seconds = start.elapsed().as_secs_f64();
        let cpu = server.cpu()?.since(&before?).as_secs_f64();
        Ok(Saturated { calls, events, seconds, cpu })
    })
}

/// Latencies of calls at a fixed rate, in seconds, ascending.
#[derive(Debug, Clone, Default)]
pub(crate) struct Latencies(Vec<f64>);

impl Latencies {
    /// The latency that `share` of the calls did not exceed.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        crate::report::quantile(&self.0, share)
    }
}

/// Calls `server` `rate` times a second, whether or not earlier calls were answered.
///
/// Each of `connections` threads has its own evenly spread schedule. A call that could not start on time because the
/// thread's last one was still running counts from when it should have started. Measures the time to the first event
/// of a stream, to the end of a JSON answer.
pub(crate) fn pace(
    server: &Server,
    call: &Call,
    rate: u32,
    connections: u32,
    duration: Duration,
) -> anyhow::Result<Latencies> {
    let request = call.bytes(server.address);
    let period = Duration::from_secs(1) * connections / rate;
    let barrier = Barrier::new(usize::try_from(connections)?);
    let work = |number: u32| -> Result<Vec<f64>, Failure> {
        let ready = Connection::warm(server.address, &request, call.expect);
        barrier.wait();
        let mut connection = ready?;
        let start = Instant::now();
        let mut due = start + period * number / connections;
        let mut latencies = Vec::new();
        while due < start + duration {
            let wait = due.saturating_duration_since(Instant::now());
            thread::sleep(wait);
            // Waking a little late is the timer's doing; being late without having slept is the server's.
            let sent = if wait.is_zero() { due } else { Instant::now() };
            let answer = connection.call(&request, call.expect)?;
            latencies.push(answer.first.duration_since(sent).as_secs_f64());
            due += period;
        }
        Ok(latencies)
    };
    let mut all = thread::scope(|scope| -> anyhow::Result<Vec<f64>> {
        let mut threads = Vec::new();
        for number in 0..connections {
            threads.push(
                thread::Builder::new().stack_size(128 << 10).spawn_scoped(scope, move || work(number))?,
            );
        }
        let mut all = Vec::new();
        for thread in threads {
            all.extend(joined(thread)?);
        }
        Ok(all)
    })?;
    all.sort_by(f64::total_cmp);
    Ok(Latencies(all))
}

/// Makes one call on each of `connections` connections at the same time and waits for all answers.
pub(crate) fn at_once(server: &Server, calls: &[Call], connections: usize) -> anyhow::Result<()> {
    let requests: Vec<_> = calls.iter().map(|call| (call.bytes(server.address), call.expect)).collect();
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for (request, expect) in requests.iter().cycle().take(connections) {
            let work = move || Connection::warm(server.address, request, *expect).map(drop);
            threads.push(thread::Builder::new().stack_size(128 << 10).spawn_scoped(scope, work)?);
        }
        for thread in threads {
            joined(thread)?;
        }
        Ok(())
    })
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, Result<T, Failure>>) -> anyhow::Result<T> {
    let result = thread.join().map_err(|_| anyhow::anyhow!("a load thread panicked"))?;
    result.context("a call failed")
}

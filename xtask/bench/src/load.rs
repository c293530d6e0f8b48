//! The load generator: blocking connections, one thread each, requests written from prepared bytes.
//!
//! It parses only what it must (status, length, number of events), so that its core is never the first to be full.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use memchr::memmem;

use crate::call::{Call, Expect};
use crate::process::Server;

/// Longest wait for the next bytes of an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The last bytes of a chunked body; nothing else in our streams ends like this.
const CHUNKED_END: &[u8] = b"0\r\n\r\n";

/// A keep-alive connection to a server.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A good answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    /// Stream events; zero for a JSON answer.
    pub(crate) events: usize,
    /// When the first event had arrived, or for a JSON answer all of it.
    pub(crate) first: Instant,
}

impl Connection {
    /// Connects.
    pub(crate) fn open(address: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Connection { stream, buffer: vec![0; 64 << 10] })
    }

    /// Sends `request` and reads its answer to the end. Fails unless it is a 200 as expected.
    pub(crate) fn call(&mut self, request: &[u8], expect: Expect) -> io::Result<Answer> {
        self.send(request)?;
        let head = self.read_head()?;
        let answer = self.read_body(&head)?;
        if head.status != 200 {
            return Err(io::Error::other(format!("status {}", head.status)));
        }
        match expect {
            Expect::Events(least) if answer.events < least => {
                Err(io::Error::other(format!("{} of {least} events", answer.events)))
            }
            _ => Ok(answer),
        }
    }

    /// Sends `request` without waiting for anything.
    pub(crate) fn send(&mut self, request: &[u8]) -> io::Result<()> {
        self.stream.write_all(request)
    }

    /// Waits for the first bytes of an answer and returns its status. To be dropped afterwards.
    pub(crate) fn peek_status(&mut self) -> io::Result<u16> {
        Ok(self.read_head()?.status)
    }

    fn read_head(&mut self) -> io::Result<Head> {
        let mut filled = 0;
        loop {
            let free = self.buffer.get_mut(filled..).unwrap_or_default();
            let count = self.stream.read(free)?;
            if count == 0 {
                return Err(io::Error::other(
                    "the connection ended before an answer, or its head is too long",
                ));
            }
            filled += count;
            if let Some(head) = Head::parse(self.buffer.get(..filled).unwrap_or_default())? {
                return Ok(head);
            }
        }
    }

    /// Reads the rest of the body; the buffer holds the head and the body's first bytes.
    fn read_body(&mut self, head: &Head) -> io::Result<Answer> {
        let mut events = Events::default();
        let mut length = head.filled - head.end;
        let mut range = head.end..head.filled;
        let mut first = None;
        loop {
            let bytes = self.buffer.get(range).unwrap_or_default();
            let complete = match head.length {
                Some(expected) => length >= expected,
                None => events.push(bytes),
            };
            if first.is_none() && (events.count > 0 || complete) {
                first = Some(Instant::now());
            }
            if let (true, Some(first)) = (complete, first) {
                return Ok(Answer { events: events.count, first });
            }
            let count = self.stream.read(&mut self.buffer)?;
            if count == 0 {
                return Err(io::Error::other("the connection ended inside an answer"));
            }
            length += count;
            range = 0..count;
        }
    }
}

/// The head of an answer in the buffer.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// `content-length`; `None` means chunked.
    length: Option<usize>,
    /// Where the body starts.
    end: usize,
    /// How many bytes the buffer holds.
    filled: usize,
}

impl Head {
    fn parse(bytes: &[u8]) -> io::Result<Option<Head>> {
        let Some(at) = memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
        let text = std::str::from_utf8(bytes.get(..at).unwrap_or_default()).map_err(io::Error::other)?;
        let status = text.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.ok_or_else(|| io::Error::other("the answer is not HTTP"))?;
        let length = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            if name.eq_ignore_ascii_case("content-length") { value.trim().parse().ok() } else { None }
        });
        Ok(Some(Head { status, length, end: at + 4, filled: bytes.len() }))
    }
}

/// Counts server-sent events in a chunked body, whatever the reads cut apart.
#[derive(Debug, Default)]
struct Events {
    count: usize,
    /// The last bytes seen: too short to hold a whole event mark, long enough to complete one.
    tail: Vec<u8>,
}

impl Events {
    /// Looks at the next bytes; `true` when the body is complete.
    fn push(&mut self, bytes: &[u8]) -> bool {
        const MARK: &[u8] = b"data:";
        let keep = MARK.len() - 1;
        let seam = self.tail.len();
        self.tail.extend_from_slice(bytes.get(..bytes.len().min(keep)).unwrap_or_default());
        if seam > 0 {
            self.count += memmem::find_iter(&self.tail, MARK).count();
        }
        self.count += memmem::find_iter(bytes, MARK).count();
        self.tail.truncate(seam);
        self.tail.extend_from_slice(
            bytes.get(bytes.len().saturating_sub(CHUNKED_END.len())..).unwrap_or_default(),
        );
        let complete = self.tail.ends_with(CHUNKED_END);
        self.tail.drain(..self.tail.len().saturating_sub(keep));
        complete
    }
}

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
    let work = || -> io::Result<(u32, usize)> {
        // The first call opens the path: connections, caches, the server's own pools.
        let ready = Connection::open(server.address)
            .and_then(|mut connection| connection.call(&request, call.expect).map(|_| connection));
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
            .collect::<io::Result<Vec<_>>>()?;
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
    let work = |number: u32| -> io::Result<Vec<f64>> {
        let ready = Connection::open(server.address)
            .and_then(|mut connection| connection.call(&request, call.expect).map(|_| connection));
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
            let work = move || {
                Connection::open(server.address).and_then(|mut connection| connection.call(request, *expect))
            };
            threads.push(thread::Builder::new().stack_size(128 << 10).spawn_scoped(scope, work)?);
        }
        for thread in threads {
            joined(thread)?;
        }
        Ok(())
    })
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, io::Result<T>>) -> anyhow::Result<T> {
    let result = thread.join().map_err(|_| anyhow::anyhow!("a load thread panicked"))?;
    result.context("a call failed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_under_any_cut() {
        let body = b"5\r\ndata: 1\n\n\r\n5\r\ndata: 2\n\nevent: x\ndata: 3\n\n\r\n0\r\n\r\n";
        for size in 1..=body.len() {
            let mut events = Events::default();
            let mut complete = false;
            for piece in body.chunks(size) {
                assert!(!complete, "complete too early with pieces of {size}");
                complete = events.push(piece);
            }
            assert_eq!((events.count, complete), (3, true), "pieces of {size}");
        }
    }

    #[test]
    fn a_head_gives_status_and_length() {
        fn check(text: &str, expected: Option<(u16, Option<usize>)>) {
            let found = Head::parse(text.as_bytes()).unwrap().map(|head| (head.status, head.length));
            assert_eq!(found, expected, "{text}");
        }
        check("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nabc", Some((200, Some(12))));
        check("HTTP/1.1 429 Too Many\r\ntransfer-encoding: chunked\r\n\r\n", Some((429, None)));
        check("HTTP/1.1 200 OK\r\nContent-Le", None);
        assert!(Head::parse(b"hello\r\n\r\n").is_err());
    }
}

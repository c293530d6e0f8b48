//! A model provider that costs next to nothing: fixed answers, one thread per connection, no HTTP library.
//!
//! It shares a core with the load generator, so every microsecond it spends is one the server under test cannot be
//! driven with. What it answers follows from the model's name in the request (see [`answers::Plan`]); a path that
//! ends in `/messages` is answered in Anthropic's shape, every other in OpenAI's.

mod answers;

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use answers::{Answers, Plan, Shape};
use clap::Parser;
use memchr::memmem;

#[derive(Parser)]
struct Options {
    /// Port to listen on, at 127.0.0.1.
    #[arg(long)]
    port: u16,
}

/// Largest request accepted. The benchmark's own prompts are 100 KB.
const MAX_REQUEST_BYTES: usize = 4 << 20;

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))?;
    for stream in listener.incoming() {
        let stream = stream?;
        thread::Builder::new().stack_size(256 << 10).spawn(move || {
            // The peer closing its connection, also in the middle of an answer, ends the thread.
            let _ = converse(stream);
        })?;
    }
    Ok(())
}

/// Answers the requests of one connection until the peer closes it.
fn converse(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let answers = Answers::new();
    let mut buffer = Vec::with_capacity(256 << 10);
    while let Some(request) = read_request(&mut stream, &mut buffer)? {
        let head = buffer.get(..request.head).unwrap_or_default();
        let body = buffer.get(request.head..request.end).unwrap_or_default();
        let shape = Shape::of(head);
        let plan = Plan::of(body);
        answer(&mut stream, &answers, shape, plan)?;
        buffer.drain(..request.end);
    }
    Ok(())
}

fn answer(stream: &mut TcpStream, answers: &Answers, shape: Shape, plan: Plan) -> io::Result<()> {
    static FLAKY_CALLS: AtomicU64 = AtomicU64::new(0);
    if plan.flaky && FLAKY_CALLS.fetch_add(1, Ordering::Relaxed).is_multiple_of(10) {
        return stream.write_all(answers.failure());
    }
    if !plan.hold.is_zero() {
        thread::sleep(plan.hold);
    }
    let Some(chunks) = plan.chunks else {
        return stream.write_all(answers.whole(shape));
    };
    let parts = answers.stream(shape);
    stream.write_all(parts.head)?;
    for chunk in 0..chunks {
        if chunk > 0 && !plan.pause.is_zero() {
            thread::sleep(plan.pause);
        }
        stream.write_all(parts.chunk)?;
    }
    stream.write_all(parts.tail)
}

/// Where the parts of a request are in the buffer.
struct Request {
    head: usize,
    end: usize,
}

/// Reads until `buffer` starts with a complete request; `None` when the peer closed between requests.
fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Request>> {
    let mut block = [0; 64 << 10];
    loop {
        if let Some(request) = complete(buffer)? {
            return Ok(Some(request));
        }
        if buffer.len() > MAX_REQUEST_BYTES {
            return Err(io::Error::other("the request is too large"));
        }
        let count = stream.read(&mut block)?;
        if count == 0 {
            return Ok(None);
        }
        buffer.extend_from_slice(block.get(..count).unwrap_or_default());
    }
}

/// The request at the start of `buffer`, if it is all there. Reads `content-length` and chunked bodies.
fn complete(buffer: &[u8]) -> io::Result<Option<Request>> {
    let Some(at) = memmem::find(buffer, b"\r\n\r\n") else { return Ok(None) };
    let head = at + 4;
    let Some(length) = content_length(buffer.get(..head).unwrap_or_default()) else {
        let body = buffer.get(head..).unwrap_or_default();
        // The last chunk is the only place where a zero size line is followed by an empty line.
        return Ok(memmem::find(body, b"0\r\n\r\n").map(|at| Request { head, end: head + at + 5 }));
    };
    let end = head + length;
    Ok((buffer.len() >= end).then_some(Request { head, end }))
}

/// The `content-length` of a request; `Some(0)` when it has no body at all.
fn content_length(head: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(head).ok()?;
    let header = |name: &str| {
        text.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    };
    match header("content-length") {
        Some(value) => value.parse().ok(),
        None if header("transfer-encoding").is_some() => None,
        None => Some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(buffer: &[u8], expected: Option<(usize, usize)>) {
        let found = complete(buffer).unwrap().map(|request| (request.head, request.end));
        assert_eq!(found, expected, "{:?}", String::from_utf8_lossy(buffer));
    }

    #[test]
    fn a_request_is_complete_when_its_body_has_arrived() {
        check(b"POST / HTTP/1.1\r\ncontent-length: 2\r\n", None);
        check(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{", None);
        check(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", Some((38, 40)));
        check(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}POST", Some((38, 40)));
        check(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", None);
        check(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", Some((47, 59)));
        check(b"GET / HTTP/1.1\r\n\r\n", Some((18, 18)));
    }
}

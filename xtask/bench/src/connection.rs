//! A blocking HTTP/1.1 connection that writes prepared bytes and parses only what it must.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use memchr::memmem;

use crate::call::Expect;

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

/// Why a call was not answered as expected.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A complete answer with another status than 200, and how its body begins.
    Status(u16, String),
    /// No complete answer, or one that lacks what was expected.
    Broken(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Status(status, body) => write!(f, "status {status}: {body}"),
            Failure::Broken(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Broken(error)
    }
}

impl Connection {
    /// Connects.
    pub(crate) fn open(address: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Connection { stream, buffer: vec![0; 64 << 10] })
    }

    /// Connects and makes one call; the connection can be used on.
    pub(crate) fn warm(address: SocketAddr, request: &[u8], expect: Expect) -> Result<Connection, Failure> {
        let mut connection = Connection::open(address)?;
        connection.call(request, expect)?;
        Ok(connection)
    }

    /// Sends `request` and reads its answer to the end. Fails unless it is a 200 as expected.
    pub(crate) fn call(&mut self, request: &[u8], expect: Expect) -> Result<Answer, Failure> {
        self.send(request)?;
        let head = self.read_head()?;
        if head.status != 200 {
            let body = self.buffer.get(head.end..head.filled.min(head.end + 300)).unwrap_or_default();
            let body = String::from_utf8_lossy(body).into_owned();
            self.read_body(&head)?;
            return Err(Failure::Status(head.status, body));
        }
        let answer = self.read_body(&head)?;
        match expect {
            Expect::Events(least) if answer.events < least => {
                Err(io::Error::other(format!("{} of {least} events", answer.events)).into())
            }
            Expect::Json if head.length.is_none() && answer.events > 0 => {
                Err(io::Error::other("a stream where a JSON answer was expected").into())
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

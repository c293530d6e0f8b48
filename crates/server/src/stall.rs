//! A connection that gives up on a client who stops reading or does not finish its headers, and that closes politely.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use crate::peer::{Busy, Peer};

/// How long a closed connection still takes what the client sends. Closing at once would reset it, and a client that
/// is still sending its body would lose the answer that says why it was refused.
const LINGER: Duration = Duration::from_secs(1);

/// A TCP connection whose writes fail after the client took nothing for a while.
///
/// Without it a client could hold an answer, and the provider's connection behind it, for ever.
pub(crate) struct StallGuard {
    io: TokioIo<TcpStream>,
    peer: Arc<Peer>,
    patience: Duration,
    /// Armed while a write waits, which keeps us busy with the client.
    waiting: Option<(Pin<Box<Sleep>>, Busy)>,
    head: Option<Head>,
    /// Armed when our side is closed.
    lingering: Option<Pin<Box<Sleep>>>,
}

/// The wait for the rest of a request's headers. HTTP/1 only: hyper knows one time for the silence between two requests and
/// for the headers of the next, and the first may be much longer.
struct Head {
    time: Duration,
    /// Calls that had begun when we last looked.
    calls: usize,
    /// Something came, and no call has begun since.
    begun: bool,
    /// Armed while the rest is waited for.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Head {
    /// Something came, or nothing did. Ready when the rest of the headers took too long.
    fn poll(&mut self, context: &mut Context<'_>, came: bool, peer: &Peer) -> Poll<()> {
        let (calls, busy) = (peer.calls(), peer.is_busy());
        if calls != self.calls || busy {
            (self.calls, self.begun, self.sleep) = (calls, false, None);
        }
        // What comes during a call is its body.
        self.begun |= came && !busy;
        if came || !self.begun {
            return Poll::Pending;
        }
        let time = self.time;
        self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(time))).as_mut().poll(context)
    }
}

impl StallGuard {
    /// `patience` is the longest wait for a write; `head` that for the rest of a request's headers.
    pub(crate) fn new(
        stream: TcpStream,
        peer: Arc<Peer>,
        patience: Duration,
        head: Option<Duration>,
    ) -> StallGuard {
        let head = head.map(|time| Head { time, calls: 0, begun: false, sleep: None });
        StallGuard { io: TokioIo::new(stream), peer, patience, waiting: None, head, lingering: None }
    }

    /// Discards what the client still sends until it closes, too.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sleep = self.lingering.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        let mut bytes = [0; 8 << 10];
        while sleep.as_mut().poll(context).is_pending() {
            let mut part = ReadBuf::new(&mut bytes);
            match std::task::ready!(Pin::new(self.io.inner_mut()).poll_read(context, &mut part)) {
                Ok(()) if !part.filled().is_empty() => {}
                // The client has closed, properly or not.
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn watch<T>(&mut self, context: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.waiting = None;
            return result;
        }
        let (patience, peer) = (self.patience, &self.peer);
        let (sleep, _) = self.waiting.get_or_insert_with(|| {
            (Box::pin(tokio::time::sleep_until(Instant::now() + patience)), Busy::with(peer))
        });
        std::task::ready!(sleep.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client stopped reading")))
    }
}

impl Read for StallGuard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let result = Pin::new(&mut this.io).poll_read(context, buffer);
        if let Some(head) = &mut this.head
            && head.poll(context, result.is_ready(), &this.peer).is_ready()
        {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the headers came too slowly")));
        }
        result
    }
}

impl Write for StallGuard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(context, bytes);
        self.watch(context, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.io).poll_flush(context);
        self.watch(context, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            let result = Pin::new(&mut self.io).poll_shutdown(context);
            std::task::ready!(self.watch(context, result))?;
        }
        self.poll_linger(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(context, slices);
        self.watch(context, result)
    }
}

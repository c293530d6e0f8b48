//! A connection that gives up on a client who says nothing, or stops reading, and that closes politely.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// Telling HTTP/1 from HTTP/2 takes so many bytes, and hyper waits for them without limit.
const OPENING: usize = 24;

/// How long a closed connection still takes what the client sends. Closing at once would reset it, and a client that
/// is still sending its body would lose the answer that says why it was refused.
const LINGER: Duration = Duration::from_secs(1);

/// A TCP connection whose first bytes must come in time, and whose writes fail after the client took nothing for a
/// while.
///
/// Without it a client could hold an answer, and the provider's connection behind it, for ever.
pub(crate) struct StallGuard {
    io: TokioIo<TcpStream>,
    patience: Duration,
    /// Until when the first bytes must have come, and how many are missing.
    opening: Option<(Pin<Box<Sleep>>, usize)>,
    /// Armed while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
    /// Armed when our side is closed.
    lingering: Option<Pin<Box<Sleep>>>,
}

impl StallGuard {
    /// `opening` is the longest wait for the first bytes, `patience` for a write.
    pub(crate) fn new(stream: TcpStream, opening: Duration, patience: Duration) -> StallGuard {
        let opening = Some((Box::pin(tokio::time::sleep(opening)), OPENING));
        StallGuard { io: TokioIo::new(stream), patience, opening, waiting: None, lingering: None }
    }

    /// Reads no more than what is missing, so that it can be counted.
    fn poll_opening(
        &mut self,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Some((deadline, missing)) = &mut self.opening else { return Poll::Ready(Ok(())) };
        let mut bytes = [0; OPENING];
        let most = (*missing).min(buffer.remaining());
        let mut part = ReadBuf::new(bytes.get_mut(..most).unwrap_or_default());
        match Pin::new(self.io.inner_mut()).poll_read(context, &mut part) {
            Poll::Ready(result) => {
                result?;
                buffer.put_slice(part.filled());
                *missing -= part.filled().len();
                if *missing == 0 || part.filled().is_empty() {
                    self.opening = None;
                }
                Poll::Ready(Ok(()))
            }
            Poll::Pending => {
                std::task::ready!(deadline.as_mut().poll(context));
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client said nothing")))
            }
        }
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
        let patience = self.patience;
        let sleep =
            self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + patience)));
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
        if self.opening.is_some() {
            return self.poll_opening(context, buffer);
        }
        Pin::new(&mut self.io).poll_read(context, buffer)
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

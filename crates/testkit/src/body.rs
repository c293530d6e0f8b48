//! A reply's body as hyper sends it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use crate::record::Ticket;
use crate::reply::{Ending, Reply};
use crate::socket::ResetSwitch;

/// Lets what was written leave before the connection breaks.
const BEFORE_BREAK: Duration = Duration::from_millis(20);

/// Sends a reply's chunks at their times and ends as it says.
pub(crate) struct ReplyBody {
    reply: Arc<Reply>,
    at: usize,
    timer: Option<Pin<Box<Sleep>>>,
    ticket: Ticket,
    reset: ResetSwitch,
}

impl ReplyBody {
    pub(crate) fn new(reply: Arc<Reply>, ticket: Ticket, reset: ResetSwitch) -> ReplyBody {
        ReplyBody { reply, at: 0, timer: None, ticket, reset }
    }

    /// Ready when `pause` has passed since it was first asked.
    fn poll_pause(&mut self, pause: Duration, cx: &mut Context<'_>) -> Poll<()> {
        if pause.is_zero() {
            return Poll::Ready(());
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(pause)));
        let done = timer.as_mut().poll(cx);
        if done.is_ready() {
            self.timer = None;
        }
        done
    }

    /// Ends the connection, with a reset if so wished.
    fn break_off(&mut self, reset: bool, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.poll_pause(BEFORE_BREAK, cx).is_pending() {
            return Poll::Pending;
        }
        self.ticket.abandon();
        if reset {
            self.reset.store(true, Ordering::Release);
        }
        Poll::Ready(Some(Err(Broken)))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        let reply = Arc::clone(&this.reply);
        if let Some(chunk) = reply.chunks.get(this.at) {
            if this.poll_pause(chunk.after, cx).is_pending() {
                return Poll::Pending;
            }
            this.at += 1;
            let last = this.at == reply.chunks.len() && reply.ending == Ending::Complete;
            this.ticket.sent();
            if last {
                // hyper may not ask again when it knows the length.
                this.ticket.finish();
            }
            return Poll::Ready(Some(Ok(Frame::data(chunk.bytes.clone()))));
        }
        match reply.ending {
            Ending::Complete => {
                this.ticket.finish();
                Poll::Ready(None)
            }
            Ending::Cut => this.break_off(false, cx),
            Ending::Reset => this.break_off(true, cx),
            // Nothing wakes this task again but the caller hanging up.
            Ending::Stall => Poll::Pending,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.reply.chunks.as_slice() {
            [only] if self.at == 0 && self.reply.ending == Ending::Complete => {
                SizeHint::with_exact(only.bytes.len() as u64)
            }
            _ => SizeHint::default(),
        }
    }
}

/// Makes hyper close the connection.
#[derive(Debug)]
pub(crate) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the script breaks the connection")
    }
}

impl std::error::Error for Broken {}

//! What goes back to the caller, and the body that streams it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tollway_model::{Dialect, Error, Event};
use tollway_wire::{Framing, codec};

use crate::answer::{Opened, Showing, Source};
use crate::pieces::{Cut, Pieces};
use crate::ticket::{Settlement, Ticket};

/// What goes back to the caller.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: ReplyBody,
}

/// A body, whole or streamed.
pub enum ReplyBody {
    /// All of it.
    Full(Option<Bytes>),
    /// Piece by piece.
    Stream(Box<StreamReply>),
    /// Made while it is sent.
    Pieces(Pieces),
}

impl std::fmt::Debug for ReplyBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ReplyBody::Full(_) => "Full",
            ReplyBody::Stream(_) => "Stream",
            ReplyBody::Pieces(_) => "Pieces",
        })
    }
}

impl ReplyBody {
    /// A whole body.
    pub fn full(bytes: impl Into<Bytes>) -> ReplyBody {
        ReplyBody::Full(Some(bytes.into()))
    }
}

impl http_body::Body for ReplyBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.get_mut() {
            ReplyBody::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            ReplyBody::Stream(stream) => {
                stream.poll_next(context).map(|next| next.map(|bytes| Ok(Frame::data(bytes))))
            }
            ReplyBody::Pieces(pieces) => {
                pieces.poll_next(context).map(|next| next.map(|piece| piece.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ReplyBody::Full(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            ReplyBody::Stream(stream) => stream.is_over(),
            ReplyBody::Pieces(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ReplyBody::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            ReplyBody::Stream(_) | ReplyBody::Pieces(_) => SizeHint::default(),
        }
    }
}

/// How long a provider may keep its connection open after the end of its stream. Mostly it is closed with the last
/// bytes, and can be used again only if that is seen.
const LINGER: Duration = Duration::from_secs(1);

/// An attempt that is still running when the caller is already told to wait.
pub(crate) type Pending = Pin<Box<dyn Future<Output = (Ticket, Result<Opened, Error>)> + Send>>;

/// A stream for the caller.
///
/// Sends a comment whenever nothing was sent for the keep-alive interval, so that load balancers keep the connection.
/// Dropping it drops the provider's connection, which stops the generation, and settles the call's ticket.
pub struct StreamReply {
    state: State,
    ready: VecDeque<Bytes>,
    showing: Showing,
    ticket: Option<Ticket>,
    keep_alive: Option<Duration>,
    last_sent: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
    /// The stream has come to its end, and the provider's connection is waited for.
    lingers: bool,
}

enum State {
    Waiting(Pending),
    Streaming(Box<Source>),
    Over,
}

impl StreamReply {
    /// A stream whose first piece is here.
    pub(crate) fn streaming(
        first: Bytes,
        source: Box<Source>,
        showing: Showing,
        ticket: Ticket,
        keep_alive: Option<Duration>,
    ) -> StreamReply {
        let state = State::Streaming(source);
        StreamReply::new(state, VecDeque::from([first]), showing, Some(ticket), keep_alive)
    }

    /// A stream whose provider has been silent for a whole keep-alive interval.
    pub(crate) fn waiting(pending: Pending, showing: Showing, keep_alive: Option<Duration>) -> StreamReply {
        let first = keep_alive_bytes(&showing);
        StreamReply::new(State::Waiting(pending), VecDeque::from([first]), showing, None, keep_alive)
    }

    fn new(
        state: State,
        ready: VecDeque<Bytes>,
        showing: Showing,
        ticket: Option<Ticket>,
        keep_alive: Option<Duration>,
    ) -> StreamReply {
        StreamReply {
            state,
            ready,
            showing,
            ticket,
            keep_alive,
            last_sent: Instant::now(),
            sleep: None,
            lingers: false,
        }
    }

    fn is_over(&self) -> bool {
        self.ready.is_empty() && matches!(self.state, State::Over)
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                if self.sleep.is_some() {
                    self.last_sent = Instant::now();
                }
                return Poll::Ready(Some(bytes));
            }
            let progressed = match &mut self.state {
                State::Over => return Poll::Ready(None),
                State::Waiting(pending) => match pending.as_mut().poll(context) {
                    Poll::Ready((mut ticket, opened)) => {
                        ticket.first_byte();
                        self.ticket = Some(ticket);
                        self.opened(opened);
                        true
                    }
                    Poll::Pending => false,
                },
                State::Streaming(source) => match source.poll_next(context) {
                    Poll::Ready(Some(Ok(bytes))) => {
                        // Booked before the caller can see the end, so that nothing it has seen whole can be lost.
                        if source.is_complete()
                            && let Some(mut ticket) = self.ticket.take()
                        {
                            ticket.answered(source.settlement());
                        }
                        self.ready.push_back(bytes);
                        true
                    }
                    // All has been said: what happens to the connection after that is no failure of the call.
                    Poll::Ready(Some(Err(_))) if source.has_ended() => {
                        self.ended();
                        true
                    }
                    Poll::Ready(Some(Err(error))) => {
                        let settlement = source.settlement();
                        let told = source.tell(&error, &self.showing);
                        self.broke_off(&error, told, settlement);
                        true
                    }
                    Poll::Ready(None) => {
                        self.ended();
                        true
                    }
                    Poll::Pending if source.has_ended() => {
                        std::task::ready!(self.poll_linger(context));
                        self.ended();
                        true
                    }
                    Poll::Pending => false,
                },
            };
            if progressed {
                continue;
            }
            std::task::ready!(self.poll_keep_alive(context));
            self.ready.push_back(keep_alive_bytes(&self.showing));
        }
    }

    fn opened(&mut self, opened: Result<Opened, Error>) {
        match opened {
            Ok(Opened::Stream { first, source, .. }) => {
                self.state = State::Streaming(source);
                self.ready.push_back(first);
            }
            // A stream was asked for, so a whole answer cannot come; treat it as the end if it ever does.
            Ok(Opened::Complete { body, settlement, .. }) => {
                self.ready.push_back(body);
                self.state = State::Over;
                if let Some(mut ticket) = self.ticket.take() {
                    ticket.answered(settlement);
                }
            }
            Err(error) => {
                let told = tell(&error, &self.showing);
                self.broke_off(&error, told, Settlement::default());
            }
        }
    }

    /// The stream is over as it should be.
    fn ended(&mut self) {
        if let State::Streaming(source) = &mut self.state
            && let Some(mut ticket) = self.ticket.take()
        {
            ticket.answered(source.settlement());
        }
        self.state = State::Over;
    }

    /// Ready when the provider's connection has been waited for long enough.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !std::mem::replace(&mut self.lingers, true) {
            self.sleep = None;
        }
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        sleep.as_mut().poll(context)
    }

    /// The stream broke off; `told` says so in the caller's own dialect.
    fn broke_off(&mut self, error: &Error, told: Bytes, settlement: Settlement) {
        self.ready.push_back(told);
        self.state = State::Over;
        if let Some(mut ticket) = self.ticket.take() {
            ticket.learn(settlement);
            ticket.failed(error, 200);
        }
    }

    /// Ready when nothing was sent for the keep-alive interval.
    fn poll_keep_alive(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(interval) = self.keep_alive else { return Poll::Pending };
        if self.sleep.is_none() {
            self.last_sent = Instant::now();
        }
        let last = self.last_sent;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(last + interval)));
        loop {
            std::task::ready!(sleep.as_mut().poll(context));
            let due = self.last_sent + interval;
            if Instant::now() >= due {
                sleep.as_mut().reset(Instant::now() + interval);
                // Register the new deadline; it cannot have passed yet.
                let _ = sleep.as_mut().poll(context);
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
    }
}

impl Drop for StreamReply {
    fn drop(&mut self) {
        // The client went away in the middle: keep what is known of usage for the receipt.
        if let (State::Streaming(source), Some(ticket)) = (&mut self.state, &mut self.ticket) {
            ticket.learn(source.settlement());
        }
    }
}

/// A failure as the only event of a stream.
fn tell(error: &Error, showing: &Showing) -> Bytes {
    let mut bytes = Vec::new();
    codec(showing.surface).encoder(&showing.view()).push(&Event::Error(error.clone()), &mut bytes);
    let bytes = Bytes::from(bytes);
    match &showing.turn {
        Some(turn) => turn.passage(false).pass(bytes),
        None => bytes,
    }
}

/// Bytes that every reader of the dialect skips. Google's clients take a comment for JSON; an empty line they skip.
fn keep_alive_bytes(showing: &Showing) -> Bytes {
    match (showing.surface, showing.framing) {
        (Dialect::Gemini, _) | (_, Framing::JsonArray) => Bytes::from_static(b"\n"),
        (_, Framing::Sse) => Bytes::from_static(b": keep-alive\n\n"),
    }
}

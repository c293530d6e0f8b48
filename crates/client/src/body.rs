//! A provider's body as it arrives, with its timeouts.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};
use tollway_model::{Error, Kind, Result};

use crate::transport::{Timeouts, bounded, chain, timed_out};

/// Largest unstreamed answer that is kept in memory.
pub const MAX_ANSWER_BYTES: usize = 128 << 20;

/// Most bytes of a streamed answer: a million tokens in an event each are less. Decoders keep parts of a stream, and a
/// provider that never ends must not fill the memory with them.
pub const MAX_STREAM_BYTES: usize = 512 << 20;

/// The body of an answer, in the pieces it arrives in.
///
/// Fails when nothing arrives for the idle timeout, when the total deadline passes, when the connection breaks, or
/// after [`MAX_STREAM_BYTES`].
pub struct AnswerBody {
    body: Incoming,
    idle: Duration,
    total: Duration,
    deadline: Instant,
    last: Instant,
    /// Armed only while waiting, and re-armed only after it fired: a piece of body costs no timer operation.
    sleep: Option<Pin<Box<Sleep>>>,
    done: bool,
    /// Bytes that may still come.
    left: usize,
}

impl std::fmt::Debug for AnswerBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AnswerBody").field("done", &self.done).finish_non_exhaustive()
    }
}

impl AnswerBody {
    /// A body of an attempt that began at `start`.
    pub(crate) fn new(body: Incoming, start: Instant, timeouts: &Timeouts) -> AnswerBody {
        let (idle, total) = (bounded(timeouts.idle), bounded(timeouts.total));
        AnswerBody {
            body,
            idle,
            total,
            deadline: start + total,
            last: Instant::now(),
            sleep: None,
            done: false,
            left: MAX_STREAM_BYTES,
        }
    }

    /// The next piece; `None` at the end. An error is the end, too.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            if self.done {
                return Poll::Ready(None);
            }
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers say nothing we use.
                    let Ok(data) = frame.into_data() else { continue };
                    if data.is_empty() {
                        continue;
                    }
                    if self.sleep.is_some() {
                        self.last = Instant::now();
                    }
                    let Some(left) = self.left.checked_sub(data.len()) else {
                        self.done = true;
                        let message =
                            format!("the provider's answer is longer than {MAX_STREAM_BYTES} bytes");
                        return Poll::Ready(Some(Err(Error::new(Kind::Upstream, message))));
                    };
                    self.left = left;
                    return Poll::Ready(Some(Ok(data)));
                }
                Poll::Ready(Some(Err(error))) => {
                    self.done = true;
                    let error = Error::new(
                        Kind::Connection,
                        "the connection to the provider broke inside the answer",
                    )
                    .with_context("cause", chain(&error));
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(None) => {
                    self.done = true;
                    return Poll::Ready(None);
                }
                Poll::Pending => {}
            }
            let error = ready!(self.poll_timeout(context));
            self.done = true;
            return Poll::Ready(Some(Err(error)));
        }
    }

    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes>> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// The whole body, up to `limit` bytes.
    pub async fn collect(mut self, limit: usize) -> Result<Bytes> {
        let Some(first) = self.next().await else { return Ok(Bytes::new()) };
        let first = first?;
        let Some(second) = self.next().await else { return within(first, limit) };
        let mut all = BytesMut::with_capacity(first.len().saturating_mul(2).min(limit));
        all.extend_from_slice(&first);
        all.extend_from_slice(&second?);
        while let Some(piece) = self.next().await {
            all.extend_from_slice(&piece?);
            if all.len() > limit {
                break;
            }
        }
        within(all.freeze(), limit)
    }

    fn poll_timeout(&mut self, context: &mut Context<'_>) -> Poll<Error> {
        if self.sleep.is_none() {
            self.last = Instant::now();
        }
        let (last, idle, deadline) = (self.last, self.idle, self.deadline);
        let sleep =
            self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until((last + idle).min(deadline))));
        loop {
            ready!(sleep.as_mut().poll(context));
            let now = Instant::now();
            if now >= deadline {
                return Poll::Ready(timed_out("the provider did not finish its answer", self.total));
            }
            let due = last + idle;
            if now >= due {
                return Poll::Ready(timed_out("the provider sent nothing more", idle));
            }
            sleep.as_mut().reset(due.min(deadline));
        }
    }
}

fn within(body: Bytes, limit: usize) -> Result<Bytes> {
    if body.len() > limit {
        return Err(Error::new(
            Kind::Upstream,
            format!("the provider's answer is longer than {limit} bytes"),
        ));
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use tollway_testkit::FakeProvider;

    use super::*;
    use crate::transport::Transport;

    #[tokio::test]
    async fn an_answer_without_end_is_cut_off() {
        let fake = FakeProvider::start().await.unwrap();
        let ask = r#"{"model":"fake-tokens-500+chunk-50","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
        let request = http::Request::post(format!("{}/v1/chat/completions", fake.url()))
            .header("authorization", "Bearer sk-x")
            .header("content-type", "application/json")
            .body(Bytes::from_static(ask.as_bytes()))
            .unwrap();
        let answer = Transport::default().send(request, &Timeouts::default()).await.unwrap();
        let mut body = answer.body;
        body.left = 1000;
        let (mut bytes, mut end) = (0, None);
        while let Some(piece) = body.next().await {
            match piece {
                Ok(piece) => bytes += piece.len(),
                Err(error) => end = Some(error),
            }
        }
        assert!(bytes <= 1000, "{bytes}");
        assert_eq!(end.map(|error| error.kind()), Some(Kind::Upstream));
    }
}

//! A provider's body as it arrives, with its timeouts.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// Pieces that have arrived together are handed out as one up to about this many bytes.
const MAX_GATHERED_BYTES: usize = 8 << 10;

/// How often the connection gets its turn before a piece goes out alone. Hyper's server looks twice in one turn of its
/// own, so that once is too little.
const MAX_LOOKS: u8 = 2;

/// Whether a connection waits for the network: all that has arrived on it is read and on its way.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drained(Arc<AtomicBool>);

impl Drained {
    pub(crate) fn set(&self, drained: bool) {
        // Mostly it is so already, and another core may be reading.
        if self.get() != drained {
            self.0.store(drained, Ordering::Relaxed);
        }
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The body of an answer, in the pieces it arrives in.
///
/// Pieces that have arrived together come as one, so that whoever passes them on writes them at once; nothing that has
/// arrived waits for what has not. Fails when nothing arrives for the idle timeout, when the total deadline passes,
/// when the connection breaks, or after [`MAX_STREAM_BYTES`].
pub struct AnswerBody {
    body: Incoming,
    idle: Duration,
    total: Duration,
    deadline: Instant,
    last: Instant,
    /// Armed only while waiting, and re-armed only after it fired: a piece of body costs no timer operation.
    sleep: Option<Pin<Box<Sleep>>>,
    done: bool,
    /// Why it is done, when that comes after what is still held.
    failure: Option<Error>,
    /// Bytes that may still come.
    left: usize,
    drained: Option<Drained>,
    /// The first piece is handed out: from now on pieces are gathered.
    started: bool,
    held: Held,
    /// How often there was nothing more since the last piece was held.
    looks: u8,
}

impl std::fmt::Debug for AnswerBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AnswerBody").field("done", &self.done).finish_non_exhaustive()
    }
}

impl AnswerBody {
    /// A body of an attempt that began at `start`.
    pub(crate) fn new(
        body: Incoming,
        start: Instant,
        timeouts: &Timeouts,
        drained: Option<Drained>,
    ) -> AnswerBody {
        let (idle, total) = (bounded(timeouts.idle), bounded(timeouts.total));
        AnswerBody {
            body,
            idle,
            total,
            deadline: start + total,
            last: Instant::now(),
            sleep: None,
            done: false,
            failure: None,
            left: MAX_STREAM_BYTES,
            drained,
            started: false,
            held: Held::default(),
            looks: 0,
        }
    }

    /// The next piece; `None` at the end. An error is the end, too.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if !self.started {
            let first = ready!(self.poll_piece(context));
            self.started = true;
            return Poll::Ready(first);
        }
        loop {
            match self.poll_arrived(context) {
                Poll::Ready(Some(Ok(piece))) => {
                    self.looks = 0;
                    self.held.add(piece);
                    if self.held.len() < MAX_GATHERED_BYTES && !self.body.is_end_stream() {
                        continue;
                    }
                }
                Poll::Ready(end) if self.held.is_empty() => return Poll::Ready(end),
                Poll::Ready(end) => self.failure = end.and_then(Result::err),
                Poll::Pending if self.held.is_empty() => {
                    return self.poll_timeout(context).map(|error| Some(Err(error)));
                }
                // The connection hands over one piece at a time and goes on when it has its turn.
                Poll::Pending if self.looks < MAX_LOOKS && self.may_have_more() => {
                    self.looks += 1;
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Pending => {}
            }
            if self.sleep.is_some() {
                self.last = Instant::now();
            }
            return Poll::Ready(Some(Ok(self.held.take())));
        }
    }

    fn may_have_more(&self) -> bool {
        self.drained.as_ref().is_some_and(|drained| !drained.get())
    }

    /// The next piece as the connection hands it over.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let arrived = self.poll_arrived(context);
        if arrived.is_pending() {
            return self.poll_timeout(context).map(|error| Some(Err(error)));
        }
        if self.sleep.is_some() {
            self.last = Instant::now();
        }
        arrived
    }

    /// The same without its timeouts.
    fn poll_arrived(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            if self.done {
                return Poll::Ready(self.failure.take().map(Err));
            }
            let data = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                // Trailers say nothing we use.
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(error)) => {
                    self.done = true;
                    let error = Error::new(
                        Kind::Connection,
                        "the connection to the provider broke inside the answer",
                    )
                    .with_context("cause", chain(&error));
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    self.done = true;
                    return Poll::Ready(None);
                }
            };
            if data.is_empty() {
                continue;
            }
            let Some(left) = self.left.checked_sub(data.len()) else {
                self.done = true;
                let message = format!("the provider's answer is longer than {MAX_STREAM_BYTES} bytes");
                return Poll::Ready(Some(Err(Error::new(Kind::Upstream, message))));
            };
            self.left = left;
            return Poll::Ready(Some(Ok(data)));
        }
    }

    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes>> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    async fn piece(&mut self) -> Option<Result<Bytes>> {
        std::future::poll_fn(|context| self.poll_piece(context)).await
    }

    /// The whole body, up to `limit` bytes.
    pub async fn collect(mut self, limit: usize) -> Result<Bytes> {
        let Some(first) = self.piece().await else { return Ok(Bytes::new()) };
        let first = first?;
        let Some(second) = self.piece().await else { return within(first, limit) };
        let mut all = BytesMut::with_capacity(first.len().saturating_mul(2).min(limit));
        all.extend_from_slice(&first);
        all.extend_from_slice(&second?);
        while let Some(piece) = self.piece().await {
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
                self.done = true;
                return Poll::Ready(timed_out("the provider did not finish its answer", self.total));
            }
            let due = last + idle;
            if now >= due {
                self.done = true;
                return Poll::Ready(timed_out("the provider sent nothing more", idle));
            }
            sleep.as_mut().reset(due.min(deadline));
        }
    }
}

/// Pieces that wait for each other; one alone is not copied.
#[derive(Default)]
struct Held {
    first: Bytes,
    joined: BytesMut,
}

impl Held {
    fn add(&mut self, piece: Bytes) {
        if self.is_empty() {
            self.first = piece;
            return;
        }
        if self.joined.is_empty() {
            self.joined.reserve((self.first.len() + piece.len()) * 4);
            self.joined.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.joined.extend_from_slice(&piece);
    }

    fn len(&self) -> usize {
        self.first.len() + self.joined.len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn take(&mut self) -> Bytes {
        if self.joined.is_empty() {
            return std::mem::take(&mut self.first);
        }
        std::mem::take(&mut self.joined).freeze()
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
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

    /// An answer whose body arrives as these writes, each but the first after the sender was told to go on.
    async fn answer(writes: &'static [&'static str]) -> (AnswerBody, tokio::sync::mpsc::Sender<()>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (go, mut gone) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1 << 10];
            assert_ne!(stream.read(&mut request).await.unwrap(), 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
            for write in writes {
                stream.write_all(write.as_bytes()).await.unwrap();
                if gone.recv().await.is_none() {
                    return;
                }
            }
        });
        let request = http::Request::get(format!("http://{address}/")).body(Bytes::new()).unwrap();
        let options = crate::transport::TransportOptions { environment_proxies: false, ..Default::default() };
        (Transport::new(options).send(request, &Timeouts::default()).await.unwrap().body, go)
    }

    #[tokio::test]
    async fn what_arrives_together_comes_as_one_piece_and_does_not_wait_for_more() {
        let (mut body, go) =
            answer(&["1\r\na\r\n", "1\r\nb\r\n2\r\ncd\r\n1\r\ne\r\n", "1\r\nf\r\n", "1\r\ng\r\n0\r\n\r\n"])
                .await;
        for expected in ["a", "bcde", "f", "g"] {
            assert_eq!(body.next().await.unwrap().unwrap(), expected);
            go.send(()).await.unwrap();
        }
        assert!(body.next().await.is_none());
    }

    #[tokio::test]
    async fn what_arrived_before_a_break_comes_before_the_error() {
        let (mut body, go) = answer(&["1\r\na\r\n", "1\r\nb\r\n2\r\ncd\r\nnot a length"]).await;
        assert_eq!(body.next().await.unwrap().unwrap(), "a");
        go.send(()).await.unwrap();
        assert_eq!(body.next().await.unwrap().unwrap(), "bcd");
        assert_eq!(body.next().await.unwrap().unwrap_err().kind(), Kind::Connection);
        assert!(body.next().await.is_none());
    }

    #[test]
    fn held_pieces_are_joined_in_order() {
        let mut held = Held::default();
        assert!(held.is_empty());
        for piece in ["a", "bc", "def"] {
            held.add(Bytes::from_static(piece.as_bytes()));
        }
        assert_eq!((held.len(), held.take()), (6, Bytes::from_static(b"abcdef")));
        assert!(held.is_empty());
    }
}

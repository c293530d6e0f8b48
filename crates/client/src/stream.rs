//! A streamed answer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use tollway_model::{Cost, Delta, Error, Event, Fold, Kind, Notices, PartKind, Response, Result, Usage};
use tollway_providers::Endpoint;
use tollway_wire::StreamDecoder;

use crate::body::AnswerBody;
use crate::completion::Completion;
use crate::endpoints::price;

/// How long a provider may take to end a body after the answer's last event. Longer costs the connection, not the
/// caller's time.
const TAIL: Duration = Duration::from_secs(1);

/// A streamed answer.
///
/// Yields neutral events in the order [`tollway_model::Laws`] states, and ends after [`Event::End`]. A failure is the
/// last item, as `Err`. Dropping the stream before its end closes the connection, which stops the provider's
/// generation and what it bills for.
pub struct EventStream {
    /// None once all is read.
    source: Option<(AnswerBody, Box<dyn StreamDecoder>)>,
    ready: std::vec::IntoIter<Event>,
    /// What has passed, so that [`EventStream::collect`] gives the whole answer at any time.
    fold: Fold,
    /// Text parts, by choice and number.
    texts: Vec<(u32, u32)>,
    notices: Notices,
    endpoint: Arc<Endpoint>,
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream").field("over", &self.source.is_none()).finish_non_exhaustive()
    }
}

impl EventStream {
    /// A stream that `decoder` reads from `body`.
    pub(crate) fn new(
        body: AnswerBody,
        decoder: Box<dyn StreamDecoder>,
        notices: Notices,
        endpoint: Arc<Endpoint>,
    ) -> EventStream {
        EventStream {
            source: Some((body, decoder)),
            ready: Vec::new().into_iter(),
            fold: Fold::new(),
            texts: Vec::new(),
            notices,
            endpoint,
        }
    }

    /// The events of an answer that came whole.
    pub(crate) fn whole(response: Response, notices: Notices, endpoint: Arc<Endpoint>) -> EventStream {
        let ready = response.into_events().into_iter();
        EventStream { source: None, ready, fold: Fold::new(), texts: Vec::new(), notices, endpoint }
    }

    /// What translating the request changed or dropped.
    pub fn notices(&self) -> &Notices {
        &self.notices
    }

    /// What the call has used so far, when the provider has said.
    pub fn usage(&self) -> Option<Usage> {
        self.fold.usage()
    }

    /// What the call has cost so far, by the usage reported until now.
    pub fn cost(&self) -> Cost {
        price(&self.endpoint, self.usage().as_ref())
    }

    /// The next event; `None` after the end. Dropping the future loses no event.
    pub async fn next(&mut self) -> Option<Result<Event>> {
        std::future::poll_fn(|context| self.poll_event(context)).await
    }

    /// The next piece of the first answer's text; `None` after the end. Passes over everything else: thinking, tool
    /// calls, usage.
    pub async fn next_text(&mut self) -> Option<Result<String>> {
        loop {
            match self.next().await? {
                Ok(Event::Delta { choice: 0, part, delta: Delta::Text(text) })
                    if self.texts.contains(&(0, part)) =>
                {
                    return Some(Ok(text));
                }
                Ok(_) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Reads what is left and gives the whole answer, with what has been read before.
    ///
    /// # Errors
    /// What broke the stream, also when that has been read before.
    pub async fn collect(mut self) -> Result<Completion> {
        while let Some(event) = self.next().await {
            event?;
        }
        let cost = self.cost();
        Ok(Completion { response: self.fold.finish()?, notices: self.notices, cost })
    }

    /// What has been read, as an answer: all there is of a stream that broke. An answer that was cut short has no
    /// finish reason.
    pub fn partial(self) -> Response {
        self.fold.partial()
    }

    /// Waits for the first events, so that a failure before them can still be retried.
    pub(crate) async fn peek(&mut self) -> Result<()> {
        std::future::poll_fn(|context| self.poll_ready(context)).await;
        match self.ready.as_slice().first() {
            Some(Event::Error(error)) => Err(error.clone()),
            Some(_) => Ok(()),
            None => Err(Error::new(Kind::Upstream, "the provider's stream is empty")),
        }
    }

    /// Reads until there is an event, or nothing more comes.
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.ready.as_slice().is_empty() {
            let Some((body, decoder)) = &mut self.source else { break };
            let mut events = Vec::new();
            match ready!(body.poll_next(context)) {
                Some(Ok(bytes)) => decoder.push(&bytes, &mut events),
                Some(Err(error)) => {
                    self.source = None;
                    events.push(Event::Error(error));
                }
                None => {
                    decoder.finish(&mut events);
                    self.source = None;
                }
            }
            self.ready = events.into_iter();
        }
        Poll::Ready(())
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        ready!(self.poll_ready(context));
        let Some(event) = self.ready.next() else { return Poll::Ready(None) };
        self.fold.push(event.clone());
        match event {
            Event::Error(error) => {
                self.source = None;
                self.ready = Vec::new().into_iter();
                return Poll::Ready(Some(Err(error)));
            }
            Event::PartStart { choice, part, kind: PartKind::Text } => self.texts.push((choice, part)),
            Event::End => {
                self.ready = Vec::new().into_iter();
                if let Some((body, _)) = self.source.take() {
                    drain(body);
                }
            }
            _ => {}
        }
        Poll::Ready(Some(Ok(event)))
    }
}

/// Reads the end of a body whose answer is complete, so that its connection can serve the next call.
fn drain(mut body: AnswerBody) {
    // Outside of the runtime nobody can wait; the connection is closed then.
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime
            .spawn(tokio::time::timeout(TAIL, async move { while let Some(Ok(_)) = body.next().await {} }));
    }
}

impl Stream for EventStream {
    type Item = Result<Event>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        self.get_mut().poll_event(context)
    }
}

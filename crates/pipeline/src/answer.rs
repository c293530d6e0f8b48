//! From a provider's answer to the caller's: both lanes, whole and streamed.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use tollway::body::AnswerBody;
use tollway::exchange::{Ask, Lane, Received};
use tollway_model::{
    Choice, Delta, Dialect, Error, Event, FinishReason, Kind, Notices, Operation, Response, Result, Usage,
};
use tollway_providers::Endpoint;
use tollway_wire::embedding::{EmbeddingInput, EmbeddingRequest, EmbeddingResponse};
use tollway_wire::json::Envelope;
use tollway_wire::relay::{Relay, RelayOptions, Whole, finish_reason};
use tollway_wire::{Restore, StreamDecoder, StreamEncoder, View, codec, embedding, gemini};

use crate::content::{self, Opening};
use crate::responses::{Thread, Turn};
use crate::ticket::{BYTES_PER_TOKEN, Settlement};

/// An answer that is certain enough to give to the caller.
pub(crate) enum Opened {
    /// The whole answer.
    Complete { body: Bytes, settlement: Settlement, headers: HeaderMap, notices: Notices },
    /// A stream whose first content has arrived.
    Stream { first: Bytes, source: Box<Source>, headers: HeaderMap },
}

/// What a caller sees of an answer that the provider does not decide.
#[derive(Debug, Clone)]
pub(crate) struct Showing {
    pub(crate) surface: Dialect,
    pub(crate) model: String,
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) include_usage: bool,
    pub(crate) legacy_functions: bool,
    pub(crate) framing: tollway_wire::Framing,
    /// Where the answer belongs to a conversation that the gateway keeps.
    pub(crate) turn: Option<Arc<Turn>>,
    /// Tokens that the prompt likely has, for clients whose dialect tells usage where the provider does not.
    pub(crate) prompt: u64,
}

impl Showing {
    pub(crate) fn view(&self) -> View<'_> {
        View {
            model: &self.model,
            id: &self.id,
            created: self.created,
            include_usage: self.include_usage,
            legacy_functions: self.legacy_functions,
            framing: self.framing,
        }
    }
}

/// Reads an answer until it is certain enough to give to the caller: all of an unstreamed one, the first content of a
/// stream. Whatever fails before may be tried elsewhere without the caller noticing.
///
/// `origin` is put on encrypted reasoning, where it can be read by one deployment of several only.
///
/// Failures are told without the secrets of `endpoint`, which some providers repeat. Answers are not searched for them:
/// they are the model's words, and a provider that repeats keys in those tells its own secret.
pub(crate) async fn open(
    received: Received,
    lane: Lane,
    ask: &Ask,
    showing: &Showing,
    endpoint: &Arc<Endpoint>,
    origin: Option<&str>,
) -> Result<Opened> {
    let opened = read(received, lane, ask, showing, endpoint, origin).await;
    opened.map_err(|error| endpoint.redact_error(&error))
}

async fn read(
    received: Received,
    lane: Lane,
    ask: &Ask,
    showing: &Showing,
    endpoint: &Arc<Endpoint>,
    origin: Option<&str>,
) -> Result<Opened> {
    let headers = received.headers;
    if ask.stream {
        // Some hosts answer a streaming request with one document; its reader makes events of it.
        let whole = headers.get(http::header::CONTENT_TYPE).is_some_and(is_json);
        let lane = match lane {
            Lane::Verbatim if whole => {
                Lane::Translated { target: showing.surface, restore: Restore::default() }
            }
            lane => lane,
        };
        let mut source = Box::new(Source::new(received.body, lane, showing, endpoint, origin));
        let first = source.first().await?;
        return Ok(Opened::Stream { first, source, headers });
    }
    let body = received.body.collect(tollway::body::MAX_ANSWER_BYTES).await?;
    let mut notices = Notices::new();
    let verbatim = lane == Lane::Verbatim;
    let (body, settlement) = match (lane, ask.operation) {
        (lane, Operation::Embedding) => embedding_answer(body, lane, ask, showing)?,
        (Lane::Translated { target, .. }, Operation::CountTokens) => {
            let tokens = codec(target).decode_count(&body)?;
            (Bytes::from(codec(showing.surface).encode_count(tokens)), Settlement::default())
        }
        (Lane::Verbatim, Operation::CountTokens) => (body, Settlement::default()),
        (Lane::Verbatim, _) => {
            let finish = finish_reason(showing.surface, &body);
            let (body, settlement) = verbatim_answer(body, showing)?;
            (body, Settlement { finish, ..settlement })
        }
        (Lane::Translated { target, restore }, _) => {
            let mut answer = codec(target).decode_response(&body, &restore)?;
            let finish = answer.choices.first().and_then(finish_of);
            let settlement = Settlement {
                usage: answer.usage,
                finish,
                service_tier: answer.service_tier.clone(),
                emitted: body.len() as u64,
            };
            answer.usage = answer.usage.or_else(|| Some(likely(showing.prompt, said(&answer))));
            (
                Bytes::from(codec(showing.surface).encode_response(&answer, &showing.view(), &mut notices)),
                settlement,
            )
        }
    };
    let body = match &showing.turn {
        Some(turn) if ask.operation == Operation::Chat => turn.whole(body, verbatim, origin)?,
        _ => body,
    };
    Ok(Opened::Complete { body, settlement, headers, notices })
}

/// What a call has likely used whose provider does not say: the text that came, at the usual size of a token. Only clients
/// are told; the ticket makes the receipt's estimate by the same measure.
fn likely(prompt: u64, emitted: u64) -> Usage {
    Usage { input: prompt, output: emitted.div_ceil(BYTES_PER_TOKEN), estimated: true, ..Usage::default() }
}

/// Bytes of text in an answer: what it says, thinks and asks tools to do.
fn said(answer: &Response) -> u64 {
    let length = |choice: &Choice| {
        let asked: usize = choice.tool_calls().map(|call| call.arguments.len()).sum();
        choice.text().len() + choice.reasoning().len() + asked
    };
    answer.choices.iter().map(length).sum::<usize>() as u64
}

/// Why an answer ended; one that is a refusal in its words alone ended as one.
pub(crate) fn finish_of(choice: &Choice) -> Option<FinishReason> {
    if choice.refusal().is_some() { Some(FinishReason::Refusal) } else { choice.finish }
}

fn is_json(content_type: &http::HeaderValue) -> bool {
    content_type.as_bytes().starts_with(b"application/json")
}

fn verbatim_answer(body: Bytes, showing: &Showing) -> Result<(Bytes, Settlement)> {
    let whole = Whole::look(&body);
    let usage = whole.usage(showing.surface, &body).or_else(|| codec(showing.surface).read_usage(&body));
    if usage.is_none() {
        refuse_failure(&body, showing.surface)?;
    }
    let service_tier = whole.service_tier(&body).map(str::to_owned);
    let settlement = Settlement { usage, finish: None, service_tier, emitted: body.len() as u64 };
    if showing.surface == Dialect::Gemini {
        return Ok((body, settlement));
    }
    let shown = whole.show_model(&body, &showing.model);
    Ok((shown.map_or(body, Bytes::from), settlement))
}

/// Fails for an answer without usage that is an error in spite of its status, or no JSON: most answers have usage, and
/// need no second look.
fn refuse_failure(body: &Bytes, surface: Dialect) -> Result<()> {
    let envelope = Envelope::parse(body.clone(), 128).map_err(|error| {
        Error::new(Kind::Upstream, "the provider's answer is not JSON").with_context("cause", error.message())
    })?;
    match envelope.get("error") {
        None | Some("null") => Ok(()),
        Some(_) => Err(match codec(surface).decode_response(body, &Restore::default()) {
            Err(error) => error,
            Ok(_) => Error::new(Kind::Upstream, "the provider reports an error"),
        }),
    }
}

fn embedding_answer(body: Bytes, lane: Lane, ask: &Ask, showing: &Showing) -> Result<(Bytes, Settlement)> {
    let answer = match lane {
        Lane::Verbatim => {
            let (body, settlement) = verbatim_answer(body, showing)?;
            let shown = embedding::show_completion_tokens(&body).map_or(body, Bytes::from);
            // Vectors are not text that was emitted.
            return Ok((shown, Settlement { emitted: 0, finish: None, ..settlement }));
        }
        Lane::Translated { target: Dialect::Gemini, .. } => gemini::embedding::decode_response(&body)?,
        Lane::Translated { .. } => embedding::decode_response(&body)?,
    };
    let request = ask.embeds(&[], &mut Notices::new())?;
    let usage = answer.usage.unwrap_or_else(|| embedded(&request));
    let answer = EmbeddingResponse { usage: Some(usage), ..answer };
    let settlement = Settlement { usage: answer.usage, ..Settlement::default() };
    let shown = match showing.surface {
        Dialect::Gemini => {
            gemini::embedding::encode_response(&answer, ask.envelope.get("requests").is_some())
        }
        _ => embedding::encode_response(&answer, &showing.model, request.base64),
    };
    Ok((Bytes::from(shown), settlement))
}

/// What a provider that does not say (Gemini) has likely counted.
fn embedded(request: &EmbeddingRequest) -> Usage {
    let tokens = request.input.iter().map(|input| match input {
        EmbeddingInput::Text(text) => tollway_prices::tokens::estimate(text),
        EmbeddingInput::Tokens(tokens) => tokens.len() as u64,
    });
    Usage { input: tokens.sum(), estimated: true, ..Usage::default() }
}

/// Most bytes of a stream that are held back until content comes. Announcements of an answer are shorter, those that
/// repeat the request's tools among them.
const MOST_HELD: usize = 512 << 10;

/// A stream on its way from a provider to the caller.
pub(crate) struct Source {
    /// `None` where all has been said.
    body: Option<AnswerBody>,
    way: Way,
    /// What the bytes pass before the caller gets them.
    thread: Option<Thread>,
    /// Who answers; `None`: nobody was asked.
    endpoint: Option<Arc<Endpoint>>,
    /// The stream failed after the bytes that were just handed out.
    failed: Option<Error>,
    ended: bool,
}

enum Way {
    Relay(Box<Relay>),
    Translate(Box<Translation>),
    /// No provider: all is said, and this is what it used.
    Told(Settlement),
}

struct Translation {
    decoder: Box<dyn StreamDecoder>,
    encoder: Box<dyn StreamEncoder>,
    events: Vec<Event>,
    settlement: Settlement,
    error: Option<Error>,
    opening: Opening,
    laws: tollway_model::Laws,
    ended: bool,
    /// It has ended, and said what it used.
    complete: bool,
    /// Tokens that the prompt likely has.
    prompt: u64,
}

impl Source {
    fn new(
        body: AnswerBody,
        lane: Lane,
        showing: &Showing,
        endpoint: &Arc<Endpoint>,
        origin: Option<&str>,
    ) -> Source {
        let thread =
            showing.turn.as_ref().map(|turn| turn.thread(lane == Lane::Verbatim, &showing.model, origin));
        let way = match lane {
            Lane::Verbatim => Way::Relay(Box::new(Relay::new(
                showing.surface,
                RelayOptions {
                    model: (showing.surface != Dialect::Gemini).then_some(showing.model.as_str()),
                    hide_usage: !showing.include_usage,
                },
            ))),
            Lane::Translated { target, restore } => {
                Way::Translate(Box::new(Translation::new(target, restore, showing)))
            }
        };
        let endpoint = Some(Arc::clone(endpoint));
        Source { body: Some(body), way, thread, endpoint, failed: None, ended: false }
    }

    /// Of an answer whose stream is known as a whole.
    pub(crate) fn told(settlement: Settlement) -> Source {
        let (way, failed, ended) = (Way::Told(settlement), None, true);
        Source { body: None, way, thread: None, endpoint: None, failed, ended }
    }

    /// Waits for the first content for the caller, and returns all that came until then. A failure until here has not
    /// been seen by anyone.
    async fn first(&mut self) -> Result<Bytes> {
        let mut held = BytesMut::new();
        loop {
            let piece = match std::future::poll_fn(|context| self.poll_next(context)).await {
                Some(piece) => piece?,
                None if held.is_empty() => {
                    return Err(Error::new(Kind::Upstream, "the provider's stream is empty"));
                }
                None => return Ok(held.freeze()),
            };
            if self.way.shows_content(&piece) || held.len() + piece.len() > MOST_HELD {
                if held.is_empty() {
                    return Ok(piece);
                }
                held.extend_from_slice(&piece);
                return Ok(held.freeze());
            }
            held.extend_from_slice(&piece);
        }
    }

    /// The next bytes for the caller, never empty; an error is the end.
    pub(crate) fn poll_next(
        &mut self,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Bytes>>> {
        use std::task::Poll;
        loop {
            if let Some(error) = self.failed.take() {
                return Poll::Ready(Some(Err(error)));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            let next = match &mut self.body {
                Some(body) => std::task::ready!(body.poll_next(context)),
                None => None,
            };
            let bytes = match next {
                Some(Ok(piece)) => self.way.push(piece),
                Some(Err(error)) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    self.ended = true;
                    self.way.finish()
                }
            };
            self.failed = self.way.take_error().map(|error| match &self.endpoint {
                Some(endpoint) => endpoint.redact_error(&error),
                None => error,
            });
            self.ended |= self.failed.is_some();
            if !bytes.is_empty() {
                return Poll::Ready(Some(Ok(self.pass(bytes))));
            }
        }
    }

    /// Is the first content that the model, or its provider's filter, declines? `first`: all that has come until then.
    pub(crate) fn declines(&self, first: &[u8]) -> bool {
        match &self.way {
            Way::Translate(translation) => translation.opening.declines,
            Way::Told(_) => false,
            Way::Relay(relay) => Opening::of(relay.dialect(), first).declines,
        }
    }

    /// Reads on to the end, and throws it away.
    pub(crate) async fn drain(&mut self) {
        while let Some(Ok(_)) = std::future::poll_fn(|context| self.poll_next(context)).await {}
    }

    /// The caller gets this answer, and no other.
    pub(crate) fn won(&mut self) {
        if let Some(thread) = &mut self.thread {
            thread.won();
        }
    }

    fn pass(&mut self, bytes: Bytes) -> Bytes {
        match &mut self.thread {
            Some(thread) => thread.pass(bytes),
            None => bytes,
        }
    }

    /// Has the stream come to the end that its dialect has?
    pub(crate) fn has_ended(&self) -> bool {
        match &self.way {
            Way::Relay(relay) => relay.seen().ended,
            Way::Translate(translation) => translation.ended,
            Way::Told(_) => true,
        }
    }

    /// Has the provider said all it will? Then what the call used is known before its last bytes go out.
    pub(crate) fn is_complete(&self) -> bool {
        match &self.way {
            Way::Relay(relay) => relay.seen().ended && relay.seen().usage.is_some(),
            Way::Translate(translation) => translation.complete,
            Way::Told(_) => true,
        }
    }

    /// A failure as the stream's last event, in the caller's dialect and where the stream stands.
    pub(crate) fn tell(&mut self, error: &Error, showing: &Showing) -> Bytes {
        let event = Event::Error(error.clone());
        let mut bytes = Vec::new();
        match &mut self.way {
            Way::Relay(_) | Way::Told(_) => {
                codec(showing.surface).encoder(&showing.view()).push(&event, &mut bytes);
            }
            Way::Translate(translation) => translation.encoder.push(&event, &mut bytes),
        }
        self.pass(Bytes::from(bytes))
    }

    /// What is known of the call's usage and end.
    pub(crate) fn settlement(&mut self) -> Settlement {
        match &mut self.way {
            Way::Relay(relay) => {
                relay.abandon();
                let seen = relay.seen();
                Settlement {
                    usage: seen.usage,
                    finish: seen.finish,
                    service_tier: seen.service_tier.clone(),
                    emitted: seen.content.text(),
                }
            }
            Way::Translate(translation) => translation.settlement.clone(),
            Way::Told(settlement) => settlement.clone(),
        }
    }
}

impl Way {
    fn push(&mut self, piece: Bytes) -> Bytes {
        match self {
            Way::Relay(relay) => relay.push(piece),
            Way::Told(_) => piece,
            Way::Translate(translation) => {
                translation.decoder.push(&piece, &mut translation.events);
                translation.encode()
            }
        }
    }

    /// Has content come, `piece` included? The verbatim lane looks at the bytes, the other has seen the events.
    fn shows_content(&self, piece: &[u8]) -> bool {
        match self {
            Way::Relay(relay) => content::in_bytes(relay.dialect(), piece),
            Way::Translate(translation) => translation.opening.content,
            Way::Told(_) => true,
        }
    }

    fn finish(&mut self) -> Bytes {
        match self {
            Way::Relay(relay) => relay.finish(),
            Way::Told(_) => Bytes::new(),
            Way::Translate(translation) => {
                translation.decoder.finish(&mut translation.events);
                translation.encode()
            }
        }
    }

    fn take_error(&mut self) -> Option<Error> {
        match self {
            Way::Relay(relay) => relay.take_error(),
            Way::Translate(translation) => translation.error.take(),
            Way::Told(_) => None,
        }
    }
}

impl Translation {
    fn new(target: Dialect, restore: Restore, showing: &Showing) -> Translation {
        Translation {
            decoder: codec(target).decoder(restore),
            encoder: codec(showing.surface).encoder(&showing.view()),
            events: Vec::new(),
            settlement: Settlement::default(),
            error: None,
            opening: Opening::default(),
            laws: tollway_model::Laws::new(),
            ended: false,
            complete: false,
            prompt: showing.prompt,
        }
    }

    fn encode(&mut self) -> Bytes {
        let mut bytes = Vec::new();
        for event in self.events.drain(..) {
            if cfg!(debug_assertions)
                && let Err(broken) = self.laws.check(&event)
            {
                tracing::error!(target: "tollway::laws", broken, "a decoder broke the order of events");
                debug_assert!(false, "a decoder broke the order of events: {broken}");
            }
            self.opening.note(&event);
            match event {
                Event::Usage(usage) => {
                    self.settlement.usage = Some(usage);
                    self.encoder.push(&Event::Usage(usage), &mut bytes);
                }
                // The reply renders it: before the first byte it is a status, after it an event.
                Event::Error(error) => {
                    self.error = Some(error);
                    break;
                }
                event => {
                    match &event {
                        Event::Finish { choice: 0, reason, .. } => self.settlement.finish = Some(*reason),
                        Event::Meta { service_tier: Some(tier), .. } => {
                            self.settlement.service_tier = Some(tier.clone());
                        }
                        Event::Delta { delta: Delta::Text(text) | Delta::Arguments(text), .. } => {
                            self.settlement.emitted += text.len() as u64;
                        }
                        Event::End => {
                            self.ended = true;
                            self.complete = self.settlement.usage.is_some();
                            if !self.complete {
                                let usage = likely(self.prompt, self.settlement.emitted);
                                self.encoder.push(&Event::Usage(usage), &mut bytes);
                            }
                        }
                        _ => {}
                    }
                    self.encoder.push(&event, &mut bytes);
                }
            }
        }
        Bytes::from(bytes)
    }
}

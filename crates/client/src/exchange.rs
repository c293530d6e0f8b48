//! One attempt at one endpoint: what is asked, how it is sent, how the answer is read.
//!
//! Two lanes. Where the caller's dialect is the endpoint's, the body travels verbatim with a few top-level edits;
//! otherwise it goes through the neutral model, and so it does when the conversation holds what only another provider
//! can read. Both end in the same [`Received`].

use std::borrow::Cow;
use std::sync::OnceLock;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tollway_model::{
    Dialect, Error, Extras, Kind, Notices, Operation, Origin, RawJson, Request, Result, Retry,
};
use tollway_providers::{Endpoint, Outgoing};
use tollway_wire::embedding::EmbeddingRequest;
use tollway_wire::json::{Edits, Envelope, MAX_DEPTH, Pieces, write_str};
use tollway_wire::{Encoded, Framing, Restore, carry, codec, embedding, field_name, gemini, openai_chat};

use crate::body::{AnswerBody, MAX_ANSWER_BYTES};
use crate::transport::{Answer, Timeouts, Transport, UNSENT, is_unsent};

/// Largest error body that is read.
const MAX_ERROR_BYTES: usize = 1 << 20;

const FOREIGN_DEFAULT: &str = "a default of the deployment that this dialect does not have; left out";

/// What a caller asks, in the caller's own dialect.
#[derive(Debug)]
pub struct Ask {
    /// What is asked for.
    pub operation: Operation,
    /// The caller's dialect.
    pub surface: Dialect,
    /// The model as the caller named it.
    pub model: String,
    /// Answer as a stream.
    pub stream: bool,
    /// How the caller wants streamed events delimited.
    pub framing: Framing,
    /// The caller's body.
    pub envelope: Envelope,
    /// Edits to the body that hold for every endpoint: fields meant for the gateway are removed.
    pub edits: Edits,
    /// The caller's headers that belong to the dialect and go along in the verbatim lane (`anthropic-beta`).
    pub headers: Vec<(&'static str, String)>,
    /// Fields that the caller wants sent even where the endpoint's rules would refuse them.
    pub allowed: Option<Box<[String]>>,
    /// There is no body of a caller: the ask is neutral from the start.
    neutral: bool,
    pub(crate) embedding: Option<EmbeddingRequest>,
    /// Apart: most calls have none, and a call moves with its asks.
    decoded: OnceLock<Box<Result<Request>>>,
}

impl Ask {
    /// A chat that is neutral from the start, streamed as `request.stream` says.
    pub fn from_request(request: Request) -> Ask {
        let mut ask = Ask::neutral(Operation::Chat, request.model.clone());
        ask.stream = request.stream;
        ask.decoded = OnceLock::from(Box::new(Ok(request)));
        ask
    }

    pub(crate) fn neutral(operation: Operation, model: String) -> Ask {
        let mut ask = Ask::new(operation, Dialect::OpenaiChat, model, Envelope::empty());
        ask.neutral = true;
        ask
    }

    /// An unstreamed ask with no edits.
    pub fn new(operation: Operation, surface: Dialect, model: impl Into<String>, envelope: Envelope) -> Ask {
        Ask {
            operation,
            surface,
            model: model.into(),
            stream: false,
            framing: Framing::Sse,
            envelope,
            edits: Edits::new(),
            headers: Vec::new(),
            allowed: None,
            neutral: false,
            embedding: None,
            decoded: OnceLock::new(),
        }
    }

    /// The neutral request, decoded at most once.
    pub fn request(&self) -> Result<&Request> {
        let decode = || -> Result<Request> {
            let body = self.envelope.rewrite(&self.edits);
            let mut request = match self.operation {
                Operation::CountTokens => codec(self.surface).decode_count_request(&body)?,
                _ => codec(self.surface).decode_request(&body)?,
            };
            request.model.clone_from(&self.model);
            request.stream = self.stream;
            Ok(request)
        };
        self.decoded.get_or_init(|| Box::new(decode())).as_ref().as_ref().map_err(Clone::clone)
    }

    /// The neutral request for vectors, with `defaults` where the caller said nothing.
    pub fn embeds(&self, defaults: &[(String, RawJson)], notices: &mut Notices) -> Result<EmbeddingRequest> {
        if let Some(request) = &self.embedding {
            return Ok(request.clone());
        }
        let mut edits = self.edits.clone();
        if self.surface == Dialect::Gemini {
            let mut request = gemini::embedding::decode_request(&self.envelope.rewrite(&edits))?;
            for (field, value) in defaults {
                match (field.as_str(), value.get().parse()) {
                    ("dimensions", Ok(length)) => request.dimensions = request.dimensions.or(Some(length)),
                    _ => notices.changed(field.clone(), FOREIGN_DEFAULT),
                }
            }
            return Ok(request);
        }
        for (field, value) in defaults {
            if self.envelope.get(field).is_none() {
                edits.set_raw(field.clone(), value.get());
            }
        }
        embedding::decode_request(&self.envelope.rewrite(&edits))
    }
}

/// How an attempt's answer comes back.
#[derive(Debug, Clone, PartialEq)]
pub enum Lane {
    /// In the caller's own dialect, byte for byte.
    Verbatim,
    /// Through the neutral model.
    Translated {
        /// The provider's dialect.
        target: Dialect,
        /// What the decoder must undo.
        restore: Restore,
    },
}

/// An attempt ready to be sent.
#[derive(Debug)]
pub struct Prepared {
    /// The request, signed where that needs a key only. [`send`] adds signatures that cover the body.
    pub request: http::Request<Pieces>,
    /// How its answer comes back.
    pub lane: Lane,
    /// What translation changed or dropped.
    pub notices: Notices,
}

/// A 2xx answer, its body still arriving.
#[derive(Debug)]
pub struct Received {
    /// The status.
    pub status: StatusCode,
    /// The provider's headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: AnswerBody,
}

/// A failed attempt, with the provider's headers when it answered.
#[derive(Debug)]
pub struct Refused {
    /// What went wrong.
    pub error: Error,
    /// The provider's headers.
    pub headers: Option<HeaderMap>,
}

impl Refused {
    /// Has nothing of the request left, so that the provider knows nothing of it?
    pub fn is_unsent(&self) -> bool {
        is_unsent(&self.error)
    }

    /// May the provider have generated an answer that it bills, though none came: the request has left, and neither an
    /// error nor an answer that can be read came back?
    pub fn may_be_billed(&self) -> bool {
        let error = &self.error;
        let reported = error.provider_code().is_some() || error.provider_type().is_some();
        let is_lost = matches!(error.kind(), Kind::Timeout | Kind::Connection | Kind::Upstream);
        is_lost
            && !reported
            && self.headers.is_none()
            && error.origin() == Origin::Upstream
            && !is_unsent(error)
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Refused {
        Refused { error, headers: None }
    }
}

/// Prepares an attempt of `ask` at `endpoint`.
///
/// `defaults` are request fields, in OpenAI's names, for where the caller sent none. Fails with
/// [`Kind::Unsupported`], naming the field, when the endpoint cannot do something that was asked for and
/// `drop_params` is off.
pub fn prepare(
    endpoint: &Endpoint,
    ask: &Ask,
    defaults: &[(String, RawJson)],
    drop_params: bool,
) -> Result<Prepared> {
    let mut notices = Notices::new();
    let surface = if ask.neutral { endpoint.dialect() } else { ask.surface };
    let (operation, target) = endpoint.lane(ask.operation, surface).ok_or_else(|| cannot(ask))?;
    let same = target == ask.surface && operation == ask.operation && !ask.neutral;
    let chats = matches!(operation, Operation::Chat | Operation::CountTokens);
    let foreign = same && chats && carry::may_hold_foreign(ask.surface, &ask.envelope);
    // A Gemini embedding has two forms and names the model in every part of a batch.
    let rebuilt = foreign || (operation == Operation::Embedding && target == Dialect::Gemini);
    let verbatim = same && !rebuilt && (ask.framing == Framing::Sse || !ask.stream);
    let (body, lane, headers) = if verbatim {
        (verbatim_body(endpoint, ask, defaults, &mut notices)?, Lane::Verbatim, Cow::Borrowed(&ask.headers))
    } else {
        let translated = Translation { endpoint, ask, operation, target };
        let (body, restore, mut headers) = translated.body(defaults, &mut notices)?;
        if same {
            add_headers(&mut headers, &ask.headers);
        }
        (Pieces::from(body), Lane::Translated { target, restore }, Cow::Owned(headers))
    };
    if !drop_params && let Some(refused) = notices.first_dropped() {
        let field = field_name(ask.surface, &refused.field);
        let message = format!(
            "`{field}` is not supported by {}: {}; remove it, or set drop_params to leave it out",
            ask.model, refused.message
        );
        return Err(Error::new(Kind::Unsupported, message).with_param(field.into_owned()));
    }
    let request = endpoint.request(operation, target, ask.stream, body, &headers)?;
    Ok(Prepared { request, lane, notices })
}

/// Adds the caller's headers to those the translated body needs; where both have one, it lists what both say.
fn add_headers(headers: &mut Headers, given: &Headers) {
    for (name, value) in given {
        match headers.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => {
                for item in value.split(',').map(str::trim).filter(|item| !item.is_empty()) {
                    if !known.split(',').any(|other| other.trim() == item) {
                        known.push(',');
                        known.push_str(item);
                    }
                }
            }
            None => headers.push((*name, value.clone())),
        }
    }
}

fn verbatim_body(
    endpoint: &Endpoint,
    ask: &Ask,
    defaults: &[(String, RawJson)],
    notices: &mut Notices,
) -> Result<Pieces> {
    let mut edits = ask.edits.clone();
    for (field, value) in defaults {
        if ask.envelope.get(field).is_some() {
            continue;
        }
        if native_field(ask.surface, field) {
            edits.set_raw(field.clone(), value.get());
        } else {
            notices.changed(field.clone(), FOREIGN_DEFAULT);
        }
    }
    let outgoing = Outgoing {
        operation: ask.operation,
        dialect: ask.surface,
        stream: ask.stream,
        allowed: allowed(ask),
    };
    edits.extend(endpoint.edits(&ask.envelope, &outgoing, notices)?);
    let chat = ask.surface == Dialect::OpenaiChat && ask.operation == Operation::Chat;
    if chat && openai_chat::may_concern(&ask.envelope, endpoint.quirks()) {
        let body = ask.envelope.rewrite(&edits);
        let patched = openai_chat::patch(&body, endpoint.quirks())?;
        return Ok(Pieces::from(patched.map_or(body, Bytes::from)));
    }
    Ok(ask.envelope.rewrite_pieces(&edits))
}

fn allowed(ask: &Ask) -> &[String] {
    ask.allowed.as_deref().unwrap_or_default()
}

/// Does a default named as in OpenAI's dialect mean the same in the caller's?
fn native_field(surface: Dialect, field: &str) -> bool {
    match surface {
        Dialect::Gemini | Dialect::BedrockConverse => false,
        Dialect::Anthropic => matches!(field, "temperature" | "top_p" | "top_k" | "max_tokens" | "thinking"),
        Dialect::OpenaiResponses => matches!(
            field,
            "temperature"
                | "top_p"
                | "top_logprobs"
                | "user"
                | "metadata"
                | "store"
                | "service_tier"
                | "parallel_tool_calls"
                | "prompt_cache_key"
                | "prompt_cache_retention"
                | "safety_identifier"
        ),
        _ => true,
    }
}

/// A call that goes out in another dialect than it came in.
struct Translation<'a> {
    endpoint: &'a Endpoint,
    ask: &'a Ask,
    operation: Operation,
    target: Dialect,
}

type Headers = Vec<(&'static str, String)>;

impl Translation<'_> {
    fn body(
        &self,
        defaults: &[(String, RawJson)],
        notices: &mut Notices,
    ) -> Result<(Bytes, Restore, Headers)> {
        let encoded = match self.operation {
            Operation::Embedding => {
                Encoded { body: self.embedding(defaults, notices)?, ..Encoded::default() }
            }
            Operation::CountTokens => {
                let body =
                    codec(self.target).encode_count_request(self.ask.request()?, &self.endpoint.target());
                Encoded { body: body.ok_or_else(|| cannot(self.ask))??, ..Encoded::default() }
            }
            _ => {
                let asked = self.ask.request()?;
                let request = with_defaults(asked, defaults, notices)?;
                codec(self.target).encode_request(&request, &self.endpoint.target(), notices)?
            }
        };
        let envelope = Envelope::parse(Bytes::from(encoded.body), MAX_DEPTH * 2).map_err(|error| {
            Error::internal("the translated request is not valid JSON").with_context("cause", error.message())
        })?;
        let outgoing = Outgoing {
            operation: self.operation,
            dialect: self.target,
            stream: self.ask.stream,
            allowed: allowed(self.ask),
        };
        let edits = self.endpoint.edits(&envelope, &outgoing, notices)?;
        Ok((envelope.rewrite(&edits), encoded.restore, encoded.headers))
    }

    fn embedding(&self, defaults: &[(String, RawJson)], notices: &mut Notices) -> Result<Vec<u8>> {
        let request = self.ask.embeds(defaults, notices)?;
        match self.target {
            Dialect::Gemini => gemini::embedding::encode_request(&request, self.endpoint.model(), notices),
            Dialect::OpenaiChat => Ok(embedding::encode_request(&request, self.endpoint.model(), notices)),
            other => Err(Error::new(Kind::NotFound, format!("the {other} dialect has no embeddings"))),
        }
    }
}

/// The request with the deployment's defaults where the caller said nothing.
fn with_defaults<'a>(
    asked: &'a Request,
    defaults: &[(String, RawJson)],
    notices: &mut Notices,
) -> Result<Cow<'a, Request>> {
    if defaults.is_empty() {
        return Ok(Cow::Borrowed(asked));
    }
    // The decoder wants a conversation; only the fields beside it are looked at.
    let mut body = Vec::from(&br#"{"model":"","messages":[{"role":"user","content":""}]"#[..]);
    for (field, value) in defaults {
        body.push(b',');
        write_str(field, &mut body);
        body.push(b':');
        body.extend_from_slice(value.get().as_bytes());
    }
    body.push(b'}');
    let given = codec(Dialect::OpenaiChat).decode_request(&body).map_err(|error| {
        Error::internal(format!("a default of this deployment is wrong: {}", error.message()))
            .with_retry(Retry::Elsewhere)
    })?;
    let mut request = asked.clone();
    macro_rules! fill {
        ($($field:ident),*) => { $( if request.$field.is_none() { request.$field = given.$field; } )* };
    }
    fill!(
        max_output_tokens,
        temperature,
        top_p,
        top_k,
        seed,
        n,
        presence_penalty,
        frequency_penalty,
        logit_bias
    );
    fill!(
        logprobs,
        top_logprobs,
        output,
        reasoning,
        verbosity,
        audio,
        tool_choice,
        parallel_tool_calls,
        web_search
    );
    fill!(user, metadata, service_tier, prompt_cache_key, prediction);
    if request.stop.is_empty() {
        request.stop = given.stop;
    }
    if request.tools.is_empty() {
        request.tools = given.tools;
    }
    if request.modalities.is_empty() {
        request.modalities = given.modalities;
    }
    fill_extras(&mut request.extras, given.extras, notices);
    Ok(Cow::Owned(request))
}

/// Adds the defaults that the model does not know (`safety_settings`), where the caller's own such fields are of the
/// same dialect.
fn fill_extras(asked: &mut Extras, given: Extras, notices: &mut Notices) {
    let fits = asked.fields.is_empty() || asked.dialect == given.dialect;
    for (field, value) in given.fields {
        if fits {
            asked.dialect = given.dialect;
            asked.fields.entry(field).or_insert(value);
        } else {
            notices.changed(
                field,
                "a default of the deployment that the caller's dialect does not have; left out",
            );
        }
    }
}

fn cannot(ask: &Ask) -> Error {
    let message = format!("{} cannot do `{}`", ask.model, ask.operation.name());
    Error::new(Kind::Unsupported, message).with_retry(Retry::Elsewhere)
}

/// Sends an attempt and waits until the provider's headers say that it succeeded.
pub async fn send(
    transport: &Transport,
    endpoint: &Endpoint,
    request: http::Request<Pieces>,
    target: Dialect,
    timeouts: &Timeouts,
) -> std::result::Result<Received, Refused> {
    let request = match endpoint.signing() {
        // Apart: every attempt's future would have room for it.
        Some(signing) => {
            let signed = Box::pin(transport.sign(signing, request)).await;
            signed.map_err(|error| error.with_context(UNSENT, "it could not be signed"))?
        }
        None => request,
    };
    // A refused signature is explained with the headers that were signed, a session's token among them.
    let signed: Vec<_> = endpoint.signing().map(|_| sensitive(request.headers())).unwrap_or_default();
    let sent = transport.send(request, timeouts).await;
    let mut answer = sent.map_err(|error| endpoint.redact_error(&error))?;
    // They go to the caller, and into errors.
    endpoint.secrets().mask_headers(&mut answer.headers);
    if answer.status.is_success() {
        return Ok(Received { status: answer.status, headers: answer.headers, body: answer.body });
    }
    if !answer.status.is_client_error() && !answer.status.is_server_error() {
        return Err(Refused { error: misdirected(endpoint, &answer), headers: Some(answer.headers) });
    }
    // A provider that fails while telling us why it failed has still failed.
    let body = answer.body.collect(MAX_ERROR_BYTES).await.unwrap_or_default();
    let body = without(endpoint.redact(body), &signed);
    let error = codec(target)
        .decode_error(answer.status.as_u16(), &answer.headers, &body)
        .with_origin(Origin::Upstream)
        .with_context("provider", endpoint.provider().id.as_str());
    // What was an escape in the body is text now.
    let error = endpoint.redact_error(&error);
    Err(Refused { error, headers: Some(answer.headers) })
}

/// The values of headers that nobody may see.
fn sensitive(headers: &HeaderMap) -> Vec<String> {
    let values = headers.values().filter(|value| value.is_sensitive());
    values
        .filter_map(|value| value.to_str().ok())
        .filter(|value| value.len() >= 8)
        .map(str::to_owned)
        .collect()
}

/// `body` without these texts.
fn without(body: Bytes, secrets: &[String]) -> Bytes {
    let text = String::from_utf8_lossy(&body);
    if !secrets.iter().any(|secret| text.contains(secret.as_str())) {
        return body;
    }
    Bytes::from(secrets.iter().fold(text.into_owned(), |text, secret| text.replace(secret.as_str(), "***")))
}

/// A redirect, or another status that is neither an answer nor an error. Passed on, it would make no sense to the
/// caller: it is about an address that only we know.
fn misdirected(endpoint: &Endpoint, answer: &Answer) -> Error {
    let message = format!(
        "the provider answered with status {} instead of an answer; redirects are not followed, the base URL must be \
         the provider's own",
        answer.status.as_u16()
    );
    let location = answer.headers.get(http::header::LOCATION).and_then(|value| value.to_str().ok());
    Error::new(Kind::Upstream, message)
        .with_retry(Retry::Elsewhere)
        .with_context("provider", endpoint.provider().id.as_str())
        .with_context("location", location.unwrap_or_default())
}

impl Received {
    /// The whole body of an unstreamed answer.
    pub async fn collect(self) -> Result<Bytes> {
        self.body.collect(MAX_ANSWER_BYTES).await
    }
}

//! One turn of a conversation: what comes before it, under which id its answer is known, and whether that is kept.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tollway_model::{Error, Kind, Operation, RawJson, Result};
use tollway_store::records::{Millis, StoredResponse};
use tollway_wire::json::{Edits, Envelope, MAX_DEPTH};
use tollway_wire::openai_responses::conversation::{self, Passage};

use super::{Responses, origin, owner, response_id};
use crate::call::Call;
use crate::caller::Caller;
use crate::clock::unix_millis;
use crate::services::Services;
use crate::settings::Settings;

/// A turn of a conversation.
#[derive(Debug)]
pub(crate) struct Turn {
    id: String,
    /// Edits of the answer of a provider of this dialect.
    native: Edits,
    /// Edits of any other answer: it does not repeat the request by itself.
    translated: Edits,
    /// `None`: the answer is not to be kept.
    kept: Option<Kept>,
}

/// What is stored beside the answer.
#[derive(Debug)]
struct Kept {
    responses: Arc<Responses>,
    owner: String,
    previous: Option<String>,
    input: Vec<String>,
    time: Duration,
}

/// Makes the call say everything that was said before it, and gives its answer an id.
///
/// Fails with [`Kind::InvalidRequest`] where the call goes on from a response that is not known, or asks for something
/// that is not built.
pub(crate) async fn begin(
    services: &Services,
    settings: &Settings,
    caller: &Caller,
    call: &mut Call,
) -> Result<()> {
    refuse_unbuilt(&call.ask.envelope)?;
    let previous = conversation::previous(&call.ask.envelope).map(|id| id.into_owned());
    let history = match &previous {
        Some(id) => services.responses.history(caller, id).await.map_err(unknown_previous)?,
        None => Vec::new(),
    };
    let repeated = call.ask.envelope.clone();
    if previous.is_some() || conversation::has_references(&call.ask.envelope) {
        let mut edits = Edits::new();
        // What the conversation does not hold, nobody may refer to: the provider would look in everybody's.
        conversation::with_history(&call.ask.envelope, &history, &|_| None, &mut edits)?;
        // Earlier answers may be nested deeper than a request may.
        let depth = settings.max_depth.max(MAX_DEPTH);
        call.ask.envelope = Envelope::parse(call.ask.envelope.rewrite(&edits), depth)?;
    }
    if let Some((body, origin)) = origin::unmark(call.ask.envelope.body()) {
        call.ask.envelope = Envelope::parse(body, settings.max_depth.max(MAX_DEPTH))?;
        call.origin = Some(origin);
    }
    if call.ask.operation != Operation::Chat {
        return Ok(());
    }
    let id = response_id(&call.id);
    let keeps = call.ask.envelope.bool("store").unwrap_or(true) && !settings.keep_responses.is_zero();
    let mut translated = Edits::new();
    conversation::echo(&repeated, &mut translated);
    let mut native = Edits::new();
    for edits in [&mut native, &mut translated] {
        edits.set_str("id", &id);
        edits.set_raw("store", if keeps { "true" } else { "false" });
        if let Some(previous) = &previous {
            edits.set_str("previous_response_id", previous);
        }
    }
    let kept = match keeps {
        true => Some(Kept {
            responses: services.responses.clone(),
            owner: owner(caller).to_owned(),
            previous,
            input: own_items(&call.ask.envelope, &id, history.len())?,
            time: settings.keep_responses,
        }),
        false => None,
    };
    call.turn = Some(Arc::new(Turn { id, native, translated, kept }));
    Ok(())
}

/// What needs state at the provider, which belongs to the operator's account and so to every caller alike, or an answer
/// without a connection.
fn refuse_unbuilt(body: &Envelope) -> Result<()> {
    if body.bool("background") == Some(true) {
        let message = "`background` is not built here: leave it out and keep the connection open";
        return Err(Error::invalid_at("background", message));
    }
    if body.get("conversation").is_some_and(|value| value != "null") {
        let message = "conversations kept by the provider are not built here: use `previous_response_id`, or send the items";
        return Err(Error::invalid_at("conversation", message));
    }
    Ok(())
}

/// OpenAI's word for it.
fn unknown_previous(error: Error) -> Error {
    if error.kind() != Kind::NotFound {
        return error;
    }
    Error::invalid_at("previous_response_id", format!("Previous response: {}", error.message()))
        .with_provider(Some("previous_response_not_found".into()), None)
}

/// The input's items behind those that were said before.
fn own_items(body: &Envelope, id: &str, before: usize) -> Result<Vec<String>> {
    let items = conversation::input_items(body, id)?;
    Ok(items.iter().skip(before).map(RawJson::get).map(str::to_owned).collect())
}

impl Turn {
    /// The id of the answer.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    fn edits(&self, verbatim: bool) -> &Edits {
        if verbatim { &self.native } else { &self.translated }
    }

    /// The whole answer as the client gets it.
    pub(crate) fn whole(&self, answer: Bytes, verbatim: bool, origin: Option<&str>) -> Result<Bytes> {
        conversation::show(marked(answer, origin), self.edits(verbatim))
    }

    /// What a stream's bytes pass on their way to the client.
    pub(crate) fn thread(self: &Arc<Turn>, verbatim: bool, model: &str, origin: Option<&str>) -> Thread {
        Thread {
            turn: self.clone(),
            passage: self.passage(verbatim),
            model: model.to_owned(),
            origin: origin.map(str::to_owned),
            won: false,
            kept: false,
        }
    }

    /// The passage alone: nothing is kept.
    pub(crate) fn passage(&self, verbatim: bool) -> Passage {
        Passage::new(self.edits(verbatim).clone())
    }

    /// Remembers a complete answer, as the client gets it. What failed is not one.
    pub(crate) fn keep(&self, response: &[u8], model: &str) {
        #[derive(serde::Deserialize)]
        struct State<'a> {
            #[serde(borrow)]
            status: Option<std::borrow::Cow<'a, str>>,
        }
        let Some(kept) = &self.kept else { return };
        let Ok(state) = serde_json::from_slice::<State<'_>>(response) else { return };
        let Ok(text) = std::str::from_utf8(response) else { return };
        if !matches!(state.status.as_deref(), None | Some("completed" | "incomplete")) {
            return;
        }
        let now = unix_millis();
        let mut record = StoredResponse {
            id: self.id.clone(),
            owner: kept.owner.clone(),
            model: model.to_owned(),
            previous: kept.previous.clone(),
            upstream: None,
            input: kept.input.clone(),
            response: text.to_owned(),
            expires: now.saturating_add(Millis::try_from(kept.time.as_millis()).unwrap_or(Millis::MAX)),
            ..StoredResponse::default()
        };
        record.stamp.created_at = now;
        record.stamp.updated_at = now;
        kept.responses.remember(record);
    }
}

/// A streamed answer on its way to the client.
pub(crate) struct Thread {
    turn: Arc<Turn>,
    passage: Passage,
    model: String,
    origin: Option<String>,
    /// The client gets this answer.
    won: bool,
    kept: bool,
}

impl Thread {
    /// Passes the next piece on. The answer is kept before the client can see its end.
    pub(crate) fn pass(&mut self, piece: Bytes) -> Bytes {
        let piece = self.passage.pass(marked(piece, self.origin.as_deref()));
        self.keep();
        piece
    }

    /// The client gets this answer: it is kept once it is complete.
    pub(crate) fn won(&mut self) {
        self.won = true;
        self.keep();
    }

    fn keep(&mut self) {
        if self.won
            && !self.kept
            && let Some(response) = self.passage.response()
        {
            self.kept = true;
            self.turn.keep(response, &self.model);
        }
    }
}

fn marked(bytes: Bytes, origin: Option<&str>) -> Bytes {
    match origin {
        Some(origin) => origin::mark(bytes, origin),
        None => bytes,
    }
}

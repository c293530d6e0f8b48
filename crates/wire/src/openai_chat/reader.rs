//! The one reader of answers: chunks of a stream, or a whole answer as a single chunk.
//!
//! Both give the same events, so a streamed and an unstreamed answer cannot differ. Finish reasons are held back to
//! the end, because hosts send tool calls, usage and second halves of a choice after them.

mod choice;

use std::collections::BTreeMap;

use tollway_model::{Dialect, Error, Event, Extras, FinishReason, Kind, RawJson, Usage};

use self::choice::Choice;
use super::error;
use super::read::{self, Object, Raw};
use super::usage::{self, Counts};
use crate::Restore;

#[derive(Default)]
pub(crate) struct Reader {
    restore: Restore,
    /// The answer came in one piece: `message` instead of `delta`, nothing to join.
    whole: bool,
    id: String,
    started: bool,
    choices: BTreeMap<u32, Choice>,
    usage: Option<Usage>,
    service_tier: Option<String>,
    extras: Extras,
}

impl Reader {
    pub(crate) fn new(restore: Restore, whole: bool) -> Reader {
        Reader { restore, whole, ..Reader::default() }
    }

    /// Reads one chunk. An error ends the answer.
    pub(crate) fn read(&mut self, text: &str, events: &mut Vec<Event>) -> Result<(), Error> {
        let Some(mut fields) = Object::parse(text) else {
            let what = if self.whole { "answer" } else { "stream" };
            return Err(Error::new(Kind::Upstream, format!("the provider's {what} is not valid JSON")));
        };
        if let Some(raw) = fields.get("error").filter(|raw| !matches!(raw.get(), "\"\"" | "{}" | "false")) {
            return Err(error::embedded(raw));
        }
        if let Some(error) = error::base_resp(&mut fields) {
            return Err(error);
        }
        if self.whole && !fields.has("choices") {
            return Err(Error::new(Kind::Upstream, "the provider's answer has no `choices`"));
        }
        fields.take("object");
        let choices = fields.list("choices");
        let empty = choices.is_empty() && fields.get("usage").is_none();
        self.start(&mut fields, empty, events);
        let mut counted = fields.counts("usage");
        if let Some(mut groq) = fields.object("x_groq") {
            if let Some(message) = groq.text("error") {
                return Err(Error::new(Kind::Upstream, message.into_owned()));
            }
            let beside = groq.counts("usage").filter(|usage| usage.has("prompt_tokens"));
            counted = counted.or(beside);
        }
        for raw in choices {
            self.choice(raw, &mut counted, events)?;
        }
        if let Some(counted) = counted {
            self.count(usage::decode(&counted), events);
        }
        if let Some(tier) = fields.text("service_tier") {
            self.service_tier = Some(tier.into_owned());
        }
        for (key, raw) in fields.rest() {
            if raw.get() != "null" {
                self.extras.dialect = Some(Dialect::OpenaiChat);
                self.extras.fields.insert(key.to_owned(), RawJson::from(raw));
            }
        }
        Ok(())
    }

    /// Some hosts open with a chunk that says nothing (Azure's filter results): the answer starts with its id.
    fn start(&mut self, fields: &mut Object<'_>, empty: bool, events: &mut Vec<Event>) {
        let id = fields.text("id").unwrap_or_default();
        let model = fields.text("model").unwrap_or_default();
        let created = fields.take("created").and_then(read::whole);
        if self.started || (empty && id.is_empty() && !self.whole) {
            return;
        }
        self.started = true;
        self.id = id.into_owned();
        let created = created.and_then(|seconds| i64::try_from(seconds).ok()).filter(|seconds| *seconds > 0);
        events.push(Event::Start { id: self.id.clone(), model: model.into_owned(), created });
        events.extend(self.usage.map(Event::Usage));
    }

    fn count(&mut self, usage: Usage, events: &mut Vec<Event>) {
        if self.started && self.usage != Some(usage) {
            events.push(Event::Usage(usage));
        }
        self.usage = Some(usage);
    }

    fn choice<'a>(
        &mut self,
        raw: Raw<'a>,
        counted: &mut Option<Counts<'a>>,
        events: &mut Vec<Event>,
    ) -> Result<(), Error> {
        let Some(mut fields) = Object::parse(raw.get()) else { return Ok(()) };
        if let Some(raw) = fields.get("error") {
            return Err(error::embedded(raw));
        }
        let index = u32::try_from(fields.count("index")).unwrap_or_default();
        let (delta, message) = (fields.object("delta"), fields.object("message"));
        let said = if self.whole { message.or(delta) } else { delta.or(message) };
        let number = index;
        let choice = self.choices.entry(index).or_insert_with(|| Choice::new(number));
        // Before the text they belong to, so that one chunk for the client can hold both.
        if let Some(logprobs) = fields.take("logprobs").and_then(logprobs) {
            events.push(Event::Logprobs { choice: index, logprobs });
        }
        if let Some(mut said) = said {
            choice.say(&mut said, &self.id, self.whole, &self.restore, events);
        }
        // Legacy text completions.
        if let Some(text) = fields.text("text") {
            choice.text(&text, events);
        }
        choice.finish(&mut fields);
        if counted.is_none() {
            *counted = fields.counts("usage");
        }
        Ok(())
    }

    /// Has every choice so far said why it ended?
    pub(crate) fn is_finished(&self) -> bool {
        !self.choices.is_empty() && self.choices.values().all(Choice::is_finished)
    }

    /// The answer is complete.
    pub(crate) fn end(&mut self, events: &mut Vec<Event>) {
        if !self.started {
            events.push(Event::Error(Error::new(Kind::Upstream, "the provider sent an empty answer")));
            return;
        }
        for choice in self.choices.values_mut() {
            choice.end(events);
        }
        if self.service_tier.is_some() || self.extras.dialect.is_some() {
            let service_tier = self.service_tier.take();
            events.push(Event::Meta { service_tier, extras: std::mem::take(&mut self.extras) });
        }
        events.push(Event::End);
    }
}

/// Log-probabilities with something in them, in the chat shape.
fn logprobs(raw: Raw<'_>) -> Option<RawJson> {
    let mut fields = Object::parse(raw.get())?;
    if fields.has("tokens") {
        return chat_logprobs(&mut fields);
    }
    let some = |key: &str| fields.get(key).is_some_and(|list| list.get() != "[]");
    (some("content") || some("refusal")).then(|| raw.into())
}

/// The legacy shape holds parallel lists; the chat shape one entry per token.
fn chat_logprobs(fields: &mut Object<'_>) -> Option<RawJson> {
    let (tokens, probabilities) = (fields.list("tokens"), fields.list("token_logprobs"));
    let mut tops = fields.list("top_logprobs").into_iter();
    let entry = |token: &str, logprob: serde_json::Value| {
        let mut fields = serde_json::Map::new();
        fields.insert("token".to_owned(), token.into());
        fields.insert("logprob".to_owned(), logprob);
        fields.insert("bytes".to_owned(), token.as_bytes().into());
        fields
    };
    let mut content = Vec::with_capacity(tokens.len());
    for (token, logprob) in tokens.into_iter().zip(probabilities) {
        let mut one = entry(&read::text(token)?, serde_json::from_str(logprob.get()).ok()?);
        let top = tops.next().and_then(|top| Object::parse(top.get()));
        let alternatives = top.iter().flat_map(Object::rest).filter_map(|(token, logprob)| {
            Some(entry(token, serde_json::from_str(logprob.get()).ok()?).into())
        });
        one.insert("top_logprobs".to_owned(), serde_json::Value::Array(alternatives.collect()));
        content.push(one);
    }
    (!content.is_empty()).then(|| RawJson::from(serde_json::json!({ "content": content })))
}

/// A host's word for why an answer ended; `None` when it means nothing to us.
pub(crate) fn finish_reason(word: &str) -> Option<FinishReason> {
    Some(match word {
        "stop" | "eos" | "eos_token" | "end_turn" | "STOP" | "COMPLETE" => FinishReason::Stop,
        "stop_sequence" | "STOP_SEQUENCE" => FinishReason::StopSequence,
        "length" | "max_tokens" | "MAX_TOKENS" | "model_length" | "max_length" => FinishReason::Length,
        "tool_calls" | "function_call" | "tool_use" | "TOOL_CALL" => FinishReason::ToolCalls,
        "content_filter"
        | "content_filtered"
        | "sensitive"
        | "SAFETY"
        | "RECITATION"
        | "guardrail_intervened" => FinishReason::ContentFilter,
        "refusal" => FinishReason::Refusal,
        "pause_turn" => FinishReason::Pause,
        "model_context_window_exceeded" => FinishReason::ContextWindow,
        "error" | "network_error" | "insufficient_system_resource" => FinishReason::Error,
        _ => return None,
    })
}

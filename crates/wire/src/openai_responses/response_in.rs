//! Whole answers of a provider, and the response objects inside its streams.

use tollway_model::{
    Dialect, Error, Event, Extras, FinishReason, Fold, Kind, RawJson, Response, Result, Usage,
};

use super::item_in::{self, Tally};
use crate::Restore;
use crate::openai_chat::error;
use crate::openai_chat::read::{self, Object, Raw};

pub(super) fn decode(body: &[u8], restore: &Restore) -> Result<Response> {
    let mut top = parse(body)?;
    let mut response = top.object("response").unwrap_or(top);
    if !response.has("output") {
        if let Some(raw) = response.get("error") {
            return Err(embedded(raw));
        }
        return Err(Error::new(Kind::Upstream, "the provider's answer has no `output`"));
    }
    let mut events = Vec::new();
    events.push(start(&mut response));
    let mut tally = Tally::default();
    let mut logprobs = Vec::new();
    let mut part = 0;
    for raw in response.list("output") {
        tally.add(raw);
        for whole in item_in::parts(raw, restore) {
            item_in::emit(part, whole, &mut events);
            part += 1;
        }
        logprobs.extend(item_logprobs(raw));
    }
    events.extend(logprobs.into_iter().map(|logprobs| Event::Logprobs { choice: 0, logprobs }));
    end(&mut response, tally, &mut events)?;
    let mut fold = Fold::new();
    events.into_iter().for_each(|event| fold.push(event));
    fold.finish()
}

fn parse(body: &[u8]) -> Result<Object<'_>> {
    let text = std::str::from_utf8(body)
        .map_err(|_| Error::new(Kind::Upstream, "the provider's answer is not UTF-8"))?;
    Object::parse(text).ok_or_else(|| Error::new(Kind::Upstream, "the provider's answer is not valid JSON"))
}

/// The usage of a whole answer, its items read no further than their type.
pub(super) fn read_usage(body: &[u8]) -> Option<Usage> {
    let mut top = parse(body).ok()?;
    let mut tally = Tally::default();
    top.list("output").into_iter().for_each(|raw| tally.add(raw));
    usage(&mut top, tally)
}

fn usage(response: &mut Object<'_>, tally: Tally) -> Option<Usage> {
    let mut usage = crate::openai_chat::usage::decode(&response.counts("usage")?);
    // The provider bills searches beside tokens and does not count them there.
    usage.web_searches = usage.web_searches.max(tally.searches);
    Some(usage)
}

/// Log-probabilities of a message's texts, in Chat Completions' shape.
fn item_logprobs(raw: Raw<'_>) -> Vec<RawJson> {
    let Some(mut item) = Object::parse(raw.get()) else { return Vec::new() };
    let parts = item.list("content").into_iter().filter_map(|raw| Object::parse(raw.get())?.take("logprobs"));
    parts.filter_map(logprobs).collect()
}

/// `None` for an empty list.
pub(super) fn logprobs(raw: Raw<'_>) -> Option<RawJson> {
    if read::list(raw)?.is_empty() {
        return None;
    }
    RawJson::parse(format!("{{\"content\":{}}}", raw.get()))
}

/// The answer begins.
pub(super) fn start(response: &mut Object<'_>) -> Event {
    let id = response.text("id").unwrap_or_default().into_owned();
    let model = response.text("model").unwrap_or_default().into_owned();
    let seconds = response.take("created_at").and_then(|raw| raw.get().parse::<f64>().ok());
    #[expect(clippy::cast_possible_truncation, reason = "seconds since 1970, some with a fraction")]
    let created = seconds.map(|seconds| seconds as i64).filter(|seconds| *seconds > 0);
    Event::Start { id, model, created }
}

/// The answer is complete, or failed. Identity and `output` have been taken out of `response`.
pub(super) fn end(response: &mut Object<'_>, tally: Tally, events: &mut Vec<Event>) -> Result<()> {
    let status = response.text("status").unwrap_or_default();
    let failure = response.get("error");
    if status == "failed" || (status.is_empty() && failure.is_some()) {
        let nameless = || Error::new(Kind::Upstream, "the provider says that the answer failed, and not why");
        return Err(failure.map_or_else(nameless, embedded));
    }
    let reason = response.object("incomplete_details").and_then(|mut details| details.text("reason"));
    let (finish, native) = match (&*status, reason.as_deref()) {
        ("in_progress" | "queued" | "cancelled", _) => (None, Some(status.clone().into_owned())),
        ("incomplete", Some("content_filter")) => (Some(FinishReason::ContentFilter), None),
        ("incomplete", reason) => {
            let known = reason.is_none_or(|reason| reason == "max_output_tokens");
            (Some(FinishReason::Length), (!known).then(|| reason.unwrap_or_default().to_owned()))
        }
        _ if tally.called => (Some(FinishReason::ToolCalls), None),
        _ => (Some(FinishReason::Stop), None),
    };
    // A background response that is still at work has no finish, but its state must not be lost.
    let mut extras = Extras::default();
    if let Some(native) = native.as_ref().filter(|_| finish.is_none()) {
        extras = Extras::of(Dialect::OpenaiResponses);
        extras.fields.insert("status".to_owned(), RawJson::from(serde_json::Value::from(native.as_str())));
    }
    if let Some(reason) = finish {
        events.push(Event::Finish { choice: 0, reason, native, stop_sequence: None });
    }
    events.extend(usage(response, tally).map(Event::Usage));
    let service_tier = response.text("service_tier").map(|tier| tier.into_owned());
    response.take("object");
    for (key, raw) in response.rest().filter(|(_, raw)| raw.get() != "null") {
        extras.dialect = Some(Dialect::OpenaiResponses);
        extras.fields.insert(key.to_owned(), raw.into());
    }
    if service_tier.is_some() || extras.dialect.is_some() {
        events.push(Event::Meta { service_tier, extras });
    }
    events.push(Event::End);
    Ok(())
}

/// Reads `{code, message}`, or an event of type `error`.
pub(super) fn embedded(raw: Raw<'_>) -> Error {
    let error = error::embedded(raw);
    // The type of the event, not of the failure.
    if error.provider_type() == Some("error") {
        let code = error.provider_code().map(str::to_owned);
        return error.with_provider(code, None);
    }
    error
}

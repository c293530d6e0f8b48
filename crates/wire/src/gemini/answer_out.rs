//! The pieces answers for clients are made of, whole or streamed.

use std::borrow::Cow;

use indexmap::IndexMap;
use serde::Serialize;
use tollway_model::{Content, Dialect, Extras, FinishReason, RawJson, Response, ToolCall};

use super::contents_out::arguments;
use super::grounding::Sources;
use super::shape::{AnyPart, ContentOut, FunctionCallOut, PartOut};
use super::usage::UsageOut;
use super::{finish, media, signature};

/// A `GenerateContentResponse`.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AnswerOut<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) candidates: Vec<CandidateOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage_metadata: Option<UsageOut>,
    pub(super) model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) create_time: Option<String>,
    pub(super) response_id: &'a str,
    #[serde(flatten)]
    pub(super) more: IndexMap<&'a str, &'a RawJson>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CandidateOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<ContentOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) finish_reason: Option<&'a str>,
    pub(super) index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) logprobs_result: Option<RawJson>,
    #[serde(flatten)]
    pub(super) more: IndexMap<String, RawJson>,
}

impl<'a> CandidateOut<'a> {
    pub(super) fn of(index: u32, parts: Vec<AnyPart<'a>>) -> CandidateOut<'a> {
        let content = Some(ContentOut { parts, role: Some("model") });
        CandidateOut { content, index, ..CandidateOut::default() }
    }

    /// Adds what only Gemini says about a candidate, or citations in Gemini's form.
    pub(super) fn complete(&mut self, extras: &Extras, sources: &Sources) {
        for (key, value) in candidate_extras(extras, self.index) {
            self.more.insert(key, RawJson::from(value));
        }
        if !self.more.contains_key("groundingMetadata")
            && let Some(grounding) = sources.write()
        {
            self.more.insert("groundingMetadata".into(), RawJson::from(grounding));
        }
    }
}

fn candidate_extras(extras: &Extras, index: u32) -> serde_json::Map<String, serde_json::Value> {
    let all = extras.for_dialect(Dialect::Gemini).and_then(|fields| fields.get("candidates"));
    let Some(serde_json::Value::Array(all)) = all.map(RawJson::to_value) else {
        return serde_json::Map::new();
    };
    let own = all.into_iter().find_map(|one| match one {
        serde_json::Value::Object(mut one)
            if one.get("index").and_then(|i| i.as_u64()) == Some(u64::from(index)) =>
        {
            one.remove("index");
            Some(one)
        }
        _ => None,
    });
    own.unwrap_or_default()
}

/// Top-level members only Gemini knows.
pub(super) fn top_extras(extras: &Extras) -> IndexMap<&str, &RawJson> {
    let fields = extras.for_dialect(Dialect::Gemini).into_iter().flatten();
    fields.filter(|(key, _)| *key != "candidates").map(|(key, value)| (key.as_str(), value)).collect()
}

/// The prompt was refused before there was an answer, and Gemini itself said so.
pub(super) fn is_blocked(extras: &Extras, empty: bool, finish: Option<FinishReason>) -> bool {
    let feedback =
        extras.for_dialect(Dialect::Gemini).is_some_and(|fields| fields.contains_key("promptFeedback"));
    feedback && empty && finish == Some(FinishReason::ContentFilter)
}

/// Writes one part of an answer; `wrapped` hears of arguments that are no object.
pub(super) fn part<'a>(content: &'a Content, wrapped: &mut bool) -> Option<AnyPart<'a>> {
    let part = match content {
        Content::Text { text, signature, .. } => PartOut {
            thought_signature: signature.as_ref().map(|signature| signature::write(signature, false)),
            ..PartOut::text(text.as_str())
        },
        Content::Refusal(text) => PartOut::text(text.as_str()),
        Content::Reasoning { text, signature, redacted } => PartOut {
            thought: Some(true),
            thought_signature: signature.as_ref().map(|signature| signature::write(signature, *redacted)),
            ..PartOut::text(text.as_str())
        },
        Content::ToolCall(call) => call_part(call, wrapped),
        Content::Image(media) | Content::Audio(media) => media::answer_part(media),
        Content::Native { dialect: Dialect::Gemini, json } => return Some(AnyPart::Native(json)),
        Content::Native { .. } | Content::Video(_) | Content::File(_) | Content::ToolResult(_) => {
            return None;
        }
    };
    Some(part.into())
}

/// Writes a tool call.
pub(super) fn call_part<'a>(call: &'a ToolCall, wrapped: &mut bool) -> PartOut<'a> {
    let args = arguments(call).unwrap_or_else(|text| {
        *wrapped = true;
        RawJson::from(serde_json::json!({ "arguments": text }))
    });
    PartOut {
        function_call: Some(FunctionCallOut {
            id: (!call.id.is_empty()).then_some(call.id.as_str()),
            name: Cow::Borrowed(&call.name),
            args,
        }),
        thought_signature: call.signature.as_ref().map(|signature| signature::write(signature, false)),
        ..PartOut::default()
    }
}

/// Writes a complete answer.
pub(super) fn encode(
    response: &Response,
    view: &crate::View<'_>,
    notices: &mut tollway_model::Notices,
) -> Vec<u8> {
    if response.extras.dialect.is_some_and(|dialect| dialect != Dialect::Gemini)
        && !response.extras.fields.is_empty()
    {
        let names: Vec<&str> = response.extras.fields.keys().map(String::as_str).collect();
        notices.changed("extras", format!("fields of another dialect were left out: {}", names.join(", ")));
    }
    let mut out = AnswerOut {
        model_version: view.model,
        response_id: if response.id.is_empty() { view.id } else { &response.id },
        create_time: response.created.map(super::time::write),
        usage_metadata: response
            .usage
            .as_ref()
            .map(|usage| super::usage::write(usage, response.service_tier.as_deref())),
        more: top_extras(&response.extras),
        ..AnswerOut::default()
    };
    for choice in &response.choices {
        if is_blocked(&response.extras, choice.parts.is_empty(), choice.finish) {
            continue;
        }
        let mut sources = Sources::default();
        let mut parts = Vec::with_capacity(choice.parts.len());
        for (number, one) in choice.parts.iter().enumerate() {
            let field = || format!("candidates[{}].content.parts[{number}]", choice.index);
            let mut wrapped = false;
            match part(&one.content, &mut wrapped) {
                Some(part) => parts.push(part),
                None => notices.changed(field(), "a part Gemini has no form for was left out"),
            }
            if wrapped {
                notices.changed(field(), "the arguments are not a JSON object; sent inside one");
            }
            if let Content::Text { text, citations, .. } = &one.content {
                let mark = sources.mark();
                sources.text(text);
                citations.iter().for_each(|citation| sources.cite(citation, mark));
            }
        }
        let mut candidate = CandidateOut::of(choice.index, parts);
        candidate.finish_reason =
            choice.finish.map(|finish| finish::write(finish, choice.native_finish.as_deref()));
        candidate.logprobs_result = choice.logprobs.as_ref().and_then(super::logprobs::write);
        candidate.complete(&response.extras, &sources);
        out.candidates.push(candidate);
    }
    // Strings and numbers only: this cannot fail.
    serde_json::to_vec(&out).unwrap_or_default()
}

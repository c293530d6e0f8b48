//! Neutral request → what a provider of this dialect takes.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};

use indexmap::IndexMap;
use serde_json::{Map, Value, json};
use tollway_model::{
    Content, Dialect, Error, Message, Notices, Part, RawJson, Request, Result, Tool, ToolChoice,
};

use super::conversation::{self, Conversation};
use super::family::Family;
use super::fields::{self, Fields};
use super::media::Names;
use super::shape::{Block, Body, InferenceConfig, ServiceTier};
use super::{LONGEST_NAME, tools};
use crate::anthropic::is_harmless;
use crate::anthropic::names::Rewriter;
use crate::anthropic::request_in::DOCUMENT_CITATIONS;
use crate::codec::is_usual_sampling;
use crate::{Encoded, Restore, Target, unsupported};

/// Pairs of `requestMetadata` the API takes.
const MOST_METADATA: usize = 16;

/// Members of this API that callers of other dialects may send as they are, in LiteLLM's spellings too.
const NATIVE_MEMBERS: [(&str, &str); 7] = [
    ("guardrailConfig", "guardrailConfig"),
    ("guardrail_config", "guardrailConfig"),
    ("performanceConfig", "performanceConfig"),
    ("performance_config", "performanceConfig"),
    ("promptVariables", "promptVariables"),
    ("serviceTier", "serviceTier"),
    ("outputConfig", "outputConfig"),
];

/// Writes the request, and what the decoder of the answer must undo.
pub(super) fn encode(request: &Request, target: &Target<'_>, notices: &mut Notices) -> Result<Encoded> {
    let (family, capabilities) = (Family::of(target.model), target.capabilities);
    let mut names = Rewriter::new(tool_names(request), LONGEST_NAME, "tool");
    let ids = Rewriter::new(call_ids(request), LONGEST_NAME, "call");
    let mut fields = fields::plan(request, family, capabilities, notices);
    let writer = conversation::Writer {
        family,
        capabilities,
        names: &names,
        ids: &ids,
        citations: request.extras.for_dialect(Dialect::Anthropic).and_then(|all| all.get(DOCUMENT_CITATIONS)),
        notices,
        documents: Names::default(),
        used: HashMap::new(),
    };
    let conversation = writer.conversation(request)?;
    // What stands before the conversation must not depend on how it goes on: prompt caches live on it.
    let asked_to_think = fields.thinks() || capabilities.thinking_always_on;
    forgo_thinking(&mut fields, &conversation, notices);
    let thinks = fields.thinks() || capabilities.thinking_always_on;
    let writer = tools::Writer {
        request,
        family,
        capabilities,
        names: &mut names,
        notices,
        has_history: conversation.uses_tools(),
        thinks: asked_to_think,
    };
    let tools = writer.tools();
    let (mut system, messages) = conversation.finish(family, capabilities, tools.cache_points, notices);
    system.extend(tools.instruction.map(Block::Text));
    let mut body =
        Body { messages, system, tool_config: tools.config, output_config: tools.output, ..Body::default() };
    body.inference_config = inference(request, target, &fields, thinks, notices);
    if thinks && family.may_be_claude() {
        body.additional_model_response_field_paths.push(Cow::Borrowed("/usage/output_tokens_details"));
    }
    body.service_tier = service_tier(request, notices);
    body.request_metadata = metadata(request, notices);
    let mut more = fields.members;
    betas(request, &tools.native, &mut fields.betas);
    if !tools.native.is_empty() {
        more.insert("tools".to_owned(), Value::Array(tools.native));
    }
    parallel(request, family, &body, &mut more, notices);
    top_k(request, target, family, thinks, &mut more, notices);
    extras(request, &mut body, &mut more, &mut fields.betas, notices);
    if !fields.betas.is_empty() {
        more.insert("anthropic_beta".to_owned(), json!(fields.betas));
    }
    body.additional_model_request_fields = more;
    unsupported::sampling(request, notices);
    unsupported::bookkeeping(&[("user", request.user.is_some())], request, notices);
    let bytes = serde_json::to_vec(&body)
        .map_err(|error| Error::internal(format!("the request cannot be written: {error}")))?;
    let custom_tools = custom_tools(request, &names);
    let restore = Restore { tool_names: names.into_restore(), json_tool: tools.json_tool, custom_tools };
    Ok(Encoded { body: bytes, headers: Vec::new(), restore })
}

/// Writes a request to count tokens: the members that operation knows.
pub(super) fn encode_count(request: &Request, target: &Target<'_>) -> Result<Vec<u8>> {
    const COUNTED: [&str; 4] = ["messages", "system", "toolConfig", "additionalModelRequestFields"];
    let encoded = encode(request, target, &mut Notices::new())?;
    let mut body: IndexMap<String, RawJson> = serde_json::from_slice(&encoded.body)
        .map_err(|error| Error::internal(format!("the request cannot be read back: {error}")))?;
    body.retain(|name, _| COUNTED.contains(&name.as_str()));
    serde_json::to_vec(&json!({ "input": { "converse": body } }))
        .map_err(|error| Error::internal(format!("the request cannot be written: {error}")))
}

/// All parts, those inside tool results left out: they hold no calls.
fn parts(request: &Request) -> impl Iterator<Item = &Part> + Clone {
    request.messages.iter().flat_map(|message: &Message| &message.parts)
}

/// Every tool name of the request: offered, called earlier, or chosen.
fn tool_names(request: &Request) -> impl Iterator<Item = &str> + Clone {
    let offered = request.tools.iter().filter(|tool| !matches!(tool, Tool::Server { .. })).map(Tool::name);
    let called = parts(request).filter_map(|part| match &part.content {
        Content::ToolCall(call) => Some(call.name.as_str()),
        _ => None,
    });
    let chosen = match &request.tool_choice {
        Some(ToolChoice::Named(name)) => Some(name.as_str()),
        _ => None,
    };
    offered.chain(called).chain(chosen)
}

fn call_ids(request: &Request) -> impl Iterator<Item = &str> + Clone {
    parts(request).filter_map(|part| match &part.content {
        Content::ToolCall(call) => Some(call.id.as_str()),
        Content::ToolResult(result) => Some(result.call_id.as_str()),
        _ => None,
    })
}

/// Names, as sent, of the caller's free-text tools.
fn custom_tools(request: &Request, names: &Rewriter<'_>) -> HashSet<String> {
    let custom = request.tools.iter().filter_map(|tool| match tool {
        Tool::Custom { name, .. } => Some(names.get(name).to_owned()),
        _ => None,
    });
    custom.collect()
}

/// Switches thinking off where the model would refuse the conversation because of it.
fn forgo_thinking(fields: &mut Fields, conversation: &Conversation<'_>, notices: &mut Notices) {
    if !fields.has_budget {
        return;
    }
    let why = if conversation.lost_its_thinking() {
        "the last tool calls came without their thinking: this call does not think"
    } else if conversation.is_prefilled() {
        "a started answer is continued without thinking"
    } else {
        return;
    };
    fields.stop_thinking();
    notices.changed("reasoning_effort", why);
}

fn inference<'a>(
    request: &'a Request,
    target: &Target<'_>,
    fields: &Fields,
    thinks: bool,
    notices: &mut Notices,
) -> InferenceConfig<'a> {
    let mut config = InferenceConfig {
        max_tokens: fields.max_tokens,
        temperature: request.temperature,
        top_p: request.top_p,
        stop_sequences: stops(request, notices),
    };
    if let Some(wanted) = config.temperature
        && !(0.0..=1.0).contains(&wanted)
    {
        let clamped = wanted.clamp(0.0, 1.0);
        notices.changed("temperature", format!("must be 0 to 1: {wanted} became {clamped}"));
        config.temperature = Some(clamped);
    }
    let family = Family::of(target.model);
    // 1 is what both mean when absent; newer models of Claude refuse the two together.
    if family.may_be_claude() && config.temperature.is_some() && config.top_p.is_some() {
        if config.top_p == Some(1.0) {
            config.top_p = None;
        } else if config.temperature == Some(1.0) {
            config.temperature = None;
        }
    }
    if target.capabilities.sampling_params.no() {
        let refused = [("temperature", config.temperature.take()), ("top_p", config.top_p.take())];
        for (field, _) in refused.into_iter().filter(|(_, value)| value.is_some_and(|value| value < 1.0)) {
            if is_usual_sampling(request) {
                notices.changed(field, "the usual value of the caller's dialect: left out");
            } else {
                notices.dropped(field, "the model chooses its own sampling");
            }
        }
    } else if thinks && family.may_be_claude() {
        if config.temperature.take_if(|value| *value < 1.0).is_some() {
            notices.changed("temperature", "a thinking model takes only 1: left out");
        }
        if config.top_p.take_if(|value| *value < 0.95).is_some() {
            notices.changed("top_p", "a thinking model takes 0.95 or more: left out");
        }
    }
    config
}

fn stops<'a>(request: &'a Request, notices: &mut Notices) -> Vec<&'a str> {
    let (kept, blank): (Vec<&str>, Vec<&str>) =
        request.stop.iter().map(String::as_str).partition(|stop| !stop.trim().is_empty());
    if !blank.is_empty() {
        notices.dropped("stop", "a stop text of white space only is refused");
    }
    kept
}

/// Each maker's models take it under another name, or not at all.
fn top_k(
    request: &Request,
    target: &Target<'_>,
    family: Family,
    thinks: bool,
    more: &mut Map<String, Value>,
    notices: &mut Notices,
) {
    let Some(top_k) = request.top_k else { return };
    let refuses = target.capabilities.sampling_params.no();
    match family {
        Family::Claude(_) | Family::Hidden if thinks && !refuses => {
            notices.changed("top_k", "a thinking model does not take it: left out");
        }
        Family::Claude(_) | Family::Hidden | Family::Mistral if !refuses => {
            more.insert("top_k".to_owned(), top_k.into());
        }
        Family::Cohere if !refuses => {
            more.insert("k".to_owned(), top_k.into());
        }
        Family::Nova { .. } if !refuses => {
            more.insert("inferenceConfig".to_owned(), json!({ "topK": top_k }));
        }
        _ if is_usual_sampling(request) => {
            notices.changed("top_k", "the usual value of the caller's dialect: left out");
        }
        _ => notices.dropped("top_k", "the model has no such parameter"),
    }
}

/// One tool call at a time: a field of Claude.
fn parallel(
    request: &Request,
    family: Family,
    body: &Body<'_>,
    more: &mut Map<String, Value>,
    notices: &mut Notices,
) {
    if request.parallel_tool_calls != Some(false) || body.tool_config.tools.is_empty() {
        return;
    }
    if !family.may_be_claude_since((4, 5)) || family == Family::Hidden {
        return notices.changed("parallel_tool_calls", "the model may call several tools in one turn");
    }
    let mut choice = json!({ "disable_parallel_tool_use": true });
    // Where the common field says which kind, saying it again is refused.
    if let (None, Some(members)) = (&body.tool_config.tool_choice, choice.as_object_mut()) {
        members.insert("type".to_owned(), "auto".into());
    }
    more.insert("tool_choice".to_owned(), choice);
}

/// The betas that tools of Claude need.
fn betas(request: &Request, native: &[Value], betas: &mut BTreeSet<String>) {
    for kind in native.iter().filter_map(|tool| tool.get("type")?.as_str()) {
        // `computer_20250124` needs `computer-use-2025-01-24`, and so do the tools of the same day.
        let date = kind.rsplit('_').next().unwrap_or_default();
        if kind.starts_with("computer_")
            && let (Some(year), Some(month), Some(day)) = (date.get(..4), date.get(4..6), date.get(6..))
        {
            betas.insert(format!("computer-use-{year}-{month}-{day}"));
        }
    }
    if let Some(value) = request.extras.for_dialect(Dialect::Anthropic).and_then(|fields| fields.get("betas"))
    {
        betas.extend(serde_json::from_str::<Vec<String>>(value.get()).unwrap_or_default());
    }
}

fn service_tier<'a>(request: &'a Request, notices: &mut Notices) -> Option<ServiceTier<'a>> {
    match request.service_tier.as_deref()? {
        // What the API does when it is not told.
        "auto" | "default" | "standard" => None,
        "standard_only" => {
            notices.changed("service_tier", "what this provider does when it is not told: left out");
            None
        }
        kind @ ("flex" | "priority" | "reserved") => Some(ServiceTier { kind }),
        other => {
            notices.changed("service_tier", format!("the tier `{other}` means nothing here: left out"));
            None
        }
    }
}

/// The caller's bookkeeping goes into the provider's log of calls, as far as it fits there.
fn metadata(request: &Request, notices: &mut Notices) -> IndexMap<String, String> {
    let Some(given) = &request.metadata else { return IndexMap::new() };
    let Value::Object(given) = given.to_value() else {
        notices.changed("metadata", "only an object of texts can be kept: left out");
        return IndexMap::new();
    };
    let count = given.len();
    let fine = |text: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || " :_@$#=/+,-.".contains(c);
        text.len() <= 256 && text.chars().all(allowed)
    };
    let pairs = given.into_iter().filter_map(|(name, value)| match value {
        Value::String(text) if !name.is_empty() && fine(&name) && fine(&text) => Some((name, text)),
        _ => None,
    });
    let kept: IndexMap<_, _> = pairs.take(MOST_METADATA).collect();
    if kept.len() < count {
        notices
            .changed("metadata", "at most 16 pairs of short plain texts are kept: the others are left out");
    }
    kept
}

/// Puts the members that only this API knows back, or says that they cannot go along.
fn extras<'a>(
    request: &'a Request,
    body: &mut Body<'a>,
    more: &mut Map<String, Value>,
    betas: &mut BTreeSet<String>,
    notices: &mut Notices,
) {
    for (name, value) in &request.extras.fields {
        if let Some((_, native)) = NATIVE_MEMBERS.iter().find(|(known, _)| known == name) {
            native_member(native, value, request.stream, body);
            continue;
        }
        match name.as_str() {
            "additionalModelRequestFields" => {
                if let Value::Object(fields) = value.to_value() {
                    more.extend(fields);
                }
            }
            "additionalModelResponseFieldPaths" => {
                let paths: Vec<String> = serde_json::from_str(value.get()).unwrap_or_default();
                body.additional_model_response_field_paths.extend(paths.into_iter().map(Cow::Owned));
            }
            "requestMetadata" => {
                body.request_metadata.extend(
                    serde_json::from_str::<IndexMap<String, String>>(value.get()).unwrap_or_default(),
                );
            }
            "anthropic_beta" => betas.extend(list(value)),
            // These have found their places.
            "betas" | DOCUMENT_CITATIONS => {}
            "thinking" if more.contains_key("thinking") => {}
            name if is_harmless(name) => notices.changed(name.to_owned(), "means nothing here: left out"),
            name => notices.dropped(name.to_owned(), "this provider has no such parameter"),
        }
    }
}

fn list(value: &RawJson) -> Vec<String> {
    match value.to_value() {
        Value::String(text) => text.split(',').map(|item| item.trim().to_owned()).collect(),
        Value::Array(items) => items.into_iter().filter_map(|item| Some(item.as_str()?.to_owned())).collect(),
        _ => Vec::new(),
    }
}

fn native_member<'a>(name: &'static str, value: &'a RawJson, stream: bool, body: &mut Body<'a>) {
    match name {
        // How a guardrail looks at a stream is refused where nothing is streamed.
        "guardrailConfig" if !stream && value.get().contains("streamProcessingMode") => {
            let mut config = value.to_value();
            if let Some(members) = config.as_object_mut() {
                members.remove("streamProcessingMode");
            }
            body.rest.insert(name, Cow::Owned(RawJson::from(config)));
        }
        "serviceTier" => {
            body.service_tier = None;
            body.rest.insert(name, Cow::Borrowed(value));
        }
        "outputConfig" => {
            body.output_config = None;
            body.rest.insert(name, Cow::Borrowed(value));
        }
        _ => {
            body.rest.insert(name, Cow::Borrowed(value));
        }
    }
}

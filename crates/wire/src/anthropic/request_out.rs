//! Neutral request → what a provider of this dialect takes.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use indexmap::IndexMap;
use serde_json::json;
use tollway_model::{
    Capabilities, Content, Dialect, Error, Message, Notices, Part, RawJson, Request, Result, Tool, ToolChoice,
};

use super::blocks_out::{
    Block, Body, CacheControl, Metadata, OutputConfig, ResultContent, Thinking, ToolBlock, Turn,
};
use super::conversation::{self, Conversation, loop_lost_its_thinking};
use super::names::Rewriter;
use super::request_in::DOCUMENT_CITATIONS;
use super::structured::{self, Structured};
use super::thinking::{self, Plan};
use super::{is_harmless, tools};
use crate::codec::is_usual_sampling;
use crate::{Encoded, Restore, Target, unsupported};

/// Cache marks the API takes in one request.
const MOST_CACHE_MARKS: usize = 4;

/// Members of this API that callers of other dialects may send as they are.
const NATIVE_MEMBERS: [&str; 4] = ["container", "context_management", "inference_geo", "speed"];

/// Writes the request, and what the decoder of the answer must undo.
pub(super) fn encode(request: &Request, target: &Target<'_>, notices: &mut Notices) -> Result<Encoded> {
    let is_ours = request.extras.dialect == Some(Dialect::Anthropic);
    let capabilities = target.capabilities;
    let mut names = Rewriter::names(tool_names(request));
    let ids = Rewriter::ids(call_ids(request));
    let mut plan = thinking::plan(request, capabilities, is_ours, notices);
    let writer = conversation::Writer {
        capabilities,
        names: &names,
        ids: &ids,
        is_ours,
        citations: request
            .extras
            .for_dialect(Dialect::Anthropic)
            .and_then(|fields| fields.get(DOCUMENT_CITATIONS)),
        notices,
        uses_files: false,
        used: HashMap::new(),
    };
    let Conversation { mut system, turns, uses_files } = writer.conversation(request)?;
    forgo_thinking(&mut plan, &turns, capabilities, notices);
    let thinks = plan.is_on() || capabilities.thinking_always_on;
    let has_history = turns
        .iter()
        .flat_map(|turn| &turn.content)
        .any(|block| block.is_tool_use() || block.is_tool_result());
    let writer = tools::Writer { request, capabilities, names: &names, is_ours, notices };
    let mut tools = writer.tools(has_history, thinks);
    let answer = structured::plan(request, capabilities, is_ours, thinks, &mut names, &mut tools, notices);
    let Structured { format, tool: json_tool, instruction } = answer;
    system.extend(instruction.map(Block::text));
    let mut betas = BTreeSet::new();
    if uses_files {
        betas.insert("files-api-2025-04-14".to_owned());
    }
    if !is_ours {
        // A caller of this dialect asks for betas by a header of their own.
        tool_betas(request, &plan, &mut betas);
    }
    let sampling = sampling(request, capabilities, thinks, is_ours, notices);
    let mut body = Body {
        model: target.model,
        max_tokens: Some(plan.max_tokens),
        tools: tools.list,
        tool_choice: tools.choice,
        system,
        messages: turns,
        cache_control: request.cache.map(Into::into),
        thinking: plan.thinking,
        output_config: OutputConfig { effort: plan.effort, format, rest: inner(request, "output_config.") },
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        top_k: sampling.top_k,
        stop_sequences: stops(request, notices),
        metadata: metadata(request, is_ours, notices),
        service_tier: service_tier(request, is_ours, notices),
        stream: request.stream.then_some(true),
        rest: IndexMap::new(),
    };
    if !tools.mcp_servers.is_empty() {
        betas.insert(mcp_beta(request).to_owned());
        body.rest.insert("mcp_servers", Cow::Owned(RawJson::from(json!(tools.mcp_servers))));
    }
    extras(request, is_ours, &mut body, &mut betas, notices);
    unsupported::sampling(request, notices);
    unsupported::bookkeeping(&[("metadata", request.metadata.is_some())], request, notices);
    limit_cache_marks(&mut body, capabilities, notices);
    let bytes = serde_json::to_vec(&body)
        .map_err(|error| Error::internal(format!("the request cannot be written: {error}")))?;
    let custom_tools = custom_tools(request, &names);
    let restore = Restore { tool_names: names.into_restore(), json_tool, custom_tools };
    let headers = if betas.is_empty() {
        Vec::new()
    } else {
        vec![("anthropic-beta", betas.into_iter().collect::<Vec<_>>().join(","))]
    };
    Ok(Encoded { body: bytes, headers, restore })
}

/// Writes a request to count tokens: the members that endpoint knows.
pub(super) fn encode_count(request: &Request, target: &Target<'_>) -> Result<Vec<u8>> {
    const COUNTED: [&str; 9] = [
        "model",
        "messages",
        "system",
        "tools",
        "tool_choice",
        "thinking",
        "cache_control",
        "output_config",
        "speed",
    ];
    let encoded = encode(request, target, &mut Notices::new())?;
    let mut body: IndexMap<String, RawJson> = serde_json::from_slice(&encoded.body)
        .map_err(|error| Error::internal(format!("the request cannot be read back: {error}")))?;
    body.retain(|name, _| COUNTED.contains(&name.as_str()));
    serde_json::to_vec(&body)
        .map_err(|error| Error::internal(format!("the request cannot be written: {error}")))
}

/// The betas that tools need.
fn tool_betas(request: &Request, plan: &Plan<'_>, betas: &mut BTreeSet<String>) {
    if matches!(plan.thinking, Some(Thinking::Enabled { .. })) && !request.tools.is_empty() {
        betas.insert("interleaved-thinking-2025-05-14".to_owned());
    }
    for tool in &request.tools {
        // `computer_20250124` needs `computer-use-2025-01-24`, and so on.
        if let Tool::Server { dialect: Dialect::Anthropic, kind, .. } = tool
            && let Some(date) = kind.strip_prefix("computer_")
            && let (Some(year), Some(month), Some(day)) = (date.get(..4), date.get(4..6), date.get(6..))
        {
            betas.insert(format!("computer-use-{year}-{month}-{day}"));
        }
    }
}

/// The beta of MCP servers: the newer one configures their tools among the tools.
fn mcp_beta(request: &Request) -> &'static str {
    let has_toolset = request.tools.iter().any(|tool| tool.name() == "mcp_toolset");
    if has_toolset { "mcp-client-2025-11-20" } else { "mcp-client-2025-04-04" }
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
fn custom_tools(request: &Request, names: &Rewriter<'_>) -> std::collections::HashSet<String> {
    let custom = request.tools.iter().filter_map(|tool| match tool {
        Tool::Custom { name, .. } => Some(names.get(name).to_owned()),
        _ => None,
    });
    custom.collect()
}

/// Switches thinking off where the provider would refuse the conversation because of it.
fn forgo_thinking(
    plan: &mut Plan<'_>,
    turns: &[Turn<'_>],
    capabilities: &Capabilities,
    notices: &mut Notices,
) {
    if !plan.is_on() || capabilities.thinking_always_on {
        return;
    }
    // Models that choose their budget take such turns; those with a budget in tokens do not.
    let has_budget = matches!(plan.thinking, Some(Thinking::Enabled { .. }));
    if has_budget && loop_lost_its_thinking(turns) {
        plan.thinking = None;
        notices.changed(
            "reasoning_effort",
            "the last tool calls came without their thinking: this call does not think",
        );
        return;
    }
    let is_prefilled = turns.last().is_some_and(|turn| turn.role == super::blocks_out::Speaker::Assistant);
    if has_budget && is_prefilled {
        plan.thinking = None;
        notices.changed("reasoning_effort", "a started answer is continued without thinking");
    }
}

#[derive(Default)]
struct Sampling {
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<u64>,
}

fn sampling(
    request: &Request,
    capabilities: &Capabilities,
    thinks: bool,
    is_ours: bool,
    notices: &mut Notices,
) -> Sampling {
    let mut sampling =
        Sampling { temperature: request.temperature, top_p: request.top_p, top_k: request.top_k };
    if let Some(wanted) = sampling.temperature
        && !(0.0..=1.0).contains(&wanted)
    {
        let clamped = wanted.clamp(0.0, 1.0);
        notices.changed("temperature", format!("must be 0 to 1: {wanted} became {clamped}"));
        sampling.temperature = Some(clamped);
    }
    // 1 is what both mean when absent; models since Opus 4.1 refuse the two together.
    if !is_ours && sampling.temperature.is_some() && sampling.top_p.is_some() {
        if sampling.top_p == Some(1.0) {
            sampling.top_p = None;
        } else if sampling.temperature == Some(1.0) {
            sampling.temperature = None;
        }
    }
    if capabilities.sampling_params.no() {
        let refused = [
            ("temperature", sampling.temperature.is_some_and(|value| value < 1.0)),
            ("top_p", sampling.top_p.is_some_and(|value| value < 1.0)),
            ("top_k", sampling.top_k.is_some()),
        ];
        for (field, _) in refused.into_iter().filter(|(_, asked)| *asked) {
            if is_usual_sampling(request) {
                notices.changed(field, "the usual value of the caller's dialect: left out");
            } else {
                notices.dropped(field, "the model chooses its own sampling");
            }
        }
        return Sampling::default();
    }
    if thinks {
        if sampling.temperature.take_if(|value| *value < 1.0).is_some() {
            notices.changed("temperature", "a thinking model takes only 1: left out");
        }
        if sampling.top_p.take_if(|value| *value < 0.95).is_some() {
            notices.changed("top_p", "a thinking model takes 0.95 or more: left out");
        }
        if sampling.top_k.take().is_some() {
            notices.changed("top_k", "a thinking model does not take it: left out");
        }
    }
    sampling
}

fn stops<'a>(request: &'a Request, notices: &mut Notices) -> Vec<&'a str> {
    let (kept, blank): (Vec<&str>, Vec<&str>) =
        request.stop.iter().map(String::as_str).partition(|stop| !stop.trim().is_empty());
    if !blank.is_empty() {
        notices.dropped("stop", "a stop text of white space only is refused");
    }
    kept
}

fn metadata<'a>(request: &'a Request, is_ours: bool, notices: &mut Notices) -> Option<Metadata<'a>> {
    let mut user_id = request.user.as_deref();
    if user_id.is_some_and(is_personal) {
        let field = if is_ours { "metadata.user_id" } else { "user" };
        notices.changed(
            field,
            "looks like an e-mail address or a phone number, which may not be sent: left out",
        );
        user_id = None;
    }
    let metadata = Metadata { user_id, rest: inner(request, "metadata.") };
    (metadata.user_id.is_some() || !metadata.rest.is_empty()).then_some(metadata)
}

/// Does the text look like an e-mail address or a phone number?
fn is_personal(user: &str) -> bool {
    let is_mail = user.split_once('@').is_some_and(|(name, host)| {
        !name.is_empty() && host.contains('.') && !user.contains(char::is_whitespace)
    });
    let digits = user.bytes().filter(u8::is_ascii_digit).count();
    let phone = user.strip_prefix('+').unwrap_or(user);
    let is_phone =
        digits >= 7 && phone.chars().all(|c| c.is_ascii_digit() || matches!(c, ' ' | '(' | ')' | '-' | '.'));
    is_mail || is_phone
}

fn service_tier<'a>(request: &'a Request, is_ours: bool, notices: &mut Notices) -> Option<&'a str> {
    let tier = request.service_tier.as_deref()?;
    if is_ours || tier == "standard_only" {
        return Some(tier);
    }
    notices.changed("service_tier", format!("the tier `{tier}` means nothing here: left out"));
    None
}

/// Members of an inner object that only this dialect knows.
fn inner<'a>(request: &'a Request, prefix: &str) -> IndexMap<&'a str, &'a RawJson> {
    let Some(fields) = request.extras.for_dialect(Dialect::Anthropic) else { return IndexMap::new() };
    fields.iter().filter_map(|(path, value)| Some((path.strip_prefix(prefix)?, value))).collect()
}

/// Puts the unknown members back, or says that they cannot go along.
fn extras<'a>(
    request: &'a Request,
    is_ours: bool,
    body: &mut Body<'a>,
    betas: &mut BTreeSet<String>,
    notices: &mut Notices,
) {
    for (name, value) in &request.extras.fields {
        let is_inner = name.contains(['.', '[']);
        match name.as_str() {
            "betas" => betas.extend(serde_json::from_str::<Vec<String>>(value.get()).unwrap_or_default()),
            // Its place is `Plan::thinking`.
            "thinking" if is_ours => {}
            name if is_ours && name.starts_with("cache_control.") => {
                notices.changed(name.to_owned(), "only the time to live of cache marks is kept");
            }
            // Their objects have put them back.
            _ if is_ours && is_inner => {}
            name if is_ours => {
                body.rest.insert(name, Cow::Borrowed(value));
            }
            "mcp_servers" => {
                betas.insert(mcp_beta(request).to_owned());
                body.rest.insert("mcp_servers", Cow::Borrowed(value));
            }
            name if NATIVE_MEMBERS.contains(&name) => native_member(name, value, body, betas),
            name if is_harmless(name) => notices.changed(name.to_owned(), "means nothing here: left out"),
            name => notices.dropped(name.to_owned(), "this provider has no such parameter"),
        }
    }
}

/// A member of this API in a request of another dialect. The betas it needs are asked for.
fn native_member<'a>(name: &'a str, value: &'a RawJson, body: &mut Body<'a>, betas: &mut BTreeSet<String>) {
    let mut value = Cow::Borrowed(value);
    let mut beta = |name: &str| betas.insert(name.to_owned());
    match name {
        "context_management" => {
            if let Some(edits) = compaction(&value) {
                value = Cow::Owned(edits);
            }
            if value.get().contains("\"compact_20260112\"") {
                beta("compact-2026-01-12");
            }
            beta("context-management-2025-06-27");
        }
        "speed" if value.get() == "\"fast\"" => {
            beta("fast-mode-2026-02-01");
        }
        _ => {}
    }
    body.rest.insert(name, value);
}

/// OpenAI's list of compactions → this API's edits.
fn compaction(value: &RawJson) -> Option<RawJson> {
    let list = value.to_value();
    let edits =
        list.as_array()?.iter().filter(|item| item.get("type").is_some_and(|kind| kind == "compaction"));
    let edits = edits.map(|item| match item.get("compact_threshold").filter(|threshold| threshold.is_u64()) {
        Some(threshold) => {
            json!({ "type": "compact_20260112", "trigger": { "type": "input_tokens", "value": threshold } })
        }
        None => json!({ "type": "compact_20260112" }),
    });
    Some(RawJson::from(json!({ "edits": edits.collect::<Vec<_>>() })))
}

/// Keeps the last cache marks: they cover the longest prefixes.
fn limit_cache_marks(body: &mut Body<'_>, capabilities: &Capabilities, notices: &mut Notices) {
    let most = if capabilities.prompt_caching.no() { 0 } else { MOST_CACHE_MARKS };
    let mut fixed = usize::from(body.cache_control.is_some());
    let mut marks: Vec<&mut Option<CacheControl>> = Vec::new();
    for tool in &mut body.tools {
        match tool {
            ToolBlock::Function(function) => marks.push(&mut function.cache_control),
            ToolBlock::Native(json) => fixed += usize::from(json.get().contains("\"cache_control\"")),
            ToolBlock::Search(_) => {}
        }
    }
    let blocks = body.system.iter_mut().chain(body.messages.iter_mut().flat_map(|turn| &mut turn.content));
    for block in blocks {
        collect_marks(block, &mut marks, &mut fixed);
    }
    marks.retain(|mark| mark.is_some());
    if most == 0 && body.cache_control.take().is_some() {
        fixed = 0;
        notices.changed("cache_control", "the model has no prompt cache: left out");
    }
    let over = (marks.len() + fixed).saturating_sub(most).min(marks.len());
    if over == 0 {
        return;
    }
    for mark in marks.into_iter().take(over) {
        *mark = None;
    }
    notices.changed(
        "cache_control",
        format!("at most {most} cache marks are taken: the first {over} were left out"),
    );
}

fn collect_marks<'b, 'a>(
    block: &'b mut Block<'a>,
    marks: &mut Vec<&'b mut Option<CacheControl>>,
    fixed: &mut usize,
) {
    if let Block::Native(json) = block {
        *fixed += usize::from(json.get().contains("\"cache_control\""));
        return;
    }
    if let Block::ToolResult { content, cache_control, .. } = block {
        if let ResultContent::Blocks(blocks) = content {
            for block in blocks {
                collect_marks(block, marks, fixed);
            }
        }
        marks.push(cache_control);
        return;
    }
    marks.extend(block.cache_mut());
}

//! The rules Anthropic enforces on a messages request.

use serde_json::Value;

use super::blocks;
use crate::fault::Fault;
use crate::json::{count as number, list, stranger, text};

/// Top-level fields of a messages request: the SDK's types and the beta-only additions.
const FIELDS: [&str; 27] = [
    "model",
    "messages",
    "max_tokens",
    "system",
    "metadata",
    "stop_sequences",
    "stream",
    "temperature",
    "top_p",
    "top_k",
    "tools",
    "tool_choice",
    "thinking",
    "service_tier",
    "container",
    "mcp_servers",
    "context_management",
    "output_config",
    "output_format",
    "inference_geo",
    "speed",
    "cache_control",
    "diagnostics",
    "user_profile_id",
    "workspace_id",
    "betas",
    "fallbacks",
];

/// Fields that a token count takes.
const COUNTED: [&str; 14] = [
    "model",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "cache_control",
    "output_config",
    "output_format",
    "speed",
    "context_management",
    "mcp_servers",
    "user_profile_id",
    "workspace_id",
];

/// Schema keywords that structured output and strict tools refuse.
const UNSUPPORTED: [&str; 12] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "patternProperties",
    "if",
    "not",
    "oneOf",
];

pub(super) type Checked = Result<(), Fault>;

/// Refuses what Anthropic refuses. `lenient` allows turns that do not alternate.
pub(super) fn message(body: &Value, lenient: bool) -> Checked {
    if let Some(field) = stranger(body, &FIELDS) {
        return Err(extra(field));
    }
    match body.get("max_tokens") {
        None => return Err(missing("max_tokens")),
        Some(limit) if limit.as_u64().is_none_or(|limit| limit == 0) => {
            return Err(Fault::invalid("max_tokens: Input should be greater than or equal to 1"));
        }
        Some(_) => {}
    }
    sampling(body)?;
    conversation(body, lenient)
}

/// The same for a token count.
pub(super) fn count(body: &Value, lenient: bool) -> Checked {
    if let Some(field) = stranger(body, &COUNTED) {
        return Err(extra(field));
    }
    conversation(body, lenient)
}

fn extra(path: &str) -> Fault {
    Fault::invalid(format!("{path}: Extra inputs are not permitted"))
}

pub(super) fn missing(path: &str) -> Fault {
    Fault::invalid(format!("{path}: Field required"))
}

fn sampling(body: &Value) -> Checked {
    for field in ["temperature", "top_p"] {
        let Some(value) = body.get(field) else { continue };
        if !value.as_f64().is_some_and(|number| (0.0..=1.0).contains(&number)) {
            return Err(Fault::invalid(format!("{field}: range: 0..1")));
        }
    }
    if body.get("top_k").is_some_and(|k| !k.is_u64()) {
        return Err(Fault::invalid("top_k: Input should be a valid integer"));
    }
    for stop in list(body, "stop_sequences") {
        if stop.as_str().is_none_or(|stop| stop.trim().is_empty()) {
            return Err(Fault::invalid("stop_sequences: each stop sequence must contain non-whitespace"));
        }
    }
    thinking(body)
}

fn thinking(body: &Value) -> Checked {
    let Some(thinking) = body.get("thinking") else { return Ok(()) };
    let forced = matches!(body.pointer("/tool_choice/type").and_then(Value::as_str), Some("any" | "tool"));
    match text(thinking, "type") {
        Some("disabled" | "between_tools") => return Ok(()),
        Some("adaptive") => {}
        Some("enabled") => {
            let budget =
                number(thinking, "budget_tokens").ok_or_else(|| missing("thinking.enabled.budget_tokens"))?;
            if budget < 1024 {
                let what = "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024";
                return Err(Fault::invalid(what));
            }
            if number(body, "max_tokens").is_some_and(|limit| limit <= budget) {
                return Err(Fault::invalid("`max_tokens` must be greater than `thinking.budget_tokens`."));
            }
        }
        _ => return Err(Fault::invalid("thinking: Input tag does not match any of the expected tags")),
    }
    if forced {
        return Err(Fault::invalid("Thinking may not be enabled when tool_choice forces tool use."));
    }
    if body.get("temperature").is_some_and(|value| value.as_f64() != Some(1.0)) {
        return Err(Fault::invalid("`temperature` may only be set to 1 when thinking is enabled."));
    }
    if body.get("top_k").is_some() {
        return Err(Fault::invalid("`top_k` must be unset when thinking is enabled."));
    }
    Ok(())
}

fn conversation(body: &Value, lenient: bool) -> Checked {
    if text(body, "model").is_none_or(str::is_empty) {
        return Err(missing("model"));
    }
    let messages = list(body, "messages");
    if messages.is_empty() {
        return Err(Fault::invalid("messages: at least one message is required"));
    }
    system(body)?;
    tools(body)?;
    for (at, message) in messages.iter().enumerate() {
        blocks::turn(at, message, messages.len())?;
    }
    if !lenient {
        alternation(messages)?;
    }
    pairs(messages)?;
    thinking_survived(body, messages)?;
    let has_tool_blocks = messages.iter().flat_map(|message| list(message, "content")).any(is_tool_block);
    if has_tool_blocks && list(body, "tools").is_empty() {
        let what = "Requests which have `tool_use` or `tool_result` blocks in messages must define tools.";
        return Err(Fault::invalid(what));
    }
    let marks = body.to_string().matches("\"cache_control\":{").count();
    if marks > 4 {
        let what = format!("A maximum of 4 blocks with cache_control may be provided. Found {marks}.");
        return Err(Fault::invalid(what));
    }
    output_format(body)
}

fn is_tool_block(block: &Value) -> bool {
    matches!(text(block, "type"), Some("tool_use" | "tool_result"))
}

fn system(body: &Value) -> Checked {
    match body.get("system") {
        None | Some(Value::String(_)) => Ok(()),
        Some(Value::Array(blocks)) => blocks.iter().enumerate().try_for_each(|(at, block)| {
            let path = format!("system.{at}");
            if text(block, "type") != Some("text") {
                return Err(Fault::invalid(format!("{path}.type: Input should be 'text'")));
            }
            fields(block, &["type", "text", "cache_control", "citations"], &path)?;
            non_empty(block, &path)
        }),
        Some(_) => Err(Fault::invalid("system: Input should be a valid string or list")),
    }
}

pub(super) fn non_empty(block: &Value, path: &str) -> Checked {
    match text(block, "text") {
        None => Err(missing(&format!("{path}.text"))),
        Some("") => Err(Fault::invalid(format!("{path}: text content blocks must be non-empty"))),
        Some(_) => Ok(()),
    }
}

pub(super) fn fields(block: &Value, known: &[&str], path: &str) -> Checked {
    stranger(block, known).map_or(Ok(()), |field| Err(extra(&format!("{path}.{field}"))))
}

fn alternation(messages: &[Value]) -> Checked {
    let roles = messages.iter().filter_map(|message| text(message, "role")).filter(|role| *role != "system");
    let mut previous = "assistant";
    for role in roles {
        if role == previous {
            let what = match role {
                "assistant" if messages.first().is_some_and(|first| text(first, "role") == Some(role)) => {
                    "messages: first message must use the \"user\" role".to_owned()
                }
                _ => format!(
                    "messages: roles must alternate between \"user\" and \"assistant\", but found multiple \"{role}\" roles in a row"
                ),
            };
            return Err(Fault::invalid(what));
        }
        previous = role;
    }
    Ok(())
}

/// Every tool use is answered at the start of the next message, and nothing else is.
fn pairs(messages: &[Value]) -> Checked {
    let ids = |message: Option<&Value>, kind: &str, key: &str| -> Vec<String> {
        let blocks = message.map_or(&[][..], |message| list(message, "content"));
        let ours = blocks.iter().filter(|block| text(block, "type") == Some(kind));
        ours.filter_map(|block| text(block, key)).map(str::to_owned).collect()
    };
    for (at, message) in messages.iter().enumerate() {
        let used = ids(Some(message), "tool_use", "id");
        let answered = ids(messages.get(at + 1), "tool_result", "tool_use_id");
        if let Some(open) = used.iter().find(|id| !answered.contains(id)) {
            let what = format!(
                "messages.{at}: `tool_use` ids were found without `tool_result` blocks immediately after: {open}. \
                 Each `tool_use` block must have a corresponding `tool_result` block in the next message."
            );
            return Err(Fault::invalid(what));
        }
        let before = at.checked_sub(1).and_then(|before| messages.get(before));
        let asked = ids(before, "tool_use", "id");
        if let Some(stray) =
            ids(Some(message), "tool_result", "tool_use_id").iter().find(|id| !asked.contains(id))
        {
            let what =
                format!("messages.{at}: unexpected `tool_use_id` found in `tool_result` blocks: {stray}.");
            return Err(Fault::invalid(what));
        }
        let blocks = list(message, "content");
        let is_result = |block: &Value| text(block, "type") == Some("tool_result");
        let leading = blocks.iter().take_while(|block| is_result(block)).count();
        if blocks.iter().skip(leading).any(is_result) {
            let what = format!("messages.{at}: `tool_result` blocks must come first in the content");
            return Err(Fault::invalid(what));
        }
    }
    Ok(())
}

/// With a thinking budget, the turn that called the tools must still begin with its thinking.
fn thinking_survived(body: &Value, messages: &[Value]) -> Checked {
    if body.pointer("/thinking/type") != Some(&Value::from("enabled")) {
        return Ok(());
    }
    let [.., asked, told] = messages else { return Ok(()) };
    let first = |message| list(message, "content").first().and_then(|block| text(block, "type"));
    let uses_tools = list(asked, "content").iter().any(is_tool_block) && first(told) == Some("tool_result");
    if uses_tools && !matches!(first(asked), Some("thinking" | "redacted_thinking")) {
        let found = first(asked).unwrap_or_default();
        let what = format!(
            "messages.{}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{found}`.",
            messages.len() - 2
        );
        return Err(Fault::invalid(what));
    }
    Ok(())
}

fn tools(body: &Value) -> Checked {
    for (at, tool) in list(body, "tools").iter().enumerate() {
        let hosted = text(tool, "type").is_some_and(|kind| kind != "custom");
        if hosted {
            continue;
        }
        let path = format!("tools.{at}");
        let known = [
            "type",
            "name",
            "description",
            "input_schema",
            "cache_control",
            "strict",
            "defer_loading",
            "allowed_callers",
            "eager_input_streaming",
            "input_examples",
        ];
        fields(tool, &known, &path)?;
        let name = text(tool, "name").unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || name.len() > 128 || !name.chars().all(plain) {
            return Err(Fault::invalid(format!(
                "{path}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
            )));
        }
        match tool.get("input_schema") {
            None => return Err(missing(&format!("{path}.custom.input_schema"))),
            Some(schema) if text(schema, "type") != Some("object") => {
                return Err(Fault::invalid(format!(
                    "{path}.custom.input_schema.type: Input should be 'object'"
                )));
            }
            Some(schema) if crate::json::flag(tool, "strict") => closed(schema, &path)?,
            Some(_) => {}
        }
    }
    let Some(choice) = body.get("tool_choice") else { return Ok(()) };
    if list(body, "tools").is_empty() {
        return Err(Fault::invalid("tool_choice: may only be specified while providing tools"));
    }
    let known = match text(choice, "type") {
        Some("auto" | "any") => &["type", "disable_parallel_tool_use"][..],
        Some("tool") => &["type", "name", "disable_parallel_tool_use"],
        Some("none") => &["type"],
        _ => return Err(Fault::invalid("tool_choice: Input tag does not match any of the expected tags")),
    };
    fields(choice, known, "tool_choice")?;
    match text(choice, "name") {
        Some(name) if !list(body, "tools").iter().any(|tool| text(tool, "name") == Some(name)) => {
            Err(Fault::invalid(format!("Tool '{name}' not found in provided tools")))
        }
        None if text(choice, "type") == Some("tool") => Err(missing("tool_choice.tool.name")),
        _ => Ok(()),
    }
}

fn output_format(body: &Value) -> Checked {
    if let Some(config) = body.get("output_config") {
        fields(config, &["effort", "format", "task_budget"], "output_config")?;
    }
    let format = body.pointer("/output_config/format").or_else(|| body.get("output_format"));
    let Some(format) = format else { return Ok(()) };
    fields(format, &["type", "schema"], "output_config.format")?;
    match format.get("schema") {
        Some(schema) if text(format, "type") == Some("json_schema") => {
            closed(schema, "output_config.format.schema")
        }
        _ => Err(Fault::invalid("output_config.format: expected type 'json_schema' and a schema")),
    }
}

/// Schemas for constrained answers: closed objects, and no keyword the vendor cannot enforce.
fn closed(schema: &Value, path: &str) -> Checked {
    if text(schema, "type") == Some("object")
        && schema.get("additionalProperties") != Some(&Value::Bool(false))
    {
        let what =
            format!("{path}: For 'object' type, 'additionalProperties' must be explicitly set to false");
        return Err(Fault::invalid(what));
    }
    if let Some(keyword) = UNSUPPORTED.iter().find(|keyword| schema.get(**keyword).is_some()) {
        return Err(Fault::invalid(format!("{path}: For this type, property '{keyword}' is not supported")));
    }
    let maps = ["properties", "$defs"].iter().filter_map(|key| schema.get(key)?.as_object());
    maps.flatten().try_for_each(|(_, inner)| closed(inner, path))?;
    let mut inner = list(schema, "anyOf").iter().chain(list(schema, "allOf")).chain(schema.get("items"));
    inner.try_for_each(|inner| closed(inner, path))
}

//! The rules Bedrock enforces on a request.

use serde_json::Value;

use super::turns;
use crate::fault::Fault;
use crate::json::{count, keys, list, stranger, text};

pub(super) type Checked = Result<(), Fault>;

/// Members of the body, all others are unknown to the service.
const FIELDS: [&str; 12] = [
    "messages",
    "system",
    "inferenceConfig",
    "toolConfig",
    "guardrailConfig",
    "additionalModelRequestFields",
    "promptVariables",
    "additionalModelResponseFieldPaths",
    "requestMetadata",
    "performanceConfig",
    "serviceTier",
    "outputConfig",
];

/// Refuses what the service refuses.
pub(super) fn request(body: &Value, stream: bool) -> Checked {
    fields(body, &FIELDS, "")?;
    let messages = list(body, "messages");
    if messages.is_empty() {
        return Err(wrong("messages", "at least one message is required"));
    }
    for (at, block) in list(body, "system").iter().enumerate() {
        let path = format!("system.{at}");
        match one(block, &["text", "guardContent", "cachePoint"], &path)? {
            ("text", said) => not_blank(said, &path)?,
            ("cachePoint", point) => cache_point(point, &path)?,
            _ => {}
        }
    }
    inference(body)?;
    tools(body)?;
    turns::check(messages)?;
    thinking(body)?;
    let uses_tools = messages
        .iter()
        .flat_map(|message| list(message, "content"))
        .any(|block| block.get("toolUse").or_else(|| block.get("toolResult")).is_some());
    if uses_tools && list(body.get("toolConfig").unwrap_or(&Value::Null), "tools").is_empty() {
        return Err(Fault::invalid(
            "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
        ));
    }
    if body.to_string().matches("\"cachePoint\":{").count() > 4 {
        return Err(Fault::invalid(
            "You have reached the maximum number of cache points (4) for this request.",
        ));
    }
    settings(body, stream)
}

/// The only member of a union and its name.
pub(super) fn one<'a>(value: &'a Value, known: &[&str], path: &str) -> Result<(&'a str, &'a Value), Fault> {
    fields(value, known, path)?;
    match value.as_object().map(|object| object.iter().collect::<Vec<_>>()).as_deref() {
        Some([(name, value)]) => Ok((name.as_str(), *value)),
        _ => Err(wrong(path, "a union must have exactly one member")),
    }
}

pub(super) fn fields(value: &Value, known: &[&str], path: &str) -> Checked {
    match stranger(value, known) {
        None if value.is_object() => Ok(()),
        None => Err(wrong(path, "must be a structure")),
        Some(name) => Err(wrong(path, &format!("the member `{name}` is unknown"))),
    }
}

pub(super) fn wrong(path: &str, what: &str) -> Fault {
    Fault::invalid(format!("The value at {path} in the request is invalid: {what}."))
}

pub(super) fn not_blank(said: &Value, path: &str) -> Checked {
    match said.as_str() {
        Some(said) if !said.trim().is_empty() => Ok(()),
        _ => Err(Fault::invalid(format!(
            "The text field in the ContentBlock object at {path} is blank. Add text to the text field, and try again."
        ))),
    }
}

pub(super) fn cache_point(point: &Value, path: &str) -> Checked {
    fields(point, &["type", "ttl"], path)?;
    let is_known = text(point, "type") == Some("default")
        && point.get("ttl").is_none_or(|ttl| ttl == "5m" || ttl == "1h");
    if is_known { Ok(()) } else { Err(wrong(path, "no such cache point")) }
}

/// Names of tools and ids of calls.
pub(super) fn name(value: Option<&str>, path: &str) -> Checked {
    let is_fine = value.is_some_and(|name| {
        (1..=64).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    });
    let what = "must satisfy regular expression pattern [a-zA-Z0-9_-]+ with length less than or equal to 64";
    if is_fine { Ok(()) } else { Err(wrong(path, what)) }
}

fn inference(body: &Value) -> Checked {
    let Some(config) = body.get("inferenceConfig") else { return Ok(()) };
    fields(config, &["maxTokens", "temperature", "topP", "stopSequences"], "inferenceConfig")?;
    if config.get("maxTokens").is_some_and(|limit| limit.as_u64().is_none_or(|limit| limit == 0)) {
        return Err(wrong("inferenceConfig.maxTokens", "must be at least 1"));
    }
    for field in ["temperature", "topP"] {
        let Some(value) = config.get(field) else { continue };
        if !value.as_f64().is_some_and(|number| (0.0..=1.0).contains(&number)) {
            return Err(wrong(&format!("inferenceConfig.{field}"), "must be between 0 and 1"));
        }
    }
    match list(config, "stopSequences")
        .iter()
        .all(|stop| stop.as_str().is_some_and(|stop| !stop.trim().is_empty()))
    {
        true => Ok(()),
        false => Err(wrong("inferenceConfig.stopSequences", "each must hold more than white space")),
    }
}

fn tools(body: &Value) -> Checked {
    let Some(config) = body.get("toolConfig") else { return Ok(()) };
    fields(config, &["tools", "toolChoice"], "toolConfig")?;
    let tools = list(config, "tools");
    if tools.is_empty() {
        return Err(wrong("toolConfig.tools", "must have at least one member"));
    }
    let mut names = Vec::new();
    for (at, tool) in tools.iter().enumerate() {
        let path = format!("toolConfig.tools.{at}");
        match one(tool, &["toolSpec", "systemTool", "cachePoint"], &path)? {
            ("cachePoint", point) => cache_point(point, &path)?,
            ("toolSpec", spec) => {
                fields(spec, &["name", "description", "inputSchema", "strict"], &path)?;
                name(text(spec, "name"), &format!("{path}.name"))?;
                if spec.get("description").is_some_and(|words| words.as_str().is_none_or(str::is_empty)) {
                    return Err(wrong(&path, "the description must not be empty"));
                }
                if spec.pointer("/inputSchema/json/type") != Some(&Value::from("object")) {
                    return Err(wrong(&path, "inputSchema.json.type must be one of the following: object"));
                }
                names.extend(text(spec, "name"));
            }
            _ => {}
        }
    }
    if names.iter().enumerate().any(|(at, name)| names.iter().skip(at + 1).any(|other| other == name)) {
        return Err(wrong("toolConfig.tools", "tool names must be unique"));
    }
    let Some(choice) = config.get("toolChoice") else { return Ok(()) };
    match one(choice, &["auto", "any", "tool"], "toolConfig.toolChoice")? {
        ("tool", tool) if !names.iter().any(|name| text(tool, "name") == Some(*name)) => {
            Err(wrong("toolConfig.toolChoice.tool", "the tool is not among the tools"))
        }
        _ => Ok(()),
    }
}

/// What Claude refuses when it thinks.
fn thinking(body: &Value) -> Checked {
    let Some(thinking) = body.pointer("/additionalModelRequestFields/thinking") else { return Ok(()) };
    match text(thinking, "type") {
        Some("disabled") => return Ok(()),
        Some("adaptive") => {}
        Some("enabled") => {
            let budget = count(thinking, "budget_tokens").unwrap_or_default();
            if budget < 1024 {
                return Err(Fault::invalid(
                    "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
                ));
            }
            let limit = body.pointer("/inferenceConfig/maxTokens").and_then(Value::as_u64);
            if limit.and_then(|limit| usize::try_from(limit).ok()).is_none_or(|limit| limit <= budget) {
                return Err(Fault::invalid("`max_tokens` must be greater than `thinking.budget_tokens`."));
            }
        }
        _ => return Err(Fault::invalid("thinking: Input tag does not match any of the expected tags")),
    }
    if body.pointer("/toolConfig/toolChoice").is_some_and(|choice| choice.get("auto").is_none()) {
        return Err(Fault::invalid("Thinking may not be enabled when tool_choice forces tool use."));
    }
    if body.pointer("/inferenceConfig/temperature").is_some_and(|value| value.as_f64() != Some(1.0)) {
        return Err(Fault::invalid("`temperature` may only be set to 1 when thinking is enabled."));
    }
    Ok(())
}

fn settings(body: &Value, stream: bool) -> Checked {
    if let Some(guardrail) = body.get("guardrailConfig") {
        let whole = ["guardrailIdentifier", "guardrailVersion", "trace"];
        let streamed = ["guardrailIdentifier", "guardrailVersion", "trace", "streamProcessingMode"];
        fields(guardrail, if stream { &streamed } else { &whole }, "guardrailConfig")?;
    }
    let one_of = |pointer: &str, known: &[&str]| {
        let value = body.pointer(pointer).and_then(Value::as_str);
        if value.is_none_or(|value| known.contains(&value)) {
            Ok(())
        } else {
            Err(wrong(pointer, "no such value"))
        }
    };
    one_of("/serviceTier/type", &["priority", "default", "flex", "reserved"])?;
    one_of("/performanceConfig/latency", &["standard", "optimized"])?;
    let metadata = body.get("requestMetadata").unwrap_or(&Value::Null);
    let is_kept =
        |name: &str| name.len() <= 256 && text(metadata, name).is_some_and(|value| value.len() <= 256);
    if keys(metadata).count() > 16 || !keys(metadata).all(is_kept) {
        return Err(wrong("requestMetadata", "at most 16 short texts"));
    }
    if let Some(format) = body.pointer("/outputConfig/textFormat") {
        let schema = format.pointer("/structure/jsonSchema/schema").and_then(Value::as_str);
        let schema = schema.and_then(|schema| serde_json::from_str::<Value>(schema).ok());
        if text(format, "type") != Some("json_schema") || !schema.is_some_and(|schema| schema.is_object()) {
            return Err(wrong("outputConfig.textFormat", "the schema must be JSON in a text"));
        }
    }
    Ok(())
}

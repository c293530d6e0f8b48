//! The rules Gemini enforces on a `generateContent` request.

use serde_json::Value;

use super::read::declarations;
use super::schema::{self, kind};
use super::signature;
use crate::fault::Fault;
use crate::json::{is_base64, list, stranger, text};

const TOP: [&str; 11] = [
    "contents",
    "systemInstruction",
    "tools",
    "toolConfig",
    "safetySettings",
    "generationConfig",
    "cachedContent",
    "labels",
    "model",
    "serviceTier",
    "store",
];

const CONFIG: [&str; 25] = [
    "temperature",
    "topP",
    "topK",
    "candidateCount",
    "maxOutputTokens",
    "stopSequences",
    "responseLogprobs",
    "logprobs",
    "presencePenalty",
    "frequencyPenalty",
    "seed",
    "responseMimeType",
    "responseSchema",
    "responseJsonSchema",
    "responseModalities",
    "mediaResolution",
    "speechConfig",
    "audioTimestamp",
    "thinkingConfig",
    "imageConfig",
    "routingConfig",
    "modelSelectionConfig",
    "enableAffectiveDialog",
    "enableEnhancedCivicAnswers",
    "responseFormat",
];

const PART: [&str; 17] = [
    "text",
    "thought",
    "thoughtSignature",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
    "videoMetadata",
    "mediaResolution",
    "partMetadata",
    "toolCall",
    "toolResponse",
    "audioTranscription",
    "mediaProcessing",
    "speechMetadata",
];

const TOOL: [&str; 12] = [
    "functionDeclarations",
    "googleSearch",
    "googleSearchRetrieval",
    "codeExecution",
    "urlContext",
    "googleMaps",
    "computerUse",
    "fileSearch",
    "mcpServers",
    "enterpriseWebSearch",
    "retrieval",
    "parallelAiSearch",
];

/// What a client sends when it has lost a signature.
const SKIP: [&str; 4] = [
    "skip_thought_signature_validator",
    "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I=",
    "context_engineering_is_the_way_to_go",
    "Y29udGV4dF9lbmdpbmVlcmluZ19pc190aGVfd2F5X3RvX2dv",
];

pub(super) type Checked = Result<(), Fault>;

/// Refuses what Gemini refuses. With `signed`, calls of the current turn must carry their signature.
pub(super) fn request(body: &Value, signed: bool) -> Checked {
    known(body, &TOP, "")?;
    config(body.get("generationConfig").unwrap_or(&Value::Null))?;
    let contents = list(body, "contents");
    if contents.is_empty() {
        return Err(Fault::invalid("* GenerateContentRequest.contents: contents is not specified"));
    }
    for (at, content) in contents.iter().enumerate() {
        check_content(at, content)?;
    }
    if let Some(system) = body.get("systemInstruction") {
        known(system, &["parts", "role"], "system_instruction")?;
        if list(system, "parts").iter().any(|part| text(part, "text").is_none()) {
            return Err(Fault::invalid("system_instruction.parts: only text is allowed"));
        }
    }
    tools(body)?;
    turns(contents)?;
    if signed { signatures(contents) } else { Ok(()) }
}

/// Refuses members that are not in `fields`.
pub(super) fn known(value: &Value, fields: &[&str], path: &str) -> Checked {
    let Some(field) = stranger(value, fields) else { return Ok(()) };
    let place = if path.is_empty() { String::new() } else { format!(" at '{path}'") };
    let what = format!("Invalid JSON payload received. Unknown name \"{field}\"{place}: Cannot find field.");
    Err(Fault::invalid(what))
}

fn config(config: &Value) -> Checked {
    known(config, &CONFIG, "generation_config")?;
    let schema = config.get("responseSchema");
    if let Some(schema) = schema {
        schema::check(schema, "generation_config.response_schema")?;
    }
    let structured = schema.is_some() || config.get("responseJsonSchema").is_some();
    let json = matches!(text(config, "responseMimeType"), Some("application/json" | "text/x.enum"));
    if structured && !json {
        return Err(Fault::invalid(
            "response_schema is only supported when response_mime_type is application/json",
        ));
    }
    if schema.is_some() && config.get("responseJsonSchema").is_some() {
        return Err(Fault::invalid("only one of response_schema and response_json_schema may be set"));
    }
    if list(config, "stopSequences").len() > 5 {
        return Err(Fault::invalid(
            "* GenerateContentRequest.generation_config.stop_sequences: at most 5 are allowed",
        ));
    }
    if config
        .get("temperature")
        .is_some_and(|value| !value.as_f64().is_some_and(|t| (0.0..=2.0).contains(&t)))
    {
        return Err(Fault::invalid(
            "* GenerateContentRequest.generation_config.temperature: must be in the range [0.0, 2.0]",
        ));
    }
    if config.get("candidateCount").is_some_and(|value| !value.as_u64().is_some_and(|n| (1..=8).contains(&n)))
    {
        return Err(Fault::invalid(
            "* GenerateContentRequest.generation_config.candidate_count: must be from 1 to 8",
        ));
    }
    let Some(thinking) = config.get("thinkingConfig") else { return Ok(()) };
    known(
        thinking,
        &["includeThoughts", "thinkingBudget", "thinkingLevel"],
        "generation_config.thinking_config",
    )?;
    if thinking.get("thinkingBudget").is_some() && thinking.get("thinkingLevel").is_some() {
        return Err(Fault::invalid("You can only set only one of thinking budget and thinking level."));
    }
    Ok(())
}

fn check_content(at: usize, content: &Value) -> Checked {
    let path = format!("contents[{at}]");
    known(content, &["role", "parts"], &path)?;
    let role = text(content, "role").unwrap_or("user");
    if !["user", "model", "function"].contains(&role) {
        return Err(Fault::invalid("Please use a valid role: user, model."));
    }
    let parts = list(content, "parts");
    if parts.is_empty() {
        return Err(Fault::invalid(format!(
            "* GenerateContentRequest.{path}.parts: contents.parts must not be empty."
        )));
    }
    for (index, part) in parts.iter().enumerate() {
        let path = format!("{path}.parts[{index}]");
        known(part, &PART, &path)?;
        let kinds = [
            "text",
            "inlineData",
            "fileData",
            "functionCall",
            "functionResponse",
            "executableCode",
            "codeExecutionResult",
            "toolCall",
            "toolResponse",
        ];
        if kinds.iter().filter(|kind| part.get(**kind).is_some()).count() != 1 {
            let what = format!("{path}.data: required oneof field 'data' must have one initialized field");
            return Err(Fault::invalid(what));
        }
        check_part(part, &path)?;
    }
    Ok(())
}

fn check_part(part: &Value, path: &str) -> Checked {
    let wrong = |what: &str| Err(Fault::invalid(format!("{path}: {what}")));
    if let Some(data) = part.get("inlineData") {
        known(data, &["mimeType", "data", "displayName"], path)?;
        if text(data, "mimeType").is_none() || !text(data, "data").is_some_and(is_base64) {
            return wrong("Base64 decoding failed, or mime_type is missing");
        }
    }
    if let Some(call) = part.get("functionCall") {
        known(call, &["name", "args", "id"], path)?;
        if text(call, "name").is_none_or(str::is_empty)
            || call.get("args").is_some_and(|args| !args.is_object())
        {
            return wrong("function_call: name is required and args must be a struct");
        }
    }
    if let Some(response) = part.get("functionResponse") {
        known(response, &["name", "response", "id", "parts", "willContinue", "scheduling"], path)?;
        if text(response, "name").is_none_or(str::is_empty) {
            return wrong("function_response.name: Name cannot be empty.");
        }
        if !response.get("response").is_some_and(Value::is_object) {
            return wrong("function_response.response: must be a struct");
        }
    }
    match part.get("thoughtSignature") {
        Some(signature)
            if !signature.as_str().is_some_and(|text| is_base64(text) || SKIP.contains(&text)) =>
        {
            wrong("thought_signature: Base64 decoding failed")
        }
        _ => Ok(()),
    }
}

fn tools(body: &Value) -> Checked {
    for (at, tool) in list(body, "tools").iter().enumerate() {
        known(tool, &TOOL, &format!("tools[{at}]"))?;
    }
    for (at, declaration) in declarations(body).enumerate() {
        let path = format!("tools[0].function_declarations[{at}]");
        let fields = [
            "name",
            "description",
            "parameters",
            "parametersJsonSchema",
            "response",
            "responseJsonSchema",
            "behavior",
        ];
        known(declaration, &fields, &path)?;
        let name = text(declaration, "name").unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.:-".contains(c);
        let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !starts || name.len() > 128 || !name.chars().all(plain) {
            return Err(Fault::invalid(format!(
                "* GenerateContentRequest.{path}.name: Invalid function name."
            )));
        }
        if let Some(schema) = declaration.get("parameters") {
            schema::check(schema, &format!("{path}.parameters"))?;
            let empty =
                schema.get("properties").and_then(Value::as_object).is_none_or(serde_json::Map::is_empty);
            if kind(schema) == Some("OBJECT".to_owned()) && empty {
                let what = format!(
                    "* GenerateContentRequest.{path}.parameters.properties: should be non-empty for OBJECT type"
                );
                return Err(Fault::invalid(what));
            }
        }
    }
    let Some(config) = body.get("toolConfig") else { return Ok(()) };
    known(
        config,
        &["functionCallingConfig", "retrievalConfig", "includeServerSideToolInvocations"],
        "tool_config",
    )?;
    let Some(calling) = config.get("functionCallingConfig") else { return Ok(()) };
    known(
        calling,
        &["mode", "allowedFunctionNames", "streamFunctionCallArguments"],
        "tool_config.function_calling_config",
    )?;
    let mode = text(calling, "mode").unwrap_or("AUTO");
    let names = list(calling, "allowedFunctionNames");
    if !names.is_empty() && !["ANY", "VALIDATED"].contains(&mode) {
        return Err(Fault::invalid(
            "allowed_function_names should only be set when the function calling mode is ANY.",
        ));
    }
    if mode == "ANY" && declarations(body).next().is_none() {
        return Err(Fault::invalid("Function calling config is set without function_declarations."));
    }
    Ok(())
}

/// A turn of calls follows a user's turn and is answered by as many responses.
fn turns(contents: &[Value]) -> Checked {
    let number = |content: Option<&Value>, kind: &str| {
        content.map_or(0, |content| {
            list(content, "parts").iter().filter(|part| part.get(kind).is_some()).count()
        })
    };
    for (at, content) in contents.iter().enumerate() {
        let calls = number(Some(content), "functionCall");
        let before = at.checked_sub(1).and_then(|before| contents.get(before));
        if calls > 0 && before.is_none_or(|before| text(before, "role") == Some("model")) {
            let what = "Please ensure that function call turn comes immediately after a user turn or after a function response turn.";
            return Err(Fault::invalid(what));
        }
        let responses = number(contents.get(at + 1), "functionResponse");
        if calls != responses {
            let what = match calls {
                0 => {
                    "Please ensure that function response turn comes immediately after a function call turn."
                }
                _ => {
                    "Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn."
                }
            };
            return Err(Fault::invalid(what));
        }
    }
    Ok(())
}

/// The first call of every model turn since the user last spoke carries the signature it was given.
fn signatures(contents: &[Value]) -> Checked {
    let speaks = |content: &Value| {
        text(content, "role") != Some("model")
            && list(content, "parts").iter().any(|part| part.get("functionResponse").is_none())
    };
    let start = contents.iter().rposition(speaks).unwrap_or(0);
    for (at, content) in contents.iter().enumerate().skip(start) {
        let Some(part) = list(content, "parts").iter().find(|part| part.get("functionCall").is_some()) else {
            continue;
        };
        let call = part.get("functionCall").unwrap_or(&Value::Null);
        let name = text(call, "name").unwrap_or_default();
        let empty = serde_json::json!({});
        let own = signature(name, call.get("args").unwrap_or(&empty));
        match text(part, "thoughtSignature") {
            None => {
                let what = format!(
                    "Function call is missing a thought_signature in functionCall parts. This is required for tools to work \
                     correctly. Function call `default_api:{name}`, position {at}."
                );
                return Err(Fault::invalid(what));
            }
            Some(given) if given == own || SKIP.contains(&given) => {}
            Some(_) => return Err(Fault::invalid("Thought signature is not valid.")),
        }
    }
    Ok(())
}

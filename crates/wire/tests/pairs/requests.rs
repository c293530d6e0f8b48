//! Requests: whatever a client asks for arrives at the provider, or a notice says that it did not.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use tollway_model::{Capabilities, Dialect, Effort, Notices, Request, Support};
use tollway_testkit::Script;
use tollway_wire::codec;

use crate::sessions::asked;
use crate::support::{CHATS, TARGETS, decode, encode, encode_for, model, pairs, pairs_with_all, translated};

const PIXEL: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

fn tool_schema() -> Value {
    json!({"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]})
}

fn base(surface: Dialect) -> Value {
    match surface {
        Dialect::Gemini => json!({
            "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
            "tools": [{"functionDeclarations": [
                {"name": "f", "description": "d", "parametersJsonSchema": tool_schema()},
                {"name": "g", "description": "d", "parametersJsonSchema": tool_schema()}]}]
        }),
        Dialect::Anthropic => json!({
            "model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}],
            "tools": [{"name": "f", "description": "d", "input_schema": tool_schema()},
                {"name": "g", "description": "d", "input_schema": tool_schema()}]
        }),
        Dialect::OpenaiResponses => json!({
            "model": "m", "input": [{"role": "user", "content": "hi"}],
            "tools": [{"type": "function", "name": "f", "description": "d", "parameters": tool_schema()},
                {"type": "function", "name": "g", "description": "d", "parameters": tool_schema()}]
        }),
        _ => json!({
            "model": "m", "messages": [{"role": "user", "content": "hi"}],
            "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": tool_schema()}},
                {"type": "function", "function": {"name": "g", "description": "d", "parameters": tool_schema()}}]
        }),
    }
}

/// One thing a client may ask for, as a JSON pointer and the value to put there.
fn features(surface: Dialect) -> Vec<(&'static str, Value)> {
    match surface {
        Dialect::Gemini => vec![
            ("/systemInstruction", json!({"parts": [{"text": "be brief"}]})),
            ("/generationConfig", json!({"temperature": 0.5})),
            ("/generationConfig", json!({"topP": 0.5})),
            ("/generationConfig", json!({"topK": 5})),
            ("/generationConfig", json!({"candidateCount": 2})),
            ("/generationConfig", json!({"maxOutputTokens": 77})),
            ("/generationConfig", json!({"stopSequences": ["END"]})),
            ("/generationConfig", json!({"seed": 7})),
            ("/generationConfig", json!({"presencePenalty": 0.5})),
            ("/generationConfig", json!({"frequencyPenalty": 0.5})),
            ("/generationConfig", json!({"responseLogprobs": true, "logprobs": 3})),
            ("/generationConfig", json!({"responseMimeType": "application/json"})),
            (
                "/generationConfig",
                json!({"responseMimeType": "application/json", "responseSchema": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}}),
            ),
            (
                "/generationConfig",
                json!({"responseMimeType": "application/json", "responseJsonSchema": tool_schema()}),
            ),
            (
                "/generationConfig",
                json!({"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": ["a", "b"]}}),
            ),
            ("/generationConfig", json!({"responseModalities": ["IMAGE"]})),
            (
                "/generationConfig",
                json!({"speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}}}),
            ),
            ("/generationConfig", json!({"thinkingConfig": {"thinkingBudget": 2048}})),
            ("/generationConfig", json!({"thinkingConfig": {"thinkingLevel": "high"}})),
            ("/generationConfig", json!({"mediaResolution": "MEDIA_RESOLUTION_LOW"})),
            ("/toolConfig", json!({"functionCallingConfig": {"mode": "ANY"}})),
            ("/toolConfig", json!({"functionCallingConfig": {"mode": "NONE"}})),
            ("/toolConfig", json!({"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}})),
            ("/toolConfig", json!({"retrievalConfig": {"latLng": {"latitude": 1, "longitude": 2}}})),
            ("/tools/1", json!({"googleSearch": {}})),
            ("/tools/1", json!({"codeExecution": {}})),
            ("/safetySettings", json!([{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}])),
            ("/cachedContent", json!("cachedContents/1")),
            ("/labels", json!({"team": "a"})),
            ("/serviceTier", json!("priority")),
            ("/somethingNew", json!({"a": 1})),
            ("/contents/0/parts/1", json!({"inlineData": {"mimeType": "image/png", "data": PIXEL}})),
            (
                "/contents/0/parts/1",
                json!({"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0="}}),
            ),
            (
                "/contents/0/parts/1",
                json!({"fileData": {"mimeType": "image/png", "fileUri": "https://x/a.png"}}),
            ),
        ],
        Dialect::Anthropic => vec![
            ("/system", json!("be brief")),
            ("/temperature", json!(0.5)),
            ("/top_p", json!(0.5)),
            ("/top_k", json!(5)),
            ("/max_tokens", json!(77)),
            ("/stop_sequences", json!(["END"])),
            ("/thinking", json!({"type": "enabled", "budget_tokens": 2048})),
            ("/thinking", json!({"type": "adaptive"})),
            ("/output_config", json!({"effort": "high"})),
            ("/output_config", json!({"format": {"type": "json_schema", "schema": tool_schema()}})),
            ("/tool_choice", json!({"type": "any"})),
            ("/tool_choice", json!({"type": "none"})),
            ("/tool_choice", json!({"type": "tool", "name": "f"})),
            ("/tool_choice", json!({"type": "auto", "disable_parallel_tool_use": true})),
            ("/tools/2", json!({"type": "web_search_20250305", "name": "web_search", "max_uses": 2})),
            ("/tools/2", json!({"type": "code_execution_20250825", "name": "code_execution"})),
            ("/tools/2", json!({"type": "bash_20250124", "name": "bash"})),
            ("/mcp_servers", json!([{"type": "url", "url": "https://x", "name": "x"}])),
            ("/metadata", json!({"user_id": "u-1"})),
            ("/service_tier", json!("standard_only")),
            ("/container", json!("c_1")),
            ("/context_management", json!({"edits": []})),
            ("/cache_control", json!({"type": "ephemeral"})),
            ("/something_new", json!({"a": 1})),
            (
                "/messages/0/content",
                json!([{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]),
            ),
            (
                "/messages/0/content",
                json!([{"type": "text", "text": "hi"}, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}]),
            ),
            (
                "/messages/0/content",
                json!([{"type": "text", "text": "hi"}, {"type": "image", "source": {"type": "url", "url": "https://x/a.png"}}]),
            ),
            (
                "/messages/0/content",
                json!([{"type": "text", "text": "hi"}, {"type": "document", "title": "t", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}]),
            ),
            (
                "/messages/0/content",
                json!([{"type": "text", "text": "hi"}, {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "doc"}}]),
            ),
            (
                "/messages/0/content",
                json!([{"type": "text", "text": "hi"}, {"type": "document", "context": "c", "source": {"type": "text", "media_type": "text/plain", "data": "doc"}, "citations": {"enabled": true}}]),
            ),
            (
                "/messages/0/content",
                json!([{"type": "text", "text": "hi"}, {"type": "container_upload", "file_id": "f"}]),
            ),
            ("/tools/0/strict", json!(true)),
            ("/tools/0/cache_control", json!({"type": "ephemeral"})),
            ("/tools/0/defer_loading", json!(true)),
        ],
        Dialect::OpenaiResponses => vec![
            ("/instructions", json!("be brief")),
            ("/input/1", json!({"role": "developer", "content": "be brief"})),
            ("/temperature", json!(0.5)),
            ("/top_p", json!(0.5)),
            ("/max_output_tokens", json!(77)),
            ("/max_tool_calls", json!(7)),
            ("/top_logprobs", json!(3)),
            ("/include", json!(["message.output_text.logprobs"])),
            ("/include", json!(["reasoning.encrypted_content"])),
            ("/text", json!({"format": {"type": "json_object"}})),
            (
                "/text",
                json!({"format": {"type": "json_schema", "name": "n", "schema": tool_schema(), "strict": true}}),
            ),
            ("/text", json!({"verbosity": "low"})),
            ("/text", json!({"something_new": 1})),
            ("/reasoning", json!({"effort": "high"})),
            ("/reasoning", json!({"effort": "low", "summary": "detailed"})),
            ("/reasoning", json!({"context": "all_turns"})),
            ("/background", json!(true)),
            ("/user", json!("u-1")),
            ("/safety_identifier", json!("u-1")),
            ("/prompt_cache_key", json!("k")),
            ("/prompt_cache_retention", json!("24h")),
            ("/metadata", json!({"a": "b"})),
            ("/store", json!(true)),
            ("/service_tier", json!("flex")),
            ("/truncation", json!("auto")),
            ("/parallel_tool_calls", json!(false)),
            ("/tool_choice", json!("required")),
            ("/tool_choice", json!("none")),
            ("/tool_choice", json!({"type": "function", "name": "f"})),
            (
                "/tool_choice",
                json!({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}),
            ),
            ("/tool_choice", json!({"type": "file_search"})),
            ("/tools/2", json!({"type": "custom", "name": "c", "format": {"type": "text"}})),
            ("/tools/2", json!({"type": "web_search", "search_context_size": "low"})),
            ("/tools/2", json!({"type": "file_search", "vector_store_ids": ["vs_1"]})),
            ("/tools/2", json!({"type": "code_interpreter", "container": {"type": "auto"}})),
            ("/tools/2", json!({"type": "image_generation"})),
            (
                "/tools/2",
                json!({"type": "computer_use_preview", "display_width": 1, "display_height": 1, "environment": "linux"}),
            ),
            ("/tools/2", json!({"type": "mcp", "server_label": "x", "server_url": "https://x"})),
            ("/tools/2", json!({"type": "local_shell"})),
            ("/tools/2", json!({"type": "apply_patch"})),
            ("/tools/2", json!({"type": "tool_search"})),
            (
                "/tools/2",
                json!({"type": "namespace", "name": "files", "description": "d",
                "tools": [{"type": "function", "name": "read", "parameters": tool_schema()}]}),
            ),
            ("/tools/0/strict", json!(true)),
            ("/tools/0/defer_loading", json!(true)),
            ("/something_new", json!({"a": 1})),
            (
                "/input/0/content",
                json!([{"type": "input_text", "text": "hi"}, {"type": "input_image", "image_url": "https://x/a.png", "detail": "low"}]),
            ),
            (
                "/input/0/content",
                json!([{"type": "input_text", "text": "hi"}, {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}]),
            ),
            (
                "/input/0/content",
                json!([{"type": "input_text", "text": "hi"}, {"type": "hologram", "hologram": 1}]),
            ),
            (
                "/input/1",
                json!({"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}}),
            ),
            ("/input/1", json!({"type": "local_shell_call_output", "id": "lso_1", "output": "{}"})),
        ],
        _ => vec![
            ("/messages/1", json!({"role": "developer", "content": "be brief"})),
            ("/temperature", json!(0.5)),
            ("/top_p", json!(0.5)),
            ("/top_k", json!(5)),
            ("/n", json!(2)),
            ("/max_tokens", json!(77)),
            ("/max_completion_tokens", json!(77)),
            ("/stop", json!("END")),
            ("/stop", json!(["END", "STOP"])),
            ("/seed", json!(7)),
            ("/presence_penalty", json!(0.5)),
            ("/frequency_penalty", json!(0.5)),
            ("/logit_bias", json!({"50256": -100})),
            ("/logprobs", json!(true)),
            ("/top_logprobs", json!(3)),
            ("/response_format", json!({"type": "json_object"})),
            (
                "/response_format",
                json!({"type": "json_schema", "json_schema": {"name": "n", "schema": tool_schema(), "strict": true}}),
            ),
            ("/response_format", json!({"type": "grammar", "grammar": "x"})),
            ("/reasoning_effort", json!("high")),
            ("/reasoning_effort", json!("none")),
            ("/thinking", json!({"type": "enabled", "budget_tokens": 2048})),
            ("/verbosity", json!("low")),
            ("/modalities", json!(["text", "audio"])),
            ("/audio", json!({"voice": "alloy", "format": "wav"})),
            ("/prediction", json!({"type": "content", "content": "x"})),
            ("/web_search_options", json!({"search_context_size": "low"})),
            ("/user", json!("u-1")),
            ("/safety_identifier", json!("u-1")),
            ("/prompt_cache_key", json!("k")),
            ("/prompt_cache_retention", json!("24h")),
            ("/metadata", json!({"a": "b"})),
            ("/store", json!(true)),
            ("/service_tier", json!("flex")),
            ("/parallel_tool_calls", json!(false)),
            ("/tool_choice", json!("required")),
            ("/tool_choice", json!("none")),
            ("/tool_choice", json!({"type": "function", "function": {"name": "f"}})),
            (
                "/tool_choice",
                json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]}}),
            ),
            ("/tools/2", json!({"type": "custom", "custom": {"name": "c", "format": {"type": "text"}}})),
            ("/tools/2", json!({"type": "web_search_preview"})),
            ("/tools/0/function/strict", json!(true)),
            ("/functions", json!([{"name": "old", "parameters": tool_schema()}])),
            ("/something_new", json!({"a": 1})),
            ("/messages/0/name", json!("ada")),
            (
                "/messages/0/content",
                json!([{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "https://x/a.png", "detail": "low"}}]),
            ),
            (
                "/messages/0/content",
                json!([{"type": "text", "text": "hi"}, {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}}]),
            ),
            (
                "/messages/0/content",
                json!([{"type": "text", "text": "hi"}, {"type": "input_audio", "input_audio": {"data": "UklGRgAA", "format": "wav"}}]),
            ),
            (
                "/messages/0/content",
                json!([{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]),
            ),
            (
                "/messages/0/content",
                json!([{"type": "text", "text": "hi"}, {"type": "hologram", "hologram": 1}]),
            ),
        ],
    }
}

fn put(body: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match body.pointer_mut(parent).unwrap() {
        Value::Array(items) => items.insert(key.parse().unwrap(), value),
        parent => parent[key] = value,
    }
}

/// What the provider gets and the notices; or the error that refuses the call.
fn outcome(surface: Dialect, target: Dialect, body: &Value) -> Result<(Value, Notices), String> {
    let request = decode(surface, body);
    let mut notices = Notices::new();
    let encoded = encode(&request, target, &mut notices).map_err(|error| error.to_string())?;
    Ok((serde_json::from_slice(&encoded.body).unwrap(), notices))
}

#[test]
fn nothing_a_client_asks_for_is_lost_in_silence() {
    let mut silent = Vec::new();
    for (surface, target) in pairs_with_all() {
        let plain = outcome(surface, target, &base(surface)).unwrap();
        for (pointer, value) in features(surface) {
            let mut body = base(surface);
            put(&mut body, pointer, value.clone());
            let Ok(asked) = outcome(surface, target, &body) else { continue };
            // An Anthropic model that is not told to think does not think.
            let claude = matches!(target, Dialect::Anthropic | Dialect::BedrockConverse);
            let already = claude && value == "none" && pointer == "/reasoning_effort";
            if asked == plain && !already {
                silent.push(format!("{surface} to {target}: {pointer} {value}"));
            }
        }
    }
    assert!(silent.is_empty(), "{}", silent.join("\n"));
}

/// A conversation goes on elsewhere although its first provider has searched.
#[test]
fn what_a_provider_did_by_itself_is_no_reason_to_refuse_the_next_turn() {
    let searched = json!({"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}});
    let said = json!({"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
        "content": [{"type": "output_text", "text": "found", "annotations": []}]});
    let user = json!({"role": "user", "content": "hi"});
    let by_search =
        json!({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}});
    let results = json!({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []});
    let claude = |blocks: Value| json!([user, {"role": "assistant", "content": blocks}, user]);
    let cases = [
        (Dialect::OpenaiResponses, "input", json!([user, searched, said, user])),
        (Dialect::OpenaiResponses, "input", json!([user, searched, user])),
        (
            Dialect::Anthropic,
            "messages",
            claude(json!([by_search, results, {"type": "text", "text": "found"}])),
        ),
        (Dialect::Anthropic, "messages", claude(json!([by_search, results]))),
    ];
    for (surface, field, history) in cases {
        for target in TARGETS.into_iter().filter(|target| *target != surface) {
            let mut body = base(surface);
            body[field] = history.clone();
            let (sent, notices) = outcome(surface, target, &body).unwrap();
            let place = format!("{surface} to {target}: {sent}");
            assert!(notices.first_dropped().is_none() && !notices.is_empty(), "{place} {notices:?}");
            let (status, answer) = asked(target, sent.to_string().as_bytes(), false, &Script::default());
            assert_eq!(status, 200, "{place} {}", String::from_utf8_lossy(&answer));
        }
    }
}

#[test]
fn unknown_fields_return_to_their_own_dialect_and_are_refused_by_name_elsewhere() {
    for (surface, target) in pairs_with_all() {
        let name = if surface == Dialect::Gemini { "somethingNew" } else { "something_new" };
        let mut body = base(surface);
        body[name] = json!({"a": 1.50});
        let (sent, _, notices) = translated(surface, target, &body);
        if surface == target {
            assert_eq!(sent[name], body[name], "{surface}");
            assert_eq!(notices.first_dropped(), None, "{surface}");
        } else {
            assert!(!sent.to_string().contains(name), "{surface} to {target}");
            let refused = notices.first_dropped().unwrap();
            assert_eq!(refused.field, name, "{surface} to {target}");
        }
    }
}

#[test]
fn nothing_is_sent_that_was_not_asked_for() {
    for (surface, target) in pairs_with_all() {
        let mut body = base(surface);
        body.as_object_mut().unwrap().remove("tools");
        body.as_object_mut().unwrap().remove("max_tokens");
        if surface == Dialect::Anthropic {
            body["max_tokens"] = json!(100);
        }
        let (sent, _, notices) = translated(surface, target, &body);
        let fields: Vec<_> = sent.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected = match target {
            Dialect::Gemini => vec!["contents"],
            Dialect::BedrockConverse => vec!["messages"],
            // The one field that this dialect demands.
            Dialect::Anthropic => vec!["max_tokens", "messages", "model"],
            // Stateless, except for callers who know the API's own defaults.
            Dialect::OpenaiResponses if surface == target => vec!["input", "model"],
            Dialect::OpenaiResponses => vec!["include", "input", "model", "store"],
            _ => vec!["messages", "model"],
        };
        match (surface, target) {
            (Dialect::Anthropic, Dialect::OpenaiChat) => expected.insert(0, "max_completion_tokens"),
            (Dialect::Anthropic, Dialect::Gemini) => expected.push("generationConfig"),
            (Dialect::Anthropic, Dialect::BedrockConverse) => expected.insert(0, "inferenceConfig"),
            (Dialect::Anthropic, Dialect::OpenaiResponses) => expected.insert(2, "max_output_tokens"),
            _ => {}
        }
        let mut fields = fields;
        fields.sort_unstable();
        assert_eq!(fields, expected, "{surface} to {target}: {sent}");
        assert!(!sent.to_string().contains("null"), "{surface} to {target}: {sent}");
        assert!(notices.is_empty(), "{surface} to {target}: {notices:?}");
    }
}

/// What every dialect can say, as the neutral model has it.
fn projected(request: &Request) -> Vec<String> {
    use tollway_model::{Content, OutputFormat, Role, Tool};
    let mut out = Vec::new();
    for message in &request.messages {
        let role = match message.role {
            Role::Developer => Role::System,
            role => role,
        };
        for part in &message.parts {
            out.push(match &part.content {
                Content::Text { text, .. } => format!("{role:?} says {text:?}"),
                Content::Image(media) => format!("{role:?} shows {:?} {:?}", media.media_type, media.source),
                Content::ToolCall(call) => {
                    let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
                    format!("call {} {arguments}", call.name)
                }
                Content::ToolResult(result) => {
                    let texts: Vec<_> = result.parts.iter().filter_map(|part| part.as_text()).collect();
                    format!("result {}", texts.join("\n"))
                }
                other => format!("{role:?} {other:?}"),
            });
        }
    }
    for tool in &request.tools {
        if let Tool::Function { name, description, parameters, .. } = tool {
            out.push(format!("tool {name} {description:?} {}", parameters.as_ref().unwrap().to_value()));
        }
    }
    out.push(format!(
        "{:?} {:?} {:?} {:?} {:?}",
        request.tool_choice, request.max_output_tokens, request.temperature, request.top_p, request.stop
    ));
    if let Some(OutputFormat::JsonSchema { schema, .. }) = &request.output {
        out.push(format!("schema {}", schema.to_value()));
    }
    out
}

fn text() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9 \u{e4}\u{1f600}\"\\\\\n<>&{}]{0,20}[a-z]"
}

/// A conversation in OpenAI's dialect, which the others read from it.
fn conversation() -> impl Strategy<Value = Vec<Value>> {
    let call = (text(), 0..2_usize);
    let turn = (vec(text(), 1..3), any::<bool>(), vec(call, 0..3), text());
    vec(turn, 1..4).prop_map(|turns| {
        let mut messages = vec![json!({"role": "system", "content": "be brief"})];
        for (number, (texts, image, calls, answer)) in turns.into_iter().enumerate() {
            let mut parts: Vec<_> = texts.iter().map(|text| json!({"type": "text", "text": text})).collect();
            if image {
                parts.push(json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{PIXEL}")}}));
            }
            messages.push(json!({"role": "user", "content": parts}));
            if calls.is_empty() {
                messages.push(json!({"role": "assistant", "content": answer}));
                continue;
            }
            let list: Vec<_> = calls.iter().enumerate().map(|(at, (path, tool))| {
                json!({"id": format!("call_{number}_{at}"), "type": "function", "function":
                    {"name": (if *tool == 0 { "f" } else { "g" }), "arguments": json!({"path": path}).to_string()}})
            }).collect();
            messages.push(json!({"role": "assistant", "content": answer, "tool_calls": list}));
            for (at, (path, _)) in calls.iter().enumerate() {
                let id = format!("call_{number}_{at}");
                messages.push(json!({"role": "tool", "tool_call_id": id, "content": format!("done {path}")}));
            }
        }
        messages.push(json!({"role": "user", "content": "go on"}));
        messages
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_request_says_the_same_in_every_dialect(messages in conversation(), max in 16..9999_u64,
        temperature in proptest::option::of(0.0..0.99_f64), stop in vec("[A-Z]{1,5}", 0..3), schema: bool) {
        let mut body = base(Dialect::OpenaiChat);
        body["messages"] = json!(messages);
        body["max_completion_tokens"] = json!(max);
        body["tool_choice"] = json!("auto");
        if let Some(temperature) = temperature {
            body["temperature"] = json!(temperature);
        }
        if !stop.is_empty() {
            body["stop"] = json!(stop);
        }
        if schema {
            let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": false});
            body["response_format"] = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": true}});
        }
        let asked = decode(Dialect::OpenaiChat, &body);
        for surface in CHATS {
            // The same request as a client of `surface` writes it.
            // The Responses API has no stop texts.
            let stops = |request: &Request| Request { stop: Vec::new(), ..request.clone() };
            let asked = if surface == Dialect::OpenaiResponses { stops(&asked) } else { asked.clone() };
            let written = encode(&asked, surface, &mut Notices::new()).unwrap();
            let read = codec(surface).decode_request(&written.body).unwrap();
            prop_assert_eq!(projected(&read), projected(&asked), "in {}", surface);
            for target in CHATS {
                let mut notices = Notices::new();
                let without = target == Dialect::OpenaiResponses;
                let (read, asked) =
                    if without { (stops(&read), stops(&asked)) } else { (read.clone(), asked.clone()) };
                let sent = encode(&read, target, &mut notices).unwrap();
                let got = codec(target).decode_request(&sent.body).unwrap();
                prop_assert_eq!(projected(&got), projected(&asked), "{} to {}", surface, target);
                prop_assert_eq!(notices.first_dropped(), None, "{} to {}", surface, target);
            }
        }
    }
}

/// What the provider gets of `field`, for a model with these capabilities.
fn sent(surface: Dialect, target: Dialect, body: &Value, capabilities: &Capabilities, field: &str) -> Value {
    let request = decode(surface, body);
    let mut notices = Notices::new();
    let encoded = encode_for(model(target), capabilities, &request, target, &mut notices).unwrap();
    assert_eq!(notices.first_dropped(), None, "{surface} to {target}: {body}");
    let sent: Value = serde_json::from_slice(&encoded.body).unwrap();
    sent.pointer(field).cloned().unwrap_or_default()
}

#[test]
fn efforts_and_budgets_fit_the_class_of_the_model() {
    let knows = |reasoning, adaptive_thinking, efforts: &[Effort]| Capabilities {
        reasoning,
        adaptive_thinking,
        efforts: efforts.to_vec(),
        ..Capabilities::default()
    };
    let thinks = knows(Support::Yes, Support::No, &[]);
    let silent = knows(Support::No, Support::Unknown, &[]);
    let chooses = knows(Support::Yes, Support::Yes, &[]);
    let newest = knows(Support::Yes, Support::No, &[Effort::None, Effort::Low, Effort::Medium, Effort::High]);
    let claude = |thinking: Value, effort: Option<&str>| {
        let mut body = base(Dialect::Anthropic);
        body["max_tokens"] = json!(9000);
        body["thinking"] = thinking;
        if let Some(effort) = effort {
            body["output_config"] = json!({ "effort": effort });
        }
        body
    };
    let openai = |body: &Value, model: &Capabilities| {
        sent(Dialect::Anthropic, Dialect::OpenaiChat, body, model, "/reasoning_effort")
    };
    let budget = claude(json!({"type": "enabled", "budget_tokens": 31999}), None);
    assert_eq!(openai(&budget, &thinks), "high");
    assert_eq!(openai(&budget, &silent), Value::Null);
    // Few models know the word `max`; all that think know `high`.
    let most = claude(json!({"type": "adaptive"}), Some("max"));
    assert_eq!(openai(&most, &thinks), "high");
    let off = claude(json!({"type": "disabled"}), None);
    assert_eq!((openai(&off, &thinks), openai(&off, &newest)), (Value::Null, json!("none")));

    let mut effort = base(Dialect::OpenaiChat);
    effort["reasoning_effort"] = json!("high");
    let anthropic =
        |model: &Capabilities, field| sent(Dialect::OpenaiChat, Dialect::Anthropic, &effort, model, field);
    assert_eq!(anthropic(&thinks, "/thinking"), json!({"type": "enabled", "budget_tokens": 4096}));
    assert_eq!(anthropic(&chooses, "/thinking/type"), "adaptive");
    assert_eq!(anthropic(&chooses, "/output_config/effort"), "high");
}

#[test]
fn the_usual_sampling_of_a_gemini_agent_refuses_nothing() {
    let mut body = base(Dialect::Gemini);
    body["generationConfig"] = json!({"temperature": 1, "topP": 0.95, "topK": 64});
    let fixed = Capabilities { sampling_params: Support::No, ..Capabilities::default() };
    for target in [Dialect::OpenaiChat, Dialect::Anthropic] {
        for capabilities in [&Capabilities::default(), &fixed] {
            assert_eq!(sent(Dialect::Gemini, target, &body, capabilities, "/temperature"), Value::Null);
        }
    }
    body["generationConfig"]["topK"] = json!(3);
    let mut notices = Notices::new();
    encode(&decode(Dialect::Gemini, &body), Dialect::OpenaiChat, &mut notices).unwrap();
    assert_eq!(notices.first_dropped().map(|notice| &*notice.field), Some("top_k"));
}

#[test]
fn stop_texts_beyond_the_limit_are_refused_by_name() {
    let stops = json!(["a", "b", "c", "d", "e", "f"]);
    let with_stops = |dialect: Dialect| dialect != Dialect::OpenaiResponses;
    let pairs = pairs().filter(|(surface, target)| with_stops(*surface) && with_stops(*target));
    for (surface, target) in pairs.filter(|(surface, target)| surface != target) {
        let mut body = base(surface);
        match surface {
            Dialect::Gemini => body["generationConfig"] = json!({ "stopSequences": stops }),
            Dialect::Anthropic => body["stop_sequences"] = stops.clone(),
            _ => body["stop"] = stops.clone(),
        }
        let (sent, _, notices) = translated(surface, target, &body);
        let (field, most) = match target {
            Dialect::OpenaiChat => ("/stop", 4),
            Dialect::Gemini => ("/generationConfig/stopSequences", 5),
            _ => ("/stop_sequences", 6),
        };
        assert_eq!(sent.pointer(field).unwrap().as_array().unwrap().len(), most, "{surface} to {target}");
        assert_eq!(notices.first_dropped().is_some(), most < 6, "{surface} to {target}");
    }
}

#[test]
fn long_seeds_are_folded_for_gemini() {
    for (seed, expected) in [(7, 7), (-3, -3), (i64::from(i32::MAX), i64::from(i32::MAX)), (1 << 40 | 5, 5)] {
        let mut body = base(Dialect::OpenaiChat);
        body["seed"] = json!(seed);
        let (sent, _, notices) = translated(Dialect::OpenaiChat, Dialect::Gemini, &body);
        assert_eq!(sent["generationConfig"]["seed"], expected);
        assert_eq!(notices.is_empty(), seed == expected);
    }
}

#[test]
fn hosts_that_repeat_the_ids_of_calls_do_no_harm_elsewhere() {
    let call = |name: &str| json!([{"id": "call_0", "type": "function", "function": {"name": name, "arguments": "{}"}}]);
    let mut body = base(Dialect::OpenaiChat);
    body["messages"] = json!([
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": null, "tool_calls": call("f")},
        {"role": "tool", "tool_call_id": "call_0", "content": "one"},
        {"role": "assistant", "content": null, "tool_calls": call("g")},
        {"role": "tool", "tool_call_id": "call_0", "content": "two"}]);
    let (sent, ..) = translated(Dialect::OpenaiChat, Dialect::Gemini, &body);
    let name = |turn: usize| sent["contents"][turn]["parts"][0]["functionResponse"]["name"].clone();
    assert_eq!((name(2), name(4)), (json!("f"), json!("g")));
    let (sent, ..) = translated(Dialect::OpenaiChat, Dialect::Anthropic, &body);
    let id = |turn: usize, field: &str| sent["messages"][turn]["content"][0][field].clone();
    assert_eq!((id(1, "id"), id(2, "tool_use_id")), (json!("call_0"), json!("call_0")));
    assert_eq!((id(3, "id"), id(4, "tool_use_id")), (json!("call_0_2"), json!("call_0_2")));
}

//! Whole sessions of real kinds of agents, to every provider.
//!
//! Each turn must be a request the provider takes (the fakes are as strict as the vendors), nothing an agent sends
//! may refuse the call, and each turn's conversation must begin byte for byte with that of the turn before: prompt
//! caches live on it.

use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tollway_model::{Capabilities, Dialect, Notices, Severity};
use tollway_testkit::{Call, Script, demo};

use crate::support::{CHATS, TARGETS, decode, encode_for, model, models};

#[derive(Deserialize)]
struct Session {
    surface: Dialect,
    /// The field that grows.
    history: String,
    request: Map<String, Value>,
    /// What is added before each call.
    turns: Vec<Vec<Value>>,
}

fn session(name: &str) -> Session {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/sessions").join(name);
    serde_json::from_str(&std::fs::read_to_string(path.join("session.json")).unwrap()).unwrap()
}

impl Session {
    /// The request of every turn.
    fn bodies(&self) -> Vec<Value> {
        let mut history = Vec::new();
        let turns = self.turns.iter().map(|turn| {
            history.extend(turn.clone());
            let mut body = self.request.clone();
            body.insert(self.history.clone(), Value::Array(history.clone()));
            Value::Object(body)
        });
        turns.collect()
    }
}

/// What a strict fake of `target` says to `body`.
pub(crate) fn asked(target: Dialect, body: &[u8], streams: bool, script: &Script) -> (u16, Vec<u8>) {
    let gemini = if streams { "streamGenerateContent" } else { "generateContent" };
    let (path, query) = match target {
        Dialect::Anthropic => ("/v1/messages".to_owned(), ""),
        Dialect::Gemini => {
            (format!("/v1beta/models/{}:{gemini}", model(target)), if streams { "alt=sse" } else { "" })
        }
        Dialect::BedrockConverse => {
            let method = if streams { "converse-stream" } else { "converse" };
            (format!("/model/{}/{method}", model(target)), "")
        }
        Dialect::OpenaiResponses => ("/v1/responses".to_owned(), ""),
        _ => ("/v1/chat/completions".to_owned(), ""),
    };
    let reply = demo::answer(&Call { path: &path, query, body, script: Some(script), ..Call::default() });
    (reply.status, reply.body().to_vec())
}

/// The parts of a request that providers cache as a prefix: what stands before the conversation, and the
/// conversation, both as they are spelled.
pub(crate) fn prefix(target: Dialect, body: &[u8]) -> (Vec<String>, String) {
    let members: std::collections::BTreeMap<String, &RawValue> = serde_json::from_slice(body).unwrap();
    let (before, history) = match target {
        Dialect::Gemini => (["systemInstruction", "tools"], "contents"),
        Dialect::BedrockConverse => (["system", "toolConfig"], "messages"),
        Dialect::OpenaiResponses => (["instructions", "tools"], "input"),
        _ => (["system", "tools"], "messages"),
    };
    let before = before.iter().filter_map(|key| Some(members.get(*key)?.get().to_owned())).collect();
    (before, members[history].get().trim_end_matches(']').to_owned())
}

fn check(name: &str, target: Dialect) {
    for (model, capabilities) in models(target) {
        check_model(name, target, model, &capabilities);
    }
}

fn check_model(name: &str, target: Dialect, model: &str, capabilities: &Capabilities) {
    let session = session(name);
    let script = Script { thought_signatures: model.starts_with("gemini-3"), ..Script::default() };
    let mut last: Option<(Vec<String>, String)> = None;
    for (turn, mut body) in session.bodies().into_iter().enumerate() {
        let place = format!("{name} to {model}, turn {turn}");
        // Cache marks move from turn to turn and are no part of what is cached.
        if matches!(target, Dialect::Anthropic | Dialect::BedrockConverse) {
            unmark(&mut body);
        }
        let request = decode(session.surface, &body);
        let mut notices = Notices::new();
        let encoded = encode_for(model, capabilities, &request, target, &mut notices)
            .unwrap_or_else(|error| panic!("{place}: {error}"));
        let dropped: Vec<_> = notices.iter().filter(|notice| notice.severity == Severity::Dropped).collect();
        assert!(dropped.is_empty(), "{place}: {dropped:?}");
        let sent = String::from_utf8(encoded.body.clone()).unwrap();
        // Foreign signatures stay at home; a native Gemini session has made-up ones, which a strict fake refuses.
        let host_of_claude = target == Dialect::BedrockConverse && session.surface == Dialect::Anthropic;
        if session.surface != target && !host_of_claude {
            for foreign in [
                "ErUBCkYIBxg",
                "EmwKAhgB",
                "CpMBAdHt",
                "EpMBAdHt",
                "FpMBAdHt",
                "gAAAAAB",
                "tollway.",
                "__thought__",
            ] {
                assert!(!sent.contains(foreign), "{place}: {foreign} in {sent}");
            }
        }
        if session.surface != target {
            let mut asking = encoded.body.clone();
            if host_of_claude {
                asking = without_thinking(&asking);
            }
            let (status, answer) = asked(target, &asking, request.stream, &script);
            assert_eq!(status, 200, "{place}: {}\n{sent}", String::from_utf8_lossy(&answer));
        }
        let now = prefix(target, &encoded.body);
        if let Some(last) = last.replace(now.clone()) {
            assert_eq!(now.0, last.0, "{place}: what stands before the conversation changed");
            assert!(
                now.1.starts_with(&last.1),
                "{place}: the conversation changed\nfrom {}\nto   {}",
                last.1,
                now.1
            );
        }
    }
}

/// Without the thinking of earlier turns, whose signatures are made up; that it is sent is checked elsewhere.
fn without_thinking(body: &[u8]) -> Vec<u8> {
    let mut body: Value = serde_json::from_slice(body).unwrap();
    for message in body["messages"].as_array_mut().unwrap() {
        let blocks = message["content"].as_array_mut().unwrap();
        blocks.retain(|block| block.get("reasoningContent").is_none());
    }
    body.to_string().into_bytes()
}

fn unmark(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("cache_control");
            fields.values_mut().for_each(unmark);
        }
        Value::Array(items) => items.iter_mut().for_each(unmark),
        _ => {}
    }
}

#[test]
fn a_coding_agent_works_on_every_provider_and_keeps_its_prefix() {
    TARGETS.into_iter().for_each(|target| check("claude-code", target));
}

#[test]
fn a_chat_completions_agent_works_on_every_provider_and_keeps_its_prefix() {
    TARGETS.into_iter().for_each(|target| check("agent-chat", target));
}

#[test]
fn a_gemini_agent_works_on_every_provider_and_keeps_its_prefix() {
    TARGETS.into_iter().for_each(|target| check("gemini-cli", target));
}

#[test]
fn a_responses_agent_works_on_every_provider_and_keeps_its_prefix() {
    TARGETS.into_iter().for_each(|target| check("codex", target));
}

/// Names of the tools of the client that a provider of `target` is offered.
fn offered(target: Dialect, sent: &Value) -> Vec<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let tools = match target {
        Dialect::Gemini => list(&sent["tools"][0]["functionDeclarations"]),
        Dialect::OpenaiChat => list(&sent["tools"]).iter().map(|tool| tool["function"].clone()).collect(),
        _ => list(&sent["tools"]),
    };
    let inner = |tool: &Value| match tool.get("tools") {
        Some(inner) => list(inner),
        None => vec![tool.clone()],
    };
    tools.iter().flat_map(inner).filter_map(|tool| Some(tool["name"].as_str()?.to_owned())).collect()
}

#[test]
fn every_tool_of_a_responses_agent_arrives_and_its_calls_come_back_as_it_knows_them() {
    let body = session("codex").bodies().pop().unwrap();
    for target in CHATS {
        let request = decode(Dialect::OpenaiResponses, &body);
        let mut notices = Notices::new();
        let encoded =
            encode_for(model(target), &Capabilities::default(), &request, target, &mut notices).unwrap();
        let sent: Value = serde_json::from_slice(&encoded.body).unwrap();
        let names = offered(target, &sent);
        assert_eq!(names.len(), 6, "{target}: {names:?}");
        for plain in ["shell", "update_plan", "apply_patch", "view_image"] {
            assert!(names.iter().any(|name| name == plain), "{target}: {names:?}");
        }
        // The search is its own provider's alone, and no other takes its place without a word.
        let told = notices.iter().any(|notice| notice.message.contains("index of its own provider"));
        assert_eq!(told, target != Dialect::OpenaiResponses, "{target}: {notices:?}");
        assert_eq!(sent.to_string().contains("web_search"), !told, "{target}: {sent}");
        // The free text of earlier calls arrives, wherever it has to stand.
        assert!(sent.to_string().contains("*** Update File: src/price.rs"), "{target}: {sent}");
        let comment = names.iter().find(|name| name.contains("comment")).unwrap();
        let (patch, comment) = called(target, comment);
        let shown = |answer: &[u8]| -> Vec<Value> {
            let read = tollway_wire::codec(target).decode_response(answer, &encoded.restore).unwrap();
            let shown = tollway_wire::codec(Dialect::OpenaiResponses).encode_response(
                &read,
                &crate::support::VIEW,
                &mut Notices::new(),
            );
            let shown: Value = serde_json::from_slice(&shown).unwrap();
            shown["output"].as_array().unwrap().clone()
        };
        let patched = shown(patch.to_string().as_bytes());
        let [item] = patched.as_slice() else { panic!("{target}: {patched:?}") };
        assert_eq!((&item["type"], &item["name"]), (&"custom_tool_call".into(), &"apply_patch".into()));
        assert_eq!(item["input"], "*** Begin Patch\n*** End Patch\n", "{target}");
        let commented = shown(comment.to_string().as_bytes());
        let [item] = commented.as_slice() else { panic!("{target}: {commented:?}") };
        assert_eq!((&item["type"], &item["name"]), (&"function_call".into(), &"comment".into()), "{target}");
        assert_eq!(item["namespace"], "mcp__tracker__", "{target}");
    }
}

/// Answers that call the free-text tool, and the tool of this name.
fn called(target: Dialect, comment: &str) -> (Value, Value) {
    let patch = "*** Begin Patch\n*** End Patch\n";
    let free = serde_json::json!({ "input": patch });
    let arguments = serde_json::json!({"number": 12, "text": "done"});
    match target {
        Dialect::Anthropic => {
            let answer = |name: &str, input: Value| {
                serde_json::json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m",
                    "content": [{"type": "tool_use", "id": "toolu_1", "name": name, "input": input}],
                    "stop_reason": "tool_use", "usage": {"input_tokens": 1, "output_tokens": 1}})
            };
            (answer("apply_patch", free), answer(comment, arguments))
        }
        Dialect::Gemini => {
            let answer = |name: &str, input: Value| {
                let call = serde_json::json!({"functionCall": {"name": name, "args": input}});
                serde_json::json!({"responseId": "r", "modelVersion": "m", "candidates": [{"index": 0,
                    "content": {"role": "model", "parts": [call]}, "finishReason": "STOP"}]})
            };
            (answer("apply_patch", free), answer(comment, arguments))
        }
        Dialect::OpenaiResponses => {
            let answer = |item: Value| serde_json::json!({"id": "resp_1", "model": "m", "status": "completed", "output": [item]});
            let custom = serde_json::json!({"type": "custom_tool_call", "id": "ctc_1", "call_id": "c", "name": "apply_patch", "input": patch});
            let call = serde_json::json!({"type": "function_call", "id": "fc_1", "call_id": "c", "name": comment,
                "namespace": "mcp__tracker__", "arguments": arguments.to_string()});
            (answer(custom), answer(call))
        }
        _ => {
            let answer = |name: &str, input: Value| {
                let call = serde_json::json!({"id": "c", "type": "function", "function": {"name": name, "arguments": input.to_string()}});
                serde_json::json!({"id": "chatcmpl-1", "model": "m", "choices": [{"index": 0, "finish_reason": "tool_calls",
                    "message": {"role": "assistant", "content": null, "tool_calls": [call]}}]})
            };
            (answer("apply_patch", free), answer(comment, arguments))
        }
    }
}

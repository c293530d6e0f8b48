//! Tool loops that run: a client of each dialect gives back what it was given, to fakes that demand their signatures.
//!
//! The fakes refuse a Gemini call without its thought signature, a signature they did not mint, and a thinking loop
//! of Anthropic's that lost its thinking. So a loop that ends well has carried the state through the client.

use serde_json::{Value, json};
use tollway_model::{Dialect, Notices, Response};
use tollway_testkit::Script;
use tollway_wire::{Encoded, codec};

use crate::sessions::{asked, prefix};
use crate::support::{CHATS, VIEW, decode, encode, events, fold, pairs, shown};

/// A client's conversation.
struct Client {
    surface: Dialect,
    streams: bool,
    history: Vec<Value>,
}

/// What a client keeps of an answer.
#[derive(Clone, Copy, PartialEq)]
enum Keeps {
    /// The message as it came.
    All,
    /// Words and calls: thinking and fields it does not know are lost.
    Words,
}

const TOOLS: [&str; 3] = ["look", "read_file", "write_file"];

impl Client {
    fn new(surface: Dialect, streams: bool) -> Client {
        Client { surface, streams, history: Vec::new() }
    }

    fn says(&mut self, text: &str) {
        self.history.push(match self.surface {
            Dialect::Gemini => json!({"role": "user", "parts": [{"text": text}]}),
            Dialect::OpenaiResponses => {
                json!({"role": "user", "content": [{"type": "input_text", "text": text}]})
            }
            _ => json!({"role": "user", "content": text}),
        });
    }

    fn body(&self) -> Value {
        let schema =
            json!({"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]});
        match self.surface {
            Dialect::Gemini => json!({
                "contents": self.history, "generationConfig": {"thinkingConfig": {"includeThoughts": true, "thinkingBudget": 1024}},
                "tools": [{"functionDeclarations": TOOLS.map(|name| json!({"name": name, "description": "d", "parametersJsonSchema": schema}))}],
            }),
            Dialect::Anthropic => json!({
                "model": "group", "max_tokens": 4096, "messages": self.history, "stream": self.streams,
                "thinking": {"type": "enabled", "budget_tokens": 1024},
                "tools": TOOLS.map(|name| json!({"name": name, "description": "d", "input_schema": schema})),
            }),
            Dialect::OpenaiResponses => json!({
                "model": "group", "input": self.history, "stream": self.streams, "store": false,
                "reasoning": {"effort": "low", "summary": "auto"}, "include": ["reasoning.encrypted_content"],
                "tools": TOOLS.map(|name| json!({"type": "function", "name": name, "description": "d",
                    "parameters": schema, "strict": false})),
            }),
            _ => json!({
                "model": "group", "messages": self.history, "stream": self.streams, "reasoning_effort": "low",
                "tools": TOOLS.map(|name| json!({"type": "function",
                    "function": {"name": name, "description": "d", "parameters": schema}})),
            }),
        }
    }

    /// Asks a provider of `target`; the body it got.
    fn asks(&mut self, target: Dialect, keeps: Keeps) -> (Vec<u8>, Response) {
        let mut request = decode(self.surface, &self.body());
        request.stream = self.streams;
        let mut notices = Notices::new();
        let Encoded { body, restore, .. } = encode(&request, target, &mut notices).unwrap();
        let place = format!("{} to {target}, streamed: {}", self.surface, self.streams);
        assert_eq!(notices.first_dropped(), None, "{place}");
        let script = Script {
            thought_signatures: target == Dialect::Gemini,
            reasoning: true,
            parallel_tools: true,
            ..Script::default()
        };
        let (status, answer) = asked(target, &body, self.streams, &script);
        let sent = String::from_utf8_lossy(&body);
        assert_eq!(status, 200, "{place}: {}\n{sent}", String::from_utf8_lossy(&answer));
        let (response, shown) = if self.streams {
            let events = events(target, &answer, 7, &restore);
            let bytes = shown(self.surface, &events);
            // A client puts the stream together; what it gets is what the dialect's own reader gets.
            let got =
                fold(crate::support::events(self.surface, &bytes, usize::MAX, &Default::default())).unwrap();
            let message = codec(self.surface).encode_response(&got, &VIEW, &mut notices);
            (fold(events).unwrap(), message)
        } else {
            let response = codec(target).decode_response(&answer, &restore).unwrap();
            let message = codec(self.surface).encode_response(&response, &VIEW, &mut notices);
            (response, message)
        };
        self.keep(serde_json::from_slice(&shown).unwrap(), keeps);
        (body, response)
    }

    /// Adds the answer, and the results of its calls.
    fn keep(&mut self, shown: Value, keeps: Keeps) {
        let stripped = keeps == Keeps::Words;
        match self.surface {
            Dialect::Gemini => {
                let mut content = shown["candidates"][0]["content"].clone();
                let parts = content["parts"].as_array_mut().unwrap();
                if stripped {
                    parts.retain(|part| part["thought"] != true);
                    parts
                        .iter_mut()
                        .for_each(|part| drop(part.as_object_mut().unwrap().remove("thoughtSignature")));
                }
                let calls: Vec<_> =
                    parts.iter().filter_map(|part| part.get("functionCall").cloned()).collect();
                self.history.push(content);
                let results: Vec<_> = calls
                    .iter()
                    .map(|call| {
                        let mut result = json!({"name": call["name"], "response": {"output": "fine"}});
                        if let Some(id) = call.get("id") {
                            result["id"] = id.clone();
                        }
                        json!({"functionResponse": result})
                    })
                    .collect();
                if !results.is_empty() {
                    self.history.push(json!({"role": "user", "parts": results}));
                }
            }
            Dialect::Anthropic => {
                let mut content = shown["content"].as_array().unwrap().clone();
                if stripped {
                    content.retain(|block| !block["type"].as_str().unwrap().ends_with("thinking"));
                }
                let calls = content.iter().filter(|block| block["type"] == "tool_use");
                let results: Vec<_> = calls
                    .map(|call| json!({"type": "tool_result", "tool_use_id": call["id"], "content": "fine"}))
                    .collect();
                self.history.push(json!({"role": "assistant", "content": content}));
                if !results.is_empty() {
                    self.history.push(json!({"role": "user", "content": results}));
                }
            }
            Dialect::OpenaiResponses => {
                let mut items = shown["output"].as_array().unwrap().clone();
                if stripped {
                    items.retain(|item| item["type"] != "reasoning");
                }
                let calls: Vec<_> = items
                    .iter()
                    .filter(|item| item["type"] == "function_call")
                    .map(|call| json!({"type": "function_call_output", "call_id": call["call_id"], "output": "fine"}))
                    .collect();
                self.history.extend(items);
                self.history.extend(calls);
            }
            _ => {
                let mut message = shown["choices"][0]["message"].clone();
                if stripped {
                    message
                        .as_object_mut()
                        .unwrap()
                        .retain(|key, _| matches!(key.as_str(), "role" | "content" | "tool_calls"));
                    for call in message["tool_calls"].as_array_mut().into_iter().flatten() {
                        call.as_object_mut().unwrap().remove("provider_specific_fields");
                    }
                }
                let calls = message["tool_calls"].as_array().cloned().unwrap_or_default();
                self.history.push(message);
                self.history.extend(
                    calls
                        .iter()
                        .map(|call| json!({"role": "tool", "tool_call_id": call["id"], "content": "fine"})),
                );
            }
        }
    }
}

/// A conversation of three tool loops; the prefix of each request is the request before.
fn check(surface: Dialect, target: Dialect, streams: bool, keeps: Keeps) {
    let mut client = Client::new(surface, streams);
    let mut last: Option<String> = None;
    for question in ["use tools", "use the tools again", "use tools once more"] {
        client.says(question);
        let (asked, response) = client.asks(target, keeps);
        let calls = response.first().unwrap().tool_calls().count();
        assert_eq!(calls, TOOLS.len(), "{surface} to {target}: {response:?}");
        let signatures = signatures(&response);
        assert_eq!(signatures.is_empty(), target == Dialect::OpenaiChat, "{response:?}");
        let (told, response) = client.asks(target, keeps);
        let sent = String::from_utf8_lossy(&told);
        for signature in signatures.iter().filter(|_| keeps == Keeps::All) {
            // The Responses API's state is an item id and what that item holds.
            let signature = signature.rsplit(':').next().unwrap();
            assert!(sent.contains(signature), "{surface} to {target}: {signature} is lost in {sent}");
        }
        assert!(response.first().unwrap().text().contains("fine"), "{surface} to {target}: {response:?}");
        for body in [asked, told] {
            let now = prefix(target, &body).1;
            if let Some(last) = last.replace(now.clone()) {
                assert!(now.starts_with(&last), "{surface} to {target}\nfrom {last}\nto   {now}");
            }
        }
    }
}

#[test]
fn tool_loops_keep_their_signatures_on_every_bridge() {
    for (surface, target) in pairs() {
        for streams in [false, true] {
            check(surface, target, streams, Keeps::All);
        }
    }
}

#[test]
fn clients_that_lose_signatures_still_make_valid_requests() {
    for (surface, target) in pairs() {
        for streams in [false, true] {
            check(surface, target, streams, Keeps::Words);
        }
    }
}

#[test]
fn a_session_may_move_between_providers_and_takes_no_signature_along() {
    for surface in CHATS {
        for streams in [false, true] {
            for first in CHATS {
                for second in CHATS.into_iter().filter(|second| *second != first) {
                    let mut client = Client::new(surface, streams);
                    client.says("use tools");
                    let (_, answer) = client.asks(first, Keeps::All);
                    // Away in the middle of a tool loop, and back again.
                    let (sent, _) = client.asks(second, Keeps::All);
                    let sent = String::from_utf8(sent).unwrap();
                    for signature in signatures(&answer) {
                        assert!(
                            !sent.contains(&signature),
                            "{surface}: {first} to {second}: {signature} in {sent}"
                        );
                    }
                    assert!(!sent.contains("tollway.") && !sent.contains("__thought__"), "{sent}");
                    client.says("use tools");
                    client.asks(first, Keeps::All);
                    client.asks(first, Keeps::All);
                }
            }
        }
    }
}

fn signatures(answer: &Response) -> Vec<String> {
    use tollway_model::Content;
    let parts = answer.choices.iter().flat_map(|choice| &choice.parts);
    let signatures = parts.filter_map(|part| match &part.content {
        Content::ToolCall(call) => call.signature.as_ref(),
        Content::Reasoning { signature, .. } | Content::Text { signature, .. } => signature.as_ref(),
        _ => None,
    });
    signatures.map(|signature| signature.value.clone()).collect()
}

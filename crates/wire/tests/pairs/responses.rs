//! The grammar of Responses streams, as the official clients and Codex rely on it.

use bytes::Bytes;
use serde_json::{Value, json};
use tollway_model::{Dialect, Notices, RawJson};
use tollway_testkit::Script;
use tollway_wire::json::{Edits, Envelope, MAX_DEPTH};
use tollway_wire::openai_responses::conversation::{self, Passage};

use crate::sessions::{asked, prefix};
use crate::support::{CHATS, decode, encode, events, frames, shown};

/// Checks the order and numbering of events, and that everything said in pieces is repeated whole; gives the final
/// response.
pub(crate) fn grammar(stream: &[u8]) -> Value {
    let text = String::from_utf8(stream.to_vec()).unwrap();
    let names: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    let events = frames(stream);
    assert_eq!(names.len(), events.len(), "every event is named: {text}");
    let mut checker = Checker::default();
    for (number, (name, event)) in names.iter().zip(&events).enumerate() {
        assert_eq!(event["type"], *name, "{event}");
        assert_eq!(event["sequence_number"], number, "{event}");
        let first = ["response.created", "response.in_progress"].get(number);
        assert!(first.is_none_or(|first| first == name), "{name} is event {number}: {text}");
        assert!(checker.last.is_null(), "{name} after the end: {text}");
        checker.event(name, event);
    }
    assert!(!checker.last.is_null(), "the stream has no end: {text}");
    checker.last
}

#[derive(Default)]
struct Checker {
    /// Complete items.
    done: Vec<Value>,
    /// The open item, as its events have built it.
    open: Option<Value>,
    /// A part of it is open.
    part: bool,
    last: Value,
}

impl Checker {
    fn event(&mut self, name: &str, event: &Value) {
        match name {
            "response.created" | "response.in_progress" => shell(&event["response"]),
            "response.completed" | "response.incomplete" => {
                assert!(self.open.is_none() && !self.part, "{event}");
                shell(&event["response"]);
                assert_eq!(event["response"]["output"], Value::Array(self.done.clone()), "{event}");
                assert_eq!(event["response"]["status"], name.strip_prefix("response.").unwrap());
                self.last = event["response"].clone();
            }
            "response.failed" => {
                shell(&event["response"]);
                assert!(event["response"]["error"]["message"].is_string(), "{event}");
                self.last = event["response"].clone();
            }
            "response.output_item.added" => {
                assert!(self.open.is_none(), "{event}");
                assert_eq!(event["output_index"], self.done.len(), "{event}");
                assert!(event["item"]["id"].is_string(), "{event}");
                self.open = Some(event["item"].clone());
            }
            "response.output_item.done" => {
                assert!(!self.part, "{event}");
                let mut open = self.open.take().unwrap_or_else(|| panic!("nothing is open: {event}"));
                let done = event["item"].clone();
                // What only the end can know.
                for key in ["status", "encrypted_content", "call_id", "result"] {
                    if let Some(value) = done.get(key) {
                        open[key] = value.clone();
                    }
                }
                assert_eq!(open, done, "the pieces are not the item");
                self.done.push(done);
            }
            _ => self.inside(name, event),
        }
    }

    fn inside(&mut self, name: &str, event: &Value) {
        assert_eq!(event["output_index"], self.done.len(), "{event}");
        let item = self.open.as_mut().unwrap_or_else(|| panic!("nothing is open: {event}"));
        assert_eq!(event["item_id"], item["id"], "{event}");
        let index = |key: &str| usize::try_from(event[key].as_u64().unwrap()).unwrap();
        let grow = |value: &mut Value| {
            *value = json!(value.as_str().unwrap().to_owned() + event["delta"].as_str().unwrap());
        };
        match name {
            "response.content_part.added" => {
                assert!(!std::mem::replace(&mut self.part, true), "{event}");
                let content = item["content"].as_array_mut().unwrap();
                assert_eq!(index("content_index"), content.len(), "{event}");
                content.push(event["part"].clone());
            }
            "response.content_part.done" => {
                assert!(std::mem::replace(&mut self.part, false), "{event}");
                assert_eq!(item["content"][index("content_index")], event["part"], "{event}");
            }
            "response.reasoning_summary_part.added" => {
                assert!(!std::mem::replace(&mut self.part, true), "{event}");
                item["summary"].as_array_mut().unwrap().push(event["part"].clone());
            }
            "response.reasoning_summary_part.done" => {
                assert!(std::mem::replace(&mut self.part, false), "{event}");
                assert_eq!(item["summary"][index("summary_index")], event["part"], "{event}");
            }
            "response.output_text.delta" => {
                let part = &mut item["content"][index("content_index")];
                grow(&mut part["text"]);
                let logprobs = event["logprobs"].as_array().unwrap().clone();
                part["logprobs"].as_array_mut().unwrap().extend(logprobs);
            }
            "response.output_text.annotation.added" => {
                let list = item["content"][index("content_index")]["annotations"].as_array_mut().unwrap();
                assert_eq!(index("annotation_index"), list.len(), "{event}");
                list.push(event["annotation"].clone());
            }
            "response.output_text.done" => {
                assert_eq!(item["content"][index("content_index")]["text"], event["text"], "{event}");
                assert_eq!(item["content"][index("content_index")]["logprobs"], event["logprobs"], "{event}");
            }
            "response.refusal.delta" => grow(&mut item["content"][index("content_index")]["refusal"]),
            "response.refusal.done" => {
                assert_eq!(item["content"][index("content_index")]["refusal"], event["refusal"], "{event}");
            }
            "response.reasoning_summary_text.delta" => {
                grow(&mut item["summary"][index("summary_index")]["text"])
            }
            "response.reasoning_summary_text.done" => {
                assert_eq!(item["summary"][index("summary_index")]["text"], event["text"], "{event}");
            }
            "response.function_call_arguments.delta" => grow(&mut item["arguments"]),
            "response.function_call_arguments.done" => {
                assert_eq!((&item["arguments"], &item["name"]), (&event["arguments"], &event["name"]));
            }
            "response.custom_tool_call_input.delta" => grow(&mut item["input"]),
            "response.custom_tool_call_input.done" => assert_eq!(item["input"], event["input"], "{event}"),
            "response.image_generation_call.in_progress"
            | "response.image_generation_call.generating"
            | "response.image_generation_call.completed" => assert_eq!(item["type"], "image_generation_call"),
            other => panic!("there is no event {other}"),
        }
    }
}

/// Fields the official clients' types demand.
fn shell(response: &Value) {
    assert!(response["id"].as_str().unwrap().starts_with("resp_"), "{response}");
    assert_eq!(response["object"], "response");
    assert!(response["created_at"].is_number() && response["model"].is_string(), "{response}");
    assert!(response["output"].is_array() && response["tools"].is_array(), "{response}");
    assert!(response["parallel_tool_calls"].is_boolean() && response["tool_choice"] == "auto", "{response}");
    for key in ["error", "incomplete_details", "instructions", "usage", "metadata", "temperature", "top_p"] {
        assert!(response.get(key).is_some(), "{key}: {response}");
    }
}

/// A gateway that keeps what its caller only refers to.
#[derive(Default)]
struct Kept {
    /// Response id → what it took and gave, earlier turns included.
    items: std::collections::BTreeMap<String, Vec<RawJson>>,
}

impl Kept {
    /// One turn at a provider of `target`; the body that went out, and the response the client got.
    fn turn(&mut self, target: Dialect, body: &Value) -> (Vec<u8>, Value) {
        let id = format!("resp_ours_{}", self.items.len());
        let envelope = Envelope::parse(Bytes::from(body.to_string()), MAX_DEPTH).unwrap();
        let before = conversation::previous(&envelope).map(|id| self.items[&*id].clone()).unwrap_or_default();
        let mut edits = Edits::new();
        conversation::with_history(&envelope, &before, &|_| None, &mut edits).unwrap();
        let request =
            decode(Dialect::OpenaiResponses, &serde_json::from_slice(&envelope.rewrite(&edits)).unwrap());
        let mut notices = Notices::new();
        let encoded = encode(&request, target, &mut notices).unwrap();
        assert_eq!(notices.first_dropped(), None, "{target}");
        let script = Script {
            thought_signatures: target == Dialect::Gemini,
            reasoning: true,
            parallel_tools: true,
            ..Script::default()
        };
        let (status, answer) = asked(target, &encoded.body, true, &script);
        let sent = String::from_utf8_lossy(&encoded.body);
        assert_eq!(status, 200, "{target}: {}\n{sent}", String::from_utf8_lossy(&answer));
        let stream = shown(Dialect::OpenaiResponses, &events(target, &answer, 9, &encoded.restore));
        let mut edits = Edits::new();
        edits.set_str("id", &id);
        let mut passage = Passage::new(edits);
        let out = passage.pass(Bytes::from(stream));
        let response = grammar(&out);
        let kept = passage.response().unwrap();
        assert_eq!(response, serde_json::from_slice::<Value>(kept).unwrap());
        assert_eq!(response["id"], id.as_str());
        let mut items = before;
        items.extend(conversation::input_items(&envelope, &id).unwrap());
        items.extend(conversation::output_items(kept).unwrap());
        self.items.insert(id, items);
        (encoded.body, response)
    }
}

#[test]
fn a_conversation_by_previous_response_ids_works_on_every_provider_and_keeps_its_prefix() {
    for target in CHATS {
        let mut kept = Kept::default();
        let schema =
            json!({"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]});
        let tools = json!([{"type": "function", "name": "look", "parameters": schema, "strict": false}]);
        let body = |input: Value, previous: Option<&Value>| {
            let mut body = json!({"model": "group", "instructions": "be brief", "tools": tools, "input": input,
                "stream": true, "store": true, "include": ["reasoning.encrypted_content"],
                "reasoning": {"effort": "low", "summary": "auto"}});
            if let Some(previous) = previous {
                body["previous_response_id"] = previous["id"].clone();
            }
            body
        };
        let (first_body, first) = kept.turn(target, &body(json!("use tools"), None));
        let calls: Vec<_> = first["output"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|item| item["type"] == "function_call")
            .collect();
        assert!(!calls.is_empty(), "{target}: {first}");
        let results: Value = calls
            .iter()
            .map(|call| json!({"type": "function_call_output", "call_id": call["call_id"], "output": "fine"}))
            .collect();
        let (second_body, second) = kept.turn(target, &body(results, Some(&first)));
        assert!(second["output"].to_string().contains("fine"), "{target}: {second}");
        let (third_body, _) = kept.turn(target, &body(json!("use tools again"), Some(&second)));
        for (earlier, later) in [(&first_body, &second_body), (&second_body, &third_body)] {
            let (earlier, later) = (prefix(target, earlier), prefix(target, later));
            assert_eq!(earlier.0, later.0, "{target}");
            assert!(later.1.starts_with(&earlier.1), "{target}\nfrom {}\nto   {}", earlier.1, later.1);
        }
    }
}

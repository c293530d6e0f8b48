//! The grammar of Responses streams, as the official clients and Codex rely on it.

use serde_json::{Value, json};

use crate::support::frames;

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

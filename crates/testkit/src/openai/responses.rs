//! The Responses API, without server-side state: the caller sends the whole conversation.

use serde_json::{Map, Value, json};

use super::Head;
use crate::fault::Fault;
use crate::json::{count, flag, hash, list, sign, stranger, text};
use crate::mind::{self, Answer, Choice, Finish, Format, Prompt, Tool, ToolResult};
use crate::reply::Said;
use crate::script::Script;

/// Top-level fields, from the official SDK's types.
const FIELDS: [&str; 30] = [
    "background",
    "context_management",
    "conversation",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "moderation",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
];

/// Answers a Responses call.
pub(crate) fn respond(body: &Value, head: &Head, script: &Script) -> Result<Said, Fault> {
    check(body, script.strict)?;
    let answer = mind::answer(&prompt(body), script);
    let writer = Writer { body, answer: &answer, head, script };
    Ok(if flag(body, "stream") { Said::Stream(writer.stream()) } else { Said::Json(writer.whole()) })
}

fn check(body: &Value, strict: bool) -> Result<(), Fault> {
    if strict && let Some(field) = stranger(body, &FIELDS).filter(|field| *field != "user") {
        return Err(Fault::invalid(format!("Unknown parameter: '{field}'."))
            .at(field)
            .code("unknown_parameter"));
    }
    if text(body, "model").is_none_or(str::is_empty) {
        return Err(Fault::invalid("Missing required parameter: 'model'.").at("model"));
    }
    let items = match body.get("input") {
        Some(Value::String(_)) => return Ok(()),
        Some(Value::Array(items)) if !items.is_empty() => items,
        _ => return Err(Fault::invalid("Missing required parameter: 'input'.").at("input")),
    };
    let of = |kind: &'static str| items.iter().filter(move |item| text(item, "type") == Some(kind));
    let id = |item: &Value| text(item, "call_id").unwrap_or_default().to_owned();
    let called: Vec<_> = of("function_call").map(id).collect();
    let answered: Vec<_> = of("function_call_output").map(id).collect();
    let stateful = body.get("previous_response_id").is_some_and(Value::is_string);
    if let Some(stray) = answered.iter().find(|id| !called.contains(id)).filter(|_| !stateful) {
        return Err(Fault::invalid(format!(
            "No tool call found for function call output with call_id {stray}."
        )));
    }
    if let Some(open) = called.iter().find(|id| !answered.contains(id)) {
        return Err(Fault::invalid(format!("No tool output found for function call {open}.")));
    }
    for (at, item) in items.iter().enumerate() {
        let kind = text(item, "type").unwrap_or("message");
        let fine = match kind {
            "message" => {
                ["user", "assistant", "system", "developer"].contains(&text(item, "role").unwrap_or_default())
            }
            "reasoning" => {
                text(item, "encrypted_content").is_none_or(|given| given == secret(&summary(item)))
            }
            _ => true,
        };
        if !fine {
            return Err(Fault::invalid(format!("Invalid '{kind}' item.")).at(format!("input[{at}]")));
        }
    }
    Ok(())
}

/// The encrypted reasoning that must come back unchanged.
fn secret(summary: &str) -> String {
    sign(&format!("responses:{summary}"))
}

fn summary(item: &Value) -> String {
    list(item, "summary").iter().filter_map(|part| text(part, "text")).collect()
}

fn prompt(body: &Value) -> Prompt {
    let whole = [json!({"role": "user", "content": body.get("input").cloned().unwrap_or_default()})];
    let items = body.get("input").and_then(Value::as_array).map_or(&whole[..], Vec::as_slice);
    let said_by = |roles: &'static [&str]| {
        items.iter().filter(move |item| text(item, "role").is_some_and(|role| roles.contains(&role)))
    };
    let systems = said_by(&["system", "developer"]).map(super::content_text);
    let systems: Vec<_> = text(body, "instructions").map(str::to_owned).into_iter().chain(systems).collect();
    let pictures = items.iter().flat_map(|item| list(item, "content")).filter_map(picture);
    let format = match body.pointer("/text/format/type").and_then(Value::as_str) {
        Some("json_object") => Format::Json,
        Some("json_schema") => {
            Format::Schema(body.pointer("/text/format/schema").cloned().unwrap_or_default())
        }
        _ => Format::Text,
    };
    let tools = list(body, "tools").iter().filter(|tool| text(tool, "type") == Some("function"));
    let tool = |tool: &Value| {
        let schema = tool.get("parameters").cloned().unwrap_or_default();
        Some(Tool { name: text(tool, "name")?.to_owned(), schema })
    };
    let said: String = items.iter().map(super::content_text).collect();
    Prompt {
        input: said + &systems.concat() + &body.get("tools").map(Value::to_string).unwrap_or_default(),
        system: systems.join("\n"),
        user: said_by(&["user"]).next_back().map(super::content_text).unwrap_or_default(),
        media: pictures.collect(),
        tools: tools.filter_map(tool).collect(),
        choice: choice(body),
        one_call: body.get("parallel_tool_calls") == Some(&Value::Bool(false)),
        results: results(items),
        format,
        reasoning: body.get("reasoning").is_some_and(|reasoning| text(reasoning, "effort") != Some("none")),
        max_tokens: count(body, "max_output_tokens"),
        choices: 1,
        stops: Vec::new(),
    }
}

fn picture(part: &Value) -> Option<String> {
    let url = text(part, "image_url").filter(|_| text(part, "type") == Some("input_image"))?;
    Some(url.strip_prefix("data:").and_then(|rest| rest.split(';').next()).unwrap_or("image").to_owned())
}

fn choice(body: &Value) -> Choice {
    match body.get("tool_choice") {
        Some(Value::String(word)) if word == "none" => Choice::None,
        Some(Value::String(word)) if word == "required" => Choice::Any,
        Some(named) => text(named, "name").map_or(Choice::Auto, |name| Choice::Named(name.to_owned())),
        None => Choice::Auto,
    }
}

/// The function outputs at the end of the input.
fn results(items: &[Value]) -> Vec<ToolResult> {
    let is_output = |item: &&Value| text(item, "type") == Some("function_call_output");
    let told = items.iter().rev().take_while(is_output).count();
    let calls = |id: &str| {
        let call = items
            .iter()
            .find(|item| text(item, "type") == Some("function_call") && text(item, "call_id") == Some(id));
        call.and_then(|call| text(call, "name")).unwrap_or_default().to_owned()
    };
    let outputs = items.iter().skip(items.len() - told);
    outputs
        .map(|item| ToolResult {
            name: calls(text(item, "call_id").unwrap_or_default()),
            text: text(item, "output").map_or_else(
                || list(item, "output").iter().filter_map(|part| text(part, "text")).collect(),
                str::to_owned,
            ),
        })
        .collect()
}

struct Writer<'a> {
    body: &'a Value,
    answer: &'a Answer,
    head: &'a Head<'a>,
    script: &'a Script,
}

impl Writer<'_> {
    fn whole(&self) -> Value {
        let limited = self.answer.finish == Finish::Length;
        let status = if limited { "incomplete" } else { "completed" };
        let mut whole = self.shell(status, &self.items());
        if limited {
            set(&mut whole, "incomplete_details", json!({"reason": "max_output_tokens"}));
        }
        if !self.script.no_usage {
            set(&mut whole, "usage", self.usage());
        }
        whole
    }

    /// The response object with these items.
    fn shell(&self, status: &str, output: &[Value]) -> Value {
        let sent = |key: &str, default: Value| self.body.get(key).cloned().unwrap_or(default);
        json!({
            "id": self.head.id, "object": "response", "created_at": self.head.created, "status": status,
            "error": null, "incomplete_details": null, "instructions": sent("instructions", Value::Null),
            "max_output_tokens": sent("max_output_tokens", Value::Null), "model": self.head.model, "output": output,
            "parallel_tool_calls": sent("parallel_tool_calls", json!(true)), "previous_response_id": null,
            "reasoning": sent("reasoning", json!({"effort": null, "summary": null})), "store": false,
            "temperature": sent("temperature", json!(1.0)), "text": sent("text", json!({"format": {"type": "text"}})),
            "tool_choice": sent("tool_choice", json!("auto")), "tools": sent("tools", json!([])),
            "top_p": sent("top_p", json!(1.0)), "truncation": "disabled", "usage": null, "metadata": {},
        })
    }

    fn usage(&self) -> Value {
        let usage = &self.answer.usage;
        json!({
            "input_tokens": usage.input, "input_tokens_details": {"cached_tokens": usage.cached},
            "output_tokens": usage.output, "output_tokens_details": {"reasoning_tokens": usage.reasoning},
            "total_tokens": usage.input + usage.output,
        })
    }

    fn item_id(&self, prefix: &str, at: usize) -> String {
        format!("{prefix}_{:016x}", hash(format!("{}/{prefix}/{at}", self.head.id).as_bytes()))
    }

    fn items(&self) -> Vec<Value> {
        let mut items = Vec::new();
        if let Some(reasoning) = &self.answer.reasoning {
            let summary = json!([{"type": "summary_text", "text": reasoning}]);
            let mut item = json!({"id": self.item_id("rs", 0), "type": "reasoning", "summary": summary});
            let wanted = list(self.body, "include").iter().any(|what| what == "reasoning.encrypted_content");
            if wanted {
                set(&mut item, "encrypted_content", secret(reasoning).into());
            }
            items.push(item);
        }
        if self.answer.calls.is_empty() {
            let part = match self.answer.finish {
                Finish::Refusal => json!({"type": "refusal", "refusal": self.answer.text}),
                _ => {
                    json!({"type": "output_text", "text": self.answer.text, "annotations": [], "logprobs": []})
                }
            };
            items.push(json!({
                "id": self.item_id("msg", 0), "type": "message", "role": "assistant", "status": "completed",
                "content": [part],
            }));
        }
        for (at, call) in self.answer.calls.iter().enumerate() {
            items.push(json!({
                "id": self.item_id("fc", at), "type": "function_call", "status": "completed",
                "call_id": self.item_id("call", at), "name": call.name, "arguments": call.arguments.to_string(),
            }));
        }
        items
    }

    fn stream(&self) -> Vec<String> {
        let mut events = Vec::new();
        let shell = self.shell("in_progress", &[]);
        events.push(("response.created", json!({"response": shell})));
        events.push(("response.in_progress", json!({"response": shell})));
        for (index, item) in self.items().into_iter().enumerate() {
            unfold(index, &item, &mut events);
        }
        let whole = self.whole();
        let last =
            if self.answer.finish == Finish::Length { "response.incomplete" } else { "response.completed" };
        events.push((last, json!({"response": whole})));
        let frame = |(number, (kind, mut data)): (usize, (&str, Value))| {
            set(&mut data, "type", kind.into());
            set(&mut data, "sequence_number", number.into());
            format!("event: {kind}\ndata: {data}\n\n")
        };
        events.into_iter().enumerate().map(frame).collect()
    }
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

/// The events that build one item.
fn unfold(index: usize, item: &Value, events: &mut Vec<(&'static str, Value)>) {
    let id = text(item, "id").unwrap_or_default();
    let place = |more: Value| {
        let mut all = Map::new();
        all.insert("item_id".to_owned(), id.into());
        all.insert("output_index".to_owned(), index.into());
        all.extend(more.as_object().cloned().unwrap_or_default());
        Value::Object(all)
    };
    let mut opened = item.clone();
    for (key, empty) in [
        ("content", json!([])),
        ("summary", json!([])),
        ("arguments", json!("")),
        ("status", json!("in_progress")),
    ] {
        if opened.get(key).is_some() {
            set(&mut opened, key, empty);
        }
    }
    events.push(("response.output_item.added", json!({"output_index": index, "item": opened})));
    for (at, part) in list(item, "summary").iter().enumerate() {
        let whole = text(part, "text").unwrap_or_default();
        let empty = json!({"type": "summary_text", "text": ""});
        events.push((
            "response.reasoning_summary_part.added",
            place(json!({"summary_index": at, "part": empty})),
        ));
        for delta in mind::pieces(whole) {
            events.push((
                "response.reasoning_summary_text.delta",
                place(json!({"summary_index": at, "delta": delta})),
            ));
        }
        events.push((
            "response.reasoning_summary_text.done",
            place(json!({"summary_index": at, "text": whole})),
        ));
        events.push((
            "response.reasoning_summary_part.done",
            place(json!({"summary_index": at, "part": part})),
        ));
    }
    for (at, part) in list(item, "content").iter().enumerate() {
        unfold_part(at, part, &place, events);
    }
    if let Some(arguments) = text(item, "arguments") {
        for delta in mind::argument_pieces(arguments) {
            events.push(("response.function_call_arguments.delta", place(json!({"delta": delta}))));
        }
        let name = text(item, "name").unwrap_or_default();
        events.push((
            "response.function_call_arguments.done",
            place(json!({"arguments": arguments, "name": name})),
        ));
    }
    events.push(("response.output_item.done", json!({"output_index": index, "item": item})));
}

/// The events that build one part of a message.
fn unfold_part(
    at: usize,
    part: &Value,
    place: &dyn Fn(Value) -> Value,
    events: &mut Vec<(&'static str, Value)>,
) {
    let refusal = text(part, "refusal");
    let field = if refusal.is_some() { "refusal" } else { "text" };
    let whole = refusal.or_else(|| text(part, "text")).unwrap_or_default();
    let (delta_kind, done_kind) = match refusal {
        Some(_) => ("response.refusal.delta", "response.refusal.done"),
        None => ("response.output_text.delta", "response.output_text.done"),
    };
    let mut empty = part.clone();
    set(&mut empty, field, json!(""));
    events.push(("response.content_part.added", place(json!({"content_index": at, "part": empty}))));
    for delta in mind::pieces(whole) {
        events.push((delta_kind, place(json!({"content_index": at, "delta": delta, "logprobs": []}))));
    }
    events.push((done_kind, place(json!({"content_index": at, field: whole, "logprobs": []}))));
    events.push(("response.content_part.done", place(json!({"content_index": at, "part": part}))));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::respond;

    fn ask(body: &Value) -> (u16, Value) {
        let reply = respond("/v1/responses", body.to_string().as_bytes());
        (reply.status, serde_json::from_slice(&reply.body()).unwrap())
    }

    fn tools() -> Value {
        let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
        json!([{"type": "function", "name": "weather", "parameters": parameters}])
    }

    #[test]
    fn a_response_is_made_and_limited() {
        let (_, body) = ask(&json!({"model": "m", "input": "say: one two"}));
        assert_eq!(body["output"][0]["content"][0]["text"], "one two");
        assert_eq!(body["status"], "completed");
        let (_, body) = ask(&json!({"model": "m", "input": "say: one two", "max_output_tokens": 1}));
        assert_eq!(
            (&body["status"], &body["incomplete_details"]["reason"]),
            (&json!("incomplete"), &json!("max_output_tokens"))
        );
    }

    #[test]
    fn tools_and_reasoning_go_around() {
        let user = json!({"role": "user", "content": [{"type": "input_text", "text": "weather city=Oslo"}]});
        let with = |input: &Value| {
            json!({"model": "m", "tools": tools(), "reasoning": {"effort": "low"}, "input": input,
                "include": ["reasoning.encrypted_content"]})
        };
        let (_, body) = ask(&with(&json!([user])));
        let (mut thought, call) = (body["output"][0].clone(), body["output"][1].clone());
        let output = json!({"type": "function_call_output", "call_id": call["call_id"], "output": "3C"});
        let (_, told) = ask(&with(&json!([user, thought, call, output])));
        assert_eq!(told["output"][1]["content"][0]["text"], "The tool weather says: 3C");
        assert_eq!(ask(&with(&json!([user, thought, call]))).0, 400);
        assert_eq!(ask(&with(&json!([user, output]))).0, 400);
        thought["encrypted_content"] = json!("changed");
        assert_eq!(ask(&with(&json!([user, thought, call, output]))).0, 400);
    }

    #[test]
    fn a_stream_ends_with_the_whole() {
        for input in ["say: one two", "weather city=Oslo"] {
            let body = json!({"model": "m", "tools": tools(), "reasoning": {"effort": "low"}, "stream": true, "input": input});
            let reply = respond("/v1/responses", body.to_string().as_bytes());
            let sent = String::from_utf8(reply.body().to_vec()).unwrap();
            let events: Vec<Value> = sent
                .lines()
                .filter_map(|line| line.strip_prefix("data: "))
                .map(|data| serde_json::from_str(data).unwrap())
                .collect();
            let of = |kind: &str| events.iter().filter(|event| event["type"] == kind).collect::<Vec<_>>();
            let done: Vec<_> =
                of("response.output_item.done").iter().map(|event| event["item"].clone()).collect();
            assert_eq!(Value::Array(done), events.last().unwrap()["response"]["output"]);
            let deltas =
                |kind: &str| of(kind).iter().filter_map(|event| event["delta"].as_str()).collect::<String>();
            let said =
                deltas("response.output_text.delta") + &deltas("response.function_call_arguments.delta");
            assert_eq!(said, if input.starts_with("say") { "one two" } else { r#"{"city":"Oslo"}"# });
            assert!(events.iter().enumerate().all(|(at, event)| event["sequence_number"] == at));
        }
    }
}

//! Requests: what is read, what is refused and by which name, and what is written.

use serde_json::{Value, json};
use tollway_model::{
    Capabilities, Content, Dialect, Error, Kind, Message, Notices, Part, Request, Role, Support, Tool,
    ToolCall, ToolKind,
};

use crate::openai_chat::Quirks;
use crate::{Codec, Target, openai_responses::OpenaiResponses};

fn read(body: &Value) -> Result<Request, Error> {
    OpenaiResponses.decode_request(body.to_string().as_bytes())
}

fn refused(field: &str, value: Value) -> (Kind, String) {
    let mut body = json!({"model": "m", "input": "hi"});
    body[field] = value;
    let error = read(&body).unwrap_err();
    (error.kind(), error.param().unwrap_or_default().to_owned())
}

fn written_for(request: &Request, capabilities: &Capabilities) -> (Value, Notices) {
    let target = Target { model: "gpt-5", capabilities, quirks: &Quirks::default() };
    let mut notices = Notices::new();
    let encoded = OpenaiResponses.encode_request(request, &target, &mut notices).unwrap();
    (serde_json::from_slice(&encoded.body).unwrap(), notices)
}

fn written(request: &Request) -> Value {
    written_for(request, &Capabilities::default()).0
}

#[test]
fn what_is_wrong_is_named() {
    let invalid = |param: &str| (Kind::InvalidRequest, param.to_owned());
    assert_eq!(refused("input", json!(3)), invalid("input"));
    assert_eq!(refused("input", json!([])), invalid("input"));
    assert_eq!(refused("input", Value::Null), invalid("input"));
    assert_eq!(refused("input", json!([{"role": "robot", "content": "x"}])), invalid("input[0].role"));
    assert_eq!(refused("input", json!([{"type": "message"}])), invalid("input[0].role"));
    assert_eq!(refused("input", json!(["x"])), invalid("input[0]"));
    assert_eq!(
        refused("input", json!([{"role": "user", "content": [{"text": "x"}]}])),
        invalid("input[0].content[0].type")
    );
    assert_eq!(
        refused("input", json!([{"role": "user", "content": [{"type": "input_image"}]}])),
        invalid("input[0].content[0]")
    );
    assert_eq!(
        refused("input", json!([{"type": "function_call", "name": "f"}])),
        invalid("input[0].call_id")
    );
    assert_eq!(
        refused("input", json!([{"type": "custom_tool_call", "name": "f", "call_id": "c"}])),
        invalid("input[0].input")
    );
    assert_eq!(refused("tools", json!([{"name": "f"}])), invalid("tools[0].type"));
    assert_eq!(refused("tools", json!([{"type": "function"}])), invalid("tools[0].name"));
    assert_eq!(
        refused("tools", json!([{"type": "namespace", "name": "n", "tools": [{"type": "mcp"}]}])),
        invalid("tools[0].tools[0].type")
    );
    assert_eq!(refused("tool_choice", json!("sometimes")), invalid("tool_choice"));
    assert_eq!(refused("text", json!({"format": {"type": "xml"}})), invalid("text.format.type"));
    assert_eq!(refused("text", json!({"format": {"type": "json_schema"}})), invalid("text.format.schema"));
    assert_eq!(refused("reasoning", json!({"effort": 3})), invalid("reasoning.effort"));
    assert_eq!(refused("max_output_tokens", json!("many")), invalid("max_output_tokens"));
    assert_eq!(refused("include", json!("all")), invalid("include"));
    let unresolved = |param: &str| (Kind::Unsupported, param.to_owned());
    assert_eq!(refused("previous_response_id", json!("resp_1")), unresolved("previous_response_id"));
    assert_eq!(refused("conversation", json!({"id": "conv_1"})), unresolved("conversation"));
    assert_eq!(refused("prompt", json!({"id": "pmpt_1"})), unresolved("prompt"));
    assert_eq!(refused("input", json!([{"type": "item_reference", "id": "x"}])), unresolved("input[0].id"));
    assert_eq!(refused("input", json!([{"id": "x"}])), unresolved("input[0].id"));
    assert!(OpenaiResponses.decode_request(b"{").is_err());
}

#[test]
fn neighbouring_items_of_one_speaker_are_one_message() {
    let request = read(&json!({"model": "m", "input": [
        {"role": "developer", "content": "rules"}, {"role": "user", "content": "a"}, {"role": "user", "content": "b"},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "x"}, {"type": "summary_text", "text": "y"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "c"}, {"type": "refusal", "refusal": "no"}]},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "2", "name": "g", "input": "free"},
        {"type": "function_call_output", "call_id": "1", "output": "one"},
        {"type": "custom_tool_call_output", "call_id": "2", "output": [{"type": "input_text", "text": "two"}]},
        {"role": "user", "content": "d"}]}))
    .unwrap();
    let roles: Vec<_> = request.messages.iter().map(|message| (message.role, message.parts.len())).collect();
    let expected = [
        (Role::Developer, 1),
        (Role::User, 1),
        (Role::User, 1),
        (Role::Assistant, 5),
        (Role::Tool, 2),
        (Role::User, 1),
    ];
    assert_eq!(roles, expected);
    let Content::Reasoning { text, .. } = &request.messages[3].parts[0].content else { panic!() };
    assert_eq!(text, "x\n\ny");
    let Content::ToolCall(free) = &request.messages[3].parts[4].content else { panic!() };
    assert_eq!((free.kind, free.arguments.as_str()), (ToolKind::Custom, "free"));
}

#[test]
fn a_request_of_this_dialect_goes_out_as_it_came() {
    let body = json!({"model": "gpt-5", "instructions": "i", "input": [
            {"type": "message", "role": "user", "content": "hi"},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "t"}], "encrypted_content": "gAAA="},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{\"n\": 1.50}"},
            {"type": "function_call_output", "call_id": "c", "output": "x"},
            {"type": "mcp_approval_response", "approval_request_id": "a", "approve": true}],
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "defer_loading": true},
            {"type": "mcp", "server_label": "x", "server_url": "https://x"}, {"type": "local_shell"}],
        "tool_choice": {"type": "local_shell"}, "background": true, "top_p": 0.5, "temperature": 0.25,
        "reasoning": {"effort": "xhigh", "context": "all_turns"}, "something_new": {"a": 1.50}, "service_tier": "scale"});
    let request = read(&body).unwrap();
    let (sent, notices) = written_for(&request, &Capabilities::default());
    assert_eq!(sent, body);
    assert!(notices.is_empty(), "{notices:?}");
}

#[test]
fn tools_of_a_namespace_find_their_way_back() {
    let tools = json!([
        {"type": "namespace", "name": "a", "description": "A", "tools": [
            {"type": "function", "name": "x", "parameters": {"type": "object"}, "strict": false},
            {"type": "custom", "name": "y"}]},
        {"type": "function", "name": "x", "parameters": {"type": "object"}, "strict": true}]);
    let request = read(&json!({"model": "m", "input": "hi", "tools": tools,
        "tool_choice": {"type": "function", "name": "x", "namespace": "a"}}))
    .unwrap();
    assert_eq!(request.tools.iter().map(Tool::name).collect::<Vec<_>>(), ["a::x", "a::y", "x"]);
    let sent = written(&request);
    assert_eq!(sent["tools"], tools);
    assert_eq!(sent["tool_choice"], json!({"type": "function", "name": "x", "namespace": "a"}));
}

#[test]
fn bridged_requests_keep_nothing_at_the_provider() {
    let request = Request::chat("m", "hi").system("first").reasoning(tollway_model::Effort::Max);
    let sent = written(&request);
    assert_eq!((&sent["store"], &sent["include"]), (&json!(false), &json!(["reasoning.encrypted_content"])));
    assert_eq!((&sent["instructions"], &sent["reasoning"]["effort"]), (&json!("first"), &json!("high")));
    let plain =
        Capabilities { reasoning: Support::No, sampling_params: Support::No, ..Capabilities::default() };
    let (sent, notices) = written_for(&request.temperature(0.5), &plain);
    assert_eq!((sent.get("include"), sent.get("reasoning"), sent.get("temperature")), (None, None, None));
    assert_eq!(notices.first_dropped().unwrap().field, "temperature");
    // Instructions alone are not a conversation.
    let alone = written(&Request::new("m").system("only"));
    assert_eq!((alone.get("instructions"), &alone["input"][0]["role"]), (None, &json!("system")));
}

#[test]
fn long_ids_and_odd_names_are_made_to_fit() {
    let id = format!("toolu_{}", "x".repeat(80));
    let call = ToolCall {
        id: id.clone(),
        name: "mcp.server/tool".into(),
        arguments: "{}".into(),
        kind: ToolKind::Function,
        signature: None,
    };
    let result = call.result("done");
    let request = Request::chat("m", "go")
        .message(Message::new(Role::Assistant, vec![Part::new(Content::ToolCall(call))]))
        .message(Message::tool_result(result));
    let sent = written(&request);
    let (call, output) = (&sent["input"][1], &sent["input"][2]);
    assert_eq!(call["call_id"], output["call_id"]);
    assert!(call["call_id"].as_str().unwrap().len() <= 64);
    assert!(!call["name"].as_str().unwrap().contains(['.', '/']), "{call}");
}

#[test]
fn foreign_blocks_are_named_when_they_cannot_go_along() {
    let native = |dialect| Part::new(Content::Native { dialect, json: json!({"type": "x"}).into() });
    let request = Request::chat("m", "go")
        .message(Message::new(Role::Assistant, vec![native(Dialect::Anthropic), Part::text("a")]))
        .message(Message::new(Role::User, vec![native(Dialect::Gemini), Part::text("b")]));
    let (sent, notices) = written_for(&request, &Capabilities::default());
    assert!(!sent.to_string().contains("\"x\""), "{sent}");
    let fields: Vec<_> = notices.iter().map(|notice| (notice.severity, notice.field.to_string())).collect();
    use tollway_model::Severity::{Changed, Dropped};
    let expected = [(Changed, "messages[1].content[0]"), (Dropped, "messages[2].content[0]")];
    assert_eq!(fields, expected.map(|(severity, field)| (severity, field.to_owned())));
}

#[test]
fn the_signature_of_a_text_comes_back_with_it() {
    use tollway_model::{Choice, FinishReason, Response, Signature};
    let signature = Signature { origin: Dialect::Gemini, value: "CpMB+/0=".to_owned() };
    let signed = Content::Text { text: "so".into(), citations: Vec::new(), signature: Some(signature) };
    let parts = vec![Part::text("first"), Part::new(signed), Part::text("last")];
    let choice = Choice { parts: parts.clone(), finish: Some(FinishReason::Stop), ..Choice::default() };
    let answer = Response { id: "r".into(), choices: vec![choice], ..Response::default() };
    let view = crate::View {
        model: "m",
        id: "c",
        created: 1,
        include_usage: true,
        legacy_functions: false,
        framing: crate::Framing::Sse,
    };
    let shown = OpenaiResponses.encode_response(&answer, &view, &mut Notices::new());
    let shown: Value = serde_json::from_slice(&shown).unwrap();
    let kinds: Vec<_> =
        shown["output"].as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["message", "reasoning", "message"]);
    let mut input = vec![json!({"role": "user", "content": "go"})];
    input.extend(shown["output"].as_array().unwrap().clone());
    let request = read(&json!({"model": "m", "input": input})).unwrap();
    assert_eq!(request.messages[1].parts, parts);
}

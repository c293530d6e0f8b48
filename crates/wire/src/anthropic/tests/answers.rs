//! Complete answers, both ways.

use serde_json::{Value, json};
use tollway_model::{
    Choice, Citation, Content, Dialect, FinishReason, Media, Notices, Part, Response, Signature, ToolCall,
    ToolKind, Usage,
};

use super::{fields, view};
use crate::anthropic::Anthropic;
use crate::{Codec, Restore};

fn message(content: Value, stop_reason: &str) -> Value {
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": content,
        "stop_reason": stop_reason, "stop_sequence": null,
        "usage": {"input_tokens": 10, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 5},
    })
}

fn decode(body: &Value, restore: &Restore) -> Response {
    Anthropic.decode_response(body.to_string().as_bytes(), restore).unwrap()
}

fn encode(response: &Response) -> (Value, Vec<String>) {
    let mut notices = Notices::new();
    let bytes = Anthropic.encode_response(response, &view(), &mut notices);
    (serde_json::from_slice(&bytes).unwrap(), fields(&notices))
}

/// An answer comes back as it went in, under the name the client asked for.
fn check(body: Value) {
    let (found, notices) = encode(&decode(&body, &Restore::default()));
    let mut expected = body;
    expected["model"] = json!("asked");
    assert_eq!(found, expected);
    assert!(notices.is_empty(), "{notices:?}");
}

#[test]
fn an_answer_returns_to_its_own_dialect_unchanged() {
    check(message(json!([]), "end_turn"));
    check(message(json!([{"type": "text", "text": "hi"}]), "max_tokens"));
    let citation = json!({"type": "page_location", "cited_text": "x", "document_index": 0, "start_page_number": 1, "end_page_number": 2});
    check(message(json!([{"type": "text", "text": "hi", "citations": [citation]}]), "end_turn"));
    check(message(
        json!([
            {"type": "thinking", "thinking": "hm", "signature": "ErUB"},
            {"type": "thinking", "thinking": "", "signature": "ErUC"},
            {"type": "redacted_thinking", "data": "EmwK"},
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
            {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1.10}},
            {"type": "tool_use", "id": "toolu_2", "name": "f", "input": {}, "toolset_name": "t"},
        ]),
        "tool_use",
    ));
    for reason in ["pause_turn", "refusal", "model_context_window_exceeded", "compaction"] {
        check(message(json!([{"type": "text", "text": "a"}]), reason));
    }
    let mut body = message(json!([{"type": "text", "text": "a"}]), "stop_sequence");
    body["stop_sequence"] = json!("END");
    body["container"] = json!({"id": "c", "expires_at": "2026-01-01T00:00:00Z"});
    body["context_management"] = json!({"applied_edits": []});
    body["usage"] = json!({
        "input_tokens": 10, "cache_creation_input_tokens": 30, "cache_read_input_tokens": 7, "output_tokens": 50,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
        "output_tokens_details": {"thinking_tokens": 40}, "service_tier": "standard",
        "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1}, "inference_geo": "us",
    });
    check(body.clone());
    let usage = decode(&body, &Restore::default()).usage.unwrap();
    let expected = Usage {
        input: 10,
        cache_read: 7,
        cache_write: 10,
        cache_write_1h: 20,
        output: 10,
        reasoning: 40,
        web_searches: 2,
        ..Usage::default()
    };
    assert_eq!(usage, expected);
    assert_eq!(usage.total_input(), 47);
}

fn answer(parts: Vec<Content>, finish: FinishReason) -> Response {
    let parts = parts.into_iter().map(Part::new).collect();
    Response {
        id: "chatcmpl-1".into(),
        choices: vec![Choice { parts, finish: Some(finish), ..Choice::default() }],
        ..Response::default()
    }
}

fn call(arguments: &str, kind: ToolKind, signature: Option<Signature>) -> Content {
    Content::ToolCall(ToolCall {
        id: "c1".into(),
        name: "f".into(),
        arguments: arguments.into(),
        kind,
        signature,
    })
}

#[test]
fn answers_of_other_dialects_are_shown_as_this_one_shows_its_own() {
    let shown = |content: Content, finish: FinishReason| {
        let (body, notices) = encode(&answer(vec![content], finish));
        (body["content"].clone(), body["stop_reason"].as_str().unwrap().to_owned(), notices)
    };
    let gemini = Signature { origin: Dialect::Gemini, value: "ab".into() };
    let none = Vec::<String>::new;
    let tool = |id: &str, input: Value| json!([{"type": "tool_use", "id": id, "name": "f", "input": input}]);
    let packed = "c1__thought__gemini_YWI";
    assert_eq!(
        shown(call("{\"a\":1}", ToolKind::Function, None), FinishReason::Stop),
        (tool("c1", json!({"a": 1})), "tool_use".into(), none())
    );
    assert_eq!(
        shown(call("", ToolKind::Function, Some(gemini.clone())), FinishReason::ToolCalls),
        (tool(packed, json!({})), "tool_use".into(), none())
    );
    assert_eq!(
        shown(call("*** patch", ToolKind::Custom, None), FinishReason::ToolCalls),
        (tool("c1", json!({"input": "*** patch"})), "tool_use".into(), none())
    );
    assert_eq!(
        shown(call("{oops", ToolKind::Function, None), FinishReason::ToolCalls),
        (tool("c1", json!({"arguments": "{oops"})), "tool_use".into(), vec!["changed content[0]".into()])
    );
    assert_eq!(
        shown(Content::Refusal("no".into()), FinishReason::Stop),
        (json!([{"type": "text", "text": "no"}]), "refusal".into(), none())
    );
    let thought = |signature| Content::Reasoning { text: "hm".into(), signature, redacted: false };
    assert_eq!(
        shown(thought(None), FinishReason::Stop).0,
        json!([{"type": "thinking", "thinking": "hm", "signature": ""}])
    );
    assert_eq!(
        shown(thought(Some(gemini)), FinishReason::Stop).0,
        json!([{"type": "thinking", "thinking": "hm", "signature": "tollway.gemini.ab"}])
    );
    let cited =
        Citation { url: Some("https://a.org".into()), title: Some("A".into()), ..Citation::default() };
    let text = Content::Text { text: "a".into(), citations: vec![cited], signature: None };
    let location = json!({"type": "web_search_result_location", "url": "https://a.org", "title": "A", "cited_text": "", "encrypted_index": ""});
    assert_eq!(
        shown(text, FinishReason::Stop).0,
        json!([{"type": "text", "text": "a", "citations": [location]}])
    );
    assert_eq!(
        shown(Content::Image(Media::base64("image/png", "AAAA")), FinishReason::Stop),
        (
            json!([{"type": "text", "text": "[image/png]"}]),
            "end_turn".into(),
            vec!["changed content[0]".into()]
        )
    );
    assert_eq!(shown(Content::Refusal(String::new()), FinishReason::ContentFilter).1, "refusal");
}

#[test]
fn an_answer_has_every_member_the_sdks_want() {
    let (body, _) = encode(&Response::default());
    let expected = json!({
        "id": "msg_call_fixture", "type": "message", "role": "assistant", "model": "asked", "content": [],
        "stop_reason": null, "stop_sequence": null,
        "usage": {"input_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 0},
    });
    assert_eq!(body, expected);
    let mut two = answer(vec![], FinishReason::Stop);
    two.choices.push(Choice { index: 1, ..Choice::default() });
    let (body, notices) = encode(&two);
    assert_eq!((body["id"].as_str(), notices), (Some("msg_chatcmpl-1"), vec!["changed choices".to_owned()]));
}

#[test]
fn what_encoding_renamed_is_restored() {
    let restore = Restore {
        tool_names: [("a_b".to_owned(), "a.b".to_owned())].into(),
        json_tool: Some("json_tool_call".into()),
        custom_tools: ["patch".to_owned()].into(),
    };
    let tool =
        |name: &str, input: Value| json!({"type": "tool_use", "id": "t", "name": name, "input": input});
    let text = json!({"type": "text", "text": "Sure:"});
    let response =
        decode(&message(json!([text, tool("json_tool_call", json!({"a": 1}))]), "tool_use"), &restore);
    assert_eq!(response.choices[0].parts, [Part::text("{\"a\":1}")]);
    assert_eq!(response.choices[0].finish, Some(FinishReason::Stop));
    let content = json!([text, tool("a_b", json!({})), tool("patch", json!({"input": "x\ny"}))]);
    let choice = &decode(&message(content, "tool_use"), &restore).choices[0];
    assert_eq!(choice.finish, Some(FinishReason::ToolCalls));
    assert_eq!(choice.parts[0], Part::text("Sure:"));
    let Content::ToolCall(renamed) = &choice.parts[1].content else { panic!() };
    let Content::ToolCall(custom) = &choice.parts[2].content else { panic!() };
    assert_eq!(
        (renamed.name.as_str(), custom.arguments.as_str(), custom.kind),
        ("a.b", "x\ny", ToolKind::Custom)
    );
}

#[test]
fn an_unreadable_answer_is_the_providers_fault() {
    let check = |body: &str, kind: tollway_model::Kind| {
        let error = Anthropic.decode_response(body.as_bytes(), &Restore::default()).unwrap_err();
        assert_eq!((error.kind(), error.origin()), (kind, tollway_model::Origin::Upstream), "{body}");
    };
    use tollway_model::Kind;
    check("", Kind::Upstream);
    check("{}", Kind::Upstream);
    check("{\"content\":[{}]}", Kind::Upstream);
    check(
        "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}",
        Kind::Overloaded,
    );
    check(
        "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"bad\"}}",
        Kind::InvalidRequest,
    );
}

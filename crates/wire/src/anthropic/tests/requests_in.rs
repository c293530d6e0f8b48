//! Clients' requests, and their way back to a provider of the same dialect.

use proptest::prelude::*;
use serde_json::{Value, json};
use tollway_model::{
    CacheTtl, Capabilities, Content, Dialect, Effort, MediaSource, Role, Support, Tool, ToolChoice,
};

use super::{decode, encode, fields};
use crate::Codec;
use crate::anthropic::Anthropic;

/// The request with `members` beside the required ones.
fn request(members: Value) -> Value {
    let mut body =
        json!({"model": "claude-x", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body
}

/// The body comes back as it went in, but for what `changes` says.
fn check(members: Value, changes: Value) {
    let body = request(members);
    let mut expected = body.clone();
    expected["messages"] = json!([{"role": "user", "content": [{"type": "text", "text": "hi"}]}]);
    if let Some(messages) = body.get("messages").filter(|messages| messages[0]["content"].is_array()) {
        expected["messages"] = messages.clone();
    }
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => expected.as_object_mut().unwrap().remove(name),
            value => expected.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    let (found, notices, _) = encode(&decode(&body), &Capabilities::default());
    assert_eq!(found, expected);
    assert!(notices.is_empty(), "{notices:?}");
}

#[test]
fn a_request_returns_to_its_own_dialect_unchanged() {
    let none = || json!({});
    check(json!({"stream": true, "temperature": 0.5, "top_k": 5, "stop_sequences": ["\n\nH"]}), none());
    check(json!({"system": "be brief"}), json!({"system": [{"type": "text", "text": "be brief"}]}));
    let mark = json!({"type": "ephemeral", "ttl": "1h"});
    check(
        json!({"system": [{"type": "text", "text": "a", "cache_control": mark}], "cache_control": {"type": "ephemeral"}}),
        none(),
    );
    check(json!({"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 4000}), none());
    check(json!({"thinking": {"type": "disabled"}}), none());
    check(
        json!({"thinking": {"type": "adaptive", "display": "omitted"}, "output_config": {"effort": "xhigh"}}),
        none(),
    );
    check(json!({"thinking": {"type": "between_tools"}, "output_config": {"task_budget": 7}}), none());
    check(
        json!({"output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object", "minProperties": 2}}}}),
        none(),
    );
    check(
        json!({"metadata": {"user_id": "user_1_account__session_2", "x": 1}, "service_tier": "auto"}),
        none(),
    );
    check(
        json!({"context_management": {"edits": []}, "container": "c_1", "mcp_servers": [{"type": "url"}], "speed": "fast", "inference_geo": "us"}),
        none(),
    );
    check(json!({"betas": ["files-api-2025-04-14"]}), json!({"betas": null}));
}

#[test]
fn tools_return_to_their_own_dialect_unchanged() {
    let tool = json!({"name": "f", "description": "d", "input_schema": {"type": "object"}, "strict": true,
        "cache_control": {"type": "ephemeral"}, "defer_loading": true, "input_examples": [{"a": 1}]});
    let search = json!({"type": "web_search_20260209", "name": "web_search", "max_uses": 3, "allowed_domains": ["a.org"],
        "user_location": {"type": "approximate", "city": "Oslo"}});
    let choice = json!({"type": "auto", "disable_parallel_tool_use": true});
    check(json!({"tools": [tool, search], "tool_choice": choice}), json!({}));
    check(json!({"tools": [tool], "tool_choice": {"type": "tool", "name": "f"}}), json!({}));
    check(json!({"tools": [tool], "tool_choice": {"type": "any"}}), json!({}));
    check(json!({"tools": [tool], "tool_choice": {"type": "none"}}), json!({}));
}

#[test]
fn every_block_returns_to_its_own_dialect_unchanged() {
    let citation = json!({"type": "char_location", "cited_text": "x", "document_index": 0, "start_char_index": 0, "end_char_index": 1});
    let messages = json!([
        {"role": "user", "content": [
            {"type": "text", "text": "look", "cache_control": {"type": "ephemeral", "ttl": "5m"}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
            {"type": "image", "source": {"type": "url", "url": "https://a.org/b.png"}},
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}, "title": "t", "citations": {"enabled": true}},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}, "citations": {"enabled": true}},
            {"type": "document", "source": {"type": "url", "url": "https://a.org/b.pdf"}, "citations": {"enabled": true}},
            {"type": "document", "source": {"type": "content", "content": "x"}, "context": "c"},
            {"type": "search_result", "source": "s", "title": "t", "content": []},
            {"type": "container_upload", "file_id": "file_1"},
        ]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "ErUB"},
            {"type": "redacted_thinking", "data": "EmwK"},
            {"type": "text", "text": "so", "citations": [citation]},
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
            {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1.10}},
            {"type": "tool_use", "id": "toolu_2", "name": "f", "input": {}, "caller": {"type": "code_execution_20250825", "tool_id": "t"}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": "3C", "is_error": false, "cache_control": {"type": "ephemeral"}},
            {"type": "tool_result", "tool_use_id": "toolu_2", "content": [{"type": "text", "text": "a"}, {"type": "image", "source": {"type": "url", "url": "u"}}]},
            {"type": "text", "text": "go on"},
        ]},
        {"role": "system", "content": [{"type": "text", "text": "be quick"}]},
        {"role": "user", "content": [{"type": "text", "text": "now"}]},
    ]);
    let tools = json!([{"name": "f", "input_schema": {"type": "object"}}]);
    check(json!({"messages": messages, "tools": tools}), json!({}));
}

#[test]
fn the_neutral_request_says_what_was_asked() {
    let request = decode(&request(json!({
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": ""},
                {"type": "tool_use", "id": "c__thought__gemini_YWI", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "text", "text": "and"}, {"type": "tool_result", "tool_use_id": "c__thought__gemini_YWI"}]},
        ],
        "tools": [{"name": "f", "input_schema": {"type": "object"}, "defer_loading": true},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 2, "user_location": {"type": "approximate", "country": "NO"}}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
        "output_config": {"effort": "high"},
        "metadata": {"user_id": "u"},
    })));
    let roles: Vec<_> = request.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::Tool, Role::User]);
    assert_eq!(request.messages[0].parts[0].cache.unwrap().ttl, Some(CacheTtl::Hour1));
    let Content::Reasoning { signature, .. } = &request.messages[2].parts[0].content else { panic!() };
    assert_eq!(*signature, None);
    let Content::ToolCall(call) = &request.messages[2].parts[1].content else { panic!() };
    assert_eq!((call.id.as_str(), call.signature.as_ref().unwrap().origin), ("c", Dialect::Gemini));
    let Content::ToolResult(result) = &request.messages[3].parts[0].content else { panic!() };
    assert_eq!(result.call_id, "c");
    assert!(matches!(&request.tools[1], Tool::Server { dialect: Dialect::Anthropic, .. }));
    let search = request.web_search.unwrap();
    assert_eq!((search.max_uses, search.location.unwrap().get()), (Some(2), r#"{"country":"NO"}"#));
    assert_eq!((request.tool_choice, request.parallel_tool_calls), (Some(ToolChoice::Required), Some(false)));
    assert_eq!(request.reasoning.unwrap().effort, Some(Effort::High));
    assert_eq!(request.user.as_deref(), Some("u"));
    assert_eq!(request.extras.fields.keys().collect::<Vec<_>>(), ["tools[0].defer_loading"]);
}

#[test]
fn errors_name_the_field() {
    let check = |body: Value, param: &str| {
        let error = Anthropic.decode_request(body.to_string().as_bytes()).unwrap_err();
        assert_eq!((error.param(), error.status()), (Some(param), 400), "{body}: {error}");
    };
    check(json!({"model": "m", "messages": []}), "max_tokens");
    check(json!({"max_tokens": 1, "messages": []}), "model");
    check(json!({"model": "m", "max_tokens": 1}), "messages");
    check(json!({"model": "m", "max_tokens": "1", "messages": []}), "max_tokens");
    check(request(json!({"messages": [{"role": "robot", "content": ""}]})), "messages[0].role");
    check(request(json!({"messages": [{"role": "user"}]})), "messages[0].content");
    check(
        request(json!({"messages": [{"role": "user", "content": [{"type": "text"}]}]})),
        "messages[0].content[0].text",
    );
    check(
        request(
            json!({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "base64", "data": ""}}]}]}),
        ),
        "messages[0].content[0].source.media_type",
    );
    check(
        request(
            json!({"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": "x"}]}]}),
        ),
        "messages[0].content[0].input",
    );
    check(request(json!({"tools": [{"name": "f"}]})), "tools[0].input_schema");
    check(request(json!({"tool_choice": {"type": "tool"}})), "tool_choice.name");
    check(request(json!({"tool_choice": {"type": "some"}})), "tool_choice.type");
    check(request(json!({"thinking": {"type": "enabled"}})), "thinking.budget_tokens");
    check(request(json!({"output_config": {"effort": "much"}})), "output_config.effort");
    check(
        request(
            json!({"system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "2h"}}]}),
        ),
        "system[0].cache_control.ttl",
    );
    check(json!([]), "request_body");
}

#[test]
fn counting_tokens_needs_no_limit_and_sends_only_what_counts() {
    let body = json!({"model": "m", "system": "s", "messages": [{"role": "user", "content": "hi"}]});
    let mut request = Anthropic.decode_count_request(body.to_string().as_bytes()).unwrap();
    request.stream = true;
    request.temperature = Some(0.5);
    let capabilities = Capabilities::default();
    let target =
        crate::Target { model: "claude-x", capabilities: &capabilities, quirks: &Default::default() };
    let bytes = Anthropic.encode_count_request(&request, &target).unwrap().unwrap();
    let expected = json!({"model": "claude-x", "system": [{"type": "text", "text": "s"}], "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]});
    assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), expected);
    assert_eq!(Anthropic.decode_count(br#"{"input_tokens":7}"#).unwrap(), 7);
    assert_eq!(Anthropic.encode_count(7), br#"{"input_tokens":7}"#);
    assert!(Anthropic.decode_count(b"{}").is_err());
}

#[test]
fn a_cache_scope_is_reported_when_the_body_is_rewritten() {
    let mark = json!({"type": "ephemeral", "scope": "global"});
    let body = request(json!({"system": [{"type": "text", "text": "a", "cache_control": mark}]}));
    let (_, notices, _) = encode(&decode(&body), &Capabilities::default());
    assert_eq!(fields(&notices), ["changed cache_control.scope"]);
}

#[test]
fn files_of_the_provider_ask_for_their_beta() {
    let file = json!({"type": "document", "source": {"type": "file", "file_id": "file_1"}});
    let request = decode(&request(json!({"messages": [{"role": "user", "content": [file]}]})));
    assert!(
        matches!(&request.messages[0].parts[0].content, Content::File(media) if media.source == MediaSource::FileId("file_1".into()))
    );
    let (_, _, encoded) = encode(&request, &Capabilities::default());
    assert_eq!(encoded.headers, [("anthropic-beta", "files-api-2025-04-14".to_owned())]);
}

#[test]
fn a_model_without_system_turns_gets_a_note() {
    let messages = json!([{"role": "user", "content": "a"}, {"role": "system", "content": "b"}, {"role": "user", "content": "c"}]);
    let capabilities = Capabilities { mid_conversation_system: Support::No, ..Capabilities::default() };
    let (body, notices, _) = encode(&decode(&request(json!({"messages": messages}))), &capabilities);
    assert_eq!(body["messages"].as_array().unwrap().len(), 1);
    assert!(body["messages"][0]["content"][1]["text"].as_str().unwrap().ends_with(": b"));
    assert_eq!(fields(&notices), ["changed messages[1].role"]);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Anthropic.decode_request(&bytes);
        let _ = Anthropic.decode_response(&bytes, &Default::default());
        let _ = Anthropic.decode_error(400, &http::HeaderMap::new(), &bytes);
        let _ = Anthropic.decode_count(&bytes);
    }

    #[test]
    fn a_broken_request_is_refused_or_read_but_never_panics(at in 0..700_usize, byte in any::<u8>()) {
        let body = request(json!({"system": "s", "thinking": {"type": "adaptive"}, "tools": [{"name": "f", "input_schema": {}}],
            "messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "é", "name": "a.b", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "é", "content": [{"type": "text", "text": "x"}]}]}]}));
        let mut bytes = body.to_string().into_bytes();
        let length = bytes.len();
        bytes[at % length] = byte;
        if let Ok(request) = Anthropic.decode_request(&bytes) {
            let capabilities = Capabilities::default();
            let target = crate::Target { model: "m", capabilities: &capabilities, quirks: &Default::default() };
            let _ = Anthropic.encode_request(&request, &target, &mut tollway_model::Notices::new());
        }
    }
}

#[test]
fn a_coding_agent_is_refused_by_no_dialect() {
    let body = include_bytes!("../../../../../fixtures/anthropic/coding-agent/request.json");
    let request = Anthropic.decode_request(body).unwrap();
    for dialect in [Dialect::Anthropic, Dialect::OpenaiChat, Dialect::Gemini] {
        let capabilities = Capabilities::default();
        let target = crate::Target { model: "m", capabilities: &capabilities, quirks: &Default::default() };
        let mut notices = tollway_model::Notices::new();
        crate::codec(dialect).encode_request(&request, &target, &mut notices).unwrap();
        assert_eq!(notices.first_dropped(), None, "{dialect}");
    }
}

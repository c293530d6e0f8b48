//! A conversation that moved here from another provider: what only that one can read stays out of the request, also
//! where client and provider speak one dialect.

use bytes::Bytes;
use serde_json::{Value, json};
use tollway::exchange::{Ask, Lane, Prepared, prepare};
use tollway::model::{Dialect, Operation, Signature};
use tollway_providers::{Endpoint, EndpointSpec, Table};
use tollway_wire::carry;
use tollway_wire::json::{Envelope, MAX_DEPTH};

fn prepared(provider: &str, surface: Dialect, body: &Value) -> Prepared {
    let provider = Table::builtin().get(provider).expect("known");
    let mut spec = EndpointSpec::new(provider, "a-model");
    spec.api_key = Some("sk-test".into());
    let endpoint = Endpoint::build(spec, &|_| None).expect("complete");
    let envelope = Envelope::parse(Bytes::from(body.to_string()), MAX_DEPTH).expect("an object");
    let mut ask = Ask::new(Operation::Chat, surface, "a-model", envelope);
    ask.headers = vec![("anthropic-beta", "context-1m-2025-08-07".to_owned())];
    prepare(&endpoint, &ask, &[], false).expect("possible")
}

fn sent(prepared: &Prepared) -> Value {
    serde_json::from_slice(&prepared.request.body().clone().joined()).expect("JSON")
}

/// A tool loop of a Claude client; `thinking` is what the model thought first.
fn claude(thinking: &Value, id: &str) -> Value {
    json!({"model": "a-model", "max_tokens": 9000, "thinking": {"type": "enabled", "budget_tokens": 2000},
        "tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}, "eager_input_streaming": true}],
        "messages": [
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": [thinking, {"type": "tool_use", "id": id, "name": "f", "input": {"n": 1.50}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "done"}]}]})
}

#[test]
fn an_anthropic_provider_gets_only_what_it_signed() {
    let own = json!({"type": "thinking", "thinking": "hm", "signature": "ErUB"});
    let verbatim = prepared("anthropic", Dialect::Anthropic, &claude(&own, "toolu_1"));
    assert_eq!(verbatim.lane, Lane::Verbatim);

    let gemini = Signature { origin: Dialect::Gemini, value: "CpMB".to_owned() };
    let tagged =
        json!({"type": "thinking", "thinking": "hm", "signature": carry::tag(&gemini, Dialect::Anthropic)});
    let unsigned = json!({"type": "thinking", "thinking": "hm", "signature": ""});
    let packed = carry::pack_id("call_1", &gemini);
    for (thinking, id) in [(&tagged, "call_1"), (&unsigned, "call_1"), (&unsigned, packed.as_str())] {
        let attempt = prepared("anthropic", Dialect::Anthropic, &claude(thinking, id));
        assert!(matches!(attempt.lane, Lane::Translated { target: Dialect::Anthropic, .. }));
        let sent = sent(&attempt);
        let call = json!([{"type": "tool_use", "id": "call_1", "name": "f", "input": {"n": 1.50}}]);
        assert_eq!(sent["messages"][1]["content"], call, "{sent}");
        assert_eq!(sent["messages"][2]["content"][0]["tool_use_id"], "call_1");
        assert_eq!(sent.get("thinking"), None, "a loop that lost its thinking goes on without: {sent}");
        assert_eq!(sent["tools"][0]["eager_input_streaming"], true);
        assert_eq!(attempt.request.headers()["anthropic-beta"], "context-1m-2025-08-07");
        assert!(!attempt.notices.is_empty());
    }
}

#[test]
fn a_gemini_provider_gets_only_what_it_signed() {
    use tollway_wire::codec;
    let claude = Signature { origin: Dialect::Anthropic, value: "ErUB".to_owned() };
    let call = |signature: &str| {
        json!({"contents": [
            {"role": "user", "parts": [{"text": "go"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}, "thoughtSignature": signature}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": "done"}}}]}]})
    };
    let verbatim = prepared("gemini", Dialect::Gemini, &call("CpMBAdHt"));
    assert_eq!(verbatim.lane, Lane::Verbatim);
    // As a Gemini client gets it from an Anthropic provider.
    let mut answer = tollway::model::Response::default();
    answer.choices.push(tollway::model::Choice {
        parts: vec![tollway::model::Part::new(tollway::model::Content::Reasoning {
            text: "hm".to_owned(),
            signature: Some(claude),
            redacted: false,
        })],
        ..tollway::model::Choice::default()
    });
    let view = tollway_wire::View {
        model: "m",
        id: "i",
        created: 0,
        include_usage: true,
        legacy_functions: false,
        framing: tollway_wire::Framing::Sse,
    };
    let shown = codec(Dialect::Gemini).encode_response(&answer, &view, &mut tollway::model::Notices::new());
    let shown: Value = serde_json::from_slice(&shown).expect("JSON");
    let foreign = shown["candidates"][0]["content"]["parts"][0]["thoughtSignature"].as_str().expect("signed");
    let attempt = prepared("gemini", Dialect::Gemini, &call(foreign));
    assert!(matches!(attempt.lane, Lane::Translated { target: Dialect::Gemini, .. }));
    let sent = sent(&attempt).to_string();
    assert!(!sent.contains(foreign) && sent.contains("functionResponse"), "{sent}");
}

#[test]
fn openai_gets_no_fields_that_the_gateway_made() {
    let body = json!({"model": "a-model", "messages": [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": "hm", "thinking_blocks": [{"type": "thinking", "thinking": "t", "signature": "ErUB"}],
            "provider_specific_fields": {"thought_signatures": ["CpMB"]},
            "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"},
                "provider_specific_fields": {"thought_signatures": ["CpMB"]}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "done"}]});
    let attempt = prepared("openai", Dialect::OpenaiChat, &body);
    assert_eq!(attempt.lane, Lane::Verbatim);
    let call = json!({"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    assert_eq!(
        sent(&attempt)["messages"][1],
        json!({"role": "assistant", "content": "hm", "tool_calls": [call]})
    );
}

#[test]
fn a_responses_provider_gets_only_the_state_it_minted() {
    let body = |encrypted: &str, id: &str| {
        json!({"model": "a-model", "store": false, "input": [
            {"role": "user", "content": "go"},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": encrypted},
            {"type": "function_call", "call_id": id, "name": "f", "arguments": "{\"n\":1.50}"},
            {"type": "function_call_output", "call_id": id, "output": "done"}]})
    };
    let verbatim = prepared("openai", Dialect::OpenaiResponses, &body("gAAAAA=", "call_1"));
    assert_eq!(verbatim.lane, Lane::Verbatim);
    assert_eq!(verbatim.request.uri(), "https://api.openai.com/v1/responses");
    assert_eq!(sent(&verbatim), body("gAAAAA=", "call_1"));

    let gemini = Signature { origin: Dialect::Gemini, value: "CpMB".to_owned() };
    let packed = carry::pack_id("call_1", &gemini);
    for (encrypted, id) in [("tollway.anthropic.ErUB", "call_1"), ("tollway.gemini.CpMB", packed.as_str())] {
        let attempt = prepared("openai", Dialect::OpenaiResponses, &body(encrypted, id));
        assert!(matches!(attempt.lane, Lane::Translated { target: Dialect::OpenaiResponses, .. }));
        let sent = sent(&attempt);
        assert_eq!(sent["input"][1]["type"], "function_call", "{sent}");
        assert_eq!(
            (&sent["input"][1]["call_id"], &sent["input"][2]["call_id"]),
            (&json!("call_1"), &json!("call_1"))
        );
        assert_eq!(sent["store"], false);
    }
    // Elsewhere the call is translated.
    let bridged = prepared("deepseek", Dialect::OpenaiResponses, &body("gAAAAA=", "call_1"));
    assert!(matches!(bridged.lane, Lane::Translated { target: Dialect::OpenaiChat, .. }));
    assert_eq!(sent(&bridged)["messages"][1]["tool_calls"][0]["id"], "call_1");
}

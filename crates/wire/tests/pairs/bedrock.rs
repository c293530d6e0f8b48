//! Bedrock's side of the pairs: answers of a strict fake, whole and as a binary stream, to every client.

use serde_json::{Value, json};
use tollway_model::{Content, Dialect, FinishReason, Notices, Response};
use tollway_testkit::{Call, Script, demo};
use tollway_wire::eventstream::{Framer, Value as Header, write};
use tollway_wire::{Restore, codec};

use crate::support::{CHATS, VIEW, events, fold, shown, translated};

const TARGET: Dialect = Dialect::BedrockConverse;

/// What the fake answers to a Claude that is asked `user` with two tools, whole and streamed.
fn answers(user: &str, script: &str) -> (Vec<u8>, Vec<u8>) {
    let tool = |name: &str| {
        json!({"name": name, "description": "d", "input_schema":
        {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}})
    };
    let body = json!({"model": "m", "max_tokens": 4096, "messages": [{"role": "user", "content": user}],
        "tools": [tool("weather"), tool("clock")]});
    let (sent, ..) = translated(Dialect::Anthropic, TARGET, &body);
    let sent = sent.to_string();
    let script = Script::from_model(script).unwrap();
    let answer = |method: &str| {
        let path = format!("/model/m/{method}");
        let call = Call { path: &path, body: sent.as_bytes(), script: Some(&script), ..Call::default() };
        let reply = demo::answer(&call);
        assert_eq!(reply.status, 200, "{:?}", reply.body());
        reply.body().to_vec()
    };
    (answer("converse"), answer("converse-stream"))
}

fn said(response: &Response) -> (String, String, Vec<(String, Value)>, Option<FinishReason>) {
    let choice = response.first().unwrap();
    let calls =
        choice.tool_calls().map(|call| (call.name.clone(), serde_json::from_str(&call.arguments).unwrap()));
    (choice.text(), choice.reasoning(), calls.collect(), choice.finish)
}

#[test]
fn whole_and_streamed_answers_agree_for_every_client() {
    for (user, script) in [
        ("say: one two three", "fake-ok"),
        ("weather and clock in Oslo", "fake-reasoning"),
        ("say: a b c", "fake-reasoning+cached-50"),
    ] {
        let (whole, stream) = answers(user, script);
        let whole = codec(TARGET).decode_response(&whole, &Restore::default()).unwrap();
        let streamed = events(TARGET, &stream, 5, &Restore::default());
        let folded = fold(streamed.clone()).unwrap();
        assert_eq!(folded.choices, whole.choices, "{user}");
        assert_eq!(folded.usage, whole.usage, "{user}");
        for surface in CHATS {
            let answer = codec(surface).encode_response(&whole, &VIEW, &mut Notices::new());
            let heard = codec(surface).decode_response(&answer, &Restore::default()).unwrap();
            let bytes = shown(surface, &streamed);
            let heard_streamed = fold(events(surface, &bytes, 9, &Restore::default())).unwrap();
            assert_eq!(said(&heard), said(&whole), "{surface} {user}");
            assert_eq!(said(&heard_streamed), said(&whole), "{surface} {user}");
            let total =
                |response: &Response| response.usage.map(|usage| (usage.total_input(), usage.total_output()));
            assert_eq!(total(&heard), total(&whole), "{surface} {user}");
        }
    }
}

#[test]
fn thinking_comes_back_as_it_went_through_every_client() {
    let (_, stream) = answers("weather in Oslo", "fake-reasoning");
    let first = events(TARGET, &stream, 64, &Restore::default());
    let thought = fold(first.clone()).unwrap().choices[0].parts[0].clone();
    let Content::Reasoning { text, signature: Some(signature), .. } = thought.content else {
        panic!("no thinking")
    };
    let bytes = shown(Dialect::Anthropic, &first);
    let heard = fold(events(Dialect::Anthropic, &bytes, 64, &Restore::default())).unwrap();
    let Content::Reasoning { signature: Some(seen), .. } = &heard.choices[0].parts[0].content else {
        panic!()
    };
    // A client of Claude's own dialect sees a signature like any other.
    assert_eq!(seen.value, signature.value);
    let body = json!({"model": "m", "max_tokens": 100, "messages": [
        {"role": "user", "content": "weather in Oslo"},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": text, "signature": seen.value},
            {"type": "tool_use", "id": "t", "name": "weather", "input": {"city": "Oslo"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "3C"}]}],
        "tools": [{"name": "weather", "input_schema": {"type": "object", "properties": {}}}]});
    let (sent, ..) = translated(Dialect::Anthropic, TARGET, &body);
    let back = &sent["messages"][1]["content"][0]["reasoningContent"]["reasoningText"];
    assert_eq!(back, &json!({"text": text, "signature": signature.value}));
}

/// The fake writes its messages bit by bit, and Amazon's own parser reads them in `tests/python/test_bedrock.py`.
#[test]
fn our_writer_makes_the_bytes_of_the_fake() {
    let (_, stream) = answers("weather and clock in Oslo", "fake-reasoning");
    let mut written = Vec::new();
    let mut count = 0;
    Framer::default()
        .push(&stream, |message| {
            let headers: Vec<(&str, Header<'_>)> = message.headers().collect();
            write(&headers, message.payload, &mut written);
            count += 1;
        })
        .unwrap();
    assert!(count > 10);
    assert_eq!(written, stream);
}

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};
use tollway_model::{
    Capabilities, Choice, Content, Event, Fold, Laws, Message, Part, Role, Signature, Support, Tool,
    ToolCall, ToolChoice, ToolKind, ToolResult,
};

use super::*;
use crate::Framing;
use crate::eventstream::{Value as Header, write};
use crate::openai_chat::Quirks;

const CLAUDE: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";

fn encoded(model: &str, capabilities: &Capabilities, request: &Request) -> (Value, Encoded, Notices) {
    let mut notices = Notices::new();
    let quirks = Quirks::default();
    let target = Target { model, capabilities, quirks: &quirks };
    let encoded = BedrockConverse.encode_request(request, &target, &mut notices).unwrap();
    (serde_json::from_slice(&encoded.body).unwrap(), encoded, notices)
}

/// What a request becomes, by JSON pointer.
fn check(request: &Request, pointer: &str, expected: Value) {
    let (body, ..) = encoded(CLAUDE, &Capabilities::default(), request);
    assert_eq!(body.pointer(pointer).cloned().unwrap_or_default(), expected, "{body:#}");
}

fn tool(name: &str) -> Tool {
    Tool::function(name, "d", json!({"type": "object", "properties": {}}))
}

fn call(id: &str, name: &str) -> Part {
    Part::new(Content::ToolCall(ToolCall {
        id: id.into(),
        name: name.into(),
        arguments: "{}".into(),
        kind: ToolKind::Function,
        signature: None,
    }))
}

fn result(id: &str, text: &str) -> Part {
    let parts = if text.is_empty() { Vec::new() } else { vec![Part::text(text)] };
    Part::new(Content::ToolResult(ToolResult { call_id: id.into(), name: None, parts, is_error: None }))
}

#[test]
fn turns_alternate_begin_with_the_user_and_end_cleanly() {
    let texts = |request: &Request| -> Vec<String> {
        let (body, ..) = encoded(CLAUDE, &Capabilities::default(), request);
        let turns = body["messages"].as_array().unwrap().iter();
        turns.map(|turn| format!("{} {}", turn["role"].as_str().unwrap(), turn["content"])).collect()
    };
    let ask = Request::new("m")
        .ask("a")
        .ask("b")
        .message(Message::assistant("c "))
        .message(Message::assistant("d "));
    assert_eq!(
        texts(&ask),
        [r#"user [{"text":"a"},{"text":"b"}]"#, r#"assistant [{"text":"c "},{"text":"d"}]"#]
    );
    let started = Request::new("m").message(Message::assistant("c")).ask("");
    assert_eq!(
        texts(&started),
        [r#"user [{"text":"."}]"#, r#"assistant [{"text":"c"}]"#, r#"user [{"text":"."}]"#,]
    );
    let late = Request::new("m").system("top").ask("a").message(Message::system("late"));
    assert!(texts(&late)[0].contains("Note from the operator of this conversation: late"));
    check(&late, "/system", json!([{"text": "top"}]));
}

#[test]
fn results_stand_together_in_the_order_of_their_calls() {
    let request = Request::new("m")
        .tool(tool("f"))
        .ask("go")
        .message(Message::new(Role::Assistant, vec![call("a", "f"), Part::text("calling"), call("b", "f")]))
        .message(Message::new(Role::Tool, vec![result("b", "two")]))
        .message(Message::new(Role::Tool, vec![result("a", "one")]))
        .message(Message::new(Role::Tool, vec![result("a", "again")]))
        .ask("and?");
    let told = |id: &str, text: &str| json!({"toolResult": {"toolUseId": id, "content": [{"text": text}]}});
    check(&request, "/messages/2/content", json!([told("a", "one"), told("b", "two"), {"text": "and?"}]));
    check(&request, "/messages/1/content/0", json!({"text": "calling"}));
}

#[test]
fn ids_that_repeat_or_that_the_api_refuses_are_made_unique_and_fit() {
    let long = "x".repeat(80);
    let mut request = Request::new("m").tool(tool("f")).ask("go");
    for id in [long.as_str(), "call.1", long.as_str()] {
        request = request
            .message(Message::new(Role::Assistant, vec![call(id, "f")]))
            .message(Message::new(Role::Tool, vec![result(id, "r")]));
    }
    let (body, ..) = encoded(CLAUDE, &Capabilities::default(), &request);
    let id =
        |turn: usize, kind: &str| body["messages"][turn]["content"][0][kind]["toolUseId"].as_str().unwrap();
    let ids = [id(1, "toolUse"), id(3, "toolUse"), id(5, "toolUse")];
    assert_eq!(ids, [id(2, "toolResult"), id(4, "toolResult"), id(6, "toolResult")]);
    assert_eq!((ids[1], ids[0].len(), ids[2].len()), ("call_1", 64, 64));
    assert_ne!(ids[0], ids[2]);
}

#[test]
fn names_come_back_as_the_caller_gave_them() {
    let request = Request::chat("m", "go").tool(tool("mcp.files/read")).tool(tool(&"y".repeat(70)));
    let (body, encoded, _) = encoded(CLAUDE, &Capabilities::default(), &request);
    let name = |at: usize| body["toolConfig"]["tools"][at]["toolSpec"]["name"].as_str().unwrap().to_owned();
    assert_eq!((name(0).as_str(), name(1).len()), ("mcp_files_read", 64));
    assert_eq!(encoded.restore.tool_name("mcp_files_read"), "mcp.files/read");
    let answer = json!({"output": {"message": {"role": "assistant", "content": [
        {"toolUse": {"toolUseId": "t", "name": "mcp_files_read", "input": {"a": 1.50}}}]}}, "stopReason": "tool_use"});
    let answer = BedrockConverse.decode_response(answer.to_string().as_bytes(), &encoded.restore).unwrap();
    let call = answer.choices[0].tool_calls().next().unwrap();
    assert_eq!((call.name.as_str(), call.arguments.as_str()), ("mcp.files/read", r#"{"a":1.5}"#));
}

#[test]
fn choices_are_said_as_far_as_the_model_takes_them() {
    let ask = |choice| Request::chat("m", "go").tool(tool("f")).tool_choice(choice);
    check(&ask(ToolChoice::Required), "/toolConfig/toolChoice", json!({"any": {}}));
    check(&ask(ToolChoice::Named("f".into())), "/toolConfig/toolChoice", json!({"tool": {"name": "f"}}));
    check(&ask(ToolChoice::Auto), "/toolConfig/toolChoice", Value::Null);
    check(&ask(ToolChoice::None), "/toolConfig", Value::Null);
    let (body, _, notices) =
        encoded("meta.llama3-v1:0", &Capabilities::default(), &ask(ToolChoice::Required));
    assert!(body["toolConfig"]["toolChoice"].is_null());
    assert_eq!(notices.iter().next().unwrap().field, "tool_choice");
    // Earlier calls need some tool to be there.
    let earlier = Request::new("m")
        .ask("go")
        .message(Message::new(Role::Assistant, vec![call("a", "f")]))
        .message(Message::new(Role::Tool, vec![result("a", "")]));
    check(&earlier, "/toolConfig/tools/0/toolSpec/name", json!("no_tool"));
}

#[test]
fn every_maker_is_told_in_its_own_way_how_much_to_think() {
    let thinks = |support| Capabilities {
        adaptive_thinking: support,
        reasoning: Support::Yes,
        ..Capabilities::default()
    };
    let request = Request::chat("m", "hi").reasoning(tollway_model::Effort::High);
    let check = |model: &str, capabilities: &Capabilities, expected: Value| {
        let (body, _, notices) = encoded(model, capabilities, &request);
        assert_eq!(body["additionalModelRequestFields"], expected, "{model} {notices:?}");
    };
    check(CLAUDE, &thinks(Support::No), json!({"thinking": {"type": "enabled", "budget_tokens": 4096}}));
    let adaptive = json!({"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "high"}});
    check("global.anthropic.claude-opus-4-8", &thinks(Support::Yes), adaptive);
    let open = Capabilities::default();
    check("openai.gpt-oss-120b-1:0", &open, json!({"reasoning_effort": "high"}));
    check("openai.gpt-6", &open, json!({"reasoning": {"effort": "high"}}));
    let nova = json!({"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}});
    check("us.amazon.nova-2-lite-v1:0", &open, nova);
    check("us.deepseek.r1-v1:0", &open, Value::Null);
    let (_, _, notices) = encoded("meta.llama3-v1:0", &open, &request);
    assert_eq!(notices.first_dropped().unwrap().field, "reasoning_effort");
}

fn view() -> View<'static> {
    View {
        model: "m",
        id: "i",
        created: 0,
        include_usage: true,
        legacy_functions: false,
        framing: Framing::Sse,
    }
}

fn decoded(stream: &[u8], size: usize) -> Vec<Event> {
    let mut decoder = BedrockConverse.decoder(Restore::default());
    let mut events = Vec::new();
    stream.chunks(size).for_each(|chunk| decoder.push(chunk, &mut events));
    decoder.finish(&mut events);
    let mut laws = Laws::new();
    events.iter().for_each(|event| laws.check(event).unwrap());
    events
}

/// A stream of these messages.
fn stream(messages: &[(&str, Value)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, payload) in messages {
        let headers = [(":event-type", Header::Text(kind)), (":message-type", Header::Text("event"))];
        write(&headers, payload.to_string().as_bytes(), &mut bytes);
    }
    bytes
}

#[test]
fn a_stream_that_breaks_off_or_is_corrupt_ends_in_an_error() {
    let good = stream(&[
        ("messageStart", json!({"role": "assistant"})),
        ("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": {"text": "a"}})),
        ("messageStop", json!({"stopReason": "end_turn"})),
    ]);
    let end = |bytes: &[u8]| match decoded(bytes, 11).pop() {
        Some(Event::Error(error)) => Some(error.kind()),
        Some(Event::End) => None,
        other => panic!("{other:?}"),
    };
    // Without its metadata it is complete all the same.
    assert_eq!(end(&good), None);
    assert_eq!(end(&good[..good.len() - 1]), Some(Kind::Connection));
    assert_eq!(end(&good[..100]), Some(Kind::Connection));
    assert_eq!(end(b""), Some(Kind::Connection));
    let mut broken = good.clone();
    broken[130] ^= 1;
    assert_eq!(end(&broken), Some(Kind::Upstream));
    assert_eq!(end(&stream(&[("contentBlockDelta", json!({"delta": 1}))])), Some(Kind::Upstream));
    let closed = ("contentBlockDelta", json!({"contentBlockIndex": 4, "delta": {"toolUse": {"input": "x"}}}));
    assert_eq!(end(&stream(&[closed])), Some(Kind::Upstream));
    let mut bytes = Vec::new();
    let headers = [
        (":message-type", Header::Text("error")),
        (":error-code", Header::Text("InternalFailure")),
        (":error-message", Header::Text("broken")),
    ];
    write(&headers, b"", &mut bytes);
    assert_eq!(end(&bytes), Some(Kind::Upstream));
}

#[test]
fn blocks_that_nobody_reads_do_no_harm() {
    let events = decoded(
        &stream(&[
            ("messageStart", json!({"role": "assistant"})),
            (
                "contentBlockStart",
                json!({"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "s", "name": "nova_grounding", "type": "server_tool_use"}}}),
            ),
            ("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": {"toolUse": {"input": "{}"}}})),
            ("contentBlockStop", json!({"contentBlockIndex": 0})),
            (
                "contentBlockStart",
                json!({"contentBlockIndex": 1, "start": {"toolResult": {"toolUseId": "s"}}}),
            ),
            ("contentBlockDelta", json!({"contentBlockIndex": 1, "delta": {"toolResult": [{"text": "x"}]}})),
            ("contentBlockStop", json!({"contentBlockIndex": 1})),
            ("contentBlockDelta", json!({"contentBlockIndex": 2, "delta": {"text": "Oslo"}})),
            (
                "contentBlockDelta",
                json!({"contentBlockIndex": 2, "delta": {"citation": {"title": "T", "location": {"web": {"url": "https://x"}}}}}),
            ),
            ("contentBlockStart", json!({"contentBlockIndex": 3, "start": {"image": {"format": "png"}}})),
            (
                "contentBlockDelta",
                json!({"contentBlockIndex": 3, "delta": {"image": {"source": {"bytes": "AAAA"}}}}),
            ),
            (
                "contentBlockDelta",
                json!({"contentBlockIndex": 3, "delta": {"image": {"source": {"bytes": "AA=="}}}}),
            ),
            ("contentBlockStop", json!({"contentBlockIndex": 3})),
            ("messageStop", json!({"stopReason": "end_turn"})),
        ]),
        1000,
    );
    let mut fold = Fold::new();
    events.into_iter().for_each(|event| fold.push(event));
    let answer = fold.finish().unwrap();
    let [text, image] = answer.choices[0].parts.as_slice() else { panic!("{answer:?}") };
    let Content::Text { text, citations, .. } = &text.content else { panic!("{text:?}") };
    assert_eq!((text.as_str(), citations[0].url.as_deref()), ("Oslo", Some("https://x")));
    let expected = tollway_model::Media::base64("image/png", "AAAAAA==");
    assert_eq!(image.content, Content::Image(expected));
}

fn part() -> impl Strategy<Value = Part> {
    let text = "[a-zä🙂 ]{1,9}";
    let signature = |value: String| Signature { origin: Dialect::Anthropic, value };
    prop_oneof![
        text.prop_map(Part::text),
        (text, "[A-Za-z0-9+/]{4}").prop_map(move |(text, value)| {
            Part::new(Content::Reasoning { text, signature: Some(signature(value)), redacted: false })
        }),
        "[A-Za-z0-9+/]{4}".prop_map(|value| {
            let signature = Some(Signature { origin: Dialect::BedrockConverse, value });
            Part::new(Content::Reasoning { text: String::new(), signature, redacted: true })
        }),
        ("[a-z]{1,6}", "[a-z]{1,6}").prop_map(|(id, value)| {
            let arguments = json!({ "a": value }).to_string();
            Part::new(Content::ToolCall(ToolCall {
                id,
                name: "f".into(),
                arguments,
                kind: ToolKind::Function,
                signature: None,
            }))
        }),
    ]
}

fn answer() -> impl Strategy<Value = Response> {
    let usage = option::of((0..99_u64, 0..99_u64, 0..99_u64, 0..99_u64));
    (vec(part(), 0..5), usage, option::of("flex|priority")).prop_map(|(parts, usage, service_tier)| {
        let usage = usage.map_or_else(Usage::default, |(input, cache_read, cache_write, output)| Usage {
            input,
            cache_read,
            cache_write,
            output,
            ..Usage::default()
        });
        let finish = Some(FinishReason::Stop);
        let choice = Choice { parts, finish, native_finish: Some("end_turn".into()), ..Choice::default() };
        Response { choices: vec![choice], usage: Some(usage), service_tier, ..Response::default() }
    })
}

proptest! {
    #[test]
    fn an_answer_reads_back_as_it_was_written_whole_and_streamed(answer in answer(), size in 1..60_usize) {
        let whole = BedrockConverse.encode_response(&answer, &view(), &mut Notices::new());
        prop_assert_eq!(&BedrockConverse.decode_response(&whole, &Restore::default()).unwrap(), &answer);
        prop_assert_eq!(BedrockConverse.read_usage(&whole), answer.usage);
        let mut encoder = BedrockConverse.encoder(&view());
        let mut bytes = Vec::new();
        answer.clone().into_events().iter().for_each(|event| encoder.push(event, &mut bytes));
        let mut fold = Fold::new();
        decoded(&bytes, size).into_iter().for_each(|event| fold.push(event));
        let mut folded = fold.finish().unwrap();
        // An answer without parts has no choice before its end.
        if folded.choices.is_empty() {
            folded.choices.push(Choice::default());
        }
        prop_assert_eq!(folded, answer);
    }

    #[test]
    fn garbage_is_an_error_and_never_more(bytes in vec(any::<u8>(), 0..200), size in 1..50_usize) {
        let events = decoded(&bytes, size);
        prop_assert!(matches!(events.as_slice(), [Event::Error(_)]));
        let _ = BedrockConverse.decode_response(&bytes, &Restore::default());
        let _ = BedrockConverse.decode_error(500, &HeaderMap::new(), &bytes);
    }
}

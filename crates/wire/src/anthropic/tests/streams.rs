//! Streams: any chunking, any valid order of events, and what a stream says equals what an answer says.

use proptest::prelude::*;
use serde_json::{Value, json};
use tollway_model::{
    Choice, Citation, Content, Delta, Dialect, Event, Extras, FinishReason, Fold, Kind, Laws, Notices, Part,
    PartKind, RawJson, Response, Signature, ToolCall, ToolKind, Usage,
};

use super::view;
use crate::anthropic::Anthropic;
use crate::{Codec, Restore, sse};

/// The events of a stream that arrives in `chunks`; the laws are checked.
fn events(chunks: &[&[u8]], restore: &Restore) -> Vec<Event> {
    let mut decoder = Anthropic.decoder(restore.clone());
    let mut events = Vec::new();
    for chunk in chunks {
        decoder.push(chunk, &mut events);
    }
    decoder.finish(&mut events);
    let mut laws = Laws::new();
    for event in &events {
        laws.check(event).unwrap_or_else(|broken| panic!("{broken} in {events:#?}"));
    }
    events
}

fn fold(events: Vec<Event>) -> Result<Response, tollway_model::Error> {
    let mut fold = Fold::new();
    events.into_iter().for_each(|event| fold.push(event));
    fold.finish()
}

/// The stream clients get for `events`, its grammar checked.
fn written(events: &[Event]) -> Vec<u8> {
    let bytes = encoded(events);
    if let Err(broken) = grammar(&bytes) {
        panic!("{broken}\n{}\n{events:#?}", String::from_utf8_lossy(&bytes));
    }
    bytes
}

fn encoded(events: &[Event]) -> Vec<u8> {
    let mut encoder = Anthropic.encoder(&view());
    let mut bytes = Vec::new();
    for event in events {
        encoder.push(event, &mut bytes);
    }
    bytes
}

fn frames(bytes: &[u8]) -> Vec<(String, Value)> {
    let mut framer = sse::Framer::default();
    let mut frames = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    framer
        .push(bytes, |frame| frames.push((text(frame.event), serde_json::from_slice(frame.data).unwrap())))
        .unwrap();
    frames
}

/// Checks the dialect's order: one start, one open block at a time with rising indices, deltas that fit the block,
/// one message delta with full usage, one stop; or an error anywhere, last.
fn grammar(bytes: &[u8]) -> Result<(), String> {
    let (mut started, mut said_why, mut over) = (false, false, false);
    let mut open: Option<(u64, String, String)> = None;
    let mut next = 0;
    for (event, data) in frames(bytes) {
        let fail = |what: &str| Err(format!("{what}: {data}"));
        if over {
            return fail("a frame after the last");
        }
        if data["type"] != event.as_str() {
            return fail("the event's name differs from its type");
        }
        match event.as_str() {
            "error" => {
                over = true;
                continue;
            }
            "message_start" => {
                let message = &data["message"];
                let id_fits = message["id"].as_str().is_some_and(|id| id.starts_with("msg_"));
                if started
                    || !id_fits
                    || message["usage"]["input_tokens"].as_u64().is_none()
                    || message["content"] != json!([])
                {
                    return fail("a wrong start");
                }
                started = true;
                continue;
            }
            _ if !started => return fail("a frame before the start"),
            _ => {}
        }
        let index = data["index"].as_u64();
        match event.as_str() {
            "content_block_start" => {
                if open.is_some() || said_why || index != Some(next) {
                    return fail("a block out of order");
                }
                let block = &data["content_block"];
                let fits = match block["type"].as_str().unwrap_or_default() {
                    "text" => block["text"] == "",
                    "thinking" => block["thinking"] == "" && block["signature"] == "",
                    "redacted_thinking" => block["data"].is_string(),
                    "tool_use" => {
                        block["input"] == json!({}) && block["id"].is_string() && block["name"].is_string()
                    }
                    _ => true,
                };
                if !fits {
                    return fail("a wrong block");
                }
                open = Some((next, block["type"].as_str().unwrap().to_owned(), String::new()));
                next += 1;
            }
            "content_block_delta" => {
                let Some((at, kind, json)) = open.as_mut().filter(|(at, ..)| Some(*at) == index) else {
                    return fail("a delta outside of its block");
                };
                let delta = &data["delta"];
                let member = match (kind.as_str(), delta["type"].as_str().unwrap_or_default()) {
                    ("text", "text_delta") => "text",
                    ("text", "citations_delta") => "citation",
                    ("thinking", "thinking_delta") => "thinking",
                    ("thinking", "signature_delta") => "signature",
                    (kind, "input_json_delta") if kind.ends_with("tool_use") => "partial_json",
                    _ => return fail("a delta that does not fit the block"),
                };
                if delta[member].is_null() {
                    return fail("an empty delta");
                }
                if member == "partial_json" {
                    json.push_str(delta[member].as_str().unwrap());
                }
                let _ = at;
            }
            "content_block_stop" => {
                let Some((_, kind, json)) = open.take_if(|(at, ..)| Some(*at) == index) else {
                    return fail("a stop outside of its block");
                };
                if kind == "tool_use" && !json.is_empty() && serde_json::from_str::<Value>(&json).is_err() {
                    return fail("a tool's input that is no JSON");
                }
            }
            "message_delta" => {
                let usage = &data["usage"];
                let full = [
                    "input_tokens",
                    "output_tokens",
                    "cache_read_input_tokens",
                    "cache_creation_input_tokens",
                ];
                if open.is_some() || said_why || full.iter().any(|name| usage[name].as_u64().is_none()) {
                    return fail("a wrong message delta");
                }
                said_why = true;
            }
            "message_stop" => {
                if !said_why {
                    return fail("a stop without a reason");
                }
                over = true;
            }
            _ => return fail("an unknown frame"),
        }
    }
    if over { Ok(()) } else { Err("the stream does not end".into()) }
}

fn stream(frames: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        sse::write(frame["type"].as_str(), frame.to_string().as_bytes(), &mut bytes);
    }
    bytes
}

/// A stream with everything in it.
fn rich() -> Vec<u8> {
    let start = |index: u64, block: Value| json!({"type": "content_block_start", "index": index, "content_block": block});
    let delta =
        |index: u64, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    let stop = |index: u64| json!({"type": "content_block_stop", "index": index});
    stream(&[
        json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": [],
            "stop_reason": null, "usage": {"input_tokens": 9, "cache_read_input_tokens": 4, "output_tokens": 1, "service_tier": "standard"}}}),
        json!({"type": "ping"}),
        start(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
        delta(0, json!({"type": "thinking_delta", "thinking": "hm"})),
        delta(0, json!({"type": "signature_delta", "signature": "ErUB"})),
        stop(0),
        start(1, json!({"type": "redacted_thinking", "data": "EmwK"})),
        stop(1),
        start(2, json!({"type": "text", "text": ""})),
        delta(2, json!({"type": "text_delta", "text": "grüß "})),
        delta(2, json!({"type": "text_delta", "text": "dich"})),
        delta(
            2,
            json!({"type": "citations_delta", "citation": {"type": "char_location", "cited_text": "c"}}),
        ),
        delta(2, json!({"type": "future_delta", "x": 1})),
        stop(2),
        start(3, json!({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}})),
        delta(3, json!({"type": "input_json_delta", "partial_json": "{\"query\":"})),
        delta(3, json!({"type": "input_json_delta", "partial_json": "\"q\"}"})),
        stop(3),
        start(4, json!({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []})),
        stop(4),
        json!({"type": "future_event", "delta": 7}),
        start(5, json!({"type": "tool_use", "id": "toolu_1", "name": "a_b", "input": {}})),
        delta(5, json!({"type": "input_json_delta", "partial_json": ""})),
        delta(5, json!({"type": "input_json_delta", "partial_json": "{\"a\": 1"})),
        delta(5, json!({"type": "input_json_delta", "partial_json": "}"})),
        stop(5),
        start(6, json!({"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}})),
        stop(6),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null, "container": {"id": "c"}},
            "usage": {"output_tokens": 20}, "context_management": {"applied_edits": []}}),
        json!({"type": "message_stop"}),
    ])
}

/// The same, not streamed.
fn rich_answer() -> Value {
    json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "stop_reason": "tool_use", "stop_sequence": null,
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "ErUB"},
            {"type": "redacted_thinking", "data": "EmwK"},
            {"type": "text", "text": "grüß dich", "citations": [{"type": "char_location", "cited_text": "c"}]},
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
            {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
            {"type": "tool_use", "id": "toolu_1", "name": "a_b", "input": {"a": 1}},
            {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
        ],
        "usage": {"input_tokens": 9, "cache_read_input_tokens": 4, "output_tokens": 20, "service_tier": "standard"},
        "container": {"id": "c"}, "context_management": {"applied_edits": []}})
}

fn restore() -> Restore {
    Restore { tool_names: [("a_b".to_owned(), "a.b".to_owned())].into(), ..Restore::default() }
}

#[test]
fn the_grammar_refuses_what_clients_would_choke_on() {
    let good: Vec<Value> = frames(&written(&events_of(&rich()))).into_iter().map(|(_, data)| data).collect();
    assert_eq!(grammar(&stream(&good)), Ok(()));
    let broken = |change: &dyn Fn(&mut Vec<Value>)| {
        let mut frames = good.clone();
        change(&mut frames);
        assert!(grammar(&stream(&frames)).is_err(), "{frames:#?}");
    };
    // No start, no end, a block that stays open, two open at once, a lost index, a wrong delta, half usage.
    broken(&|frames| drop(frames.remove(0)));
    broken(&|frames| drop(frames.pop()));
    broken(&|frames| drop(frames.remove(4)));
    broken(&|frames| frames.swap(4, 5));
    broken(&|frames| frames[1]["index"] = json!(1));
    broken(&|frames| frames[2]["delta"]["type"] = json!("text_delta"));
    broken(&|frames| {
        let last = frames.len() - 2;
        frames[last]["usage"] = json!({"output_tokens": 1});
    });
}

#[test]
fn a_stream_says_what_the_answer_says() {
    let streamed = fold(events(&[&rich()], &restore())).unwrap();
    let mut whole = Anthropic.decode_response(rich_answer().to_string().as_bytes(), &restore()).unwrap();
    if let Content::ToolCall(call) = &mut whole.choices[0].parts[5].content {
        assert_eq!(call.name, "a.b");
        call.arguments = "{\"a\": 1}".into();
    }
    assert_eq!(streamed, whole);
}

#[test]
fn a_stream_comes_back_as_it_went() {
    let first = events(&[&rich()], &Restore::default());
    let second = events(&[&written(&first)], &Restore::default());
    let (mut first, second) = (fold(first).unwrap(), fold(second).unwrap());
    first.model = "asked".into();
    assert_eq!(second, first);
}

#[test]
fn usage_known_at_the_start_is_in_the_first_frame_and_all_of_it_in_the_last() {
    let bytes = written(&events(&[&rich()], &Restore::default()));
    let frames = frames(&bytes);
    assert_eq!(frames[0].1["message"]["usage"]["input_tokens"], 9);
    let last = &frames[frames.len() - 2].1;
    assert_eq!((&last["usage"]["input_tokens"], &last["usage"]["output_tokens"]), (&json!(9), &json!(20)));
    assert_eq!(last["delta"]["container"], json!({"id": "c"}));
}

#[test]
fn verbatim_json_stays_on_one_line() {
    let json = RawJson::parse("{\n \"type\": \"x\",\r\n \"a\": \"b\\nc\"\n}").unwrap();
    let mut extras = Extras::of(Dialect::Anthropic);
    extras.fields.insert("container".into(), json.clone());
    let citation = Citation { native: Some((Dialect::Anthropic, json.clone())), ..Citation::default() };
    let text = Content::Text { text: "t".into(), citations: vec![citation], signature: None };
    let parts = vec![Part::new(Content::Native { dialect: Dialect::Anthropic, json }), Part::new(text)];
    let choice = Choice { parts, finish: Some(FinishReason::Stop), ..Choice::default() };
    let response = Response { choices: vec![choice], extras, ..Response::default() };
    let folded = fold(events_of(&written(&response.clone().into_events()))).unwrap();
    assert_eq!(folded.choices[0].parts, response.choices[0].parts);
    assert_eq!(folded.extras, response.extras);
}

/// The error a stream ends in, and how many events came before it.
fn failure(bytes: &[u8]) -> (Kind, String) {
    match events(&[bytes], &Restore::default()).pop() {
        Some(Event::Error(error)) => (error.kind(), error.message().to_owned()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_broken_stream_ends_in_an_error() {
    let start =
        json!({"type": "message_start", "message": {"id": "m", "model": "x", "usage": {"input_tokens": 1}}});
    assert_eq!(failure(&stream(std::slice::from_ref(&start))).0, Kind::Connection);
    assert_eq!(failure(b"").0, Kind::Connection);
    assert_eq!(failure(b"data: {oops\n\n").0, Kind::Upstream);
    let overloaded = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    assert_eq!(failure(&stream(&[start.clone(), overloaded])), (Kind::Overloaded, "Overloaded".into()));
    let stray =
        json!({"type": "content_block_delta", "index": 3, "delta": {"type": "text_delta", "text": "x"}});
    assert_eq!(failure(&stream(&[start, stray])).0, Kind::Upstream);
    let cut: Vec<u8> = rich().into_iter().take(900).collect();
    assert_eq!(failure(&cut).0, Kind::Connection);
}

#[test]
fn a_stream_without_its_last_frame_still_ends_well() {
    let text = String::from_utf8(rich()).unwrap();
    let cut = text.split("event: message_stop").next().unwrap();
    assert!(matches!(events(&[cut.as_bytes()], &Restore::default()).last(), Some(Event::End)));
}

#[test]
fn an_error_becomes_an_error_event() {
    let error = tollway_model::Error::new(Kind::RateLimit, "slow down");
    for begin in [vec![], vec![Event::Start { id: "x".into(), model: "m".into(), created: None }]] {
        let events: Vec<_> = begin.into_iter().chain([Event::Error(error.clone()), Event::End]).collect();
        let frames = frames(&written(&events));
        assert_eq!(
            frames.last().unwrap().1,
            json!({"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}})
        );
    }
}

#[test]
fn the_answers_tool_becomes_the_answers_text() {
    let restore = Restore { json_tool: Some("json_tool_call".into()), ..Restore::default() };
    let block = |index: u64, block: Value, delta: Value| {
        [
            json!({"type": "content_block_start", "index": index, "content_block": block}),
            json!({"type": "content_block_delta", "index": index, "delta": delta}),
            json!({"type": "content_block_stop", "index": index}),
        ]
    };
    let text = |index| {
        block(index, json!({"type": "text", "text": ""}), json!({"type": "text_delta", "text": "Sure:"}))
    };
    let tool = |index, name: &str| {
        let start = json!({"type": "tool_use", "id": "t", "name": name, "input": {}});
        block(index, start, json!({"type": "input_json_delta", "partial_json": "{\"a\":1}"}))
    };
    let end = [
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 1}}),
        json!({"type": "message_stop"}),
    ];
    let parts = |blocks: Vec<[Value; 3]>| {
        let frames: Vec<_> = blocks.into_iter().flatten().chain(end.clone()).collect();
        let choice = fold(events(&[&stream(&frames)], &restore)).unwrap().choices.remove(0);
        let texts: Vec<_> =
            choice.parts.iter().map(|part| part.as_text().unwrap_or("call").to_owned()).collect();
        (texts.join("|"), choice.finish.unwrap())
    };
    let answer = "json_tool_call";
    assert_eq!(parts(vec![text(0), tool(1, answer)]), ("{\"a\":1}".into(), FinishReason::Stop));
    assert_eq!(parts(vec![text(0), tool(1, "f")]), ("Sure:|call".into(), FinishReason::ToolCalls));
    assert_eq!(
        parts(vec![text(0), tool(1, "f"), text(2), tool(3, answer)]),
        ("Sure:|call|{\"a\":1}".into(), FinishReason::ToolCalls)
    );
    assert_eq!(parts(vec![text(0), text(1)]).0, "Sure:|Sure:");
}

fn signature() -> impl Strategy<Value = Option<Signature>> {
    let origin = prop_oneof![Just(Dialect::Anthropic), Just(Dialect::Gemini), Just(Dialect::OpenaiChat)];
    proptest::option::of(
        (origin, "[a-zA-Z0-9+/=]{1,6}").prop_map(|(origin, value)| Signature { origin, value }),
    )
}

/// Contents this dialect can show and give back.
fn content() -> impl Strategy<Value = Content> {
    let citation = ("[a-z]{1,5}", proptest::option::of("[a-z ]{1,5}")).prop_map(|(host, title)| {
        let json = json!({"type": "web_search_result_location", "url": host, "title": title, "encrypted_index": "x"});
        let native = Some((Dialect::Anthropic, RawJson::from(json)));
        Citation { url: Some(host), title, native, ..Citation::default() }
    });
    prop_oneof![
        ("\\PC{1,9}", proptest::collection::vec(citation, 0..2))
            .prop_map(|(text, citations)| Content::Text { text, citations, signature: None }),
        ("\\PC{1,9}", signature()).prop_map(|(text, signature)| Content::Reasoning {
            text,
            signature,
            redacted: false
        }),
        signature().prop_filter_map("redacted thinking is its signature", |signature| {
            signature.map(|signature| Content::Reasoning {
                text: String::new(),
                signature: Some(signature),
                redacted: true,
            })
        }),
        ("[a-z]{1,5}", "[a-z]{1,5}", proptest::collection::btree_map("[a-z]{1,3}", "\\PC{0,5}", 0..3))
            .prop_map(|(id, name, input)| {
                let arguments = json!(input).to_string();
                Content::ToolCall(ToolCall { id, name, arguments, kind: ToolKind::Function, signature: None })
            }),
        ("[a-z]{1,5}", "\\PC{0,9}").prop_map(|(id, query)| {
            let json =
                json!({"type": "server_tool_use", "id": id, "name": "web_search", "input": {"query": query}});
            Content::Native { dialect: Dialect::Anthropic, json: RawJson::from(json) }
        }),
    ]
}

fn finish_reason() -> impl Strategy<Value = (FinishReason, &'static str)> {
    prop_oneof![
        Just((FinishReason::Length, "max_tokens")),
        Just((FinishReason::ToolCalls, "tool_use")),
        Just((FinishReason::Refusal, "refusal")),
        Just((FinishReason::Pause, "pause_turn")),
        Just((FinishReason::StopSequence, "stop_sequence")),
        Just((FinishReason::ContextWindow, "model_context_window_exceeded")),
    ]
}

prop_compose! {
    fn usage()(input in 0..99_u64, cache_read in 0..99_u64, cache_write in 0..99_u64, cache_write_1h in 0..99_u64,
        output in 0..99_u64, reasoning in 0..99_u64, web_searches in 0..3_u64) -> Usage {
        Usage { input, cache_read, cache_write, cache_write_1h, output, reasoning, web_searches, ..Usage::default() }
    }
}

prop_compose! {
    /// Answers inside what this dialect can say.
    fn response()(contents in proptest::collection::vec(content(), 0..6), (finish, native) in finish_reason(),
        usage in usage(), tier in proptest::option::of(Just("priority".to_owned())), has_container in any::<bool>()) -> Response {
        let mut extras = Extras::default();
        if has_container {
            extras = Extras::of(Dialect::Anthropic);
            extras.fields.insert("container".into(), RawJson::from(json!({"id": "c"})));
        }
        let choice = Choice {
            parts: contents.into_iter().map(Part::new).collect(),
            finish: Some(finish),
            native_finish: Some(native.into()),
            ..Choice::default()
        };
        Response { id: "msg_1".into(), model: "asked".into(), choices: vec![choice], usage: Some(usage), service_tier: tier, extras, ..Response::default() }
    }
}

/// Any valid order of events: parts of one or two choices begin, grow and end as they like.
fn interleaving() -> impl Strategy<Value = Vec<Event>> {
    proptest::collection::vec((0..12_u8, any::<u8>(), "[a-zé\"\\\\\n]{0,4}"), 0..60).prop_map(|steps| {
        let mut events = vec![Event::Start { id: "r".into(), model: "m".into(), created: None }];
        let mut open: Vec<(u32, u32, PartKind)> = Vec::new();
        let mut next = 0;
        for (action, pick, text) in steps {
            let at = usize::from(pick) % open.len().max(1);
            match action {
                0..=2 => {
                    let kind = match pick % 8 {
                        0 | 1 => PartKind::Text,
                        2 => PartKind::Reasoning,
                        3 => PartKind::Redacted,
                        4 => PartKind::Refusal,
                        5 => PartKind::ToolCall {
                            id: format!("c{next}"),
                            name: "f".into(),
                            kind: ToolKind::Custom,
                        },
                        6 => PartKind::Native {
                            dialect: if pick > 100 { Dialect::Gemini } else { Dialect::Anthropic },
                            json: RawJson::from(json!({"type": "mcp_tool_use", "input": {"a": text}})),
                        },
                        _ => PartKind::Image,
                    };
                    let choice = u32::from(pick > 230);
                    events.push(Event::PartStart { choice, part: next, kind: kind.clone() });
                    open.push((choice, next, kind));
                    next += 1;
                }
                3 => events.push(Event::Usage(Usage { input: u64::from(pick), ..Usage::default() })),
                4 => events.push(Event::Meta { service_tier: Some(text), extras: Extras::default() }),
                5 | 6 if !open.is_empty() => {
                    let (choice, part, _) = open.remove(at);
                    events.push(Event::PartEnd { choice, part });
                }
                _ if !open.is_empty() => {
                    let (choice, part, kind) = open[at].clone();
                    let signature = Signature { origin: Dialect::Gemini, value: text.clone() };
                    let delta = match (kind, pick % 5) {
                        (PartKind::Text, 0) => {
                            Delta::Citation(Citation { url: Some(text), ..Citation::default() })
                        }
                        (PartKind::ToolCall { .. }, 1..) => Delta::Arguments(text),
                        (PartKind::Redacted | PartKind::ToolCall { .. }, _) | (_, 1) => {
                            Delta::Signature(signature)
                        }
                        (PartKind::Image, _) => Delta::Media(tollway_model::Media::url(text)),
                        _ => Delta::Text(text),
                    };
                    events.push(Event::Delta { choice, part, delta });
                }
                _ => {}
            }
        }
        events.extend(open.into_iter().map(|(choice, part, _)| Event::PartEnd { choice, part }));
        events.push(Event::Finish {
            choice: 0,
            reason: FinishReason::Stop,
            native: None,
            stop_sequence: None,
        });
        events.push(Event::Usage(Usage { output: 3, ..Usage::default() }));
        events.push(Event::End);
        events
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn any_valid_order_of_events_gives_a_valid_stream(events in interleaving()) {
        let mut laws = Laws::new();
        for event in &events {
            laws.check(event).unwrap();
        }
        written(&events);
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn an_answer_survives_the_stream_and_the_body(response in response()) {
        let streamed = fold(events_of(&written(&response.clone().into_events()))).unwrap();
        let bytes = Anthropic.encode_response(&response, &view(), &mut Notices::new());
        let whole = Anthropic.decode_response(&bytes, &Restore::default()).unwrap();
        prop_assert_eq!(&streamed, &whole);
        prop_assert_eq!(&whole, &response);
    }
}

fn events_of(bytes: &[u8]) -> Vec<Event> {
    events(&[bytes], &Restore::default())
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same_events(cuts in proptest::collection::vec(0..4000_usize, 0..12)) {
        let bytes = rich();
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).chain([0, bytes.len()]).collect();
        cuts.sort_unstable();
        let chunks: Vec<_> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        prop_assert_eq!(format!("{:?}", events(&chunks, &restore())), format!("{:?}", events(&[&bytes], &restore())));
    }

    #[test]
    fn a_damaged_stream_obeys_the_laws(at in 0..4000_usize, byte in any::<u8>(), noise in proptest::collection::vec(any::<u8>(), 0..99)) {
        let mut bytes = rich();
        let length = bytes.len();
        bytes[at % length] = byte;
        encoded(&events(&[&bytes], &restore()));
        events(&[&noise], &restore());
    }
}

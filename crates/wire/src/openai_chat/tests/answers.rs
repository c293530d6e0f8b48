use serde_json::{Value, json};
use tollway_model::{FinishReason, Kind, PartKind};

use super::*;

/// A stream of `chunks` folds into an answer whose choices look like `expected`, whatever the chunking.
fn check(chunks: &[Value], expected: Value) {
    let mut stream: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    stream.push_str("data: [DONE]\n\n");
    for size in [1, 7, usize::MAX] {
        let folded = fold(events(stream.as_bytes(), size)).unwrap();
        assert_eq!(shown(&folded)["choices"], expected, "{stream}");
    }
}

fn chunk(delta: Value) -> Value {
    json!({"id": "c1", "object": "chat.completion.chunk", "created": 5, "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

fn last(reason: &str) -> Value {
    json!({"id": "c1", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

fn answer(message: Value, reason: &str) -> Value {
    let mut full = json!({"role": "assistant", "content": null, "refusal": null});
    full.as_object_mut().unwrap().extend(message.as_object().unwrap().clone());
    json!([{"index": 0, "message": full, "logprobs": null, "finish_reason": reason}])
}

fn call(id: &str, name: &str, arguments: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
}

fn piece(fields: Value) -> Value {
    chunk(json!({"tool_calls": [fields]}))
}

#[test]
fn tool_calls_arrive_in_many_ways() {
    let two = json!({"tool_calls": [call("a", "f", "{\"x\":\"}\"}"), call("b", "g", "{}")]});
    let expected = answer(two, "tool_calls");
    // As OpenAI sends them.
    check(
        &[
            piece(
                json!({"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}),
            ),
            piece(json!({"index": 0, "function": {"arguments": "{\"x\":"}})),
            piece(json!({"index": 0, "function": {"arguments": "\"}\"}"}})),
            piece(
                json!({"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}}),
            ),
            last("tool_calls"),
        ],
        expected.clone(),
    );
    // Interleaved.
    check(
        &[
            piece(json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{\"x\""}})),
            piece(json!({"index": 1, "id": "b", "function": {"name": "g", "arguments": "{"}})),
            piece(json!({"index": 0, "function": {"arguments": ":\"}\"}"}})),
            piece(json!({"index": 1, "function": {"arguments": "}"}})),
            last("tool_calls"),
        ],
        expected.clone(),
    );
    // Whole, without numbers, an object for arguments, an empty finish reason.
    check(
        &[
            piece(json!({"id": "a", "function": {"name": "f", "arguments": {"x": "}"}}})),
            piece(json!({"id": "b", "function": {"name": "g", "arguments": "{}"}})),
            last(""),
        ],
        expected.clone(),
    );
    // Every call numbered 0.
    check(
        &[
            piece(json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{\"x\":\"}\"}"}})),
            piece(json!({"index": 0, "id": "b", "function": {"name": "g", "arguments": "{}"}})),
            last("tool_calls"),
        ],
        expected,
    );
    // Without ids: made from the answer's.
    check(
        &[piece(json!({"index": 0, "function": {"name": "f", "arguments": null}})), last("tool_calls")],
        answer(json!({"tool_calls": [call("call_c1_0", "f", "{}")]}), "tool_calls"),
    );
    // A reason that does not fit, and legacy function calls: the host's word is kept.
    let native = |mut choices: Value, word: &str| {
        choices[0]["provider_specific_fields"] = json!({"native_finish_reason": word});
        choices
    };
    check(
        &[piece(json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}})), last("stop")],
        native(answer(json!({"tool_calls": [call("a", "f", "{}")]}), "tool_calls"), "stop"),
    );
    check(
        &[
            chunk(json!({"function_call": {"name": "f", "arguments": "{"}})),
            chunk(json!({"function_call": {"arguments": "}"}})),
            last("function_call"),
        ],
        native(answer(json!({"tool_calls": [call("call_c1_0", "f", "{}")]}), "tool_calls"), "function_call"),
    );
}

#[test]
fn a_call_ends_when_the_next_begins_only_if_its_arguments_are_complete() {
    let stream = |first: &str| {
        let chunks = [
            piece(json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": first}})),
            piece(json!({"index": 1, "id": "b", "function": {"name": "g", "arguments": "{}"}})),
            last("tool_calls"),
        ];
        chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect::<String>()
    };
    let order = |first: &str| {
        let events = events(stream(first).as_bytes(), 64);
        let ended = events.iter().position(|event| matches!(event, Event::PartEnd { part: 0, .. })).unwrap();
        let begun =
            events.iter().position(|event| matches!(event, Event::PartStart { part: 1, .. })).unwrap();
        ended < begun
    };
    assert!(order("{\"a\":[1]}"));
    assert!(!order("{\"a\":["));
    assert!(!order(""));
}

#[test]
fn thinking_comes_under_many_names() {
    let expected = answer(json!({"content": "42", "reasoning_content": "hmm"}), "stop");
    for field in ["reasoning_content", "reasoning"] {
        check(
            &[
                chunk(json!({field: "hm"})),
                chunk(json!({field: "m", "content": ""})),
                chunk(json!({"content": "42"})),
                last("stop"),
            ],
            expected.clone(),
        );
    }
    // Mistral.
    check(
        &[
            chunk(json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hmm"}]}]})),
            chunk(json!({"content": [{"type": "text", "text": "42"}]})),
            last("stop"),
        ],
        expected.clone(),
    );
    // Databricks.
    check(
        &[
            chunk(
                json!({"content": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "hmm"}]},
                {"type": "text", "text": "42"}]}),
            ),
            last("stop"),
        ],
        expected,
    );
    // OpenRouter: the details are joined and come back whole.
    let detail = |text: &str| json!({"type": "reasoning.text", "text": text, "index": 0, "format": null});
    check(
        &[
            chunk(json!({"reasoning": "hm", "reasoning_details": [detail("hm")]})),
            chunk(json!({"reasoning_details": [detail("m")]})),
            chunk(json!({"reasoning_details": [{"type": "reasoning.text", "signature": "s", "index": 0}]})),
            chunk(json!({"content": "42"})),
            last("stop"),
        ],
        answer(
            json!({"content": "42", "reasoning_content": "hmm", "reasoning_details":
                [{"type": "reasoning.text", "text": "hmm", "index": 0, "format": null, "signature": "s"}]}),
            "stop",
        ),
    );
    // Blocks in pieces, as another gateway sends Anthropic's.
    check(
        &[
            chunk(
                json!({"reasoning_content": "hmm", "thinking_blocks": [{"type": "thinking", "thinking": "hmm"}]}),
            ),
            chunk(
                json!({"reasoning_content": "", "thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "s"}]}),
            ),
            chunk(json!({"content": "42"})),
            last("stop"),
        ],
        answer(
            json!({"content": "42", "reasoning_content": "hmm",
                "thinking_blocks": [{"type": "thinking", "thinking": "hmm", "signature": "s"}]}),
            "stop",
        ),
    );
}

#[test]
fn a_choice_split_in_two_is_one_choice() {
    let body = json!({"id": "c1", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "I look"}, "finish_reason": "stop"},
        {"index": 0, "message": {"role": "assistant", "tool_calls": [call("a", "f", "{}")]}, "finish_reason": "tool_calls"}]});
    let response = response::decode(body.to_string().as_bytes(), &Restore::default()).unwrap();
    let expected = answer(json!({"content": "I look", "tool_calls": [call("a", "f", "{}")]}), "tool_calls");
    assert_eq!(shown(&response)["choices"], expected);
}

fn check_reason(word: Value, reason: FinishReason, native: Option<&str>) {
    let body = json!({"id": "c", "choices": [{"message": {"content": "x"}, "finish_reason": word}]});
    let response = response::decode(body.to_string().as_bytes(), &Restore::default()).unwrap();
    let choice = &response.choices[0];
    assert_eq!((choice.finish, choice.native_finish.as_deref()), (Some(reason), native), "{body}");
}

#[test]
fn finish_reasons_are_understood_or_kept() {
    check_reason(json!("stop"), FinishReason::Stop, Some("stop"));
    check_reason(json!("model_length"), FinishReason::Length, Some("model_length"));
    check_reason(json!("sensitive"), FinishReason::ContentFilter, Some("sensitive"));
    check_reason(
        json!("insufficient_system_resource"),
        FinishReason::Error,
        Some("insufficient_system_resource"),
    );
    check_reason(json!("brand_new"), FinishReason::Stop, Some("brand_new"));
    check_reason(json!(null), FinishReason::Stop, None);
    check_reason(json!(""), FinishReason::Stop, None);
}

fn failure(stream: &str) -> Error {
    fold(events(stream.as_bytes(), 5)).unwrap_err()
}

#[test]
fn streams_that_break_end_in_the_right_error() {
    let said = format!("data: {}\n\n", chunk(json!({"content": "x"})));
    assert_eq!(failure(&said).kind(), Kind::Connection);
    assert_eq!(failure("").kind(), Kind::Connection);
    assert_eq!(failure("data: [DONE]\n\n").kind(), Kind::Upstream);
    assert_eq!(failure(&format!("{said}data: {{\"id\":\n\n")).kind(), Kind::Upstream);
    let limited =
        failure(&format!("{said}data: {{\"error\":{{\"message\":\"slow\",\"code\":429}}}}\n\ndata: x\n\n"));
    assert_eq!((limited.kind(), limited.message()), (Kind::RateLimit, "slow"));
    let named = failure("event: error\ndata: {\"message\":\"too much\",\"type\":\"overloaded_error\"}\n\n");
    assert_eq!((named.kind(), named.message()), (Kind::Overloaded, "too much"));
    let plain = failure("{\"error\":{\"message\":\"prompt is too long\",\"type\":\"x\"}}");
    assert_eq!(plain.kind(), Kind::ContextWindow);
    let minimax = failure("{\"base_resp\":{\"status_code\":1008,\"status_msg\":\"no money\"}}");
    assert_eq!((minimax.kind(), minimax.message()), (Kind::Payment, "no money"));
}

#[test]
fn a_stream_without_its_last_line_but_with_a_reason_is_complete() {
    let stream = format!(": hi\n\ndata: {}\n\ndata: {}\n\n", chunk(json!({"content": "x"})), last("stop"));
    assert!(fold(events(stream.as_bytes(), 9)).is_ok());
}

#[test]
fn a_whole_answer_to_a_streaming_request_is_streamed() {
    let body =
        json!({"id": "c", "choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}).to_string();
    let folded = fold(events(format!("\n{body}").as_bytes(), 3)).unwrap();
    assert_eq!(folded, response::decode(body.as_bytes(), &Restore::default()).unwrap());
}

#[test]
fn usage_is_found_wherever_it_stands_and_the_last_counts() {
    for extra in [
        json!({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}),
        json!({"choices": [], "x_groq": {"id": "r", "usage": {"prompt_tokens": 3, "completion_tokens": 2}}}),
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop",
            "usage": {"prompt_tokens": 3, "completion_tokens": 2}}]}),
    ] {
        let first = json!({"id": "c", "choices": [{"index": 0, "delta": {"content": "x"}}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 1}});
        let stream = format!("data: {first}\n\ndata: {extra}\n\ndata: [DONE]\n\n");
        let usage = fold(events(stream.as_bytes(), 11)).unwrap().usage.unwrap();
        assert_eq!((usage.input, usage.output), (3, 2), "{extra}");
        assert_eq!(OpenaiChat.read_usage(extra.to_string().as_bytes()), Some(usage));
    }
}

#[test]
fn a_chunk_with_nothing_but_usage_counts_too() {
    let stream = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3}}\n\n";
    let found = |event: &Event| matches!(event, Event::Usage(usage) if usage.input == 3);
    assert!(events(stream.as_bytes(), 8).iter().any(found));
}

#[test]
fn renamed_tools_get_their_names_back() {
    let restore = Restore { tool_names: [("f_1".to_owned(), "f.1".to_owned())].into(), ..Restore::default() };
    let body = json!({"id": "c", "choices": [{"message": {"tool_calls": [call("a", "f_1", "{}")]}}]});
    let response = response::decode(body.to_string().as_bytes(), &restore).unwrap();
    assert_eq!(shown(&response)["choices"][0]["message"]["tool_calls"][0]["function"]["name"], "f.1");
}

#[test]
fn a_client_stream_has_one_role_a_late_finish_and_usage_only_when_asked() {
    let stream = format!(
        "data: {}\n\ndata: {}\n\ndata: {}\n\ndata: [DONE]\n\n",
        chunk(json!({"role": "assistant", "content": "a"})),
        chunk(json!({"content": "b"})),
        json!({"id": "c1", "system_fingerprint": "fp", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}),
    );
    let events = events(stream.as_bytes(), 50);
    let text = String::from_utf8(streamed(&events)).unwrap();
    let frames: Vec<Value> =
        text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect();
    let deltas: Vec<_> = frames.iter().filter_map(|frame| frame["choices"].get(0)).collect();
    assert_eq!(
        deltas,
        [
            &json!({"index": 0, "delta": {"role": "assistant", "content": "a"}, "finish_reason": null}),
            &json!({"index": 0, "delta": {"content": "b"}, "finish_reason": null}),
            &json!({"index": 0, "delta": {}, "finish_reason": "stop"}),
        ]
    );
    assert_eq!((frames.len(), &frames[3]["choices"]), (4, &json!([])));
    assert_eq!(frames[3]["usage"]["total_tokens"], 2);
    assert_eq!((&frames[2]["system_fingerprint"], &frames[0]["model"]), (&json!("fp"), &json!("group")));
    assert!(text.ends_with("data: [DONE]\n\n"));

    let mut encoder = OpenaiChat.encoder(&View { include_usage: false, ..VIEW });
    let mut bytes = Vec::new();
    events.iter().for_each(|event| encoder.push(event, &mut bytes));
    assert!(!String::from_utf8(bytes).unwrap().contains("usage"));
}

/// What a client that asked with `functions` gets of `body`: the choice of a whole answer, and the deltas of a stream.
fn legacy(body: &Value) -> (Value, Vec<Value>) {
    let view = View { legacy_functions: true, ..VIEW };
    let response = response::decode(body.to_string().as_bytes(), &Restore::default()).unwrap();
    let mut notices = Notices::new();
    let whole: Value =
        serde_json::from_slice(&OpenaiChat.encode_response(&response, &view, &mut notices)).unwrap();
    let (mut encoder, mut bytes) = (OpenaiChat.encoder(&view), Vec::new());
    response.into_events().iter().for_each(|event| encoder.push(event, &mut bytes));
    let text = String::from_utf8(bytes).unwrap();
    let frames = text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok());
    let deltas = frames.filter_map(|frame: Value| frame["choices"].get(0).cloned());
    (whole["choices"][0].clone(), deltas.collect())
}

#[test]
fn a_client_of_functions_gets_a_function_call() {
    let mut signed = call("a", "f", "{\"x\":1}");
    signed["extra_content"] = json!({"google": {"thought_signature": "U0lH"}});
    let body = json!({"id": "c", "choices": [{"index": 0, "finish_reason": "tool_calls",
        "message": {"role": "assistant", "content": null, "tool_calls": [signed, call("b", "g", "{}")]}}]});
    let (whole, deltas) = legacy(&body);
    let called = json!({"name": "f", "arguments": "{\"x\":1}"});
    assert_eq!(whole["message"]["function_call"], called);
    assert_eq!(
        (&whole["finish_reason"], whole["message"].get("tool_calls")),
        (&json!("function_call"), None)
    );
    let signatures = json!({"thought_signatures": ["U0lH"]});
    assert_eq!(whole["message"]["provider_specific_fields"], signatures);
    assert_eq!(deltas[0]["delta"]["function_call"], called);
    assert_eq!(deltas.last().unwrap()["finish_reason"], "function_call");
    assert!(deltas.iter().all(|delta| delta["delta"].get("tool_calls").is_none()), "{deltas:?}");
    assert!(
        deltas.iter().any(|delta| delta["delta"]["provider_specific_fields"] == signatures),
        "{deltas:?}"
    );
}

#[test]
fn sources_without_an_address_are_beside_the_message() {
    let place =
        json!({"type": "char_location", "cited_text": "z", "document_index": 0, "start_char_index": 0});
    let body = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "x", "citations": [place]}], "usage": {"input_tokens": 1, "output_tokens": 1}});
    let anthropic = codec(Dialect::Anthropic);
    let response = anthropic.decode_response(body.to_string().as_bytes(), &Restore::default()).unwrap();
    let message = &shown(&response)["choices"][0]["message"];
    assert_eq!(message["provider_specific_fields"]["citations"], json!([[place]]));
    let text = String::from_utf8(streamed(&response.into_events())).unwrap();
    assert!(text.contains(r#""provider_specific_fields":{"citation":{"#), "{text}");
}

#[test]
fn an_error_in_the_middle_is_a_frame_and_then_the_end() {
    let error = Error::new(Kind::Connection, "gone");
    let start = Event::Start { id: "c".into(), model: "m".into(), created: None };
    let part = Event::PartStart { choice: 0, part: 0, kind: PartKind::Text };
    let text = String::from_utf8(streamed(&[start, part, Event::Error(error), Event::End])).unwrap();
    assert_eq!(
        text,
        "data: {\"error\":{\"message\":\"gone\",\"type\":\"api_connection_error\",\"param\":null,\"code\":\"502\",\
         \"kind\":\"connection_error\"}}\n\ndata: [DONE]\n\n"
    );
}

/// What OpenAI's SDK makes of streamed lists: entries are put together by their `index`, which a second one must have.
#[test]
fn lists_of_a_stream_say_where_their_entries_stand() {
    let thought = |text: &str| json!({"type": "thinking", "thinking": text, "signature": text});
    let source = |url: &str| json!({"type": "url_citation", "url_citation": {"url": url, "title": "t"}});
    let stream: String = [
        chunk(json!({"thinking_blocks": [thought("a")]})),
        chunk(json!({"thinking_blocks": [{"type": "redacted_thinking", "data": "r"}]})),
        chunk(json!({"content": "so"})),
        chunk(json!({"annotations": [source("https://a.test/"), {"index": 1, "type": "x"}]})),
        chunk(json!({"annotations": [source("https://b.test/")]})),
        last("stop"),
    ]
    .iter()
    .map(|chunk| format!("data: {chunk}\n\n"))
    .collect();
    let text = String::from_utf8(streamed(&events(stream.as_bytes(), 50))).unwrap();
    let frames =
        text.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
    let (mut thoughts, mut sources) = (Vec::new(), Vec::new());
    for frame in frames {
        let delta = &frame["choices"][0]["delta"];
        let entries = |name: &str| delta[name].as_array().cloned().unwrap_or_default();
        thoughts.extend(entries("thinking_blocks").iter().map(|entry| entry["index"].as_u64()));
        sources.extend(entries("annotations").iter().map(|entry| entry["index"].as_u64()));
    }
    assert_eq!(thoughts, [Some(0), Some(1)], "{text}");
    assert_eq!(sources, [Some(0), Some(1), Some(2)], "{text}");
}

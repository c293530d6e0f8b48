//! Streams as providers really send them, out of order and cut short, to clients that insist on order.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tollway_model::{Content, Dialect, Event, FinishReason, Kind, Notices, Response};
use tollway_wire::Restore;

use crate::support::{CHATS, VIEW, events, fold, frames, shown};

fn sse(chunks: &[Value]) -> String {
    chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect()
}

/// A Chat Completions stream of these choices' deltas; `[DONE]` at its end.
fn openai(choices: &[Value]) -> String {
    let chunks: Vec<_> = choices
        .iter()
        .map(|choice| json!({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}))
        .collect();
    sse(&chunks) + "data: [DONE]\n\n"
}

fn delta(delta: Value) -> Value {
    json!({"index": 0, "delta": delta, "finish_reason": null})
}

fn tool(index: u64, id: &str, name: &str, arguments: &str) -> Value {
    let mut call = json!({"index": index, "function": {"arguments": arguments}});
    if !id.is_empty() {
        call["id"] = json!(id);
        call["type"] = json!("function");
    }
    if !name.is_empty() {
        call["function"]["name"] = json!(name);
    }
    delta(json!({"tool_calls": [call]}))
}

fn end(reason: &str) -> Value {
    json!({"index": 0, "delta": {}, "finish_reason": reason})
}

fn calls(response: &Response) -> Vec<(String, Value)> {
    let choice = response.first().unwrap();
    let read = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| panic!("not JSON: {text}"));
    choice.tool_calls().map(|call| (call.name.clone(), read(&call.arguments))).collect()
}

/// Checks the order of frames that Anthropic's clients rely on; gives the blocks with their deltas joined.
fn anthropic_grammar(stream: &[u8]) -> Vec<(Value, String)> {
    let mut blocks: Vec<(Value, String)> = Vec::new();
    let (mut begun, mut open, mut stopped, mut over) = (false, false, false, false);
    for frame in frames(stream) {
        assert!(!over, "{frame} after the end");
        match frame["type"].as_str().unwrap() {
            "message_start" => {
                assert!(!begun);
                begun = true;
                assert_eq!(frame["message"]["content"], json!([]));
                assert!(frame["message"]["usage"]["input_tokens"].is_u64());
            }
            "content_block_start" => {
                assert!(begun && !open && !stopped, "{frame}");
                assert_eq!(frame["index"], json!(blocks.len()));
                open = true;
                blocks.push((frame["content_block"].clone(), String::new()));
            }
            "content_block_delta" => {
                assert!(open, "{frame}");
                assert_eq!(frame["index"], json!(blocks.len() - 1));
                let (block, text) = blocks.last_mut().unwrap();
                let (kind, field) = match frame["delta"]["type"].as_str().unwrap() {
                    "text_delta" => ("text", "text"),
                    "thinking_delta" => ("thinking", "thinking"),
                    "signature_delta" => ("thinking", ""),
                    "input_json_delta" => ("tool_use", "partial_json"),
                    other => panic!("{other}"),
                };
                assert_eq!(block["type"], kind);
                text.push_str(frame["delta"][field].as_str().unwrap_or_default());
            }
            "content_block_stop" => {
                assert!(open, "{frame}");
                assert_eq!(frame["index"], json!(blocks.len() - 1));
                open = false;
            }
            "message_delta" => {
                assert!(!open && !stopped, "{frame}");
                assert!(
                    frame["delta"]["stop_reason"].is_string() && frame["usage"]["output_tokens"].is_u64(),
                    "{frame}"
                );
                stopped = true;
            }
            "message_stop" => {
                assert!(stopped);
                over = true;
            }
            "ping" => {}
            other => panic!("{other}"),
        }
    }
    assert!(over, "the stream has no end");
    blocks
}

/// Reads the stream in any chunking, shows it to every client, and gives what all of them get.
fn check(target: Dialect, stream: &str) -> Response {
    let restore = Restore::default();
    let whole = events(target, stream.as_bytes(), usize::MAX, &restore);
    for size in [1, 3, 50] {
        let other = events(target, stream.as_bytes(), size, &restore);
        assert_eq!(format!("{other:?}"), format!("{whole:?}"), "cut into {size} bytes");
    }
    let response = fold(whole.clone()).unwrap();
    for surface in CHATS {
        let bytes = shown(surface, &whole);
        let got =
            fold(events(surface, &bytes, 11, &restore)).unwrap_or_else(|error| panic!("{surface}: {error}"));
        let choice = |response: &Response| response.first().unwrap().text();
        assert_eq!(choice(&got), choice(&response), "{surface}: {}", String::from_utf8_lossy(&bytes));
        assert_eq!(calls(&got), calls(&response), "{surface}: {}", String::from_utf8_lossy(&bytes));
        if surface == Dialect::Anthropic {
            let blocks = anthropic_grammar(&bytes);
            let inputs = blocks.iter().filter(|(block, _)| block["type"] == "tool_use");
            let inputs: Vec<(String, Value)> = inputs
                .map(|(block, text)| {
                    let text = if text.is_empty() { "{}" } else { text };
                    (block["name"].as_str().unwrap().to_owned(), serde_json::from_str(text).unwrap())
                })
                .collect();
            assert_eq!(inputs, calls(&response));
        }
        if surface == Dialect::OpenaiResponses {
            // The whole answer is what the stream ends in.
            let streamed = crate::responses::grammar(&bytes);
            let written = tollway_wire::codec(surface).encode_response(&response, &VIEW, &mut Notices::new());
            assert_eq!(streamed, serde_json::from_slice::<Value>(&written).unwrap());
        }
        if surface == Dialect::OpenaiChat {
            let mut heads: BTreeMap<u64, u64> = BTreeMap::new();
            let all = frames(&bytes);
            let parts = all.iter().filter_map(|frame| frame["choices"][0]["delta"]["tool_calls"].as_array());
            for call in parts.flatten() {
                let index = call["index"].as_u64().unwrap();
                let seen = heads.len() as u64;
                let count = heads.entry(index).or_default();
                assert!(index < seen || (index == seen && *count == 0), "{call} comes out of order");
                assert_eq!(*count == 0, call["function"]["name"].is_string(), "{call}: one head, and first");
                *count += 1;
            }
        }
    }
    response
}

fn finish(response: &Response) -> FinishReason {
    response.first().unwrap().finish.unwrap()
}

#[test]
fn parallel_calls_may_interleave() {
    let read = check(
        Dialect::OpenaiChat,
        &openai(&[
            delta(json!({"role": "assistant", "content": "Both."})),
            tool(0, "a", "f", ""),
            tool(1, "b", "g", ""),
            tool(1, "", "", "{\"y\""),
            tool(0, "", "", "{\"x\":"),
            tool(1, "", "", ":2}"),
            tool(0, "", "", "1}"),
            end("tool_calls"),
        ]),
    );
    assert_eq!(calls(&read), [("f".to_owned(), json!({"x": 1})), ("g".to_owned(), json!({"y": 2}))]);
    assert_eq!(finish(&read), FinishReason::ToolCalls);
}

#[test]
fn calls_may_be_numbered_as_a_host_likes() {
    let expected = [("f".to_owned(), json!({"x": 1})), ("g".to_owned(), json!({}))];
    let streams = [
        // From 1, with a gap.
        vec![tool(1, "a", "f", "{\"x\":1}"), tool(5, "b", "g", "{}"), end("tool_calls")],
        // All 0.
        vec![tool(0, "a", "f", "{\"x\":1}"), tool(0, "b", "g", "{}"), end("tool_calls")],
        // Arguments before the name.
        vec![tool(0, "a", "", "{\"x\""), tool(0, "", "f", ":1}"), tool(1, "b", "g", ""), end("tool_calls")],
        // No arguments, the role again and again, empty pieces between, and a finish that does not know.
        vec![
            delta(json!({"role": "assistant", "content": ""})),
            delta(json!({"role": "assistant"})),
            delta(json!({})),
            tool(0, "a", "f", ""),
            delta(json!({"role": "assistant", "content": null})),
            tool(0, "a", "f", "{\"x\":1}"),
            tool(1, "b", "g", ""),
            tool(1, "", "", ""),
            end("stop"),
        ],
        // Text between the fragments.
        vec![
            tool(0, "a", "f", "{\"x\":"),
            delta(json!({"content": ""})),
            tool(0, "", "", "1}"),
            tool(1, "b", "g", "{}"),
            end("tool_calls"),
        ],
        // Everything in the last chunk.
        vec![json!({"index": 0, "finish_reason": "tool_calls", "delta": {"tool_calls": [
            {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}},
            {"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}}]}})],
    ];
    for stream in streams {
        let read = check(Dialect::OpenaiChat, &openai(&stream));
        assert_eq!(calls(&read), expected, "{stream:?}");
        assert_eq!(finish(&read), FinishReason::ToolCalls, "{stream:?}");
    }
}

#[test]
fn text_may_come_with_the_finish_and_usage_before_it() {
    let usage = json!({"id": "c1", "object": "chat.completion.chunk", "model": "m", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}});
    let last = json!({"index": 0, "delta": {"content": " you"}, "finish_reason": "stop"});
    let stream = sse(&[usage]) + &openai(&[delta(json!({"content": "Thank"})), last]);
    let read = check(Dialect::OpenaiChat, &stream);
    assert_eq!(read.first().unwrap().text(), "Thank you");
    assert_eq!(read.usage.unwrap().total(), 7);
}

#[test]
fn a_stream_without_a_finish_ends_well_only_with_done() {
    let read = check(Dialect::OpenaiChat, &openai(&[delta(json!({"content": "x"}))]));
    assert_eq!(finish(&read), FinishReason::Stop);
    let cut = openai(&[delta(json!({"content": "x"}))]).replace("data: [DONE]\n\n", "");
    for surface in CHATS {
        let arriving = events(Dialect::OpenaiChat, cut.as_bytes(), 5, &Restore::default());
        assert!(matches!(arriving.last(), Some(Event::Error(_))), "{arriving:?}");
        let bytes = shown(surface, &arriving);
        let error = fold(events(surface, &bytes, 9, &Restore::default())).unwrap_err();
        assert!(
            matches!(error.kind(), Kind::Connection | Kind::Upstream | Kind::Unavailable),
            "{surface}: {error:?}"
        );
    }
}

fn gemini(candidates: Value) -> Value {
    json!({"candidates": candidates, "modelVersion": "gemini-3-pro-preview", "responseId": "r1"})
}

#[test]
fn gemini_may_finish_before_its_calls_and_send_pieces_of_nothing() {
    let part = |part: Value| json!([{"content": {"parts": [part], "role": "model"}, "index": 0}]);
    let call = |name: &str| json!({"functionCall": {"name": name, "args": {"x": 1}}});
    let mut finished = part(json!({"text": "So."}));
    finished[0]["finishReason"] = json!("STOP");
    let used = json!({"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4, "totalTokenCount": 7}, "responseId": "r1"});
    let stream = sse(&[
        used.clone(),
        gemini(part(json!({"text": "", "thought": true}))),
        gemini(finished),
        gemini(part(call("f"))),
        gemini(json!([{"index": 0, "safetyRatings": []}])),
        gemini(part(call("g"))),
        gemini(part(json!({"text": "", "thoughtSignature": "CpMB"}))),
        used,
    ]);
    let read = check(Dialect::Gemini, &stream);
    assert_eq!(calls(&read), [("f".to_owned(), json!({"x": 1})), ("g".to_owned(), json!({"x": 1}))]);
    assert_eq!((read.first().unwrap().text().as_str(), finish(&read)), ("So.", FinishReason::ToolCalls));
    assert_eq!(read.usage.unwrap().total(), 7);
}

#[test]
fn geminis_candidates_may_take_turns() {
    let said = |index: u64, text: &str, finish: Option<&str>| {
        let mut one = json!({"content": {"parts": [{"text": text}], "role": "model"}, "index": index});
        if let Some(finish) = finish {
            one["finishReason"] = json!(finish);
        }
        one
    };
    let stream = sse(&[
        gemini(json!([said(1, "b", None)])),
        gemini(json!([said(0, "a", None), said(1, "b", Some("STOP"))])),
        gemini(json!([said(0, "a", Some("MAX_TOKENS"))])),
    ]);
    let read = check(Dialect::Gemini, &stream);
    let texts: Vec<_> = read.choices.iter().map(|choice| (choice.text(), choice.finish.unwrap())).collect();
    assert_eq!(texts, [("aa".to_owned(), FinishReason::Length), ("bb".to_owned(), FinishReason::Stop)]);
    // All of them reach a client that can show several.
    let arriving = events(Dialect::Gemini, stream.as_bytes(), 40, &Restore::default());
    let got =
        fold(events(Dialect::OpenaiChat, &shown(Dialect::OpenaiChat, &arriving), 8, &Restore::default()))
            .unwrap();
    assert_eq!(got.choices.len(), 2);
    assert_eq!(got.choices[1].text(), "bb");
}

#[test]
fn a_refused_prompt_is_an_answer_of_no_words() {
    let blocked = json!({"promptFeedback": {"blockReason": "SAFETY"}, "responseId": "r1",
        "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3}});
    let read = check(Dialect::Gemini, &sse(&[blocked]));
    assert_eq!(finish(&read), FinishReason::ContentFilter);
    assert!(
        read.first()
            .unwrap()
            .parts
            .iter()
            .all(|part| matches!(&part.content, Content::Text { text, .. } if text.is_empty()))
    );
}

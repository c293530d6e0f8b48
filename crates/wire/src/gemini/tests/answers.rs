//! What providers answer, and what clients get.

use serde_json::{Value, json};
use tollway_model::{
    Choice, Citation, Content, Dialect, Event, FinishReason, Kind, Media, Notices, Part, RawJson, Response,
    Signature, ToolCall, ToolKind, Usage,
};

use super::{decode_stream, encode_stream, fold, view};
use crate::gemini::Gemini;
use crate::{Codec, Framing, Restore};

fn read(body: &Value) -> Response {
    Gemini.decode_response(body.to_string().as_bytes(), &Restore::default()).unwrap()
}

fn sse(pieces: &[Value]) -> Vec<u8> {
    pieces.iter().flat_map(|piece| format!("data: {piece}\r\n\r\n").into_bytes()).collect()
}

fn shown(response: &Response) -> Value {
    let bytes = Gemini.encode_response(response, &view(Framing::Sse), &mut Notices::new());
    serde_json::from_slice(&bytes).unwrap()
}

fn piece(parts: Value) -> Value {
    json!({"candidates": [{"content": {"role": "model", "parts": parts}}], "responseId": "r1", "modelVersion": "m"})
}

fn last(parts: Value, reason: &str) -> Value {
    let mut piece = piece(parts);
    piece["candidates"][0]["finishReason"] = json!(reason);
    piece["usageMetadata"] = json!({"promptTokenCount": 3, "candidatesTokenCount": 4, "totalTokenCount": 7});
    piece
}

#[test]
fn an_answer_with_thoughts_calls_and_signatures_is_read_and_shown() {
    let body = json!({
        "candidates": [{"content": {"role": "model", "parts": [
            {"text": "hm", "thought": true},
            {"text": "Let me look."},
            {"functionCall": {"name": "wx", "args": {"city": "Oslo"}}, "thoughtSignature": "Q0FF"},
            {"functionCall": {"name": "wx", "args": {"city": "Bergen"}}}
        ]}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4, "thoughtsTokenCount": 5, "totalTokenCount": 12},
        "modelVersion": "gemini-3-pro-preview", "responseId": "r1"
    });
    let response = read(&body);
    assert_eq!((response.id.as_str(), response.model.as_str()), ("r1", "gemini-3-pro-preview"));
    let choice = &response.choices[0];
    assert_eq!(choice.finish, Some(FinishReason::ToolCalls));
    assert_eq!(choice.native_finish.as_deref(), Some("STOP"));
    let Content::ToolCall(call) = &choice.parts[2].content else { panic!() };
    assert_eq!((call.id.as_str(), call.arguments.as_str()), ("call_r1_0", "{\"city\":\"Oslo\"}"));
    assert_eq!(call.signature, Some(Signature { origin: Dialect::Gemini, value: "Q0FF".into() }));
    assert_eq!(response.usage, Some(Usage { input: 3, output: 4, reasoning: 5, ..Usage::default() }));
    let mut expected = body;
    expected["modelVersion"] = json!("shown");
    expected["candidates"][0]["content"]["parts"][2]["functionCall"]["id"] = json!("call_r1_0");
    expected["candidates"][0]["content"]["parts"][3]["functionCall"]["id"] = json!("call_r1_1");
    assert_eq!(shown(&response), expected);
}

#[test]
fn a_stream_folds_into_the_whole_answer() {
    let pieces = [
        piece(json!([{"text": "hm ", "thought": true}])),
        piece(json!([{"text": "well", "thought": true}])),
        piece(json!([{"text": "Hel"}])),
        piece(json!([{"text": "lo"}])),
        piece(json!([{"text": "", "thoughtSignature": "U0lH"}])),
        piece(json!([{"functionCall": {"name": "f", "args": {"a": 1}}}, {"functionCall": {"name": "g"}}])),
        last(json!([{"text": ""}]), "STOP"),
        json!({"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 9, "totalTokenCount": 12}}),
    ];
    let whole = read(&{
        let mut body = last(
            json!([
                {"text": "hm well", "thought": true}, {"text": "Hello", "thoughtSignature": "U0lH"},
                {"functionCall": {"name": "f", "args": {"a": 1}}}, {"functionCall": {"name": "g"}}
            ]),
            "STOP",
        );
        body["usageMetadata"] =
            json!({"promptTokenCount": 3, "candidatesTokenCount": 9, "totalTokenCount": 12});
        body
    });
    let bytes = sse(&pieces);
    assert_eq!(fold(decode_stream(&bytes, &[])).unwrap(), whole);
    let array = Value::from(pieces.to_vec()).to_string();
    assert_eq!(fold(decode_stream(array.as_bytes(), &[])).unwrap(), whole);
    for size in [1, 2, 3, 7, 50] {
        let cuts: Vec<usize> = (0..bytes.len()).step_by(size).collect();
        assert_eq!(fold(decode_stream(&bytes, &cuts)).unwrap(), whole);
        assert_eq!(fold(decode_stream(array.as_bytes(), &cuts)).unwrap(), whole);
    }
}

#[test]
fn text_arrives_as_it_comes_and_usage_is_known_on_the_way() {
    let mut first = piece(json!([{"text": "Hel"}]));
    first["usageMetadata"] = json!({"promptTokenCount": 3});
    let mut decoder = Gemini.decoder(Restore::default());
    let mut events = Vec::new();
    decoder.push(&sse(&[first]), &mut events);
    assert!(matches!(events[2], Event::Delta { .. }), "{events:?}");
    assert!(matches!(events[3], Event::Usage(Usage { input: 3, .. })), "{events:?}");
}

#[test]
fn a_broken_stream_ends_in_an_error() {
    let kind = |bytes: &[u8]| fold(decode_stream(bytes, &[])).unwrap_err().kind();
    assert_eq!(kind(&sse(&[piece(json!([{"text": "Hel"}]))])), Kind::Connection);
    assert_eq!(kind(b""), Kind::Connection);
    assert_eq!(kind(b"data: {\"candidates\":\n\n"), Kind::Upstream);
    assert_eq!(kind(b"[{\"candidates\": [{\"content\""), Kind::Connection);
    let overloaded =
        json!({"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}});
    let bytes = sse(&[piece(json!([{"text": "Hel"}])), overloaded.clone(), last(json!([]), "STOP")]);
    assert_eq!(kind(&bytes), Kind::Overloaded);
    assert_eq!(kind(&sse(&[json!([overloaded])])), Kind::Overloaded);
    let refused = Gemini.decode_response(overloaded.to_string().as_bytes(), &Restore::default());
    assert_eq!(refused.unwrap_err().kind(), Kind::Overloaded);
    let empty = Gemini.decode_response(br#"{"usageMetadata":{}}"#, &Restore::default());
    assert_eq!(empty.unwrap_err().kind(), Kind::Upstream);
    assert!(Gemini.decode_response(b"not json", &Restore::default()).is_err());
}

#[test]
fn a_blocked_prompt_is_an_empty_answer_of_the_filter() {
    let body = json!({
        "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
        "usageMetadata": {"promptTokenCount": 8, "candidatesTokenCount": 0, "totalTokenCount": 8},
        "modelVersion": "shown", "responseId": "r1"
    });
    let response = read(&body);
    assert_eq!(response.choices[0].finish, Some(FinishReason::ContentFilter));
    assert_eq!(response.choices[0].native_finish.as_deref(), Some("PROHIBITED_CONTENT"));
    assert!(response.choices[0].parts.is_empty());
    assert_eq!(shown(&response), body);
    let streamed = fold(decode_stream(&sse(&[body]), &[])).unwrap();
    assert_eq!(streamed, response);
    let again = fold(decode_stream(&encode_stream(response.clone(), Framing::Sse), &[])).unwrap();
    assert_eq!(again.choices, response.choices);
}

#[test]
fn grounding_becomes_citations_and_comes_back_whole() {
    let grounding = json!({
        "webSearchQueries": ["størst by", "norge"],
        "groundingChunks": [{"web": {"uri": "https://a.example", "title": "a.example"}}],
        "groundingSupports": [{"segment": {"startIndex": 0, "endIndex": 6, "text": "Større"}, "groundingChunkIndices": [0]},
            {"segment": {"startIndex": 8, "endIndex": 12, "text": "Oslo"}, "groundingChunkIndices": [0]}]
    });
    let mut body = last(json!([{"text": "Større Oslo"}]), "STOP");
    body["candidates"][0]["groundingMetadata"] = grounding.clone();
    body["candidates"][0]["safetyRatings"] = json!([]);
    body["usageMetadata"]["toolUsePromptTokenCount"] = json!(100);
    let response = read(&body);
    let Content::Text { citations, .. } = &response.choices[0].parts[0].content else { panic!() };
    assert_eq!(citations[1].url.as_deref(), Some("https://a.example"));
    assert_eq!((citations[1].start, citations[1].end), (Some(7), Some(11)));
    let usage = response.usage.unwrap();
    assert_eq!((usage.input, usage.web_searches), (3, 2));
    assert_eq!(Gemini.read_usage(body.to_string().as_bytes()), Some(usage));
    assert_eq!(shown(&response)["candidates"][0]["groundingMetadata"], grounding);
    let streamed = [piece(json!([{"text": "Større "}])), {
        let mut end = body.clone();
        end["candidates"][0]["content"]["parts"] = json!([{"text": "Oslo"}]);
        end
    }];
    assert_eq!(fold(decode_stream(&sse(&streamed), &[])).unwrap(), response);
}

#[test]
fn candidates_pictures_sounds_and_native_parts_are_read() {
    let body = json!({"candidates": [
        {"index": 0, "finishReason": "MAX_TOKENS", "content": {"parts": [
            {"inlineData": {"mimeType": "image/png", "data": "AAAA"}, "thoughtSignature": "U0lH"},
            {"executableCode": {"language": "PYTHON", "code": "print(1)"}}
        ]}},
        {"index": 1, "finishReason": "SAFETY", "content": {"parts": [
            {"inlineData": {"mimeType": "audio/L16;rate=24000", "data": "AAAA"}},
            {"inlineData": {"mimeType": "audio/L16;rate=24000", "data": "BBBB"}},
            {"functionCall": {"name": "f"}}
        ]}}
    ], "responseId": "r", "modelVersion": "m"});
    let response = read(&body);
    let first = &response.choices[0];
    assert_eq!(first.finish, Some(FinishReason::Length));
    assert!(matches!(first.parts[0].content, Content::Image(_)));
    assert!(matches!(&first.parts[1].content, Content::Text { signature: Some(_), .. }));
    assert!(matches!(first.parts[2].content, Content::Native { dialect: Dialect::Gemini, .. }));
    let second = &response.choices[1];
    let Content::Audio(media) = &second.parts[0].content else { panic!() };
    assert_eq!(media.source, tollway_model::MediaSource::Base64("AAAABBBB".into()));
    let Content::ToolCall(call) = &second.parts[1].content else { panic!() };
    assert_eq!(call.id, "call_r_1_0");
    assert_eq!(read(&shown(&response)).choices, response.choices);
}

#[test]
fn renamed_tools_get_their_names_back() {
    let restore = Restore {
        tool_names: [("get_x".to_owned(), "get x".to_owned())].into(),
        custom_tools: ["patch".to_owned()].into(),
        ..Restore::default()
    };
    let calls = json!([{"functionCall": {"name": "get_x", "args": {}}}, {"functionCall": {"name": "patch", "args": {"input": "a\nb"}}}]);
    let body = last(calls, "STOP").to_string();
    let response = Gemini.decode_response(body.as_bytes(), &restore).unwrap();
    let Content::ToolCall(call) = &response.choices[0].parts[0].content else { panic!() };
    assert_eq!((call.name.as_str(), call.kind), ("get x", ToolKind::Function));
    let Content::ToolCall(call) = &response.choices[0].parts[1].content else { panic!() };
    assert_eq!((call.arguments.as_str(), call.kind), ("a\nb", ToolKind::Custom));
}

#[test]
fn answers_of_other_dialects_are_shown_in_geminis_form() {
    let call = |arguments: &str| {
        Part::new(Content::ToolCall(ToolCall {
            id: "toolu_1".into(),
            name: "f".into(),
            arguments: arguments.into(),
            kind: ToolKind::Function,
            signature: None,
        }))
    };
    let citation =
        Citation { url: Some("https://a.example".into()), title: Some("A".into()), ..Citation::default() };
    let response = Response {
        id: "msg_1".into(),
        created: Some(1_700_000_000),
        choices: vec![Choice {
            parts: vec![
                Part::new(Content::Reasoning {
                    text: "hm".into(),
                    signature: Some(Signature { origin: Dialect::Anthropic, value: "ErU=".into() }),
                    redacted: false,
                }),
                Part::new(Content::Text { text: "Å ja".into(), citations: vec![citation], signature: None }),
                call("{\"a\":1}"),
                call("{\"a\":"),
            ],
            finish: Some(FinishReason::ToolCalls),
            native_finish: Some("tool_use".into()),
            ..Choice::default()
        }],
        usage: Some(Usage {
            input: 2,
            cache_read: 3,
            cache_write: 4,
            output: 5,
            reasoning: 6,
            ..Usage::default()
        }),
        ..Response::default()
    };
    let mut notices = Notices::new();
    let bytes = Gemini.encode_response(&response, &view(Framing::Sse), &mut notices);
    let signature = super::super::signature::write(
        &Signature { origin: Dialect::Anthropic, value: "ErU=".into() },
        false,
    )
    .into_owned();
    assert_eq!(
        serde_json::from_slice::<Value>(&bytes).unwrap(),
        json!({
            "candidates": [{
                "content": {"role": "model", "parts": [
                    {"text": "hm", "thought": true, "thoughtSignature": signature},
                    {"text": "Å ja"},
                    {"functionCall": {"id": "toolu_1", "name": "f", "args": {"a": 1}}},
                    {"functionCall": {"id": "toolu_1", "name": "f", "args": {"arguments": "{\"a\":"}}}
                ]},
                "finishReason": "STOP", "index": 0,
                "groundingMetadata": {
                    "groundingChunks": [{"web": {"uri": "https://a.example", "title": "A"}}],
                    "groundingSupports": [{"segment": {"endIndex": 5, "text": "Å ja"}, "groundingChunkIndices": [0]}]
                }
            }],
            "usageMetadata": {
                "promptTokenCount": 9, "candidatesTokenCount": 5, "totalTokenCount": 20,
                "cachedContentTokenCount": 3, "thoughtsTokenCount": 6
            },
            "modelVersion": "shown", "createTime": "2023-11-14T22:13:20Z", "responseId": "msg_1"
        })
    );
    assert_eq!(super::listed(&notices).len(), 1);
    let history = json!({"contents": [shown(&response)["candidates"][0]["content"]]}).to_string();
    let request = Gemini.decode_request(history.as_bytes()).unwrap();
    assert_eq!(request.messages[0].parts[0], response.choices[0].parts[0]);
}

#[test]
fn streams_for_clients_hold_calls_whole_and_end_with_the_reason() {
    let event = |kind| Event::PartStart { choice: 0, part: 0, kind };
    let mut encoder = Gemini.encoder(&view(Framing::JsonArray));
    let mut bytes = Vec::new();
    for event in [
        Event::Start { id: String::new(), model: "m".into(), created: None },
        event(tollway_model::PartKind::ToolCall {
            id: "c".into(),
            name: "f".into(),
            kind: ToolKind::Function,
        }),
        Event::Delta { choice: 0, part: 0, delta: tollway_model::Delta::Arguments("{\"a\"".into()) },
        Event::Delta { choice: 0, part: 0, delta: tollway_model::Delta::Arguments(":1}".into()) },
        Event::PartEnd { choice: 0, part: 0 },
        Event::Finish { choice: 0, reason: FinishReason::ToolCalls, native: None, stop_sequence: None },
        Event::Usage(Usage { input: 1, output: 2, ..Usage::default() }),
        Event::End,
    ] {
        encoder.push(&event, &mut bytes);
    }
    assert_eq!(encoder.content_type(), "application/json");
    assert_eq!(
        serde_json::from_slice::<Value>(&bytes).unwrap(),
        json!([
            {"candidates": [{"content": {"role": "model", "parts": [{"functionCall": {"id": "c", "name": "f", "args": {"a": 1}}}]}, "index": 0}],
                "modelVersion": "shown", "responseId": "made"},
            {"candidates": [{"content": {"role": "model", "parts": [{"text": ""}]}, "finishReason": "STOP", "index": 0}],
                "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2, "totalTokenCount": 3},
                "modelVersion": "shown", "responseId": "made"}
        ])
    );
}

#[test]
fn a_failure_in_the_stream_is_shown_as_an_error() {
    for (framing, start, end) in
        [(Framing::Sse, "data: {\"error\":", "}\n\n"), (Framing::JsonArray, "[{\"error\":", "}]")]
    {
        let mut encoder = Gemini.encoder(&view(framing));
        let mut bytes = Vec::new();
        encoder.push(&Event::Error(tollway_model::Error::new(Kind::Overloaded, "busy")), &mut bytes);
        encoder.push(&Event::End, &mut bytes);
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with(start) && text.ends_with(end), "{text}");
        assert!(text.contains("\"status\":\"UNAVAILABLE\"") && text.contains("\"code\":503"), "{text}");
        assert_eq!(fold(decode_stream(text.as_bytes(), &[])).unwrap_err().kind(), Kind::Unavailable);
    }
}

#[test]
fn log_probabilities_survive_both_ways() {
    let mut body = last(json!([{"text": "Hi"}]), "STOP");
    body["candidates"][0]["logprobsResult"] = json!({"chosenCandidates": [{"token": "Hi", "logProbability": -0.5}], "topCandidates": [{"candidates": [{"token": "Hi", "logProbability": -0.5}]}]});
    let response = read(&body);
    assert!(response.choices[0].logprobs.is_some());
    assert_eq!(shown(&response)["candidates"][0]["logprobsResult"], body["candidates"][0]["logprobsResult"]);
    let streamed = fold(decode_stream(&encode_stream(response.clone(), Framing::Sse), &[])).unwrap();
    assert_eq!(streamed.choices, response.choices);
}

#[test]
fn media_of_other_dialects_is_shown() {
    let response = Response {
        choices: vec![Choice {
            parts: vec![
                Part::new(Content::Image(Media::url("https://a.example/x.png"))),
                Part::new(Content::Native { dialect: Dialect::Anthropic, json: RawJson::from(json!({})) }),
            ],
            finish: Some(FinishReason::Stop),
            ..Choice::default()
        }],
        ..Response::default()
    };
    let mut notices = Notices::new();
    let bytes = Gemini.encode_response(&response, &view(Framing::Sse), &mut notices);
    let body: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(
        body["candidates"][0]["content"]["parts"],
        json!([{"fileData": {"mimeType": "image/png", "fileUri": "https://a.example/x.png"}}])
    );
    assert_eq!(notices.iter().count(), 1);
}

#[test]
fn indented_answers_make_unbroken_events_and_compact_arguments() {
    let mut body = last(
        json!([{"functionCall": {"name": "f", "args": {"a": [1, "b c"]}}}, {"executableCode": {"code": "1"}}]),
        "STOP",
    );
    body["promptFeedback"] = json!({"safetyRatings": [{}]});
    let indented = serde_json::to_string_pretty(&body).unwrap();
    let response = Gemini.decode_response(indented.as_bytes(), &Restore::default()).unwrap();
    let Content::ToolCall(call) = &response.choices[0].parts[0].content else { panic!() };
    assert_eq!(call.arguments, "{\"a\":[1,\"b c\"]}");
    let mut expected = response.clone();
    expected.model = "shown".into();
    assert_eq!(fold(decode_stream(&encode_stream(response, Framing::Sse), &[])).unwrap(), expected);
}

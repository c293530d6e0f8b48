//! Properties of the codec on made-up answers and bytes.

use proptest::prelude::*;
use serde_json::{Value, json};
use tollway_model::{
    Choice, Content, Dialect, Extras, FinishReason, Media, Message, Notices, OutputFormat, Part, RawJson,
    Reasoning, Request, Response, Role, Signature, Tool, ToolCall, ToolChoice, ToolKind, ToolResult, Usage,
    WebSearch,
};

use super::{decode_stream, encode_stream, fold, view};
use crate::gemini::Gemini;
use crate::{Codec, Framing, Restore};

fn signature() -> impl Strategy<Value = Option<Signature>> {
    let origin = prop_oneof![Just(Dialect::Gemini), Just(Dialect::Anthropic), Just(Dialect::OpenaiChat)];
    proptest::option::of((origin, "[A-Za-z0-9+/]{4}").prop_map(|(origin, value)| Signature { origin, value }))
}

fn content() -> impl Strategy<Value = Content> {
    prop_oneof![
        ("\\PC{1,12}", signature()).prop_map(|(text, signature)| Content::Text {
            text,
            citations: vec![],
            signature
        }),
        ("\\PC{1,12}", signature()).prop_map(|(text, signature)| Content::Reasoning {
            text,
            signature,
            redacted: false
        }),
        "[A-Za-z0-9+/]{4}".prop_map(|value| Content::Reasoning {
            text: String::new(),
            signature: Some(Signature { origin: Dialect::Anthropic, value }),
            redacted: true
        }),
        ("[a-z]{1,4}", "\\PC{0,8}", signature()).prop_map(|(name, text, signature)| {
            let arguments = json!({ "a": text }).to_string();
            Content::ToolCall(ToolCall {
                id: format!("c_{name}"),
                name,
                arguments,
                kind: ToolKind::Function,
                signature,
            })
        }),
        Just(Content::Image(Media::base64("image/png", "AAAA"))),
    ]
}

/// Neighbours that Gemini's form cannot tell apart are one part in the model.
fn mergeable(one: &Content, two: &Content) -> bool {
    match (one, two) {
        (Content::Text { signature, .. }, Content::Text { .. }) => signature.is_none(),
        (Content::Reasoning { signature, .. }, Content::Reasoning { redacted, .. }) => {
            signature.is_none() && !redacted
        }
        _ => false,
    }
}

fn response() -> impl Strategy<Value = Response> {
    let parts = proptest::collection::vec(content(), 0..6);
    let reason =
        prop_oneof![Just(FinishReason::Stop), Just(FinishReason::Length), Just(FinishReason::ContentFilter)];
    let choices = proptest::collection::vec((parts, reason), 1..3);
    (choices, "[a-z]{1,5}", proptest::option::of((0..99_u64, 0..99_u64, 0..99_u64, 0..99_u64))).prop_map(
        |(choices, id, usage)| {
            let choices =
                (0..).zip(choices).map(|(index, (contents, reason))| choice(index, contents, reason));
            Response {
                id,
                model: "shown".into(),
                choices: choices.collect(),
                usage: usage.map(|(input, cache_read, output, reasoning)| Usage {
                    input,
                    cache_read,
                    output,
                    reasoning,
                    ..Usage::default()
                }),
                ..Response::default()
            }
        },
    )
}

fn choice(index: u32, contents: Vec<Content>, reason: FinishReason) -> Choice {
    let mut kept: Vec<Content> = Vec::new();
    for content in contents {
        if !kept.last().is_some_and(|last| mergeable(last, &content)) {
            kept.push(content);
        }
    }
    let calls = kept.iter().any(|content| matches!(content, Content::ToolCall(_)));
    let finish = if calls { FinishReason::ToolCalls } else { reason };
    let native = match finish {
        FinishReason::Length => "MAX_TOKENS",
        FinishReason::ContentFilter => "SAFETY",
        _ => "STOP",
    };
    Choice {
        index,
        parts: kept.into_iter().map(Part::new).collect(),
        finish: Some(finish),
        native_finish: Some(native.into()),
        ..Choice::default()
    }
}

fn media() -> impl Strategy<Value = Content> {
    prop_oneof![
        Just(Content::Image(Media::base64("image/png", "AAAA"))),
        Just(Content::Audio(Media::base64("audio/wav", "AAAA"))),
        Just(Content::Video(Media {
            media_type: Some("video/mp4".into()),
            ..Media::url("gs://bucket/film")
        })),
        Just(Content::File(Media {
            media_type: Some("application/pdf".into()),
            ..Media::url("https://a.example/b")
        })),
    ]
}

fn plain_text() -> impl Strategy<Value = Content> {
    "\\PC{1,9}".prop_map(|text| Content::Text { text, citations: vec![], signature: None })
}

/// Turns as a Gemini client sends them: a question, perhaps calls and their results, perhaps an answer.
fn conversation() -> impl Strategy<Value = Vec<Message>> {
    let question = proptest::collection::vec(prop_oneof![plain_text(), media()], 1..3);
    let calls = proptest::collection::vec(("[a-c]", "\\PC{0,6}", "[a-z ]{0,9}", any::<bool>()), 0..4);
    let turn = (question, calls, plain_text());
    proptest::collection::vec(turn, 1..4).prop_map(|turns| {
        let mut messages = Vec::new();
        let mut number = 0;
        for (question, calls, answer) in turns {
            messages.push(Message::new(Role::User, question.into_iter().map(Part::new).collect()));
            let (mut asked, mut told) = (Vec::new(), Vec::new());
            for (name, value, result, failed) in calls {
                number += 1;
                let id = format!("call_{number}");
                asked.push(Part::new(Content::ToolCall(ToolCall {
                    id: id.clone(),
                    name: name.clone(),
                    arguments: json!({ "a": value }).to_string(),
                    kind: ToolKind::Function,
                    signature: Some(Signature { origin: Dialect::Gemini, value: format!("{number:04}") }),
                })));
                told.push(Part::new(Content::ToolResult(ToolResult {
                    call_id: id,
                    name: Some(name),
                    parts: (failed || !result.is_empty()).then(|| Part::text(result)).into_iter().collect(),
                    is_error: failed.then_some(true),
                })));
            }
            if !asked.is_empty() {
                messages.push(Message::new(Role::Assistant, asked));
                messages.push(Message::new(Role::Tool, told));
            }
            messages.push(Message::new(Role::Assistant, vec![Part::new(answer)]));
        }
        messages
    })
}

fn request() -> impl Strategy<Value = Request> {
    let numbers =
        (proptest::option::of(0..9_u64), proptest::option::of(-9..9_i64), proptest::option::of(1..9_u32));
    let reasoning = prop_oneof![
        Just(None),
        Just(Some(Reasoning { disabled: true, ..Reasoning::default() })),
        Just(Some(Reasoning { adaptive: true, show: Some(true), ..Reasoning::default() })),
        (1..9999_u64)
            .prop_map(|budget| Some(Reasoning { budget_tokens: Some(budget), ..Reasoning::default() })),
    ];
    let choice = prop_oneof![
        Just(None),
        Just(Some(ToolChoice::Auto)),
        Just(Some(ToolChoice::Required)),
        Just(Some(ToolChoice::Named("a".into()))),
        Just(Some(ToolChoice::Allowed { names: vec!["a".into(), "b".into()], required: true })),
    ];
    (conversation(), numbers, reasoning, choice, any::<bool>()).prop_map(
        |(messages, (top_k, seed, n), reasoning, tool_choice, search)| Request {
            messages,
            top_k,
            seed,
            n,
            reasoning,
            tool_choice,
            max_output_tokens: top_k,
            stop: seed.map(|seed| seed.to_string()).into_iter().collect(),
            web_search: search.then(WebSearch::default),
            output: search.then_some(OutputFormat::JsonObject),
            tools: vec![Tool::Function {
                name: "a".into(),
                description: None,
                parameters: Some(RawJson::from(
                    json!({"type": "object", "properties": {"a": {"type": "string"}}}),
                )),
                strict: None,
                cache: None,
            }],
            extras: Extras::of(Dialect::Gemini),
            ..Request::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_answer_comes_back_whole_and_streamed(
        response in response(),
        cuts in proptest::collection::vec(0..10_000_usize, 0..12),
        array in any::<bool>(),
    ) {
        let whole = Gemini.encode_response(&response, &view(Framing::Sse), &mut Notices::new());
        let whole = Gemini.decode_response(&whole, &Restore::default()).unwrap();
        prop_assert_eq!(&whole, &response);
        let framing = if array { Framing::JsonArray } else { Framing::Sse };
        let bytes = encode_stream(response.clone(), framing);
        prop_assert_eq!(&fold(decode_stream(&bytes, &cuts)).unwrap(), &response);
    }

    #[test]
    fn a_request_in_geminis_range_comes_back(request in request()) {
        let (encoded, notices) = super::encode(&request, "gemini-2.5-flash");
        prop_assert!(notices.is_empty(), "{:?}", notices);
        prop_assert_eq!(Gemini.decode_request(&encoded.body).unwrap(), request);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), cuts in proptest::collection::vec(0..300_usize, 0..6)) {
        let _ = Gemini.decode_request(&bytes);
        let _ = Gemini.decode_count_request(&bytes);
        let _ = Gemini.decode_response(&bytes, &Restore::default());
        let _ = Gemini.decode_error(400, &http::HeaderMap::new(), &bytes);
        let _ = crate::gemini::embedding::decode_request(&bytes);
        let _ = crate::gemini::embedding::decode_response(&bytes);
        decode_stream(&bytes, &cuts);
    }

    #[test]
    fn damaged_json_never_panics(at in 0..700_usize, with in any::<u8>(), shorter in any::<bool>()) {
        let whole = damaged_sample();
        let mut bytes = whole.to_string().into_bytes();
        let at = at % bytes.len();
        if shorter { bytes.remove(at); } else { bytes[at] = with; }
        let _ = Gemini.decode_request(&bytes);
        let _ = Gemini.decode_response(&bytes, &Restore::default());
        let mut stream = b"data: ".to_vec();
        stream.extend(&bytes);
        stream.extend(b"\n\n");
        decode_stream(&stream, &[at]);
    }
}

/// Everything a request and an answer hold, in one body.
fn damaged_sample() -> Value {
    json!({
        "systemInstruction": {"parts": [{"text": "s"}]},
        "contents": [{"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "AAAA"}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"content": "x"}}}, {"inlineData": {"mimeType": "image/png", "data": "AA"}}]}],
        "tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT"}}]}],
        "generationConfig": {"topK": 4, "responseSchema": {"type": "STRING"}},
        "candidates": [{"content": {"parts": [{"text": "hi"}, {"functionCall": {"name": "f", "partialArgs": [{"jsonPath": "$.a[1]", "boolValue": true}]}}]},
            "finishReason": "STOP", "groundingMetadata": {"groundingChunks": [{"web": {}}], "groundingSupports": [{"segment": {"endIndex": 2}, "groundingChunkIndices": [0]}]}}],
        "usageMetadata": {"promptTokenCount": 3, "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 9}]}
    })
}

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::json;
use tollway_model::{
    CacheHint, CacheTtl, Choice, Content, Detail, Effort, Extras, FinishReason, Kind, Media, Message,
    OutputFormat, Part, RawJson, Reasoning, Request, Role, Signature, Tool, ToolCall, ToolChoice, ToolKind,
    ToolResult, Usage,
};

use super::*;

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zäß😀\"\\\\\n{}:]{1,12}", "\\PC{1,8}"]
}

fn word() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9_]{0,8}"
}

fn signature(origins: &'static [Dialect]) -> impl Strategy<Value = Signature> {
    (proptest::sample::select(origins), "[A-Za-z0-9+/]{4,12}")
        .prop_map(|(origin, value)| Signature { origin, value })
}

const ALL: &[Dialect] = &[Dialect::Anthropic, Dialect::Gemini, Dialect::OpenaiChat];
const GEMINI: &[Dialect] = &[Dialect::Gemini];

/// Thinking: one unsigned part, or any number of signed ones.
fn thoughts() -> impl Strategy<Value = Vec<Part>> {
    let unsigned =
        text().prop_map(|text| vec![Content::Reasoning { text, signature: None, redacted: false }]);
    let signed = (text(), signature(ALL), any::<bool>()).prop_map(|(text, signature, redacted)| {
        let text = if redacted { String::new() } else { text };
        Content::Reasoning { text, signature: Some(signature), redacted }
    });
    let all = prop_oneof![Just(Vec::new()), unsigned, vec(signed, 0..3)];
    all.prop_map(|contents| contents.into_iter().map(Part::new).collect())
}

fn said() -> impl Strategy<Value = Option<Part>> {
    let annotation = word().prop_map(|word| {
        let json = json!({"type": "url_citation", "url_citation":
            {"url": format!("https://{word}.org"), "title": word, "start_index": 0, "end_index": 3}});
        let raw = serde_json::value::to_raw_value(&json).unwrap();
        super::super::message::citation(&raw).unwrap()
    });
    let part = (text(), vec(annotation, 0..3), option::of(signature(GEMINI)))
        .prop_map(|(text, citations, signature)| Part::new(Content::Text { text, citations, signature }));
    option::of(part)
}

fn call() -> impl Strategy<Value = ToolCall> {
    let arguments = prop_oneof![text().prop_map(|text| json!({ "a": text }).to_string()), text()];
    (word(), arguments, any::<bool>(), option::of(signature(ALL))).prop_map(
        |(name, arguments, custom, signature)| ToolCall {
            id: String::new(),
            name,
            arguments,
            kind: if custom { ToolKind::Custom } else { ToolKind::Function },
            signature,
        },
    )
}

fn calls() -> impl Strategy<Value = Vec<Part>> {
    vec(call(), 0..4).prop_map(|calls| {
        let named = calls.into_iter().enumerate().map(|(number, call)| {
            Part::new(Content::ToolCall(ToolCall { id: format!("toolu_{number}"), ..call }))
        });
        named.collect()
    })
}

fn media() -> impl Strategy<Value = Vec<Part>> {
    let sound = option::of(word()).prop_map(|name| {
        name.map(|name| {
            Part::new(Content::Audio(Media { name: Some(name), ..Media::base64("audio/wav", "UklGRgAA") }))
        })
    });
    let image = prop_oneof![
        word().prop_map(|word| Media::url(format!("https://x/{word}.png"))),
        Just(Media::base64("image/png", "iVBO"))
    ];
    (sound, vec(image, 0..3)).prop_map(|(sound, images)| {
        sound.into_iter().chain(images.into_iter().map(|media| Part::new(Content::Image(media)))).collect()
    })
}

prop_compose! {
    fn choice()(
        thoughts in thoughts(), said in said(), refusal in option::of(text()), calls in calls(), media in media(),
        reason in proptest::sample::select(&[
            (FinishReason::Stop, "end_turn"), (FinishReason::Length, "length"), (FinishReason::Pause, "pause_turn"),
            (FinishReason::ContentFilter, "SAFETY"), (FinishReason::Refusal, "refusal"),
        ][..]),
        logprob in option::of(-9..0_i32),
    ) -> Choice {
        let has_sound = media.iter().any(|part| matches!(part.content, Content::Audio(_)));
        let refusal = refusal.filter(|_| !has_sound).map(|text| Part::new(Content::Refusal(text)));
        let finish = if reason.0 == FinishReason::Stop && !calls.is_empty() {
            (FinishReason::ToolCalls, "tool_use")
        } else {
            reason
        };
        Choice {
            index: 0,
            parts: [thoughts, said.into_iter().collect(), refusal.into_iter().collect(), calls, media].concat(),
            finish: Some(finish.0),
            native_finish: Some(finish.1.to_owned()),
            stop_sequence: None,
            logprobs: logprob.map(|logprob| RawJson::from(
                json!({"content": [{"token": "a", "logprob": logprob, "bytes": null, "top_logprobs": []}], "refusal": null}),
            )),
        }
    }
}

prop_compose! {
    fn response()(
        choices in vec(choice(), 1..3), id in word(), tier in option::of(word()), fingerprint in option::of(word()),
        usage in option::of((1..99_u64, 0..9_u64, 1..99_u64, 0..9_u64)),
    ) -> Response {
        let mut extras = Extras::default();
        if let Some(fingerprint) = fingerprint {
            extras = Extras::of(Dialect::OpenaiChat);
            extras.fields.insert("system_fingerprint".into(), RawJson::from(json!(fingerprint)));
        }
        let choices = (0..).zip(choices).map(|(index, choice)| Choice { index, ..choice }).collect();
        Response {
            id, model: "group".into(), created: Some(5), choices,
            usage: usage.map(|(input, cache_read, output, reasoning)| Usage {
                input, cache_read, output: output + reasoning, reasoning, ..Usage::default()
            }),
            service_tier: tier, extras,
        }
    }
}

proptest! {
    #[test]
    fn a_streamed_answer_is_the_unstreamed_answer(response in response(), size in 1..200_usize) {
        let bytes = streamed(&response.clone().into_events());
        let read = fold(events(&bytes, size)).unwrap();
        prop_assert_eq!(read, response, "{}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn a_whole_answer_reads_back(response in response()) {
        let bytes = OpenaiChat.encode_response(&response, &VIEW, &mut Notices::new());
        let read = OpenaiChat.decode_response(&bytes, &Restore::default()).unwrap();
        prop_assert_eq!(read, response, "{}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, frames in vec("[\\[\\]{}\":,a-z0-9_ ]{0,40}", 0..6), size in 1..30_usize) {
        let _ = OpenaiChat.decode_request(&bytes);
        let _ = OpenaiChat.decode_response(&bytes, &Restore::default());
        let _ = OpenaiChat.decode_error(500, &HeaderMap::new(), &bytes);
        let _ = patch(&bytes, &Quirks { flatten_text: true, ..Quirks::default() });
        events(&bytes, size);
        let stream: String = frames.iter().map(|frame| format!("data: {frame}\n\n")).collect();
        events(stream.as_bytes(), size);
    }

    #[test]
    fn answers_of_any_shape_obey_the_laws(chunks in vec(odd_chunk(), 0..8), size in 1..60_usize) {
        let stream: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
        let one = events(stream.as_bytes(), usize::MAX);
        let many = events(stream.as_bytes(), size);
        prop_assert_eq!(format!("{one:?}"), format!("{many:?}"));
        streamed(&one);
        for chunk in &chunks {
            let _ = OpenaiChat.decode_response(chunk.to_string().as_bytes(), &Restore::default());
        }
        let body = json!({"messages": chunks}).to_string();
        let _ = OpenaiChat.decode_request(body.as_bytes());
    }

    #[test]
    fn a_request_reads_back(request in request()) {
        let quirks = Quirks { cache_control: true, ..Quirks::default() };
        let capabilities = Capabilities::default();
        let target = Target { model: &request.model, capabilities: &capabilities, quirks: &quirks };
        let mut notices = Notices::new();
        let encoded = OpenaiChat.encode_request(&request, &target, &mut notices).unwrap();
        prop_assert!(notices.is_empty(), "{:?}", notices);
        let mut read = OpenaiChat.decode_request(&encoded.body).unwrap();
        read.include_usage = request.include_usage;
        prop_assert_eq!(read, request, "{}", String::from_utf8_lossy(&encoded.body));
    }
}

/// Chunks made of the fields hosts use, with values that do not belong there.
fn odd_chunk() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3..900_i64).prop_map(Value::from),
        "[a-z{}\"]{0,4}".prop_map(Value::from),
        proptest::sample::select(
            &["stop", "tool_calls", "text", "thinking", "function", "assistant", "user"][..]
        )
        .prop_map(Value::from),
    ];
    let key = proptest::sample::select(
        &[
            "id",
            "index",
            "choices",
            "delta",
            "message",
            "content",
            "text",
            "type",
            "tool_calls",
            "function",
            "custom",
            "name",
            "arguments",
            "input",
            "role",
            "finish_reason",
            "usage",
            "logprobs",
            "audio",
            "data",
            "images",
            "image_url",
            "url",
            "annotations",
            "reasoning_content",
            "reasoning_details",
            "thinking_blocks",
            "thinking",
            "signature",
            "refusal",
            "provider_specific_fields",
            "thought_signatures",
            "x_groq",
        ][..],
    );
    leaf.prop_recursive(6, 60, 5, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((key.clone(), inner), 0..6).prop_map(|pairs| {
                Value::Object(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
            }),
        ]
    })
}

fn hint() -> impl Strategy<Value = Option<CacheHint>> {
    let ttl = proptest::sample::select(&[None, Some(CacheTtl::Minutes5), Some(CacheTtl::Hour1)][..]);
    option::of(ttl.prop_map(|ttl| CacheHint { ttl }))
}

fn user_part() -> impl Strategy<Value = Part> {
    let content = prop_oneof![
        text().prop_map(|text| Part::text(text).content),
        (word(), option::of(proptest::sample::select(&[Detail::Auto, Detail::Low, Detail::High][..])))
            .prop_map(|(word, detail)| Content::Image(Media {
                detail,
                ..Media::url(format!("https://x/{word}"))
            })),
        Just(Content::Audio(Media::base64("audio/mpeg", "AAAA"))),
        word().prop_map(|name| Content::File(Media {
            name: Some(name),
            ..Media::base64("application/pdf", "AAAA")
        })),
    ];
    (content, hint()).prop_map(|(content, cache)| Part { content, cache })
}

fn turn() -> impl Strategy<Value = Vec<Message>> {
    let user = (vec(user_part(), 1..4), option::of(word()))
        .prop_map(|(parts, name)| vec![Message { role: Role::User, parts, name }]);
    let system = (text(), any::<bool>()).prop_map(|(text, developer)| {
        vec![Message::text(if developer { Role::Developer } else { Role::System }, text)]
    });
    let assistant =
        (option::of(text()), option::of(text()), vec(call(), 0..3)).prop_map(|(thought, said, calls)| {
            let thought = thought.map(|text| Content::Reasoning { text, signature: None, redacted: false });
            let said = said.map(|text| Part::text(text).content);
            let results: Vec<_> = (0..calls.len())
                .map(|number| {
                    let parts = vec![Part::text("done")];
                    let result =
                        ToolResult { call_id: format!("c{number}"), name: None, parts, is_error: None };
                    Message::new(Role::Tool, vec![Part::new(Content::ToolResult(result))])
                })
                .collect();
            let calls = calls.into_iter().enumerate().map(|(number, call)| {
                Content::ToolCall(ToolCall { id: format!("c{number}"), signature: None, ..call })
            });
            let parts = thought.into_iter().chain(said).chain(calls).map(Part::new).collect();
            std::iter::once(Message::new(Role::Assistant, parts)).chain(results).collect()
        });
    prop_oneof![user, system, assistant]
}

fn tool() -> impl Strategy<Value = Tool> {
    prop_oneof![
        (word(), option::of(text()), option::of(any::<bool>()), hint()).prop_map(
            |(name, description, strict, cache)| Tool::Function {
                name,
                description,
                parameters: RawJson::parse(r#"{"type":"object","maximum":1.10}"#),
                strict,
                cache
            }
        ),
        (word(), option::of(text())).prop_map(|(name, description)| Tool::Custom {
            name,
            description,
            format: None
        }),
    ]
}

prop_compose! {
    fn request()(
        turns in vec(turn(), 1..5), tools in vec(tool(), 0..3), model in word(),
        (temperature, top_p, max, top_k, seed) in
            (option::of(0.0..2.0_f64), option::of(0.0..1.0_f64), option::of(1..9999_u64), option::of(1..99_u64), option::of(any::<i64>())),
        stop in vec(text(), 0..3), n in option::of(1..5_u32), stream: bool,
        effort in option::of(proptest::sample::select(&[Effort::None, Effort::Low, Effort::High, Effort::Max][..])),
        output in proptest::sample::select(&[0, 1, 2, 3][..]),
        choice in option::of(proptest::sample::select(&[0, 1, 2, 3][..])), extra in option::of(word()),
    ) -> Request {
        let names: Vec<_> = tools.iter().map(|tool| tool.name().to_owned()).collect();
        let mut extras = Extras::of(Dialect::OpenaiChat);
        if let Some(extra) = extra {
            extras.fields.insert(format!("x_{extra}"), RawJson::parse("1.10").unwrap());
        }
        Request {
            model, messages: turns.concat(), tools,
            tool_choice: choice.map(|choice| match choice {
                0 => ToolChoice::Auto,
                1 => ToolChoice::Required,
                2 => names.first().cloned().map_or(ToolChoice::None, ToolChoice::Named),
                _ => ToolChoice::Allowed { names: names.clone(), required: true },
            }),
            max_output_tokens: max, temperature, top_p, top_k, stop, seed, n, stream,
            output: match output {
                0 => None,
                1 => Some(OutputFormat::Text),
                2 => Some(OutputFormat::JsonObject),
                _ => Some(OutputFormat::JsonSchema {
                    name: Some("n".into()), description: None, schema: RawJson::parse("{\"minimum\":1.0}").unwrap(), strict: Some(true),
                }),
            },
            reasoning: effort.map(|effort| Reasoning { effort: Some(effort), ..Reasoning::default() }),
            extras,
            ..Request::default()
        }
    }
}

#[test]
fn an_error_read_from_a_frame_reads_back_from_ours() {
    let error = Error::new(Kind::RateLimit, "slow").with_status(429);
    let body = OpenaiChat.encode_error(&error);
    let read = OpenaiChat.decode_error(429, &HeaderMap::new(), &body);
    assert_eq!((read.kind(), read.message()), (Kind::RateLimit, "slow"));
}

#[test]
fn nesting_without_end_does_no_harm() {
    let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    let message = format!(
        r#"{{"role":"assistant","content":{deep},"reasoning_details":{deep},"annotations":[{deep}],"x":{deep}}}"#
    );
    let _ = OpenaiChat.decode_request(format!(r#"{{"messages":[{message}],"extra":{deep}}}"#).as_bytes());
    let answer = format!(r#"{{"id":"c","choices":[{{"message":{message}}}],"usage":{deep},"extra":{deep}}}"#);
    let _ = OpenaiChat.decode_response(answer.as_bytes(), &Restore::default());
    events(format!("data: {answer}\n\ndata: [DONE]\n\n").as_bytes(), 4096);
}

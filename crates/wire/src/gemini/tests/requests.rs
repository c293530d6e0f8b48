//! What providers get.

use serde_json::{Value, json};
use tollway_model::{
    CacheHint, Capabilities, Content, Dialect, Effort, Extras, Kind, Media, Message, OutputFormat, Part,
    RawJson, Reasoning, Request, Role, Severity, Signature, Support, Tool, ToolCall, ToolChoice, ToolKind,
    ToolResult, WebSearch,
};

use super::{body, encode, encode_with, listed};
use crate::Codec;

const CHANGED: Severity = Severity::Changed;
const DROPPED: Severity = Severity::Dropped;

fn user(text: &str) -> Message {
    Message::text(Role::User, text)
}

fn call(id: &str, name: &str, signature: Option<(Dialect, &str)>) -> Part {
    Part::new(Content::ToolCall(ToolCall {
        id: id.into(),
        name: name.into(),
        arguments: "{\"a\": 1.10}".into(),
        kind: ToolKind::Function,
        signature: signature.map(|(origin, value)| Signature { origin, value: value.into() }),
    }))
}

fn result(id: &str, parts: Vec<Part>) -> Message {
    let result = ToolResult { call_id: id.into(), name: None, parts, is_error: None };
    Message::new(Role::Tool, vec![Part::new(Content::ToolResult(result))])
}

fn function(name: &str, parameters: Value) -> Tool {
    Tool::Function {
        name: name.into(),
        description: None,
        parameters: Some(RawJson::from(parameters)),
        strict: None,
        cache: None,
    }
}

fn check(request: &Request, model: &str, expected: Value, notices: &[(Severity, &str)]) {
    let (encoded, got) = encode(request, model);
    assert_eq!(body(&encoded), expected);
    let expected: Vec<_> = notices.iter().map(|(severity, field)| (*severity, (*field).to_owned())).collect();
    assert_eq!(listed(&got), expected);
}

#[test]
fn turns_alternate_and_system_stands_apart() {
    let request = Request {
        messages: vec![
            Message::text(Role::System, "one"),
            user("a"),
            user("b"),
            Message::text(Role::Assistant, "c"),
            Message::text(Role::Developer, "two"),
            user(""),
            user("d"),
        ],
        ..Request::default()
    };
    let expected = json!({
        "systemInstruction": {"parts": [{"text": "one"}]},
        "contents": [
            {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]},
            {"role": "model", "parts": [{"text": "c"}]},
            {"role": "user", "parts": [
                {"text": "Note from the operator of this conversation: two"}, {"text": "d"}
            ]}
        ]
    });
    check(&request, "gemini-2.5-pro", expected, &[(CHANGED, "messages[4].role")]);
    let early = Request {
        messages: vec![user("a"), Message::text(Role::Developer, "one"), user("b")],
        ..Request::default()
    };
    let expected = json!({
        "systemInstruction": {"parts": [{"text": "one"}]},
        "contents": [{"role": "user", "parts": [{"text": "a"}, {"text": "b"}]}]
    });
    check(&early, "gemini-2.5-pro", expected, &[(CHANGED, "messages[1]")]);
    let alone = Request { messages: vec![Message::text(Role::System, "one")], ..Request::default() };
    let expected = json!({
        "systemInstruction": {"parts": [{"text": "one"}]},
        "contents": [{"role": "user", "parts": [{"text": " "}]}]
    });
    check(&alone, "gemini-2.5-pro", expected, &[(CHANGED, "messages")]);
    let capabilities = Capabilities { system: Support::No, ..Capabilities::default() };
    let (encoded, _) = encode_with(&alone, "gemma-3-27b-it", &capabilities);
    assert_eq!(body(&encoded), json!({"contents": [{"role": "user", "parts": [{"text": "one"}]}]}));
}

#[test]
fn results_of_one_turn_go_together_in_the_order_of_the_calls() {
    let picture = Part::new(Content::Image(Media::base64("image/png", "AAAA")));
    let request = Request {
        messages: vec![
            user("q"),
            Message::new(Role::Assistant, vec![call("x", "f", None), call("y", "g", None)]),
            result("y", vec![Part::text("{\"n\":1.50}"), picture]),
            result("x", vec![Part::text("3C")]),
            user("thanks"),
        ],
        ..Request::default()
    };
    let blob = json!({"inlineData": {"mimeType": "image/png", "data": "AAAA"}});
    let expected = |mark: Value, inside: Value, beside: Vec<Value>| {
        let mut first = json!({"functionCall": {"name": "f", "args": {"a": 1.10}}});
        if mark != Value::Null {
            first["thoughtSignature"] = mark;
        }
        let mut g = json!({"functionResponse": {"name": "g", "response": {"n": 1.50}}});
        if inside != Value::Null {
            g["functionResponse"]["parts"] = inside;
        }
        let mut results = vec![json!({"functionResponse": {"name": "f", "response": {"content": "3C"}}}), g];
        results.extend(beside);
        results.push(json!({"text": "thanks"}));
        json!({"contents": [
            {"role": "user", "parts": [{"text": "q"}]},
            {"role": "model", "parts": [first, {"functionCall": {"name": "g", "args": {"a": 1.10}}}]},
            {"role": "user", "parts": results}
        ]})
    };
    check(
        &request,
        "gemini-2.5-flash",
        expected(Value::Null, Value::Null, vec![blob.clone()]),
        &[(CHANGED, "messages[2].content[0]")],
    );
    let mark = json!(super::super::signature::SKIP_VALIDATION);
    check(&request, "gemini-3-pro-preview", expected(mark, json!([blob]), vec![]), &[]);
}

#[test]
fn signatures_return_once_and_only_to_gemini() {
    let own = Some((Dialect::Gemini, "U0lH"));
    let foreign = Some((Dialect::Anthropic, "Er=="));
    let request = Request {
        messages: vec![
            user("earlier"),
            Message::new(Role::Assistant, vec![call("a", "f", None)]),
            result("a", vec![Part::text("1")]),
            Message::text(Role::Assistant, "ok"),
            user("now"),
            Message::new(Role::Assistant, vec![call("b", "f", own), call("c", "f", own)]),
            result("b", vec![Part::text("2")]),
            result("c", vec![Part::text("3")]),
            Message::new(Role::Assistant, vec![call("d", "f", foreign)]),
            result("d", vec![Part::text("4")]),
        ],
        ..Request::default()
    };
    let (encoded, notices) = encode(&request, "gemini-3-flash");
    let body = body(&encoded);
    let signature =
        |content: usize, part: usize| body["contents"][content]["parts"][part]["thoughtSignature"].clone();
    let lost = json!(super::super::signature::SKIP_VALIDATION);
    assert_eq!(signature(1, 0), lost, "earlier turns are written as they were when they were the last");
    assert_eq!(signature(5, 0), json!("U0lH"));
    assert_eq!(signature(5, 1), Value::Null, "sent once");
    assert_eq!(signature(7, 0), json!(super::super::signature::SKIP_VALIDATION));
    assert_eq!(listed(&notices), [(CHANGED, "messages[8].content[0]".to_owned())]);
    let (encoded, _) = encode(&request, "gemini-2.5-flash");
    assert_eq!(super::body(&encoded)["contents"][7]["parts"][0]["thoughtSignature"], Value::Null);
    assert_eq!(super::body(&encoded)["contents"][1]["parts"][0]["functionCall"]["id"], Value::Null);
    let (encoded, _) = encode(&request, "gemini-3.5-flash");
    assert_eq!(super::body(&encoded)["contents"][1]["parts"][0]["functionCall"]["id"], "a");
    assert_eq!(super::body(&encoded)["contents"][2]["parts"][0]["functionResponse"]["id"], "a");
}

#[test]
fn thinking_of_others_stays_behind_and_broken_arguments_are_wrapped() {
    let thought = |origin| {
        let signature = Some(Signature { origin, value: "c2ln".into() });
        Part::new(Content::Reasoning { text: "hm".into(), signature, redacted: false })
    };
    let mut broken = call("a", "f", None);
    if let Content::ToolCall(call) = &mut broken.content {
        call.arguments = "{\"a\":".into();
    }
    let request = Request {
        messages: vec![
            user("q"),
            Message::new(
                Role::Assistant,
                vec![thought(Dialect::Anthropic), thought(Dialect::Gemini), broken],
            ),
        ],
        ..Request::default()
    };
    let expected = json!({"contents": [
        {"role": "user", "parts": [{"text": "q"}]},
        {"role": "model", "parts": [
            {"thought": true, "text": "hm", "thoughtSignature": "c2ln"},
            {"functionCall": {"name": "f", "args": {"arguments": "{\"a\":"}}}
        ]}
    ]});
    let notices = [(CHANGED, "messages[1].content[0]"), (CHANGED, "messages[1].content[2].arguments")];
    check(&request, "gemini-2.5-pro", expected, &notices);
}

#[test]
fn a_result_without_its_call_is_refused() {
    let request = Request { messages: vec![result("ghost", vec![])], ..Request::default() };
    let capabilities = Capabilities::default();
    let quirks = crate::openai_chat::Quirks::default();
    let target = crate::Target { model: "gemini-2.5-pro", capabilities: &capabilities, quirks: &quirks };
    let error =
        super::Gemini.encode_request(&request, &target, &mut tollway_model::Notices::new()).unwrap_err();
    assert_eq!((error.kind(), error.param()), (Kind::InvalidRequest, Some("messages[0].content[0]")));
}

#[test]
fn tools_are_written_by_generation_and_renamed_where_they_must() {
    let schema = json!({"type": "object", "properties": {"x": {"type": ["string", "null"]}}});
    let request = Request {
        messages: vec![user("q")],
        tools: vec![
            function("get weather", schema.clone()),
            function("now", json!({"type": "object", "properties": {}})),
        ],
        tool_choice: Some(ToolChoice::Named("get weather".into())),
        parallel_tool_calls: Some(false),
        ..Request::default()
    };
    let (encoded, notices) = encode(&request, "gemini-2.5-pro");
    let sent = encoded.restore.tool_names.keys().next().unwrap().clone();
    assert_eq!(encoded.restore.tool_names[&sent], "get weather");
    assert_eq!(
        body(&encoded),
        json!({
            "contents": [{"role": "user", "parts": [{"text": "q"}]}],
            "tools": [{"functionDeclarations": [{"name": sent, "parametersJsonSchema": schema}, {"name": "now"}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [sent]}}
        })
    );
    assert_eq!(listed(&notices), [(CHANGED, "parallel_tool_calls".to_owned())]);
    let (encoded, _) = encode(&request, "gemini-1.5-pro");
    assert_eq!(
        body(&encoded)["tools"][0]["functionDeclarations"][0]["parameters"],
        json!({"type": "OBJECT", "propertyOrdering": ["x"], "properties": {"x": {"type": "STRING", "nullable": true}}})
    );
}

#[test]
fn web_search_stands_beside_functions_only_where_it_may() {
    let mut request =
        Request { messages: vec![user("q")], web_search: Some(WebSearch::default()), ..Request::default() };
    let contents = json!([{"role": "user", "parts": [{"text": "q"}]}]);
    let search = json!({"googleSearch": {}});
    check(&request, "gemini-2.5-pro", json!({"contents": contents, "tools": [search]}), &[]);
    request.tools = vec![function("f", json!({}))];
    let f = json!({"functionDeclarations": [{"name": "f"}]});
    check(
        &request,
        "gemini-2.5-pro",
        json!({"contents": contents, "tools": [f]}),
        &[(CHANGED, "web_search_options")],
    );
    let both = json!({
        "contents": contents, "tools": [f, search], "toolConfig": {"includeServerSideToolInvocations": true}
    });
    check(&request, "gemini-3-pro", both, &[]);
    request.tools = vec![Tool::Server {
        dialect: Dialect::Anthropic,
        kind: "bash".into(),
        json: RawJson::from(json!({})),
    }];
    check(
        &request,
        "gemini-3-pro",
        json!({"contents": contents, "tools": [search]}),
        &[(DROPPED, "tools[0]")],
    );
}

#[test]
fn settings_have_their_places() {
    let request = Request {
        messages: vec![user("q")],
        max_output_tokens: Some(9),
        temperature: Some(0.5),
        top_p: Some(0.25),
        top_k: Some(3),
        stop: (1..=6).map(|n| n.to_string()).collect(),
        seed: Some(-4),
        n: Some(2),
        presence_penalty: Some(1.0),
        frequency_penalty: Some(-1.0),
        logprobs: Some(true),
        top_logprobs: Some(2),
        output: Some(OutputFormat::JsonObject),
        reasoning: Some(Reasoning { effort: Some(Effort::Low), ..Reasoning::default() }),
        modalities: vec!["text".into(), "audio".into()],
        audio: Some(tollway_model::AudioFormat { voice: "Kore".into(), format: "mp3".into() }),
        logit_bias: Some(RawJson::from(json!({}))),
        user: Some("u".into()),
        service_tier: Some("default".into()),
        cache: Some(CacheHint::default()),
        ..Request::default()
    };
    let expected = json!({
        "contents": [{"role": "user", "parts": [{"text": "q"}]}],
        "generationConfig": {
            "maxOutputTokens": 9, "temperature": 0.5, "topP": 0.25, "topK": 3, "stopSequences": ["1", "2", "3", "4", "5"],
            "seed": -4, "candidateCount": 2, "presencePenalty": 1.0, "frequencyPenalty": -1.0,
            "responseLogprobs": true, "logprobs": 2, "responseMimeType": "application/json",
            "thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": true},
            "responseModalities": ["TEXT", "AUDIO"],
            "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}}
        },
        "serviceTier": "standard"
    });
    let notices = [
        (DROPPED, "stop"),
        (DROPPED, "audio.format"),
        (CHANGED, "user"),
        (DROPPED, "logit_bias"),
        (CHANGED, "cache_control"),
    ];
    check(&request, "gemini-2.5-flash", expected, &notices);
}

#[test]
fn schemas_of_answers_depend_on_the_generation_and_on_tools() {
    let schema = json!({"type": "object", "properties": {"a": {"const": "x"}}});
    let mut request = Request {
        messages: vec![user("q")],
        output: Some(OutputFormat::JsonSchema {
            name: Some("n".into()),
            description: None,
            schema: RawJson::from(schema.clone()),
            strict: Some(true),
        }),
        ..Request::default()
    };
    let config = |request: &Request, model: &str| body(&encode(request, model).0)["generationConfig"].clone();
    assert_eq!(
        config(&request, "gemini-2.0-flash"),
        json!({"responseMimeType": "application/json", "responseJsonSchema": schema})
    );
    assert_eq!(
        config(&request, "gemini-1.5-flash")["responseSchema"],
        json!({"type": "OBJECT", "propertyOrdering": ["a"], "properties": {"a": {"type": "STRING", "enum": ["x"]}}})
    );
    request.tools = vec![function("f", json!({}))];
    assert_eq!(config(&request, "gemini-2.5-pro"), Value::Null);
    assert_eq!(encode(&request, "gemini-2.5-pro").1.first_dropped().unwrap().field, "response_format");
    assert_eq!(config(&request, "gemini-3-pro")["responseJsonSchema"], schema);
}

#[test]
fn fields_of_other_dialects_are_mapped_noted_or_refused() {
    let mut extras = Extras::of(Dialect::OpenaiChat);
    for (key, value) in [
        ("safety_settings", json!([{"category": "c", "threshold": "t"}])),
        ("store", json!(true)),
        ("mystery", json!(1)),
        ("cached_content", json!("cachedContents/1")),
    ] {
        extras.fields.insert(key.into(), RawJson::from(value));
    }
    let request = Request {
        messages: vec![Message::text(Role::System, "s"), user("q")],
        tools: vec![function("f", json!({}))],
        extras,
        ..Request::default()
    };
    let expected = json!({
        "contents": [{"role": "user", "parts": [{"text": "q"}]}],
        "safetySettings": [{"category": "c", "threshold": "t"}],
        "cachedContent": "cachedContents/1"
    });
    let notices = [(CHANGED, "store"), (DROPPED, "mystery"), (CHANGED, "cached_content")];
    check(&request, "gemini-2.5-pro", expected, &notices);
}

#[test]
fn what_a_gemini_client_sends_arrives_unchanged() {
    for body in [
        json!({
            "contents": [
                {"role": "user", "parts": [{"text": "wx Oslo?"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]},
                {"role": "model", "parts": [
                    {"text": "hm", "thought": true},
                    {"functionCall": {"name": "wx", "args": {"city": "Oslo", "n": 1.10}}, "thoughtSignature": "Q0FF"},
                    {"functionCall": {"id": "fc2", "name": "wx", "args": {}}}
                ]},
                {"role": "user", "parts": [
                    {"functionResponse": {"name": "wx", "response": {"result": {"t": 3}}}},
                    {"functionResponse": {"id": "fc2", "name": "wx", "response": {"error": "gone"}}}
                ]},
                {"role": "model", "parts": [{"executableCode": {"language": "PYTHON", "code": "1"}}, {"text": "done", "thoughtSignature": "U0lH"}]},
                {"role": "user", "parts": [{"fileData": {"fileUri": "gs://b/f.mp4", "mimeType": "video/mp4"}, "videoMetadata": {"fps": 2}}]}
            ],
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "tools": [
                {"functionDeclarations": [{"name": "wx", "description": "w", "parametersJsonSchema": {"type": "object", "properties": {"city": {"type": "string"}}}}]},
                {"codeExecution": {}},
                {"googleSearch": {}}
            ],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["wx", "wy"]}, "retrievalConfig": {"languageCode": "no"}},
            "generationConfig": {
                "maxOutputTokens": 256, "temperature": 0.5, "topK": 40, "stopSequences": ["x"], "candidateCount": 2,
                "responseMimeType": "text/plain", "responseModalities": ["TEXT"],
                "thinkingConfig": {"thinkingBudget": -1, "includeThoughts": true}, "mediaResolution": "MEDIA_RESOLUTION_LOW"
            },
            "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
            "labels": {"a": "b"}, "serviceTier": "flex"
        }),
        json!({"contents": [{"role": "user", "parts": [{"text": "q"}]}], "cachedContent": "cachedContents/1"}),
        json!({
            "contents": [{"role": "user", "parts": [{"text": "q"}]}],
            "generationConfig": {"responseMimeType": "text/x.enum", "responseJsonSchema": {"type": "string", "enum": ["a"]},
                "thinkingConfig": {"thinkingBudget": 500}}
        }),
    ] {
        let request = super::Gemini.decode_request(body.to_string().as_bytes()).unwrap();
        check(&request, "gemini-2.5-flash", body, &[]);
    }
    let level = json!({"contents": [{"role": "user", "parts": [{"text": "q"}]}],
        "generationConfig": {"thinkingConfig": {"thinkingLevel": "high"}}});
    let request = super::Gemini.decode_request(level.to_string().as_bytes()).unwrap();
    check(&request, "gemini-3-pro", level, &[]);
}

#[test]
fn tokens_are_counted_for_contents_alone_or_for_the_whole_request() {
    let count = |request: &Request| -> Value {
        let capabilities = Capabilities::default();
        let quirks = crate::openai_chat::Quirks::default();
        let target = crate::Target { model: "gemini-2.5-pro", capabilities: &capabilities, quirks: &quirks };
        serde_json::from_slice(&super::Gemini.encode_count_request(request, &target).unwrap().unwrap())
            .unwrap()
    };
    let contents = json!([{"role": "user", "parts": [{"text": "q"}]}]);
    let bare = json!({"contents": contents});
    let read = |body: &Value| super::Gemini.decode_count_request(body.to_string().as_bytes()).unwrap();
    assert_eq!(count(&read(&bare)), bare);
    let whole = json!({"generateContentRequest": {
        "systemInstruction": {"parts": [{"text": "s"}]}, "contents": contents, "model": "models/gemini-2.5-pro"
    }});
    assert_eq!(read(&whole).model, "gemini-2.5-pro");
    assert_eq!(count(&read(&whole)), whole);
    assert_eq!(super::Gemini.decode_count(br#"{"totalTokens": 12}"#).unwrap(), 12);
    assert_eq!(super::Gemini.decode_count(&super::Gemini.encode_count(12)).unwrap(), 12);
    assert!(super::Gemini.decode_count(b"{}").is_err());
}

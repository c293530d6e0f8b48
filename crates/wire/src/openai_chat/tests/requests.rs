use serde_json::{Value, json};
use tollway_model::{
    CacheHint, Content, Effort, Extras, Kind, Media, MediaSource, Message, Part, RawJson, Reasoning, Request,
    Role, Signature, Support, Tool, ToolCall, ToolChoice, ToolKind, ToolResult,
};

use super::*;
use crate::json::Envelope;

fn decode(body: &Value) -> Request {
    OpenaiChat.decode_request(body.to_string().as_bytes()).unwrap_or_else(|error| panic!("{error}: {body}"))
}

/// `fields` beside one user message come back unchanged.
fn check_fields(fields: Value) {
    let mut body = json!({"model": "up", "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let (mut sent, notices) = sent(&decode(&body), &Quirks::default(), &Capabilities::default()).unwrap();
    if body.get("stream_options").is_none() {
        sent.as_object_mut().unwrap().remove("stream_options");
    }
    assert_eq!(sent, body);
    assert_eq!(notices, Vec::<String>::new());
}

#[test]
fn every_field_comes_back_as_it_was() {
    check_fields(
        json!({"temperature": 0.7, "top_p": 1, "top_k": 40, "seed": -3, "n": 2, "presence_penalty": -1.5,
        "frequency_penalty": 0.25, "logit_bias": {"50256": -100}, "logprobs": true, "top_logprobs": 5}),
    );
    check_fields(
        json!({"max_completion_tokens": 100, "stop": ["a", "b"], "user": "u", "metadata": {"k": "v"},
        "service_tier": "flex", "prompt_cache_key": "k", "verbosity": "low", "store": true,
        "safety_identifier": "s", "prompt_cache_retention": "24h"}),
    );
    check_fields(json!({"stop": "END", "reasoning_effort": "xhigh", "stream": true,
        "stream_options": {"include_usage": true}}));
    check_fields(json!({"modalities": ["text", "audio"], "audio": {"voice": "ash", "format": "mp3"},
        "prediction": {"type": "content", "content": "x"}}));
    check_fields(json!({"audio": {"voice": {"id": "v1"}, "format": "mp3"}, "reasoning_effort": "default",
        "response_format": {"type": "grammar", "grammar": "g"}, "min_p": 0.05, "chat_template_kwargs": {"a": 1}}));
    check_fields(json!({"response_format": {"type": "json_object"}}));
    check_fields(json!({"response_format": {"type": "text"}}));
    check_fields(json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n",
        "description": "d", "schema": {"type": "object"}, "strict": true}}}));
    check_fields(json!({"web_search_options": {"search_context_size": "low",
        "user_location": {"type": "approximate", "approximate": {"country": "FR"}}}}));
    check_fields(json!({"tools": [
            {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": false}},
            {"type": "custom", "custom": {"name": "c", "description": "d", "format": {"type": "text"}}},
            {"type": "builtin_function", "function_name": "$web_search"}],
        "tool_choice": {"type": "custom", "custom": {"name": "c"}}, "parallel_tool_calls": false}));
    check_fields(json!({"tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required",
            "tools": [{"type": "function", "function": {"name": "f"}}]}}}));
}

#[test]
fn numbers_in_verbatim_values_keep_their_spelling() {
    let body = br#"{"model":"m","messages":[{"role":"user","content":"x"}],"x_seed":12345678901234567890.10,
        "tools":[{"type":"function","function":{"name":"f","parameters":{"multipleOf":1.10}}}]}"#;
    let request = OpenaiChat.decode_request(body).unwrap();
    let (capabilities, quirks) = (Capabilities::default(), Quirks::default());
    let target = Target { model: "m", capabilities: &capabilities, quirks: &quirks };
    let encoded = OpenaiChat.encode_request(&request, &target, &mut Notices::new()).unwrap();
    let text = String::from_utf8(encoded.body).unwrap();
    assert!(text.contains("12345678901234567890.10") && text.contains(r#"{"multipleOf":1.10}"#), "{text}");
}

fn check_messages(messages: Value) {
    let body = json!({"model": "up", "messages": messages});
    let quirks = Quirks { cache_control: true, ..Quirks::default() };
    assert_eq!(sent(&decode(&body), &quirks, &Capabilities::default()).unwrap(), (body, vec![]));
}

#[test]
fn every_message_comes_back_as_it_was() {
    check_messages(json!([
        {"role": "system", "content": "s"},
        {"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "n"},
        {"role": "user", "content": [
            {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
            {"type": "file", "file": {"file_id": "file-1"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
            {"type": "video_url", "video_url": {"url": "https://x/v.mp4"}},
            {"type": "document_url", "document_url": "https://x/d"}], "name": "bob"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}},
            {"id": "call_2", "type": "custom", "custom": {"name": "c", "input": "free"}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "42"},
        {"role": "tool", "tool_call_id": "call_2", "name": "c", "content": [
            {"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]},
        {"role": "assistant", "content": "ok", "reasoning_content": "hm",
            "reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]},
        {"role": "assistant", "content": "no", "refusal": "I cannot"},
        {"role": "assistant", "content": "", "audio": {"id": "audio_1"}},
        {"role": "assistant", "content": "{", "prefix": true}
    ]));
}

fn check_error(body: Value, param: &str) {
    let error = OpenaiChat.decode_request(body.to_string().as_bytes()).unwrap_err();
    assert_eq!((error.kind(), error.param()), (Kind::InvalidRequest, Some(param)), "{body}: {error}");
    assert!(error.message().contains(param) || param == "request_body", "{error}");
}

#[test]
fn errors_name_the_field_at_fault() {
    let with = |message: Value| json!({"messages": [{"role": "user", "content": "x"}, message]});
    check_error(json!([]), "request_body");
    check_error(json!({}), "messages");
    check_error(json!({"messages": "x"}), "messages");
    check_error(json!({"messages": []}), "messages");
    check_error(with(json!({"content": "x"})), "messages[1].role");
    check_error(with(json!({"role": "bot"})), "messages[1].role");
    check_error(with(json!({"role": "user", "content": 7})), "messages[1].content");
    check_error(with(json!({"role": "user", "content": [{"text": "x"}]})), "messages[1].content[0].type");
    check_error(with(json!({"role": "user", "content": [{"type": "text"}]})), "messages[1].content[0].text");
    check_error(
        with(json!({"role": "user", "content": [{"type": "image_url", "image_url": {}}]})),
        "messages[1].content[0].image_url.url",
    );
    check_error(
        with(json!({"role": "assistant", "tool_calls": [{"id": "a", "function": {"arguments": "{}"}}]})),
        "messages[1].tool_calls[0].function.name",
    );
    check_error(with(json!({"role": "tool", "content": "x"})), "messages[1].tool_call_id");
    let also = |fields: Value| {
        let mut body = json!({"messages": [{"role": "user", "content": "x"}]});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        body
    };
    check_error(also(json!({"temperature": "hot"})), "temperature");
    check_error(also(json!({"max_tokens": -1})), "max_tokens");
    check_error(also(json!({"n": 5_000_000_000_u64})), "n");
    check_error(also(json!({"stop": [1]})), "stop[0]");
    check_error(also(json!({"stream": "yes"})), "stream");
    check_error(also(json!({"tools": [{"type": "function"}]})), "tools[0].function");
    check_error(also(json!({"tools": [{"type": "function", "function": {}}]})), "tools[0].function.name");
    check_error(also(json!({"tool_choice": "maybe"})), "tool_choice");
    check_error(also(json!({"response_format": {"type": "json_schema"}})), "response_format.json_schema");
}

#[test]
fn legacy_functions_become_tools() {
    let request = decode(&json!({
        "messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "1"}],
        "functions": [{"name": "f", "parameters": {}}], "function_call": {"name": "f"}, "max_tokens": 9}));
    assert_eq!(request.tool_choice, Some(ToolChoice::Named("f".into())));
    assert_eq!(request.max_output_tokens, Some(9));
    let Content::ToolCall(call) = &request.messages[1].parts[0].content else { panic!() };
    let Content::ToolResult(result) = &request.messages[2].parts[0].content else { panic!() };
    assert_eq!(result.call_id, call.id);
    assert!(matches!(&request.tools[0], Tool::Function { name, .. } if name == "f"));
}

fn check_reasoning(fields: Value, expected: Reasoning) {
    let mut body = json!({"messages": [{"role": "user", "content": "x"}]});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    assert_eq!(decode(&body).reasoning, Some(expected), "{fields}");
}

#[test]
fn thinking_is_asked_for_in_many_ways() {
    let none = Reasoning::default;
    check_reasoning(json!({"reasoning_effort": "HIGH"}), Reasoning { effort: Some(Effort::High), ..none() });
    check_reasoning(
        json!({"reasoning_effort": {"effort": "low", "summary": "auto"}}),
        Reasoning { effort: Some(Effort::Low), show: Some(true), ..none() },
    );
    check_reasoning(json!({"reasoning_effort": "disable"}), Reasoning { disabled: true, ..none() });
    check_reasoning(
        json!({"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        Reasoning { budget_tokens: Some(1024), ..none() },
    );
    check_reasoning(json!({"thinking": {"type": "adaptive"}}), Reasoning { adaptive: true, ..none() });
    check_reasoning(json!({"thinking": {"type": "disabled"}}), Reasoning { disabled: true, ..none() });
}

#[test]
fn signatures_of_other_providers_are_found_where_clients_keep_them() {
    let gemini = Signature { origin: Dialect::Gemini, value: "sig".into() };
    let packed = crate::carry::pack_id("call_1", &gemini);
    let request = decode(&json!({"messages": [
        {"role": "assistant", "content": "a", "reasoning_content": "t",
            "thinking_blocks": [{"type": "thinking", "thinking": "t", "signature": "ErUB"},
                {"type": "redacted_thinking", "data": "tollway.gemini.x"}],
            "tool_calls": [
                {"id": packed, "type": "function", "function": {"name": "f", "arguments": ""}},
                {"id": "call_2", "type": "function", "function": {"name": "f", "arguments": {"a": 1}},
                    "provider_specific_fields": {"thought_signatures": ["sig"]}}]},
        {"role": "tool", "tool_call_id": packed, "content": ""}]}));
    let parts: Vec<_> = request.messages[0].parts.iter().map(|part| &part.content).collect();
    let anthropic = Signature { origin: Dialect::Anthropic, value: "ErUB".into() };
    assert_eq!(
        *parts[0],
        Content::Reasoning { text: "t".into(), signature: Some(anthropic), redacted: false }
    );
    let x = Signature { origin: Dialect::Gemini, value: "x".into() };
    assert_eq!(*parts[1], Content::Reasoning { text: String::new(), signature: Some(x), redacted: true });
    let call = |id: &str, arguments: &str| {
        Content::ToolCall(ToolCall {
            id: id.into(),
            name: "f".into(),
            arguments: arguments.into(),
            kind: ToolKind::Function,
            signature: Some(gemini.clone()),
        })
    };
    assert_eq!(*parts[3], call("call_1", ""));
    assert_eq!(*parts[4], call("call_2", "{\"a\": 1}".replace(' ', "").as_str()));
    let Content::ToolResult(result) = &request.messages[1].parts[0].content else { panic!() };
    assert_eq!(result.call_id, "call_1");
}

/// What an Anthropic client asks, as its codec decodes it.
#[test]
fn gemini_behind_this_dialect_gets_its_signature_back() {
    let assistant = json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"},
            "extra_content": {"google": {"thought_signature": "U0lH"}}}]});
    let request = decode(&json!({"model": "up", "messages": [assistant,
        {"role": "tool", "tool_call_id": "call_1", "content": "x"}]}));
    let Content::ToolCall(call) = &request.messages[0].parts[0].content else { panic!("{request:?}") };
    assert_eq!(call.signature, Some(Signature { origin: Dialect::Gemini, value: "U0lH".into() }));
    let quirks = Quirks { google_extra_content: true, ..Quirks::default() };
    let (taken, notices) = sent(&request, &quirks, &Capabilities::default()).unwrap();
    assert_eq!((&taken["messages"][0], notices), (&assistant, vec![]));
    let (left, notices) = sent(&request, &Quirks::default(), &Capabilities::default()).unwrap();
    assert_eq!(left["messages"][0]["tool_calls"][0].get("extra_content"), None);
    assert_eq!(notices, ["Changed messages[0].content[0]"]);
}

fn foreign() -> Request {
    let signature = Some(Signature { origin: Dialect::Anthropic, value: "s".into() });
    let mut extras = Extras::of(Dialect::Anthropic);
    extras.fields.insert("context_management".into(), RawJson::parse("{}").unwrap());
    extras.fields.insert("steering".into(), RawJson::parse("\"c\"").unwrap());
    let image = Part::new(Content::Image(Media::base64("image/png", "AAAA")));
    let result = ToolResult {
        call_id: "toolu_1".into(),
        name: None,
        parts: vec![Part::text("seen"), image],
        is_error: Some(true),
    };
    let call = ToolCall {
        id: "toolu_1".into(),
        name: "mcp.tool".into(),
        arguments: "{}".into(),
        kind: ToolKind::Function,
        signature: None,
    };
    Request {
        model: "m".into(),
        messages: vec![
            Message::new(
                Role::System,
                vec![Part { cache: Some(CacheHint::default()), ..Part::text("be good") }],
            ),
            Message::text(Role::User, "look"),
            Message::new(
                Role::Assistant,
                vec![
                    Part::new(Content::Reasoning { text: "hm".into(), signature, redacted: false }),
                    Part::text("I "),
                    Part::text("look"),
                    Part::new(Content::ToolCall(call)),
                ],
            ),
            Message::new(Role::Tool, vec![Part::new(Content::ToolResult(result))]),
            Message::text(Role::User, "and?"),
        ],
        tools: vec![Tool::Function {
            name: "mcp.tool".into(),
            description: None,
            parameters: None,
            strict: None,
            cache: None,
        }],
        tool_choice: Some(ToolChoice::Named("mcp.tool".into())),
        max_output_tokens: Some(10),
        top_k: Some(5),
        reasoning: Some(Reasoning { budget_tokens: Some(10_000), ..Reasoning::default() }),
        metadata: RawJson::parse("{\"user_id\":\"u\"}"),
        extras,
        ..Request::default()
    }
}

#[test]
fn a_request_of_another_dialect_keeps_what_can_be_said_and_reports_the_rest() {
    let request = foreign();
    let capabilities = Capabilities::default();
    let quirks = Quirks { max_tokens_only: true, ..Quirks::default() };
    let (body, notices) = sent(&request, &quirks, &capabilities).unwrap();
    let name = body["tools"][0]["function"]["name"].as_str().unwrap();
    assert!(name.starts_with("mcp_tool_"), "{name}");
    let expected = json!({
        "model": "up",
        "messages": [
            {"role": "system", "content": "be good"},
            {"role": "user", "content": "look"},
            {"role": "assistant", "content": "I look",
                "tool_calls": [{"id": "toolu_1", "type": "function", "function": {"name": name, "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "toolu_1", "content": "seen"},
            {"role": "user", "content": [{"type": "text", "text": "Attached to the tool results above:"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
            {"role": "user", "content": "and?"}],
        "tools": [{"type": "function", "function": {"name": name}}],
        "tool_choice": {"type": "function", "function": {"name": name}},
        "max_tokens": 10, "reasoning_effort": "high"});
    assert_eq!(body, expected);
    assert_eq!(
        notices,
        [
            "Changed messages[0].cache_control",
            "Changed messages[2].content[0]",
            "Changed messages[3].is_error",
            "Changed messages[3].content[1]",
            "Dropped top_k",
            "Changed metadata",
            "Changed context_management",
            "Dropped steering"
        ]
    );
    let target = Target { model: "up", capabilities: &capabilities, quirks: &quirks };
    let restore = OpenaiChat.encode_request(&request, &target, &mut Notices::new()).unwrap().restore;
    assert_eq!(restore.tool_name(name), "mcp.tool");
}

#[test]
fn what_the_model_cannot_do_is_not_sent() {
    let mut request = foreign();
    request.temperature = Some(0.5);
    let capabilities =
        Capabilities { reasoning: Support::No, sampling_params: Support::No, ..Capabilities::default() };
    let (body, notices) = sent(&request, &Quirks::default(), &capabilities).unwrap();
    assert!(body.get("reasoning_effort").is_none() && body.get("temperature").is_none());
    assert!(notices.contains(&"Changed reasoning_effort".to_owned()));
    assert!(notices.contains(&"Dropped temperature".to_owned()));
    let efforts = Capabilities { efforts: vec![Effort::Minimal, Effort::Low], ..Capabilities::default() };
    assert_eq!(sent(&request, &Quirks::default(), &efforts).unwrap().0["reasoning_effort"], "low");
    request.messages[1].parts[0] = Part::new(Content::File(Media {
        source: MediaSource::Url("https://x/d.pdf".into()),
        media_type: None,
        name: None,
        detail: None,
    }));
    let error = sent(&request, &Quirks::default(), &capabilities).unwrap_err();
    assert_eq!((error.kind(), error.param()), (Kind::Unsupported, Some("messages[1].content[0]")));
}

/// Both lanes apply a quirk alike: `body` patched, and `body` through the model.
fn check_quirk(quirks: Quirks, body: Value, expected: Value) {
    let patched = patch(body.to_string().as_bytes(), &quirks).unwrap();
    let patched: Value =
        patched.map_or_else(|| body.clone(), |bytes| serde_json::from_slice(&bytes).unwrap());
    assert_eq!(patched, expected, "patched with {quirks:?}");
    let (mut sent, _) = sent(&decode(&body), &quirks, &Capabilities::default()).unwrap();
    sent["model"] = json!("m");
    assert_eq!(sent, expected, "encoded with {quirks:?}");
}

#[test]
fn both_lanes_honour_every_quirk() {
    let none = Quirks::default;
    let ask = |fields: Value| {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        body
    };
    let said = |message: Value| json!({"model": "m", "messages": [message]});
    check_quirk(
        Quirks { developer_as_system: true, ..none() },
        said(json!({"role": "developer", "content": "x"})),
        said(json!({"role": "system", "content": "x"})),
    );
    let texts = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
    check_quirk(
        Quirks { flatten_text: true, ..none() },
        said(json!({"role": "user", "content": texts})),
        said(json!({"role": "user", "content": "a\nb"})),
    );
    let call =
        |id: &str| json!([{"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    check_quirk(
        Quirks { no_nulls: true, ..none() },
        said(json!({"role": "assistant", "content": null, "tool_calls": call("c")})),
        said(json!({"role": "assistant", "tool_calls": call("c")})),
    );
    check_quirk(
        Quirks { no_message_names: true, ..none() },
        said(json!({"role": "user", "content": "x", "name": "bob"})),
        said(json!({"role": "user", "content": "x"})),
    );
    check_quirk(
        Quirks { no_strict: true, ..none() },
        ask(json!({"tools": [{"type": "function", "function": {"name": "f", "strict": true}}]})),
        ask(json!({"tools": [{"type": "function", "function": {"name": "f"}}]})),
    );
    check_quirk(
        Quirks { no_output_fields: true, ..none() },
        said(json!({"role": "assistant", "content": "x", "reasoning_content": "hm", "audio": {"id": "a"},
            "provider_specific_fields": {"a": 1}})),
        said(json!({"role": "assistant", "content": "x"})),
    );
    check_quirk(
        Quirks { no_output_fields: true, ..none() },
        said(json!({"role": "assistant", "content": null, "refusal": "no"})),
        said(json!({"role": "assistant", "content": "no"})),
    );
    check_quirk(
        Quirks { wants_reasoning_content: true, no_output_fields: true, ..none() },
        said(json!({"role": "assistant", "content": "x",
            "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "s"}]})),
        said(json!({"role": "assistant", "content": "x", "reasoning_content": "hm"})),
    );
    check_quirk(
        Quirks { wants_reasoning_content: true, ..none() },
        said(json!({"role": "assistant", "content": null, "tool_calls": call("c")})),
        said(
            json!({"role": "assistant", "content": null, "tool_calls": call("c"), "reasoning_content": " "}),
        ),
    );
    check_quirk(
        Quirks { max_tokens_only: true, ..none() },
        ask(json!({"max_completion_tokens": 5, "max_tokens": 9})),
        ask(json!({"max_tokens": 5})),
    );
    check_quirk(
        Quirks { required_as_any: true, ..none() },
        ask(json!({"tool_choice": "required"})),
        ask(json!({"tool_choice": "any"})),
    );
    check_quirk(
        Quirks { no_stream_options: true, ..none() },
        ask(json!({"stream": true, "stream_options": {"include_usage": true}})),
        ask(json!({"stream": true})),
    );
    check_quirk(
        Quirks { thinking_switch: true, ..none() },
        ask(json!({"reasoning_effort": "none"})),
        ask(json!({"thinking": {"type": "disabled"}})),
    );
    let gemini = Signature { origin: Dialect::Gemini, value: "x".repeat(60) };
    let packed = crate::carry::pack_id("call_1", &gemini);
    let answered = |id: &str| {
        json!({"model": "m", "messages": [
            {"role": "assistant", "content": "x", "tool_calls": call(id)},
            {"role": "tool", "tool_call_id": id, "content": "y"}]})
    };
    check_quirk(Quirks { short_tool_ids: true, ..none() }, answered(&packed), answered("call_1"));
    let mut carrying = answered("call_1");
    carrying["messages"][0]["thinking_blocks"] =
        json!([{"type": "thinking", "thinking": "t", "signature": "E"}]);
    carrying["messages"][0]["tool_calls"][0]["provider_specific_fields"] =
        json!({"thought_signatures": ["C"]});
    check_quirk(Quirks { short_tool_ids: true, ..none() }, carrying, answered("call_1"));
    let short = crate::openai_chat::names::nine_chars("call_long").into_owned();
    check_quirk(Quirks { nine_char_tool_ids: true, ..none() }, answered("call_long"), answered(&short));
}

#[test]
fn a_patch_keeps_the_bytes_it_does_not_name() {
    let body = br#"{"model":"m","seed":1.10,"messages":[{"role":"developer", "content":"x","w":1e2},{"role":"user","content":"y" }]}"#;
    let quirks = Quirks { developer_as_system: true, ..Quirks::default() };
    let patched = String::from_utf8(patch(body, &quirks).unwrap().unwrap()).unwrap();
    assert_eq!(
        patched,
        r#"{"model":"m","seed":1.10,"messages":[{"role":"system","content":"x","w":1e2},{"role":"user","content":"y" }]}"#
    );
    assert_eq!(patch(body, &Quirks { max_tokens_only: true, ..Quirks::default() }).unwrap(), None);
    assert!(patch(b"nonsense", &quirks).is_err());
    let marked = br#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}]}]}"#;
    let without = r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"x"}]}]}"#;
    assert_eq!(patch(marked, &Quirks::default()).unwrap().unwrap(), without.as_bytes());
    for (body, quirks) in [(&body[..], &quirks), (marked, &Quirks::default())] {
        let envelope = Envelope::parse(bytes::Bytes::copy_from_slice(body), 64).unwrap();
        assert!(may_concern(&envelope, quirks));
        assert!(!may_concern(&Envelope::empty(), quirks));
    }
}

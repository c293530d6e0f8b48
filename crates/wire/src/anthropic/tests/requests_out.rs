//! Requests of callers of other dialects, as a provider of this one takes them.

use proptest::prelude::*;
use serde_json::{Value, json};
use tollway_model::{
    CacheHint, CacheTtl, Capabilities, Content, Dialect, Effort, Extras, Media, MediaSource, Message,
    OutputFormat, Part, RawJson, Reasoning, Request, Role, Signature, Support, Tool, ToolCall, ToolChoice,
    ToolKind, ToolResult, WebSearch,
};

use super::{decode, encode, fields};
use crate::Codec;
use crate::anthropic::Anthropic;

fn raw(value: Value) -> RawJson {
    RawJson::from(value)
}

fn user(text: &str) -> Message {
    Message::text(Role::User, text)
}

/// A request of one user turn.
fn base() -> Request {
    Request { messages: vec![user("hi")], ..Request::default() }
}

fn tool(name: &str) -> Tool {
    Tool::Function { name: name.into(), description: None, parameters: None, strict: None, cache: None }
}

fn call(id: &str, name: &str, arguments: &str) -> Part {
    let (id, name, arguments) = (id.into(), name.into(), arguments.into());
    Part::new(Content::ToolCall(ToolCall { id, name, arguments, kind: ToolKind::Function, signature: None }))
}

fn result(id: &str, text: &str) -> Message {
    let result = ToolResult { call_id: id.into(), name: None, parts: vec![Part::text(text)], is_error: None };
    Message::new(Role::Tool, vec![Part::new(Content::ToolResult(result))])
}

fn thought(origin: Dialect) -> Part {
    let signature = Some(Signature { origin, value: "sig".into() });
    Part::new(Content::Reasoning { text: "hm".into(), signature, redacted: false })
}

/// The members named in `expected` are sent so (null: not at all), with exactly these notices.
fn check_with(request: &Request, capabilities: &Capabilities, expected: Value, notices: &[&str]) {
    let (body, found, _) = encode(request, capabilities);
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(body.get(name).unwrap_or(&Value::Null), value, "{name} in {body}");
    }
    assert_eq!(fields(&found), notices);
}

fn check(request: &Request, expected: Value, notices: &[&str]) {
    check_with(request, &Capabilities::default(), expected, notices);
}

fn messages(messages: Vec<Message>, expected: Value, notices: &[&str]) {
    let request = Request { messages, tools: vec![tool("f")], ..Request::default() };
    check(&request, json!({"messages": expected}), notices);
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn turn(role: &str, content: Value) -> Value {
    json!({"role": role, "content": content})
}

#[test]
fn turns_alternate_and_begin_with_the_user() {
    messages(vec![user("a"), user("b")], json!([turn("user", json!([text("a"), text("b")]))]), &[]);
    let dot = || turn("user", json!([text(".")]));
    let hello = Message::text(Role::Assistant, "hello \n");
    messages(
        vec![hello.clone()],
        json!([dot(), turn("assistant", json!([text("hello")]))]),
        &["changed messages"],
    );
    messages(vec![], json!([dot()]), &["changed messages"]);
    messages(vec![Message::new(Role::User, vec![])], json!([dot()]), &["changed messages[0].content"]);
    messages(
        vec![user(" \n")],
        json!([dot()]),
        &["changed messages[0].content[0]", "changed messages[0].content"],
    );
    messages(
        vec![user("a"), Message::text(Role::Assistant, ""), user("b")],
        json!([turn("user", json!([text("a"), text("b")]))]),
        &[],
    );
    let no_prefill = Capabilities { prefill: Support::No, ..Capabilities::default() };
    let request = Request { messages: vec![user("a"), hello], ..Request::default() };
    let (body, notices, _) = encode(&request, &no_prefill);
    assert_eq!(
        (body["messages"][2]["role"].as_str(), fields(&notices)),
        (Some("user"), vec!["dropped messages".to_owned()])
    );
}

#[test]
fn the_operators_words_go_to_the_top_or_into_the_next_turn() {
    let system = |text| Message::text(Role::System, text);
    let request = Request {
        messages: vec![system("a"), Message::text(Role::Developer, "b"), user("c"), system("d"), user("e")],
        ..Request::default()
    };
    let note = text("Note from the operator of this conversation: d");
    check(
        &request,
        json!({"system": [text("a"), text("b")], "messages": [turn("user", json!([text("c"), note, text("e")]))]}),
        &["changed messages[3].role"],
    );
    let native = Capabilities { mid_conversation_system: Support::Yes, ..Capabilities::default() };
    let turns = json!([
        turn("user", json!([text("c")])),
        turn("system", json!([text("d")])),
        turn("user", json!([text("e")]))
    ]);
    check_with(&request, &native, json!({"messages": turns}), &[]);
}

#[test]
fn tool_results_come_first_in_their_turn() {
    let assistant = Message::new(
        Role::Assistant,
        vec![call("call/1", "f", "{\"a\":1}"), call("call_1", "f", ""), call("x", "f", "[1]")],
    );
    let uses = json!([
        {"type": "tool_use", "id": "call_1_2", "name": "f", "input": {"a": 1}},
        {"type": "tool_use", "id": "call_1", "name": "f", "input": {}},
        {"type": "tool_use", "id": "x", "name": "f", "input": {"arguments": "[1]"}},
    ]);
    let results = json!([
        {"type": "tool_result", "tool_use_id": "call_1_2", "content": "r1"},
        {"type": "tool_result", "tool_use_id": "call_1", "content": "r2"},
        text("and"),
    ]);
    messages(
        vec![user("go"), assistant, user("and"), result("call/1", "r1"), result("call_1", "r2")],
        json!([turn("user", json!([text("go")])), turn("assistant", uses), turn("user", results)]),
        &["changed messages[1].content[2]"],
    );
}

#[test]
fn history_with_tools_gets_a_tool() {
    let request = Request {
        messages: vec![user("a"), Message::new(Role::Assistant, vec![call("c", "f", "")]), result("c", "r")],
        ..Request::default()
    };
    let (body, notices, _) = encode(&request, &Capabilities::default());
    assert_eq!(
        (body["tools"][0]["name"].as_str(), &body["tool_choice"]),
        (Some("no_tool"), &json!({"type": "none"}))
    );
    assert_eq!(fields(&notices), ["changed tools"]);
}

#[test]
fn only_thinking_of_this_dialect_returns() {
    let assistant = |origin| Message::new(Role::Assistant, vec![thought(origin), Part::text("a")]);
    let block = json!({"type": "thinking", "thinking": "hm", "signature": "sig"});
    messages(
        vec![user("q"), assistant(Dialect::Anthropic), user("r")],
        json!([
            turn("user", json!([text("q")])),
            turn("assistant", json!([block, text("a")])),
            turn("user", json!([text("r")]))
        ]),
        &[],
    );
    messages(
        vec![user("q"), assistant(Dialect::Gemini), user("r")],
        json!([
            turn("user", json!([text("q")])),
            turn("assistant", json!([text("a")])),
            turn("user", json!([text("r")]))
        ]),
        &["changed messages[1].content[0]"],
    );
}

#[test]
fn media_become_blocks_or_errors() {
    let sent = |content: Content| {
        let request = Request {
            messages: vec![Message::new(Role::User, vec![Part::new(content)])],
            ..Request::default()
        };
        let capabilities = Capabilities::default();
        let target = crate::Target { model: "m", capabilities: &capabilities, quirks: &Default::default() };
        Anthropic.encode_request(&request, &target, &mut Default::default()).map(|encoded| {
            serde_json::from_slice::<Value>(&encoded.body).unwrap()["messages"][0]["content"][0].clone()
        })
    };
    let base64 = |kind: &str, data: &str| json!({"type": "base64", "media_type": kind, "data": data});
    let image = |source: Value| json!({"type": "image", "source": source});
    assert_eq!(
        sent(Content::Image(Media::base64("image/jpg", "AA=="))).unwrap(),
        image(base64("image/jpeg", "AA=="))
    );
    assert_eq!(
        sent(Content::Image(Media::url("https://a"))).unwrap(),
        image(json!({"type": "url", "url": "https://a"}))
    );
    let pdf = Media { name: Some("p.pdf".into()), ..Media::base64("application/pdf", "AA==") };
    assert_eq!(
        sent(Content::File(pdf)).unwrap(),
        json!({"type": "document", "source": base64("application/pdf", "AA=="), "title": "p.pdf"})
    );
    let plain =
        json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hi"}});
    assert_eq!(sent(Content::File(Media::base64("text/csv", "aGk="))).unwrap(), plain);
    let file = Media { source: MediaSource::FileId("file_1".into()), ..Media::url("") };
    assert_eq!(
        sent(Content::File(file)).unwrap(),
        json!({"type": "document", "source": {"type": "file", "file_id": "file_1"}})
    );
    assert_eq!(
        sent(Content::File(Media::base64("image/png", "AA=="))).unwrap(),
        image(base64("image/png", "AA=="))
    );
    for refused in [
        Content::Audio(Media::base64("audio/wav", "AA==")),
        Content::Video(Media::url("https://a")),
        Content::Image(Media::base64("image/tiff", "AA==")),
        Content::File(Media::base64("application/zip", "AA==")),
    ] {
        let error = sent(refused).unwrap_err();
        assert_eq!(
            (error.kind(), error.param()),
            (tollway_model::Kind::Unsupported, Some("messages[0].content[0]"))
        );
    }
}

#[test]
fn tools_are_renamed_and_restored() {
    let request = Request {
        tools: vec![tool("files.read"), tool("files_read")],
        tool_choice: Some(ToolChoice::Named("files.read".into())),
        messages: vec![
            user("a"),
            Message::new(Role::Assistant, vec![call("c", "files.read", "")]),
            result("c", "r"),
        ],
        ..Request::default()
    };
    let (body, _, encoded) = encode(&request, &Capabilities::default());
    assert_eq!(body["tools"][0]["name"], "files_read_2");
    assert_eq!(body["tool_choice"], json!({"type": "tool", "name": "files_read_2"}));
    assert_eq!(body["messages"][1]["content"][0]["name"], "files_read_2");
    assert_eq!(encoded.restore.tool_name("files_read_2"), "files.read");
    assert_eq!(encoded.restore.tool_name("files_read"), "files_read");
}

#[test]
fn the_choice_of_tools() {
    let with = |tool_choice: Option<ToolChoice>, parallel_tool_calls: Option<bool>| Request {
        tools: vec![tool("f"), tool("g")],
        tool_choice,
        parallel_tool_calls,
        ..base()
    };
    let choice = |kind: &str| json!({"tool_choice": {"type": kind}});
    check(&with(None, None), json!({"tool_choice": null}), &[]);
    check(&with(Some(ToolChoice::Required), None), choice("any"), &[]);
    check(&with(Some(ToolChoice::None), Some(false)), choice("none"), &[]);
    check(
        &with(None, Some(false)),
        json!({"tool_choice": {"type": "auto", "disable_parallel_tool_use": true}}),
        &[],
    );
    let allowed = with(Some(ToolChoice::Allowed { names: vec!["g".into()], required: true }), None);
    let only = json!([{"name": "g", "input_schema": {"type": "object", "properties": {}}}]);
    check(&allowed, json!({"tools": only, "tool_choice": {"type": "any"}}), &["changed tool_choice"]);
    let unforced = Capabilities { forced_tool_use: Support::No, ..Capabilities::default() };
    check_with(&with(Some(ToolChoice::Required), None), &unforced, choice("auto"), &["changed tool_choice"]);
    check(
        &Request { tool_choice: Some(ToolChoice::Required), ..base() },
        json!({"tool_choice": null}),
        &["changed tool_choice"],
    );
}

#[test]
fn hosted_tools_and_searches() {
    let server =
        |dialect, kind: &str, json: Value| Tool::Server { dialect, kind: kind.into(), json: raw(json) };
    let mcp = server(
        Dialect::OpenaiChat,
        "mcp",
        json!({"type": "mcp", "server_url": "https://m", "server_label": "l", "allowed_tools": ["a"], "headers": {"Authorization": "Bearer t"}}),
    );
    let servers = json!([{"type": "url", "url": "https://m", "name": "l", "authorization_token": "t", "tool_configuration": {"allowed_tools": ["a"]}}]);
    let request = Request { tools: vec![mcp], ..base() };
    check(&request, json!({"mcp_servers": servers, "tools": null}), &[]);
    assert_eq!(encode(&request, &Capabilities::default()).2.headers[0].1, "mcp-client-2025-04-04");
    let computer = server(Dialect::Anthropic, "computer_20250124", json!({"type": "computer_20250124"}));
    let request = Request { tools: vec![computer], ..base() };
    assert_eq!(encode(&request, &Capabilities::default()).2.headers[0].1, "computer-use-2025-01-24");
    let foreign = server(Dialect::OpenaiChat, "code_interpreter", json!({}));
    check(&Request { tools: vec![foreign], ..base() }, json!({"tools": null}), &["dropped tools[0]"]);
    let search = WebSearch {
        context_size: Some("high".into()),
        location: Some(raw(json!({"country": "NO", "city": "Oslo"}))),
        ..WebSearch::default()
    };
    let searching = Request { web_search: Some(search), ..base() };
    let hosted = json!([{"type": "web_search_20250305", "name": "web_search", "max_uses": 10, "user_location": {"type": "approximate", "country": "NO", "city": "Oslo"}}]);
    check(&searching, json!({"tools": hosted}), &[]);
    let blind = Capabilities { web_search: Support::No, ..Capabilities::default() };
    check_with(&searching, &blind, json!({"tools": null}), &["dropped web_search_options"]);
    let google =
        Request { tools: vec![server(Dialect::Gemini, "googleSearch", json!({}))], ..searching.clone() };
    check(&google, json!({"tools": hosted}), &[]);
    let clash = Request { tools: vec![tool("web_search")], ..searching };
    check(&clash, json!({}), &["dropped web_search_options"]);
}

#[test]
fn free_text_tools_become_functions_of_one_argument() {
    let patch = Tool::Custom { name: "patch".into(), description: Some("d".into()), format: None };
    let mut said = call("c", "patch", "*** Begin");
    if let Content::ToolCall(call) = &mut said.content {
        call.kind = ToolKind::Custom;
    }
    let request = Request {
        messages: vec![user("a"), Message::new(Role::Assistant, vec![said]), result("c", "ok")],
        tools: vec![patch],
        ..Request::default()
    };
    let (body, notices, encoded) = encode(&request, &Capabilities::default());
    assert_eq!(body["messages"][1]["content"][0]["input"], json!({"input": "*** Begin"}));
    assert_eq!(body["tools"][0]["input_schema"]["required"], json!(["input"]));
    assert!(encoded.restore.custom_tools.contains("patch"));
    assert_eq!(fields(&notices), ["changed tools[0]"]);
}

#[test]
fn limits_and_sampling() {
    check(&base(), json!({"max_tokens": 4096, "temperature": null, "stream": null}), &[]);
    let known = Capabilities { max_output_tokens: Some(8192), ..Capabilities::default() };
    check_with(&base(), &known, json!({"max_tokens": 8192}), &[]);
    check_with(
        &Request { max_output_tokens: Some(9000), ..base() },
        &known,
        json!({"max_tokens": 8192}),
        &["changed max_tokens"],
    );
    check(
        &Request { temperature: Some(1.5), top_p: Some(1.0), ..base() },
        json!({"temperature": 1.0, "top_p": null}),
        &["changed temperature"],
    );
    let fixed = Capabilities { sampling_params: Support::No, ..Capabilities::default() };
    let sampled = Request { temperature: Some(0.2), top_p: Some(0.9), top_k: Some(3), ..base() };
    check_with(
        &sampled,
        &fixed,
        json!({"temperature": null, "top_p": null, "top_k": null}),
        &["dropped temperature", "dropped top_p", "dropped top_k"],
    );
    check_with(&Request { temperature: Some(1.0), ..base() }, &fixed, json!({"temperature": null}), &[]);
    check(&sampled, json!({"temperature": 0.2, "top_p": 0.9, "top_k": 3}), &[]);
    // What a Gemini agent sends with every call, wanting nothing by it.
    let usual = Request {
        temperature: Some(1.0),
        top_p: Some(0.95),
        top_k: Some(64),
        extras: Extras::of(Dialect::Gemini),
        ..base()
    };
    check(&usual, json!({"temperature": null, "top_p": 0.95, "top_k": 64}), &[]);
    let nothing = json!({"temperature": null, "top_p": null, "top_k": null});
    check_with(&usual, &fixed, nothing, &["changed top_p", "changed top_k"]);
    check(
        &Request { stop: vec!["\n".into(), "END".into()], ..base() },
        json!({"stop_sequences": ["END"]}),
        &["dropped stop"],
    );
}

#[test]
fn users_are_named_unless_they_could_be_reached() {
    let named = |user: &str| Request { user: Some(user.into()), ..base() };
    check(&named("u-1"), json!({"metadata": {"user_id": "u-1"}}), &[]);
    check(&named("a@b.org"), json!({"metadata": null}), &["changed user"]);
    check(&named("+47 (22) 33-44-55"), json!({"metadata": null}), &["changed user"]);
    check(&named("team@work"), json!({"metadata": {"user_id": "team@work"}}), &[]);
}

#[test]
fn what_has_no_counterpart_is_noted() {
    let request = Request {
        seed: Some(1),
        n: Some(2),
        presence_penalty: Some(0.5),
        frequency_penalty: Some(0.0),
        logit_bias: Some(raw(json!({"1": 2}))),
        logprobs: Some(true),
        verbosity: Some("low".into()),
        prediction: Some(raw(json!({}))),
        metadata: Some(raw(json!({}))),
        prompt_cache_key: Some("k".into()),
        service_tier: Some("flex".into()),
        modalities: vec!["text".into(), "audio".into()],
        ..base()
    };
    check(
        &request,
        json!({"service_tier": null, "metadata": null}),
        &[
            "changed service_tier",
            "dropped seed",
            "dropped n",
            "dropped presence_penalty",
            "dropped logit_bias",
            "dropped logprobs",
            "dropped modalities",
            "changed verbosity",
            "changed prediction",
            "changed prompt_cache_key",
            "changed metadata",
        ],
    );
    let mut extras = Extras::of(Dialect::OpenaiChat);
    for (name, value) in [
        ("store", json!(true)),
        ("guided_regex", json!("x")),
        ("speed", json!("fast")),
        ("context_management", json!([{"type": "compaction", "compact_threshold": 5}])),
    ] {
        extras.fields.insert(name.into(), raw(value));
    }
    let (body, notices, encoded) = encode(&Request { extras, ..base() }, &Capabilities::default());
    assert_eq!(fields(&notices), ["changed store", "dropped guided_regex"]);
    assert_eq!(body["speed"], "fast");
    assert_eq!(
        body["context_management"],
        json!({"edits": [{"type": "compact_20260112", "trigger": {"type": "input_tokens", "value": 5}}]})
    );
    assert_eq!(encoded.headers[0].1, "compact-2026-01-12,context-management-2025-06-27,fast-mode-2026-02-01");
}

#[test]
fn the_last_four_cache_marks_stay() {
    let marked =
        |text: &str| Part { cache: Some(CacheHint { ttl: Some(CacheTtl::Hour1) }), ..Part::text(text) };
    let request = Request {
        messages: vec![
            Message::new(Role::System, vec![marked("a"), marked("b")]),
            Message::new(Role::User, vec![marked("c"), marked("d"), marked("e")]),
        ],
        ..Request::default()
    };
    let (body, notices, _) = encode(&request, &Capabilities::default());
    assert_eq!(body["system"][0]["cache_control"], Value::Null);
    assert_eq!(body["system"][1]["cache_control"], json!({"type": "ephemeral", "ttl": "1h"}));
    assert_eq!(body.to_string().matches("cache_control").count(), 4);
    assert_eq!(fields(&notices), ["changed cache_control"]);
    let uncached = Capabilities { prompt_caching: Support::No, ..Capabilities::default() };
    let (body, notices, _) = encode(&request, &uncached);
    assert_eq!(
        (body.to_string().matches("cache_control").count(), fields(&notices)),
        (0, vec!["changed cache_control".to_owned()])
    );
}

fn effort(effort: Effort) -> Option<Reasoning> {
    Some(Reasoning { effort: Some(effort), ..Reasoning::default() })
}

fn budgeted() -> Capabilities {
    Capabilities {
        adaptive_thinking: Support::No,
        max_output_tokens: Some(64_000),
        ..Capabilities::default()
    }
}

#[test]
fn thinking_by_budget() {
    let asks = |reasoning: Option<Reasoning>, max_output_tokens: Option<u64>| Request {
        reasoning,
        max_output_tokens,
        ..base()
    };
    let enabled = |budget: u64| json!({"type": "enabled", "budget_tokens": budget});
    let check = |request: &Request, expected: Value, notices: &[&str]| {
        check_with(request, &budgeted(), expected, notices)
    };
    check(
        &asks(effort(Effort::Medium), None),
        json!({"thinking": enabled(2048), "max_tokens": 6144, "output_config": null}),
        &[],
    );
    check(&asks(effort(Effort::None), None), json!({"thinking": null}), &[]);
    check(
        &asks(effort(Effort::High), Some(3000)),
        json!({"thinking": enabled(2999), "max_tokens": 3000}),
        &["changed thinking.budget_tokens"],
    );
    check(
        &asks(effort(Effort::Low), Some(1024)),
        json!({"thinking": null, "max_tokens": 1024}),
        &["changed reasoning_effort"],
    );
    check(
        &asks(Some(Reasoning { budget_tokens: Some(500), ..Reasoning::default() }), None),
        json!({"thinking": enabled(1024)}),
        &["changed thinking.budget_tokens"],
    );
    check(
        &asks(Some(Reasoning { adaptive: true, ..Reasoning::default() }), None),
        json!({"thinking": enabled(2048)}),
        &["changed thinking"],
    );
    let busy = Request {
        temperature: Some(0.3),
        top_p: Some(0.5),
        top_k: Some(4),
        tools: vec![tool("f")],
        tool_choice: Some(ToolChoice::Required),
        ..asks(effort(Effort::Low), None)
    };
    check(
        &busy,
        json!({"temperature": null, "top_p": null, "top_k": null, "tool_choice": {"type": "auto"}}),
        &["changed tool_choice", "changed temperature", "changed top_p", "changed top_k"],
    );
    let (_, _, encoded) = encode(&busy, &budgeted());
    assert_eq!(encoded.headers, [("anthropic-beta", "interleaved-thinking-2025-05-14".to_owned())]);
}

#[test]
fn thinking_by_effort_never_and_always() {
    let asks = |reasoning: Option<Reasoning>| Request { reasoning, ..base() };
    let adaptive = Capabilities {
        adaptive_thinking: Support::Yes,
        efforts: vec![Effort::Low, Effort::Medium, Effort::High],
        ..Capabilities::default()
    };
    let shown = json!({"type": "adaptive", "display": "summarized"});
    check_with(
        &asks(effort(Effort::High)),
        &adaptive,
        json!({"thinking": shown, "output_config": {"effort": "high"}}),
        &[],
    );
    check_with(&asks(effort(Effort::Minimal)), &adaptive, json!({"output_config": {"effort": "low"}}), &[]);
    check_with(
        &asks(effort(Effort::Max)),
        &adaptive,
        json!({"output_config": {"effort": "high"}}),
        &["changed reasoning_effort"],
    );
    let budget = Some(Reasoning { budget_tokens: Some(5000), ..Reasoning::default() });
    check_with(
        &asks(budget),
        &adaptive,
        json!({"thinking": shown, "output_config": {"effort": "high"}}),
        &["changed thinking.budget_tokens"],
    );
    let disabled = Some(Reasoning { disabled: true, ..Reasoning::default() });
    check_with(&asks(disabled.clone()), &adaptive, json!({"thinking": {"type": "disabled"}}), &[]);
    let always =
        Capabilities { thinking_always_on: true, forced_tool_use: Support::No, ..Capabilities::default() };
    check_with(&asks(disabled.clone()), &always, json!({"thinking": null}), &["changed reasoning_effort"]);
    let never = Capabilities { reasoning: Support::No, ..Capabilities::default() };
    check_with(
        &asks(effort(Effort::High)),
        &never,
        json!({"thinking": null, "output_config": null}),
        &["dropped reasoning_effort"],
    );
    check_with(&asks(disabled), &never, json!({"thinking": null}), &[]);
}

#[test]
fn a_tool_loop_without_its_thinking_goes_on_without_thinking() {
    let with = |origin| Request {
        messages: vec![
            user("a"),
            Message::new(Role::Assistant, vec![thought(origin), call("c", "f", "")]),
            result("c", "r"),
        ],
        tools: vec![tool("f")],
        reasoning: effort(Effort::Low),
        ..Request::default()
    };
    let enabled = json!({"type": "enabled", "budget_tokens": 1024});
    check_with(&with(Dialect::Anthropic), &budgeted(), json!({"thinking": enabled}), &[]);
    let notices = ["changed messages[1].content[0]", "changed reasoning_effort"];
    check_with(&with(Dialect::Gemini), &budgeted(), json!({"thinking": null}), &notices);
    let mut done = with(Dialect::Gemini);
    done.messages.extend([Message::text(Role::Assistant, "ok"), user("next")]);
    check_with(&done, &budgeted(), json!({"thinking": enabled}), &["changed messages[1].content[0]"]);
}

#[test]
fn json_answers_by_schema_by_tool_or_by_words() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}});
    let wants = |schema: Value| Request {
        output: Some(OutputFormat::JsonSchema {
            name: Some("n".into()),
            description: None,
            schema: raw(schema),
            strict: Some(true),
        }),
        ..base()
    };
    let closed = json!({"type": "object", "properties": {"a": {"type": "integer", "description": "(minimum: 1)"}}, "additionalProperties": false});
    check(
        &wants(schema.clone()),
        json!({"output_config": {"format": {"type": "json_schema", "schema": closed}}}),
        &["changed response_format"],
    );
    let old = Capabilities { native_structured_output: Support::No, ..Capabilities::default() };
    let forced = json!({"type": "tool", "name": "json_tool_call", "disable_parallel_tool_use": true});
    check_with(&wants(schema.clone()), &old, json!({"output_config": null, "tool_choice": forced}), &[]);
    let (body, _, encoded) = encode(&wants(schema.clone()), &old);
    assert_eq!(
        (&body["tools"][0]["input_schema"], encoded.restore.json_tool.as_deref()),
        (&schema, Some("json_tool_call"))
    );
    let among = Request { tools: vec![tool("json_tool_call")], ..wants(schema.clone()) };
    let (body, _, encoded) = encode(&among, &old);
    assert_eq!(
        (&body["tool_choice"], encoded.restore.json_tool.as_deref()),
        (&json!({"type": "any"}), Some("json_tool_call_2"))
    );
    let thinking = Request { reasoning: effort(Effort::Low), ..wants(schema) };
    let old_thinker = Capabilities { native_structured_output: Support::No, ..budgeted() };
    check_with(
        &thinking,
        &old_thinker,
        json!({"tool_choice": {"type": "auto"}}),
        &["changed response_format"],
    );
    let tree = json!({"type": "object", "properties": {"next": {"$ref": "#"}}});
    check(&wants(tree), json!({"tool_choice": forced, "output_config": null}), &["changed response_format"]);
    check_with(&wants(json!({"type": "array"})), &old, json!({"tools": null}), &["changed response_format"]);
    let object = Request { output: Some(OutputFormat::JsonObject), ..base() };
    check(&object, json!({"tool_choice": forced, "system": null}), &[]);
    let (body, _, _) = encode(&Request { tools: vec![tool("f")], ..object }, &Capabilities::default());
    assert!(body["system"][0]["text"].as_str().unwrap().contains("one JSON object"));
}

#[test]
fn strict_tools_are_enforced_where_the_model_can() {
    let strict = Tool::Function {
        name: "f".into(),
        description: None,
        parameters: Some(raw(json!({"properties": {"a": {"type": "string", "maxLength": 3}}}))),
        strict: Some(true),
        cache: None,
    };
    let request = Request { tools: vec![strict], ..base() };
    let (body, notices, _) = encode(&request, &Capabilities::default());
    assert_eq!(body["tools"][0]["strict"], true);
    assert_eq!(body["tools"][0]["input_schema"]["additionalProperties"], false);
    assert_eq!(fields(&notices), ["changed tools[0].function.parameters"]);
    let old = Capabilities { native_structured_output: Support::No, ..Capabilities::default() };
    let (body, notices, _) = encode(&request, &old);
    assert_eq!(body["tools"][0].get("strict"), None);
    assert_eq!(fields(&notices), ["changed tools[0].function.strict"]);
}

fn part() -> impl Strategy<Value = Part> {
    let content = prop_oneof![
        "[a-z]{1,6}( [a-z]{1,6})?".prop_map(|text| Part::text(text).content),
        "[A-Za-z0-9]{4}".prop_map(|data| Content::Image(Media::base64("image/png", data))),
        "[a-z]{1,6}".prop_map(|url| Content::File(Media::url(url))),
    ];
    (content, proptest::option::weighted(0.1, Just(CacheHint { ttl: None })))
        .prop_map(|(content, cache)| Part { content, cache })
}

prop_compose! {
    /// Requests inside what this dialect can say, turns alternating.
    fn request()(
        system in proptest::option::of(proptest::collection::vec("[a-z]{1,6}".prop_map(Part::text), 1..3)),
        asks in proptest::collection::vec(part(), 1..3),
        answers in proptest::collection::vec(("[a-z]{1,6}", "[A-Za-z0-9_-]{1,6}", "[a-z_-]{1,6}"), 0..4),
        temperature in proptest::option::of(0.0..=1.0_f64),
        top_k in proptest::option::of(0..9_u64),
        stop in proptest::collection::vec("[a-z]{1,3}", 0..2),
        stream in any::<bool>(),
    ) -> Request {
        let mut messages: Vec<_> = system.map(|parts| Message::new(Role::System, parts)).into_iter().collect();
        messages.push(Message::new(Role::User, asks));
        let mut tools = Vec::new();
        for (number, (text, id, name)) in answers.into_iter().enumerate() {
            // No id twice: repeated ones are told apart, which another test shows.
            let id = format!("{id}{number}");
            messages.push(Message::new(Role::Assistant, vec![thought(Dialect::Anthropic), Part::text(text), call(&id, &name, "{\"a\":1}")]));
            messages.push(result(&id, "r"));
            let parameters = Some(raw(json!({"type": "object"})));
            tools.push(Tool::Function { name, description: None, parameters, strict: None, cache: None });
        }
        Request {
            model: "claude-x".into(), messages, tools, temperature, top_k, stop, stream,
            max_output_tokens: Some(9), extras: Extras::of(Dialect::Anthropic), ..Request::default()
        }
    }
}

proptest! {
    #[test]
    fn a_request_survives_encoding(request in request()) {
        let (body, notices, _) = encode(&request, &Capabilities::default());
        prop_assert!(notices.iter().all(|notice| notice.field == "cache_control"), "{notices:?}");
        if notices.is_empty() {
            prop_assert_eq!(decode(&body), request);
        }
    }
}

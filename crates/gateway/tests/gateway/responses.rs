//! The Responses API: conversations that go on from id to id, whoever serves them, and whose they are.

use serde_json::{Value, json};
use tollway_testkit::FakeProvider;

use crate::support::{Answer, Gateway, SOON, Start, at, chat, config, fake};

/// One deployment for each way a provider can be spoken to.
fn four(fake: &FakeProvider) -> Vec<String> {
    let chats = at(fake, "chats", "openai/fake-ok", "").replace("}}", "}, model_info: {mode: chat}}");
    vec![
        at(fake, "native", "openai/fake-ok", ""),
        chats,
        at(fake, "claude", "anthropic/fake-ok", ""),
        at(fake, "gem", "gemini/fake-ok", ""),
    ]
}

const FOUR: [&str; 4] = ["native", "chats", "claude", "gem"];

async fn started(fake: &FakeProvider) -> Gateway {
    Gateway::start(&config(&four(fake), "")).await
}

fn tools() -> Value {
    let schema =
        |name: &str| json!({"type": "object", "properties": {name: {"type": "string"}}, "required": [name]});
    json!([
        {"type": "function", "name": "weather", "parameters": schema("city"), "strict": false},
        {"type": "function", "name": "clock", "parameters": schema("zone"), "strict": false},
        {"type": "custom", "name": "apply_patch", "description": "Takes a patch as it is."},
    ])
}

/// A request that goes on from `previous`.
fn turn(model: &str, input: Value, previous: Option<&Value>) -> Value {
    let mut body = json!({"model": model, "input": input});
    if let Some(previous) = previous {
        body["previous_response_id"] = previous["id"].clone();
    }
    body
}

impl Gateway {
    async fn respond(&self, body: &Value) -> Answer {
        self.post("/v1/responses", body).await
    }

    /// The response, whole or folded from a stream whose events are in order.
    async fn response(&self, mut body: Value, stream: bool) -> Value {
        if !stream {
            return self.respond(&body).await.expect(200).json();
        }
        body["stream"] = json!(true);
        let answer = self.respond(&body).await;
        let events = answer.expect(200).events();
        let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
        assert_eq!(kinds[..2], ["response.created", "response.in_progress"], "{kinds:?}");
        for (number, event) in events.iter().enumerate() {
            assert_eq!(event["sequence_number"], number, "{event}");
        }
        let last = events.last().unwrap();
        assert!(["response.completed", "response.incomplete"].contains(kinds.last().unwrap()), "{last}");
        let ids: Vec<&Value> = events.iter().filter_map(|event| event["response"].get("id")).collect();
        assert!(ids.len() >= 3 && ids.iter().all(|id| **id == last["response"]["id"]), "{ids:?}");
        last["response"].clone()
    }

    async fn with_key(&self, key: &str, method: &str, path: &str, body: &Value) -> Answer {
        let bearer = format!("Bearer {key}");
        let body = if method == "GET" { String::new() } else { body.to_string() };
        self.send(method, path, &[("authorization", &bearer)], body).await.read().await
    }

    async fn new_key(&self) -> String {
        self.post("/key/generate", &json!({})).await.expect(200).json()["key"].as_str().unwrap().to_owned()
    }
}

fn output_text(response: &Value) -> String {
    let items = response["output"].as_array().unwrap().iter().filter(|item| item["type"] == "message");
    let parts = items.flat_map(|item| item["content"].as_array().unwrap());
    parts.map(|part| part["text"].as_str().unwrap()).collect()
}

/// The outputs of all calls of a response.
fn outputs(response: &Value) -> Value {
    let calls = response["output"].as_array().unwrap().iter().filter(|item| item["type"] == "function_call");
    let output =
        |call: &Value| json!({"type": "function_call_output", "call_id": call["call_id"], "output": "mild"});
    calls.map(output).collect()
}

fn path_of(response: &Value) -> String {
    format!("/v1/responses/{}", response["id"].as_str().unwrap())
}

#[tokio::test]
async fn five_turns_go_on_from_id_to_id_whoever_serves_them_and_every_tool_arrives() {
    let fake = fake().await;
    let gateway = started(&fake).await;
    for model in FOUR {
        for stream in [false, true] {
            let with_tools = |mut body: Value| {
                body["tools"] = tools();
                body
            };
            let ask = async |input: Value, previous: Option<&Value>| {
                let response = gateway.response(with_tools(turn(model, input, previous)), stream).await;
                assert!(response["id"].as_str().unwrap().starts_with("resp_"), "{response}");
                assert_eq!((&response["model"], &response["store"]), (&json!(model), &json!(true)));
                assert_eq!(
                    response["previous_response_id"],
                    previous.map_or(Value::Null, |it| it["id"].clone())
                );
                assert_eq!(response["tools"].as_array().unwrap().len(), 3, "{response}");
                response
            };
            let one = ask(json!("weather city=Oslo, clock zone=CET"), None).await;
            assert_eq!(outputs(&one).as_array().unwrap().len(), 2, "{model} {stream}: {one}");
            let two = ask(outputs(&one), Some(&one)).await;
            assert_eq!(
                output_text(&two),
                "The tool weather says: mild\nThe tool clock says: mild",
                "{model} {stream}"
            );
            let three = ask(json!("say: so be it"), Some(&two)).await;
            assert_eq!(output_text(&three), "so be it");
            let four = ask(json!([{"role": "user", "content": "weather city=Rome"}]), Some(&three)).await;
            let five = ask(outputs(&four), Some(&four)).await;
            assert_eq!(output_text(&five), "The tool weather says: mild", "{model} {stream}");

            let sent = String::from_utf8(fake.received().last().unwrap().body.to_vec()).unwrap();
            for part in ["Oslo", "CET", "so be it", "Rome", "\"weather\"", "\"clock\"", "\"apply_patch\""] {
                assert!(sent.contains(part), "{model} {stream}: no {part} in {sent}");
            }
            assert!(sent.find("Oslo") < sent.find("so be it") && sent.find("so be it") < sent.find("Rome"));
            assert!(!sent.contains("previous_response_id"), "{sent}");
        }
    }
}

#[tokio::test]
async fn a_response_is_retrieved_listed_and_deleted() {
    let fake = fake().await;
    let gateway = started(&fake).await;
    for (model, stream) in FOUR.into_iter().flat_map(|model| [(model, false), (model, true)]) {
        let one = gateway.response(turn(model, json!("say: one"), None), stream).await;
        let two = gateway.response(turn(model, json!("say: two"), Some(&one)), stream).await;
        for response in [&one, &two] {
            assert_eq!(gateway.get(&path_of(response)).await.expect(200).json(), *response);
        }
        let list = gateway.get(&format!("{}/input_items?order=asc", path_of(&two))).await.expect(200).json();
        let said: Vec<&Value> =
            list["data"].as_array().unwrap().iter().map(|it| &it["content"][0]["text"]).collect();
        assert_eq!(said, ["say: one", "one", "say: two"], "{list}");
        let ids: Vec<&Value> = list["data"].as_array().unwrap().iter().map(|it| &it["id"]).collect();
        let latest = gateway.get(&format!("{}/input_items?limit=2", path_of(&two))).await.json();
        assert_eq!(
            (&latest["first_id"], &latest["last_id"], &latest["has_more"]),
            (ids[2], ids[1], &json!(true))
        );
        let rest = format!("{}/input_items?after={}", path_of(&two), ids[1].as_str().unwrap());
        let rest = gateway.get(&rest).await.json();
        assert_eq!((&rest["data"][0]["id"], &rest["has_more"]), (ids[0], &json!(false)));
        let wrong = gateway.get(&format!("{}/input_items?limit=0", path_of(&two))).await;
        assert_eq!(wrong.expect(400).json()["error"]["param"], "limit");

        let cancel = gateway.post(&format!("{}/cancel", path_of(&one)), &json!({})).await;
        assert!(cancel.expect(400).text().contains("background"));
        gateway.get(&format!("{}?stream=true", path_of(&one))).await.expect(400);

        let master = gateway.key.clone();
        let gone = gateway.with_key(&master, "DELETE", &path_of(&one), &json!(null)).await;
        assert_eq!(gone.expect(200).json(), json!({"id": one["id"], "object": "response", "deleted": true}));
        gateway.get(&path_of(&one)).await.expect(404);
        gateway.with_key(&master, "DELETE", &path_of(&one), &json!(null)).await.expect(404);
        let broken = gateway.respond(&turn(model, json!("say: three"), Some(&two))).await;
        assert_eq!(broken.expect(400).json()["error"]["code"], "previous_response_not_found");
    }
}

#[tokio::test]
async fn a_response_belongs_to_the_key_that_made_it() {
    let fake = fake().await;
    let gateway = started(&fake).await;
    let (mine, other) = (gateway.new_key().await, gateway.new_key().await);
    let made =
        gateway.with_key(&mine, "POST", "/v1/responses", &turn("chats", json!("say: mine"), None)).await;
    let made = made.expect(200).json();
    let calls = fake.received().len();
    let go_on = turn("chats", json!("say: more"), Some(&made));
    for (method, path) in [
        ("GET", path_of(&made)),
        ("DELETE", path_of(&made)),
        ("GET", format!("{}/input_items", path_of(&made))),
        ("POST", format!("{}/cancel", path_of(&made))),
        ("POST", "/v1/responses".to_owned()),
        ("POST", "/v1/responses/input_tokens".to_owned()),
    ] {
        let refused = gateway.with_key(&other, method, &path, &go_on).await;
        assert!(!refused.expect(403).text().contains("mine"), "{method} {path}");
    }
    assert_eq!(fake.received().len(), calls, "nobody was called");
    // Nor does it show what the master key made.
    let masters = gateway.response(turn("chats", json!("say: hers"), None), false).await;
    gateway.with_key(&mine, "GET", &path_of(&masters), &json!(null)).await.expect(403);
    // Its own it sees, with a new secret too; and who may everything sees it.
    let renewed = gateway.post("/key/regenerate", &json!({"key": mine})).await.expect(200).json();
    let renewed = renewed["key"].as_str().unwrap().to_owned();
    assert_ne!(renewed, mine);
    assert_eq!(
        gateway.with_key(&renewed, "GET", &path_of(&made), &json!(null)).await.expect(200).json(),
        made
    );
    gateway.with_key(&renewed, "POST", "/v1/responses", &go_on).await.expect(200);
    gateway.get(&path_of(&made)).await.expect(200);
}

#[tokio::test]
async fn what_is_not_to_be_stored_is_not() {
    let fake = fake().await;
    let keeping = started(&fake).await;
    let never = Gateway::start(&config(&four(&fake), "tollway: {responses: {keep: 0}}")).await;
    for (gateway, store) in [(&keeping, false), (&never, true)] {
        for (model, stream) in FOUR.into_iter().flat_map(|model| [(model, false), (model, true)]) {
            let mut body = turn(model, json!("say: secret"), None);
            body["store"] = json!(store);
            let response = gateway.response(body, stream).await;
            assert_eq!(response["store"], false, "{model} {stream}");
            gateway.get(&path_of(&response)).await.expect(404);
            gateway.respond(&turn(model, json!("say: more"), Some(&response))).await.expect(400);
        }
    }
}

#[tokio::test]
async fn what_failed_is_not_stored() {
    let fake = fake().await;
    let mut models = Vec::new();
    for (name, provider) in [("gpt", "openai"), ("claude", "anthropic"), ("gem", "gemini")] {
        for fault in ["error-mid-stream-6", "cut-after-6-chunks"] {
            models.push(at(&fake, &format!("{name}-{fault}"), &format!("{provider}/fake-{fault}"), ""));
        }
    }
    let gateway = Gateway::start(&config(&models, "router_settings: {num_retries: 0}")).await;
    for name in ["gpt", "claude", "gem"] {
        for fault in ["error-mid-stream-6", "cut-after-6-chunks"] {
            let mut body = turn(&format!("{name}-{fault}"), json!("say: a b c d e f g h"), None);
            body["stream"] = json!(true);
            let events = gateway.respond(&body).await.expect(200).events();
            let (first, last) = (&events[0], events.last().unwrap());
            assert_eq!(first["type"], "response.created");
            assert!(
                ["error", "response.failed"].contains(&last["type"].as_str().unwrap()),
                "{name} {fault}: {last}"
            );
            if last["type"] == "response.failed" {
                assert_eq!(last["response"]["id"], first["response"]["id"], "{name} {fault}");
            }
            assert!(last["sequence_number"].as_u64().unwrap() > 0, "{name} {fault}: {last}");
            gateway.get(&path_of(&first["response"])).await.expect(404);
        }
    }
}

#[tokio::test]
async fn a_stream_that_is_left_in_the_middle_is_not_stored() {
    let fake = fake().await;
    let models = [at(&fake, "slow", "openai/fake-interval-200", "")];
    let gateway = Gateway::start(&config(&models, "")).await;
    let mut body = turn("slow", json!("say: a b c d e f g h"), None);
    body["stream"] = json!(true);
    let mut stream = gateway.open("/v1/responses", &body).await;
    let text = stream.until("response.output_text.delta").await;
    let created = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let created: Value = serde_json::from_str(created).unwrap();
    let receipt = stream.headers.clone();
    drop(stream);
    assert_eq!(gateway.receipt(&receipt).await["outcome"], "client_closed");
    gateway.get(&path_of(&created["response"])).await.expect(404);
}

#[tokio::test]
async fn a_conversation_survives_a_restart_of_the_gateway() {
    let fake = fake().await;
    let text = config(&four(&fake), "");
    let mut gateway = Gateway::start(&text).await;
    let mut last: Option<Value> = None;
    for (round, model) in FOUR.into_iter().enumerate() {
        for stream in [false, true] {
            let body = turn(model, json!(format!("say: round {round} {stream}")), last.as_ref());
            last = Some(gateway.response(body, stream).await);
        }
        // Half of the times it is told to stop, half of the times it is not.
        if round % 2 == 0 {
            gateway.signal("TERM");
            gateway.ended(SOON).await;
        } else {
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        }
        let directory = gateway.stop();
        let start = Start { config: Some(&text), directory: Some(directory), ..Start::default() };
        gateway = Gateway::with(start).await;
    }
    let last = last.unwrap();
    let list = gateway.get(&format!("{}/input_items?limit=100", path_of(&last))).await.expect(200).json();
    assert_eq!(list["data"].as_array().unwrap().len(), 15);
    let sent = String::from_utf8(fake.received().last().unwrap().body.to_vec()).unwrap();
    for round in 0..4 {
        assert!(sent.contains(&format!("round {round} false")), "{sent}");
    }
}

#[tokio::test]
async fn a_conversation_goes_on_at_another_provider_when_its_own_fails() {
    let fake = fake().await;
    let mut models = four(&fake);
    models.push(at(&fake, "broken", "openai/fake-error-500", ""));
    let rest = "router_settings: {num_retries: 0, fallbacks: [{broken: [claude]}]}";
    let gateway = Gateway::start(&config(&models, rest)).await;
    for stream in [false, true] {
        let mut first = turn("native", json!("weather city=Oslo"), None);
        first["tools"] = tools();
        let first = gateway.response(first, stream).await;
        let mut second = turn("broken", outputs(&first), Some(&first));
        second["tools"] = tools();
        let second = gateway.response(second, stream).await;
        assert_eq!(
            (output_text(&second).as_str(), &second["model"]),
            ("The tool weather says: mild", &json!("claude"))
        );
        let third = gateway.response(turn("gem", json!("say: on"), Some(&second)), stream).await;
        assert_eq!(output_text(&third), "on");
        let mut alone = turn("broken", json!("hi"), Some(&third));
        alone["disable_fallbacks"] = json!(true);
        gateway.respond(&alone).await.expect(500);
    }
}

#[tokio::test]
async fn an_answer_that_declines_is_not_kept_where_another_takes_its_place() {
    let fake = fake().await;
    let models = [
        at(&fake, "native", "openai/fake-refusal", ""),
        at(&fake, "claude", "anthropic/fake-refusal", ""),
        // Long enough for what was wrongly kept to be written.
        at(&fake, "lenient", "openai/fake-slow-300", ""),
    ];
    let rest = "router_settings: {num_retries: 0, content_policy_fallbacks: [{native: [lenient]}, {claude: [lenient]}]}";
    let gateway = Gateway::start(&config(&models, rest)).await;
    for (model, stream) in [("native", false), ("native", true), ("claude", false)] {
        let response = gateway.response(turn(model, json!("say: of course"), None), stream).await;
        assert_eq!(output_text(&response), "of course", "{model} {stream}");
        let kept = gateway.get(&path_of(&response)).await.expect(200).json();
        assert_eq!(output_text(&kept), "of course", "{model} {stream}");
    }
}

#[tokio::test]
async fn an_agent_with_a_search_works_where_there_is_none_and_is_told() {
    let fake = fake().await;
    let gateway = started(&fake).await;
    let search = json!({ "type": "web_search", "external_web_access": false });
    for model in ["chats", "claude", "gem"] {
        let mut body = turn(model, json!("weather city=Oslo"), None);
        body["tools"] = tools();
        body["tools"].as_array_mut().unwrap().push(search.clone());
        let answer = gateway.respond(&body).await;
        assert_eq!(outputs(&answer.expect(200).json()).as_array().unwrap().len(), 1, "{model}");
        assert!(answer.header("x-tollway-notices").contains("index of its own provider"), "{model}");
        let receipt = gateway.receipt(&answer.headers).await;
        assert!(receipt["notices"].to_string().contains("index of its own provider"), "{receipt}");
        body["tool_choice"] = json!({ "type": "web_search" });
        let refused = gateway.respond(&body).await;
        assert!(refused.expect(400).text().contains("web_search"), "{model}: {}", refused.text());
        body["drop_params"] = json!(true);
        gateway.respond(&body).await.expect(200);
    }
}

#[tokio::test]
async fn a_body_of_this_api_at_the_address_of_chats_is_answered_as_a_chat() {
    let fake = fake().await;
    let gateway = started(&fake).await;
    for model in FOUR {
        for stream in [false, true] {
            let body = json!({"model": model, "stream": stream, "instructions": "be kind", "tools": tools(),
                "input": [{"role": "user", "content": [{"type": "input_text", "text": "say: of course"}]}]});
            let text = gateway.chat(&body).await.expect(200).text();
            let kind = if stream { "chat.completion.chunk" } else { "chat.completion" };
            assert!(text.contains(kind) && text.contains("course"), "{model}: {text}");
        }
    }
    let nothing = gateway.chat(&json!({"model": FOUR[0]})).await.expect(400).json();
    assert_eq!(nothing["error"]["param"], "messages");
}

#[tokio::test]
async fn an_agents_own_tools_are_called_as_it_knows_them() {
    let fake = fake().await;
    let gateway = started(&fake).await;
    for model in ["chats", "claude", "gem"] {
        for stream in [false, true] {
            let mut body = turn(model, json!("local_shell"), None);
            body["tools"] = json!([{"type": "local_shell"}, {"type": "apply_patch"}]);
            let first = gateway.response(body, stream).await;
            let call =
                first["output"].as_array().unwrap().iter().find(|item| item["type"] == "local_shell_call");
            let call = call.unwrap_or_else(|| panic!("{model} {stream}: {first}"));
            assert_eq!(call["action"]["type"], "exec", "{model}: {first}");
            let result =
                json!([{"type": "local_shell_call_output", "id": call["id"], "output": "seventeen files"}]);
            let mut body = turn(model, result, Some(&first));
            body["tools"] = json!([{"type": "local_shell"}, {"type": "apply_patch"}]);
            let second = gateway.response(body, stream).await;
            assert!(output_text(&second).contains("seventeen files"), "{model} {stream}: {second}");
        }
    }
}

#[tokio::test]
async fn what_is_not_built_is_refused_by_name() {
    let fake = fake().await;
    let gateway = started(&fake).await;
    let compacted = gateway.post("/v1/responses/compact", &json!({"model": "chats", "input": "hi"})).await;
    assert!(compacted.expect(400).text().contains("summary"), "{}", compacted.text());
    let cases = [
        (json!({"background": true}), "background"),
        (json!({"conversation": "conv_1"}), "conversation"),
        (json!({"prompt": {"id": "pmpt_1"}}), "prompt"),
        (json!({"previous_response_id": "resp_0190163d8694739baea5966c26f8ad91"}), "previous_response_id"),
    ];
    for (field, name) in cases {
        let mut body = turn("chats", json!("hi"), None);
        body.as_object_mut().unwrap().extend(field.as_object().unwrap().clone());
        let error = gateway.respond(&body).await.expect(400).json();
        assert_eq!(error["error"]["param"], name, "{error}");
    }
    assert!(fake.received().is_empty());
    // Items are looked for in the caller's conversation only, never at the provider.
    for model in FOUR {
        let input =
            json!([{"type": "item_reference", "id": "msg_of_somebody"}, {"role": "user", "content": "hi"}]);
        let error = gateway.respond(&turn(model, input, None)).await.expect(404).json();
        assert_eq!(error["error"]["param"], "input[0].id", "{error}");
    }
    let first = gateway.response(turn("chats", json!("say: kept"), None), false).await;
    let input = json!([{"type": "item_reference", "id": first["output"][0]["id"]}, {"role": "user", "content": "say: on"}]);
    let second = gateway.response(turn("chats", input, Some(&first)), false).await;
    assert_eq!(output_text(&second), "on");
    let list = gateway.get(&format!("{}/input_items", path_of(&second))).await.json();
    assert_eq!(list["data"].as_array().unwrap().len(), 3, "{list}");
}

#[tokio::test]
async fn the_tokens_of_an_input_are_counted_with_all_that_was_said_before() {
    let fake = fake().await;
    let gateway = started(&fake).await;
    for model in FOUR {
        let count = async |body: &Value| {
            let answer = gateway.post("/v1/responses/input_tokens", body).await.expect(200).json();
            assert_eq!(answer["object"], "response.input_tokens", "{answer}");
            answer["input_tokens"].as_u64().unwrap()
        };
        let alone = count(&turn(model, json!("say: a few words more"), None)).await;
        let first = gateway.response(turn(model, json!("say: a few words"), None), false).await;
        let both = count(&turn(model, json!("say: a few words more"), Some(&first))).await;
        assert!(alone > 3 && both > alone, "{model}: {alone} {both}");
    }
}

#[tokio::test]
async fn the_dialects_header_and_every_form_of_the_path_reach_the_provider() {
    let fake = fake().await;
    let gateway = started(&fake).await;
    for path in ["/v1/responses", "/responses", "/openai/v1/responses"] {
        let headers = [("openai-beta", "responses=v1")];
        let answer = gateway.post_with(path, &headers, &turn("native", json!("say: hi"), None)).await;
        assert_eq!(output_text(&answer.expect(200).json()), "hi");
        let received = fake.received().last().unwrap().clone();
        assert_eq!(received.path, "/v1/responses");
        assert_eq!(received.header("openai-beta"), Some("responses=v1"));
    }
    // Other clients reach a model that has only this API.
    let only = at(&fake, "only", "openai/responses/fake-ok", "");
    let gateway = Gateway::start(&config(&[only], "")).await;
    let answer = gateway.chat(&chat("only", "say: bridged")).await.expect(200).json();
    assert_eq!(answer["choices"][0]["message"]["content"], "bridged");
    assert_eq!(fake.received().last().unwrap().path, "/v1/responses");
}

#[tokio::test]
async fn without_its_database_a_gateway_answers_and_says_what_it_cannot_know() {
    let fake = fake().await;
    let away = "postgres://u:hidden@127.0.0.1:1/none?connect_timeout=1";
    let environment = [("DATABASE_URL", away)];
    let text = config(&four(&fake), "");
    let start = Start { config: Some(&text), environment: &environment, ..Start::default() };
    let gateway = Gateway::with(start).await;
    let one = gateway.response(turn("chats", json!("say: one"), None), false).await;
    let two = gateway.response(turn("claude", json!("say: two"), Some(&one)), true).await;
    assert_eq!(gateway.get(&path_of(&two)).await.expect(200).json(), two);
    let unknown = "/v1/responses/resp_0190163d8694739baea5966c26f8ad91";
    let refused = gateway.get(unknown).await;
    assert!(!refused.expect(503).header("retry-after").is_empty());
    assert!(!refused.text().contains("127.0.0.1"), "{}", refused.text());
}

#[tokio::test]
async fn encrypted_reasoning_goes_back_to_the_deployment_it_came_from() {
    let fake = fake().await;
    // A provider cannot tell a foreign item apart here, so every deployment is looked at by the name it is called by.
    let models: Vec<String> =
        ["a", "b", "c"].map(|name| at(&fake, "g", &format!("openai/fake-ok+id-{name}"), "")).into();
    let gateway = Gateway::start(&config(&models, "")).await;
    let called = || fake.received().last().unwrap().json();
    let mut others = std::collections::HashSet::new();
    for round in 0..12 {
        let stream = round % 2 == 0;
        let mut first = turn("g", json!("weather city=Oslo"), None);
        first["tools"] = tools();
        first["reasoning"] = json!({"effort": "low", "summary": "auto"});
        first["include"] = json!(["reasoning.encrypted_content"]);
        first["store"] = json!(false);
        let response = gateway.response(first.clone(), stream).await;
        let origin = called()["model"].clone();
        let items = response["output"].as_array().unwrap();
        let secret = items.iter().find_map(|item| item["encrypted_content"].as_str()).unwrap();
        // Sent back by the client, or kept here: the fake refuses anything but its own bytes.
        let mut again = first.clone();
        let mut input = vec![json!({"role": "user", "content": "weather city=Oslo"})];
        input.extend(items.iter().cloned());
        input.extend(outputs(&response).as_array().unwrap().iter().cloned());
        again["input"] = json!(input);
        let second = gateway.response(again, stream).await;
        assert_eq!(
            (&called()["model"], output_text(&second).as_str()),
            (&origin, "The tool weather says: mild")
        );
        assert!(!called().to_string().contains("origin."), "{secret}");

        first["store"] = json!(true);
        let kept = gateway.response(first, stream).await;
        let origin = called()["model"].clone();
        let mut on = turn("g", outputs(&kept), Some(&kept));
        on["tools"] = tools();
        gateway.response(on, stream).await;
        assert_eq!(called()["model"], origin);
        others.insert(origin.to_string());
    }
    assert!(others.len() > 1, "what brings nothing along is spread: {others:?}");
}

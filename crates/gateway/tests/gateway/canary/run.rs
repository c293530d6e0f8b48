//! A gateway with a secret in every place that takes one, and everything that can be done with it.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollway_testkit::{Chunk, Ending, FakeProvider, Received, Reply};

use crate::support::{Answer, Gateway, SOON, Start, chat, fake, surfaces, text, tollway};

/// What callers ask, and the fake repeats in its answers.
pub(super) const PROMPT: &str = "Mulberry-gondola-72-under-the-viaduct";

/// Something that left the gateway.
pub(super) struct Told {
    pub(super) what: String,
    pub(super) bytes: Vec<u8>,
    /// It tells of calls, and must not tell what was said in them.
    pub(super) is_record: bool,
}

pub(super) struct Run {
    pub(super) gateway: Gateway,
    fake: FakeProvider,
    pub(super) told: Vec<Told>,
    /// Name and text of every secret.
    pub(super) planted: Vec<(String, String)>,
    master: String,
    config: String,
    environment: Vec<(String, String)>,
    /// A virtual key that works.
    virtual_key: String,
    calls: Vec<String>,
    has_redis: bool,
}

/// The secret of this name: 40 letters and digits that nothing else begins with.
pub(super) fn planted(name: &str) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789";
    let mut state = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |state, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(LETTERS[usize::try_from(state >> 33).unwrap() % LETTERS.len()])
    };
    (0..40).map(|_| letter()).collect()
}

/// A key with characters that encodings change.
fn provider_key(name: &str) -> String {
    let key = planted(name);
    format!("pk/{}+{}", &key[..20], &key[20..])
}

/// A provider's dialects, as prefixes of models.
const PROVIDERS: [&str; 4] = ["openai", "anthropic", "gemini", "bedrock"];

/// What goes wrong at providers.
const SCRIPTS: [&str; 9] = [
    "ok",
    "error-401",
    "error-500",
    "html-502",
    "cut-after-3-chunks",
    "malformed-after-2",
    "error-mid-stream-3",
    "reset",
    "headers-then-silence",
];

/// Files below a directory that `wanted` names, by name.
pub(super) fn files(directory: &Path, wanted: impl Fn(&str) -> bool + Copy) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            all.extend(files(&entry.path(), wanted));
        } else if wanted(&name) {
            all.push((name, std::fs::read(entry.path()).unwrap_or_default()));
        }
    }
    all
}

impl Run {
    pub(super) async fn start(format: &str, database: Option<&str>, redis: Option<&str>) -> Run {
        let fake = fake().await;
        let mut plants = Vec::new();
        let mut plant = |name: &str, text: String| {
            plants.push((name.to_owned(), text.clone()));
            text
        };
        let master = plant("master key", format!("sk-{}", planted("master key")));
        let mut environment = vec![
            ("LITELLM_SALT_KEY".to_owned(), plant("salt key", planted("salt key"))),
            ("CANARY_API_KEY".to_owned(), plant("key in a variable", provider_key("variable"))),
            ("GROQ_API_KEY".to_owned(), plant("key in a provider's variable", provider_key("groq"))),
        ];
        if let Some(url) = database {
            plant("database password", planted("database password"));
            environment.push(("DATABASE_URL".to_owned(), url.to_owned()));
        }
        let password = plant("Redis password", planted("Redis password"));
        let has_redis = redis.is_some();
        let redis = match redis {
            Some(url) => {
                let server = url.trim_start_matches("redis://").trim_end_matches('/');
                let host = server.split('/').next().unwrap();
                acl(host, &password).await;
                format!("redis://canary:{password}@{host}")
            }
            // Nobody listens there.
            None => format!("redis://canary:{password}@127.0.0.1:9"),
        };
        let webhook = plant("webhook address", planted("webhook"));
        let config = configuration(&fake, &mut plant, &master, &redis, &webhook);
        let set: Vec<_> = environment.iter().map(|(name, value)| (&**name, &**value)).collect();
        let arguments = ["--log", "trace", "--log-format", format];
        let start =
            Start { config: Some(&config), arguments: &arguments, environment: &set, ..Start::default() };
        let mut gateway = Gateway::with(start).await;
        gateway.key.clone_from(&master);
        let (virtual_key, calls) = (String::new(), Vec::new());
        Run {
            gateway,
            fake,
            told: vec![],
            planted: plants,
            master,
            config,
            environment,
            virtual_key,
            calls,
            has_redis,
        }
    }

    fn plant(&mut self, name: &str, text: String) -> String {
        self.planted.push((name.to_owned(), text.clone()));
        text
    }

    /// Asks, and keeps the whole answer.
    async fn ask(&mut self, method: &str, path: &str, key: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {key}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        self.ask_with(method, path, if key.is_empty() { &headers[1..] } else { &headers }, body).await
    }

    async fn ask_with(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let answer = self.gateway.send(method, path, headers, body.to_owned()).await.read().await;
        let asked = body.get(..60).unwrap_or(body);
        self.keep(format!("{method} {path} {asked} → {}", answer.status), &answer, false);
        // A key given out again under the name of an old one, and a deleted one, are told as they were named: LiteLLM's
        // clients compare them.
        if answer.status == 200
            && (path == "/key/generate" || path == "/key/delete")
            && let Some(named) = serde_json::from_str::<Value>(body).ok().as_ref().and_then(named)
        {
            self.forget_last(named);
        }
        answer
    }

    /// Takes a key out of the last answer, which may hold it.
    fn forget_last(&mut self, key: &str) {
        let told = self.told.last_mut().unwrap();
        told.bytes = text(&told.bytes).replace(key, "handed out").into_bytes();
    }

    fn keep(&mut self, what: String, answer: &Answer, is_record: bool) {
        let mut bytes = Vec::new();
        for (name, value) in &answer.headers {
            bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\n"].concat());
        }
        bytes.extend_from_slice(&answer.body);
        self.told.push(Told { what, bytes, is_record });
        self.calls.extend(answer.headers.get("x-tollway-receipt").map(|id| id.to_str().unwrap().to_owned()));
    }

    async fn admin(&mut self, method: &str, path: &str, body: &Value) -> Answer {
        let (key, body) = (self.master.clone(), body.to_string());
        self.ask(method, path, &key, if method == "GET" { "" } else { &body }).await
    }

    /// Asks for something that hands out a key: the one place where it may be.
    async fn handed_out(&mut self, name: &str, path: &str, body: &Value) -> String {
        let answer = self.admin("POST", path, body).await;
        answer.expect(200);
        let key = answer.json()["key"].as_str().unwrap().to_owned();
        assert!(key.starts_with("sk-"), "{key}");
        self.forget_last(&key);
        if !self.planted.iter().any(|(_, text)| *text == key) {
            self.plant(name, key.clone());
        }
        key
    }

    /// Models added over the API, changed, and served.
    pub(super) async fn models(&mut self) {
        let base = self.fake.url();
        let key = self.plant("key of a stored model", provider_key("stored"));
        let header = self.plant("header of a stored model", planted("stored header"));
        let query = self.plant("query of a stored model's address", planted("stored query"));
        let new = json!({ "model_name": "stored", "model_info": { "id": "stored-1" }, "litellm_params": {
            "model": "openai/fake-ok", "api_base": format!("{base}/v1?sig={query}"), "api_key": key,
            "extra_headers": { "X-Secret": header },
        } });
        self.admin("POST", "/model/new", &new).await.expect(200);
        let [id, secret, token] =
            ["id", "secret", "token"].map(|part| self.plant(&format!("aws {part}, stored"), planted(part)));
        let new = json!({ "model_name": "stored-aws", "model_info": { "id": "stored-2" }, "litellm_params": {
            "model": "bedrock/anthropic.claude-fake-ok", "aws_bedrock_runtime_endpoint": base,
            "aws_region_name": "us-east-1", "aws_access_key_id": id, "aws_secret_access_key": secret,
            "aws_session_token": token,
        } });
        self.admin("POST", "/model/new", &new).await.expect(200);
        let key = self.plant("new key of a stored model", provider_key("stored again"));
        let user = self.plant("user in a stored address", planted("stored user"));
        let change = json!({ "model_info": { "id": "stored-1" }, "litellm_params": { "api_key": key } });
        self.admin("POST", "/model/update", &change).await.expect(200);
        for params in [
            json!({ "api_base": "http://elsewhere.test" }),
            json!({ "api_key": [key] }),
            json!({ "api_key": { "a": key } }),
            json!({ "api_base": format!("http://me:{user}@127.0.0.1:9/v1") }),
            json!({ "extra_headers": key }),
            json!({ "extra_headers": { "X-A": [key] } }),
            json!({ "extra_headers": { "X\nA": key } }),
            json!(key),
        ] {
            let new = json!({ "model_name": "odd", "litellm_params": { "model": "openai/fake-ok" } });
            for (path, mut body) in [("/model/update", change.clone()), ("/model/new", new)] {
                match (&mut body["litellm_params"], &params) {
                    (Value::Object(into), Value::Object(from)) => into.extend(from.clone()),
                    (into, from) => *into = from.clone(),
                }
                self.admin("POST", path, &body).await;
            }
        }
        let mut whole = change;
        whole["litellm_params"]["extra_headers"] = json!({ "X-Secret": header });
        whole["litellm_params"]["rpm"] = json!(1000);
        whole["litellm_params"]["api_base"] = json!(format!("{base}/v1?sig={query}"));
        self.admin("POST", "/model/update", &whole).await.expect(200);
        let begun = Instant::now();
        while self.admin("GET", "/v1/models", &Value::Null).await.text().matches("stored").count() < 2 {
            assert!(begun.elapsed() < SOON, "stored models are not served");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Keys of every fate, each used.
    pub(super) async fn keys(&mut self) {
        self.admin("POST", "/team/new", &json!({ "team_id": "t1", "team_alias": "T1" })).await.expect(200);
        let body =
            json!({ "key_alias": "works", "team_id": "t1", "soft_budget": 0.000_000_001, "max_budget": 9 });
        self.virtual_key = self.handed_out("virtual key", "/key/generate", &body).await;
        let custom = self.plant("custom key", format!("sk-{}", planted("custom key")));
        let body = json!({ "key_alias": "custom", "key": custom });
        assert_eq!(self.handed_out("custom key", "/key/generate", &body).await, custom);
        let user = self.handed_out("user's key", "/user/new", &json!({ "user_id": "u1" })).await;
        let mut dead = Vec::new();
        for (fate, path) in [("blocked", "/key/block"), ("deleted", "/key/delete"), ("expired", "")] {
            let duration = if path.is_empty() { json!("1s") } else { json!(null) };
            let body = json!({ "key_alias": fate, "duration": duration });
            let key = self.handed_out(&format!("{fate} key"), "/key/generate", &body).await;
            self.chat(&key).await.expect(200);
            let body = if fate == "deleted" { json!({ "keys": [key] }) } else { json!({ "key": key }) };
            if !path.is_empty() {
                self.admin("POST", path, &body).await.expect(200);
            }
            dead.push(key);
        }
        for grace in [json!({}), json!({ "grace_period": "1h" })] {
            let first = self.handed_out("first key", "/key/generate", &json!({})).await;
            let mut body = grace;
            body["key"] = json!(first);
            let second = self.handed_out("second key", "/key/regenerate", &body).await;
            let path = format!("/key/{second}/regenerate");
            let third = self.handed_out("third key", &path, &json!({})).await;
            dead.extend([first, second]);
            self.chat(&third).await.expect(200);
        }
        let limit = json!({ "key": custom, "rpm_limit": 1, "metadata": { "team": "x" } });
        self.admin("POST", "/key/update", &limit).await.expect(200);
        tokio::time::sleep(Duration::from_millis(1100)).await;
        for key in [&custom, &custom, &user].into_iter().chain(&dead) {
            self.chat(key).await;
            self.ask("GET", "/key/info", key, "").await;
            for path in ["info?key=", "list?key_hash=", "list?search=", "list?key_alias="] {
                self.admin("GET", &format!("/key/{path}{key}"), &Value::Null).await;
            }
            for (path, body) in [
                ("/v2/key/info", json!({ "keys": [key] })),
                ("/key/update", json!({ "key": key, "nonsense": key })),
                ("/key/update", json!({ "key": key, "max_budget": key })),
                ("/key/unblock", json!({ "key": key, "x": 1 })),
                ("/key/generate", json!({ "key": key })),
                ("/key/delete", json!({ "keys": [key, "sk-x"], "more": key })),
            ] {
                self.admin("POST", path, &body).await;
            }
        }
    }

    async fn chat(&mut self, key: &str) -> Answer {
        self.ask("POST", "/v1/chat/completions", key, &chat("openai-ok", PROMPT).to_string()).await
    }

    /// Every model over every surface, streamed and not, with a virtual key and the master key.
    pub(super) async fn calls(&mut self) {
        let (master, key) = (self.master.clone(), self.virtual_key.clone());
        let listed =
            PROVIDERS.iter().flat_map(|provider| SCRIPTS.map(|script| format!("{provider}-{script}")));
        let others = ["variable", "stored", "stored-aws", "refused", "user", "query", "odd", "wild", "away"];
        for model in listed.chain(others.map(str::to_owned)) {
            for stream in [false, true] {
                let by = if stream { &key } else { &master };
                for (_, surface) in surfaces(&model, PROMPT, stream) {
                    self.ask("POST", &surface.path, by, &surface.body.to_string()).await;
                }
            }
            // What callers of Responses ask to be kept is kept, so that it can be gone on from: not here.
            let input = json!({ "model": model, "input": PROMPT, "prompt": PROMPT, "store": false });
            for path in ["/v1/embeddings", "/v1/completions", "/v1/responses"] {
                self.ask("POST", path, &key, &input.to_string()).await;
            }
        }
    }

    /// Providers that repeat the key they were called with.
    pub(super) async fn echoes(&mut self) {
        let (master, key) = (self.master.clone(), self.virtual_key.clone());
        for provider in PROVIDERS.into_iter().chain(["query"]) {
            let model = if provider == "query" { "query".to_owned() } else { format!("{provider}-ok") };
            let secret = |of: &str| {
                let name = format!("{of} of {provider}");
                self.planted
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, secret)| secret.clone())
                    .unwrap()
            };
            for reply in repeating(provider, &secret("key"), &secret("header")) {
                let stream = reply.header("content-type") == Some(STREAM);
                for (_, surface) in surfaces(&model, PROMPT, stream) {
                    self.fake.reply_next(reply.clone());
                    let by = if stream { &key } else { &master };
                    self.ask("POST", &surface.path, by, &surface.body.to_string()).await;
                }
            }
        }
        let told = |calls: &[Received]| calls.iter().any(|call| call.path.starts_with("/hook/"));
        // While Redis is away, nobody knows for sure what was spent, and no alert is told.
        if self.has_redis {
            assert!(self.fake.wait_until(SOON, told).await, "the webhook was not told of the soft budget");
        }
        self.fake.reset();
    }

    /// Wrong keys, in every place for a key.
    pub(super) async fn strangers(&mut self) {
        let wrong = self.plant("wrong key", format!("sk-{}", planted("wrong key")));
        let body = chat("openai-ok", PROMPT).to_string();
        for scheme in ["Bearer ", "bearer ", "Basic ", ""] {
            let header = format!("{scheme}{wrong}");
            for name in
                ["authorization", "x-api-key", "x-goog-api-key", "api-key", "x-litellm-api-key", "cookie"]
            {
                for path in ["/v1/chat/completions", "/v1/messages", "/key/info", "/receipts"] {
                    self.ask_with("POST", path, &[(name, &header)], &body).await;
                }
            }
        }
        for path in ["/v1/models?key=", "/key/info?key=", "/v1/models/", "/receipts/", "/nothing/", "/key/"] {
            self.ask("GET", &format!("{path}{wrong}"), "", "").await;
            self.admin("GET", &format!("{path}{wrong}"), &Value::Null).await;
        }
        self.admin("POST", &format!("/key/{wrong}/regenerate"), &json!({})).await;
        self.ask("POST", &format!("/v1beta/models/gemini-ok:generateContent?key={wrong}"), "", "{}").await;
        for body in [json!({ "key": wrong }), json!({ "keys": [wrong] }), json!({ "key": [wrong] })] {
            for path in ["block", "unblock", "update", "delete", "regenerate"] {
                self.admin("POST", &format!("/key/{path}"), &body).await;
            }
        }
        let odd = json!({ "key": wrong.trim_start_matches("sk-") });
        self.admin("POST", "/key/generate", &odd).await;
        for body in [format!("{{\"key\": \"{wrong}"), format!("{{\"{wrong}\": 1}}"), format!("\"{wrong}\"")] {
            let master = self.master.clone();
            for path in ["/key/generate", "/model/new"] {
                self.ask("POST", path, &master, &body).await;
            }
        }
        let head = format!(
            "GET /v1/models?key={wrong} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {wrong}\r\nbad header {wrong}\r\n\r\n"
        );
        let raw = self.gateway.raw(head.as_bytes()).await;
        self.told.push(Told { what: "a broken request".to_owned(), bytes: raw.into(), is_record: true });
    }

    /// Configurations that are wrong where secrets are.
    pub(super) async fn mistakes(&mut self) {
        let secret = self.plant("key in a broken file", provider_key("broken file"));
        let file = self.gateway.file("config.yaml");
        let model = |params: &str| format!("{{model_name: x, litellm_params: {{{params}}}}}");
        for (before, after) in [
            ("router_settings", "ruter_settings".to_owned()),
            ("  - {", format!("  - {}\n  - {{", model(&format!("model: openai/x, api_key: [{secret}]")))),
            (
                "  - {",
                format!(
                    "  - {}\n  - {{",
                    model(&format!("model: openai/x, api_key: {secret}, rpm: {secret}"))
                ),
            ),
            ("  - {", format!("  - {}\n  - {{", model(&format!("model: openai/x, apikey: {secret}")))),
            ("  - {", format!("  - {}\n  - {{", model(&format!("model: openai/x, extra_headers: {secret}")))),
            (
                "  - {",
                format!("  - {}\n  - {{", model(&format!("model: openai/x, api_base: \"http://{secret}@\""))),
            ),
            ("  - {", format!("  - {}\n  - {{", model(&format!("model: openai/x, api_base: \"{secret}\"")))),
            ("  - {", format!("  - {{api_key: \"{secret}\n  - {{")),
            ("  - {", format!("  - {{api_key: *{}\n  - {{", &secret[3..20])),
            ("general_settings:", format!("general_settings: {secret}\nx:")),
            ("database_ssl", format!("{secret}: 1")),
        ] {
            let broken = self.config.replacen(before, &after, 1);
            std::fs::write(&file, &broken).unwrap();
            self.admin("POST", "/config/reload", &json!({})).await;
            self.command(&["check", "config.yaml"]);
        }
        std::fs::write(&file, &self.config).unwrap();
        self.admin("POST", "/config/reload", &json!({})).await;
    }

    /// Everything that can be read, by who may and who may not.
    pub(super) async fn reading(&mut self) {
        let pages = [
            "/receipts?limit=1000",
            "/model/info",
            "/v1/model/info",
            "/v2/model/info",
            "/model_group/info",
            "/health",
            "/health/readiness",
            "/health/liveliness",
            "/v1/models",
            "/v1beta/models",
            "/routes",
            "/openapi.json",
            "/docs",
            "/key/info",
            "/key/list?return_full_object=true&size=100",
            "/key/aliases",
            "/team/list",
            "/team/info?team_id=t1",
            "/user/list",
            "/user/info?user_id=u1",
            "/customer/list",
            "/budget/list",
            "/spend/logs?limit=1000",
            "/spend/logs/v2?page_size=100",
            "/spend/keys",
            "/spend/users",
            "/spend/tags",
            "/global/spend",
            "/global/spend/keys",
            "/global/activity",
            "/audit?page_size=100",
            "/audit/verify",
            "/user/daily/activity?start_date=2020-01-01&end_date=2099-01-01",
            "/model/info?litellm_model_id=stored-1",
        ];
        let mut calls = std::mem::take(&mut self.calls);
        calls.dedup();
        let receipts: Vec<String> =
            calls.iter().rev().step_by(7).map(|id| format!("/receipts/{id}")).collect();
        let (master, key) = (self.master.clone(), self.virtual_key.clone());
        for by in [master.as_str(), &key, ""] {
            for path in pages.into_iter().chain(receipts.iter().map(String::as_str)) {
                let answer = self.ask("GET", path, by, "").await;
                if let Some(told) = self.told.last_mut() {
                    told.is_record = true;
                }
                let required = ["/receipts?", "/audit", "/key/list", "/model/info", "/health"];
                if by == master && required.iter().any(|begin| path.starts_with(begin)) {
                    answer.expect(200);
                }
            }
        }
        self.calls = calls;
    }

    /// The command line, as an operator at this gateway.
    pub(super) fn commands(&mut self) {
        let url = self.gateway.url();
        let id = self.calls.last().unwrap().clone();
        let refused = planted("database password");
        let away = format!("postgres://canary:{refused}@127.0.0.1:9/none?connect_timeout=1");
        let key = self.virtual_key.clone();
        for arguments in [
            &["why", &id, "--url", &url][..],
            &["why", &id, "--url", &url, "--json"],
            &["why", &key, "--url", &url],
            &["keys", "list", "--url", &url],
            &["keys", "list", "--url", &url, "--json"],
            &["keys", "info", &key, "--url", &url],
            &["keys", "block", &key, "--url", &url, "--json"],
            &["keys", "list", "--url", "http://127.0.0.1:9"],
            &["keys", "list", "--url", &format!("http://me:{refused}@127.0.0.1:9")],
            &["check", "config.yaml"],
            &["check", "config.yaml", "--public"],
            &["models", "gpt-4o"],
            &["db", "status", "--config", "config.yaml"],
            &["db", "status", "--url", &away],
            &["db", "status", "--url", &format!("mysql://canary:{refused}@x")],
            &["db", "migrate", "--url", &away],
            &["ledger", "status", "--config", "config.yaml"],
            &["ledger", "verify", "--config", "config.yaml"],
            &["ledger", "status", "--url", &away],
            &["spend", "--config", "config.yaml"],
            &["spend", "--url", &away],
        ] {
            self.command(arguments);
        }
    }

    fn command(&mut self, arguments: &[&str]) {
        let mut command = tollway(self.gateway.directory.path());
        command.args(arguments).env("TOLLWAY_KEY", &self.master).env("RUST_LOG", "trace");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let said = command.output().unwrap();
        let bytes = [said.stdout, said.stderr].concat();
        let name = arguments.iter().take(2).copied().collect::<Vec<_>>().join(" ");
        self.told.push(Told { what: format!("`{name}`"), bytes, is_record: true });
    }

    /// Waits until the books and the webhook have what the calls left.
    pub(super) async fn settle(&mut self) {
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

/// The key that a request to make or delete one names.
fn named(body: &Value) -> Option<&str> {
    body["key"].as_str().or_else(|| body["keys"][0].as_str())
}

/// A user of the shared Redis who has this password.
async fn acl(host: &str, password: &str) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut server = tokio::net::TcpStream::connect(host).await.unwrap();
    let order = format!("ACL SETUSER canary on >{password} ~* &* +@all\r\n");
    server.write_all(order.as_bytes()).await.unwrap();
    let mut said = [0; 3];
    server.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"+OK");
}

const STREAM: &str = "text/event-stream";

/// Answers of `provider` with its secrets in every part that reaches the gateway's words: failures and headers.
fn repeating(provider: &str, key: &str, header: &str) -> Vec<Reply> {
    let said = format!("Incorrect API key provided: {key}. You sent `Authorization: Bearer {key}`, {header}");
    let body = match provider {
        "anthropic" => {
            json!({ "type": "error", "error": { "type": "api_error", "message": said }, "request_id": key })
        }
        "gemini" => json!({ "error": { "code": 400, "message": said, "status": key } }),
        "bedrock" => json!({ "message": said }),
        _ => json!({ "error": { "message": said, "type": key, "code": key, "param": header } }),
    };
    let mut replies: Vec<Reply> = [200, 400, 401, 429, 500].map(|status| Reply::json(status, &body)).into();
    let text = |kind: &str| match provider {
        "anthropic" => format!(
            "event: message_start\ndata: {}\n\nevent: content_block_start\ndata: {}\n\nevent: {kind}\ndata: {body}\n\n",
            json!({ "type": "message_start", "message": { "id": "m", "type": "message", "role": "assistant",
                "content": [], "model": "x", "usage": { "input_tokens": 1, "output_tokens": 1 } } }),
            json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "hm" } }),
        ),
        "gemini" => format!(
            "data: {}\n\ndata: {body}\n\n",
            json!({ "candidates": [{ "content": { "role": "model", "parts": [{ "text": "hm" }] } }] }),
        ),
        _ => format!(
            "data: {}\n\nevent: {kind}\ndata: {body}\n\n",
            json!({ "id": "x", "object": "chat.completion.chunk", "model": "x", "created": 1,
                "choices": [{ "index": 0, "delta": { "role": "assistant", "content": "hm" } }] }),
        ),
    };
    replies.push(Reply::bytes(200, STREAM, format!("data: {body}\n\n")));
    replies.push(Reply::bytes(200, STREAM, format!("event: error\ndata: {body}\n\n")));
    replies.push(Reply::bytes(200, STREAM, text("error")));
    replies.push(Reply::bytes(200, STREAM, text("error").replace("\n\ndata", "\n\n: x\n\ndata")));
    // The failure comes after content has gone out.
    let mut late = Reply::bytes(200, STREAM, text("error").split_inclusive("hm").next().unwrap().to_owned());
    let rest = text("error").split_once("hm").unwrap().1.to_owned();
    late.chunks.push(Chunk { after: Duration::from_millis(20), bytes: rest.into() });
    replies.push(late);
    replies.push(Reply::bytes(200, STREAM, format!("data: {{\"broken\": \"{key}\n\n")));
    replies.push(Reply::bytes(200, STREAM, format!("data: Bearer {key}\n\n")));
    let long = format!("{}{key}", "x".repeat(490));
    for (status, kind, text) in [
        (502, "text/html", format!("<html><body>{said}</body></html>")),
        (400, "text/plain", said.clone()),
        (400, "text/plain", long),
        (400, "application/json", body.to_string().replace('/', "\\/")),
        (200, "application/json", format!("{{\"broken\": \"{key}")),
        (200, "application/json", format!("\"{key}\"")),
        (200, "text/html", format!("<p>{said}</p>")),
    ] {
        replies.push(Reply::bytes(status, kind, text));
    }
    for status in [200, 302, 429] {
        let mut reply = Reply::json(status, &body);
        for name in ["location", "x-echo", "x-request-id", "request-id", "retry-after", "www-authenticate"] {
            reply.headers.push((name.to_owned(), format!("https://x.test/?key={key}&other={header}")));
        }
        replies.push(reply);
    }
    let mut cut = Reply::json(500, &body);
    cut.ending = Ending::Cut;
    replies.push(cut);
    replies
}

/// A secret in every setting that takes one.
fn configuration(
    fake: &FakeProvider,
    plant: &mut dyn FnMut(&str, String) -> String,
    master: &str,
    redis: &str,
    webhook: &str,
) -> String {
    let url = fake.url();
    let mut models = String::new();
    let mut add = |name: &str, params: &str| {
        models.push_str(&format!("  - {{model_name: \"{name}\", litellm_params: {{{params}}}}}\n"));
    };
    for provider in PROVIDERS {
        let key = plant(&format!("key of {provider}"), provider_key(provider));
        let header = plant(&format!("header of {provider}"), planted(&format!("header {provider}")));
        let version = if provider == "openai" { "/v1" } else { "" };
        for script in SCRIPTS {
            let (family, more) = match provider {
                "bedrock" => ("anthropic.claude-", ", aws_region_name: us-east-1"),
                _ => ("", ""),
            };
            add(
                &format!("{provider}-{script}"),
                &format!(
                    "model: {provider}/{family}fake-{script}, api_base: \"{url}{version}\", api_key: \"{key}\", \
                     extra_headers: {{X-Secret: \"{header}\"}}, timeout: 0.3, stream_timeout: 0.3, \
                     input_cost_per_token: 0.001, output_cost_per_token: 0.001{more}"
                ),
            );
        }
    }
    let secret = plant("key of query", provider_key("query"));
    let header = plant("header of query", planted("header query"));
    let query = plant("query of an address", planted("query"));
    let user = plant("password in an address", planted("user"));
    let [id, aws, token] =
        ["id", "secret", "token"].map(|part| plant(&format!("aws {part}"), planted(&format!("aws {part}"))));
    let more = format!("api_key: \"{secret}\", extra_headers: {{X-Secret: \"{header}\"}}");
    add("query", &format!("model: openai/fake-ok, api_base: \"{url}/v1?sig={query}\", {more}"));
    add("refused", &format!("model: openai/x, api_base: \"http://127.0.0.1:9/v1?key={query}\", {more}"));
    add("away", &format!("model: openai/x, api_base: \"http://nowhere.invalid/v1?key={query}\", {more}"));
    add("user", &format!("model: openai/x, api_base: \"http://me:{user}@127.0.0.1:9/v1\", {more}"));
    add("odd", &format!("model: nothing/x, {more}"));
    add(
        "variable",
        &format!("model: openai/fake-ok, api_base: \"{url}/v1\", api_key: os.environ/CANARY_API_KEY"),
    );
    add("wild", &format!("model: groq/fake-error-401, api_base: \"{url}/v1\""));
    add(
        "aws",
        &format!(
            "model: bedrock/anthropic.claude-fake-ok, aws_bedrock_runtime_endpoint: \"{url}\", \
             aws_region_name: us-east-1, aws_access_key_id: {id}, aws_secret_access_key: {aws}, \
             aws_session_token: {token}"
        ),
    );
    let variable = plant("variable of the file", planted("file variable"));
    format!(
        "model_list:\n{models}general_settings: {{master_key: {master}}}\n\
         environment_variables: {{SECRET_VARIABLE: \"{variable}\"}}\nrouter_settings: {{num_retries: 0}}\n\
         tollway: {{budgets: {{alert_webhook: \"{url}/hook/{webhook}\", unknown_price: allow}}, redis: {{url: \"{redis}\"}}}}\n"
    )
}

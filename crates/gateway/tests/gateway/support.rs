//! Starts gateways and talks to them.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tollway::body::AnswerBody;
use tollway::{Timeouts, Transport, TransportOptions};
use tollway_testkit::FakeProvider;

/// The master key of every gateway here that has a configuration file.
pub(crate) const KEY: &str = "sk-tests-8f2c4e6a9b1d";

/// The key with which gateways call fake providers.
pub(crate) const PROVIDER_KEY: &str = "pk-canary-5d1c7f";

/// Longest wait for something that should happen at once; generous, because machines that run tests are busy.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// A running gateway; killed when dropped.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) directory: TempDir,
    pub(crate) key: String,
    transport: Transport,
}

/// How a gateway is started.
#[derive(Default)]
pub(crate) struct Start<'a> {
    pub(crate) config: Option<&'a str>,
    pub(crate) arguments: &'a [&'a str],
    pub(crate) environment: &'a [(&'a str, &'a str)],
    /// A directory with files already in it.
    pub(crate) directory: Option<TempDir>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// An answer whose body still arrives.
pub(crate) struct Streamed {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: AnswerBody,
}

/// The binary, with an environment of its own.
pub(crate) fn tollway(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollway"));
    command.env_clear().current_dir(directory);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", directory).env("TOLLWAY_DATA_DIR", directory.join("data"));
    command
}

/// Runs a command of the binary to its end.
pub(crate) fn run(directory: &Path, arguments: &[&str]) -> Output {
    tollway(directory).args(arguments).stdin(Stdio::null()).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A configuration: `models` as flow maps of `model_list`, `rest` appended.
pub(crate) fn config(models: &[String], rest: &str) -> String {
    let models: String = models.iter().map(|model| format!("  - {model}\n")).collect();
    let head = if rest.contains("general_settings") {
        String::new()
    } else {
        format!("general_settings: {{master_key: {KEY}}}\n")
    };
    format!("model_list:\n{models}{head}{rest}\n")
}

/// A deployment called `name` of `model` at `fake`; `more` are further parameters, `, rpm: 3`.
pub(crate) fn at(fake: &FakeProvider, name: &str, model: &str, more: &str) -> String {
    let version = if model.starts_with("openai/") { "/v1" } else { "" };
    let base = format!("{}{version}", fake.url());
    format!(
        "{{model_name: \"{name}\", litellm_params: {{model: \"{model}\", api_base: \"{base}\", api_key: {PROVIDER_KEY}{more}}}}}"
    )
}

/// One deployment for each dialect a provider can speak: `gpt`, `claude`, `gem`.
pub(crate) fn three(fake: &FakeProvider) -> Vec<String> {
    vec![
        at(fake, "gpt", "openai/fake-ok", ""),
        at(fake, "claude", "anthropic/fake-ok", ""),
        at(fake, "gem", "gemini/fake-ok", ""),
    ]
}

pub(crate) async fn fake() -> FakeProvider {
    FakeProvider::start().await.unwrap()
}

/// A conversation in OpenAI's dialect.
pub(crate) fn chat(model: &str, text: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": text }] })
}

/// The same, streamed.
pub(crate) fn streamed_chat(model: &str, text: &str) -> Value {
    let mut chat = chat(model, text);
    chat["stream"] = json!(true);
    chat
}

/// A client's request in one of the three dialects.
pub(crate) struct Surface {
    pub(crate) path: String,
    pub(crate) body: Value,
}

/// How a client of each dialect asks `model`.
pub(crate) fn surfaces(model: &str, prompt: &str, stream: bool) -> [(&'static str, Surface); 3] {
    let mut chat = chat(model, prompt);
    let mut messages =
        json!({ "model": model, "max_tokens": 500, "messages": [{ "role": "user", "content": prompt }] });
    if stream {
        chat["stream"] = json!(true);
        messages["stream"] = json!(true);
    }
    let method = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
    let contents = json!({ "contents": [{ "role": "user", "parts": [{ "text": prompt }] }] });
    [
        ("openai", Surface { path: "/v1/chat/completions".into(), body: chat }),
        ("anthropic", Surface { path: "/v1/messages".into(), body: messages }),
        ("gemini", Surface { path: format!("/v1beta/models/{model}:{method}"), body: contents }),
    ]
}

/// The same, and in OpenAI's newer dialect.
pub(crate) fn all_surfaces(model: &str, prompt: &str, stream: bool) -> [(&'static str, Surface); 4] {
    let [chat, messages, gemini] = surfaces(model, prompt, stream);
    let body = json!({ "model": model, "input": prompt, "stream": stream });
    [chat, messages, gemini, ("responses", Surface { path: "/v1/responses".into(), body })]
}

impl Gateway {
    /// Starts with a configuration file.
    pub(crate) async fn start(config: &str) -> Gateway {
        Gateway::with(Start { config: Some(config), ..Start::default() }).await
    }

    /// Starts and waits for the banner.
    pub(crate) async fn with(start: Start<'_>) -> Gateway {
        let mut gateway = Gateway::spawn(start);
        let begun = Instant::now();
        loop {
            let banner = gateway.stdout();
            if let Some(address) = listens_on(&banner) {
                gateway.address = address;
                // A generated key is shown once.
                if let Some(line) = banner.lines().find(|line| line.contains("admin key sk-")) {
                    gateway.key = line.split_whitespace().nth(2).unwrap().to_owned();
                }
                return gateway;
            }
            if let Some(status) = gateway.child.try_wait().unwrap() {
                panic!("the gateway ended with {status}: {}", gateway.log());
            }
            assert!(begun.elapsed() < 3 * SOON, "no banner: {}", gateway.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn spawn(start: Start<'_>) -> Gateway {
        let directory = start.directory.unwrap_or_else(|| tempfile::tempdir().unwrap());
        let mut command = tollway(directory.path());
        command.args(["--port", "0"]).envs(start.environment.iter().copied());
        if let Some(config) = start.config {
            std::fs::write(directory.path().join("config.yaml"), config).unwrap();
            command.args(["--config", "config.yaml"]);
        }
        let file = |name: &str| File::create(directory.path().join(name)).unwrap();
        command.args(start.arguments).stdin(Stdio::null());
        let child = command.stdout(file("stdout")).stderr(file("stderr")).spawn().unwrap();
        let options = TransportOptions { environment_proxies: false, ..TransportOptions::default() };
        let transport = Transport::new(options);
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        Gateway { child, address, directory, key: KEY.to_owned(), transport }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn stdout(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("stdout")).unwrap_or_default()
    }

    /// Standard error: the log, and what the configuration's reader found.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("stderr")).unwrap_or_default()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for the process to end and returns its exit code.
    pub(crate) async fn ended(&mut self, limit: Duration) -> Option<i32> {
        let begun = Instant::now();
        while begun.elapsed() < limit {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the gateway runs on after {limit:?}");
    }

    /// Ends the process and gives its directory back, for a second start.
    pub(crate) fn stop(mut self) -> TempDir {
        let _ = self.child.kill();
        let _ = self.child.wait();
        std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap())
    }

    /// Sends a request as it is, with no key but those in `headers`.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Streamed {
        let mut request = http::Request::builder().method(method).uri(format!("{}{path}", self.url()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).unwrap();
        let answer = self.transport.send(request, &Timeouts::default()).await.unwrap();
        Streamed { status: answer.status.as_u16(), headers: answer.headers, body: answer.body }
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.key)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[("authorization", &self.bearer())], "").await.read().await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.open(path, body).await.read().await
    }

    pub(crate) async fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let bearer = self.bearer();
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend(headers);
        self.send("POST", path, &all, body.to_string()).await.read().await
    }

    /// Posts and returns when the headers are here.
    pub(crate) async fn open(&self, path: &str, body: &Value) -> Streamed {
        let headers = [("authorization", &*self.bearer()), ("content-type", "application/json")];
        self.send("POST", path, &headers, body.to_string()).await
    }

    /// Asks in OpenAI's dialect.
    pub(crate) async fn chat(&self, body: &Value) -> Answer {
        self.post("/v1/chat/completions", body).await
    }

    /// The receipt of an answer, once it is settled.
    pub(crate) async fn receipt(&self, headers: &HeaderMap) -> Value {
        let id = headers.get("x-tollway-receipt").unwrap().to_str().unwrap();
        self.receipt_by_id(id).await
    }

    pub(crate) async fn receipt_by_id(&self, id: &str) -> Value {
        let begun = Instant::now();
        loop {
            let answer = self.get(&format!("/receipts/{id}")).await;
            if answer.status == 200 {
                return answer.json();
            }
            assert!(begun.elapsed() < SOON, "no receipt {id}: {answer:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A plain connection.
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Writes bytes to a new connection and reads until it closes, at most [`SOON`].
    pub(crate) async fn raw(&self, request: &[u8]) -> String {
        let mut connection = self.connect().await;
        // A gateway that refuses early may close before everything is written.
        let _ = connection.write_all(request).await;
        read_to_end(&mut connection).await
    }
}

/// What comes until the connection closes, or for [`SOON`].
pub(crate) async fn read_to_end(connection: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let mut buffer = [0; 16 << 10];
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        match tokio::time::timeout_at(deadline, connection.read(&mut buffer)).await {
            Ok(Ok(count)) if count > 0 => all.extend_from_slice(&buffer[..count]),
            _ => return text(&all),
        }
    }
}

fn listens_on(banner: &str) -> Option<SocketAddr> {
    let (_, rest) = banner.split_once("listens on http://")?;
    let (address, _) = rest.split_once('\n')?;
    address.parse().ok()
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Streamed {
    pub(crate) async fn read(self) -> Answer {
        let body = self.body.collect(1 << 30).await.unwrap();
        Answer { status: self.status, headers: self.headers, body }
    }

    /// Reads on until `part` is there; returns what came.
    pub(crate) async fn until(&mut self, part: &str) -> String {
        let mut all = String::new();
        while !all.contains(part) {
            let piece = tokio::time::timeout(SOON, self.body.next()).await;
            match piece.unwrap_or_else(|_| panic!("no {part:?} in {all:?}")) {
                Some(piece) => all.push_str(&text(&piece.unwrap())),
                None => panic!("no {part:?} in {all:?}"),
            }
        }
        all
    }
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text()))
    }

    pub(crate) fn text(&self) -> String {
        text(&self.body)
    }

    /// A header's value; empty without it.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The JSON of every event.
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = self.text();
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
    }

    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> &Answer {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}

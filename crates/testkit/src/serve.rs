//! The fake over HTTP/1.1.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use crate::bedrock::{auth, cloud};
use crate::bench::Bench;
use crate::body::{Broken, ReplyBody};
use crate::demo::{self, Call};
use crate::fault::Fault;
use crate::record::{Log, Received, Ticket};
use crate::reply::{Ending, Reply};
use crate::route::{Endpoint, Speaks};
use crate::script::{Script, invalid_key};
use crate::socket::{ResetSwitch, Socket};

/// Largest request body: 64 MiB.
const LARGEST: usize = 64 << 20;

/// How a fake provider serves.
#[derive(Debug)]
pub struct Options {
    /// Refuses calls without the vendor's key header, or with the key `wrong-key`. Default: true.
    pub require_key: bool,
    /// Accepts turns that do not alternate. Default: false.
    pub lenient: bool,
    /// Requests remembered; 0 remembers none. Default: 10,000.
    pub keep: usize,
    /// Gives fixed answers, and ignores everything above. Default: none.
    pub bench: Option<Bench>,
}

impl Default for Options {
    fn default() -> Options {
        Options { require_key: true, lenient: false, keep: 10_000, bench: None }
    }
}

/// A fake provider on a free port of this machine; it ends, with its connections, when dropped.
#[derive(Debug)]
pub struct FakeProvider {
    /// Where it listens.
    pub addr: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl FakeProvider {
    /// Starts with the default [`Options`].
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start() -> io::Result<FakeProvider> {
        FakeProvider::start_with(Options::default()).await
    }

    /// Starts with `options`.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start_with(options: Options) -> io::Result<FakeProvider> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let state = Arc::new(State::new(options));
        let task = tokio::spawn(accept(listener, Arc::clone(&state)));
        Ok(FakeProvider { addr, state, task })
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// What it received so far, oldest first.
    pub fn received(&self) -> Vec<Received> {
        self.state.log.calls()
    }

    /// Waits until `fits` is true of what it received, at most `limit`; says whether it became true.
    pub async fn wait_until(&self, limit: Duration, fits: impl Fn(&[Received]) -> bool) -> bool {
        let step = Duration::from_millis(2);
        let mut waited = Duration::ZERO;
        while !fits(&self.received()) {
            if waited >= limit {
                return false;
            }
            sleep(step).await;
            waited += step;
        }
        true
    }

    /// Forgets what it received and every script.
    pub fn reset(&self) {
        self.state.reset();
    }

    /// Behaves like `script` from now on, whatever the model is called.
    pub fn script(&self, script: Script) {
        self.state.plans().always = Some(script);
    }

    /// Behaves like `script` for one call; several queue up.
    pub fn script_next(&self, script: Script) {
        self.state.plans().next.push_back(Plan::Script(script));
    }

    /// Sends `reply` to one call, whatever it asks; several queue up.
    pub fn reply_next(&self, reply: Reply) {
        self.state.plans().next.push_back(Plan::Reply(Arc::new(reply)));
    }
}

impl Drop for FakeProvider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves on `listener` until the future is dropped, with `GET /__received`, `POST /__reset` and `GET /__health`.
pub async fn serve(listener: TcpListener, options: Options) {
    accept(listener, Arc::new(State::new(options))).await;
}

#[derive(Debug)]
struct State {
    options: Options,
    log: Arc<Log>,
    plans: Mutex<Plans>,
}

#[derive(Debug, Default)]
struct Plans {
    always: Option<Script>,
    next: VecDeque<Plan>,
    /// Calls by model, for scripts that fail a while.
    calls: HashMap<String, usize>,
}

#[derive(Debug)]
enum Plan {
    Script(Script),
    Reply(Arc<Reply>),
}

impl State {
    fn new(options: Options) -> State {
        State { log: Arc::new(Log::new(options.keep)), options, plans: Mutex::default() }
    }

    fn plans(&self) -> MutexGuard<'_, Plans> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reset(&self) {
        self.log.clear();
        *self.plans() = Plans::default();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    // Connections end with the set, and so with this future.
    let mut connections = JoinSet::new();
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            connections.spawn(connection(stream, Arc::clone(&state)));
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, state: Arc<State>) {
    // Only a closed socket refuses, and reading from it says so.
    let _ = stream.set_nodelay(true);
    let reset = ResetSwitch::new(AtomicBool::new(false));
    let socket = TokioIo::new(Socket::new(stream, Arc::clone(&reset)));
    let service = service_fn(move |request| handle(request, Arc::clone(&state), Arc::clone(&reset)));
    // An error means a caller that hung up or a script that broke the connection: both are recorded elsewhere.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(socket, service).await;
}

async fn handle(
    request: Request<Incoming>,
    state: Arc<State>,
    reset: ResetSwitch,
) -> Result<Response<ReplyBody>, Broken> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, LARGEST).collect().await.map_err(|_| Broken)?.to_bytes();
    let path = head.uri.path();
    let query = head.uri.query().unwrap_or_default();
    if let Some(bench) = &state.options.bench {
        let reply = bench.reply(path, query, &body);
        return send(reply, state.log.ignore(), reset).await;
    }
    if path.starts_with("/__") {
        let reply = control(&head.method, path, query, &state);
        return send(Arc::new(reply), state.log.ignore(), reset).await;
    }
    let ticket = state.log.add(received(&head.method, path, query, &head.headers, &body));
    let signed = auth::Signed { method: &head.method, path, query, headers: &head.headers, body: &body };
    let reply = match cloud::answer(&signed) {
        Some(reply) => Arc::new(reply),
        None => answer(&state, &signed, ticket.id),
    };
    send(reply, ticket, reset).await
}

fn received(method: &Method, path: &str, query: &str, headers: &HeaderMap, body: &Bytes) -> Received {
    let header = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    Received {
        method: method.to_string(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: headers.iter().map(header).collect(),
        body: body.clone(),
        ..Received::default()
    }
}

/// Requests that steer the fake instead of calling it.
fn control(method: &Method, path: &str, query: &str, state: &State) -> Reply {
    match (method.as_str(), path) {
        ("GET", "/__received") => {
            let part = query.strip_prefix("contains=").unwrap_or_default();
            let fits = |call: &Received| {
                part.is_empty()
                    || call.path.contains(part)
                    || memchr::memmem::find(&call.body, part.as_bytes()).is_some()
            };
            let calls = state.log.calls();
            Reply::json(
                200,
                &calls.iter().filter(|call| fits(call)).map(Received::to_json).collect::<Value>(),
            )
        }
        ("POST", "/__reset") => {
            state.reset();
            Reply::json(200, &Value::Bool(true))
        }
        ("GET", "/__health") => Reply::json(200, &Value::Bool(true)),
        _ => Reply::json(404, &Value::Null),
    }
}

fn answer(state: &State, request: &auth::Signed<'_>, nonce: u64) -> Arc<Reply> {
    let auth::Signed { path, query, headers, body, .. } = *request;
    let endpoint = Endpoint::find(path, headers.contains_key("anthropic-version"));
    let speaks = endpoint.as_ref().map_or(Speaks::OpenAi, Endpoint::speaks);
    if state.options.require_key
        && let Err(fault) = check_headers(speaks, request)
    {
        return Arc::new(Reply::fault(&fault, speaks, "req_unauthenticated"));
    }
    let script = match next_plan(state) {
        Some(Plan::Reply(reply)) => return reply,
        Some(Plan::Script(script)) => Some(script),
        None => None,
    };
    if let Some(endpoint) = endpoint
        && is_flaky_now(state, &endpoint, body, script.as_ref())
    {
        let fault = Fault::new(503, "The fake provider fails this time and works later.");
        return Arc::new(Reply::fault(&fault, speaks, "req_flaky"));
    }
    Arc::new(demo::answer(&Call {
        path,
        query,
        body,
        anthropic: headers.contains_key("anthropic-version"),
        lenient: state.options.lenient,
        created: now(),
        nonce,
        script: script.as_ref(),
    }))
}

fn next_plan(state: &State) -> Option<Plan> {
    let mut plans = state.plans();
    plans.next.pop_front().or_else(|| plans.always.clone().map(Plan::Script))
}

/// The vendor's key header, and Anthropic's version.
fn check_headers(speaks: Speaks, request: &auth::Signed<'_>) -> Result<(), Fault> {
    let auth::Signed { query, headers, .. } = *request;
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let in_query = || query.split('&').find_map(|pair| pair.strip_prefix("key="));
    let key = match speaks {
        Speaks::OpenAi => bearer,
        Speaks::Anthropic => header("x-api-key").or(bearer),
        Speaks::Gemini => header("x-goog-api-key").or_else(in_query),
        Speaks::Bedrock => return auth::check(request, "bedrock"),
    };
    if key.is_none_or(|key| key.is_empty() || key == "wrong-key") {
        return Err(invalid_key(speaks));
    }
    if speaks == Speaks::Anthropic && header("anthropic-version").is_none() {
        return Err(Fault::invalid("anthropic-version: header is required"));
    }
    Ok(())
}

/// Counts a call of a model that fails a while, and says whether it fails now.
fn is_flaky_now(state: &State, endpoint: &Endpoint, body: &[u8], script: Option<&Script>) -> bool {
    if script.is_none()
        && memchr::memmem::find(body, b"flaky-").is_none()
        && !matches!(endpoint, Endpoint::Gemini { .. } | Endpoint::Converse { .. })
    {
        return false;
    }
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let model = demo::model(endpoint, &body);
    let flaky = match script {
        Some(script) => script.flaky,
        None => Script::from_model(model).map_or(0, |script| script.flaky),
    };
    if flaky == 0 {
        return false;
    }
    let mut plans = state.plans();
    let calls = plans.calls.entry(model.to_owned()).or_default();
    *calls += 1;
    *calls <= flaky
}

#[expect(
    clippy::disallowed_methods,
    reason = "a fake provider has no clock to be given; only `created` shows it"
)]
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

async fn send(
    reply: Arc<Reply>,
    mut ticket: Ticket,
    reset: ResetSwitch,
) -> Result<Response<ReplyBody>, Broken> {
    if !reply.wait.is_zero() {
        sleep(reply.wait).await;
    }
    if reply.ending == Ending::Reset && reply.chunks.is_empty() {
        ticket.abandon();
        reset.store(true, Ordering::Release);
        return Err(Broken);
    }
    let mut response = Response::new(ReplyBody::new(Arc::clone(&reply), ticket, reset));
    *response.status_mut() = StatusCode::from_u16(reply.status).map_err(|_| Broken)?;
    for (name, value) in &reply.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            response.headers_mut().append(name, value);
        }
    }
    Ok(response)
}

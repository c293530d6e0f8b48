//! The one place that opens sockets to providers.
//!
//! Connections are pooled per host, HTTP/1.1 by default, with `TCP_NODELAY`. Proxies come from the environment
//! (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`). Redirects are never followed: a provider cannot send a
//! request with a key elsewhere.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tollway_model::{Error, Kind, Result, Retry};
use tollway_providers::aws::Signing;
use tollway_wire::json::Pieces;

use crate::aws::Vault;
use crate::body::{AnswerBody, Drained};

/// How long to wait for each phase of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection to write the request to, where none is open; shorter than [`TransportOptions::connect`], which
    /// bounds every new one. Default: none.
    pub connect: Option<Duration>,
    /// For the answer's headers, counted from when the attempt starts (connecting included). Default: 600 s.
    pub first_byte: Duration,
    /// Between two pieces of the body. Default: 120 s.
    pub idle: Duration,
    /// For the whole attempt, body included; in [`CallOptions`](crate::CallOptions), for the whole call with its retries.
    /// Default: 6000 s, as LiteLLM's `request_timeout`.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            connect: None,
            first_byte: Duration::from_secs(600),
            idle: Duration::from_secs(120),
            total: Duration::from_secs(6000),
        }
    }
}

/// How the transport behaves.
#[derive(Debug, Clone)]
pub struct TransportOptions {
    /// For a new connection: name, TCP, proxy and TLS handshakes together. Default: 10 s.
    pub connect: Duration,
    /// Idle connections are closed after this. Default: 90 s.
    pub pool_idle: Duration,
    /// Offer HTTP/2. One HTTP/2 connection queues calls at the server's stream limit, so HTTP/1.1 is the default.
    pub http2: bool,
    /// Use the proxies of the environment. Default: true.
    pub environment_proxies: bool,
}

impl Default for TransportOptions {
    fn default() -> Self {
        TransportOptions {
            connect: Duration::from_secs(10),
            pool_idle: Duration::from_secs(90),
            http2: false,
            environment_proxies: true,
        }
    }
}

/// A duration that can be added to any moment; a year is as good as for ever.
pub(crate) fn bounded(duration: Duration) -> Duration {
    duration.min(Duration::from_secs(365 * 24 * 3600))
}

type Plain = Client<Bounded<Route>, Outgoing>;
type Tls = Client<Bounded<HttpsConnector<Route>>, Outgoing>;

/// Sends requests. Cheap to clone: clones share connections.
#[derive(Clone)]
pub struct Transport(Arc<Inner>);

struct Inner {
    options: TransportOptions,
    route: Route,
    /// What plain requests through the environment's proxy carry, where it wants a password.
    proxy_auth: Option<HeaderValue>,
    plain: Plain,
    /// Reading the system's certificates takes milliseconds: only when the first TLS call comes, or [`Transport::warm`].
    tls: OnceLock<Tls>,
    /// Credentials that requests are signed with.
    vault: Vault,
}

impl Default for Transport {
    fn default() -> Self {
        Transport::new(TransportOptions::default())
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Transport").field(&self.0.options).finish()
    }
}

/// What a provider answered, its body still arriving.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: AnswerBody,
}

impl Transport {
    /// A transport with its own pool of connections.
    pub fn new(options: TransportOptions) -> Transport {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_keepalive(Some(Duration::from_secs(60)));
        connector.set_connect_timeout(Some(options.connect));
        let proxies = options.environment_proxies.then(Matcher::from_env).map(Arc::new);
        let route = Route { connector, proxies };
        let proxy_auth = route.plain_proxy_auth();
        let plain =
            builder(&options).build(Bounded { inner: route.clone(), limit: bounded(options.connect) });
        Transport(Arc::new(Inner {
            options,
            route,
            proxy_auth,
            plain,
            tls: OnceLock::new(),
            vault: Vault::default(),
        }))
    }

    /// Prepares TLS ahead of the first call. Blocks for some milliseconds.
    pub fn warm(&self) {
        self.0.tls();
    }

    /// Signs `request` as its endpoint wants it; the last thing that happens to a request before it is sent.
    pub(crate) async fn sign(
        &self,
        signing: &Signing,
        request: http::Request<Pieces>,
    ) -> Result<http::Request<Pieces>> {
        self.0.vault.sign(self, signing, request).await
    }

    /// Sends `request` and waits for the answer's headers.
    ///
    /// Dropping the future, or the body it returns, closes the connection, so the provider stops generating.
    pub async fn send<B: Into<Pieces>>(
        &self,
        request: http::Request<B>,
        timeouts: &Timeouts,
    ) -> Result<Answer> {
        let start = Instant::now();
        let wait = bounded(timeouts.first_byte.min(timeouts.total));
        let begun = Arc::new(AtomicBool::new(false));
        let mut request = request.map(|body| Outgoing { body: body.into(), begun: begun.clone() });
        // A request without a body tells nobody when it leaves.
        let connect = timeouts.connect.filter(|connect| *connect < wait && !request.body().body.is_empty());
        let secure = request.uri().scheme_str() == Some("https");
        if let Some(auth) = &self.0.proxy_auth
            && !secure
            && self.0.route.proxy(request.uri()).is_some()
        {
            request.headers_mut().insert(http::header::PROXY_AUTHORIZATION, auth.clone());
        }
        let answer = async {
            if secure { self.0.tls().request(request).await } else { self.0.plain.request(request).await }
        };
        tokio::pin!(answer);
        let mut answered = None;
        if let Some(connect) = connect {
            answered = tokio::time::timeout_at(start + connect, answer.as_mut()).await.ok();
            if answered.is_none() && !begun.load(Ordering::Relaxed) {
                let message = format!("no connection to the provider within {}", seconds(connect));
                let error = Error::new(Kind::Connection, message).with_retry(Retry::Later(None));
                return Err(error.with_context(UNSENT, "the connection never stood"));
            }
        }
        let answered = match answered {
            Some(answered) => Ok(answered),
            None => tokio::time::timeout_at(start + wait, answer).await,
        };
        let answer = match answered {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(connection_error(&error)),
            Err(_) => Err(timed_out("the provider sent no answer", wait)),
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) if begun.load(Ordering::Relaxed) => return Err(error),
            Err(error) => return Err(error.with_context(UNSENT, "the connection never stood")),
        };
        let (mut parts, body) = answer.into_parts();
        let body = AnswerBody::new(body, start, timeouts, parts.extensions.remove());
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }
}

/// What an error's context says when no byte of the request has left.
pub(crate) const UNSENT: &str = "unsent";

/// Did this attempt end before a byte of its request had left, so that the provider knows nothing of it?
pub(crate) fn is_unsent(error: &Error) -> bool {
    error.context().iter().any(|(key, _)| *key == UNSENT)
}

/// A request's body. Its pieces leave in one vectored write.
struct Outgoing {
    body: Pieces,
    /// It is asked for once there is a connection to write it to.
    begun: Arc<AtomicBool>,
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<http_body::Frame<Bytes>, Self::Error>>> {
        self.begun.store(true, Ordering::Relaxed);
        Poll::Ready(self.body.pop().map(|piece| Ok(http_body::Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_empty()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.body.len() as u64)
    }
}

impl Inner {
    fn tls(&self) -> &Tls {
        self.tls.get_or_init(|| {
            let connector = HttpsConnectorBuilder::new().with_tls_config(tls_config()).https_or_http();
            let connector = if self.options.http2 {
                connector.enable_all_versions().wrap_connector(self.route.clone())
            } else {
                connector.enable_http1().wrap_connector(self.route.clone())
            };
            let limit = bounded(self.options.connect);
            builder(&self.options).build(Bounded { inner: connector, limit })
        })
    }
}

fn builder(options: &TransportOptions) -> hyper_util::client::legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_idle_timeout(options.pool_idle).pool_timer(TokioTimer::new()).timer(TokioTimer::new());
    builder
}

/// The system's certificates, or Mozilla's where the system has none (an empty container).
fn tls_config() -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = || {
        #[expect(clippy::expect_used, reason = "aws-lc-rs supports the default protocol versions")]
        rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("the crypto provider supports TLS 1.2 and 1.3")
    };
    match config().with_native_roots() {
        Ok(roots) => roots.with_no_client_auth(),
        Err(_) => config().with_webpki_roots().with_no_client_auth(),
    }
}

pub(crate) fn timed_out(what: &str, after: Duration) -> Error {
    Error::new(Kind::Timeout, format!("{what} within {}", seconds(after))).with_status(408)
}

fn seconds(duration: Duration) -> String {
    if duration.subsec_millis() == 0 {
        format!("{} s", duration.as_secs())
    } else {
        format!("{:.3} s", duration.as_secs_f64())
    }
}

/// The caller learns that the provider could not be reached; which host and why is for the log.
fn connection_error(error: &hyper_util::client::legacy::Error) -> Error {
    let what = if error.is_connect() {
        "no connection to the provider"
    } else {
        "the connection to the provider broke before it answered"
    };
    Error::new(Kind::Connection, what).with_retry(Retry::Later(None)).with_context("cause", chain(error))
}

/// An error and its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Connects directly or through the environment's proxy.
#[derive(Clone)]
struct Route {
    connector: HttpConnector,
    proxies: Option<Arc<Matcher>>,
}

/// A TCP connection to a provider.
pub(crate) struct Wire {
    io: TokioIo<TcpStream>,
    /// It goes to a proxy, which wants whole URLs in plain requests.
    proxied: bool,
    /// For the bodies of the answers that arrive on it.
    drained: Drained,
}

impl Wire {
    fn new(io: TokioIo<TcpStream>, proxied: bool) -> Wire {
        Wire { io, proxied, drained: Drained::default() }
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Route {
    /// The proxy on the way to `target`.
    fn proxy(&self, target: &Uri) -> Option<Intercept> {
        self.proxies.as_ref()?.intercept(target)
    }

    /// The password of the proxy for plain requests. Tunnels send theirs when they are opened.
    fn plain_proxy_auth(&self) -> Option<HeaderValue> {
        self.proxy(&Uri::from_static("http://proxy-auth.invalid"))?.basic_auth().cloned()
    }
}

/// A connector that gives up after `limit`.
#[derive(Clone)]
struct Bounded<C> {
    inner: C,
    limit: Duration,
}

impl<C> tower_service::Service<Uri> for Bounded<C>
where
    C: tower_service::Service<Uri>,
    C::Future: Send + 'static,
    C::Response: Send + 'static,
    C::Error: Into<BoxError> + Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = std::result::Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<std::result::Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let (connecting, limit) = (self.inner.call(target), self.limit);
        Box::pin(async move {
            match tokio::time::timeout(limit, connecting).await {
                Ok(connected) => connected.map_err(Into::into),
                Err(_) => Err(format!("not connected within {}", seconds(limit)).into()),
            }
        })
    }
}

impl tower_service::Service<Uri> for Route {
    type Response = Wire;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = std::result::Result<Wire, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let mut connector = self.connector.clone();
        let intercept = self.proxy(&target);
        Box::pin(async move {
            let Some(proxy) = intercept else {
                let io = tower_service::Service::call(&mut connector, target).await?;
                return Ok(Wire::new(io, false));
            };
            if target.scheme_str() == Some("https") {
                let mut tunnel = Tunnel::new(proxy.uri().clone(), connector);
                if let Some(auth) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(auth.clone());
                }
                let io = tower_service::Service::call(&mut tunnel, target).await?;
                return Ok(Wire::new(io, false));
            }
            let io = tower_service::Service::call(&mut connector, proxy.uri().clone()).await?;
            Ok(Wire::new(io, true))
        })
    }
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        // What the socket itself would add, its addresses, nobody asks for.
        Connected::new().proxy(self.proxied).extra(self.drained.clone())
    }
}

impl hyper::rt::Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        let result = Pin::new(&mut self.io).poll_read(context, buffer);
        self.drained.set(result.is_pending());
        result
    }
}

impl hyper::rt::Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }
}

//! From an HTTP request to a reply: route, identify, read, serve.

use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use tollway_accounts::manage::Management;
use tollway_accounts::rights;
use tollway_model::{Dialect, Error, Kind, Operation, Result};
use tollway_pipeline::{
    AcceptRules, Call, Caller, Cut, Gateway, Reply, ReplyBody, Snapshot, Surface, render_error, unix_millis,
};
use tollway_wire::Framing;

use crate::guesses::Guesses;
use crate::limits::LiveLimits;
use crate::manage::Manage;
use crate::models::Shape;
use crate::peer::{Busy, Peer};
use crate::routes::{Access, Action, Matched, ROUTES, Route, allowed, find};
use crate::spend::{Answer, Desk, Pages, Spend};
use crate::{admin, body, docs, health, manage, models, openapi, responses, tokens};

/// What the process does for the server.
pub trait Hooks: Send + Sync {
    /// Reads the configuration again. The text says what happened; an error keeps the old configuration.
    fn reload(&self) -> std::result::Result<String, String>;

    /// The management of accounts and stored models; `None` where nothing is stored.
    fn management(&self) -> Option<Arc<Management>> {
        None
    }

    /// A request changed accounts: returns when calls see it, before the request is answered.
    fn accounts_changed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }

    /// Stored models were changed by a request: serve them as they are now, before it is answered.
    fn models_changed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
}

/// Answers requests. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    inner: Arc<Inner>,
    peer: Arc<Peer>,
}

struct Inner {
    gateway: Arc<Gateway>,
    limits: Arc<LiveLimits>,
    hooks: Arc<dyn Hooks>,
    guesses: Guesses,
    pages: Pages,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("limits", &self.inner.limits).finish_non_exhaustive()
    }
}

impl Service {
    /// Serves `gateway` within `limits`.
    pub fn new(gateway: Arc<Gateway>, limits: Arc<LiveLimits>, hooks: Arc<dyn Hooks>) -> Service {
        let inner = Inner { gateway, limits, hooks, guesses: Guesses::default(), pages: Pages::default() };
        Service { inner: Arc::new(inner), peer: Peer::at(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) }
    }

    /// The same for the requests of a connection.
    pub(crate) fn for_client(&self, peer: Arc<Peer>) -> Service {
        Service { inner: self.inner.clone(), peer }
    }
}

/// The body of an answer; its client keeps us busy as long as it lasts.
#[derive(Debug)]
pub struct AnswerBody {
    body: ReplyBody,
    _busy: Busy,
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<AnswerBody>;
    type Error = std::convert::Infallible;
    type Future =
        Pin<Box<dyn Future<Output = std::result::Result<Response<AnswerBody>, Self::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (inner, busy) = (self.inner.clone(), Busy::with_call(&self.peer));
        // Written into its box, where `Box::pin` would make it on the stack and move all of its kilobytes.
        let answering = Box::write(Box::new_uninit(), async move {
            let Reply { status, headers, body } = inner.answer(request, busy.peer()).await;
            let mut response = Response::new(AnswerBody { body, _busy: busy });
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            Ok(response)
        });
        Box::into_pin(answering)
    }
}

impl Inner {
    async fn answer(&self, request: Request<Incoming>, peer: &Peer) -> Reply {
        let started = Instant::now();
        let path = request.uri().path().to_owned();
        let (version, bodiless) = (request.version(), request.body().is_end_stream());
        let takes_bodies = matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH);
        match self.route(request, peer, &path, started).await {
            // Nobody reads the body of a request that should have none.
            Ok(mut reply)
                if !bodiless && (!takes_bodies || reply.status == StatusCode::METHOD_NOT_ALLOWED) =>
            {
                close(&mut reply, version);
                reply
            }
            Ok(reply) => reply,
            Err(error) => {
                let mut reply = manage::refuse(&error, dialect_of(&path));
                if !bodiless {
                    close(&mut reply, version);
                }
                reply
            }
        }
    }

    async fn route(
        &self,
        request: Request<Incoming>,
        peer: &Peer,
        path: &str,
        started: Instant,
    ) -> Result<Reply> {
        let most = self.limits.url_bytes();
        if request.uri().path_and_query().is_some_and(|all| all.as_str().len() > most) {
            return Err(Error::new(Kind::InvalidRequest, format!("the URL is longer than {most} bytes"))
                .with_status(414));
        }
        check_host(&request)?;
        let (route, captured) = match find(request.method(), path) {
            Matched::Route(index, captured) => match ROUTES.get(index) {
                Some(route) => (route, captured),
                None => return Err(tollway_pipeline::not_found(path)),
            },
            Matched::OtherMethod => return Ok(other_method(request.method(), path)),
            Matched::None => return Err(tollway_pipeline::not_found(path)),
        };
        let snapshot = self.gateway.snapshot();
        let captured = captured.map(|text| percent_decode_str(text).decode_utf8_lossy().into_owned());
        // Who calls is settled before a byte of the body is read.
        let caller = match route.access {
            Access::Public => None,
            Access::Right(right) => {
                let caller = self.identify(&snapshot, &request, peer, started).await?;
                rights::permits(&caller.identity.principal, right, route.path, path)?;
                Some(caller)
            }
        };
        match caller {
            Some(caller) => self.for_caller(request, route, captured, snapshot, caller, started).await,
            None => Ok(self.for_anyone(route, &snapshot)),
        }
    }

    /// Who calls. Addresses that guess keys are refused before another one is looked at.
    async fn identify(
        &self,
        snapshot: &Snapshot,
        request: &Request<Incoming>,
        peer: &Peer,
        now: Instant,
    ) -> Result<Caller> {
        let trusted = peer.is_trusted();
        if !trusted {
            self.guesses.admit(peer.address, now)?;
        }
        let presented = snapshot.keyring.presented(request.headers(), request.uri())?;
        let identified = self.gateway.identify(snapshot, &presented).await;
        match &identified {
            Ok(_) if !trusted => {
                self.guesses.right(peer.address, now);
                peer.trust();
            }
            // No key at all is not a guess.
            Err(error) if error.param() == Some(tollway_pipeline::WRONG_KEY) => {
                self.guesses.wrong(peer.address, now);
            }
            _ => {}
        }
        identified
    }

    fn for_anyone(&self, route: &Route, snapshot: &Snapshot) -> Reply {
        match route.action {
            Action::Liveness => health::liveness(),
            Action::Readiness => health::readiness(snapshot, self.gateway.services()),
            Action::OpenApi => openapi::reply(),
            Action::Routes => docs::routes(),
            // The table's test names every public action; what is left are the pages.
            _ => docs::page(),
        }
    }

    async fn for_caller(
        &self,
        request: Request<Incoming>,
        route: &Route,
        captured: Option<String>,
        snapshot: Arc<Snapshot>,
        caller: Caller,
        started: Instant,
    ) -> Result<Reply> {
        let headers = request.headers();
        match route.action {
            Action::Call(dialect, operation) => {
                let surface =
                    Surface { dialect, operation, model: captured, stream: None, framing: Framing::Sse };
                self.model_call(request, surface, snapshot, caller, started).await
            }
            Action::Gemini => {
                let surface = gemini_surface(&captured.unwrap_or_default(), request.uri().query())?;
                self.model_call(request, surface, snapshot, caller, started).await
            }
            Action::Models => Ok(models::list(&snapshot, &caller, Shape::of(headers), request.uri().query())),
            Action::GeminiModels => {
                Ok(models::list(&snapshot, &caller, Shape::Gemini, request.uri().query()))
            }
            Action::Model => {
                models::one(&snapshot, &caller, &captured.unwrap_or_default(), Shape::of(headers))
            }
            Action::GeminiModel => {
                models::one(&snapshot, &caller, &captured.unwrap_or_default(), Shape::Gemini)
            }
            Action::ModelInfo => Ok(models::info(&snapshot, &caller, request.uri().query())),
            Action::ModelPages => models::pages(&snapshot, &caller, &manage::params(request.uri().query())),
            Action::ModelDeprecations => {
                let params = manage::params(request.uri().query());
                models::deprecations(&snapshot, &caller, &params, unix_millis())
            }
            Action::ModelGroups => models::groups(&snapshot, &caller, &manage::params(request.uri().query())),
            // Apart: a call's future would have room for the largest of them, and be moved with it.
            Action::Manage(what) => Box::pin(self.manage(request, route, what, captured, &caller)).await,
            Action::TokenCounter => {
                let body = body::read(request.into_body(), self.limits.body()).await?;
                Box::pin(tokens::count(&snapshot, body)).await
            }
            Action::Health => {
                // How deployments are doing is the operator's business.
                let standings = match caller.is_admin() {
                    true => self.gateway.board().standings(tollway_pipeline::board_now()),
                    false => Vec::new(),
                };
                Ok(health::health(&snapshot, &standings))
            }
            Action::Spend(what) => {
                Box::pin(self.spend(request, route, what, captured, &snapshot, &caller)).await
            }
            Action::Response(what) => {
                let params = manage::params(request.uri().query());
                let kept = &self.gateway.services().responses;
                Box::pin(responses::act(kept, &caller, what, &captured.unwrap_or_default(), &params)).await
            }
            Action::NotBuilt(why) => Err(Error::new(Kind::Unsupported, why)),
            Action::Reload => admin::reload(self.hooks.as_ref()),
            _ => Ok(self.for_anyone(route, &snapshot)),
        }
    }

    /// Settles what may be done, then reads the body, then does it.
    async fn manage(
        &self,
        request: Request<Incoming>,
        route: &Route,
        what: Manage,
        named: Option<String>,
        caller: &Caller,
    ) -> Result<Reply> {
        let management = manage::handle(self.hooks.management())?;
        let Access::Right(right) = route.access else {
            return Err(Error::internal("a route without a right"));
        };
        let path = request.uri().path();
        let grant = management.authorize(&caller.identity.principal, right, route.path, path).await?;
        let params = manage::params(request.uri().query());
        let (parts, incoming) = request.into_parts();
        refuse_encoding(&parts.headers)?;
        let body = body::read(incoming, self.limits.body()).await?;
        let value = manage::act(&management, &grant, what, named.as_deref(), &params, &body).await?;
        if route.method != Method::GET {
            self.hooks.accounts_changed().await;
        }
        if what.changes_models() {
            self.hooks.models_changed().await;
        }
        Ok(manage::reply(&value))
    }

    /// The same for what was spent. Without a database there is still the memory, for those whose rights need no store.
    async fn spend(
        &self,
        request: Request<Incoming>,
        route: &Route,
        what: Spend,
        named: Option<String>,
        snapshot: &Snapshot,
        caller: &Caller,
    ) -> Result<Reply> {
        let Access::Right(right) = route.access else {
            return Err(Error::internal("a route without a right"));
        };
        let (principal, path) = (&caller.identity.principal, request.uri().path());
        let management = self.hooks.management();
        let grant = match &management {
            Some(management) => management.authorize(principal, right, route.path, path).await?,
            None => rights::authorize(principal, &[], right, route.path, path)?,
        };
        let params = manage::params(request.uri().query());
        let (parts, incoming) = request.into_parts();
        refuse_encoding(&parts.headers)?;
        let body = body::read(incoming, self.limits.body()).await?;
        let desk = Desk {
            gateway: &self.gateway,
            snapshot,
            management,
            pages: &self.pages,
            caller,
            grant,
            params,
            named,
            now: unix_millis(),
        };
        Ok(match desk.act(what, body).await? {
            Answer::Whole(value) => manage::reply(&value),
            Answer::Long(pieces) => manage::long_reply(pieces),
        })
    }

    async fn model_call(
        &self,
        request: Request<Incoming>,
        surface: Surface,
        snapshot: Arc<Snapshot>,
        caller: Caller,
        started: Instant,
    ) -> Result<Reply> {
        let bodiless = request.body().is_end_stream();
        let (parts, incoming) = request.into_parts();
        let rules = AcceptRules { max_depth: snapshot.settings.max_depth, limits: snapshot.settings.calls };
        let asked = surface.clone();
        let read = async {
            refuse_encoding(&parts.headers)?;
            let body = body::read(incoming, self.limits.body()).await?;
            Call::accept(surface, &parts.headers, body, started, rules)
        };
        match read.await {
            Ok(call) => Ok(self.gateway.serve(snapshot, caller, Box::new(call)).await),
            Err(error) => {
                let mut reply = self.gateway.turn_away(&caller, asked, &parts.headers, started, &error);
                if !bodiless {
                    close(&mut reply, parts.version);
                }
                Ok(reply)
            }
        }
    }
}

/// The connection ends where a body is not read to its end; a client that is not told would send its next request into
/// it.
fn close(reply: &mut Reply, version: Version) {
    if version < Version::HTTP_2 {
        reply.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// One host, spelled as one: whoever stands in front must not have understood another (RFC 9112, 3.2). Nothing here
/// depends on what it says.
fn check_host(request: &Request<Incoming>) -> Result<()> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let is_valid = |host: &HeaderValue| {
        host.is_empty() || Authority::try_from(host.as_bytes()).is_ok_and(|host| !host.as_str().contains('@'))
    };
    let valid = match (hosts.next(), hosts.next()) {
        (None, _) => request.version() != Version::HTTP_11,
        (Some(host), None) => is_valid(host),
        _ => false,
    };
    if valid { Ok(()) } else { Err(Error::invalid("the request needs one valid `Host` header")) }
}

/// A compressed body would only be reported as JSON that is none.
fn refuse_encoding(headers: &HeaderMap) -> Result<()> {
    let Some(encoding) = headers.get(header::CONTENT_ENCODING) else { return Ok(()) };
    if encoding.as_bytes().eq_ignore_ascii_case(b"identity") {
        return Ok(());
    }
    let encoding = String::from_utf8_lossy(encoding.as_bytes());
    let message = format!("a body with content-encoding {encoding} is not read here; send it as it is");
    Err(Error::invalid(message).with_status(415))
}

/// The path exists, with other methods: which, is in `Allow`.
fn other_method(method: &Method, path: &str) -> Reply {
    let error = Error::new(Kind::MethodNotAllowed, format!("{path} does not take {method}"));
    let mut reply = render_error(&error, dialect_of(path));
    if let Ok(allowed) = HeaderValue::try_from(allowed(path)) {
        reply.headers.insert(header::ALLOW, allowed);
    }
    reply
}

/// `gemini-2.5-pro:streamGenerateContent?alt=sse` and its sisters.
fn gemini_surface(call: &str, query: Option<&str>) -> Result<Surface> {
    let unknown = || {
        Error::new(
            Kind::NotFound,
            format!(
                "no method in `{call}`; it ends in :generateContent, :streamGenerateContent, :countTokens, \
                 :embedContent or :batchEmbedContents"
            ),
        )
    };
    let (model, method) = call.rsplit_once(':').ok_or_else(unknown)?;
    let sse = query.is_some_and(|query| query.split('&').any(|pair| pair == "alt=sse"));
    let (operation, stream) = match method {
        "generateContent" => (Operation::Chat, false),
        "streamGenerateContent" => (Operation::Chat, true),
        "countTokens" => (Operation::CountTokens, false),
        "embedContent" | "batchEmbedContents" => (Operation::Embedding, false),
        _ => return Err(unknown()),
    };
    Ok(Surface {
        dialect: Dialect::Gemini,
        operation,
        model: Some(model.to_owned()),
        stream: Some(stream),
        framing: if sse || !stream { Framing::Sse } else { Framing::JsonArray },
    })
}

/// The dialect that a refused request's client reads, as far as the path tells.
fn dialect_of(path: &str) -> Dialect {
    if path.starts_with("/v1/messages") {
        Dialect::Anthropic
    } else if path.starts_with("/v1beta/") || path.starts_with("/v1alpha/") || is_gemini_call(path) {
        Dialect::Gemini
    } else if is_responses(path) {
        Dialect::OpenaiResponses
    } else {
        Dialect::OpenaiChat
    }
}

fn is_responses(path: &str) -> bool {
    let path = path.strip_prefix("/openai").unwrap_or(path);
    let rest = path.strip_prefix("/v1").unwrap_or(path).strip_prefix("/responses");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `/v1/models/…` is OpenAI's list of models, too: the method at the end tells.
fn is_gemini_call(path: &str) -> bool {
    let call = path.strip_prefix("/v1").unwrap_or(path).strip_prefix("/models/");
    let method = call.and_then(|call| call.rsplit_once(':')).map(|(_, method)| method);
    matches!(
        method,
        Some(
            "generateContent"
                | "streamGenerateContent"
                | "countTokens"
                | "embedContent"
                | "batchEmbedContents"
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_written_in_the_dialect_of_its_path() {
        for (path, dialect) in [
            ("/v1/messages/count_tokens", Dialect::Anthropic),
            ("/v1beta/models/m:generateContent", Dialect::Gemini),
            ("/v1/models/m:streamGenerateContent", Dialect::Gemini),
            ("/v1alpha/models/m:generateContent", Dialect::Gemini),
            ("/models/ollama/llama:8b:countTokens", Dialect::Gemini),
            ("/v1/models/ollama/llama:8b", Dialect::OpenaiChat),
            ("/v1/models", Dialect::OpenaiChat),
            ("/v1/chat/completions", Dialect::OpenaiChat),
            ("/v1/responses", Dialect::OpenaiResponses),
            ("/responses/resp_1/input_items", Dialect::OpenaiResponses),
            ("/openai/v1/responses/resp_1", Dialect::OpenaiResponses),
            ("/v1/responses_of_mine", Dialect::OpenaiChat),
        ] {
            assert_eq!(dialect_of(path), dialect, "{path}");
        }
    }

    #[test]
    fn geminis_urls_say_what_is_asked() {
        let surface = gemini_surface("groq/llama:8b:streamGenerateContent", Some("key=x&alt=sse")).unwrap();
        assert_eq!(surface.model.as_deref(), Some("groq/llama:8b"));
        assert_eq!((surface.stream, surface.framing), (Some(true), Framing::Sse));
        assert_eq!(gemini_surface("m:streamGenerateContent", None).unwrap().framing, Framing::JsonArray);
        assert_eq!(gemini_surface("m:countTokens", None).unwrap().operation, Operation::CountTokens);
        for method in ["embedContent", "batchEmbedContents"] {
            assert_eq!(gemini_surface(&format!("m:{method}"), None).unwrap().operation, Operation::Embedding);
        }
        assert!(gemini_surface("m:predict", None).is_err());
        assert!(gemini_surface("m", None).is_err());
    }
}

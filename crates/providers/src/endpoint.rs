//! The resolved target of a deployment: URLs, headers and rules, made once and used for every call.

mod build;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri};
use indexmap::IndexMap;
use tollway_model::{Capabilities, Dialect, Error, Kind, Operation, RawJson, Result, Secret};
use tollway_wire::Target;
use tollway_wire::openai_chat::Quirks;

use crate::aws::{AwsSettings, Signing};
use crate::error::EndpointError;
use crate::headers;
use crate::provider::{ModelRules, Provider};
use crate::secrets::Secrets;

/// What a deployment says about where its calls go.
#[derive(Clone)]
pub struct EndpointSpec {
    /// Who serves it.
    pub provider: Arc<Provider>,
    /// The provider's own name of the model, without the provider's prefix.
    pub model: String,
    /// The base URL; wins over the environment and the provider's row.
    pub api_base: Option<String>,
    /// A base that speaks Anthropic Messages, for a server that speaks both.
    pub anthropic_base: Option<String>,
    /// The key; wins over the environment.
    pub api_key: Option<Secret>,
    /// Sent as `OpenAI-Organization` to providers that speak OpenAI.
    pub organization: Option<String>,
    /// The version of the protocol: Gemini's path segment (`v1beta` by default), Anthropic's header, and for
    /// providers that speak OpenAI the query parameter `api-version`.
    pub api_version: Option<String>,
    /// More headers; they win over all others.
    pub extra_headers: Vec<(String, String)>,
    /// More top-level fields of request bodies; they win over the caller's.
    pub extra_body: IndexMap<String, RawJson>,
    /// Top-level fields never sent, whatever the caller asks.
    pub dropped_fields: Vec<String>,
    /// Top-level fields sent although the provider's rules refuse them.
    pub allowed_fields: Vec<String>,
    /// Values of the variables of the provider's base, such as `region`.
    pub variables: BTreeMap<String, String>,
    /// Credentials and region, for providers whose requests are signed.
    pub aws: AwsSettings,
    /// What the model can do.
    pub capabilities: Capabilities,
    /// Which of OpenAI's two dialects calls go out in, where the provider's row leaves it open.
    pub mode: Mode,
}

/// Which of OpenAI's dialects a provider that speaks OpenAI is spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Each in its own: Responses calls go out as they are where the provider's row says that it serves them, and as
    /// chats elsewhere.
    #[default]
    Native,
    /// Always Chat Completions: for models or hosts whose Responses API is missing or wrong.
    Chat,
    /// Always Responses, whatever the client speaks: for models that have no other API.
    Responses,
}

impl EndpointSpec {
    /// `model` at `provider`, everything else from the provider's row and the environment.
    pub fn new(provider: &Arc<Provider>, model: impl Into<String>) -> EndpointSpec {
        EndpointSpec {
            provider: Arc::clone(provider),
            model: model.into(),
            api_base: None,
            anthropic_base: None,
            api_key: None,
            organization: None,
            api_version: None,
            extra_headers: Vec::new(),
            extra_body: IndexMap::new(),
            dropped_fields: Vec::new(),
            allowed_fields: Vec::new(),
            variables: BTreeMap::new(),
            aws: AwsSettings::default(),
            capabilities: Capabilities::default(),
            mode: Mode::Native,
        }
    }
}

/// Where the calls of a deployment go, ready to use.
///
/// Immutable and cheap to share behind an `Arc`. Prints without keys, header values and queries.
#[derive(Clone)]
pub struct Endpoint {
    pub(crate) provider: Arc<Provider>,
    pub(crate) dialect: Dialect,
    pub(crate) model: String,
    /// The model as JSON text.
    pub(crate) model_json: String,
    /// Rules of the row and of the patterns that concern the model, in order.
    pub(crate) rules: Vec<ModelRules>,
    /// Fields never sent.
    pub(crate) dropped_fields: Vec<String>,
    /// JSON text by field.
    pub(crate) extra_body: Vec<(String, String)>,
    base: String,
    routes: Vec<Route>,
    headers: HeaderMap,
    /// Headers of the Anthropic base of a provider that speaks another dialect.
    anthropic_headers: HeaderMap,
    signing: Option<Arc<Signing>>,
    secrets: Secrets,
    quirks: Quirks,
    capabilities: Capabilities,
    is_own_server: bool,
}

/// One URL.
#[derive(Clone)]
struct Route {
    operation: Operation,
    dialect: Dialect,
    /// `None`: the same for streams.
    stream: Option<bool>,
    uri: Uri,
}

impl Endpoint {
    /// Resolves a deployment. `env` reads an environment variable; an empty one counts as absent.
    pub fn build(
        spec: EndpointSpec,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> std::result::Result<Endpoint, EndpointError> {
        build::build(spec, env)
    }

    /// Who serves it.
    pub fn provider(&self) -> &Arc<Provider> {
        &self.provider
    }

    /// The model as the provider names it.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The dialect that calls are translated into.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The base URL, without a query.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Is it a server of the operator's own choice, and not a company that sends bills? Rows without an address and a key,
    /// and every other row whose calls go to another host than the row names, unless that is another provider's.
    pub fn is_own_server(&self) -> bool {
        self.is_own_server
    }

    /// What the model can do.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Departures inside messages, those of the model included.
    pub fn quirks(&self) -> &Quirks {
        &self.quirks
    }

    /// What a codec needs to know to encode a request.
    pub fn target(&self) -> Target<'_> {
        Target { model: &self.model, capabilities: &self.capabilities, quirks: &self.quirks }
    }

    /// How requests are signed before they are sent; `None`: they hold all they need.
    pub fn signing(&self) -> Option<&Signing> {
        self.signing.as_deref()
    }

    /// Is there a URL for this?
    pub fn speaks(&self, operation: Operation, dialect: Dialect) -> bool {
        self.routes.iter().any(|route| route.operation == operation && route.dialect == dialect)
    }

    /// How a call of a client that speaks `surface` goes out: as it is where the endpoint speaks the same,
    /// otherwise as what the endpoint speaks. A completion may go out as a chat.
    ///
    /// `None`: the endpoint cannot do it.
    pub fn lane(&self, operation: Operation, surface: Dialect) -> Option<(Operation, Dialect)> {
        let instead = if operation == Operation::Completion { Operation::Chat } else { operation };
        let lanes = [(operation, surface), (operation, self.dialect), (instead, self.dialect)];
        // The dialect of the row has what that of the deployment's mode has not: embeddings.
        let row = self.provider.dialect.map(|dialect| (operation, dialect));
        lanes.into_iter().chain(row).find(|(operation, dialect)| self.speaks(*operation, *dialect))
    }

    /// Makes the HTTP request that carries `body`. No I/O.
    ///
    /// `extra` are headers this body needs (`anthropic-beta` adds up, others replace). Fails when the endpoint has no
    /// such operation in that dialect, or when a header of `extra` cannot be sent. An API that takes its key in the
    /// URL leaves it in the URL: log [`Endpoint::base`] instead.
    pub fn request<B>(
        &self,
        operation: Operation,
        dialect: Dialect,
        stream: bool,
        body: B,
        extra: &[(&str, String)],
    ) -> Result<Request<B>> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri(operation, dialect, stream)?.clone();
        *request.headers_mut() = self.headers(dialect).clone();
        for (name, value) in extra {
            headers::set(request.headers_mut(), name, value, true).map_err(Error::invalid)?;
        }
        Ok(request)
    }

    fn uri(&self, operation: Operation, dialect: Dialect, stream: bool) -> Result<&Uri> {
        let fits = |route: &&Route| {
            let same = route.operation == operation && route.dialect == dialect;
            same && route.stream.is_none_or(|only| only == stream)
        };
        self.routes.iter().find(fits).map(|route| &route.uri).ok_or_else(|| {
            let (provider, operation) = (&self.provider.id, operation.name());
            Error::new(Kind::Unsupported, format!("`{provider}` has no {operation} in the {dialect} dialect"))
                .with_retry(tollway_model::Retry::Elsewhere)
        })
    }

    /// What the provider must not repeat to anyone.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// `body` without this endpoint's secrets: some providers repeat a refused key in their answer.
    pub fn redact(&self, body: Bytes) -> Bytes {
        let masked = match self.secrets.mask(&String::from_utf8_lossy(&body)) {
            Cow::Borrowed(_) => None,
            Cow::Owned(masked) => Some(Bytes::from(masked)),
        };
        masked.unwrap_or(body)
    }

    /// `error` without this endpoint's secrets, for failures that were read from what the provider said.
    pub fn redact_error(&self, error: &Error) -> Error {
        error.rewritten(|text| self.secrets.mask(text))
    }

    fn headers(&self, dialect: Dialect) -> &HeaderMap {
        if dialect == Dialect::Anthropic && self.dialect != dialect {
            &self.anthropic_headers
        } else {
            &self.headers
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("provider", &self.provider.id)
            .field("model", &self.model)
            .field("dialect", &self.dialect)
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for EndpointSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointSpec")
            .field("provider", &self.provider.id)
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

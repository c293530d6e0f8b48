//! One taxonomy of failures, rendered by each dialect as its clients expect.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The result of anything that can fail a call.
pub type Result<T> = std::result::Result<T, Error>;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// The request is wrong: malformed, or asks for something that does not exist.
    InvalidRequest,
    /// A parameter that the target cannot honour, with `drop_params` off.
    Unsupported,
    /// The body is larger than the limit.
    TooLarge,
    /// Who calls is not known.
    Authentication,
    /// The caller is known and may not do this.
    Permission,
    /// The account with the provider is out of credit.
    Payment,
    /// No such model, route or object.
    NotFound,
    /// The route exists and does not take this method.
    MethodNotAllowed,
    /// The state of something forbids it now.
    Conflict,
    /// The provider or the gateway took too long.
    Timeout,
    /// Too many requests or tokens in a window.
    RateLimit,
    /// The prompt does not fit the model's context window.
    ContextWindow,
    /// A content policy refused the prompt or the answer.
    ContentPolicy,
    /// Money reserved for this caller is spent.
    Budget,
    /// The provider is overloaded.
    Overloaded,
    /// Nothing can serve the call now.
    Unavailable,
    /// No connection to the provider, or it broke.
    Connection,
    /// The provider failed, or answered something that cannot be read.
    Upstream,
    /// The caller went away before the answer was complete.
    ClientClosed,
    /// A fault of the gateway.
    Internal,
}

impl Kind {
    /// Every kind, for tests and documentation.
    pub const ALL: [Kind; 20] = [
        Kind::InvalidRequest,
        Kind::Unsupported,
        Kind::TooLarge,
        Kind::Authentication,
        Kind::Permission,
        Kind::Payment,
        Kind::NotFound,
        Kind::MethodNotAllowed,
        Kind::Conflict,
        Kind::Timeout,
        Kind::RateLimit,
        Kind::ContextWindow,
        Kind::ContentPolicy,
        Kind::Budget,
        Kind::Overloaded,
        Kind::Unavailable,
        Kind::Connection,
        Kind::Upstream,
        Kind::ClientClosed,
        Kind::Internal,
    ];

    /// The HTTP status, OpenAI's `error.type`, and our stable name of the kind.
    ///
    /// The status is what a caller gets when the provider's own status does not say more.
    pub const fn wire(self) -> (u16, &'static str, &'static str) {
        match self {
            Kind::InvalidRequest => (400, "invalid_request_error", "invalid_request"),
            Kind::Unsupported => (400, "invalid_request_error", "unsupported_parameter"),
            Kind::TooLarge => (413, "invalid_request_error", "request_too_large"),
            Kind::Authentication => (401, "authentication_error", "invalid_api_key"),
            Kind::Permission => (403, "permission_error", "permission_denied"),
            Kind::Payment => (402, "billing_error", "payment_required"),
            Kind::NotFound => (404, "not_found_error", "not_found"),
            Kind::MethodNotAllowed => (405, "invalid_request_error", "method_not_allowed"),
            Kind::Conflict => (409, "conflict_error", "conflict"),
            Kind::Timeout => (408, "timeout_error", "timeout"),
            Kind::RateLimit => (429, "throttling_error", "rate_limit_exceeded"),
            Kind::ContextWindow => (400, "invalid_request_error", "context_length_exceeded"),
            Kind::ContentPolicy => (400, "invalid_request_error", "content_policy_violation"),
            Kind::Budget => (422, "budget_exceeded", "budget_exceeded"),
            Kind::Overloaded => (503, "overloaded_error", "overloaded"),
            Kind::Unavailable => (503, "service_unavailable_error", "unavailable"),
            Kind::Connection => (502, "api_connection_error", "connection_error"),
            Kind::Upstream => (502, "api_error", "upstream_error"),
            Kind::ClientClosed => (499, "client_closed_request", "client_closed"),
            Kind::Internal => (500, "internal_server_error", "internal_error"),
        }
    }

    /// The HTTP status of the kind.
    pub const fn status(self) -> u16 {
        self.wire().0
    }

    /// Our stable name of the kind.
    pub const fn code(self) -> &'static str {
        self.wire().2
    }
}

/// Where a failure arose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The caller's request.
    Caller,
    /// The gateway itself.
    Gateway,
    /// The provider.
    Upstream,
}

/// May the same call be tried again, and where?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Trying again cannot help: the request itself is at fault.
    Never,
    /// Another deployment may answer; this one has refused.
    Elsewhere,
    /// This deployment may answer after a pause (`Retry-After`, if it sent one).
    Later(Option<Duration>),
}

/// Why a call failed.
#[derive(Debug, Clone)]
pub struct Error(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    kind: Kind,
    origin: Origin,
    retry: Retry,
    message: String,
    param: Option<String>,
    status: Option<u16>,
    provider_code: Option<String>,
    provider_type: Option<String>,
    request_id: Option<String>,
    context: Vec<(&'static str, String)>,
}

impl Error {
    /// A failure of `kind`. Origin and retry follow from the kind; override them where they differ.
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        let (origin, retry) = match kind {
            Kind::InvalidRequest
            | Kind::Unsupported
            | Kind::TooLarge
            | Kind::Authentication
            | Kind::Permission
            | Kind::NotFound
            | Kind::MethodNotAllowed
            | Kind::Conflict
            | Kind::Budget
            | Kind::ClientClosed => (Origin::Caller, Retry::Never),
            Kind::ContextWindow | Kind::ContentPolicy => (Origin::Upstream, Retry::Elsewhere),
            Kind::Payment => (Origin::Upstream, Retry::Elsewhere),
            Kind::Timeout | Kind::RateLimit | Kind::Overloaded | Kind::Connection | Kind::Upstream => {
                (Origin::Upstream, Retry::Later(None))
            }
            Kind::Unavailable => (Origin::Gateway, Retry::Later(None)),
            Kind::Internal => (Origin::Gateway, Retry::Never),
        };
        Error(Box::new(Inner {
            kind,
            origin,
            retry,
            message: message.into(),
            param: None,
            status: None,
            provider_code: None,
            provider_type: None,
            request_id: None,
            context: Vec::new(),
        }))
    }

    /// The caller's request is wrong.
    pub fn invalid(message: impl Into<String>) -> Error {
        Error::new(Kind::InvalidRequest, message)
    }

    /// The caller's request is wrong at `param`, a path such as `messages[2].content`.
    pub fn invalid_at(param: impl Into<String>, message: impl Into<String>) -> Error {
        Error::new(Kind::InvalidRequest, message).with_param(param)
    }

    /// A fault of the gateway. The message is shown to the caller: no secrets.
    pub fn internal(message: impl Into<String>) -> Error {
        Error::new(Kind::Internal, message)
    }

    /// The field of the request that is at fault.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<String>) -> Error {
        self.0.param = Some(param.into());
        self
    }

    /// Where it arose.
    #[must_use]
    pub fn with_origin(mut self, origin: Origin) -> Error {
        self.0.origin = origin;
        self
    }

    /// Whether to try again.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Error {
        self.0.retry = retry;
        self
    }

    /// The HTTP status to answer with, where it differs from the kind's.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Error {
        self.0.status = Some(status);
        self
    }

    /// The provider's own error code and type.
    #[must_use]
    pub fn with_provider(mut self, code: Option<String>, kind: Option<String>) -> Error {
        self.0.provider_code = code;
        self.0.provider_type = kind;
        self
    }

    /// The provider's id of the request.
    #[must_use]
    pub fn with_request_id(mut self, id: impl Into<String>) -> Error {
        self.0.request_id = Some(id.into());
        self
    }

    /// Something that is said to the caller behind the message.
    #[must_use]
    pub fn with_note(mut self, note: &str) -> Error {
        self.0.message.push_str(note);
        self
    }

    /// Something the log needs and the caller must not see (a host name, an OS error).
    #[must_use]
    pub fn with_context(mut self, key: &'static str, value: impl Into<String>) -> Error {
        self.0.context.push((key, value.into()));
        self
    }

    /// The error with all its texts rewritten, those for the log included: to take secrets out of what somebody else
    /// said.
    #[must_use]
    pub fn rewritten<'s>(&'s self, rewrite: impl Fn(&'s str) -> Cow<'s, str>) -> Error {
        let optional = |text: &'s Option<String>| text.as_deref().map(|text| rewrite(text).into_owned());
        let inner = &*self.0;
        Error(Box::new(Inner {
            kind: inner.kind,
            origin: inner.origin,
            retry: inner.retry,
            status: inner.status,
            message: rewrite(&inner.message).into_owned(),
            param: optional(&inner.param),
            provider_code: optional(&inner.provider_code),
            provider_type: optional(&inner.provider_type),
            request_id: optional(&inner.request_id),
            context: inner.context.iter().map(|(key, text)| (*key, rewrite(text).into_owned())).collect(),
        }))
    }

    /// What happened.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Where it arose.
    pub fn origin(&self) -> Origin {
        self.0.origin
    }

    /// Whether to try again.
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// What the caller reads: what was wrong, with the value, and what to do.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The field of the request at fault.
    pub fn param(&self) -> Option<&str> {
        self.0.param.as_deref()
    }

    /// The HTTP status to answer with.
    pub fn status(&self) -> u16 {
        self.0.status.unwrap_or_else(|| self.0.kind.status())
    }

    /// The provider's error code.
    pub fn provider_code(&self) -> Option<&str> {
        self.0.provider_code.as_deref()
    }

    /// The provider's error type.
    pub fn provider_type(&self) -> Option<&str> {
        self.0.provider_type.as_deref()
    }

    /// The provider's id of the request.
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// What the log needs.
    pub fn context(&self) -> &[(&'static str, String)] {
        &self.0.context
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_code_and_a_status_of_a_failure() {
        let mut codes: Vec<_> = Kind::ALL.iter().map(|kind| kind.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Kind::ALL.len());
        assert!(Kind::ALL.iter().all(|kind| (400..600).contains(&kind.status())));
    }
}

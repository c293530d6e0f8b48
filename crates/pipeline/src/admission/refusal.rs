//! A limit that is reached, in the words that clients of LiteLLM know.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use tollway_accounts::{Identity, iso};
use tollway_meters::{Denied, LimitKind, ScopeKind};
use tollway_model::{Error, Kind, Money, Origin, Retry};

use super::is_of_model;
use crate::clock::unix_millis;
use crate::headers::set;
use crate::snapshot::Snapshot;

/// A refusal with what its answer's headers say.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) error: Error,
    pub(crate) headers: HeaderMap,
    /// A budget for this model alone is used up: another one might be called.
    pub(crate) of_model: bool,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal { error, headers: HeaderMap::new(), of_model: false }
    }
}

pub(super) fn refusal(denied: &Denied, identity: &Identity, model: &str, snapshot: &Snapshot) -> Refusal {
    let (scope, name) = (denied.scope.kind.name(), shown(denied, identity, model));
    let reset = denied.resets_at.map_or_else(
        || "It does not reset by itself.".to_owned(),
        |at| format!("Limit resets at: {} UTC", iso(at)),
    );
    let mut headers = HeaderMap::new();
    if denied.limit == LimitKind::Budget {
        let who = budget_word(denied.scope.kind);
        let message = format!(
            "Budget has been exceeded! {who}={name} Current cost: {}, Max budget: {}. {reset}",
            Money::from_nanos(denied.used),
            Money::from_nanos(denied.max),
        );
        let error = Error::new(Kind::Budget, message).with_status(snapshot.settings.budget_status);
        set_reset(&mut headers, denied.resets_at);
        return Refusal { error, headers, of_model: is_of_model(denied.scope.kind) };
    }
    let remaining = (denied.max - denied.used).max(0);
    let message = format!(
        "Rate limit exceeded for {scope}: {name}. Limit type: {}. Current limit: {}, Remaining: {remaining}. {reset}",
        denied.limit.name(),
        denied.max,
    );
    // What never fits, however long one waits, is no reason to come back.
    let retry = denied.resets_at.map_or(Retry::Never, |at| Retry::Later(Some(wait_until(at))));
    let error = Error::new(Kind::RateLimit, message).with_origin(Origin::Gateway).with_retry(retry);
    set(&mut headers, RATE_LIMIT_TYPE, HeaderValue::from_static(denied.limit.name()));
    set_reset(&mut headers, denied.resets_at);
    Refusal { error, headers, of_model: false }
}

/// Whose limit it is, for people: a name instead of a hash.
fn shown(denied: &Denied, identity: &Identity, model: &str) -> String {
    let principal = &identity.principal;
    match denied.scope.kind {
        ScopeKind::Key => {
            let key = principal.key.as_ref();
            key.map_or_else(String::new, |key| key.key_alias.clone().unwrap_or_else(|| key.key_name.clone()))
        }
        ScopeKind::TagPerKey => denied.scope.id.split_once(':').map_or("", |(_, tag)| tag).to_owned(),
        kind if is_of_model(kind) => model.to_owned(),
        _ => denied.scope.id.to_string(),
    }
}

/// How long to wait until a moment, in whole seconds: a second at least, an hour at most.
pub(crate) fn wait_until(at: i64) -> Duration {
    let wait = u64::try_from(at.saturating_sub(unix_millis())).unwrap_or(0);
    Duration::from_millis(wait.clamp(1_000, 3_600_000).next_multiple_of(1_000))
}

const RATE_LIMIT_TYPE: HeaderName = HeaderName::from_static("rate_limit_type");
const RESET_AT: HeaderName = HeaderName::from_static("reset_at");

fn set_reset(headers: &mut HeaderMap, at: Option<i64>) {
    if let Some(at) = at {
        set(headers, RESET_AT, iso(at));
    }
}

const fn budget_word(kind: ScopeKind) -> &'static str {
    match kind {
        ScopeKind::Key => "Key",
        ScopeKind::User => "User",
        ScopeKind::Team => "Team",
        ScopeKind::TeamMember => "Team member",
        ScopeKind::Customer => "End User",
        ScopeKind::Tag | ScopeKind::TagPerKey => "Tag",
        ScopeKind::Organization => "Organization",
        ScopeKind::ModelPerKey
        | ScopeKind::ModelPerTeam
        | ScopeKind::ModelPerUser
        | ScopeKind::ModelPerMember
        | ScopeKind::ModelPerCustomer
        | ScopeKind::ModelPerTag => "Model",
        ScopeKind::Deployment => "Deployment",
        ScopeKind::Provider => "Provider",
        ScopeKind::Global => "Proxy",
        ScopeKind::TokensADay => "Tokens",
    }
}

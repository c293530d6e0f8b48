//! May they, now? Model access, limits and money, in the order that clients of LiteLLM know.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use tollway_accounts::{Directory, Identity, KnownCustomer, iso};
use tollway_ledger::{Books, Ledger};
use tollway_meters::{AllowanceState, Claim, Denied, Hold, LimitKind, Meters, ScopeKind};
use tollway_model::{Error, Kind, Money, Operation, Origin, Result, Retry};
use tollway_route::Plan;

use crate::attempts::Access;
use crate::call::Call;
use crate::caller::Caller;
use crate::clock::unix_millis;
use crate::demand::{Size, Usual, demand, sheets};
use crate::headers::set;
use crate::snapshot::Snapshot;

/// What knows callers, limits and books. Without them only the master key calls, and receipts stay in memory.
#[derive(Default)]
pub struct Services {
    /// Who is known.
    pub directory: Option<Arc<Directory>>,
    /// Limits and budgets.
    pub meters: Option<Meters>,
    /// The journal.
    pub ledger: Option<Ledger>,
    /// Receipts and their sums, once they are shipped.
    pub books: Option<Arc<dyn Books>>,
    pub(crate) usual: Usual,
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Services").finish_non_exhaustive()
    }
}

impl Services {
    /// With all of them.
    pub fn new(directory: Arc<Directory>, meters: Meters, ledger: Ledger, books: Arc<dyn Books>) -> Services {
        Services {
            directory: Some(directory),
            meters: Some(meters),
            ledger: Some(ledger),
            books: Some(books),
            usual: Usual::default(),
        }
    }
}

/// A refusal with what its answer's headers say.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) error: Error,
    pub(crate) headers: HeaderMap,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal { error, headers: HeaderMap::new() }
    }
}

/// The model a call is routed to, when caller and customer may use it: the key's alias for the name, or the name.
pub(crate) async fn authorise<'c>(
    services: &Services,
    snapshot: &Snapshot,
    caller: &'c Caller,
    call: &Call,
) -> Result<(Cow<'c, str>, Option<Arc<KnownCustomer>>)> {
    let identity = &caller.identity;
    let asked = call.ask.model.as_str();
    let model = match identity.alias(asked) {
        Some(model) => Cow::Borrowed(model),
        None => Cow::Owned(asked.to_owned()),
    };
    let groups = snapshot.access_groups(&model);
    // Asked for what the alias stands for: an alias opens nothing.
    identity.may_use(&model, groups)?;
    let customer = match (&services.directory, &call.attribution.customer) {
        (Some(directory), Some(id)) => {
            let customer = directory.customer(id, identity.customer_budget.as_ref()).await;
            customer.check(&model, groups)?;
            Some(customer)
        }
        _ => None,
    };
    Ok((model, customer))
}

/// Which groups the caller and its customer may fall back to.
pub(crate) fn access(
    snapshot: Arc<Snapshot>,
    identity: Arc<Identity>,
    customer: Option<Arc<KnownCustomer>>,
) -> Access {
    Arc::new(move |model| {
        let groups = snapshot.access_groups(model);
        let customers = customer.as_ref().is_none_or(|customer| customer.check(model, groups).is_ok());
        customers && identity.may_use(model, groups).is_ok()
    })
}

/// Who asks for what, and who would serve it.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) customer: Option<&'a KnownCustomer>,
    /// The group the call is routed to.
    pub(crate) model: &'a str,
    pub(crate) call: &'a Call,
    pub(crate) plan: &'a Plan,
    pub(crate) size: &'a Size,
}

/// Takes the call's place in every window and its money from every budget, or says which one refused.
pub(crate) async fn reserve(
    services: &Services,
    snapshot: &Snapshot,
    asked: &Asked<'_>,
) -> std::result::Result<Option<Hold>, Refusal> {
    let Asked { identity, customer, model, .. } = *asked;
    let Some(meters) = &services.meters else { return Ok(None) };
    let of_customer = customer.and_then(|customer| customer.claim.as_ref());
    if !identity.is_limited() && of_customer.is_none() && snapshot.settings.global_limits.is_none() {
        return Ok(None);
    }
    let mut claims: Vec<Claim> = Vec::with_capacity(8);
    claims.extend(snapshot.settings.global_limits.iter().cloned());
    claims.extend(identity.claims(model).cloned());
    claims.extend(of_customer.cloned());
    if claims.is_empty() {
        return Ok(None);
    }
    match meters.reserve(&claims, demand_of(services, snapshot, asked)).await {
        Ok(hold) => Ok(Some(hold)),
        Err(tollway_meters::Refusal::Denied(denied)) => Err(refusal(&denied, identity, snapshot)),
        Err(tollway_meters::Refusal::Unavailable { why, .. }) => {
            let message = "what is spent of this budget cannot be read now; try again in some seconds";
            let error = Error::new(Kind::Unavailable, message)
                .with_retry(Retry::Later(Some(Duration::from_secs(5))))
                .with_context("cause", why);
            Err(error.into())
        }
    }
}

/// What the call will probably use at the group that is asked for.
fn demand_of(services: &Services, snapshot: &Snapshot, asked: &Asked<'_>) -> tollway_meters::Demand {
    let Asked { identity, model, call, plan, size, .. } = *asked;
    let mut demand = if call.ask.operation == Operation::CountTokens {
        tollway_meters::Demand { tokens: 0, money: Money::ZERO, free: true }
    } else {
        let strict = identity.strict || snapshot.settings.strict_budgets;
        let usual = services.usual.get(&identity.names.token, model);
        let limit = plan
            .candidates
            .first()
            .and_then(|first| first.deployment.info.get("max_output_tokens")?.as_u64());
        demand(size, sheets(&plan.candidates), usual, limit, strict, call.at)
    };
    if !snapshot.settings.free_models_pass_budgets {
        demand.free = false;
    }
    demand
}

/// Takes what the caller may use of the model of a group that a call falls back to, beside what the call holds already.
/// An error says why the group is passed over.
pub(crate) async fn reserve_model(
    services: &Services,
    snapshot: &Snapshot,
    asked: &Asked<'_>,
) -> std::result::Result<Option<Hold>, String> {
    let claims = asked.identity.model_claims(asked.model);
    let Some(meters) = services.meters.as_ref().filter(|_| !claims.is_empty()) else { return Ok(None) };
    match meters.reserve(claims, demand_of(services, snapshot, asked)).await {
        Ok(hold) => Ok(Some(hold)),
        Err(tollway_meters::Refusal::Denied(denied)) => {
            let whose = if denied.scope.kind == ScopeKind::ModelPerTeam { "team" } else { "key" };
            let what = match denied.limit {
                LimitKind::Requests => "requests a minute",
                LimitKind::Tokens => "tokens a minute",
                LimitKind::Parallel => "calls at once",
                LimitKind::Budget => "budget",
            };
            Err(format!("the {whose} has used up its {what} for this model"))
        }
        Err(tollway_meters::Refusal::Unavailable { .. }) => {
            Err("what is spent of its budget cannot be read now".to_owned())
        }
    }
}

/// Is this limit about one model of its owner?
pub(crate) const fn is_of_model(kind: ScopeKind) -> bool {
    matches!(kind, ScopeKind::ModelPerKey | ScopeKind::ModelPerTeam)
}

/// Whose limit it is, for people: a name instead of a hash.
fn shown(denied: &Denied, identity: &Identity) -> String {
    let principal = &identity.principal;
    match denied.scope.kind {
        ScopeKind::Key => {
            let key = principal.key.as_ref();
            key.map_or_else(String::new, |key| key.key_alias.clone().unwrap_or_else(|| key.key_name.clone()))
        }
        ScopeKind::ModelPerKey | ScopeKind::ModelPerTeam => {
            denied.scope.id.split_once(':').map_or("", |(_, model)| model).to_owned()
        }
        _ => denied.scope.id.to_string(),
    }
}

fn refusal(denied: &Denied, identity: &Identity, snapshot: &Snapshot) -> Refusal {
    let (scope, name) = (denied.scope.kind.name(), shown(denied, identity));
    let reset = denied
        .resets_at
        .map_or_else(|| "it does not reset by itself".to_owned(), |at| format!("resets at: {} UTC", iso(at)));
    let mut headers = HeaderMap::new();
    if denied.limit == LimitKind::Budget {
        let who = budget_word(denied.scope.kind);
        let message = format!(
            "Budget has been exceeded! {who}={name} Current cost: {}, Max budget: {}. Limit {reset}",
            Money::from_nanos(denied.used),
            Money::from_nanos(denied.max),
        );
        let error = Error::new(Kind::Budget, message).with_status(snapshot.settings.budget_status);
        set_reset(&mut headers, denied.resets_at);
        return Refusal { error, headers };
    }
    let remaining = (denied.max - denied.used).max(0);
    let message = format!(
        "Rate limit exceeded for {scope}: {name}. Limit type: {}. Current limit: {}, Remaining: {remaining}. Limit {reset}",
        denied.limit.name(),
        denied.max,
    );
    let wait = denied.resets_at.map(|at| u64::try_from(at - unix_millis()).unwrap_or(0));
    // A place may become free at any moment; a window in which nothing fits by waiting is no reason to come back soon.
    let wait = Duration::from_millis(wait.unwrap_or(1_000).clamp(1_000, 3_600_000).next_multiple_of(1_000));
    let error = Error::new(Kind::RateLimit, message)
        .with_origin(Origin::Gateway)
        .with_retry(Retry::Later(Some(wait)));
    set(&mut headers, RATE_LIMIT_TYPE, HeaderValue::from_static(denied.limit.name()));
    set_reset(&mut headers, denied.resets_at);
    Refusal { error, headers }
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
        ScopeKind::Tag => "Tag",
        ScopeKind::Organization => "Organization",
        ScopeKind::ModelPerKey | ScopeKind::ModelPerTeam => "Model",
        ScopeKind::Deployment => "Deployment",
        ScopeKind::Provider => "Provider",
        ScopeKind::Global => "Proxy",
    }
}

/// What is left of the caller's limits, as LiteLLM's clients read it by scope and OpenAI's for the tightest.
pub(crate) fn limit_headers(states: &[AllowanceState], out: &mut HeaderMap) {
    let mut requests: Option<(u64, u64, i64)> = None;
    let mut tokens: Option<(u64, u64, i64)> = None;
    for state in states {
        let scope = state.scope.kind.name();
        let pairs = [
            ("requests", state.requests),
            ("tokens", state.tokens),
            ("max_parallel_requests", state.parallel),
        ];
        for (what, (limit, left)) in pairs.into_iter().filter_map(|(what, pair)| Some((what, pair?))) {
            for (which, number) in [("limit", limit), ("remaining", left)] {
                if let Ok(name) = HeaderName::try_from(format!("x-ratelimit-{scope}-{which}-{what}")) {
                    out.insert(name, HeaderValue::from(number));
                }
            }
        }
        let tighter = |known: Option<(u64, u64, i64)>, pair: Option<(u64, u64)>| match (known, pair) {
            (Some(known), Some((_, left))) if known.1 <= left => Some(known),
            (_, Some((limit, left))) => Some((limit, left, state.resets_at)),
            (known, None) => known,
        };
        requests = tighter(requests, state.requests);
        tokens = tighter(tokens, state.tokens);
    }
    let now = unix_millis();
    for (what, tightest) in [("requests", requests), ("tokens", tokens)] {
        let Some((limit, left, resets_at)) = tightest else { continue };
        let seconds = (resets_at - now).max(0).div_euclid(1000);
        let values =
            [("limit", limit.to_string()), ("remaining", left.to_string()), ("reset", format!("{seconds}s"))];
        for (which, value) in values {
            if let Ok(name) = HeaderName::try_from(format!("x-ratelimit-{which}-{what}")) {
                set(out, name, value);
            }
        }
    }
}

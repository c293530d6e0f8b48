//! May they, now? Model access, limits and money, in the order that clients of LiteLLM know.

mod beside;
mod limit_headers;
mod refusal;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use tollway_accounts::Identity;
use tollway_meters::{Claim, Demand, Hold, LimitKind, Scope, ScopeKind};
use tollway_model::{Error, Kind, Money, Operation, Result, Retry, Usage};
use tollway_prices::{Facts, PriceSheet};
use tollway_route::{Denied as Resting, Plan, Reason};
use tollway_wire::hosted::Runs;
use tollway_wire::json::{Edits, Envelope};

use crate::attempts::{self, Access};
use crate::call::Call;
use crate::caller::Caller;
use crate::demand::{FOURTH, Offer, Size, Terms, WHOLE, Worst, demand, modest};
use crate::services::Services;
use crate::snapshot::Snapshot;

use self::refusal::refusal;

pub(crate) use self::beside::Beside;
pub(crate) use self::limit_headers::limit_headers;
pub(crate) use self::refusal::{Refusal, wait_until};

/// Gives a call that names no model the one of its customer.
pub(crate) async fn name_model(
    services: &Services,
    snapshot: &Snapshot,
    caller: &Caller,
    call: &mut Call,
) -> Result<()> {
    let beside = Beside::of(services, &caller.identity, call, &[]).await;
    let model = beside.default_model().ok_or_else(crate::call::no_model)?;
    let mut edits = Edits::new();
    edits.set_str("model", model);
    call.ask.envelope = Envelope::parse(call.ask.envelope.rewrite(&edits), snapshot.settings.max_depth)?;
    call.ask.model = model.to_owned();
    Ok(())
}

/// The model a call is routed to, when caller, customer and tags may use it: the key's alias for the name, or the name.
pub(crate) async fn authorise<'c>(
    services: &Services,
    snapshot: &Snapshot,
    caller: &'c Caller,
    call: &Call,
    tags: &[Arc<str>],
) -> Result<(Cow<'c, str>, Option<Arc<Beside>>)> {
    let identity = &caller.identity;
    let asked = call.ask.model.as_str();
    let model = match identity.alias(asked) {
        Some(model) => Cow::Borrowed(model),
        None => Cow::Owned(asked.to_owned()),
    };
    let groups = snapshot.access_groups(&model);
    // Asked for what the alias stands for: an alias opens nothing.
    identity.may_use(&model, groups)?;
    // A caller that names a model asks for it, be it as the second choice.
    for target in call.control.fallbacks.iter().flat_map(|fallbacks| fallbacks.all()) {
        identity.may_use(&target.group, snapshot.access_groups(&target.group))?;
    }
    demand_params(identity, call)?;
    if call.attribution.customer.is_none() && tags.is_empty() {
        return Ok((model, None));
    }
    let beside = Beside::of(services, identity, call, tags).await;
    beside.may_use(&model, groups)?;
    for target in call.control.fallbacks.iter().flat_map(|fallbacks| fallbacks.all()) {
        beside.may_use(&target.group, snapshot.access_groups(&target.group))?;
    }
    Ok((model, (!beside.is_nobody()).then(|| Arc::new(beside))))
}

/// May the call be made with this model in place of the one it asks for?
pub(crate) fn may_use(snapshot: &Snapshot, identity: &Identity, beside: &Beside, model: &str) -> Result<()> {
    let groups = snapshot.access_groups(model);
    identity.may_use(model, groups)?;
    beside.may_use(model, groups)
}

/// Refuses a call whose body lacks what the key demands of its calls. Counting calls no model.
fn demand_params(identity: &Identity, call: &Call) -> Result<()> {
    if call.ask.operation == Operation::CountTokens {
        return Ok(());
    }
    let demanded = identity.principal.key.iter().flat_map(|key| &key.enforced_params);
    for name in demanded {
        let mut parts = name.split('.');
        let top = parts.next().and_then(|top| call.ask.envelope.get(top)).filter(|raw| *raw != "null");
        let mut inner = |raw: &str| {
            let value: serde_json::Value = serde_json::from_str(raw).unwrap_or_default();
            parts.try_fold(&value, |value, part| value.get(part)).is_some_and(|value| !value.is_null())
        };
        if !top.is_some_and(&mut inner) {
            let message = format!("`{name}` is required of every call with this key");
            return Err(Error::invalid_at(name.clone(), message));
        }
    }
    Ok(())
}

/// May this call go to another group than the one it asks for?
pub(crate) fn may_fall_back(snapshot: &Snapshot, call: &Call) -> bool {
    !snapshot.settings.recovery.fallbacks.is_empty() || call.control.fallbacks.is_some()
}

/// Which groups the caller and its customer may fall back to; `None`: any. `only_free`: those that cost nothing.
pub(crate) fn access(
    snapshot: &Arc<Snapshot>,
    call: &Call,
    identity: &Arc<Identity>,
    beside: &Option<Arc<Beside>>,
    only_free: bool,
) -> Option<Access> {
    let anything = !snapshot.settings.recovery.check_access || identity.may_everything();
    if !may_fall_back(snapshot, call) || (anything && beside.is_none() && !only_free) {
        return None;
    }
    let checks = snapshot.settings.recovery.check_access;
    let (snapshot, identity, beside) = (snapshot.clone(), identity.clone(), beside.clone());
    Some(Arc::new(move |model| {
        let groups = snapshot.access_groups(model);
        let others = !checks || Beside::known(&beside).may_use(model, groups).is_ok();
        let callers = anything || identity.may_use(model, groups).is_ok();
        others && callers && (!only_free || is_free(&snapshot, model))
    }))
}

/// Does no deployment of this group cost anything?
fn is_free(snapshot: &Snapshot, model: &str) -> bool {
    let usage = Usage { input: 1, output: 1, ..Usage::default() };
    let free = |prices: &Option<Arc<PriceSheet>>| {
        let cost = |prices: &PriceSheet| tollway_prices::cost(prices, &usage, &Facts::default());
        prices.as_deref().is_some_and(|prices| cost(prices).total.known() == Some(Money::ZERO))
    };
    snapshot.resolve(model).is_some_and(|group| group.iter().all(|deployment| free(&deployment.prices)))
}

/// Who asks for what, and who would serve it.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) identity: &'a Identity,
    /// Whose limits it counts for, too.
    pub(crate) beside: &'a Beside,
    /// The group the call is routed to, by the name it is counted under.
    pub(crate) model: &'a str,
    pub(crate) call: &'a Call,
    pub(crate) plan: &'a Plan,
    pub(crate) size: &'a Size,
    /// Tags of the call, its key and its team.
    pub(crate) tags: &'a [Arc<str>],
}

/// What a call was granted.
#[derive(Debug, Default)]
pub(crate) struct Granted {
    /// `None` where nothing is limited.
    pub(crate) hold: Option<Hold>,
    /// A budget is used up, and the call passed because it costs nothing: it must not become one that does.
    pub(crate) only_free: bool,
    /// The call counts against a budget.
    pub(crate) is_budgeted: bool,
}

/// Takes the call's place in every window and its money from every budget, or says which one refused.
pub(crate) async fn reserve(
    services: &Services,
    snapshot: &Snapshot,
    asked: &Asked<'_>,
) -> std::result::Result<Granted, Refusal> {
    let Asked { identity, beside, model, call, tags, .. } = *asked;
    let Some(meters) = &services.meters else { return Ok(Granted::default()) };
    let budgets = &snapshot.budgets;
    let is_limited = identity.is_limited() || beside.is_limited() || budgets.bind_tags();
    if !is_limited && snapshot.settings.global_limits.is_none() {
        return Ok(Granted::default());
    }
    let mut claims: Vec<Claim> = Vec::with_capacity(8);
    claims.extend(snapshot.settings.global_limits.iter().cloned());
    claims.extend(identity.claims().iter().cloned());
    if let Some(calm) = identity.calm_claim().filter(|_| !is_strained(asked.plan))
        && let Some(own) = claims.iter_mut().find(|claim| claim.scope == calm.scope)
    {
        *own = calm.clone();
    }
    claims.extend(model_claims(snapshot, identity, beside, model).into_owned());
    claims.extend(identity.tag_claims(tags).cloned());
    claims.extend(beside.claims().cloned());
    claims.extend(budgets.of_tags(tags).cloned());
    if claims.is_empty() {
        return Ok(Granted::default());
    }
    let is_budgeted = is_budgeted(&claims);
    let demand = demand_of(services, snapshot, asked, &claims)?;
    // A free call that may end at a group that is not asks every budget first.
    let counting = call.ask.operation == Operation::CountTokens;
    let may_cost = demand.free && !counting && may_fall_back(snapshot, call);
    let mut reserved = meters.reserve(&claims, Demand { free: demand.free && !may_cost, ..demand }).await;
    let only_free = may_cost && is_out_of_money(&reserved);
    if only_free {
        reserved = meters.reserve(&claims, demand).await;
    }
    match reserved {
        Ok(hold) => Ok(Granted { hold: Some(hold), only_free, is_budgeted }),
        Err(tollway_meters::Refusal::Denied(denied)) => Err(refusal(&denied, identity, model, snapshot)),
        Err(tollway_meters::Refusal::Unavailable { why, .. }) => {
            let message = "what is spent of this budget cannot be read now; try again in some seconds";
            let error = Error::new(Kind::Unavailable, message)
                .with_retry(Retry::Later(Some(Duration::from_secs(5))))
                .with_context("cause", why);
            Err(error.into())
        }
    }
}

/// Does a deployment that may serve the call rest after failing?
fn is_strained(plan: &Plan) -> bool {
    let rests = |reason: &Reason| matches!(reason, Reason::Denied(Resting::Resting(_) | Resting::Probing));
    plan.last_resort || plan.skipped.iter().any(|skipped| rests(&skipped.reason))
}

/// The limits for one model group of the caller and of whom it calls for, by whichever of its names they were set: an
/// operator's alias, one of the key, or an id lead to the same group and are counted together.
fn model_claims<'i>(
    snapshot: &Snapshot,
    identity: &'i Identity,
    beside: &Beside,
    group: &str,
) -> Cow<'i, [Claim]> {
    let own = identity.model_claims(group);
    let mut all = Cow::Borrowed(own);
    for (name, claims) in identity.limited_models().filter(|(name, _)| *name != group) {
        let meant = identity.alias(name).unwrap_or(name);
        if snapshot.routes.counted_as(meant) == group {
            all.to_mut().extend(claims.iter().map(|claim| renamed(claim, name, group)));
        }
    }
    for (name, claims) in beside.limited_models() {
        if name == group {
            all.to_mut().extend(claims.iter().cloned());
        } else if snapshot.routes.counted_as(name) == group {
            all.to_mut().extend(claims.iter().map(|claim| renamed(claim, name, group)));
        }
    }
    all
}

/// Do limits of the caller, or of whom it calls for, depend on the model?
pub(crate) fn is_limited_by_model(identity: &Identity, beside: &Beside) -> bool {
    identity.is_limited_by_model() || beside.limited_models().next().is_some()
}

/// A claim for the model `name`, counted as one for `group`.
fn renamed(claim: &Claim, name: &str, group: &str) -> Claim {
    let owner = claim.scope.id.strip_suffix(name).unwrap_or(&claim.scope.id);
    let scope = Scope { kind: claim.scope.kind, id: format!("{owner}{group}").into() };
    Claim { scope, limits: claim.limits.clone() }
}

fn is_budgeted(claims: &[Claim]) -> bool {
    claims.iter().any(|claim| claim.limits.budgets.iter().any(|budget| budget.max.is_some()))
}

/// What the call will probably use at the group that is asked for; where budgets want the worst case, at any that it may
/// end at. Fails where that has no bound.
fn demand_of(
    services: &Services,
    snapshot: &Snapshot,
    asked: &Asked<'_>,
    claims: &[Claim],
) -> Result<Demand> {
    let Asked { identity, model, call, plan, size, .. } = *asked;
    if call.ask.operation == Operation::CountTokens {
        return Ok(Demand {
            tokens: 0,
            money: Money::ZERO,
            free: snapshot.settings.free_models_pass_budgets,
        });
    }
    let usual = services.usual.get(&identity.names.token, model);
    let worst = (is_strict(snapshot, identity) && is_budgeted(claims)).then(|| Worst::of(&call.ask));
    let terms = Terms { usual, worst, at: call.at };
    let own = plan.candidates.iter().map(|candidate| Offer::of(&candidate.deployment));
    let mut demand = match worst {
        None => {
            let likely = demand(size, own.clone(), &terms);
            let part = if size.is_guess(usual) { FOURTH } else { WHOLE };
            modest(likely, || demand(&Size { limit: Some(0), ..*size }, own, &terms), claims, part)
        }
        Some(worst) => {
            let groups = attempts::reachable(snapshot, call, model);
            let own = plan.candidates.iter().map(|candidate| &candidate.deployment);
            let others = groups.iter().flat_map(|group| group.iter());
            let offers: Vec<Offer<'_>> =
                own.chain(others).map(|deployment| Offer::at_worst(deployment, &call.ask)).collect();
            if let Some(offer) = offers.iter().find(|offer| !offer.is_bounded(worst)) {
                return Err(unbounded(model, offer.runs));
            }
            demand(size, offers.into_iter(), &terms)
        }
    };
    demand.free &= snapshot.settings.free_models_pass_budgets;
    Ok(demand)
}

/// Nobody here sees what lies behind an address, or what a provider's own tool finds, so only the context window and the
/// caller's word bound what that costs.
fn unbounded(model: &str, runs: Runs) -> Error {
    let says = match runs {
        Runs::Never | Runs::AtMost(0) => None,
        Runs::AnyNumber => Some(format!(
            "this call lets the provider run tools of its own, its budget is strict, and nothing says how often {model} or a \
             fallback runs them at most. Set `max_uses` of the tool (Anthropic) or `max_tool_calls` (Responses), or leave the \
             tool out. A provider that searches for every call cannot be called on such a budget."
        )),
        Runs::AtMost(_) => Some(format!(
            "this call lets the provider run tools of its own, its budget is strict, and how many tokens {model} and its \
             fallbacks take at most is not known. Ask an administrator to set `max_input_tokens` in `model_info`."
        )),
    };
    if let Some(message) = says {
        return Error::invalid_at("tools", message);
    }
    let message = format!(
        "this call names media by address or id, its budget is strict, and how many tokens {model} and its fallbacks take \
         at most is not known. Send the media in the request, or ask an administrator to set `max_input_tokens` in \
         `model_info`."
    );
    Error::invalid_at("messages", message)
}

/// Do the caller's budgets hold the worst case?
pub(crate) fn is_strict(snapshot: &Snapshot, identity: &Identity) -> bool {
    identity.strict || snapshot.settings.strict_budgets
}

/// Takes what the caller may use of the model of a group that a call falls back to, beside what the call holds already.
/// An error says why the group is passed over.
pub(crate) async fn reserve_model(
    services: &Services,
    snapshot: &Snapshot,
    asked: &Asked<'_>,
) -> std::result::Result<Option<Hold>, String> {
    let claims = model_claims(snapshot, asked.identity, asked.beside, asked.model);
    let Some(meters) = services.meters.as_ref().filter(|_| !claims.is_empty()) else { return Ok(None) };
    let demand = demand_of(services, snapshot, asked, &claims).map_err(|error| error.message().to_owned())?;
    match meters.reserve(&claims, demand).await {
        Ok(hold) => Ok(Some(hold)),
        Err(tollway_meters::Refusal::Denied(denied)) => {
            let whose = match denied.scope.kind {
                ScopeKind::ModelPerTeam => "team",
                ScopeKind::ModelPerUser => "user",
                ScopeKind::ModelPerMember => "team's member",
                ScopeKind::ModelPerCustomer => "customer",
                ScopeKind::ModelPerTag => "tag",
                _ => "key",
            };
            let what = match denied.limit {
                LimitKind::Requests => "requests a minute",
                LimitKind::Tokens => "tokens a minute",
                LimitKind::Parallel => "calls at once",
                LimitKind::Budget => "budget",
                LimitKind::DayTokens => "tokens a day",
            };
            Err(format!("the {whose} has used up its {what} for this model"))
        }
        Err(tollway_meters::Refusal::Unavailable { .. }) => {
            Err("what is spent of its budget cannot be read now".to_owned())
        }
    }
}

fn is_out_of_money(reserved: &std::result::Result<Hold, tollway_meters::Refusal>) -> bool {
    matches!(reserved, Err(tollway_meters::Refusal::Denied(denied)) if denied.limit == LimitKind::Budget)
}

/// Is this limit about one model of its owner?
pub(crate) const fn is_of_model(kind: ScopeKind) -> bool {
    kind.owner_of_model().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_a_model_holds_under_all_its_names() {
        use tollway_accounts::{Principal, Rules, SharedBudgets};
        let snapshot = crate::snapshot::tests::snapshot_of(
            "model_list:
  - {model_name: g, litellm_params: {model: openai/a, api_key: k}, model_info: {id: d1}}
  - {model_name: h, litellm_params: {model: openai/b, api_key: k}}
router_settings: {model_group_alias: {smart: g}}
",
        );
        let limits = |names: &[&str]| tollway_store::records::Limits {
            model_rpm_limit: names.iter().map(|name| ((*name).to_owned(), 3)).collect(),
            ..tollway_store::records::Limits::default()
        };
        let check = |limited: &[&str], expected: &[&str]| {
            let key = tollway_store::records::Key {
                id: "k:1".into(),
                limits: limits(limited),
                aliases: [("mine".to_owned(), "smart".to_owned())].into(),
                ..tollway_store::records::Key::default()
            };
            let principal = Principal { key: Some(Arc::new(key)), ..Principal::master("t".into()) };
            let identity = Identity::of(principal, &SharedBudgets::default(), &Rules::default());
            for asked in ["g", "smart", "d1"] {
                let group = snapshot.routes.counted_as(asked);
                let claims = model_claims(&snapshot, &identity, &Beside::default(), group);
                let scopes: Vec<&str> = claims.iter().map(|claim| claim.scope.id.as_ref()).collect();
                assert_eq!(scopes, expected, "{limited:?} {asked}");
            }
            assert!(model_claims(&snapshot, &identity, &Beside::default(), "h").is_empty());
        };
        check(&["g"], &["k:1:g"]);
        check(&["smart"], &["k:1:g"]);
        check(&["mine"], &["k:1:g"]);
        check(&["d1"], &["k:1:g"]);
        check(&["g", "smart"], &["k:1:g", "k:1:g"]);
        check(&["other"], &[]);
    }
}

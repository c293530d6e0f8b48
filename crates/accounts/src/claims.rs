//! From the limits of records to what calls claim of the meters.

use std::collections::HashMap;
use std::sync::Arc;

use tollway_meters::{Budget, Claim, Limits, Scope, ScopeKind};
use tollway_store::records;

/// Limits of single models, by the name they were set for.
pub(crate) type ByModel = HashMap<Box<str>, Vec<Claim>>;

/// When a shared budget is back at what it usually is; `None`: it is so.
pub(crate) fn raised_until(
    budget: Option<&records::Budget>,
    now: records::Millis,
) -> Option<records::Millis> {
    let budget = budget?;
    budget.temp_budget_increase.and(budget.temp_budget_expiry).filter(|until| *until > now)
}

/// A record's own limits, and a shared budget's where it has none, as they are at `now`.
pub(crate) fn merged(
    own: &records::Limits,
    budget: Option<&records::Budget>,
    now: records::Millis,
) -> records::Limits {
    let Some(shared) = budget.map(|budget| &budget.limits) else { return own.clone() };
    let mut limits = own.clone();
    if limits.max_budget.is_none() {
        let more = budget.and_then(|budget| budget.temp_budget_increase);
        let more = more.filter(|_| raised_until(budget, now).is_some()).unwrap_or_default();
        limits.max_budget = shared.max_budget.map(|max| max.saturating_add(more));
        limits.budget_duration = limits.budget_duration.or_else(|| shared.budget_duration.clone());
        limits.budget_started_at = limits.budget_started_at.or(shared.budget_started_at);
    }
    limits.soft_budget = limits.soft_budget.or(shared.soft_budget);
    limits.tpm_limit = limits.tpm_limit.or(shared.tpm_limit);
    limits.rpm_limit = limits.rpm_limit.or(shared.rpm_limit);
    limits.tpd_limit = limits.tpd_limit.or(shared.tpd_limit);
    limits.max_parallel_requests = limits.max_parallel_requests.or(shared.max_parallel_requests);
    if limits.budget_limits.is_empty() {
        limits.budget_limits.clone_from(&shared.budget_limits);
    }
    for (model, budget) in &shared.model_max_budget {
        limits.model_max_budget.entry(model.clone()).or_insert_with(|| budget.clone());
    }
    limits
}

/// The same windows without anything to reach: spending is counted in them and never refused.
pub(crate) fn counting(scope: &Scope, limits: Limits) -> Limits {
    let is_counted_by_day = limits.day.is_some();
    let budgets = limits.budgets.into_iter().map(|budget| Budget { max: None, soft: None, ..budget });
    let limits = Limits { budgets: budgets.collect(), ..Limits::default() };
    if is_counted_by_day { limits.with_tokens_a_day(scope, None) } else { limits }
}

/// What a record limits as a whole.
pub(crate) fn compile(scope: &Scope, limits: &records::Limits) -> Limits {
    let window = |duration: Option<&str>| crate::window(duration);
    let mut budgets = Vec::new();
    if limits.max_budget.is_some() || limits.soft_budget.is_some() {
        let window = window(limits.budget_duration.as_deref());
        budgets.push(Budget { window, max: limits.max_budget, soft: limits.soft_budget });
    }
    budgets.extend(limits.budget_limits.iter().map(|budget| Budget {
        window: window(Some(&budget.budget_duration)),
        max: Some(budget.max_budget),
        soft: None,
    }));
    let parallel = limits.max_parallel_requests;
    let compiled =
        Limits { rpm: limits.rpm_limit, tpm: limits.tpm_limit, parallel, budgets, ..Limits::default() };
    match limits.tpd_limit {
        Some(most) => compiled.with_tokens_a_day(scope, Some(most)),
        None => compiled,
    }
}

/// The claim of a record as a whole; `None`: it limits nothing.
pub(crate) fn claim(kind: ScopeKind, id: &str, limits: &records::Limits) -> Option<Claim> {
    let scope = Scope { kind, id: id.into() };
    let limits = compile(&scope, limits);
    (!limits.is_empty()).then(|| Claim { scope, limits: Arc::new(limits) })
}

/// Adds what a record limits of single models. `is_binding`: not only counted.
pub(crate) fn add_models(
    kind: ScopeKind,
    id: &str,
    limits: &records::Limits,
    is_binding: bool,
    out: &mut ByModel,
) {
    let names = limits.model_rpm_limit.keys().chain(limits.model_tpm_limit.keys());
    let mut names: Vec<&String> = names.chain(limits.model_max_budget.keys()).collect();
    names.sort_unstable();
    names.dedup();
    for model in names {
        let budget = limits.model_max_budget.get(model).cloned().unwrap_or_default();
        let own = records::Limits {
            max_budget: budget.budget_limit,
            budget_duration: budget.time_period.clone(),
            rpm_limit: limits.model_rpm_limit.get(model).copied().or(budget.rpm_limit),
            tpm_limit: limits.model_tpm_limit.get(model).copied().or(budget.tpm_limit),
            ..records::Limits::default()
        };
        let scope = Scope { kind, id: format!("{id}:{model}").into() };
        let mut compiled = compile(&scope, &own);
        if !is_binding {
            compiled = counting(&scope, compiled);
        }
        if !compiled.is_empty() {
            let claim = Claim { scope, limits: Arc::new(compiled) };
            out.entry(model.as_str().into()).or_default().push(claim);
        }
    }
}

//! Budgets that belong to no caller: of deployments, providers and tags.
//!
//! A tag's is asked with the caller's own, before anything is tried. A deployment's and its provider's are asked when the
//! call is about to go there: one that is used up is passed over, and the call goes elsewhere.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use tollway_accounts::iso;
use tollway_config::{Config, Decimal, Deployment as Entry, SpendLimit};
use tollway_meters::{
    Budget, Claim, Demand, Denied, Hold, Limits, Meters, Refusal, Scope, ScopeKind, Window,
};
use tollway_model::{Error, Kind, Money, Origin, Retry};
use tollway_route::Deployment;

use crate::admission::wait_until;
use crate::clock::unix_millis;

/// The budgets of a snapshot that belong to no caller.
#[derive(Debug, Default)]
pub struct Budgets {
    /// By a deployment's id, which the models of a wildcard share.
    deployments: HashMap<Arc<str>, Arc<Limits>>,
    providers: HashMap<String, Claim>,
    tags: HashMap<String, Claim>,
}

/// Why money keeps a call from a deployment.
#[derive(Debug)]
pub(crate) enum Short {
    /// Nobody knows what it costs, and the call counts against a budget.
    Unpriced,
    /// Nobody knows the most it can cost, and its budget is strict.
    Unbounded,
    /// A budget is used up.
    Spent {
        /// Whose, and until when: lower case without a full stop.
        what: String,
        /// Spent and held, and the budget. The operator's business.
        figures: Option<(Money, Money)>,
        /// When it could take the call, milliseconds since 1970; `None`: not by waiting.
        until: Option<i64>,
    },
}

impl Budgets {
    /// Those of the configuration that do not belong to a single deployment.
    pub(crate) fn of(config: &Config) -> Budgets {
        let zone = config.tollway.budgets.timezone.as_str();
        let claim = |kind: ScopeKind, (name, limit): (&String, &SpendLimit)| {
            let limits = limits(limit.budget_limit.as_ref(), limit.time_period.as_deref(), zone)?;
            Some((name.clone(), Claim { scope: Scope { kind, id: name.as_str().into() }, limits }))
        };
        let providers = config.router_settings.provider_budget_config.iter();
        let tags = config.litellm_settings.tag_budget_config.iter();
        Budgets {
            providers: providers.filter_map(|one| claim(ScopeKind::Provider, one)).collect(),
            tags: tags.filter_map(|one| claim(ScopeKind::Tag, one)).collect(),
            ..Budgets::default()
        }
    }

    /// Adds the budget of an entry of `model_list`, whose deployments have this id.
    pub(crate) fn add(&mut self, entry: &Entry, id: &Arc<str>, zone: &str) {
        let params = &entry.litellm_params;
        let Some(limits) = limits(params.max_budget.as_ref(), params.budget_duration.as_deref(), zone) else {
            return;
        };
        self.deployments.insert(id.clone(), limits);
    }

    /// The claims of a call that goes to `deployment`; mostly none.
    fn claims(&self, deployment: &Deployment) -> Vec<Claim> {
        let own = self.deployments.get(&deployment.id).map(|limits| {
            let scope = Scope { kind: ScopeKind::Deployment, id: deployment.id.clone() };
            Claim { scope, limits: limits.clone() }
        });
        own.into_iter().chain(self.providers.get(&*deployment.provider).cloned()).collect()
    }

    /// Does any deployment or provider have a budget?
    pub(crate) fn bind_deployments(&self) -> bool {
        !(self.deployments.is_empty() && self.providers.is_empty())
    }

    /// Is any tag on a budget?
    pub(crate) fn bind_tags(&self) -> bool {
        !self.tags.is_empty()
    }

    /// The claims of a call with these tags.
    pub(crate) fn of_tags<'a>(&'a self, tags: &'a [Arc<str>]) -> impl Iterator<Item = &'a Claim> {
        tags.iter().filter_map(|tag| self.tags.get(&**tag))
    }

    /// Holds what a call will probably cost at `deployment`; `None` where nothing limits it. `demand` is asked only where
    /// something does; it fails where the call may not be sent because nobody knows what it costs.
    pub(crate) async fn hold(
        &self,
        meters: Option<&Meters>,
        deployment: &Deployment,
        demand: impl FnOnce(&[Claim]) -> Result<Demand, Short>,
    ) -> Result<Option<Hold>, Short> {
        let Some(meters) = meters.filter(|_| self.bind_deployments()) else { return Ok(None) };
        let claims = self.claims(deployment);
        if claims.is_empty() {
            return Ok(None);
        }
        match meters.reserve(&claims, demand(&claims)?).await {
            Ok(hold) => Ok(Some(hold)),
            Err(Refusal::Denied(denied)) => Err(Short::of(&denied)),
            Err(Refusal::Unavailable { .. }) => {
                let what = "what is spent of its budget cannot be read now".to_owned();
                Err(Short::Spent { what, figures: None, until: Some(unix_millis() + UNREADABLE) })
            }
        }
    }
}

/// A budget that cannot be read is worth asking for again after so many milliseconds.
const UNREADABLE: i64 = 5_000;

impl Short {
    fn of(denied: &Denied) -> Short {
        let whose = match denied.scope.kind {
            ScopeKind::Provider => format!("the budget of its provider {}", denied.scope.id),
            _ => "its budget".to_owned(),
        };
        let until = denied.resets_at.map_or_else(String::new, |at| format!(" until {}", iso(at)));
        Short::Spent {
            what: format!("{whose} is used up{until}"),
            figures: Some((Money::from_nanos(denied.used), Money::from_nanos(denied.max))),
            until: denied.resets_at,
        }
    }

    /// For callers.
    fn told(&self) -> &str {
        match self {
            Short::Unpriced => "its price is not known, and the call counts against a budget",
            Short::Unbounded => "nothing bounds what the call can cost there, and its budget is strict",
            Short::Spent { what, .. } => what,
        }
    }
}

/// For the receipt.
impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.told())?;
        match self {
            Short::Spent { figures: Some((used, max)), .. } => write!(f, ": {used} of {max} USD"),
            _ => Ok(()),
        }
    }
}

/// The refusal of a call to `group` where money is in the way at every deployment that could be tried: a 403 where nobody
/// knows the prices, else a 429 that says whose budget, and until when.
pub(crate) fn refusal(group: &str, short: &[(Arc<str>, Short)]) -> Option<Error> {
    if short.is_empty() {
        return None;
    }
    if short.iter().all(|(_, short)| matches!(short, Short::Unpriced)) {
        let message = format!(
            "the price of {group} is not known, and this call counts against a budget. An administrator can set \
             `input_cost_per_token` and `output_cost_per_token` in `litellm_params` of its deployments (0 where nothing \
             is paid), or `tollway.budgets.unknown_price: allow`."
        );
        let error = Error::new(Kind::Permission, message).with_param("model").with_origin(Origin::Gateway);
        return Some(error.with_retry(Retry::Elsewhere));
    }
    let reasons: Vec<String> = short.iter().map(|(id, short)| format!("{id}: {}", short.told())).collect();
    // The first that frees decides when it is worth coming back.
    let until = short.iter().filter_map(|(_, short)| match short {
        Short::Spent { until, .. } => *until,
        Short::Unpriced | Short::Unbounded => None,
    });
    let retry = until.min().map_or(Retry::Elsewhere, |at| Retry::Later(Some(wait_until(at))));
    let message = format!("Budget has been exceeded for every deployment of {group}: {}", reasons.join("; "));
    Some(Error::new(Kind::RateLimit, message).with_origin(Origin::Gateway).with_retry(retry))
}

/// A budget as the file says it. A window that cannot be read never ends: the budget is then kept all the more.
pub(crate) fn limits(max: Option<&Decimal>, duration: Option<&str>, zone: &str) -> Option<Arc<Limits>> {
    let max = Money::parse_dollars(max?.as_str()).unwrap_or(Money::from_nanos(i64::MAX));
    let window = duration.map(|duration| Window::parse(duration, zone));
    let window = window.transpose().unwrap_or_else(|why| {
        tracing::warn!(target: "tollway::config", "a budget never resets, because its window cannot be read: {why}");
        None
    });
    let window = window.unwrap_or(Window::Lifetime);
    Some(Arc::new(Limits {
        budgets: vec![Budget { window, max: Some(max), soft: None }],
        ..Limits::default()
    }))
}

#[cfg(test)]
mod tests;

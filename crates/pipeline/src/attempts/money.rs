//! What a call may cost at a deployment, and may it go there for that.

use std::sync::Arc;

use tollway_config::UnknownPrice;
use tollway_model::{Operation, Usage};
use tollway_prices::{Facts, PriceSheet, Rate};
use tollway_route::{Candidate, Deployment};

use super::Run;
use super::walk::Leg;
use crate::budgets::Short;
use crate::demand::{Offer, Terms, Worst, demand};

/// Has this deployment been found short of money in this call?
pub(super) fn is_short(short: &[(Arc<str>, Short)], deployment: &Deployment) -> bool {
    short.iter().any(|(id, _)| *id == deployment.id)
}

impl Run<'_> {
    /// Takes what the call may cost from the budgets of a deployment and its provider, where they have any. One that
    /// is short of money is noted in `short`, says so in the receipt, and is not asked again.
    pub(super) async fn afford(
        &mut self,
        candidate: Option<&Candidate>,
        short: &mut Vec<(Arc<str>, Short)>,
        leg: &Leg<'_>,
    ) -> bool {
        let Some(Candidate { deployment, .. }) = candidate else { return false };
        let is_bound = self.bounds.is_budgeted || self.snapshot.budgets.bind_deployments();
        if !is_bound || self.call.ask.operation == Operation::CountTokens {
            return true;
        }
        if is_short(short, deployment) {
            return false;
        }
        let (policy, operation) = (self.settings.unknown_price, self.call.ask.operation);
        let may_serve =
            self.call.control.mock_response.is_some() || may_serve_budgets(deployment, policy, operation);
        let meters = self.gateway.services().meters.as_ref();
        let held = if self.bounds.is_budgeted && !may_serve {
            Err(Short::Unpriced)
        } else {
            let demand = || may_serve.then(|| self.demand_at(deployment, leg));
            self.snapshot.budgets.hold(meters, deployment, demand).await
        };
        match held {
            Ok(spot) => {
                self.ticket.at(spot);
                true
            }
            Err(why) => {
                self.ticket.skip(&leg.counted, deployment.id.clone(), None, why.to_string());
                short.push((deployment.id.clone(), why));
                false
            }
        }
    }

    /// What the call will probably cost at one deployment.
    fn demand_at(&self, deployment: &Deployment, leg: &Leg<'_>) -> tollway_meters::Demand {
        let usual = self.gateway.services().usual.get(self.ticket.token(), &leg.counted);
        let worst = self.bounds.is_strict.then(|| Worst::of(self.call));
        let terms = Terms { usual, worst, at: self.call.at };
        let mut found = demand(self.ticket.size(), std::iter::once(Offer::of(deployment)), &terms);
        found.free &= self.settings.free_models_pass_budgets;
        found
    }
}

/// Is a deployment's price known, or may it be called on a budget all the same?
pub(crate) fn may_serve_budgets(deployment: &Deployment, policy: UnknownPrice, operation: Operation) -> bool {
    let may_be_unknown = match policy {
        UnknownPrice::Allow => true,
        UnknownPrice::OwnServers => deployment.endpoint().is_some_and(|endpoint| endpoint.is_own_server()),
        UnknownPrice::Refuse => false,
    };
    let is_priced = || deployment.prices.as_deref().is_some_and(|sheet| is_priced(sheet, operation));
    may_be_unknown || deployment.mock.is_some() || is_priced()
}

/// Does a sheet say what such calls cost?
fn is_priced(sheet: &PriceSheet, operation: Operation) -> bool {
    let generates = matches!(operation, Operation::Chat | Operation::Completion);
    let rates = &sheet.base;
    if rates.token(Rate::In).is_some() && (!generates || rates.token(Rate::Out).is_some()) {
        return true;
    }
    // Sold in another way than by tokens, or only in tiers.
    let usage = Usage { input: 1, output: u64::from(generates), ..Usage::default() };
    tollway_prices::cost(sheet, &usage, &Facts::default()).total.known().is_some()
}

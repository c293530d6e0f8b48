//! What a call may cost at a deployment, and may it go there for that.

use std::sync::Arc;
use std::time::Duration;

use tollway_config::UnknownPrice;
use tollway_meters::{Claim, Demand, Refusal};
use tollway_model::{Error, Kind, Operation, Retry, Usage};
use tollway_prices::{Facts, PriceSheet, Rate};
use tollway_route::{Candidate, Deployment};

use super::Run;
use super::walk::Leg;
use crate::budgets::Short;
use crate::demand::{FOURTH, Offer, Size, Terms, WHOLE, Worst, demand, modest};

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
            let demand = |claims: &[Claim]| match may_serve {
                true => self.demand_at(deployment, leg, claims),
                false => Err(Short::Unpriced),
            };
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

    /// What the call will probably cost at one deployment; the most it can where budgets want that.
    fn demand_at(&self, deployment: &Deployment, leg: &Leg<'_>, claims: &[Claim]) -> Result<Demand, Short> {
        let usual = self.gateway.services().usual.get(self.ticket.token(), &leg.counted);
        let (at, size) = (self.call.at, self.size(leg));
        let mut found = if self.bounds.is_strict {
            let (ask, worst) = (leg.ask(), Worst::of(leg.ask()));
            let offer = Offer::at_worst(deployment, ask);
            if !offer.is_bounded(worst) {
                return Err(Short::Unbounded);
            }
            demand(&size, std::iter::once(offer), &Terms { usual, worst: Some(worst), at })
        } else {
            let offer = || std::iter::once(Offer::of(deployment));
            let terms = Terms { usual, worst: None, at };
            let part = if size.is_guess(usual) { FOURTH } else { WHOLE };
            let prompt = || demand(&Size { limit: Some(0), ..size }, offer(), &terms);
            modest(demand(&size, offer(), &terms), prompt, claims, part)
        };
        found.free &= self.settings.free_models_pass_budgets;
        Ok(found)
    }

    /// The size of what a group is asked.
    fn size(&self, leg: &Leg<'_>) -> Size {
        leg.replaced().map_or(*self.ticket.size(), Size::of)
    }

    /// Strict budgets hold what lost attempts have cost beside the most that the next one can; where they have no room for
    /// that, there is no next one. What was held before is enough for the request as it came, at any group.
    pub(super) async fn cover(&mut self, leg: &Leg<'_>) -> Result<(), Error> {
        if !(self.bounds.is_strict && self.bounds.is_budgeted) {
            return Ok(());
        }
        let most = match leg.replaced() {
            None => None,
            Some(ask) => {
                let (worst, size) = (Worst::of(ask), Size::of(ask));
                let candidates = leg.plan.candidates.iter();
                let offers = candidates.map(|one| Offer::at_worst(&one.deployment, ask));
                if !offers.clone().all(|offer| offer.is_bounded(worst)) {
                    return Err(no_room(&leg.group));
                }
                let terms = Terms { usual: None, worst: Some(worst), at: self.call.at };
                Some(demand(&size, offers, &terms).money)
            }
        };
        self.ticket.cover(most).await.map_err(|refusal| match refusal {
            Refusal::Denied(_) => no_room(&leg.group),
            Refusal::Unavailable { .. } => {
                Error::new(Kind::Unavailable, "what is spent of this budget cannot be read now")
                    .with_retry(Retry::Later(Some(Duration::from_secs(5))))
            }
        })
    }
}

/// Another attempt could pass a budget.
fn no_room(group: &str) -> Error {
    let message =
        format!("Budget has been exceeded: no room is left for what another attempt at {group} can cost");
    Error::new(Kind::Budget, message)
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

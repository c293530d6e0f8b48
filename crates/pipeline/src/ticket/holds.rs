//! What is held for a call: taken before it is sent, covered while it costs more than was thought, and settled with what it
//! really used.

use std::sync::Arc;

use tollway_ledger::{AttemptRecord, Receipt};
use tollway_meters::{AllowanceState, Demand, Hold, Meters, Refusal, Scope, ScopeKind, Spent};
use tollway_model::{Cost, Money};
use tollway_store::records::Membership;

use super::Ticket;
use crate::admission::is_of_model;

/// What was taken for the model of a group that a call fell back to.
#[derive(Debug)]
pub(super) struct LegHold {
    group: Arc<str>,
    hold: Hold,
    /// Held there beside that.
    added: Money,
}

impl Ticket {
    /// The call goes on at `group`, for whose model this was taken. The one before has spent nothing.
    pub(crate) fn enters(&mut self, group: &Arc<str>, hold: Option<Hold>) {
        let leg = hold.map(|hold| LegHold { group: group.clone(), hold, added: Money::ZERO });
        let refused = !std::mem::take(&mut self.reached_leg);
        if let Some(LegHold { hold, .. }) = std::mem::replace(&mut self.leg, leg) {
            hold.settle(Spent { refused, ..Spent::default() });
        }
    }

    /// The budgets of the deployment that the call goes to next have room for it.
    pub(crate) fn at(&mut self, spot: Option<Hold>) {
        // One that is left over was for a deployment that the call did not go to.
        self.spot = spot;
    }

    /// The call, which arrived at `at`, has left a deployment, and this is what it cost there.
    pub(super) fn leaves(&mut self, attempt: &AttemptRecord, money: Money, at: i64) {
        let spot = self.spot.take();
        let AttemptRecord { deployment, provider, .. } = attempt;
        if let Some(meters) = self.services.meters.as_ref().filter(|_| money != Money::ZERO) {
            // A budget may have been set since the call came here.
            for (kind, id) in [(ScopeKind::Deployment, deployment), (ScopeKind::Provider, provider)] {
                if spot.as_ref().is_none_or(|spot| !spot.counts_for(kind)) {
                    meters.spent_late(Scope { kind, id: id.clone() }, at, money);
                }
            }
        }
        if let Some(spot) = spot {
            spot.settle(Spent { money, ..Spent::default() });
        }
    }

    /// What is held for the call.
    pub(crate) fn held(&self) -> Money {
        self.hold.as_ref().map_or(Money::ZERO, Hold::held)
    }

    /// Sees to it that the caller's budgets hold what lost attempts have cost, and `next` on top of it, which the next
    /// attempt may cost at most; `None`: no more than was thought.
    pub(crate) async fn cover(&mut self, next: Option<Money>) -> Result<(), Refusal> {
        let Some(meters) = &self.services.meters else { return Ok(()) };
        let lost = self.discarded.as_ref().map_or(Money::ZERO, |discarded| discarded.charge.money());
        let mut holds: Vec<(&Hold, &mut Money)> = Vec::with_capacity(2);
        holds.extend(self.hold.as_ref().map(|hold| (hold, &mut self.added)));
        holds.extend(self.leg.as_mut().map(|leg| (&leg.hold, &mut leg.added)));
        for (hold, added) in holds {
            let beyond = next.map_or(Money::ZERO, |next| (next - hold.held()).max(Money::ZERO));
            let wanted = lost + beyond - *added;
            let claims = if wanted > Money::ZERO { hold.budgets() } else { Vec::new() };
            if !claims.is_empty() {
                let demand = Demand { money: wanted, ..Demand::default() };
                self.more.push(meters.reserve(&claims, demand).await?);
                *added += wanted;
            }
        }
        Ok(())
    }

    /// What is left of the caller's limits.
    pub(crate) fn allowances(&self) -> Vec<AllowanceState> {
        let holds = self.hold.iter().chain(self.leg.iter().map(|leg| &leg.hold));
        holds.flat_map(Hold::states).collect()
    }

    /// The journal first, then the holds: what the meters forget, the books must already know. `last`: what of the cost
    /// belongs to the last attempt.
    pub(super) fn book(&mut self, receipt: &Receipt, cost: Cost, last: Money) {
        if let Some(ledger) = &self.services.ledger {
            ledger.closed(receipt, self.opened);
            // The end of a stream follows at once; of a whole answer, `serve` waits for it.
            if receipt.stream {
                ledger.write();
            }
        }
        if let Some(attempt) = receipt.attempts.last() {
            self.leaves(attempt, last, receipt.at);
        }
        self.spend.add(cost.known().unwrap_or(Money::ZERO));
        let services = &self.services;
        let spent = Spent {
            tokens: receipt.usage.map_or(0, |usage| usage.total()),
            money: cost.known().unwrap_or(Money::ZERO),
            refused: !self.reached,
        };
        let group = receipt.model_group();
        // An estimate says nothing of what such calls usually give.
        let told = receipt.usage.filter(|usage| !usage.estimated);
        if let Some(usage) = told.filter(|_| self.hold.is_some() || self.leg.is_some()) {
            services.usual.saw(&receipt.who.token, group, usage.total_output());
        }
        if let Some(meters) = services.meters.as_ref().filter(|_| spent.money != Money::ZERO) {
            spent_late(meters, self.hold.as_ref(), receipt, spent.money);
        }
        // What was spent counts for the model of the group that answered, here and in the books.
        match self.hold.take() {
            Some(hold) if group == receipt.asked_group() => hold.settle(spent),
            Some(hold) => hold.settle_apart(spent, &|scope| is_of_model(scope.kind), !self.reached_asked),
            None => {}
        }
        match self.leg.take() {
            Some(leg) if leg.group.as_ref() == group => leg.hold.settle(spent),
            Some(leg) => leg.hold.settle(Spent { refused: !self.reached_leg, ..Spent::default() }),
            None => {}
        }
        // All of it is in what was settled.
        self.more.clear();
    }
}

/// Tells of what a call spent whoever had no limit when it began: a budget may have been set since.
fn spent_late(meters: &Meters, hold: Option<&Hold>, receipt: &Receipt, money: Money) {
    let who = &receipt.who;
    let member = || match (&who.team, &who.user) {
        (Some(team), Some(user)) => Some(Membership::id_of(team, user).into()),
        _ => None,
    };
    let is_late = |kind: ScopeKind| hold.is_none_or(|hold| !hold.counts_for(kind));
    let tell = |kind: ScopeKind, id: Option<Arc<str>>| {
        if let Some(id) = id {
            meters.spent_late(Scope { kind, id }, receipt.at, money);
        }
    };
    for (kind, id) in [
        (ScopeKind::Key, &who.key),
        (ScopeKind::User, &who.user),
        (ScopeKind::Team, &who.team),
        (ScopeKind::Customer, &who.customer),
    ] {
        if is_late(kind) {
            tell(kind, id.clone());
        }
    }
    if is_late(ScopeKind::TeamMember) {
        tell(ScopeKind::TeamMember, member());
    }
}

//! All that is counted for one scope, and the decision of one claim on it.

use tollway_model::Money;

use crate::block::Change;
use crate::purse::Purse;
use crate::rate::Rate;
use crate::shared::Pot;
use crate::{Alert, Demand, LimitKind, Limits, Scope, Spent};

/// How long a call without a place is told to wait. Nobody knows when one will be free.
const PLACE_WAIT: i64 = 1000;
/// More windows than this are kept for one scope only while their money is not safe elsewhere.
const MOST_PURSES: usize = 8;

/// A moment on both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// Milliseconds since 1970.
    pub(crate) wall: i64,
    /// Milliseconds on the steady clock.
    pub(crate) steady: u64,
}

/// What is counted for one scope. A limit counts from the first call on that it was set for.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) rate: Rate,
    pub(crate) in_flight: u64,
    pub(crate) purses: Vec<Purse>,
    /// Goes up whenever a purse begins a stretch.
    turn: u32,
    /// When money was settled last, milliseconds since 1970.
    pub(crate) settled_at: i64,
}

/// What one claim gets.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    Granted,
    /// The purse of this budget must be seeded first.
    Unseeded(usize),
    Refused {
        limit: LimitKind,
        max: i64,
        used: i64,
        resets_at: Option<i64>,
    },
}

/// What is left of a claim's limits after it was taken.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Left {
    pub(crate) requests: u64,
    pub(crate) tokens: u64,
    pub(crate) in_flight: u64,
    /// Of the tightest budget: limit, and what is spent and held.
    pub(crate) budget: Option<(Money, Money)>,
}

/// What a claim took, and must be given back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Took {
    pub(crate) demand: Demand,
    pub(crate) at: Moment,
    pub(crate) rate: bool,
    pub(crate) parallel: bool,
    pub(crate) turn: u32,
}

impl State {
    /// Would this claim be granted? Nothing is taken. With a `share` other than 1, this process may take only that part.
    pub(crate) fn check(&mut self, limits: &Limits, demand: Demand, now: Moment, share: u64) -> Verdict {
        self.roll(limits, now.wall);
        for (index, budget) in limits.budgets.iter().enumerate() {
            let Some(purse) = self.purses.iter_mut().find(|purse| purse.window == budget.window) else {
                continue;
            };
            if purse.known.is_none() {
                return Verdict::Unseeded(index);
            }
            if let Some(soft) = budget.soft {
                purse.watch(soft);
            }
            let Some(max) = budget.max.filter(|_| !demand.free) else { continue };
            let used = purse.used_by_all(share);
            let share = i64::try_from(share).unwrap_or(i64::MAX);
            let wanted = demand.money.nanos().max(0).saturating_mul(share);
            if used >= max.nanos() || used.saturating_add(wanted) > max.nanos() {
                let (limit, resets_at) = (LimitKind::Budget, purse.resets_at());
                return Verdict::Refused { limit, max: max.nanos(), used, resets_at };
            }
        }
        self.check_rates(limits, demand, now, share).unwrap_or(Verdict::Granted)
    }

    fn check_rates(&mut self, limits: &Limits, demand: Demand, now: Moment, share: u64) -> Option<Verdict> {
        if limits.rpm.is_some() || limits.tpm.is_some() {
            self.rate.forget(now.steady);
        }
        let refused = |limit, max: u64, used: u64, wait: Option<u64>| {
            let resets_at = wait.map(|wait| now.wall.saturating_add(signed(wait)));
            Some(Verdict::Refused { limit, max: signed(max), used: signed(used), resets_at })
        };
        if let Some(max) = limits.rpm.map(|max| part(max, share)) {
            let used = self.rate.requests();
            if used >= max {
                let wait = if max == 0 { None } else { self.rate.wait_for(now.steady, used - max + 1, 0) };
                return refused(LimitKind::Requests, max, used, wait);
            }
        }
        if let Some(max) = limits.tpm.map(|max| part(max, share)) {
            let (used, wanted) = (self.rate.tokens(), demand.tokens.max(1));
            if used.saturating_add(wanted) > max {
                let wait = if wanted > max {
                    None
                } else {
                    self.rate.wait_for(now.steady, 0, used.saturating_add(wanted) - max)
                };
                return refused(LimitKind::Tokens, max, used, wait);
            }
        }
        if let Some(max) = limits.parallel.map(|max| part(max, share))
            && self.in_flight >= max
        {
            let wait = (max > 0).then_some(PLACE_WAIT.unsigned_abs());
            return refused(LimitKind::Parallel, max, self.in_flight, wait);
        }
        None
    }

    /// Brings every purse to its current stretch and adds those that the limits ask for.
    pub(crate) fn roll(&mut self, limits: &Limits, now: i64) {
        self.roll_purses(now);
        for budget in &limits.budgets {
            if !self.purses.iter().any(|purse| purse.window == budget.window) {
                self.turn = self.turn.wrapping_add(1);
                self.purses.push(Purse::new(budget.window.clone(), now, self.turn));
            }
        }
    }

    fn roll_purses(&mut self, now: i64) {
        for purse in &mut self.purses {
            if purse.roll(now, self.turn.wrapping_add(1)) {
                self.turn = self.turn.wrapping_add(1);
            }
        }
    }

    /// Forgets windows that the limits no longer name, when there are many and `through` says that their money is safe.
    pub(crate) fn tidy(&mut self, limits: &Limits, through: impl FnOnce() -> i64) {
        if self.purses.len() > MOST_PURSES && self.settled_at < through() {
            let named = |purse: &Purse| limits.budgets.iter().any(|budget| budget.window == purse.window);
            self.purses.retain(|purse| purse.held > 0 || named(purse));
        }
    }

    /// Takes what [`State::check`] granted. With `counted_elsewhere`, money is in what the shared store told.
    pub(crate) fn take(&mut self, took: &mut Took, counted_elsewhere: bool) {
        if took.rate {
            self.rate.forget(took.at.steady);
            self.rate.add(took.at.steady, 1, took.demand.tokens);
        }
        if took.parallel {
            self.in_flight += 1;
        }
        if !counted_elsewhere {
            for purse in &mut self.purses {
                purse.held = purse.held.saturating_add(took.demand.money.nanos().max(0));
            }
        }
        took.turn = self.turn;
    }

    /// Takes what a block holds. Money is in what the shared store told.
    pub(crate) fn take_many(&mut self, took: &mut Took, requests: u64, places: u64) {
        if took.rate {
            self.rate.forget(took.at.steady);
            let requests = u32::try_from(requests).unwrap_or(u32::MAX);
            self.rate.add(took.at.steady, requests, took.demand.tokens);
        }
        if took.parallel {
            self.in_flight = self.in_flight.saturating_add(places);
        }
        took.turn = self.turn;
    }

    /// What has come back of a block, and what was used of it.
    pub(crate) fn settle_many(&mut self, took: &Took, change: &Change, now: Moment) {
        if took.rate {
            let (requests, tokens) = (change.requests.max(0), change.tokens.max(0).unsigned_abs());
            if requests > 0 || tokens > 0 {
                let requests = u32::try_from(requests).unwrap_or(u32::MAX);
                self.rate.take_back(took.at.steady, now.steady, requests, tokens);
            }
            if change.beyond > 0 {
                self.rate.forget(now.steady);
                self.rate.add(now.steady, 0, change.beyond.unsigned_abs());
            }
        }
        if took.parallel {
            self.in_flight = self.in_flight.saturating_sub(change.places);
        }
        for purse in &mut self.purses {
            if holds(took, purse) {
                purse.held = purse.held.saturating_sub(change.freed);
                purse.spent = purse.spent.saturating_add(change.spent);
            } else if purse.includes(took.at.wall) {
                purse.spent = purse.spent.saturating_add(change.spent);
            }
        }
        if change.spent != 0 {
            self.settled_at = self.settled_at.max(now.wall);
        }
    }

    /// Gives back what was taken and takes what was really used. Money goes to the stretch it was held in; to a purse
    /// that came since, when its stretch includes the moment of the hold.
    pub(crate) fn settle(&mut self, took: &Took, spent: Spent, now: Moment) {
        if took.rate {
            self.settle_rate(took, spent, now);
        }
        if took.parallel {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        let money = spent.money.nanos();
        for purse in &mut self.purses {
            if holds(took, purse) {
                purse.held = purse.held.saturating_sub(took.demand.money.nanos().max(0));
                purse.spent = purse.spent.saturating_add(money);
            } else if purse.includes(took.at.wall) {
                purse.spent = purse.spent.saturating_add(money);
            }
        }
        if money != 0 {
            self.settled_at = self.settled_at.max(now.wall);
        }
    }

    /// Takes what a call really used that took nothing here, because nothing was limited when it began.
    pub(crate) fn settle_late(&mut self, at: Moment, spent: Spent, now: Moment) {
        // Otherwise a purse still in an earlier stretch would not know of this when it goes on.
        self.roll_purses(now.wall);
        for purse in self.purses.iter_mut().filter(|purse| purse.includes(at.wall)) {
            purse.spent = purse.spent.saturating_add(spent.money.nanos());
        }
        self.settled_at = self.settled_at.max(now.wall);
    }

    fn settle_rate(&mut self, took: &Took, spent: Spent, now: Moment) {
        let held = took.demand.tokens;
        if spent.refused {
            self.rate.take_back(took.at.steady, now.steady, 1, held);
        } else if spent.tokens < held {
            self.rate.take_back(took.at.steady, now.steady, 0, held - spent.tokens);
        } else if spent.tokens > held {
            self.rate.forget(now.steady);
            self.rate.add(now.steady, 0, spent.tokens - held);
        }
    }

    /// The purses that a call's money belongs to, for the shared store. `late`: nothing was taken here when it began.
    pub(crate) fn pots(&self, took: &Took, late: bool, limits: &Limits) -> Vec<Pot> {
        let concerned = |purse: &&Purse| (!late && holds(took, purse)) || purse.includes(took.at.wall);
        self.purses.iter().filter(concerned).map(|purse| Pot::new(purse, limits)).collect()
    }

    /// The purses of these limits, for the shared store.
    pub(crate) fn pots_of(&self, limits: &Limits) -> Vec<Pot> {
        let named = |purse: &&Purse| limits.budgets.iter().any(|budget| budget.window == purse.window);
        self.purses.iter().filter(named).map(|purse| Pot::new(purse, limits)).collect()
    }

    /// What the shared store says is spent and held in a purse.
    pub(crate) fn learn(&mut self, pot: &Pot, used: i64) {
        if let Some(purse) = self.purses.iter_mut().find(|purse| purse.window == pot.window) {
            purse.learn(used);
        }
    }

    /// The soft budgets that are reached for the first time.
    pub(crate) fn alerts(&mut self, scope: &Scope, limits: &Limits) -> Vec<Alert> {
        let mut alerts = Vec::new();
        for budget in &limits.budgets {
            let Some(soft) = budget.soft else { continue };
            let Some(purse) = self.purses.iter_mut().find(|purse| purse.window == budget.window) else {
                continue;
            };
            if let Some(spent) = purse.alert(soft) {
                alerts.push(Alert { scope: scope.clone(), soft, spent, resets_at: purse.resets_at() });
            }
        }
        alerts
    }

    /// What is left after a claim was taken.
    pub(crate) fn left(&self, limits: &Limits) -> Left {
        let budgets = limits.budgets.iter().filter_map(|budget| {
            let purse = self.purses.iter().find(|purse| purse.window == budget.window)?;
            Some((budget.max?, Money::from_nanos(purse.used())))
        });
        Left {
            requests: self.rate.requests(),
            tokens: self.rate.tokens(),
            in_flight: self.in_flight,
            budget: budgets.min_by_key(|(max, used)| *max - *used),
        }
    }

    /// Nothing would be lost by forgetting all this; `through`: the ledger knows what was settled until then.
    pub(crate) fn is_idle(&mut self, steady: u64, through: i64) -> bool {
        self.rate.forget(steady);
        self.rate.is_empty() && self.in_flight == 0 && (self.settled_at == 0 || self.settled_at < through)
    }
}

/// Was this stretch of the purse there when the call was granted? Turns wrap around after four billion; half of that is
/// never between a hold and its end.
fn holds(took: &Took, purse: &Purse) -> bool {
    took.turn.wrapping_sub(purse.turn) < u32::MAX / 2
}

/// The part of a limit that one of several processes may use: rounded down, but never to nothing.
fn part(max: u64, share: u64) -> u64 {
    if share <= 1 { max } else { (max / share).max(max.min(1)) }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

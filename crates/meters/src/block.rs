//! A block: room for several calls of the same claims, taken in the shared store at once and given out here.
//!
//! The store counts the whole block as used, so whoever draws from it passes no limit. It is drawn from until the slot it
//! is counted in ends; then, or when it is used up, it is closed: what nobody drew goes back, and calls that are still on
//! their way keep theirs. What calls have used is added up and told once for all of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tollway_model::Money;

use crate::hold::Taken;
use crate::meters::Inner;
use crate::pool::Pool;
use crate::shared::Part;
use crate::state::{Left, Moment};
use crate::{AllowanceState, Demand, Scope, Spent};

/// What the store was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) requests: u64,
    pub(crate) tokens: u64,
    pub(crate) money: i64,
    pub(crate) places: u64,
}

/// Room for several calls.
pub(crate) struct Block {
    /// Its name in the shared store.
    pub(crate) number: u64,
    /// What all of it took, per claim.
    pub(crate) claims: Vec<Taken>,
    /// The claims that limit something, as the store knows them.
    pub(crate) parts: Vec<Part>,
    size: Size,
    limits: Dimensions,
    /// Calls are admitted before this moment of the steady clock.
    until: u64,
    /// Whose calls draw from it.
    pub(crate) pool: Weak<Pool>,
    /// The stretch of time that all its budgets' windows have in common, milliseconds since 1970.
    windows: (i64, i64),
    ledger: Mutex<Ledger>,
}

/// Which of the four are counted at all.
#[derive(Debug, Clone, Copy)]
struct Dimensions {
    tokens: bool,
    money: bool,
    places: bool,
}

/// What is left of a block, and what has come back.
#[derive(Debug)]
struct Ledger {
    open: bool,
    rest: Size,
    /// Calls that drew and have not ended.
    calls: u64,
    /// What the store was not told yet.
    report: Report,
    /// The block waits to be told of.
    queued: bool,
    /// What the store still holds for it, as far as it has confirmed.
    told: (i64, u64),
}

/// What has come back and what was used.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    pub(crate) all: Change,
    /// How claims differ, by their index: calls went on without them.
    pub(crate) apart: Vec<(usize, Change)>,
}

/// Changes of what is counted. Those of one claim may be below zero beside those of all.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Change {
    /// Requests that do not count.
    pub(crate) requests: i64,
    /// Tokens that were not used.
    pub(crate) tokens: i64,
    /// Tokens that were used beyond what was taken.
    pub(crate) beyond: i64,
    /// Places that are free.
    pub(crate) places: u64,
    /// Money that is not held any more, nano-dollars.
    pub(crate) freed: i64,
    /// Money that was spent, nano-dollars.
    pub(crate) spent: i64,
}

/// What a call drew.
#[derive(Debug)]
pub(crate) struct Draw {
    pub(crate) block: Arc<Block>,
    /// What nobody had drawn then.
    rest: Size,
}

/// Why a call could not draw.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Dry {
    /// The block is used up or its time is over: another one is needed.
    Over,
    /// The call does not fit into blocks of this size: it is decided by itself.
    Unfit,
}

impl Block {
    /// A block that the store has granted, with the claims as they are known to it. `asked_at`: when the store was asked;
    /// `valid`: how many milliseconds after its decision calls may be admitted.
    pub(crate) fn new(
        number: u64,
        (claims, parts): (Vec<Taken>, Vec<Part>),
        size: Size,
        (asked_at, valid): (Moment, u64),
        pool: Weak<Pool>,
    ) -> Block {
        let pots = || parts.iter().flat_map(|part| &part.pots);
        let windows = pots().fold((i64::MIN, i64::MAX), |(start, end), pot| {
            (start.max(pot.start), end.min(pot.resets_at().unwrap_or(i64::MAX)))
        });
        let free = claims.first().is_some_and(|taken| taken.took.demand.free);
        let limits = Dimensions {
            tokens: claims.iter().any(|taken| taken.took.rate),
            money: !free && pots().next().is_some(),
            places: claims.iter().any(|taken| taken.took.parallel),
        };
        let told = (size.money, size.places);
        let report = Report::default();
        let ledger = Ledger { open: true, rest: size, calls: 0, report, queued: false, told };
        let until = asked_at.steady.saturating_add(valid);
        Block { number, claims, parts, size, limits, until, pool, windows, ledger: Mutex::new(ledger) }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// May calls be admitted from it at this moment?
    pub(crate) fn is_valid(&self, now: Moment) -> bool {
        now.steady < self.until && self.windows.0 <= now.wall && now.wall < self.windows.1
    }

    /// Admits a call. True: the block is nearly used up or over, `early` milliseconds before its end.
    pub(crate) fn draw(
        self: &Arc<Block>,
        demand: Demand,
        now: Moment,
        early: u64,
    ) -> Result<(Draw, bool), Dry> {
        let Size { requests: _, tokens, money, places: _ } = self.size;
        let wanted = demand.money.nanos();
        let large =
            self.limits.tokens && demand.tokens > tokens / 2 || self.limits.money && wanted > money / 2;
        let mut ledger = self.ledger();
        if !ledger.open || !self.is_valid(now) || ledger.rest.requests == 0 {
            return Err(Dry::Over);
        }
        if self.limits.places && ledger.rest.places == 0 {
            return Err(Dry::Unfit);
        }
        let lacks = self.limits.tokens && demand.tokens > ledger.rest.tokens
            || self.limits.money && wanted > ledger.rest.money;
        if lacks {
            return Err(if large { Dry::Unfit } else { Dry::Over });
        }
        ledger.take(demand);
        let rest = ledger.rest;
        drop(ledger);
        Ok((Draw { block: Arc::clone(self), rest }, self.is_low(rest, now, early)))
    }

    fn is_low(&self, rest: Size, now: Moment, early: u64) -> bool {
        let few = |rest: u64, size: u64| rest < size / 4;
        now.steady.saturating_add(early) >= self.until
            || few(rest.requests, self.size.requests)
            || self.limits.tokens && few(rest.tokens, self.size.tokens)
            || self.limits.money && few(rest.money.unsigned_abs(), self.size.money.unsigned_abs())
    }

    /// Admits the call it was asked for together with: there is room for it whatever the time is.
    pub(crate) fn draw_first(self: &Arc<Block>, demand: Demand) -> Draw {
        let mut ledger = self.ledger();
        ledger.take(demand);
        Draw { block: Arc::clone(self), rest: ledger.rest }
    }

    /// A call has ended that took `demand`. What it did not use is there for others, or goes back. True: the store must
    /// be told.
    pub(crate) fn settle(
        self: &Arc<Block>,
        inner: &Inner,
        demand: Demand,
        (spent, apart): (Spent, &dyn Fn(&Scope) -> bool),
        apart_refused: bool,
    ) -> bool {
        let change = ended(demand, spent);
        let without = Spent { refused: apart_refused, ..Spent::default() };
        let differs = |(index, taken): (usize, &Taken)| {
            apart(&taken.scope).then(|| (index, ended(demand, without).beside(&change)))
        };
        let apart: Vec<(usize, Change)> = self.claims.iter().enumerate().filter_map(differs).collect();
        let mut ledger = self.ledger();
        ledger.calls = ledger.calls.saturating_sub(1);
        if ledger.open && apart.is_empty() {
            ledger.give_back(demand, change);
            return false;
        }
        let report = Report { all: change, apart };
        ledger.report.add(&report);
        if ledger.open {
            // It is told when the block is closed.
            return false;
        }
        let told = std::mem::replace(&mut ledger.queued, true);
        drop(ledger);
        self.count(inner, &report, inner.now());
        !told
    }

    /// Nobody draws from it any more, and what nobody drew goes back. True: the store must be told.
    pub(crate) fn close(&self, inner: &Inner) -> bool {
        let mut ledger = self.ledger();
        if !std::mem::take(&mut ledger.open) {
            return false;
        }
        let rest = std::mem::replace(&mut ledger.rest, Size { requests: 0, tokens: 0, money: 0, places: 0 });
        ledger.report.all.add(&Change {
            requests: signed(rest.requests),
            tokens: signed(rest.tokens),
            beyond: 0,
            places: rest.places,
            freed: rest.money,
            spent: 0,
        });
        ledger.queued = true;
        let report = ledger.report.clone();
        drop(ledger);
        self.count(inner, &report, inner.now());
        true
    }

    /// Is there something that nobody has drawn?
    pub(crate) fn has_rest(&self) -> bool {
        let ledger = self.ledger();
        ledger.open && ledger.rest.requests > 0
    }

    /// What this process itself counts.
    fn count(&self, inner: &Inner, report: &Report, now: Moment) {
        for (index, taken) in self.claims.iter().enumerate() {
            let change = report.of(index);
            // A scope that had no limit may have got a budget meanwhile.
            let Some(entry) = &taken.entry else {
                if change.spent != 0
                    && let Some(entry) = inner.registry.find(&taken.scope)
                {
                    let spent = Spent { money: Money::from_nanos(change.spent), ..Spent::default() };
                    entry.state().settle_late(taken.took.at, spent, now);
                }
                continue;
            };
            entry.state().settle_many(&taken.took, &change, now);
        }
    }

    /// What is to be told now, and whether this was all.
    pub(crate) fn report(&self) -> (Report, bool) {
        let mut ledger = self.ledger();
        ledger.queued = false;
        (std::mem::take(&mut ledger.report), !ledger.open && ledger.calls == 0)
    }

    /// The store has confirmed that it knows of this change.
    pub(crate) fn confirmed(&self, change: &Change) {
        let mut ledger = self.ledger();
        ledger.told.0 = ledger.told.0.saturating_sub(change.freed);
        ledger.told.1 = ledger.told.1.saturating_sub(change.places);
    }

    /// Money and places that the store holds for it, as far as it has confirmed.
    pub(crate) fn held(&self) -> (i64, u64) {
        self.ledger().told
    }

    /// The store is told otherwise what was spent. True: something was.
    pub(crate) fn forget_money(&self) -> bool {
        let mut ledger = self.ledger();
        ledger.report.apart.iter_mut().for_each(|(_, change)| change.spent = 0);
        std::mem::take(&mut ledger.report.all.spent) != 0
    }
}

impl Ledger {
    fn take(&mut self, demand: Demand) {
        let rest = &mut self.rest;
        rest.requests = rest.requests.saturating_sub(1);
        rest.tokens = rest.tokens.saturating_sub(demand.tokens);
        rest.money = (rest.money - demand.money.nanos()).max(0);
        rest.places = rest.places.saturating_sub(1);
        self.calls += 1;
    }

    /// What a call did not use is there for the next; what it used beyond comes out of what nobody has drawn, as far as
    /// that goes. What it spent is not held any more.
    fn give_back(&mut self, demand: Demand, change: Change) {
        let rest = &mut self.rest;
        rest.requests = rest.requests.saturating_add_signed(change.requests);
        rest.places = rest.places.saturating_add(change.places);
        let beyond = change.beyond.min(signed(rest.tokens));
        rest.tokens = rest.tokens.saturating_add_signed(change.tokens - beyond);
        let there = rest.money.saturating_add(demand.money.nanos());
        let freed = change.spent.clamp(0, there);
        rest.money = there - freed;
        let beyond = change.beyond - beyond;
        self.report.all.add(&Change { beyond, freed, spent: change.spent, ..Change::default() });
    }
}

/// What changes when a call ends that took this.
fn ended(demand: Demand, spent: Spent) -> Change {
    let (held, used) = (signed(demand.tokens), signed(spent.tokens));
    let unused = if spent.refused { held } else { (held - used).max(0) };
    Change {
        requests: i64::from(spent.refused),
        tokens: unused,
        beyond: if spent.refused { 0 } else { (used - held).max(0) },
        places: 1,
        freed: demand.money.nanos(),
        spent: spent.money.nanos(),
    }
}

impl Change {
    pub(crate) fn add(&mut self, other: &Change) {
        self.requests += other.requests;
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.beyond = self.beyond.saturating_add(other.beyond);
        self.places += other.places;
        self.freed = self.freed.saturating_add(other.freed);
        self.spent = self.spent.saturating_add(other.spent);
    }

    /// How this differs from what changes for all: places and holds do not.
    fn beside(&self, all: &Change) -> Change {
        Change {
            requests: self.requests - all.requests,
            tokens: self.tokens - all.tokens,
            beyond: self.beyond - all.beyond,
            places: 0,
            freed: 0,
            spent: self.spent - all.spent,
        }
    }
}

impl Report {
    fn add(&mut self, other: &Report) {
        self.all.add(&other.all);
        for (index, change) in &other.apart {
            match self.apart.iter_mut().find(|(known, _)| known == index) {
                Some((_, known)) => known.add(change),
                None => self.apart.push((*index, *change)),
            }
        }
    }

    /// What changes for the claim with this index.
    pub(crate) fn of(&self, index: usize) -> Change {
        let mut change = self.all;
        for (_, apart) in self.apart.iter().filter(|(claim, _)| *claim == index) {
            change.add(apart);
        }
        change
    }
}

impl Draw {
    /// What was left after the call was admitted: what the store said last, without what nobody had drawn.
    pub(crate) fn states(&self) -> Vec<AllowanceState> {
        let limited = self.block.claims.iter().filter(|taken| taken.entry.is_some());
        let state = |taken: &Taken| {
            let Left { requests, tokens, in_flight, budget } = taken.left;
            taken.state_with(Left {
                requests: requests.saturating_sub(self.rest.requests),
                tokens: tokens.saturating_sub(self.rest.tokens),
                in_flight: in_flight.saturating_sub(self.rest.places),
                budget: budget.map(|(max, used)| (max, used - Money::from_nanos(self.rest.money))),
            })
        };
        limited.map(state).collect()
    }
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Block")
            .field("size", &self.size)
            .field("ledger", &self.ledger)
            .finish_non_exhaustive()
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;

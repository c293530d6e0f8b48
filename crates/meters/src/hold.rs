//! What a call was granted, until it ends.

use std::fmt;
use std::sync::Arc;

use tollway_model::Money;

use crate::block::Draw;
use crate::meters::Inner;
use crate::rate::MINUTE;
use crate::registry::Entry;
use crate::shared::{Apart, Lease, Part};
use crate::state::{Left, Took};
use crate::{AllowanceState, COUNTED, Claim, Demand, Limits, Scope, ScopeKind, Spent};

/// What a call was granted. It ends in [`Hold::settle`]; dropped before that, everything is given back.
#[must_use = "a hold that is dropped gives back what it holds"]
pub struct Hold {
    meters: Arc<Inner>,
    from: From,
    demand: Demand,
    open: bool,
    /// What was taken of the tokens of the day, as money.
    day: Option<Box<Hold>>,
}

/// Where it was taken.
enum From {
    /// From every claim by itself; with its name in the shared store.
    Claims(Vec<Taken>, Option<Lease>),
    /// From what this process had taken before for several calls.
    Block(Draw),
}

/// What was taken for one claim.
pub(crate) struct Taken {
    pub(crate) scope: Scope,
    pub(crate) limits: Arc<Limits>,
    /// `None`: the claim limits nothing, so nothing was taken.
    pub(crate) entry: Option<Arc<Entry>>,
    pub(crate) took: Took,
    pub(crate) left: Left,
}

impl Hold {
    pub(crate) fn new(meters: Arc<Inner>, taken: Vec<Taken>, demand: Demand, lease: Option<Lease>) -> Hold {
        Hold { meters, from: From::Claims(taken, lease), demand, open: true, day: None }
    }

    pub(crate) fn drawn(meters: Arc<Inner>, draw: Draw, demand: Demand) -> Hold {
        Hold { meters, from: From::Block(draw), demand, open: true, day: None }
    }

    /// The same, holding tokens of the day, too.
    pub(crate) fn with_day(self, day: Option<Hold>) -> Hold {
        let mut hold = self;
        hold.day = day.map(Box::new);
        hold
    }

    /// What is left after this decision, of every scope that has a limit, in the order of the claims.
    pub fn states(&self) -> Vec<AllowanceState> {
        let mut states: Vec<AllowanceState> = match &self.from {
            From::Claims(taken, _) => {
                taken.iter().filter(|taken| taken.entry.is_some()).map(Taken::state).collect()
            }
            From::Block(draw) => draw.states(),
        };
        for day in self.day.iter().flat_map(|day| day.states()) {
            let Some((max, used)) = day.budget else { continue };
            let whose = day.scope.of_day();
            if let Some(state) = states.iter_mut().find(|state| Some(&state.scope) == whose.as_ref()) {
                let tokens = |money: Money| money.nanos().max(0).unsigned_abs();
                state.day = Some((tokens(max), tokens(max - used)));
            }
        }
        states
    }

    /// The claims that limit money, without their other limits: for holding more for the same call, which takes no further
    /// request and no further place.
    pub fn budgets(&self) -> Vec<Claim> {
        let taken = match &self.from {
            From::Claims(taken, _) => taken,
            From::Block(draw) => &draw.block.claims,
        };
        let limited = taken.iter().filter(|taken| taken.limits.budgets.iter().any(|one| one.max.is_some()));
        limited
            .map(|taken| {
                let limits = Limits { budgets: taken.limits.budgets.clone(), ..Limits::default() };
                Claim { scope: taken.scope.clone(), limits: Arc::new(limits) }
            })
            .collect()
    }

    /// Does the call count for a scope of this kind?
    pub fn counts_for(&self, kind: ScopeKind) -> bool {
        let taken = match &self.from {
            From::Claims(taken, _) => taken,
            From::Block(draw) => &draw.block.claims,
        };
        taken.iter().any(|taken| taken.scope.kind == kind)
    }

    /// The money that is held in every budget.
    pub fn held(&self) -> Money {
        self.demand.money
    }

    /// The call has ended, and this is what it used. Never waits and never fails.
    pub fn settle(mut self, spent: Spent) {
        self.close(spent, &|_| false, false);
    }

    /// As [`Hold::settle`], but the call went on without some scopes: those that `apart` picks have spent nothing, and
    /// with `apart_refused` their request does not count either.
    pub fn settle_apart(mut self, spent: Spent, apart: &dyn Fn(&Scope) -> bool, apart_refused: bool) {
        self.close(spent, apart, apart_refused);
    }

    fn close(&mut self, spent: Spent, apart: &dyn Fn(&Scope) -> bool, apart_refused: bool) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        if let Some(day) = self.day.take() {
            // The provider's tokens are in no scope apart: a day's limit is about no single model.
            day.settle(Spent { money: tokens_as_money(spent.tokens), tokens: 0, refused: spent.refused });
        }
        let taken = match &mut self.from {
            From::Claims(taken, _) => taken,
            From::Block(Draw { block, .. }) => {
                if let Some(shared) = &self.meters.shared
                    && block.settle(&self.meters, self.demand, (spent, apart), apart_refused)
                {
                    shared.has_news(block);
                }
                return;
            }
        };
        let now = self.meters.now();
        let (mut parts, mut without) = (Vec::new(), Vec::new());
        for taken in taken.iter() {
            let is_apart = apart(&taken.scope);
            let spent = if is_apart { Spent { refused: apart_refused, ..Spent::default() } } else { spent };
            // A scope that had no limit may have got a budget while the call was on its way.
            let found = if taken.entry.is_none() { self.meters.registry.find(&taken.scope) } else { None };
            let Some(entry) = taken.entry.as_ref().or(found.as_ref()) else { continue };
            let mut state = entry.state();
            if found.is_some() {
                state.settle_late(taken.took.at, spent, now);
            } else {
                state.settle(&taken.took, spent, now);
            }
            if self.meters.shared.is_some() && is_apart {
                without.push(Part::key_of(&taken.scope));
            } else if self.meters.shared.is_some() {
                parts.push(Part::new(taken, state.pots(&taken.took, found.is_some(), &taken.limits)));
            } else {
                for alert in state.alerts(&taken.scope, &taken.limits) {
                    // Without a reader there is nobody to tell.
                    let _ = self.meters.alerts.send(alert);
                }
            }
            state.tidy(&taken.limits, || self.meters.spending.settled_through());
        }
        if let Some(shared) = &self.meters.shared {
            let apart = Apart { scopes: without, refused: apart_refused };
            let lease = if let From::Claims(_, lease) = &mut self.from { lease.take() } else { None };
            shared.settled(lease, parts, self.demand, (spent, apart));
        }
    }
}

/// Tokens in a purse.
pub(crate) fn tokens_as_money(tokens: u64) -> Money {
    Money::from_nanos(i64::try_from(tokens).unwrap_or(i64::MAX))
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.close(Spent { refused: true, ..Spent::default() }, &|_| false, false);
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold")
            .field("demand", &self.demand)
            .field("states", &self.states())
            .finish_non_exhaustive()
    }
}

impl Taken {
    fn state(&self) -> AllowanceState {
        self.state_with(self.left)
    }

    /// What is left of the claim when so much is used.
    pub(crate) fn state_with(&self, used: Left) -> AllowanceState {
        let told = |limit: Option<u64>| limit.filter(|limit| *limit < COUNTED);
        let left = |limit, used: u64| told(limit).map(|limit| (limit, limit.saturating_sub(used)));
        AllowanceState {
            scope: self.scope.clone(),
            requests: left(self.limits.rpm, used.requests),
            tokens: left(self.limits.tpm, used.tokens),
            parallel: left(self.limits.parallel, used.in_flight),
            day: None,
            budget: used.budget,
            resets_at: self.took.at.wall.saturating_add(MINUTE.cast_signed()),
        }
    }
}

//! What is said to the shared store, as arguments of scripts.

use std::sync::Arc;

use redis::ScriptInvocation;
use tollway_model::Money;

use crate::block::{Block, Change};
use crate::hold::Taken;
use crate::purse::Purse;
use crate::registry::Entry;
use crate::{Demand, Limits, Scope, Spent, Window};

/// Slots of a millisecond would be many for scopes that admit more than this a minute.
const FINE: u64 = 2000;

/// A scope's part in a call.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) scope: Scope,
    /// The scope in key names.
    pub(crate) key: String,
    pub(crate) entry: Option<Arc<Entry>>,
    limits: Arc<Limits>,
    rate: bool,
    parallel: bool,
    pub(crate) pots: Vec<Pot>,
}

/// Scopes that a hold took from and that its call went on without.
#[derive(Debug, Default)]
pub(crate) struct Apart {
    /// As in key names.
    pub(crate) scopes: Vec<String>,
    /// Their request does not count.
    pub(crate) refused: bool,
}

/// A purse as the shared store sees it.
#[derive(Debug, Clone)]
pub(crate) struct Pot {
    pub(crate) window: Window,
    pub(crate) name: String,
    pub(crate) start: i64,
    end: i64,
    /// The tightest limit on it, nano-dollars.
    pub(crate) max: Option<i64>,
    /// The lowest soft budget, nano-dollars.
    pub(crate) soft: Option<i64>,
}

impl Pot {
    pub(crate) fn new(purse: &Purse, limits: &Limits) -> Pot {
        let budgets = || limits.budgets.iter().filter(|budget| budget.window == purse.window);
        Pot {
            window: purse.window.clone(),
            name: purse.window.name(),
            start: purse.start,
            end: purse.end,
            max: budgets().filter_map(|budget| budget.max).min().map(Money::nanos),
            soft: budgets().filter_map(|budget| budget.soft).min().map(Money::nanos),
        }
    }

    /// The beginning as the store compares it; what never began began with 1970.
    pub(crate) fn start(&self) -> i64 {
        self.start.max(0)
    }

    pub(crate) fn resets_at(&self) -> Option<i64> {
        (self.end != i64::MAX).then_some(self.end)
    }

    pub(crate) fn soft_text(&self) -> String {
        text(self.soft)
    }
}

impl Part {
    pub(crate) fn new(taken: &Taken, pots: Vec<Pot>) -> Part {
        Part {
            scope: taken.scope.clone(),
            key: Part::key_of(&taken.scope),
            entry: taken.entry.clone(),
            limits: Arc::clone(&taken.limits),
            rate: taken.took.rate,
            parallel: taken.took.parallel,
            pots,
        }
    }

    /// The scope in key names.
    pub(crate) fn key_of(scope: &Scope) -> String {
        scope.text()
    }

    /// The same part with other purses.
    pub(crate) fn with(&self, pots: Vec<Pot>) -> Part {
        Part { pots, ..self.clone() }
    }

    /// Names its purses by scope and window.
    pub(crate) fn name_pots(&self, names: &mut Vec<(String, String)>) {
        names.extend(self.pots.iter().map(|pot| (self.key.clone(), pot.name.clone())));
    }

    pub(crate) fn is_rated(&self) -> bool {
        self.rate
    }

    /// How wide slots are, milliseconds.
    fn width(&self) -> u64 {
        if self.limits.rpm.is_some_and(|rpm| rpm <= FINE) { 1 } else { 64 }
    }

    pub(crate) fn demand_on(&self, script: &mut ScriptInvocation<'_>) {
        let limits = &self.limits;
        script.arg(&self.key).arg(text(limits.rpm)).arg(text(limits.tpm)).arg(text(limits.parallel));
        script.arg(self.width()).arg(self.pots.len());
        for pot in &self.pots {
            script.arg(&pot.name).arg(pot.start()).arg(text(pot.max));
        }
    }

    fn settle_in<'s>(
        &self,
        script: &mut ScriptInvocation<'s>,
        between: impl FnOnce(&mut ScriptInvocation<'s>),
    ) {
        script.arg(&self.key).arg(u8::from(self.rate)).arg(self.width());
        between(script);
        script.arg(self.pots.len());
        for pot in &self.pots {
            script.arg(&pot.name).arg(pot.start()).arg(pot.soft_text());
        }
    }

    pub(crate) fn renew_in(&self, script: &mut ScriptInvocation<'_>) {
        script.arg(&self.key).arg(u8::from(self.parallel)).arg(self.pots.len());
        for pot in &self.pots {
            script.arg(&pot.name).arg(pot.start());
        }
    }
}

/// What a call really used, or several of one scope together.
#[derive(Debug)]
pub(crate) struct Settlement {
    pub(crate) id: String,
    tokens: u64,
    money: i64,
    refused: bool,
    /// What counts for the rates if the store does not know the hold.
    unknown_requests: u64,
    unknown_tokens: u64,
    apart: Apart,
    pub(crate) parts: Vec<Part>,
}

impl Settlement {
    /// Of a hold that the store knows, as far as we know.
    pub(crate) fn of_hold(
        id: String,
        parts: Vec<Part>,
        demand: Demand,
        (spent, apart): (Spent, Apart),
    ) -> Settlement {
        let (tokens, money) = (spent.tokens, spent.money.nanos());
        let unknown_tokens = tokens.saturating_sub(demand.tokens);
        Settlement {
            id,
            tokens,
            money,
            refused: spent.refused,
            unknown_requests: 0,
            unknown_tokens,
            apart,
            parts,
        }
    }

    /// Of a hold that the store may have made although nobody heard of it.
    pub(crate) fn never_mind(id: String) -> Settlement {
        let (tokens, money, unknown_requests, unknown_tokens) = (0, 0, 0, 0);
        Settlement {
            id,
            tokens,
            money,
            refused: true,
            unknown_requests,
            unknown_tokens,
            apart: Apart::default(),
            parts: Vec::new(),
        }
    }

    /// Of all that happened in one scope while the store was away.
    pub(crate) fn of_scope(id: String, part: Part, money: i64, (requests, tokens): (u64, u64)) -> Settlement {
        let parts = vec![part];
        let (unknown_requests, unknown_tokens) = (requests, tokens);
        let (tokens, refused, apart) = (0, false, Apart::default());
        Settlement { id, tokens, money, refused, unknown_requests, unknown_tokens, apart, parts }
    }

    /// Takes its money out, and names the purses that it would have gone to.
    pub(crate) fn forget_money(&mut self, pots: &mut Vec<(String, String)>) {
        if std::mem::take(&mut self.money) != 0 {
            self.parts.iter().for_each(|part| part.name_pots(pots));
        }
    }

    pub(crate) fn money(&self) -> Money {
        Money::from_nanos(self.money)
    }

    pub(crate) fn write(&self, script: &mut ScriptInvocation<'_>) {
        script.arg(&self.id).arg(exact(self.tokens)).arg(self.money);
        script.arg(u8::from(self.refused));
        script.arg(exact(self.unknown_requests)).arg(exact(self.unknown_tokens));
        script.arg(u8::from(self.apart.refused)).arg(self.apart.scopes.len());
        for scope in &self.apart.scopes {
            script.arg(scope);
        }
        script.arg(self.parts.len());
        for part in &self.parts {
            part.settle_in(script, |_| {});
        }
    }
}

/// What a scope has spent changes though no call spent it.
pub(crate) struct Adjustment {
    /// The scope in key names.
    pub(crate) key: String,
    /// Nano-dollars.
    pub(crate) money: i64,
    /// Windows for which the store is told otherwise.
    pub(crate) known: Vec<String>,
}

impl Adjustment {
    pub(crate) fn write(&self, script: &mut ScriptInvocation<'_>) {
        script.arg(&self.key).arg(self.money).arg(self.known.len());
        for window in &self.known {
            script.arg(window);
        }
    }
}

/// What calls of a block have used and given back since the store was told last.
pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) block: Arc<Block>,
    /// Nothing follows: the store holds nothing for it any more.
    pub(crate) over: bool,
    pub(crate) all: Change,
    /// The claims, with what changes for each.
    pub(crate) parts: Vec<(Part, Change)>,
}

impl Account {
    /// Takes its money out, and names the purses that it would have gone to.
    pub(crate) fn forget_money(&mut self, pots: &mut Vec<(String, String)>) {
        for (part, change) in &mut self.parts {
            if std::mem::take(&mut change.spent) != 0 {
                part.name_pots(pots);
            }
        }
    }

    pub(crate) fn write(&self, script: &mut ScriptInvocation<'_>) {
        script.arg(&self.id).arg(u8::from(self.over)).arg(self.all.places).arg(self.all.freed);
        script.arg(self.parts.len());
        for (part, change) in &self.parts {
            part.settle_in(script, |script| {
                let [requests, tokens, beyond] = [change.requests, change.tokens, change.beyond]
                    .map(|count| exact(count.max(0).unsigned_abs()));
                script.arg(requests).arg(tokens).arg(beyond).arg(change.spent);
            });
        }
    }
}

/// No more than a double tells exactly: nine million dollars in nano-dollars, or any number of tokens.
pub(crate) fn exact(number: u64) -> u64 {
    number.min(1 << 53)
}

/// A limit, or nothing.
fn text(limit: Option<impl ToString>) -> String {
    limit.map(|limit| limit.to_string()).unwrap_or_default()
}

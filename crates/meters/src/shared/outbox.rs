//! What the shared store has still to be told.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tollway_model::Money;

use super::message::{Account, Adjustment, Part, Settlement};
use crate::Scope;
use crate::block::Block;

/// So many settlements are kept one by one. Beyond, their money is summed by scope, and their holds end with their lease.
const MOST: usize = 100_000;

/// Settlements that wait, and sums of what happened without the store: these grow with the scopes, not with the calls.
#[derive(Default)]
pub(crate) struct Outbox {
    settlements: VecDeque<Settlement>,
    sums: HashMap<Scope, Sum>,
    /// Scopes with rates in which calls were admitted without the store, since when on the steady clock.
    alone: HashMap<Scope, (Part, u64)>,
    /// Blocks that have something to tell.
    blocks: VecDeque<Arc<Block>>,
    adjustments: Vec<Adjustment>,
}

/// Money that was spent in one scope.
struct Sum {
    part: Part,
    /// Per pot of the part.
    money: Vec<i64>,
}

/// Settlements on their way.
#[derive(Default)]
pub(crate) struct Batch {
    /// Which batch of this process: the store applies each once.
    pub(crate) number: u64,
    pub(crate) settlements: Vec<Settlement>,
    pub(crate) accounts: Vec<Account>,
    pub(crate) adjustments: Vec<Adjustment>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.settlements.is_empty() && self.accounts.is_empty() && self.adjustments.is_empty()
    }

    /// A claim of a settlement, as scripts count them: accounts follow the settlements.
    pub(crate) fn part(&self, settlement: usize, part: usize) -> Option<&Part> {
        match settlement.checked_sub(self.settlements.len()) {
            Some(account) => self.accounts.get(account)?.parts.get(part).map(|(part, _)| part),
            None => self.settlements.get(settlement)?.parts.get(part),
        }
    }

    /// Takes the money out, and names the purses that it would have gone to.
    pub(crate) fn forget_money(&mut self, pots: &mut Vec<(String, String)>) {
        self.settlements.iter_mut().for_each(|settlement| settlement.forget_money(pots));
        self.accounts.iter_mut().for_each(|account| account.forget_money(pots));
        // The ledger knew of these before anybody.
        self.adjustments.clear();
    }
}

impl Outbox {
    pub(crate) fn settled(&mut self, settlement: Settlement) {
        if self.settlements.len() < MOST {
            self.settlements.push_back(settlement);
        } else if !settlement.parts.is_empty() {
            let money = settlement.money();
            self.spent_alone(settlement.parts, money);
        }
    }

    /// A call of these scopes was admitted without the store.
    pub(crate) fn admitted_alone(&mut self, parts: &[Part], steady: u64) {
        for part in parts.iter().filter(|part| part.is_rated()) {
            self.alone.entry(part.scope.clone()).or_insert_with(|| (part.clone(), steady));
        }
    }

    /// A call of which the store knows nothing has spent this.
    pub(crate) fn spent_alone(&mut self, parts: Vec<Part>, money: Money) {
        for part in parts {
            if part.pots.is_empty() {
                continue;
            }
            let fresh = || Sum { part: part.with(Vec::new()), money: Vec::new() };
            let sum = self.sums.entry(part.scope.clone()).or_insert_with(fresh);
            for pot in part.pots {
                let same = |other: &super::Pot| other.name == pot.name && other.start == pot.start;
                let index = sum.part.pots.iter().position(same).unwrap_or_else(|| {
                    sum.part.pots.push(pot);
                    sum.money.push(0);
                    sum.money.len() - 1
                });
                if let Some(total) = sum.money.get_mut(index) {
                    *total = total.saturating_add(money.nanos());
                }
            }
        }
    }

    pub(crate) fn adjusted(&mut self, adjustment: Adjustment) {
        self.adjustments.push(adjustment);
    }

    pub(crate) fn block_changed(&mut self, block: Arc<Block>) {
        self.blocks.push_back(block);
    }

    pub(crate) fn has_accounts(&self) -> bool {
        !self.blocks.is_empty()
    }

    /// Some of the blocks that have something to tell.
    pub(crate) fn changed(&mut self, most: usize) -> Vec<Arc<Block>> {
        let count = self.blocks.len().min(most);
        self.blocks.drain(..count).collect()
    }

    /// Takes the money out of everything that waits; the purses it would have gone to, by scope and window.
    pub(crate) fn forget_money(&mut self) -> Vec<(String, String)> {
        self.adjustments.clear();
        let mut pots = Vec::new();
        for (_, sum) in self.sums.drain() {
            sum.part.name_pots(&mut pots);
        }
        self.settlements.iter_mut().for_each(|settlement| settlement.forget_money(&mut pots));
        pots
    }

    /// Moves what waits into an empty batch.
    pub(crate) fn fill(
        &mut self,
        batch: &mut Batch,
        most: usize,
        id: impl Fn(u64) -> String,
        next: &AtomicU64,
    ) {
        let id = || id(next.fetch_add(1, Ordering::Relaxed));
        // A few dozen scopes at a time; each becomes at most a handful of settlements.
        let scopes: Vec<Scope> = self.sums.keys().take(most).cloned().collect();
        for sum in scopes.iter().filter_map(|scope| self.sums.remove(scope)) {
            for (pot, money) in sum.part.pots.iter().zip(&sum.money) {
                let part = sum.part.with(vec![pot.clone()]);
                batch.settlements.push(Settlement::of_scope(id(), part, *money, (0, 0)));
            }
        }
        let scopes: Vec<Scope> = self.alone.keys().take(most).cloned().collect();
        for (part, since) in scopes.iter().filter_map(|scope| self.alone.remove(scope)) {
            let Some(entry) = &part.entry else { continue };
            let counted = entry.state().rate.since(since);
            let part = part.with(Vec::new());
            batch.settlements.push(Settlement::of_scope(id(), part, 0, counted));
        }
        batch.adjustments.append(&mut self.adjustments);
        let room = self.settlements.len().min(most.saturating_sub(batch.settlements.len()));
        batch.settlements.extend(self.settlements.drain(..room));
    }
}

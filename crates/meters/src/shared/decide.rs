//! One decision of the store: asked for, learned from, and seeded where the store has never heard of a window.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use redis::ScriptInvocation;
use tollway_model::Money;

use super::blocks::Grant;
use super::message::{Part, Pot, Settlement, exact};
use super::{ROUNDS, Shared, Way};
use crate::block::Block;
use crate::hold::{Hold, Taken};
use crate::meters::Inner;
use crate::pool::{Pool, Wish};
use crate::registry::Entry;
use crate::state::{Left, Moment};
use crate::{Away, Demand, Denied, LimitKind, Refusal};

impl Shared {
    /// One question to the store: for one call, and with a `wish` for more like it.
    pub(super) async fn decide(
        &self,
        inner: &Arc<Inner>,
        claims: &[crate::Claim],
        demand: Demand,
        wish: Option<(&Arc<Pool>, Wish)>,
    ) -> Result<Result<Grant, Refusal>, Away> {
        for _ in 0..ROUNDS {
            if !self.redis.is_up() {
                return Err(Away);
            }
            let now = inner.now();
            let mut taken = inner.taken(claims, demand, now);
            let parts = parts(&taken, now);
            let pending =
                Pending { shared: self, number: self.next.fetch_add(1, Ordering::Relaxed), armed: true };
            let mut script = self.scripts.reserve.key(&self.space);
            script.arg(self.id(pending.number)).arg(self.lease).arg(exact(demand.tokens));
            script.arg(exact(demand.money.nanos().unsigned_abs())).arg(u8::from(demand.free));
            self.write_wish(wish.map(|(_, wish)| wish), &mut script);
            script.arg(parts.len());
            for part in &parts {
                part.demand_on(&mut script);
            }
            let answer: Vec<i64> = self.invoke(Way::Link, None, &script).await?;
            let mut numbers = answer.into_iter();
            match numbers.next() {
                Some(1) => {
                    let mut next =
                        || numbers.next().and_then(|number| u64::try_from(number).ok()).unwrap_or(0);
                    let (more, places, valid) = (next(), next(), next());
                    let Some((pool, wish)) = wish.filter(|_| more > 0) else {
                        learn(&mut taken, &parts, (1, 1), &mut numbers);
                        let lease = Some(self.register(pending.disarm(), parts, demand, true));
                        return Ok(Ok(Grant::Call(Hold::new(Arc::clone(inner), taken, demand, lease))));
                    };
                    let size = wish.size(demand, more, places);
                    for taken in &mut taken {
                        let (tokens, money) = (size.tokens, Money::from_nanos(size.money));
                        taken.took.demand = Demand { tokens, money, free: demand.free };
                    }
                    learn(&mut taken, &parts, (size.requests, size.places), &mut numbers);
                    let (number, pool) = (pending.disarm(), Arc::downgrade(pool));
                    let block = Arc::new(Block::new(number, (taken, parts), size, (now, valid), pool));
                    self.opened(&block);
                    return Ok(Ok(Grant::Block(block)));
                }
                Some(0) => {
                    pending.disarm();
                    return denied(&parts, numbers.as_slice(), now)
                        .map(|denied| Err(Refusal::Denied(denied)))
                        .ok_or(Away);
                }
                Some(2) => {
                    pending.disarm();
                    if let Err(refusal) = self.seed(inner, &parts, numbers.as_slice()).await? {
                        return Ok(Err(refusal));
                    }
                }
                _ => return Err(Away),
            }
        }
        Err(Away)
    }

    /// Finds out what was spent in the windows the store does not know, and tells it.
    pub(super) async fn seed(
        &self,
        inner: &Inner,
        parts: &[Part],
        missing: &[i64],
    ) -> Result<Result<(), Refusal>, Away> {
        for pair in missing.chunks_exact(2) {
            let [part, pot] = pair else { continue };
            let index = |number: &i64| usize::try_from(*number).unwrap_or(usize::MAX);
            let Some(part) = parts.get(index(part)) else { continue };
            let (Some(pot), Some(entry)) = (part.pots.get(index(pot)), &part.entry) else { continue };
            // Those who come meanwhile wait here, and find the answer in the store.
            let mut failed_at = entry.seeding.lock().await;
            let script = |spent: String, soft: String| {
                let mut script = self.scripts.seed.key(&self.space);
                script.arg(&part.key).arg(&pot.name).arg(pot.start()).arg(spent).arg(soft);
                script
            };
            let state: i64 = self.invoke(Way::Link, None, &script(String::new(), String::new())).await?;
            if state == 1 {
                continue;
            }
            // What the ledger knows of and the store was not told yet would be counted twice.
            self.close_all(inner, None);
            self.send(inner, Way::Link).await?;
            let from = (pot.start != i64::MIN).then_some(pot.start);
            let answer = if inner.has_just_failed(*failed_at) {
                Err("the question has just failed".to_owned())
            } else {
                inner.ask(&part.scope, from).await
            };
            let spent = match (answer, known(entry, pot)) {
                (Ok(spent), _) => {
                    *failed_at = None;
                    spent
                }
                // A purse that is only in doubt is better than nothing, too.
                (Err(_), _) if state == 2 => Money::ZERO,
                // The store has lost it and the ledger is away: what this process knew last is better than nothing.
                (Err(_), Some(known)) => known,
                (Err(why), None) => {
                    if !inner.has_just_failed(*failed_at) {
                        *failed_at = Some(inner.clock.steady());
                    }
                    return Ok(Err(Refusal::Unavailable { scope: part.scope.clone(), why }));
                }
            };
            self.invoke::<i64>(Way::Link, None, &script(spent.nanos().to_string(), pot.soft_text())).await?;
        }
        Ok(Ok(()))
    }

    fn write_wish(&self, wish: Option<Wish>, script: &mut ScriptInvocation<'_>) {
        let Some(wish) = wish else {
            script.arg(0);
            return;
        };
        let (part, part_of_places) = self.parts_of_rest();
        script.arg(wish.more).arg(exact(wish.tokens)).arg(exact(wish.money.unsigned_abs()));
        script.arg(part).arg(part_of_places);
    }
}

/// A decision that is asked for. Nobody knows whether the store has made it until it says so: given up before that, what
/// it may have taken is given back.
struct Pending<'a> {
    shared: &'a Shared,
    number: u64,
    armed: bool,
}

impl Pending<'_> {
    fn disarm(mut self) -> u64 {
        self.armed = false;
        self.number
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if self.armed {
            let id = self.shared.id(self.number);
            self.shared.outbox().settled(Settlement::never_mind(id));
            self.shared.wake.notify_one();
        }
    }
}

/// The claims that limit something, with their purses brought to the present.
pub(super) fn parts(taken: &[Taken], now: Moment) -> Vec<Part> {
    let part = |taken: &Taken| {
        let entry = taken.entry.as_ref()?;
        let mut state = entry.state();
        state.roll(&taken.limits, now.wall);
        Some(Part::new(taken, state.pots_of(&taken.limits)))
    };
    taken.iter().filter_map(part).collect()
}

/// What the store says after granting, kept for headers and for the time when it is away.
/// `count`: requests and places that were taken.
fn learn(taken: &mut [Taken], parts: &[Part], count: (u64, u64), numbers: &mut impl Iterator<Item = i64>) {
    let mut parts = parts.iter();
    for taken in taken.iter_mut() {
        let Some(entry) = &taken.entry else { continue };
        let Some(part) = parts.next() else { return };
        let mut next = || numbers.next().unwrap_or(0);
        let mut sum = || u64::try_from(next()).unwrap_or(0);
        let (requests, tokens, in_flight) = (sum(), sum(), sum());
        let mut state = entry.state();
        let mut tightest: Option<(Money, Money)> = None;
        for pot in &part.pots {
            let used = next();
            state.learn(pot, used);
            let Some(max) = pot.max else { continue };
            let budget = (Money::from_nanos(max), Money::from_nanos(used));
            if tightest.is_none_or(|(max, used)| budget.0 - budget.1 < max - used) {
                tightest = Some(budget);
            }
        }
        state.take_many(&mut taken.took, count.0, count.1);
        taken.left = Left { requests, tokens, in_flight, budget: tightest };
    }
}

/// Reads `claim, limit, budget, max, used, wait`.
fn denied(parts: &[Part], numbers: &[i64], now: Moment) -> Option<Denied> {
    let [claim, limit, budget, max, used, wait] = numbers else { return None };
    let part = parts.get(usize::try_from(*claim).ok()?)?;
    let limit = match limit {
        0 => LimitKind::Requests,
        1 => LimitKind::Tokens,
        2 => LimitKind::Parallel,
        _ => LimitKind::Budget,
    };
    let resets_at = if limit == LimitKind::Budget {
        part.pots.get(usize::try_from(*budget).ok()?)?.resets_at()
    } else {
        (*wait >= 0).then(|| now.wall.saturating_add(*wait))
    };
    Some(Denied { scope: part.scope.clone(), limit, max: *max, used: *used, resets_at })
}

/// What this process knows to be spent and held in a window.
fn known(entry: &Entry, pot: &Pot) -> Option<Money> {
    let state = entry.state();
    let purse = state.purses.iter().find(|purse| purse.window == pot.window && purse.start == pot.start)?;
    purse.known.map(|_| Money::from_nanos(purse.used()))
}

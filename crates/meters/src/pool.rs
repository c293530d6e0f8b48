//! Which calls are of the same claims, how often they come, and the block they draw from.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::block::{Block, Draw, Dry, Size};
use crate::state::Moment;
use crate::{Claim, Demand};

const SHARDS: u64 = 256;
/// Most pools of a shard. Calls of others are decided one by one.
const WAYS: usize = 16;
/// A pool without calls for so long makes room for another, milliseconds.
const IDLE: u64 = 1000;
/// Calls are counted in stretches of this length, milliseconds: half of what a block lasts.
const STRETCH: u64 = 50;
/// Fewer calls in a stretch are decided one by one.
const FEWEST: u64 = 3;
/// Most calls of one block.
const MOST: u64 = 10_000;
/// So long before its end a block is followed by the next, milliseconds: time for the store to answer.
const EARLY: u64 = 32;

/// All pools of a process: found by the addresses of claims, which stay as long as their limits do.
pub(crate) struct Pools {
    shards: Box<[Mutex<Vec<Arc<Pool>>>]>,
}

/// Calls of the same claims. Changed limits are other claims.
pub(crate) struct Pool {
    hash: u64,
    pub(crate) free: bool,
    /// Kept, so that no other claims can have their addresses.
    pub(crate) claims: Box<[Claim]>,
    /// The last answer of the store gave no block.
    pub(crate) scarce: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    arrivals: Arrivals,
    block: Option<Arc<Block>>,
    /// Asked for before the other was used up.
    next: Option<Arc<Block>>,
    /// The store is being asked.
    asking: Option<Arc<Asking>>,
}

/// How many calls come, and how large they are.
#[derive(Debug, Default)]
struct Arrivals {
    since: u64,
    now: u64,
    before: u64,
    /// Sliding means.
    tokens: u64,
    money: i64,
}

/// What is wished for beside one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) more: u64,
    pub(crate) tokens: u64,
    pub(crate) money: i64,
}

/// A question to the store that others wait for.
#[derive(Debug, Default)]
pub(crate) struct Asking {
    done: Notify,
    outcome: AtomicU8,
}

const ANSWERED: u8 = 1;
const AWAY: u8 = 2;

/// What a call does.
pub(crate) enum Step {
    /// It has drawn. With a question, the next block is to be asked for in the background.
    Drawn(Draw, Option<Question>),
    /// It is decided by itself.
    Alone,
    /// It asks for a block.
    Ask(Question),
    /// Another call asks for a block already.
    Wait(Arc<Asking>),
}

/// A question that must be answered: given up, those who wait for it go on.
pub(crate) struct Question {
    pub(crate) pool: Arc<Pool>,
    pub(crate) wish: Wish,
    asking: Arc<Asking>,
}

impl Pools {
    pub(crate) fn new() -> Pools {
        Pools { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    /// The pool of these claims; `None` where too many others are busy.
    pub(crate) fn get(&self, claims: &[Claim], free: bool, now: Moment) -> Option<Arc<Pool>> {
        let hash = hash(claims, free);
        let mut shard = self
            .shards
            .get(usize::try_from(hash % SHARDS).ok()?)?
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = shard.iter().find(|pool| pool.hash == hash && pool.is_of(claims, free)) {
            return Some(Arc::clone(pool));
        }
        let fresh = || {
            let (scarce, state) = (AtomicBool::new(true), Mutex::default());
            Arc::new(Pool { hash, free, claims: claims.into(), scarce, state })
        };
        if shard.len() < WAYS {
            let pool = fresh();
            shard.push(Arc::clone(&pool));
            return Some(pool);
        }
        let idle = shard.iter_mut().find(|pool| pool.is_idle(now))?;
        *idle = fresh();
        Some(Arc::clone(idle))
    }
}

/// By address: cheap, and wrong only in telling limits apart that are the same.
fn hash(claims: &[Claim], free: bool) -> u64 {
    let mix =
        |hash: u64, word: usize| (hash.rotate_left(5) ^ word as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let hash = claims.iter().fold(u64::from(free), |hash, claim| {
        let (id, limits) = (Arc::as_ptr(&claim.scope.id).cast::<u8>() as usize, Arc::as_ptr(&claim.limits));
        mix(mix(hash, id), limits as usize)
    });
    hash ^ (hash >> 32)
}

impl Pool {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_of(&self, claims: &[Claim], free: bool) -> bool {
        let same = |(one, two): (&Claim, &Claim)| {
            Arc::ptr_eq(&one.limits, &two.limits)
                && Arc::ptr_eq(&one.scope.id, &two.scope.id)
                && one.scope.kind == two.scope.kind
        };
        self.free == free && self.claims.len() == claims.len() && self.claims.iter().zip(claims).all(same)
    }

    fn is_idle(&self, now: Moment) -> bool {
        let state = self.state();
        let valid = |block: &Option<Arc<Block>>| block.as_ref().is_some_and(|block| block.is_valid(now));
        let is_used = state.asking.is_some() || valid(&state.block) || valid(&state.next);
        !is_used && state.arrivals.since.saturating_add(IDLE) < now.steady
    }

    /// What a call does that comes now, or again after it has waited. Blocks that are over are put into `over`: they are
    /// to be closed.
    pub(crate) fn step(
        self: &Arc<Pool>,
        demand: Demand,
        now: Moment,
        is_new: bool,
        over: &mut Vec<Arc<Block>>,
    ) -> Step {
        let mut state = self.state();
        if is_new {
            state.arrivals.count(demand, now.steady);
        }
        while let Some(block) = &state.block {
            match block.draw(demand, now, EARLY) {
                Ok((draw, is_low)) => {
                    let is_last = is_low && state.next.is_none() && state.asking.is_none();
                    let question = if is_last { self.question(&mut state) } else { None };
                    return Step::Drawn(draw, question);
                }
                Err(Dry::Unfit) => return Step::Alone,
                Err(Dry::Over) => {
                    over.extend(state.block.take());
                    state.block = state.next.take();
                }
            }
        }
        if let Some(asking) = &state.asking {
            // Where there is little left everybody asks for itself.
            let alone = self.scarce.load(Ordering::Relaxed);
            return if alone { Step::Alone } else { Step::Wait(Arc::clone(asking)) };
        }
        self.question(&mut state).map_or(Step::Alone, Step::Ask)
    }

    /// Nobody draws from this block any more.
    pub(crate) fn closed(&self, block: &Arc<Block>) {
        let mut state = self.state();
        let State { block: first, next, .. } = &mut *state;
        for place in [next, first] {
            if place.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, block)) {
                *place = None;
            }
        }
        if state.block.is_none() {
            state.block = state.next.take();
        }
    }

    /// A question for a block, if enough calls come.
    fn question(self: &Arc<Pool>, state: &mut State) -> Option<Question> {
        let wish = state.arrivals.wish()?;
        let asking = Arc::<Asking>::default();
        state.asking = Some(Arc::clone(&asking));
        Some(Question { pool: Arc::clone(self), wish, asking })
    }
}

impl Arrivals {
    fn count(&mut self, demand: Demand, now: u64) {
        let passed = now.saturating_sub(self.since);
        if passed >= STRETCH {
            self.before = if passed < 2 * STRETCH { self.now } else { 0 };
            self.since = if passed < 2 * STRETCH { self.since + STRETCH } else { now };
            self.now = 0;
        }
        self.now += 1;
        let money = demand.money.nanos();
        if self.now == 1 && self.before == 0 {
            (self.tokens, self.money) = (demand.tokens, money);
        }
        self.tokens = self.tokens.saturating_mul(7).saturating_add(demand.tokens) / 8;
        self.money = self.money.saturating_mul(7).saturating_add(money) / 8;
    }

    /// As many calls as come while a block lasts.
    fn wish(&self) -> Option<Wish> {
        let often = self.now.max(self.before);
        if often < FEWEST {
            return None;
        }
        // A little more than the mean, so that requests are what runs out.
        let (tokens, money) = (self.tokens + self.tokens / 8 + 1, self.money + self.money / 8 + 1);
        Some(Wish { more: (2 * often - 1).min(MOST), tokens, money: if self.money == 0 { 0 } else { money } })
    }
}

impl Wish {
    /// A block for one call that takes `demand` and so many more.
    pub(crate) fn size(&self, demand: Demand, more: u64, places: u64) -> Size {
        let most = i64::try_from(more).unwrap_or(i64::MAX);
        Size {
            requests: more.saturating_add(1),
            tokens: demand.tokens.saturating_add(self.tokens.saturating_mul(more)),
            money: demand.money.nanos().saturating_add(self.money.saturating_mul(most)),
            places,
        }
    }
}

impl Question {
    /// The store has granted a block.
    pub(crate) fn granted(self, block: Arc<Block>) -> Option<Arc<Block>> {
        self.pool.scarce.store(false, Ordering::Relaxed);
        let over = {
            let mut state = self.pool.state();
            if state.block.is_none() {
                state.block = Some(block);
                None
            } else {
                state.next.replace(block)
            }
        };
        self.asking.outcome.store(ANSWERED, Ordering::Release);
        over
    }

    /// The store has decided for one call only.
    pub(crate) fn denied(self) {
        self.pool.scarce.store(true, Ordering::Relaxed);
        self.asking.outcome.store(ANSWERED, Ordering::Release);
    }

    /// The store does not answer.
    pub(crate) fn away(self) {
        self.pool.scarce.store(true, Ordering::Relaxed);
        self.asking.outcome.store(AWAY, Ordering::Release);
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.pool.state().asking = None;
        self.asking.done.notify_waiters();
    }
}

impl Asking {
    /// Waits until the question is answered or given up. False: the store is away.
    pub(crate) async fn wait(&self, pool: &Pool) -> bool {
        let mut done = std::pin::pin!(self.done.notified());
        done.as_mut().enable();
        let is_open =
            pool.state().asking.as_ref().is_some_and(|asking| std::ptr::eq(&raw const **asking, self));
        if is_open {
            done.await;
        }
        self.outcome.load(Ordering::Acquire) != AWAY
    }
}

#[cfg(test)]
mod tests;

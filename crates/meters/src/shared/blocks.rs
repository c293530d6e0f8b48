//! Blocks: how they are asked for, closed, and told of.
//!
//! Calls of the same claims that come often draw from a block that the store has granted for several of them. Where little
//! is left of any claim the store grants none, and every call is decided by itself.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::message::{Account, Part};
use super::{Shared, TRIES, Way};
use crate::block::Block;
use crate::hold::Hold;
use crate::meters::Inner;
use crate::pool::{Asking, Pool, Question, Step, Wish};
use crate::state::Moment;
use crate::{Away, Claim, Demand, Refusal, Scope};

/// A block is at most this part of what is left of a limit, or this part of a process's share of it.
const PART: u64 = 64;
const PART_OF_SHARE: u64 = 16;
/// The same for places, which come back as soon as calls end.
const PART_OF_PLACES: u64 = 8;
const PART_OF_SHARE_OF_PLACES: u64 = 2;

/// The blocks of this process.
#[derive(Default)]
pub(super) struct Blocks {
    /// Those that the store holds something for.
    alive: HashMap<u64, Arc<Block>>,
    /// Those of them that calls draw from.
    open: HashMap<u64, Arc<Block>>,
}

/// What the store has granted.
pub(super) enum Grant {
    Call(Hold),
    Block(Arc<Block>),
}

/// What a call has still to do that could not draw.
pub(crate) enum Undecided {
    Alone,
    Ask(Question),
    Wait(Arc<Asking>, Arc<Pool>),
}

impl Shared {
    fn blocks(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn has_blocks(&self) -> bool {
        let is_open = !self.blocks().open.is_empty();
        is_open || self.outbox().has_accounts()
    }

    /// Those that the store holds something for.
    pub(super) fn blocks_alive(&self) -> Vec<Arc<Block>> {
        self.blocks().alive.values().cloned().collect()
    }

    /// Asks the store nothing: a call is admitted by what it has granted before, or learns what to do.
    pub(crate) fn draw(
        &self,
        inner: &Arc<Inner>,
        claims: &[Claim],
        demand: Demand,
    ) -> Result<Hold, Undecided> {
        if !self.redis.is_up() {
            return Err(Undecided::Alone);
        }
        let now = inner.now();
        if now.steady < self.calm_until.load(Ordering::Relaxed) {
            return Err(Undecided::Alone);
        }
        let pool = self.pools.get(claims, demand.free, now).ok_or(Undecided::Alone)?;
        self.draw_of(inner, pool, demand, (now, true))
    }

    fn draw_of(
        &self,
        inner: &Arc<Inner>,
        pool: Arc<Pool>,
        demand: Demand,
        (now, is_new): (Moment, bool),
    ) -> Result<Hold, Undecided> {
        let mut over = Vec::new();
        let step = pool.step(demand, now, is_new, &mut over);
        over.iter().for_each(|block| self.close(inner, block));
        match step {
            Step::Drawn(draw, question) => {
                if let Some(question) = question {
                    ask_ahead(inner, question);
                }
                Ok(Hold::drawn(Arc::clone(inner), draw, demand))
            }
            Step::Alone => Err(Undecided::Alone),
            Step::Ask(question) => Err(Undecided::Ask(question)),
            Step::Wait(asking) => Err(Undecided::Wait(asking, pool)),
        }
    }

    /// The decision of the shared store; [`Away`] when it does not give one in time.
    ///
    /// As long as the store is not given up it is asked again: others go by what it says, and what this process decides
    /// alone meanwhile would come on top.
    pub(crate) async fn reserve(
        &self,
        inner: &Arc<Inner>,
        claims: &[Claim],
        demand: Demand,
        mut turn: Undecided,
    ) -> Result<Result<Hold, Refusal>, Away> {
        for _ in 0..TRIES {
            let Undecided::Wait(asking, pool) = turn else { break };
            if !asking.wait(&pool).await {
                return Err(Away);
            }
            turn = match self.draw_of(inner, pool, demand, (inner.now(), false)) {
                Ok(hold) => return Ok(Ok(hold)),
                Err(turn) => turn,
            };
        }
        let question = if let Undecided::Ask(question) = turn { Some(question) } else { None };
        let answer = self.ask(inner, claims, demand, question).await?;
        if let Err(Refusal::Denied(denied)) = &answer
            && self.recall(inner, &denied.scope)
            && self.send(inner, Way::Link).await.is_ok()
            && let Ok(again) = self.ask(inner, claims, demand, None).await
        {
            return Ok(again);
        }
        Ok(answer)
    }

    /// Asks for one call, and for those that will come after it when there is a `question`.
    async fn ask(
        &self,
        inner: &Arc<Inner>,
        claims: &[Claim],
        demand: Demand,
        question: Option<Question>,
    ) -> Result<Result<Hold, Refusal>, Away> {
        let wish = question.as_ref().map(|question| (&question.pool, question.wish));
        let mut answer = self.decide(inner, claims, demand, wish).await;
        for _ in 1..TRIES {
            if !matches!(answer, Err(Away)) || !self.redis.is_up() {
                break;
            }
            answer = self.decide(inner, claims, demand, wish).await;
        }
        match (answer, question) {
            (Ok(Ok(Grant::Block(block))), question) => {
                let draw = block.draw_first(demand);
                if let Some(block) = question.and_then(|question| question.granted(block)) {
                    self.close(inner, &block);
                }
                Ok(Ok(Hold::drawn(Arc::clone(inner), draw, demand)))
            }
            (Ok(other), question) => {
                question.into_iter().for_each(Question::denied);
                Ok(other.map(|grant| match grant {
                    Grant::Call(hold) => hold,
                    Grant::Block(block) => Hold::drawn(Arc::clone(inner), block.draw_first(demand), demand),
                }))
            }
            (Err(Away), question) => {
                question.into_iter().for_each(Question::away);
                Err(Away)
            }
        }
    }

    /// A block is there for calls to draw from.
    pub(super) fn opened(&self, block: &Arc<Block>) {
        let mut blocks = self.blocks();
        blocks.alive.insert(block.number, Arc::clone(block));
        blocks.open.insert(block.number, Arc::clone(block));
        drop(blocks);
        self.soon.notify_one();
    }

    pub(super) fn close(&self, inner: &Inner, block: &Arc<Block>) {
        if block.close(inner) {
            self.blocks().open.remove(&block.number);
            if let Some(pool) = block.pool.upgrade() {
                pool.closed(block);
            }
            self.has_news(block);
        }
    }

    /// Closes all blocks, or only those that nobody may draw from any more.
    pub(crate) fn close_all(&self, inner: &Inner, only_over: Option<Moment>) {
        let is_over = |block: &&Arc<Block>| only_over.is_none_or(|now| !block.is_valid(now));
        let over: Vec<Arc<Block>> = {
            let blocks = self.blocks();
            if blocks.open.is_empty() {
                return;
            }
            blocks.open.values().filter(is_over).cloned().collect()
        };
        over.iter().for_each(|block| self.close(inner, block));
    }

    /// A scope has refused a call: what blocks of this process hold of it and nobody has drawn goes back. False: there was
    /// nothing.
    fn recall(&self, inner: &Inner, scope: &Scope) -> bool {
        let holds =
            |block: &&Arc<Block>| block.claims.iter().any(|taken| taken.scope == *scope) && block.has_rest();
        let found: Vec<Arc<Block>> = self.blocks().open.values().filter(holds).cloned().collect();
        found.iter().for_each(|block| self.close(inner, block));
        !found.is_empty()
    }

    /// The store is to be told of this block: at once where little is left, or a little later of all of it together.
    pub(crate) fn has_news(&self, block: &Arc<Block>) {
        self.outbox().block_changed(Arc::clone(block));
        if block.pool.upgrade().is_none_or(|pool| pool.scarce.load(Ordering::Relaxed)) {
            self.wake.notify_one();
        } else {
            self.soon.notify_one();
        }
    }

    /// What the store must know of a block now; `None`: nothing.
    pub(super) fn account(&self, inner: &Inner, block: Arc<Block>) -> Account {
        let (report, over) = block.report();
        if over {
            self.blocks().alive.remove(&block.number);
        }
        let mut parts = Vec::with_capacity(block.parts.len());
        for (index, taken) in block.claims.iter().enumerate() {
            let change = report.of(index);
            let late = if taken.entry.is_none() && change.spent != 0 {
                inner.registry.find(&taken.scope)
            } else {
                None
            };
            let Some(entry) = taken.entry.as_ref().or(late.as_ref()) else { continue };
            let pots = if change.spent == 0 {
                Vec::new()
            } else {
                entry.state().pots(&taken.took, late.is_some(), &taken.limits)
            };
            parts.push((Part::new(taken, pots), change));
        }
        Account { id: self.id(block.number), over, all: report.all, parts, block }
    }

    /// How small a part of what is left a block may be.
    pub(super) fn parts_of_rest(&self) -> (u64, u64) {
        let processes = self.processes();
        (PART.max(PART_OF_SHARE * processes), PART_OF_PLACES.max(PART_OF_SHARE_OF_PLACES * processes))
    }
}

/// Asks for the block after this one, before it is used up.
fn ask_ahead(inner: &Arc<Inner>, question: Question) {
    let inner = Arc::clone(inner);
    tokio::spawn(async move {
        let Some(shared) = &inner.shared else { return };
        let Wish { tokens, money, .. } = question.wish;
        let (pool, money) = (Arc::clone(&question.pool), tollway_model::Money::from_nanos(money));
        let demand = Demand { tokens, money, free: pool.free };
        match shared.decide(&inner, &pool.claims, demand, Some((&pool, question.wish))).await {
            Ok(Ok(Grant::Block(block))) => {
                if let Some(block) = question.granted(block) {
                    shared.close(&inner, &block);
                }
            }
            Ok(Ok(Grant::Call(hold))) => {
                question.denied();
                drop(hold);
            }
            Ok(Err(_)) => question.denied(),
            // Those who wait ask again themselves.
            Err(Away) => {}
        }
    });
}

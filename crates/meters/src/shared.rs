//! Meters of several processes that count together in Redis or Valkey.
//!
//! Every decision is one script there, for one call or for a block of several. What a process settles is told in batches
//! in the background. When the store is away, each process goes on with its share of what was left, and tells what
//! happened when the store is back.
//!
//! What a process spent is in the ledger, whatever becomes of the process or of the store. A purse that may have missed
//! some of it, because a process died or the store lost its memory, is in doubt: for a day it is compared with the ledger
//! now and then, and never says less than that.
//!
//! The store's own numbers are doubles inside scripts and whole 64-bit numbers in its sums: money up to nine million
//! dollars a limit is compared exactly, and summed exactly beyond.

mod blocks;
mod doubts;
mod message;
mod outbox;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use redis::{FromRedisValue, Script, ScriptInvocation};
use tokio::sync::Notify;
use tollway_model::Money;

use crate::block::Block;
use crate::hold::{Hold, Taken};
use crate::link::Wire;
use crate::meters::{Inner, Options};
use crate::pool::{Pool, Pools, Wish};
use crate::registry::Entry;
use crate::state::{Left, Moment};
use crate::{Alert, Away, Demand, Denied, LimitKind, Redis, Refusal, Scope, Spent};

pub(crate) use blocks::Undecided;
use blocks::{Blocks, Grant};
use message::{Adjustment, Settlement, exact};
pub(crate) use message::{Apart, Part, Pot};
use outbox::{Batch, Outbox};

/// Most time a script may take that no call waits for.
const BACKGROUND: Duration = Duration::from_millis(500);
/// Holds in one renewal, and settlements in one batch.
const BATCH: usize = 64;
/// How often a process says that it is alive.
const BEAT: Duration = Duration::from_secs(1);
/// A process that was not heard of for so long shares no limits any more, milliseconds.
const SILENT: u64 = 10_000;
/// So long what blocks have to tell waits for more of it.
const PACE: Duration = Duration::from_millis(20);
/// So long after the store has lost its memory there are no blocks, milliseconds: what they have not told yet would be
/// counted twice where another process asks the ledger for what is lost.
const CALM: u64 = 2000;
/// So often the store is asked for a decision that did not come in time.
const TRIES: usize = 3;
/// So often a decision may find purses that must be seeded; each time it is fewer, unless the store is emptied meanwhile.
const ROUNDS: usize = 8;

/// What the meters of one process share with others.
pub(crate) struct Shared {
    redis: Redis,
    space: String,
    /// Milliseconds.
    lease: u64,
    /// This process, until it ends.
    process: String,
    next: AtomicU64,
    /// How many processes there are, as far as is known.
    processes: AtomicU64,
    live: Mutex<HashMap<u64, Arc<Registration>>>,
    pools: Pools,
    /// Nobody draws from blocks before this moment of the steady clock.
    calm_until: AtomicU64,
    blocks: Mutex<Blocks>,
    outbox: Mutex<Outbox>,
    /// The name the store had when it was last heard: another one has lost its memory.
    born: Mutex<Option<String>>,
    /// Purses in doubt are being compared with the ledger.
    raising: AtomicBool,
    /// The batch that is being sent: the same one until it has arrived.
    sending: tokio::sync::Mutex<Batch>,
    /// Something must be told at once.
    wake: Arc<Notify>,
    /// Something may be told together with what comes in the next moments.
    soon: Arc<Notify>,
    scripts: Scripts,
}

struct Scripts {
    reserve: Script,
    settle: Script,
    renew: Script,
    seed: Script,
    beat: Script,
    doubt: Script,
    raise: Script,
}

/// A hold's name in the shared store.
#[derive(Debug)]
pub(crate) struct Lease {
    number: u64,
}

/// A hold as the shared store must know it.
struct Registration {
    number: u64,
    demand: Demand,
    parts: Vec<Part>,
    /// The store has been told.
    known: AtomicBool,
}

/// How a script gets to the store: as calls do, or on a connection that calls do not use yet.
#[derive(Clone, Copy)]
enum Way<'a> {
    Link,
    Wire(&'a Arc<Wire>),
}

impl Shared {
    pub(crate) fn new(redis: Redis, options: &Options) -> Shared {
        use std::hash::BuildHasher as _;
        let random = || std::collections::hash_map::RandomState::new().hash_one(std::process::id());
        let script = |body: &str| Script::new(&format!("{}\n{body}", include_str!("shared/common.lua")));
        Shared {
            space: redis.space(),
            redis,
            lease: u64::try_from(options.lease.as_millis()).unwrap_or(u64::MAX).clamp(1000, 86_400_000),
            process: format!("{:016x}{:016x}", random(), random()),
            next: AtomicU64::new(1),
            processes: AtomicU64::new(options.processes.max(1)),
            live: Mutex::default(),
            pools: Pools::new(),
            calm_until: AtomicU64::new(0),
            blocks: Mutex::default(),
            outbox: Mutex::default(),
            born: Mutex::default(),
            raising: AtomicBool::new(false),
            sending: tokio::sync::Mutex::default(),
            wake: Arc::default(),
            soon: Arc::default(),
            scripts: Scripts {
                reserve: script(include_str!("shared/reserve.lua")),
                settle: script(include_str!("shared/settle.lua")),
                renew: script(include_str!("shared/renew.lua")),
                seed: script(include_str!("shared/seed.lua")),
                beat: script(include_str!("shared/beat.lua")),
                doubt: script(include_str!("shared/doubt.lua")),
                raise: script(include_str!("shared/raise.lua")),
            },
        }
    }

    /// Begins what goes on in the background, until the meters are gone.
    pub(crate) fn start(inner: &Arc<Inner>) {
        let Some(shared) = &inner.shared else { return };
        let weak = Arc::downgrade(inner);
        let catch_up = weak.clone();
        shared.redis.catch_up(Box::new(move |wire| {
            let inner = catch_up.upgrade();
            Box::pin(async move {
                let Some(inner) = inner else { return Ok(()) };
                let Some(shared) = &inner.shared else { return Ok(()) };
                shared.close_all(&inner, None);
                shared.beat(&inner, Way::Wire(&wire)).await?;
                shared.renew(Way::Wire(&wire), true).await?;
                shared.send(&inner, Way::Wire(&wire)).await
            })
        }));
        tokio::spawn(keep(weak, Arc::clone(&shared.wake), Arc::clone(&shared.soon)));
    }

    /// How many processes share the limits while the store is away.
    pub(crate) fn processes(&self) -> u64 {
        self.processes.load(Ordering::Relaxed).max(1)
    }

    fn live(&self) -> MutexGuard<'_, HashMap<u64, Arc<Registration>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn id(&self, number: u64) -> String {
        format!("{}-{number:x}", self.process)
    }

    async fn invoke<T: FromRedisValue>(
        &self,
        way: Way<'_>,
        within: Option<Duration>,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, Away> {
        let act = async |wire: &mut Wire| script.invoke_async(wire).await;
        match (way, within) {
            (Way::Link, None) => self.redis.run(act).await,
            (Way::Link, Some(within)) => self.redis.run_within(within, act).await,
            (Way::Wire(wire), within) => {
                let within = within.unwrap_or(BACKGROUND);
                let mut wire = Wire::clone(wire);
                match tokio::time::timeout(within, script.invoke_async(&mut wire)).await {
                    Ok(Ok(answer)) => Ok(answer),
                    Ok(Err(error)) => {
                        tracing::debug!(%error, "the shared store refuses what it must know");
                        Err(Away)
                    }
                    Err(_) => Err(Away),
                }
            }
        }
    }

    /// One question to the store: for one call, and with a `wish` for more like it.
    async fn decide(
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
    async fn seed(
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

    fn register(&self, number: u64, parts: Vec<Part>, demand: Demand, known: bool) -> Lease {
        let known = AtomicBool::new(known);
        self.live().insert(number, Arc::new(Registration { number, demand, parts, known }));
        Lease { number }
    }

    /// A call was admitted without the store, which will be told.
    pub(crate) fn admitted_alone(&self, taken: &[Taken], demand: Demand, now: Moment) -> Option<Lease> {
        let parts = parts(taken, now);
        if parts.is_empty() {
            return None;
        }
        self.outbox().admitted_alone(&parts, now.steady);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Some(self.register(number, parts, demand, false))
    }

    /// A call has ended. The store is told in the background.
    pub(crate) fn settled(
        &self,
        lease: Option<Lease>,
        parts: Vec<Part>,
        demand: Demand,
        (spent, apart): (Spent, Apart),
    ) {
        let registration = lease.and_then(|lease| self.live().remove(&lease.number));
        let known = registration.as_ref().filter(|registration| registration.known.load(Ordering::SeqCst));
        match known {
            Some(registration) => {
                let id = self.id(registration.number);
                self.outbox().settled(Settlement::of_hold(id, parts, demand, (spent, apart)));
            }
            None if spent.money != Money::ZERO => self.outbox().spent_alone(parts, spent.money),
            None => return,
        }
        self.wake.notify_one();
    }

    /// What a scope has spent changes though no call spent it: `part` is what this process counts of it.
    pub(crate) fn adjusted(&self, scope: &Scope, money: Money, part: Option<Part>) {
        let known = part.iter().flat_map(|part| &part.pots).map(|pot| pot.name.clone()).collect();
        let adjustment = Adjustment { key: Part::key_of(scope), money: money.nanos(), known };
        let mut outbox = self.outbox();
        outbox.spent_alone(part.into_iter().collect(), money);
        outbox.adjusted(adjustment);
        drop(outbox);
        self.wake.notify_one();
    }

    /// Prolongs the leases of all holds, or only registers those that the store does not know.
    async fn renew(&self, way: Way<'_>, all: bool) -> Result<(), Away> {
        let chosen = |other: &&Arc<Registration>| all || !other.known.load(Ordering::Relaxed);
        let holds: Vec<Arc<Registration>> = self.live().values().filter(chosen).cloned().collect();
        for batch in holds.chunks(BATCH) {
            // From here on the end of these is told by name, whether this arrives or not. Whoever has ended before must
            // not be registered again: ends take a hold out of `live` first, then ask whether it is known.
            batch.iter().for_each(|hold| hold.known.store(true, Ordering::SeqCst));
            let live: Vec<_> = {
                let live = self.live();
                batch.iter().filter(|hold| live.contains_key(&hold.number)).collect()
            };
            let mut script = self.scripts.renew.key(&self.space);
            script.arg(self.lease).arg(live.len());
            for hold in &live {
                script.arg(self.id(hold.number)).arg(exact(hold.demand.tokens));
                script.arg(exact(hold.demand.money.nanos().unsigned_abs())).arg(1).arg(hold.parts.len());
                for part in &hold.parts {
                    part.renew_in(&mut script);
                }
            }
            self.invoke::<i64>(way, Some(BACKGROUND), &script).await?;
        }
        let blocks = if all { self.blocks_alive() } else { Vec::new() };
        for batch in blocks.chunks(BATCH) {
            let mut script = self.scripts.renew.key(&self.space);
            script.arg(self.lease).arg(batch.len());
            for block in batch {
                let (money, places) = block.held();
                script.arg(self.id(block.number)).arg(0).arg(exact(money.unsigned_abs())).arg(places);
                script.arg(block.parts.len());
                for part in &block.parts {
                    part.renew_in(&mut script);
                }
            }
            self.invoke::<i64>(way, Some(BACKGROUND), &script).await?;
        }
        Ok(())
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

    /// Tells the store what was settled.
    async fn send(&self, inner: &Inner, way: Way<'_>) -> Result<(), Away> {
        let mut batch = self.sending.lock().await;
        loop {
            if batch.is_empty() {
                let changed = {
                    let mut outbox = self.outbox();
                    outbox.fill(&mut batch, BATCH, |number| self.id(number), &self.next);
                    outbox.changed(BATCH)
                };
                batch.accounts.extend(changed.into_iter().map(|block| self.account(inner, block)));
                if batch.is_empty() {
                    return Ok(());
                }
                batch.number += 1;
            }
            let mut script = self.scripts.settle.key(&self.space);
            script.arg(&self.process).arg(batch.number).arg(batch.settlements.len());
            for settlement in &batch.settlements {
                settlement.write(&mut script);
            }
            script.arg(batch.accounts.len());
            for account in &batch.accounts {
                account.write(&mut script);
            }
            script.arg(batch.adjustments.len());
            for adjustment in &batch.adjustments {
                adjustment.write(&mut script);
            }
            let reached: Vec<i64> = self.invoke(way, Some(BACKGROUND), &script).await?;
            for reached in reached.chunks_exact(4) {
                if let Some(alert) = alert(&batch, reached) {
                    let _ = inner.alerts.send(alert);
                }
            }
            batch.settlements.clear();
            batch.adjustments.clear();
            for account in batch.accounts.drain(..) {
                account.block.confirmed(&account.all);
            }
        }
    }

    /// Says that this process is alive, and learns how many are, and whether the store is still the same.
    async fn beat(&self, inner: &Arc<Inner>, way: Way<'_>) -> Result<(), Away> {
        let mut script = self.scripts.beat.key(&self.space);
        script.arg(&self.process).arg(SILENT).arg(&self.process);
        let answer: Vec<String> = self.invoke(way, Some(BACKGROUND), &script).await?;
        let [processes, born, due @ ..] = answer.as_slice() else { return Err(Away) };
        self.processes.store(processes.parse().unwrap_or(1).max(1), Ordering::Relaxed);
        self.recognise(inner, born, way).await?;
        doubts::raise(inner, due);
        Ok(())
    }

    pub(crate) async fn flush(&self, inner: &Inner) -> Result<(), Away> {
        self.close_all(inner, None);
        self.renew(Way::Link, false).await?;
        self.send(inner, Way::Link).await
    }
}

/// Goes on in the background until the meters are gone.
async fn keep(inner: Weak<Inner>, wake: Arc<Notify>, soon: Arc<Notify>) {
    let (mut beaten, mut renewed) = (None::<Instant>, Instant::now());
    let mut pause = BEAT;
    loop {
        tokio::select! {
            () = wake.notified() => {}
            () = tokio::time::sleep(pause) => {}
            () = soon.notified() => {
                let _ = tokio::time::timeout(PACE, wake.notified()).await;
            }
        }
        let Some(inner) = inner.upgrade() else { return };
        let Some(shared) = &inner.shared else { return };
        pause = BEAT.min(Duration::from_millis(shared.lease / 4));
        if !shared.redis.is_up() {
            continue;
        }
        shared.close_all(&inner, Some(inner.now()));
        if beaten.is_none_or(|then| then.elapsed() >= BEAT) && shared.beat(&inner, Way::Link).await.is_ok() {
            beaten = Some(Instant::now());
        }
        let all = renewed.elapsed() >= Duration::from_millis(shared.lease / 3);
        if shared.renew(Way::Link, all).await.is_ok() && all {
            renewed = Instant::now();
        }
        let _ = shared.send(&inner, Way::Link).await;
        if shared.has_blocks() {
            pause = PACE;
        }
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
fn parts(taken: &[Taken], now: Moment) -> Vec<Part> {
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

/// Reads `settlement, claim, budget, spent`.
fn alert(batch: &Batch, reached: &[i64]) -> Option<Alert> {
    let [settlement, part, pot, spent] = reached else { return None };
    let part = batch.part(usize::try_from(*settlement).ok()?, usize::try_from(*part).ok()?)?;
    let pot = part.pots.get(usize::try_from(*pot).ok()?)?;
    let (soft, spent) = (Money::from_nanos(pot.soft?), Money::from_nanos(*spent));
    Some(Alert { scope: part.scope.clone(), soft, spent, resets_at: pot.resets_at() })
}

//! The decision.

use std::fmt;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use tokio::sync::broadcast;
use tollway_model::Money;

use crate::hold::{Hold, Taken, tokens_as_money};
use crate::registry::{Entry, Registry};
use crate::shared::{Part, Shared, Undecided};
use crate::state::{Left, Moment, State, Took, Verdict};
use crate::{
    Alert, Away, Claim, Clock, Demand, Denied, Health, LimitKind, Redis, Refusal, Scope, Spending, Spent,
};

/// How long a question about spending that failed is not asked again, milliseconds: the callers that waited for it would
/// otherwise ask one after the other.
const PAUSE_AFTER_FAILURE: u64 = 1000;

/// How meters are kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// Most scopes that are kept although nothing happens in them. Default 100,000, some 300 bytes each. Busy ones are
    /// kept in any number.
    pub scopes: usize,
    /// Most time the ledger has to say what was spent. Default 2 s.
    pub seed_within: Duration,
    /// Alerts that wait for whoever reads them; more, and the oldest are lost. Default 1,024.
    pub alerts: usize,
    /// The store that several processes count together in. Default none: each counts for itself.
    pub redis: Option<Redis>,
    /// How long what a process holds in the shared store outlives it. Default 60 s, at least 1 s.
    pub lease: Duration,
    /// How many processes share the limits while the shared store has not been reached yet. Default 1; once it was
    /// reached, it knows.
    pub processes: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            scopes: 100_000,
            seed_within: Duration::from_secs(2),
            alerts: 1024,
            redis: None,
            lease: Duration::from_secs(60),
            processes: 1,
        }
    }
}

/// Counts what callers use and says whether they may use more. Cheap to clone; the clones count together.
#[derive(Clone)]
pub struct Meters {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) options: Options,
    pub(crate) registry: Registry,
    pub(crate) spending: Arc<dyn Spending>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) alerts: broadcast::Sender<Alert>,
    pub(crate) shared: Option<Shared>,
}

/// What a look at all claims says.
pub(crate) enum Decision {
    Granted(Vec<Taken>),
    Denied(Denied),
    /// This scope's budget must be seeded; its index in the claim's limits.
    Unseeded {
        entry: Arc<Entry>,
        claim: usize,
        budget: usize,
    },
}

impl Meters {
    /// Nothing is counted yet. What was spent is asked of `spending` when a budget is first seen. With a shared store this
    /// must be called within a Tokio runtime, and no two meters may use one [`Redis`] handle.
    pub fn new(options: Options, spending: Arc<dyn Spending>, clock: Arc<dyn Clock>) -> Meters {
        let registry = Registry::new(options.scopes);
        let (alerts, _) = broadcast::channel(options.alerts.max(1));
        let shared = options.redis.clone().map(|redis| Shared::new(redis, &options));
        let meters = Meters { inner: Arc::new(Inner { options, registry, spending, clock, alerts, shared }) };
        Shared::start(&meters.inner);
        meters
    }

    /// Takes what the call will probably use from every claim, or nothing from any. The first claim in the given order
    /// that refuses is named; within one claim budgets are asked first, then requests, tokens and places.
    ///
    /// Tokens of the day are decided before everything else, apart: what they hold comes back when the rest refuses.
    ///
    /// Waits only for budgets that are seen for the first time, never longer than [`Options::seed_within`] each.
    pub async fn reserve(&self, claims: &[Claim], demand: Demand) -> Result<Hold, Refusal> {
        let day = if claims.iter().any(|claim| claim.limits.day.is_some()) {
            Some(Box::pin(self.reserve_day(claims, demand.tokens)).await?)
        } else {
            None
        };
        Ok(self.reserve_all(claims, demand).await?.with_day(day))
    }

    /// Tokens of the day of all claims that limit them.
    async fn reserve_day(&self, claims: &[Claim], tokens: u64) -> Result<Hold, Refusal> {
        let days: Vec<Claim> =
            claims.iter().filter_map(|claim| claim.limits.day.as_deref()).cloned().collect();
        let demand = Demand { tokens: 0, money: tokens_as_money(tokens.max(1)), free: false };
        self.reserve_all(&days, demand).await.map_err(|refusal| match refusal {
            Refusal::Denied(denied) => {
                let scope = denied.scope.of_day().unwrap_or_else(|| denied.scope.clone());
                Refusal::Denied(Denied { scope, limit: LimitKind::DayTokens, ..denied })
            }
            Refusal::Unavailable { scope, why } => {
                Refusal::Unavailable { scope: scope.of_day().unwrap_or(scope), why }
            }
        })
    }

    async fn reserve_all(&self, claims: &[Claim], demand: Demand) -> Result<Hold, Refusal> {
        let demand = normal(demand);
        let merged = merge_repeated(claims);
        let claims = merged.as_deref().unwrap_or(claims);
        let mut share = 1;
        if let Some(shared) = &self.inner.shared
            && claims.iter().any(|claim| !claim.limits.is_empty())
        {
            // Claims that were put together here are others every time.
            let drawn = if merged.is_none() {
                shared.draw(&self.inner, claims, demand)
            } else {
                Err(Undecided::Alone)
            };
            let undecided = match drawn {
                Ok(hold) => return Ok(hold),
                Err(undecided) => undecided,
            };
            match Box::pin(shared.reserve(&self.inner, claims, demand, undecided)).await {
                Ok(decided) => return decided,
                Err(Away) => share = shared.processes(),
            }
            // What blocks hold and nobody has drawn is part of what is left now.
            shared.close_all(&self.inner, None);
        }
        loop {
            let now = self.inner.now();
            match self.inner.decide(claims, demand, now, share) {
                Decision::Granted(taken) => {
                    let lease = self
                        .inner
                        .shared
                        .as_ref()
                        .and_then(|shared| shared.admitted_alone(&taken, demand, now));
                    return Ok(Hold::new(Arc::clone(&self.inner), taken, demand, lease));
                }
                Decision::Denied(denied) => return Err(Refusal::Denied(denied)),
                Decision::Unseeded { entry, claim, budget } => {
                    let window = claims.get(claim).and_then(|claim| claim.limits.budgets.get(budget));
                    let Some(window) = window.map(|budget| &budget.window) else { continue };
                    Box::pin(self.inner.seed(&entry, window)).await?;
                }
            }
        }
    }

    /// What a scope has spent changes by `money`, though no call spent it: a reset, a correction. Every window that
    /// runs now changes, and in the shared store every window that anybody counts. One that nobody counts is asked of
    /// the ledger when it is next seen, so the ledger must know first.
    pub fn adjust(&self, scope: &Scope, money: Money) {
        let (demand, now) = (Demand { tokens: 0, money: Money::ZERO, free: true }, self.inner.now());
        let took = Took { demand, at: now, rate: false, parallel: false, turn: 0 };
        let taken =
            Taken { scope: scope.clone(), limits: Arc::default(), entry: None, took, left: Left::default() };
        let part = self.inner.registry.find(scope).map(|entry| {
            let mut state = entry.state();
            state.settle_late(now, Spent { money, ..Spent::default() }, now);
            Part::new(&taken, state.pots(&took, true, &taken.limits))
        });
        if let Some(shared) = &self.inner.shared {
            shared.adjusted(scope, money, part);
        }
    }

    /// A call that began at `at` (milliseconds since 1970), when `scope` had no limit, has spent `money`. Where the scope is
    /// counted by now, its budgets that run since then learn of it.
    pub fn spent_late(&self, scope: Scope, at: i64, money: Money) {
        if self.inner.registry.find(&scope).is_none() {
            return;
        }
        let demand = Demand { tokens: 0, money: Money::ZERO, free: true };
        let at = Moment { wall: at, ..self.inner.now() };
        let took = Took { demand, at, rate: false, parallel: false, turn: 0 };
        let taken = Taken { scope, limits: Arc::default(), entry: None, took, left: Left::default() };
        let hold = Hold::new(Arc::clone(&self.inner), vec![taken], demand, None);
        hold.settle(Spent { money, ..Spent::default() });
    }

    /// Tells the shared store at once what was settled, for an end in order. Without one there is nothing to do.
    pub async fn flush(&self) -> Result<(), Away> {
        match &self.inner.shared {
            Some(shared) => shared.flush(&self.inner).await,
            None => Ok(()),
        }
    }

    /// Does the shared store answer; `None`: there is none.
    pub fn health(&self) -> Option<Health> {
        self.inner.options.redis.as_ref().map(Redis::health)
    }

    /// Soft budgets that are reached from now on. A reader that is slow loses the oldest.
    pub fn alerts(&self) -> broadcast::Receiver<Alert> {
        self.inner.alerts.subscribe()
    }

    /// How many scopes are counted, for metrics.
    pub fn scopes(&self) -> usize {
        self.inner.registry.len()
    }
}

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meters").field("scopes", &self.scopes()).finish_non_exhaustive()
    }
}

/// A free call holds no money, and nobody holds less than none.
fn normal(demand: Demand) -> Demand {
    let money = if demand.free { Money::ZERO } else { demand.money.max(Money::ZERO) };
    Demand { money, ..demand }
}

impl Inner {
    pub(crate) fn now(&self) -> Moment {
        Moment { wall: self.clock.wall(), steady: self.clock.steady() }
    }

    /// The entries of all claims that limit something, and of the others their names.
    pub(crate) fn taken(&self, claims: &[Claim], demand: Demand, at: Moment) -> Vec<Taken> {
        let idle = |state: &mut State| state.is_idle(at.steady, self.spending.settled_through());
        let taken = |claim: &Claim| {
            let limits = &claim.limits;
            let took = Took {
                demand,
                at,
                rate: limits.rpm.is_some() || limits.tpm.is_some(),
                parallel: limits.parallel.is_some(),
                turn: 0,
            };
            let entry = (!limits.is_empty()).then(|| self.registry.get(&claim.scope, idle));
            let (scope, limits) = (claim.scope.clone(), Arc::clone(limits));
            Taken { scope, limits, entry, took, left: Left::default() }
        };
        claims.iter().map(taken).collect()
    }

    /// Looks at all claims at once and takes from all of them when all grant. With a `share` other than 1, this is one
    /// of so many processes that cannot ask each other.
    pub(crate) fn decide(&self, claims: &[Claim], demand: Demand, now: Moment, share: u64) -> Decision {
        let mut taken = self.taken(claims, demand, now);
        // Cloned so that the guards do not borrow what is about to be changed.
        let entries: Vec<Option<Arc<Entry>>> = taken.iter().map(|taken| taken.entry.clone()).collect();
        let mut locked = Locked::new(&entries);
        for (index, (taken, entry)) in taken.iter().zip(&entries).enumerate() {
            let (Some(state), Some(entry)) = (locked.state(index), entry) else { continue };
            match state.check(&taken.limits, demand, now, share) {
                Verdict::Granted => {}
                Verdict::Unseeded(budget) => {
                    return Decision::Unseeded { entry: Arc::clone(entry), claim: index, budget };
                }
                Verdict::Refused { limit, max, used, resets_at } => {
                    let scope = taken.scope.clone();
                    return Decision::Denied(Denied { scope, limit, max, used, resets_at });
                }
            }
        }
        for (index, taken) in taken.iter_mut().enumerate() {
            let Some(state) = locked.state(index) else { continue };
            state.take(&mut taken.took, false);
            taken.left = state.left(&taken.limits);
        }
        drop(locked);
        Decision::Granted(taken)
    }

    /// Finds out what was spent in the current stretch of a window. Those who come meanwhile wait for the same answer.
    pub(crate) async fn seed(&self, entry: &Entry, window: &crate::Window) -> Result<(), Refusal> {
        let unavailable = |why: String| Refusal::Unavailable { scope: entry.scope.clone(), why };
        let mut failed_at = entry.seeding.lock().await;
        let start = {
            let mut state = entry.state();
            let Some(purse) = state.purses.iter_mut().find(|purse| purse.window == *window) else {
                return Ok(());
            };
            if purse.known.is_some() {
                return Ok(());
            }
            if self.has_just_failed(*failed_at) {
                return Err(unavailable("the question has just failed".to_owned()));
            }
            // What was settled until now is in the answer; what is settled from now on is counted here.
            purse.spent = 0;
            purse.from()
        };
        match self.ask(&entry.scope, start).await {
            Ok(spent) => {
                *failed_at = None;
                let mut state = entry.state();
                let purse =
                    state.purses.iter_mut().find(|purse| purse.window == *window && purse.from() == start);
                if let Some(purse) = purse.filter(|purse| purse.known.is_none()) {
                    purse.seed(spent);
                }
                Ok(())
            }
            Err(why) => {
                *failed_at = Some(self.clock.steady());
                Err(unavailable(why))
            }
        }
    }

    /// Was the question asked in vain a moment ago?
    pub(crate) fn has_just_failed(&self, failed_at: Option<u64>) -> bool {
        failed_at.is_some_and(|then| self.clock.steady() < then + PAUSE_AFTER_FAILURE)
    }

    pub(crate) async fn ask(&self, scope: &Scope, from: Option<i64>) -> Result<Money, String> {
        let answer = async {
            match scope.of_day() {
                Some(scope) => self.spending.tokens(&scope, from.unwrap_or(0)).await.map(tokens_as_money),
                None => self.spending.spent(scope, from).await,
            }
        };
        match tokio::time::timeout(self.options.seed_within, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {:?}", self.options.seed_within)),
        }
    }
}

/// A scope that is claimed twice is one claim, with the tighter of both limits.
fn merge_repeated(claims: &[Claim]) -> Option<Vec<Claim>> {
    let repeats =
        |(index, claim): (usize, &Claim)| claims.iter().take(index).any(|other| other.scope == claim.scope);
    if !claims.iter().enumerate().any(repeats) {
        return None;
    }
    let tighter = |one: Option<u64>, two: Option<u64>| one.into_iter().chain(two).min();
    let mut merged: Vec<Claim> = Vec::with_capacity(claims.len());
    for claim in claims {
        let Some(first) = merged.iter_mut().find(|other| other.scope == claim.scope) else {
            merged.push(claim.clone());
            continue;
        };
        let limits = Arc::make_mut(&mut first.limits);
        limits.rpm = tighter(limits.rpm, claim.limits.rpm);
        limits.tpm = tighter(limits.tpm, claim.limits.tpm);
        limits.parallel = tighter(limits.parallel, claim.limits.parallel);
        limits.budgets.extend(claim.limits.budgets.iter().cloned());
    }
    Some(merged)
}

/// The states of all claims, locked in the one order that everybody uses, so that nobody waits for each other.
struct Locked<'a> {
    guards: Vec<MutexGuard<'a, State>>,
    /// Which guard is a claim's.
    places: Vec<Option<usize>>,
}

impl<'a> Locked<'a> {
    fn new(entries: &'a [Option<Arc<Entry>>]) -> Locked<'a> {
        let mut order: Vec<(*const Entry, usize, &Entry)> = Vec::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            if let Some(entry) = entry {
                order.push((Arc::as_ptr(entry), index, entry));
            }
        }
        order.sort_unstable_by_key(|(address, ..)| *address);
        let mut locked =
            Locked { guards: Vec::with_capacity(order.len()), places: vec![None; entries.len()] };
        let mut last = None;
        for (address, index, entry) in order {
            if last != Some(address) {
                locked.guards.push(entry.state());
                last = Some(address);
            }
            if let Some(place) = locked.places.get_mut(index) {
                *place = Some(locked.guards.len() - 1);
            }
        }
        locked
    }

    fn state(&mut self, claim: usize) -> Option<&mut State> {
        let place = self.places.get(claim).copied().flatten()?;
        self.guards.get_mut(place).map(|guard| &mut **guard)
    }
}

//! Random histories, compared step by step with a reference that keeps every event and counts from the start.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use proptest::prelude::*;
use tollway_meters::*;
use tollway_model::Money;

const BEGIN: i64 = 1_793_000_000_000;
/// How long a call counts, milliseconds.
const MINUTE: u64 = 60_000;

fn scope(number: usize) -> Scope {
    Scope { kind: [ScopeKind::Key, ScopeKind::Team, ScopeKind::User][number % 3], id: Arc::from("one") }
}

fn windows() -> Vec<Window> {
    vec![
        Window::Lifetime,
        Window::Every { length: 45_000, anchor: 7 },
        Window::parse("1d", "Europe/Berlin").unwrap(),
    ]
}

/// One call as the reference remembers it.
#[derive(Debug, Clone)]
struct Call {
    claims: Vec<Claim>,
    /// Per claim, which windows held its money.
    holding: Vec<Vec<Window>>,
    demand: Demand,
    wall: i64,
    steady: u64,
    settled: Option<(Spent, u64)>,
}

#[derive(Debug, Default)]
struct Book {
    calls: Vec<Call>,
    named: HashMap<Scope, Vec<Window>>,
}

impl Book {
    fn claims_of<'a>(&'a self, scope: &'a Scope) -> impl Iterator<Item = (&'a Call, usize)> {
        self.calls.iter().filter_map(move |call| {
            call.claims.iter().position(|claim| claim.scope == *scope).map(|index| (call, index))
        })
    }

    /// Requests and tokens that count at a steady.
    fn rates(&self, scope: &Scope, now: u64) -> (u64, u64) {
        let (mut requests, mut tokens) = (0, 0);
        for (call, index) in self.claims_of(scope) {
            let limits = &call.claims[index].limits;
            if limits.rpm.is_none() && limits.tpm.is_none() {
                continue;
            }
            let (spent, settled_at) =
                call.settled.unwrap_or((Spent { tokens: call.demand.tokens, ..Spent::default() }, 0));
            if call.steady + MINUTE > now && !spent.refused {
                requests += 1;
                tokens += spent.tokens.min(call.demand.tokens);
            }
            if settled_at + MINUTE > now && call.settled.is_some() && !spent.refused {
                tokens += spent.tokens.saturating_sub(call.demand.tokens);
            }
        }
        (requests, tokens)
    }

    fn in_flight(&self, scope: &Scope) -> u64 {
        self.claims_of(scope)
            .filter(|(call, index)| call.settled.is_none() && call.claims[*index].limits.parallel.is_some())
            .count() as u64
    }

    fn spent(&self, scope: &Scope, from: Option<i64>) -> i64 {
        self.claims_of(scope)
            .filter(|(call, _)| from.is_none_or(|from| call.wall >= from))
            .filter_map(|(call, _)| Some(call.settled?.0.money.nanos()))
            .sum()
    }

    fn used(&self, scope: &Scope, window: &Window, wall: i64) -> i64 {
        let from = window.current(wall).start;
        let held = self
            .claims_of(scope)
            .filter(|(call, index)| call.settled.is_none() && call.holding[*index].contains(window))
            .filter(|(call, _)| from.is_none_or(|from| call.wall >= from))
            .map(|(call, _)| call.demand.money.nanos())
            .sum::<i64>();
        self.spent(scope, from) + held
    }

    /// Who refuses first, if anybody.
    fn decide(&mut self, claims: &[Claim], demand: Demand, wall: i64, steady: u64) -> Option<Denied> {
        for claim in claims {
            let (scope, limits) = (claim.scope.clone(), &claim.limits);
            let denied = |limit, max, used, resets_at| {
                Some(Denied { scope: scope.clone(), limit, max, used, resets_at })
            };
            let named = self.named.entry(scope.clone()).or_default();
            named.extend(limits.budgets.iter().map(|budget| budget.window.clone()));
            for budget in &limits.budgets {
                let used = self.used(&scope, &budget.window, wall);
                let Some(max) = budget.max.filter(|_| !demand.free) else { continue };
                if used >= max.nanos() || used + demand.money.nanos() > max.nanos() {
                    return denied(LimitKind::Budget, max.nanos(), used, budget.window.current(wall).end);
                }
            }
            let (requests, tokens) = self.rates(&scope, steady);
            // Something is forgotten only a minute after something was counted.
            let mut moments: Vec<u64> = self.calls.iter().map(|call| call.steady).collect();
            moments.extend(self.calls.iter().filter_map(|call| Some(call.settled?.1)));
            moments.sort_unstable();
            let wait = |fits: &dyn Fn((u64, u64)) -> bool| {
                let mut ends = moments.iter().map(|moment| moment + MINUTE).filter(|end| *end > steady);
                let end = ends.find(|end| fits(self.rates(&scope, *end)))?;
                Some(wall + (end - steady) as i64)
            };
            if let Some(max) = limits.rpm.filter(|max| requests + 1 > *max) {
                let resets_at = wait(&|(requests, _)| requests < max);
                return denied(LimitKind::Requests, max as i64, requests as i64, resets_at);
            }
            let wanted = demand.tokens.max(1);
            if let Some(max) = limits.tpm.filter(|max| tokens + wanted > *max) {
                let resets_at = wait(&|(_, tokens)| tokens + wanted <= max);
                return denied(LimitKind::Tokens, max as i64, tokens as i64, resets_at);
            }
            let in_flight = self.in_flight(&scope);
            if let Some(max) = limits.parallel.filter(|max| in_flight >= *max) {
                let resets_at = (max > 0).then_some(wall + 1000);
                return denied(LimitKind::Parallel, max as i64, in_flight as i64, resets_at);
            }
        }
        let holding = claims
            .iter()
            .map(|claim| if claim.limits.is_empty() { Vec::new() } else { self.named[&claim.scope].clone() });
        let holding = holding.collect();
        let call = Call { claims: claims.to_vec(), holding, demand, wall, steady, settled: None };
        self.calls.push(call);
        None
    }

    /// What is left of one claim, as the caller is told.
    fn state(&self, claim: &Claim, wall: i64, steady: u64) -> AllowanceState {
        let (requests, tokens) = self.rates(&claim.scope, steady);
        let left = |limit: Option<u64>, used: u64| limit.map(|limit| (limit, limit.saturating_sub(used)));
        let budgets = claim.limits.budgets.iter().filter_map(|budget| {
            Some((budget.max?, Money::from_nanos(self.used(&claim.scope, &budget.window, wall))))
        });
        AllowanceState {
            scope: claim.scope.clone(),
            requests: left(claim.limits.rpm, requests),
            tokens: left(claim.limits.tpm, tokens),
            parallel: left(claim.limits.parallel, self.in_flight(&claim.scope)),
            day: None,
            budget: budgets.min_by_key(|(max, used)| *max - *used),
            resets_at: wall + 60_000,
        }
    }
}

/// The reference is the ledger, too.
struct Ledger(Arc<Mutex<Book>>);

#[async_trait]
impl Spending for Ledger {
    async fn spent(&self, scope: &Scope, from: Option<i64>) -> Result<Money, String> {
        Ok(Money::from_nanos(self.0.lock().unwrap().spent(scope, from)))
    }

    async fn tokens(&self, _: &Scope, _: i64) -> Result<u64, String> {
        Ok(0)
    }
}

#[derive(Debug, Clone)]
enum Step {
    Reserve(Vec<(usize, Limits)>, Demand),
    Settle(usize, Spent),
    Drop(usize),
    Wait(u64),
}

fn limits() -> impl Strategy<Value = Limits> {
    let budgets = proptest::sample::subsequence(windows(), 0..=3);
    let maximum = || proptest::option::weighted(0.7, 0_i64..60);
    (
        proptest::option::weighted(0.4, 0_u64..5),
        proptest::option::weighted(0.4, 0_u64..300),
        proptest::option::weighted(0.3, 0_u64..4),
        budgets,
        [maximum(), maximum(), maximum()],
    )
        .prop_map(|(rpm, tpm, parallel, windows, max)| {
            let budget = |(window, max): (Window, Option<i64>)| Budget {
                window,
                max: max.map(Money::from_nanos),
                soft: None,
            };
            Limits {
                rpm,
                tpm,
                parallel,
                budgets: windows.into_iter().zip(max).map(budget).collect(),
                ..Limits::default()
            }
        })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let demand = (0_u64..60, 0_i64..12, proptest::bool::weighted(0.1)).prop_map(|(tokens, money, free)| {
        Demand { tokens, money: Money::from_nanos(if free { 0 } else { money }), free }
    });
    let claims = proptest::sample::subsequence(vec![0_usize, 1, 2], 1..=3)
        .prop_flat_map(|scopes| scopes.into_iter().map(|scope| (Just(scope), limits())).collect::<Vec<_>>());
    let spent = (0_u64..90, 0_i64..15).prop_map(|(tokens, money)| Spent {
        tokens,
        money: Money::from_nanos(money),
        refused: false,
    });
    let step = prop_oneof![
        5 => (claims, demand).prop_map(|(claims, demand)| Step::Reserve(claims, demand)),
        2 => (0_usize..8, spent).prop_map(|(index, spent)| Step::Settle(index, spent)),
        1 => (0_usize..8).prop_map(Step::Drop),
        1 => (0_u64..40_000).prop_map(Step::Wait),
        1 => (0_u64..200).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn every_decision_is_the_one_of_the_reference(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let book = Arc::new(Mutex::new(Book::default()));
        let clock = Arc::new(ManualClock::at(BEGIN));
        let meters = Meters::new(Options::default(), Arc::new(Ledger(Arc::clone(&book))), Arc::clone(&clock) as _);
        let mut open: Vec<(Hold, usize)> = Vec::new();
        for step in steps {
            let (wall, steady) = (clock.wall(), clock.steady());
            match step {
                Step::Wait(millis) => clock.advance(millis),
                Step::Reserve(claims, demand) => {
                    let claims: Vec<Claim> = claims
                        .into_iter()
                        .map(|(number, limits)| Claim { scope: scope(number), limits: Arc::new(limits) })
                        .collect();
                    let answer = runtime.block_on(meters.reserve(&claims, demand));
                    let denied = book.lock().unwrap().decide(&claims, demand, wall, steady);
                    match (answer, denied) {
                        (Ok(hold), None) => {
                            let book = book.lock().unwrap();
                            let states = claims.iter().filter(|claim| !claim.limits.is_empty());
                            let states: Vec<_> = states.map(|claim| book.state(claim, wall, steady)).collect();
                            prop_assert_eq!(hold.states(), states);
                            open.push((hold, book.calls.len() - 1));
                        }
                        (Err(Refusal::Denied(ours)), Some(theirs)) => prop_assert_eq!(ours, theirs),
                        (ours, theirs) => prop_assert!(false, "{ours:?} instead of {theirs:?}"),
                    }
                }
                Step::Settle(index, spent) if !open.is_empty() => {
                    let (hold, call) = open.swap_remove(index % open.len());
                    hold.settle(spent);
                    book.lock().unwrap().calls[call].settled = Some((spent, steady));
                }
                Step::Drop(index) if !open.is_empty() => {
                    let (hold, call) = open.swap_remove(index % open.len());
                    drop(hold);
                    let refused = Spent { refused: true, ..Spent::default() };
                    book.lock().unwrap().calls[call].settled = Some((refused, steady));
                }
                Step::Settle(..) | Step::Drop(_) => {}
            }
        }
    }
}

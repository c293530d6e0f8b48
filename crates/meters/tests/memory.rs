//! Meters in one process: rates under pressure, many threads, seeding, forgetting, soft budgets.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tollway_meters::*;
use tollway_model::Money;

const BEGIN: i64 = 1_793_000_000_000;

fn claim(kind: ScopeKind, id: &str, limits: Limits) -> Claim {
    Claim { scope: Scope { kind, id: Arc::from(id) }, limits: Arc::new(limits) }
}

fn budget(max: i64) -> Budget {
    Budget { window: Window::Lifetime, max: Some(Money::from_nanos(max)), soft: None }
}

fn key(limits: Limits) -> [Claim; 1] {
    [claim(ScopeKind::Key, "k", limits)]
}

fn money(nanos: i64) -> Demand {
    Demand { money: Money::from_nanos(nanos), ..Demand::default() }
}

fn spent(nanos: i64) -> Spent {
    Spent { money: Money::from_nanos(nanos), ..Spent::default() }
}

fn meters(clock: &Arc<ManualClock>) -> Meters {
    Meters::new(Options::default(), Arc::new(NothingSpent), Arc::clone(clock) as _)
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(BEGIN))
}

#[track_caller]
fn denied(answer: Result<Hold, Refusal>) -> Denied {
    match answer {
        Err(Refusal::Denied(denied)) => denied,
        other => panic!("{other:?}"),
    }
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// When calls were admitted that came all the time, 100 a minute allowed; `gap` tells how long until the next one.
async fn saturate(mut gap: impl FnMut() -> u64) -> Vec<u64> {
    let clock = clock();
    let meters = meters(&clock);
    let claims = key(Limits { rpm: Some(100), ..Limits::default() });
    let mut admitted: Vec<u64> = Vec::new();
    while clock.steady() < 250_000 {
        clock.advance(gap());
        let now = clock.steady();
        let recent = admitted.iter().rev().take_while(|at| **at + 60_000 > now).count();
        match meters.reserve(&claims, Demand::default()).await {
            Ok(hold) => {
                assert!(recent < 100, "more than 100 in the minute before {now}");
                admitted.push(now);
                hold.settle(Spent::default());
            }
            Err(_) => assert_eq!(recent, 100, "a needless refusal at {now}"),
        }
    }
    admitted
}

#[tokio::test]
async fn a_saturated_rate_refuses_only_what_would_pass_its_limit() {
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    for most in [1, 3, 20, 120, 1_000] {
        saturate(|| dice.roll(most + 1)).await;
    }
}

#[tokio::test]
async fn a_saturated_rate_admits_its_limit_in_any_minute() {
    for gap in [1, 7, 90, 400] {
        let admitted = saturate(|| gap).await;
        // Just after a call is where a minute holds the fewest.
        for (index, start) in admitted.iter().enumerate().filter(|(_, start)| **start < 190_000) {
            let within = admitted[index..].iter().take_while(|at| **at <= start + 60_000).count() - 1;
            assert!((97..=101).contains(&within), "{within} in the minute after {start}, gap {gap}");
        }
    }
}

#[tokio::test]
async fn refused_calls_consume_nothing() {
    let clock = clock();
    let meters = meters(&clock);
    let team = |rpm| claim(ScopeKind::Team, "t", Limits { rpm: Some(rpm), ..Limits::default() });
    let key = claim(
        ScopeKind::Key,
        "k",
        Limits { rpm: Some(3), parallel: Some(3), budgets: vec![budget(30)], ..Limits::default() },
    );
    for _ in 0..50 {
        let refusal = denied(meters.reserve(&[key.clone(), team(0)], money(10)).await);
        assert_eq!((refusal.scope.kind, refusal.limit), (ScopeKind::Team, LimitKind::Requests));
    }
    let hold = meters.reserve(&[key.clone(), team(1)], money(10)).await.unwrap();
    let state = &hold.states()[0];
    assert_eq!((state.requests, state.parallel), (Some((3, 2)), Some((3, 2))));
    assert_eq!(state.budget, Some((Money::from_nanos(30), Money::from_nanos(10))));
}

#[tokio::test]
async fn the_denial_names_the_first_claim_in_order() {
    let clock = clock();
    let meters = meters(&clock);
    let full = Limits { rpm: Some(0), budgets: vec![budget(0)], ..Limits::default() };
    let claims = [claim(ScopeKind::User, "u", full.clone()), claim(ScopeKind::Key, "k", full)];
    let refusal = denied(meters.reserve(&claims, money(1)).await);
    assert_eq!(
        (refusal.scope.kind, refusal.limit, refusal.resets_at),
        (ScopeKind::User, LimitKind::Budget, None)
    );
}

#[tokio::test]
async fn a_call_no_provider_was_asked_for_gives_its_request_back() {
    let clock = clock();
    let meters = meters(&clock);
    let claims = key(Limits { rpm: Some(1), tpm: Some(10), ..Limits::default() });
    let demand = Demand { tokens: 10, ..Demand::default() };
    meters.reserve(&claims, demand).await.unwrap().settle(Spent { refused: true, ..Spent::default() });
    drop(meters.reserve(&claims, demand).await.unwrap());
    meters.reserve(&claims, demand).await.unwrap().settle(Spent { tokens: 4, ..Spent::default() });
    assert_eq!(denied(meters.reserve(&claims, demand).await).limit, LimitKind::Requests);
    clock.advance(60_000);
    assert_eq!(meters.reserve(&claims, demand).await.unwrap().states()[0].tokens, Some((10, 0)));
}

#[tokio::test]
async fn scopes_a_call_goes_on_without_spend_nothing() {
    let clock = clock();
    let meters = meters(&clock);
    let limits = || Limits { rpm: Some(3), tpm: Some(100), budgets: vec![budget(100)], ..Limits::default() };
    let claims = [claim(ScopeKind::Key, "k", limits()), claim(ScopeKind::ModelPerKey, "k:m", limits())];
    let demand = Demand { tokens: 40, money: Money::from_nanos(40), free: false };
    let used = Spent { tokens: 30, money: Money::from_nanos(30), refused: false };
    let apart = |scope: &Scope| scope.kind == ScopeKind::ModelPerKey;
    meters.reserve(&claims, demand).await.unwrap().settle_apart(used, &apart, false);
    meters.reserve(&claims, demand).await.unwrap().settle_apart(used, &apart, true);
    let hold = meters.reserve(&claims, Demand { free: true, ..Demand::default() }).await.unwrap();
    let (key, model) = (hold.states().remove(0), hold.states().remove(1));
    let budget = |nanos| Some((Money::from_nanos(100), Money::from_nanos(nanos)));
    assert_eq!((key.requests, key.tokens, key.budget), (Some((3, 0)), Some((100, 40)), budget(60)));
    assert_eq!((model.requests, model.tokens, model.budget), (Some((3, 1)), Some((100, 100)), budget(0)));
}

#[tokio::test]
async fn free_calls_pass_an_exhausted_budget_and_others_do_not() {
    let clock = clock();
    let meters = meters(&clock);
    let claims = key(Limits { budgets: vec![budget(0)], ..Limits::default() });
    assert!(meters.reserve(&claims, Demand { free: true, ..Demand::default() }).await.is_ok());
    assert_eq!(denied(meters.reserve(&claims, Demand::default()).await).limit, LimitKind::Budget);
}

#[tokio::test]
async fn several_budgets_hold_at_once_and_each_starts_anew_by_itself() {
    let clock = clock();
    let meters = meters(&clock);
    let hour = Budget { window: Window::parse("1h", "UTC").unwrap(), ..budget(10) };
    let claims = key(Limits { budgets: vec![hour.clone(), budget(25)], ..Limits::default() });
    for round in 0..2 {
        meters.reserve(&claims, money(10)).await.unwrap().settle(spent(10));
        let refusal = denied(meters.reserve(&claims, money(1)).await);
        let end = hour.window.current(clock.wall()).end;
        assert_eq!((refusal.max, refusal.used, refusal.resets_at), (10, 10, end), "round {round}");
        clock.advance((end.unwrap() - clock.wall()) as u64);
    }
    assert_eq!(denied(meters.reserve(&claims, money(10)).await).max, 25);
}

#[tokio::test]
async fn money_settles_into_the_window_it_was_held_in() {
    let clock = clock();
    let meters = meters(&clock);
    let window = Window::Every { length: 1000, anchor: BEGIN };
    let claims = key(Limits { budgets: vec![Budget { window, ..budget(10) }], ..Limits::default() });
    let late = meters.reserve(&claims, money(10)).await.unwrap();
    clock.advance(1000);
    let hold = meters.reserve(&claims, money(4)).await.unwrap();
    late.settle(spent(10));
    assert_eq!(denied(meters.reserve(&claims, money(7)).await).used, 4);
    hold.settle(spent(3));
    assert_eq!(denied(meters.reserve(&claims, money(8)).await).used, 3);
}

#[tokio::test]
async fn a_budget_drawn_down_strictly_decreases_within_its_window() {
    let clock = clock();
    let meters = meters(&clock);
    let window = Window::parse("1h", "UTC").unwrap();
    let claims = key(Limits { budgets: vec![Budget { window, ..budget(1_000_000) }], ..Limits::default() });
    let mut last = -1;
    while clock.wall() < BEGIN + 1_000_000 {
        let hold = meters.reserve(&claims, money(5)).await.unwrap();
        let (_, used) = hold.states()[0].budget.unwrap();
        assert!(used.nanos() > last);
        last = used.nanos();
        hold.settle(spent(5));
        clock.advance(61_000);
    }
}

#[tokio::test]
async fn a_soft_budget_is_told_once_a_window() {
    let clock = clock();
    let meters = meters(&clock);
    let mut alerts = meters.alerts();
    let window = Window::Every { length: 10_000, anchor: BEGIN };
    let soft = Some(Money::from_nanos(5));
    let claims = key(Limits { budgets: vec![Budget { window, max: None, soft }], ..Limits::default() });
    for window in 1..=2 {
        for _ in 0..4 {
            meters.reserve(&claims, money(3)).await.unwrap().settle(spent(3));
        }
        let alert = alerts.try_recv().unwrap();
        assert_eq!((alert.spent.nanos(), alert.resets_at), (6, Some(BEGIN + window * 10_000)));
        assert!(alerts.try_recv().is_err());
        clock.advance(10_000);
    }
}

/// A ledger that can be slow and can fail.
#[derive(Default)]
struct Ledger {
    spent: Mutex<HashMap<String, i64>>,
    through: AtomicI64,
    asked: AtomicUsize,
    down: AtomicBool,
    slow: AtomicBool,
}

#[async_trait]
impl Spending for Ledger {
    async fn spent(&self, scope: &Scope, _: Option<i64>) -> Result<Money, String> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.slow.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        tokio::task::yield_now().await;
        if self.down.load(Ordering::SeqCst) {
            return Err("the ledger is away".to_owned());
        }
        Ok(Money::from_nanos(self.spent.lock().unwrap().get(&*scope.id).copied().unwrap_or(0)))
    }

    async fn tokens(&self, scope: &Scope, from: i64) -> Result<u64, String> {
        assert_eq!(from % 86_400_000, 0, "a day of UTC begins at midnight");
        self.spent(scope, Some(from)).await.map(|tokens| tokens.nanos().unsigned_abs())
    }

    fn settled_through(&self) -> i64 {
        self.through.load(Ordering::SeqCst)
    }
}

/// A key that may use so many tokens a day.
fn daily(tokens: u64, limits: Limits) -> [Claim; 1] {
    let scope = Scope { kind: ScopeKind::Key, id: "k".into() };
    key(limits.with_tokens_a_day(&scope, Some(tokens)))
}

fn tokens(tokens: u64) -> Demand {
    Demand { tokens, ..Demand::default() }
}

fn used(tokens: u64) -> Spent {
    Spent { tokens, ..Spent::default() }
}

#[tokio::test]
async fn tokens_of_the_day_are_held_settled_and_begin_anew_at_midnight() {
    let clock = clock();
    let ledger = Arc::new(Ledger::default());
    ledger.spent.lock().unwrap().insert("k".into(), 300);
    let meters = Meters::new(Options::default(), Arc::clone(&ledger) as _, Arc::clone(&clock) as _);
    let claims = daily(1_000, Limits::default());
    let hold = meters.reserve(&claims, tokens(600)).await.unwrap();
    assert_eq!(hold.states()[0].day, Some((1_000, 100)), "the ledger knew of 300");
    let midnight = (BEGIN / 86_400_000 + 1) * 86_400_000;
    let refused = denied(meters.reserve(&claims, tokens(200)).await);
    assert_eq!((refused.scope.kind, &*refused.scope.id), (ScopeKind::Key, "k"));
    assert_eq!((refused.limit, refused.max, refused.used), (LimitKind::DayTokens, 1_000, 900));
    assert_eq!(refused.resets_at, Some(midnight));
    hold.settle(used(500));
    let last = meters.reserve(&claims, tokens(200)).await.unwrap();
    assert_eq!(last.states()[0].day, Some((1_000, 0)));
    drop(last);
    assert!(meters.reserve(&claims, tokens(201)).await.is_err());
    clock.set_wall(midnight);
    assert_eq!(meters.reserve(&claims, tokens(1)).await.unwrap().states()[0].day, Some((1_000, 999)));
}

#[tokio::test]
async fn whoever_is_refused_otherwise_has_taken_no_tokens_of_the_day() {
    let meters = meters(&clock());
    let claims = daily(100, Limits { rpm: Some(1), ..Limits::default() });
    meters.reserve(&claims, tokens(40)).await.unwrap().settle(used(40));
    for _ in 0..3 {
        assert_eq!(denied(meters.reserve(&claims, tokens(40)).await).limit, LimitKind::Requests);
    }
    let alone = daily(100, Limits::default());
    let hold = meters.reserve(&alone, tokens(60)).await.unwrap();
    assert_eq!(hold.states()[0].day, Some((100, 0)));
    // Not sent: nothing was used.
    hold.settle(Spent { refused: true, ..Spent::default() });
    assert_eq!(meters.reserve(&alone, tokens(60)).await.unwrap().states()[0].day, Some((100, 0)));
}

#[tokio::test]
async fn many_callers_ask_the_ledger_once() {
    let (ledger, clock) = (Arc::new(Ledger::default()), clock());
    ledger.spent.lock().unwrap().insert("k".to_owned(), 7);
    let meters = Meters::new(Options::default(), Arc::clone(&ledger) as _, clock);
    let claims = key(Limits { budgets: vec![budget(10)], ..Limits::default() });
    let calls = (0..50).map(|_| meters.reserve(&claims, money(1)));
    let answers = futures_util::future::join_all(calls).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 3);
    assert_eq!(ledger.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn without_the_ledger_known_scopes_go_on_and_others_are_unavailable() {
    let (ledger, clock) = (Arc::new(Ledger::default()), clock());
    let meters = Meters::new(Options::default(), Arc::clone(&ledger) as _, Arc::clone(&clock) as _);
    let of = |id| [claim(ScopeKind::Key, id, Limits { budgets: vec![budget(10)], ..Limits::default() })];
    assert!(meters.reserve(&of("known"), money(1)).await.is_ok());
    ledger.down.store(true, Ordering::SeqCst);
    assert!(meters.reserve(&of("known"), money(1)).await.is_ok());
    for _ in 0..20 {
        let answer = meters.reserve(&of("new"), money(1)).await;
        assert!(matches!(answer, Err(Refusal::Unavailable { .. })), "{answer:?}");
    }
    assert_eq!(ledger.asked.load(Ordering::SeqCst), 2, "a failure is not asked for again at once");
    ledger.down.store(false, Ordering::SeqCst);
    clock.advance(1000);
    assert!(meters.reserve(&of("new"), money(1)).await.is_ok());
    ledger.slow.store(true, Ordering::SeqCst);
    let begun = tokio::time::Instant::now();
    assert!(matches!(meters.reserve(&of("slow"), money(1)).await, Err(Refusal::Unavailable { .. })));
    assert!(begun.elapsed() < Duration::from_millis(2100));
}

#[tokio::test]
async fn idle_scopes_are_forgotten_when_the_ledger_knows_what_they_spent() {
    let (ledger, clock) = (Arc::new(Ledger::default()), clock());
    let options = Options { scopes: 64, ..Options::default() };
    let meters = Meters::new(options, Arc::clone(&ledger) as _, Arc::clone(&clock) as _);
    let of = |number: usize| {
        [claim(
            ScopeKind::Key,
            &format!("k{number}"),
            Limits { rpm: Some(1), budgets: vec![budget(10)], ..Limits::default() },
        )]
    };
    let held = meters.reserve(&of(0), money(10)).await.unwrap();
    for number in 1..2000 {
        meters.reserve(&of(number), money(1)).await.unwrap().settle(spent(1));
    }
    assert_eq!(meters.scopes(), 2000, "a minute's requests are not forgotten");
    clock.advance(61_000);
    for number in 2000..4000 {
        meters.reserve(&of(number), money(1)).await.unwrap().settle(spent(1));
    }
    assert_eq!(meters.scopes(), 4000, "money the ledger does not know yet is not forgotten");
    clock.advance(61_000);
    ledger.through.store(clock.wall(), Ordering::SeqCst);
    // Shards look again when they have grown by an eighth.
    for number in 4000..5000 {
        meters.reserve(&of(number), money(1)).await.unwrap().settle(spent(1));
    }
    assert!(meters.scopes() < 2000, "{}", meters.scopes());
    assert_eq!(denied(meters.reserve(&of(0), money(1)).await).used, 10, "a hold keeps its scope");
    held.settle(spent(10));
}

#[tokio::test]
async fn a_clock_set_back_asks_the_ledger_again() {
    let (ledger, clock) = (Arc::new(Ledger::default()), clock());
    let meters = Meters::new(Options::default(), Arc::clone(&ledger) as _, Arc::clone(&clock) as _);
    let window = Window::Every { length: 1000, anchor: BEGIN };
    let claims = key(Limits { budgets: vec![Budget { window, ..budget(10) }], ..Limits::default() });
    meters.reserve(&claims, money(10)).await.unwrap().settle(spent(10));
    clock.set_wall(BEGIN + 1000);
    meters.reserve(&claims, money(10)).await.unwrap().settle(spent(10));
    assert_eq!(ledger.asked.load(Ordering::SeqCst), 1);
    ledger.spent.lock().unwrap().insert("k".to_owned(), 10);
    clock.set_wall(BEGIN + 999);
    assert_eq!(denied(meters.reserve(&claims, money(1)).await).used, 10);
    clock.set_wall(BEGIN + 1001);
    assert_eq!(denied(meters.reserve(&claims, money(1)).await).used, 10);
    assert_eq!(ledger.asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn spend_that_is_set_back_may_be_spent_again() {
    let meters = meters(&clock());
    let claims = key(Limits { budgets: vec![budget(100)], ..Limits::default() });
    let scope = claims[0].scope.clone();
    // Nobody counts it yet: the ledger tells when it is first seen.
    meters.adjust(&scope, Money::from_nanos(-100));
    meters.reserve(&claims, money(100)).await.unwrap().settle(spent(100));
    denied(meters.reserve(&claims, money(1)).await);
    meters.adjust(&scope, Money::from_nanos(-60));
    meters.reserve(&claims, money(60)).await.unwrap().settle(spent(60));
    denied(meters.reserve(&claims, money(1)).await);
}

#[tokio::test]
async fn a_call_that_nobody_limited_when_it_began_counts_for_budgets_of_its_window() {
    let (clock, window) = (clock(), Window::Every { length: 1000, anchor: BEGIN });
    let meters = meters(&clock);
    let claims = key(Limits { budgets: vec![Budget { window, ..budget(10) }], ..Limits::default() });
    let scope = claims[0].scope.clone();
    // Nobody counts it yet: the ledger knows by the time somebody does.
    meters.spent_late(scope.clone(), BEGIN, Money::from_nanos(100));
    assert_eq!(meters.scopes(), 0);
    meters.reserve(&claims, money(1)).await.unwrap().settle(spent(1));
    // One that began in an earlier window, and one of this.
    meters.spent_late(scope.clone(), BEGIN - 1, Money::from_nanos(100));
    meters.spent_late(scope, BEGIN, Money::from_nanos(9));
    assert_eq!(denied(meters.reserve(&claims, money(1)).await).used, 10);
}

#[tokio::test]
async fn a_budget_given_during_a_call_gets_what_the_call_spends() {
    let clock = clock();
    let meters = meters(&clock);
    let before = meters.reserve(&key(Limits::default()), money(5)).await.unwrap();
    let claims = key(Limits { budgets: vec![budget(10)], ..Limits::default() });
    let hold = meters.reserve(&claims, money(1)).await.unwrap();
    before.settle(spent(5));
    drop(hold);
    assert_eq!(denied(meters.reserve(&claims, money(6)).await).used, 5);
}

#[tokio::test]
async fn a_scope_claimed_twice_is_taken_from_once() {
    let clock = clock();
    let meters = meters(&clock);
    let rate = claim(ScopeKind::Key, "k", Limits { rpm: Some(5), ..Limits::default() });
    let place = claim(
        ScopeKind::Key,
        "k",
        Limits { parallel: Some(1), budgets: vec![budget(9)], ..Limits::default() },
    );
    let claims = [rate, place];
    let hold = meters.reserve(&claims, money(3)).await.unwrap();
    assert_eq!(hold.states()[0].requests, Some((5, 4)));
    assert_eq!(hold.states()[0].budget, Some((Money::from_nanos(9), Money::from_nanos(3))));
    assert_eq!(denied(meters.reserve(&claims, money(3)).await).limit, LimitKind::Parallel);
    hold.settle(spent(4));
    let hold = meters.reserve(&claims, money(3)).await.unwrap();
    assert_eq!(hold.states()[0].budget, Some((Money::from_nanos(9), Money::from_nanos(7))));
}

#[test]
fn threads_never_pass_a_limit_and_everything_settles_once() {
    let meters = meters(&clock());
    let shared = [
        claim(ScopeKind::Key, "a", Limits { parallel: Some(5), ..Limits::default() }),
        claim(ScopeKind::Team, "t", Limits { budgets: vec![budget(3_000)], ..Limits::default() }),
        claim(ScopeKind::User, "u", Limits { rpm: Some(2_000), tpm: Some(90_000), ..Limits::default() }),
    ];
    let (total, in_flight) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|threads| {
        for seed in 1..=8 {
            let (meters, shared, total, in_flight) = (&meters, &shared, &total, &in_flight);
            threads.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                let mut dice = Dice(seed * 77);
                for _ in 0..2_000 {
                    let mut claims = shared.to_vec();
                    claims.rotate_left(dice.roll(3).try_into().unwrap());
                    let demand = Demand { tokens: 30, money: Money::from_nanos(3), free: false };
                    let Ok(hold) = runtime.block_on(meters.reserve(&claims, demand)) else { continue };
                    assert!(in_flight.fetch_add(1, Ordering::SeqCst) < 5);
                    if dice.roll(4) == 0 {
                        std::thread::yield_now();
                    }
                    let used = dice.roll(4);
                    in_flight.fetch_sub(1, Ordering::SeqCst);
                    if used == 0 {
                        drop(hold);
                    } else {
                        total.fetch_add(used, Ordering::SeqCst);
                        hold.settle(Spent {
                            tokens: 30,
                            money: Money::from_nanos(used as i64),
                            refused: false,
                        });
                    }
                }
            });
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let total = total.into_inner();
    assert!(total <= 3_000 && total > 2_500, "{total}");
    let probe = [claim(ScopeKind::Team, "t", Limits { budgets: vec![budget(0)], ..Limits::default() })];
    assert_eq!(denied(runtime.block_on(meters.reserve(&probe, money(1)))).used, total as i64);
    let probe = [claim(ScopeKind::Key, "a", Limits { parallel: Some(1), ..Limits::default() })];
    assert!(runtime.block_on(meters.reserve(&probe, money(1))).is_ok(), "every place is free again");
}

/// Prints what a call with four claims costs. `cargo test --release -p tollway-meters -- --ignored --nocapture cost`
#[test]
#[ignore = "a measurement"]
fn cost_of_reserve_and_settle() {
    let meters =
        Meters::new(Options::default(), Arc::new(NothingSpent), Arc::new(SystemClock::new(|| BEGIN)));
    let limits = || Limits {
        rpm: Some(u64::MAX),
        tpm: Some(u64::MAX / 8),
        parallel: Some(100),
        budgets: vec![Budget { window: Window::parse("1mo", "Europe/Berlin").unwrap(), ..budget(i64::MAX) }],
        ..Limits::default()
    };
    let kinds = [ScopeKind::Key, ScopeKind::User, ScopeKind::Team, ScopeKind::Deployment];
    let claims = kinds.map(|kind| claim(kind, "0123456789abcdef0123456789abcdef", limits()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        for _ in 0..3 {
            let (begun, rounds) = (Instant::now(), 500_000_u32);
            for _ in 0..rounds {
                let demand = Demand { tokens: 100, money: Money::from_nanos(10), free: false };
                meters.reserve(&claims, demand).await.unwrap().settle(Spent { tokens: 90, ..spent(9) });
            }
            println!("{} ns", begun.elapsed().as_nanos() / u128::from(rounds));
        }
    });
}

#[tokio::test]
async fn more_money_for_a_call_takes_no_further_request_and_no_place() {
    let clock = clock();
    let meters = meters(&clock);
    let budgets = vec![budget(100)];
    let claims = [
        claim(
            ScopeKind::Key,
            "k",
            Limits {
                rpm: Some(1),
                tpm: Some(1),
                parallel: Some(1),
                budgets: budgets.clone(),
                ..Limits::default()
            },
        ),
        claim(ScopeKind::Team, "t", Limits { budgets, ..Limits::default() }),
        claim(ScopeKind::User, "u", Limits { rpm: Some(1), ..Limits::default() }),
    ];
    let hold = meters.reserve(&claims, Demand { tokens: 1, ..money(60) }).await.unwrap();
    let kinds: Vec<ScopeKind> = hold.budgets().iter().map(|claim| claim.scope.kind).collect();
    assert_eq!(kinds, [ScopeKind::Key, ScopeKind::Team]);
    let more = meters.reserve(&hold.budgets(), money(40)).await.unwrap();
    assert_eq!(denied(meters.reserve(&hold.budgets(), money(1)).await).used, 100);
    // The call is over; what was held beside is in what it spent.
    hold.settle(spent(90));
    drop(more);
    let team = [claims[1].clone()];
    assert_eq!(denied(meters.reserve(&team, money(11)).await).used, 90);
    meters.reserve(&team, money(10)).await.unwrap().settle(spent(0));
}

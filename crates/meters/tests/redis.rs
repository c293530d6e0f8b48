//! Meters of several processes on one real Redis.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tollway_meters::*;
use tollway_model::Money;
use tollway_testkit::services;

mod support;
use support::*;

const CENT: i64 = 10_000_000;
const LEASE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_never_pass_a_cap_together() {
    let server = services::Redis::start().unwrap();
    let ledger = Arc::default();
    let mut instances = Vec::new();
    for _ in 0..3 {
        instances.push(connected(settings(&server.url()), LEASE, &ledger).await);
    }
    let total = Arc::new(AtomicI64::new(0));
    let calls = (0..500_usize).map(|number| {
        let (meters, total) = (instances[number % 3].meters.clone(), Arc::clone(&total));
        tokio::spawn(async move {
            let claims = [
                claim(
                    ScopeKind::Team,
                    "busy",
                    Limits { parallel: Some(400), rpm: Some(10_000), ..Limits::default() },
                ),
                capped(100 * CENT)[0].clone(),
            ];
            for _ in 0..3 {
                let Ok(hold) = meters.reserve(&claims, money(CENT)).await else { continue };
                tokio::time::sleep(Duration::from_millis(number as u64 * 7 % 40)).await;
                if number % 3 == 0 {
                    drop(hold);
                    continue;
                }
                let used = CENT - i64::from(number % 2 == 0) * CENT / 2;
                total.fetch_add(used, Ordering::SeqCst);
                hold.settle(spent(used));
                return 1;
            }
            0
        })
    });
    let answers = futures_util::future::join_all(calls).await;
    let settled: i32 = answers.into_iter().map(Result::unwrap).sum();
    let total = total.load(Ordering::SeqCst);
    assert!(total <= 100 * CENT, "{total} spent of {}", 100 * CENT);
    assert!(settled >= 90, "only {settled} calls were let through");
    for instance in &instances {
        instance.meters.flush().await.unwrap();
    }
    assert_eq!(used(&instances[0]).await, total, "the store knows what was spent, and nothing is held");
    let places = [claim(ScopeKind::Team, "busy", Limits { parallel: Some(1), ..Limits::default() })];
    let hold = instances[1].meters.reserve(&places, money(0)).await.unwrap();
    assert_eq!(hold.states()[0].parallel, Some((1, 0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rates_places_and_refunds_are_shared() {
    let server = services::Redis::start().unwrap();
    let ledger = Arc::default();
    let one = connected(settings(&server.url()), LEASE, &ledger).await;
    let two = connected(settings(&server.url()), LEASE, &ledger).await;
    let limits = Limits { rpm: Some(3), tpm: Some(100), parallel: Some(2), ..Limits::default() };
    let claims = [claim(ScopeKind::Key, "k", limits)];
    let demand = Demand { tokens: 30, ..Demand::default() };
    let first = one.meters.reserve(&claims, demand).await.unwrap();
    let second = two.meters.reserve(&claims, demand).await.unwrap();
    let state = &second.states()[0];
    assert_eq!((state.requests, state.tokens, state.parallel), (Some((3, 1)), Some((100, 40)), Some((2, 0))));
    assert_eq!(denied(one.meters.reserve(&claims, demand).await).limit, LimitKind::Parallel);
    first.settle(Spent { tokens: 50, ..Spent::default() });
    one.meters.flush().await.unwrap();
    let refusal = denied(two.meters.reserve(&claims, demand).await);
    assert_eq!((refusal.limit, refusal.max, refusal.used), (LimitKind::Tokens, 100, 80));
    let wait = refusal.resets_at.unwrap() - wall();
    assert!((55_000..=60_000).contains(&wait), "{wait}");
    drop(second);
    two.meters.flush().await.unwrap();
    let third = one.meters.reserve(&claims, demand).await.unwrap();
    assert_eq!((third.states()[0].requests, third.states()[0].tokens), (Some((3, 1)), Some((100, 20))));
    third.settle(Spent { tokens: 10, ..Spent::default() });
    one.meters.flush().await.unwrap();
    let tiny = Demand { tokens: 1, ..Demand::default() };
    let last = two.meters.reserve(&claims, tiny).await.unwrap();
    assert_eq!((last.states()[0].requests, last.states()[0].tokens), (Some((3, 0)), Some((100, 39))));
    let refusal = denied(one.meters.reserve(&claims, tiny).await);
    assert_eq!((refusal.limit, refusal.max, refusal.used), (LimitKind::Requests, 3, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scopes_a_call_goes_on_without_spend_nothing() {
    let server = services::Redis::start().unwrap();
    let ledger = Arc::default();
    let one = connected(settings(&server.url()), LEASE, &ledger).await;
    let limits = || Limits { rpm: Some(3), tpm: Some(100), ..capped(100)[0].limits.as_ref().clone() };
    let claims = [claim(ScopeKind::Key, "k", limits()), claim(ScopeKind::ModelPerKey, "k:m", limits())];
    let demand = Demand { tokens: 40, money: Money::from_nanos(40), free: false };
    let used = Spent { tokens: 30, money: Money::from_nanos(30), refused: false };
    let apart = |scope: &Scope| scope.kind == ScopeKind::ModelPerKey;
    for refused in [false, true] {
        one.meters.reserve(&claims, demand).await.unwrap().settle_apart(used, &apart, refused);
        one.meters.flush().await.unwrap();
    }
    let two = connected(settings(&server.url()), LEASE, &ledger).await;
    let hold = two.meters.reserve(&claims, Demand { free: true, ..Demand::default() }).await.unwrap();
    let (key, model) = (hold.states().remove(0), hold.states().remove(1));
    let budget = |nanos| Some((Money::from_nanos(100), Money::from_nanos(nanos)));
    assert_eq!((key.requests, key.tokens, key.budget), (Some((3, 0)), Some((100, 40)), budget(60)));
    assert_eq!((model.requests, model.tokens, model.budget), (Some((3, 1)), Some((100, 100)), budget(0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_of_a_killed_process_come_back_within_the_lease_and_others_are_renewed() {
    let server = services::Redis::start().unwrap();
    let ledger = Arc::default();
    let lease = Duration::from_secs(2);
    let alive = connected(settings(&server.url()), lease, &ledger).await;
    let kept = alive.meters.reserve(&capped(10), money(3)).await.unwrap();
    let url = server.url();
    // The other process has a runtime of its own, and everything in it stops at once.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let killed = connected(settings(&url), lease, &Arc::default()).await;
            std::mem::forget(killed.meters.reserve(&capped(10), money(7)).await.unwrap());
            std::mem::forget(killed);
        });
        runtime.shutdown_background();
    })
    .join()
    .unwrap();
    assert_eq!(used(&alive).await, 10);
    tokio::time::sleep(lease + Duration::from_millis(500)).await;
    assert_eq!(used(&alive).await, 3);
    tokio::time::sleep(lease).await;
    assert_eq!(used(&alive).await, 3, "a living process keeps what it holds");
    kept.settle(spent(2));
    alive.meters.flush().await.unwrap();
    assert_eq!(used(&alive).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_ledger_knows_is_seeded_once() {
    let server = services::Redis::start().unwrap();
    let ledger = Arc::new(Ledger(AtomicI64::new(6), Disk::default()));
    let one = connected(settings(&server.url()), LEASE, &ledger).await;
    let two = connected(settings(&server.url()), LEASE, &ledger).await;
    let calls = (0..20).map(|number| {
        let meters = if number % 2 == 0 { &one.meters } else { &two.meters };
        async move { meters.reserve(&capped(10), money(1)).await }
    });
    let answers = futures_util::future::join_all(calls).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 4);
    ledger.0.store(i64::MIN, Ordering::SeqCst);
    assert_eq!(used(&two).await, 10);
    let new = [claim(ScopeKind::User, "new", Limits { budgets: vec![budget(10)], ..Limits::default() })];
    assert!(matches!(one.meters.reserve(&new, money(1)).await, Err(Refusal::Unavailable { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_soft_budget_is_told_once_by_all_processes() {
    let server = services::Redis::start().unwrap();
    let ledger = Arc::default();
    let one = connected(settings(&server.url()), LEASE, &ledger).await;
    let two = connected(settings(&server.url()), LEASE, &ledger).await;
    let mut alerts = [one.meters.alerts(), two.meters.alerts()];
    let soft = Budget { max: None, soft: Some(Money::from_nanos(5)), ..budget(0) };
    let claims = [claim(ScopeKind::Key, "soft", Limits { budgets: vec![soft], ..Limits::default() })];
    for _ in 0..3 {
        for instance in [&one, &two] {
            instance.meters.reserve(&claims, money(2)).await.unwrap().settle(spent(2));
            instance.meters.flush().await.unwrap();
        }
    }
    let told: Vec<Alert> =
        alerts.iter_mut().flat_map(|alerts| std::iter::from_fn(|| alerts.try_recv().ok())).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].spent.nanos(), &*told[0].scope.id), (6, "soft"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_in_the_store_start_anew_and_late_money_goes_to_the_old_one() {
    let server = services::Redis::start().unwrap();
    let one = connected(settings(&server.url()), LEASE, &Arc::default()).await;
    let length = 1500;
    // The window begins now, so that the test has all of it.
    let window = Window::Every { length, anchor: wall() };
    let end = window.current(wall()).end.unwrap();
    let limits =
        |max| Limits { budgets: vec![Budget { window: window.clone(), ..budget(max) }], ..Limits::default() };
    let claims = |max| [claim(ScopeKind::Key, "k", limits(max))];
    let late = one.meters.reserve(&claims(10), money(10)).await.unwrap();
    let refusal = denied(one.meters.reserve(&claims(10), money(1)).await);
    assert_eq!((refusal.used, refusal.resets_at), (10, Some(end)));
    tokio::time::sleep(Duration::from_millis((end - wall() + 5) as u64)).await;
    let hold = one.meters.reserve(&claims(10), money(4)).await.unwrap();
    late.settle(spent(10));
    one.meters.flush().await.unwrap();
    assert_eq!(denied(one.meters.reserve(&claims(0), money(1)).await).used, 4);
    drop(hold);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_and_messages_go_through_the_same_connection() {
    let server = services::Redis::start().unwrap();
    let one = connected(settings(&server.url()), LEASE, &Arc::default()).await;
    one.redis.set("answer", b"42", Duration::from_secs(60)).await.unwrap();
    assert_eq!(one.redis.get("answer").await.unwrap(), Some(b"42".to_vec()));
    one.redis.delete("answer").await.unwrap();
    assert_eq!(one.redis.get("answer").await.unwrap(), None);
    let mut heard = one.redis.subscribe("keys");
    assert_eq!(heard.recv().await, Some(Heard::Gap));
    one.redis.publish("keys", b"blocked").await.unwrap();
    one.redis.publish("others", b"nothing").await.unwrap();
    one.redis.publish("keys", b"deleted").await.unwrap();
    assert_eq!(heard.recv().await, Some(Heard::Message(b"blocked".to_vec())));
    assert_eq!(heard.recv().await, Some(Heard::Message(b"deleted".to_vec())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_is_told_of_nothing_that_a_killed_process_would_lose() {
    let server = services::Redis::start().unwrap();
    let (slow, other) = (Arc::<Ledger>::default(), Arc::<Ledger>::default());
    let lease = Duration::from_secs(30);
    let one = connected(settings(&server.url()), lease, &slow).await;
    let two = connected(settings(&server.url()), lease, &other).await;
    let disk = slow.1.lock().await;
    one.meters.reserve(&capped(100), money(40)).await.unwrap().settle(spent(10));
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(used(&two).await, 40, "held until the disk has it");
    drop(disk);
    one.meters.flush().await.unwrap();
    assert_eq!(used(&two).await, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_hangs_ends_no_lease_and_holds_up_nobody() {
    let server = services::Redis::start().unwrap();
    let (slow, other) = (Arc::<Ledger>::default(), Arc::<Ledger>::default());
    let lease = Duration::from_secs(3);
    let one = connected(settings(&server.url()), lease, &slow).await;
    let two = connected(settings(&server.url()), lease, &other).await;
    let disk = slow.1.lock().await;
    let running = one.meters.reserve(&capped(100), money(40)).await.unwrap();
    one.meters.reserve(&capped(100), money(20)).await.unwrap().settle(spent(10));
    tokio::time::sleep(Duration::from_millis(5_000)).await;
    assert!(used(&two).await >= 40, "the call goes on, and so does what is held for it");
    let unseen = [claim(ScopeKind::Key, "unseen", capped(100)[0].limits.as_ref().clone())];
    let asked = tokio::time::timeout(Duration::from_secs(3), one.meters.reserve(&unseen, money(1)));
    assert!(asked.await.is_ok(), "the decision waits for the disk");
    drop(disk);
    running.settle(spent(30));
    one.meters.flush().await.unwrap();
    assert_eq!(used(&two).await, 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_process_spent_and_did_not_tell_is_found_in_the_ledger() {
    let server = services::Redis::start().unwrap();
    let ledger = Arc::<Ledger>::default();
    let lease = Duration::from_secs(1);
    let one = connected(settings(&server.url()), lease, &ledger).await;
    let claims = capped(100);
    one.meters.reserve(&claims, money(10)).await.unwrap().settle(spent(10));
    one.meters.flush().await.unwrap();
    let url = server.url();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let killed = connected(settings(&url), lease, &Arc::default()).await;
            std::mem::forget(killed.meters.reserve(&capped(100), money(40)).await.unwrap());
            std::mem::forget(killed);
        });
        runtime.shutdown_background();
    })
    .join()
    .unwrap();
    assert_eq!(used(&one).await, 50);
    // Its journal was shipped.
    ledger.0.store(50, Ordering::SeqCst);
    tokio::time::sleep(lease + Duration::from_millis(300)).await;
    assert_eq!(used(&one).await, 50, "the hold is back, and was spent");
    one.meters.reserve(&claims, money(5)).await.unwrap().settle(spent(5));
    one.meters.flush().await.unwrap();
    assert_eq!(used(&one).await, 55, "what is not shipped yet counts, too");
    // More of it is shipped later.
    ledger.0.store(70, Ordering::SeqCst);
    for turn in 0.. {
        if used(&one).await == 70 {
            break;
        }
        assert!(turn < 60, "the ledger is not asked again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spending_that_is_set_back_by_a_process_that_does_not_count_it_is_set_back() {
    let server = services::Redis::start().unwrap();
    let ledger = Arc::<Ledger>::default();
    let one = connected(settings(&server.url()), LEASE, &ledger).await;
    let two = connected(settings(&server.url()), LEASE, &ledger).await;
    let (month, ever) = (budget(100), Budget { window: Window::Lifetime, ..budget(100) });
    let claims =
        [claim(ScopeKind::Key, "capped", Limits { budgets: vec![month, ever], ..Limits::default() })];
    one.meters.reserve(&claims, money(90)).await.unwrap().settle(spent(90));
    one.meters.flush().await.unwrap();
    // One counts both windows, two none, then one of them.
    for (teller, left) in [(&two, 60), (&one, 30), (&two, 0)] {
        teller.meters.adjust(&claims[0].scope, Money::from_nanos(-30));
        teller.meters.flush().await.unwrap();
        assert_eq!(used(&two).await, left);
        let hold = one.meters.reserve(&claims, Demand { free: true, ..Demand::default() }).await.unwrap();
        let tightest = hold.states()[0].budget.unwrap();
        assert_eq!(tightest, (Money::from_nanos(100), Money::from_nanos(left)));
        let none =
            Limits { budgets: vec![Budget { window: Window::Lifetime, ..budget(0) }], ..Limits::default() };
        let ever = denied(one.meters.reserve(&[claim(ScopeKind::Key, "capped", none)], money(1)).await);
        assert_eq!(ever.used, left);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute"]
async fn a_minute_later_the_store_admits_again_exactly_what_is_over() {
    let server = services::Redis::start().unwrap();
    let one = connected(settings(&server.url()), LEASE, &Arc::default()).await;
    let limits = Limits { rpm: Some(3), tpm: Some(100), ..Limits::default() };
    let claims = [claim(ScopeKind::Key, "k", limits)];
    let demand = Demand { tokens: 30, ..Demand::default() };
    one.meters.reserve(&claims, demand).await.unwrap().settle(Spent { tokens: 10, ..Spent::default() });
    tokio::time::sleep(Duration::from_secs(2)).await;
    for _ in 0..2 {
        one.meters.reserve(&claims, demand).await.unwrap().settle(Spent { tokens: 20, ..Spent::default() });
    }
    one.meters.flush().await.unwrap();
    let refusal = denied(one.meters.reserve(&claims, demand).await);
    assert_eq!((refusal.limit, refusal.used), (LimitKind::Requests, 3));
    let wait = u64::try_from(refusal.resets_at.unwrap() - wall()).unwrap();
    assert!((57_000..=58_100).contains(&wait), "{wait}");
    tokio::time::sleep(Duration::from_millis(wait - 300)).await;
    assert_eq!(denied(one.meters.reserve(&claims, demand).await).used, 3);
    tokio::time::sleep(Duration::from_millis(350)).await;
    let hold = one.meters.reserve(&claims, demand).await.unwrap();
    assert_eq!((hold.states()[0].requests, hold.states()[0].tokens), (Some((3, 0)), Some((100, 30))));
    assert_eq!(denied(one.meters.reserve(&claims, demand).await).used, 3);
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

    /// Mostly nothing, else a small limit.
    fn limit(&mut self, sides: u64) -> Option<u64> {
        (self.roll(3) == 0).then(|| self.roll(sides))
    }
}

/// Claims with other limits every time, on scopes whose windows stay.
fn random_claims(dice: &mut Dice, round: u64) -> Vec<Claim> {
    let windows = [Window::Lifetime, Window::parse("12mo", "Asia/Kolkata").unwrap()];
    let kinds = [ScopeKind::Key, ScopeKind::Team, ScopeKind::User];
    let mut claims = Vec::new();
    for (number, kind) in kinds.into_iter().enumerate() {
        if dice.roll(4) == 0 {
            continue;
        }
        let budgets = windows.iter().take(number).map(|window| {
            let max = dice.limit(60).map(|max| Money::from_nanos(max.cast_signed()));
            Budget { window: window.clone(), max, soft: None }
        });
        let budgets = budgets.collect();
        let (rpm, tpm, parallel) = (dice.limit(9), dice.limit(300), dice.limit(5));
        claims.push(claim(
            kind,
            &format!("round {round}"),
            Limits { rpm, tpm, parallel, budgets, ..Limits::default() },
        ));
    }
    claims
}

/// What both must agree on: everything but times, which are not the same here and there.
fn without_times(answer: &Result<Hold, Refusal>) -> String {
    match answer {
        Ok(hold) => {
            let states = hold.states().into_iter().map(|state| AllowanceState { resets_at: 0, ..state });
            format!("{:?}", states.collect::<Vec<_>>())
        }
        Err(Refusal::Denied(denied)) => {
            format!("{:?} {:?} {} {}", denied.scope, denied.limit, denied.max, denied.used)
        }
        Err(refusal) => format!("{refusal:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_decides_as_memory_does() {
    let server = services::Redis::start().unwrap();
    let shared = connected(settings(&server.url()), LEASE, &Arc::default()).await;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(wall));
    let alone = Meters::new(Options::default(), Arc::new(NothingSpent), clock);
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    for round in 0..40 {
        let mut open = Vec::new();
        for step in 0..40 {
            if open.is_empty() || dice.roll(3) > 0 {
                let claims = random_claims(&mut dice, round);
                let nanos = dice.roll(12).cast_signed();
                let free = nanos == 0 && dice.roll(2) == 0;
                let demand = Demand { tokens: dice.roll(60), money: Money::from_nanos(nanos), free };
                let ours = shared.meters.reserve(&claims, demand).await;
                let theirs = alone.reserve(&claims, demand).await;
                assert_eq!(
                    without_times(&ours),
                    without_times(&theirs),
                    "round {round} step {step} {claims:#?}"
                );
                open.extend(ours.ok().zip(theirs.ok()));
                continue;
            }
            let (ours, theirs) = open.swap_remove(usize::try_from(dice.roll(open.len() as u64)).unwrap());
            let (tokens, money) = (dice.roll(90), Money::from_nanos(dice.roll(15).cast_signed()));
            match dice.roll(3) {
                0 => drop((ours, theirs)),
                _ => {
                    ours.settle(Spent { tokens, money, refused: false });
                    theirs.settle(Spent { tokens, money, refused: false });
                }
            }
            shared.meters.flush().await.unwrap();
        }
    }
}

/// Prints how many calls with four claims a second one store decides for 64 callers at once, and how long they wait.
/// `cargo test --release -p tollway-meters --test redis -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn cost_of_reserve_and_settle_in_the_store() {
    let server = services::Redis::start().unwrap();
    let one = connected(settings(&server.url()), LEASE, &Arc::default()).await;
    let limits = || Limits {
        rpm: Some(u64::MAX / 2),
        tpm: Some(u64::MAX / 2),
        parallel: Some(1000),
        budgets: vec![budget(i64::MAX)],
        ..Limits::default()
    };
    let kinds = [ScopeKind::Key, ScopeKind::User, ScopeKind::Team, ScopeKind::Deployment];
    let begun = std::time::Instant::now();
    let callers = (0..64).map(|number| {
        let meters = one.meters.clone();
        tokio::spawn(async move {
            let claims = kinds.map(|kind| claim(kind, &format!("caller {number}"), limits()));
            let mut waits = Vec::new();
            for _ in 0..500 {
                let begun = std::time::Instant::now();
                let demand = Demand { tokens: 100, ..money(10) };
                let hold = meters.reserve(&claims, demand).await.unwrap();
                waits.push(begun.elapsed());
                hold.settle(Spent { tokens: 90, ..spent(9) });
            }
            waits
        })
    });
    let mut waits = Vec::new();
    for caller in futures_util::future::join_all(callers).await {
        waits.extend(caller.unwrap());
    }
    let rate = waits.len() as u128 * 1000 / begun.elapsed().as_millis();
    waits.sort();
    println!("{rate} a second, median {:?}, p99 {:?}", waits[waits.len() / 2], waits[waits.len() * 99 / 100]);
    one.meters.flush().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_never_pass_the_tokens_of_a_day_together() {
    let server = services::Redis::start().unwrap();
    let ledger = Arc::new(Ledger::default());
    // Used before the store was there.
    ledger.0.store(1_000, Ordering::SeqCst);
    let mut instances = Vec::new();
    for _ in 0..3 {
        instances.push(connected(settings(&server.url()), LEASE, &ledger).await);
    }
    let scope = Scope { kind: ScopeKind::Key, id: "k".into() };
    let limits = Limits { rpm: Some(100_000), ..Limits::default() };
    let claims = [claim(ScopeKind::Key, "k", limits.with_tokens_a_day(&scope, Some(3_000)))];
    let total = Arc::new(AtomicI64::new(1_000));
    let calls = (0..300_usize).map(|number| {
        let (meters, total) = (instances[number % 3].meters.clone(), Arc::clone(&total));
        let claims = claims.clone();
        tokio::spawn(async move {
            for _ in 0..3 {
                let demand = Demand { tokens: 20, ..Demand::default() };
                let Ok(hold) = meters.reserve(&claims, demand).await else { continue };
                tokio::time::sleep(Duration::from_millis(number as u64 * 7 % 40)).await;
                if number % 3 == 0 {
                    continue;
                }
                let tokens = 20 - 10 * (number as u64 % 2);
                total.fetch_add(tokens.cast_signed(), Ordering::SeqCst);
                hold.settle(Spent { tokens, ..Spent::default() });
                return;
            }
        })
    });
    for call in futures_util::future::join_all(calls).await {
        call.unwrap();
    }
    let total = total.load(Ordering::SeqCst);
    assert!((2_500..=3_000).contains(&total), "{total} of 3000");
    for instance in &instances {
        instance.meters.flush().await.unwrap();
    }
    let left = u64::try_from(3_000 - total).unwrap();
    let demand = Demand { tokens: left.max(1), ..Demand::default() };
    if left > 0 {
        let hold = instances[1].meters.reserve(&claims, demand).await.unwrap();
        assert_eq!(
            hold.states()[0].day,
            Some((3_000, 0)),
            "the store knows what was used, and nothing is held"
        );
    }
    let refused = denied(instances[2].meters.reserve(&claims, Demand { tokens: left + 1, ..demand }).await);
    assert_eq!((refused.limit, refused.scope), (LimitKind::DayTokens, scope));
}

//! Calls that draw from blocks: how rarely they ask, that no limit is passed, and that nothing is lost or counted twice.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tollway_meters::*;
use tollway_model::Money;
use tollway_testkit::services;

mod support;
use support::*;

const LEASE: Duration = Duration::from_secs(60);

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Dice {
        Dice(0x9E37_79B9_7F4A_7C15 ^ seed.wrapping_mul(0xD134_2543_DE82_EF95))
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// How many scripts the server has run since it was started.
fn scripts(server: &services::Redis) -> u64 {
    let mut connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let info: String = redis::cmd("INFO").arg("commandstats").query(&mut connection).unwrap();
    let calls = |line: &str| -> Option<u64> {
        let rest = line.strip_prefix("cmdstat_evalsha:calls=").or(line.strip_prefix("cmdstat_eval:calls="))?;
        rest.split(',').next()?.parse().ok()
    };
    info.lines().filter_map(calls).sum()
}

fn ample() -> Limits {
    Limits {
        rpm: Some(100_000_000),
        tpm: Some(100_000_000_000),
        parallel: Some(1_000_000),
        budgets: vec![budget(1_000_000_000_000)],
        ..Limits::default()
    }
}

/// What the calls of a test used that were admitted.
#[derive(Default)]
struct Totals {
    requests: AtomicU64,
    tokens: AtomicU64,
    money: AtomicI64,
    in_flight: AtomicU64,
    most_in_flight: AtomicU64,
}

impl Totals {
    fn begin(&self) {
        let now = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_in_flight.fetch_max(now, Ordering::SeqCst);
    }

    fn end(&self, spent: Spent) {
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        self.requests.fetch_add(u64::from(!spent.refused), Ordering::SeqCst);
        self.tokens.fetch_add(spent.tokens, Ordering::SeqCst);
        self.money.fetch_add(spent.money.nanos(), Ordering::SeqCst);
    }
}

/// One call of a random size that lasts a random time and ends in one of the ways calls end.
async fn call(meters: &Meters, claims: &[Claim], dice: &mut Dice, totals: &Totals) -> Result<(), Refusal> {
    let demand =
        Demand { tokens: dice.roll(100), money: Money::from_nanos(dice.roll(20).cast_signed()), free: false };
    let hold = meters.reserve(claims, demand).await?;
    totals.begin();
    match dice.roll(4) {
        0 => tokio::time::sleep(Duration::from_millis(dice.roll(8))).await,
        1 => tokio::task::yield_now().await,
        _ => {}
    }
    if dice.roll(6) == 0 {
        totals.end(Spent { refused: true, ..Spent::default() });
        drop(hold);
        return Ok(());
    }
    let (tokens, money) = (dice.roll(demand.tokens + 1), dice.roll(demand.money.nanos().unsigned_abs() + 1));
    let spent = Spent { tokens, money: Money::from_nanos(money.cast_signed()), refused: false };
    totals.end(spent);
    hold.settle(spent);
    Ok(())
}

/// What is used of a scope that has all limits, as the store counts it.
async fn counted(instance: &Instance, claims: &[Claim]) -> (u64, u64, u64, i64) {
    for _ in 0..2 {
        instance.meters.flush().await.unwrap();
    }
    let probe = Demand { free: true, ..Demand::default() };
    let hold = instance.meters.reserve(claims, probe).await.unwrap();
    let state = hold.states().remove(0);
    let used = |(max, left): (u64, u64)| max - left;
    let requests = state.requests.map_or(0, used) - 1;
    let places = state.parallel.map_or(0, used) - 1;
    (requests, state.tokens.map_or(0, used), places, state.budget.map_or(0, |(_, used)| used.nanos()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_come_often_ask_the_store_rarely_and_everything_is_told() {
    let server = services::Redis::start().unwrap();
    let one = connected(settings(&server.url()), LEASE, &Arc::default()).await;
    let kinds = [ScopeKind::Key, ScopeKind::User, ScopeKind::Team];
    let claims: Arc<[Claim]> = kinds.map(|kind| claim(kind, "busy", ample())).into();
    let totals = Arc::<Totals>::default();
    let before = scripts(&server);
    let callers = (0..16).map(|number| {
        let (meters, claims, totals) = (one.meters.clone(), Arc::clone(&claims), Arc::clone(&totals));
        tokio::spawn(async move {
            let mut dice = Dice::new(number);
            for _ in 0..1000 {
                call(&meters, &claims, &mut dice, &totals).await.unwrap();
            }
        })
    });
    for caller in futures_util::future::join_all(callers).await {
        caller.unwrap();
    }
    let asked = scripts(&server) - before;
    assert!(asked < 800, "{asked} scripts for 16000 calls");
    let expected = (
        totals.requests.load(Ordering::SeqCst),
        totals.tokens.load(Ordering::SeqCst),
        0,
        totals.money.load(Ordering::SeqCst),
    );
    assert_eq!(counted(&one, &claims).await, expected);
}

/// Callers on all instances until each was refused `refusals` times in a row, or `end` is reached.
async fn saturate(
    instances: &[Instance],
    claims: &[Claim],
    totals: &Arc<Totals>,
    (callers, refusals): (u64, u32),
    end: Instant,
) {
    let claims: Arc<[Claim]> = claims.into();
    let tasks = (0..callers).map(|number| {
        let meters = instances[usize::try_from(number).unwrap() % instances.len()].meters.clone();
        let (claims, totals) = (Arc::clone(&claims), Arc::clone(totals));
        tokio::spawn(async move {
            let (mut dice, mut refused) = (Dice::new(number), 0);
            while refused < refusals && Instant::now() < end {
                match call(&meters, &claims, &mut dice, &totals).await {
                    Ok(()) => refused = 0,
                    Err(Refusal::Denied(_)) => {
                        refused += 1;
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    Err(refusal) => panic!("{refusal}"),
                }
            }
        })
    });
    for task in futures_util::future::join_all(tasks).await {
        task.unwrap();
    }
}

/// Three processes with a limit that is wide enough for blocks at first, asked for more than it allows.
async fn check_limit(name: &str, limits: Limits) -> Arc<Totals> {
    let server = services::Redis::start().unwrap();
    let ledger = Arc::default();
    let mut instances = Vec::new();
    for _ in 0..3 {
        instances.push(connected(settings(&server.url()), LEASE, &ledger).await);
    }
    let claims = [
        claim(ScopeKind::Key, name, limits),
        claim(ScopeKind::Team, name, Limits { rpm: Some(10_000_000), ..Limits::default() }),
    ];
    let totals = Arc::<Totals>::default();
    saturate(&instances, &claims, &totals, (24, 8), Instant::now() + Duration::from_secs(40)).await;
    for instance in &instances {
        instance.meters.flush().await.unwrap();
    }
    totals
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_of_requests_is_used_up_to_the_last_and_never_passed() {
    let totals = check_limit("requests", Limits { rpm: Some(6000), ..Limits::default() }).await;
    assert_eq!(totals.requests.load(Ordering::SeqCst), 6000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_of_tokens_is_used_up_and_never_passed() {
    let totals = check_limit("tokens", Limits { tpm: Some(200_000), ..Limits::default() }).await;
    let tokens = totals.tokens.load(Ordering::SeqCst);
    // The last calls wanted up to a hundred.
    assert!((199_900..=200_000).contains(&tokens), "{tokens}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strict_budget_is_used_up_and_never_passed() {
    let totals = check_limit("money", Limits { budgets: vec![budget(40_000)], ..Limits::default() }).await;
    let money = totals.money.load(Ordering::SeqCst);
    assert!((39_980..=40_000).contains(&money), "{money}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn places_are_never_taken_twice() {
    let limits = Limits { parallel: Some(60), rpm: Some(8000), ..Limits::default() };
    let totals = check_limit("places", limits).await;
    assert!(totals.most_in_flight.load(Ordering::SeqCst) <= 60);
    assert_eq!(totals.requests.load(Ordering::SeqCst), 8000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes more than two minutes"]
async fn no_minute_admits_more_than_the_limit_whichever_process_admits() {
    let server = services::Redis::start().unwrap();
    let mut instances = Vec::new();
    for _ in 0..3 {
        instances.push(connected(settings(&server.url()), LEASE, &Arc::default()).await);
    }
    let (limit, length) = (6000, Duration::from_secs(140));
    let claims: Arc<[Claim]> =
        [claim(ScopeKind::Key, "minute", Limits { rpm: Some(limit), ..Limits::default() })].into();
    let begun = Instant::now();
    let tasks = (0..12_usize).map(|number| {
        let (meters, claims) = (instances[number % 3].meters.clone(), Arc::clone(&claims));
        tokio::spawn(async move {
            let mut admitted = Vec::new();
            while begun.elapsed() < length {
                if let Ok(hold) = meters.reserve(&claims, money(0)).await {
                    admitted.push(begun.elapsed());
                    hold.settle(spent(0));
                }
                // In bursts: the limit is used up and comes back again and again.
                let pause = if begun.elapsed().as_secs() % 7 < 3 { 5 } else { 40 };
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            admitted
        })
    });
    let mut admitted: Vec<Duration> =
        futures_util::future::join_all(tasks).await.into_iter().flat_map(Result::unwrap).collect();
    admitted.sort();
    let minute = Duration::from_secs(60);
    let most = usize::try_from(limit).unwrap();
    for (index, at) in admitted.iter().enumerate() {
        if let Some(after) = admitted.get(index + most) {
            assert!(*after - *at >= minute, "{most} and one more within {:?} from {at:?} on", *after - *at);
        }
    }
    println!("{} admitted in {length:?}", admitted.len());
    assert!(admitted.len() > 2 * most * 95 / 100, "only {} were admitted", admitted.len());
}

/// Callers that go on until they are stopped; every call must be admitted.
fn load(
    instance: &Instance,
    ledger: &Arc<Ledger>,
    stop: &Arc<AtomicBool>,
) -> Vec<tokio::task::JoinHandle<u64>> {
    let claims: Arc<[Claim]> = [claim(ScopeKind::Key, "capped", ample())].into();
    let caller = |number| {
        let (meters, claims) = (instance.meters.clone(), Arc::clone(&claims));
        let (ledger, stop) = (Arc::clone(ledger), Arc::clone(stop));
        tokio::spawn(async move {
            let (mut dice, mut calls) = (Dice::new(number), 0);
            while !stop.load(Ordering::SeqCst) {
                let hold = meters.reserve(&claims, money(5)).await.unwrap();
                tokio::time::sleep(Duration::from_millis(dice.roll(300) / (1 + dice.roll(60)))).await;
                calls += 1;
                if dice.roll(5) == 0 {
                    drop(hold);
                    continue;
                }
                ledger.0.fetch_add(3, Ordering::SeqCst);
                hold.settle(spent(3));
            }
            calls
        })
    };
    (0..12).map(caller).collect()
}

/// The store counts what the ledger knows, and holds nothing. `twice`: so much may count twice.
async fn check_used(instance: &Instance, ledger: &Ledger, twice: i64) {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let flushed = instance.meters.flush().await;
        let (counted, total) = (used(instance).await, ledger.0.load(Ordering::SeqCst));
        if (total..=total + twice).contains(&counted) {
            return;
        }
        assert!(Instant::now() < end, "the store counts {counted} of {total}; {flushed:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Processes under load while something happens to the store; afterwards it counts every call once.
async fn check_fault(
    processes: usize,
    begin: impl AsyncFnOnce(&mut services::Redis),
    end: impl AsyncFnOnce(&mut services::Redis),
    twice: i64,
) {
    let mut server = services::Redis::start().unwrap();
    let ledger = Arc::<Ledger>::default();
    let bound = RedisSettings { within: Duration::from_millis(100), ..settings(&server.url()) };
    let lease = Duration::from_secs(2);
    let mut instances = Vec::new();
    for _ in 0..processes {
        instances.push(connected(bound.clone(), lease, &ledger).await);
    }
    let stop = Arc::<AtomicBool>::default();
    let tasks: Vec<_> = instances.iter().flat_map(|instance| load(instance, &ledger, &stop)).collect();
    tokio::time::sleep(Duration::from_millis(700)).await;
    begin(&mut server).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    end(&mut server).await;
    for instance in &instances {
        until(Duration::from_secs(10), || instance.redis.health().up).await;
    }
    tokio::time::sleep(Duration::from_millis(700)).await;
    stop.store(true, Ordering::SeqCst);
    let mut calls = 0;
    for task in tasks {
        calls += task.await.unwrap();
    }
    assert!(calls > 1000, "only {calls} calls");
    for instance in &instances {
        check_used(instance, &ledger, twice).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_stands_still_under_load_counts_every_call_once() {
    check_fault(2, async |server| server.pause().unwrap(), async |server| server.resume().unwrap(), 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_loses_everything_under_load_knows_what_the_ledger_knows() {
    // What is on its way to the store in the moment in which another process asks the ledger: some calls of 3 each.
    let twice = 24 * 3;
    check_fault(
        2,
        async |server| server.stop().unwrap(),
        async |server| server.start_again().unwrap(),
        twice,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_alone_notices_that_the_store_has_lost_everything() {
    let twice = 12 * 3;
    check_fault(
        1,
        async |server| server.stop().unwrap(),
        async |server| server.start_again().unwrap(),
        twice,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_stalls_of_the_store_lose_and_double_nothing() {
    let stalls = async |server: &mut services::Redis| {
        for pause in [5, 20, 60, 90, 130] {
            server.pause().unwrap();
            tokio::time::sleep(Duration::from_millis(pause)).await;
            server.resume().unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    check_fault(2, stalls, async |_| {}, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_block_of_a_killed_process_comes_back_with_its_lease() {
    let server = services::Redis::start().unwrap();
    let (ledger, lease) = (Arc::<Ledger>::default(), Duration::from_secs(2));
    let alive = connected(settings(&server.url()), lease, &ledger).await;
    let (url, killed_ledger) = (server.url(), Arc::clone(&ledger));
    // The other process has a runtime of its own, and everything in it stops at once.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let killed = connected(settings(&url), lease, &killed_ledger).await;
            let claims = [claim(ScopeKind::Key, "capped", ample())];
            let end = Instant::now() + Duration::from_millis(300);
            let (mut holds, mut dice) = (Vec::new(), Dice::new(7));
            while Instant::now() < end {
                let hold = killed.meters.reserve(&claims, money(1000)).await.unwrap();
                if dice.roll(2) == 0 {
                    // What it spent is in its journal, and may not have been told.
                    killed_ledger.0.fetch_add(700, Ordering::SeqCst);
                    hold.settle(spent(700));
                } else {
                    holds.push(hold);
                }
            }
            assert!(holds.len() > 100);
            std::mem::forget((holds, killed));
        });
        runtime.shutdown_background();
    })
    .join()
    .unwrap();
    let held = used(&alive).await;
    assert!(held > ledger.0.load(Ordering::SeqCst) + 50_000, "{held}");
    let end = Instant::now() + lease + Duration::from_secs(1);
    while used(&alive).await != ledger.0.load(Ordering::SeqCst) {
        assert!(Instant::now() < end, "{} is used", used(&alive).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let places = [claim(ScopeKind::Key, "capped", Limits { parallel: Some(1), ..Limits::default() })];
    let hold = alive.meters.reserve(&places, money(0)).await.unwrap();
    assert_eq!(hold.states()[0].parallel, Some((1, 0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_living_process_keeps_what_its_calls_drew_and_scopes_apart_spend_nothing() {
    let server = services::Redis::start().unwrap();
    let lease = Duration::from_secs(1);
    let one = connected(settings(&server.url()), lease, &Arc::default()).await;
    let claims = [claim(ScopeKind::Key, "k", ample()), claim(ScopeKind::ModelPerKey, "k:m", ample())];
    let demand = Demand { tokens: 40, money: Money::from_nanos(40), free: false };
    let mut holds = Vec::new();
    let before = scripts(&server);
    for _ in 0..400 {
        holds.push(one.meters.reserve(&claims, demand).await.unwrap());
    }
    let asked = scripts(&server) - before;
    assert!(asked < 100, "{asked} scripts for 400 calls");
    tokio::time::sleep(3 * lease).await;
    assert_eq!(counted(&one, &claims[..1]).await, (400, 16_000, 400, 16_000));
    let used = Spent { tokens: 30, money: Money::from_nanos(30), refused: false };
    let apart = |scope: &Scope| scope.kind == ScopeKind::ModelPerKey;
    for (number, hold) in holds.into_iter().enumerate() {
        hold.settle_apart(used, &apart, number % 2 == 0);
    }
    assert_eq!(counted(&one, &claims[..1]).await, (400, 12_000, 0, 12_000));
    assert_eq!(counted(&one, &claims[1..]).await, (200, 0, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_block_holds_and_nobody_draws_is_there_for_others_at_once() {
    let server = services::Redis::start().unwrap();
    let one = connected(settings(&server.url()), LEASE, &Arc::default()).await;
    let limits = Limits { rpm: Some(2000), ..Limits::default() };
    let busy = [claim(ScopeKind::Team, "t", limits.clone()), claim(ScopeKind::Key, "a", ample())];
    for _ in 0..300 {
        one.meters.reserve(&busy, money(0)).await.unwrap().settle(spent(0));
    }
    // Calls of another key, sooner than the block is over.
    let other = [claim(ScopeKind::Team, "t", limits), claim(ScopeKind::Key, "b", ample())];
    for number in 0..1700 {
        let answer = one.meters.reserve(&other, money(0)).await;
        answer.unwrap_or_else(|refusal| panic!("call {number}: {refusal:?}")).settle(spent(0));
    }
    assert_eq!(denied(one.meters.reserve(&other, money(0)).await).used, 2000);
}

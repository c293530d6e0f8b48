//! What the tests on a real Redis share.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tollway_meters::*;
use tollway_model::{Money, Secret};

pub(crate) fn wall() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "tests have no other clock")]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

pub(crate) fn settings(url: &str) -> RedisSettings {
    // The machine of a test may be busy; the bound itself has tests of its own.
    let within = Duration::from_secs(3);
    RedisSettings { within, ..RedisSettings::new(RedisAddress::Url(Secret::new(url))) }
}

/// What the ledger says for every scope.
#[derive(Default)]
pub(crate) struct Ledger(pub(crate) AtomicI64, pub(crate) Disk);

/// Whoever holds this keeps the disk from taking what is settled.
pub(crate) type Disk = tokio::sync::Mutex<()>;

#[async_trait]
impl Spending for Ledger {
    async fn spent(&self, _: &Scope, _: Option<i64>) -> Result<Money, String> {
        match self.0.load(Ordering::SeqCst) {
            i64::MIN => Err("the ledger is away".to_owned()),
            spent => Ok(Money::from_nanos(spent)),
        }
    }

    async fn tokens(&self, scope: &Scope, from: i64) -> Result<u64, String> {
        self.spent(scope, Some(from)).await.map(|tokens| tokens.nanos().unsigned_abs())
    }

    async fn recorded(&self) {
        drop(self.1.lock().await);
    }
}

pub(crate) struct Instance {
    pub(crate) redis: Redis,
    pub(crate) meters: Meters,
}

pub(crate) fn instance(settings: RedisSettings, lease: Duration, ledger: &Arc<Ledger>) -> Instance {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(wall));
    let redis = Redis::start(settings, Arc::clone(&clock));
    let options = Options { redis: Some(redis.clone()), lease, ..Options::default() };
    Instance { meters: Meters::new(options, Arc::clone(ledger) as _, clock), redis }
}

/// An instance whose connection works.
pub(crate) async fn connected(settings: RedisSettings, lease: Duration, ledger: &Arc<Ledger>) -> Instance {
    let instance = instance(settings, lease, ledger);
    until(Duration::from_secs(10), || instance.redis.health().up).await;
    instance
}

#[track_caller]
pub(crate) fn until(within: Duration, mut is_so: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        let end = Instant::now() + within;
        while !is_so() {
            assert!(Instant::now() < end, "{place}: not within {within:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

pub(crate) fn claim(kind: ScopeKind, id: &str, limits: Limits) -> Claim {
    Claim { scope: Scope { kind, id: Arc::from(id) }, limits: Arc::new(limits) }
}

pub(crate) fn budget(max: i64) -> Budget {
    Budget {
        window: Window::parse("1mo", "Europe/Berlin").unwrap(),
        max: Some(Money::from_nanos(max)),
        soft: None,
    }
}

pub(crate) fn capped(max: i64) -> [Claim; 1] {
    [claim(ScopeKind::Key, "capped", Limits { budgets: vec![budget(max)], ..Limits::default() })]
}

pub(crate) fn money(nanos: i64) -> Demand {
    Demand { money: Money::from_nanos(nanos), ..Demand::default() }
}

pub(crate) fn spent(nanos: i64) -> Spent {
    Spent { money: Money::from_nanos(nanos), ..Spent::default() }
}

#[track_caller]
pub(crate) fn denied(answer: Result<Hold, Refusal>) -> Denied {
    match answer {
        Err(Refusal::Denied(denied)) => denied,
        other => panic!("{other:?}"),
    }
}

/// What the store counts as used of the cap.
pub(crate) async fn used(instance: &Instance) -> i64 {
    denied(instance.meters.reserve(&capped(0), money(1)).await).used
}

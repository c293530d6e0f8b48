//! Redis paused, slow, resetting, gone, back: no call fails, none waits for it, and the log stays quiet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;
use tollway_testkit::services::{self, Redis};

use crate::proxy::{Mood, Proxy};
use crate::support::Gateway;
use crate::world::{Client, Cluster, Shared, call, cent, drained, receipts, scaled, until, verify};

/// Longest until Redis is used again after it is back.
const RECOVERY: Duration = Duration::from_secs(5);

/// How long a fault lasts.
fn fault() -> Duration {
    scaled(Duration::from_secs(3), Duration::from_secs(40))
}

/// Calls without a pause; every one must be answered. How long each took, with when it began.
struct Load {
    begun: Instant,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Vec<(Duration, Duration)>>,
}

impl Load {
    fn start(clients: &[Client], key: &str) -> Load {
        let (begun, stop) = (Instant::now(), Arc::<AtomicBool>::default());
        let mut tasks = JoinSet::new();
        for client in clients {
            let (client, key, stop) = (client.clone(), key.to_owned(), stop.clone());
            tasks.spawn(async move {
                let mut took = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let at = begun.elapsed();
                    let answer = client.chat(&key, &call(false)).await.unwrap();
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    took.push((at, begun.elapsed() - at));
                    // Not so much that this machine's own queues are what is measured.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                took
            });
        }
        Load { begun, stop, tasks }
    }

    async fn end(self) -> Vec<(Duration, Duration)> {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.join_all().await.concat()
    }
}

/// How long calls took that began in a stretch: the median, the 99th percentile, the longest.
fn waits(calls: &[(Duration, Duration)], from: Duration, to: Duration) -> [Duration; 3] {
    let within = calls.iter().filter(|(at, _)| *at >= from && *at < to);
    let mut took: Vec<Duration> = within.map(|(_, took)| *took).collect();
    took.sort();
    assert!(took.len() > 50, "only {} calls", took.len());
    [took[took.len() / 2], took[took.len() * 99 / 100], took[took.len() - 1]]
}

fn lines(gateways: &[Gateway]) -> usize {
    gateways.iter().map(|gateway| gateway.log().lines().count()).sum()
}

async fn redis_is(gateway: &Gateway, word: &str) -> bool {
    gateway.get("/health/readiness").await.expect(200).json()["redis"] == word
}

/// Begins a fault under load, ends it, and looks at what calls and the log had of it.
async fn check(name: &str, cluster: &Cluster, key: &str, begin: impl AsyncFnOnce(), end: impl AsyncFnOnce()) {
    let load = Load::start(&cluster.clients(), key);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let logged = lines(&cluster.gateways);
    let from = load.begun.elapsed();
    begin().await;
    for gateway in &cluster.gateways {
        until(Duration::from_secs(3), "readiness says so", async || redis_is(gateway, "Not connected").await)
            .await;
        let ready = gateway.get("/health/readiness").await.json();
        assert!(ready["reasons"].to_string().contains("Redis is away since"), "{ready}");
    }
    tokio::time::sleep(fault()).await;
    let to = load.begun.elapsed();
    end().await;
    for gateway in &cluster.gateways {
        until(RECOVERY, "Redis is used again", async || redis_is(gateway, "connected").await).await;
    }
    let lasted = (load.begun.elapsed() - from).as_secs_f64();
    let calls = load.end().await;
    let (before, during) = (waits(&calls, Duration::ZERO, from), waits(&calls, from, to));
    println!("{name}: median, p99, most {before:?} before, {during:?} during");
    // The breaker's bound is 20 ms for the first three; the rest of the allowance is for a busy machine.
    assert!(during[0] < before[0] + Duration::from_millis(10), "{name}: {before:?}, {during:?}");
    assert!(during[2] < before[2] + Duration::from_secs(1), "{name}: {before:?}, {during:?}");
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = (lines(&cluster.gateways) - logged) as f64 / lasted;
    assert!(rate < 10.0, "{name}: {rate} lines a second: {}", cluster.gateways[0].log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_redis_does_no_call_fails_or_waits_and_nothing_is_miscounted() {
    let Some(database) = services::new_database() else { return };
    let mut redis = Redis::start().unwrap();
    let proxy = Proxy::start(redis.url().trim_start_matches("redis://").to_owned()).await;
    let shared = Shared { database, redis: format!("redis://{}", proxy.address) };
    let models = |fake: &_| vec![cent(fake, "openai/fake-tokens-10")];
    let cluster = Cluster::on(shared, 3, models, "tollway: {redis: {lease: 2s}}").await;
    let key = cluster.key(json!({ "max_budget": 1_000_000, "rpm_limit": 1_000_000 })).await;
    check("paused", &cluster, &key, async || redis.pause().unwrap(), async || redis.resume().unwrap()).await;
    let slow = Mood::Slow(Duration::from_secs(30));
    check("slow", &cluster, &key, async || proxy.turn(slow), async || proxy.turn(Mood::Fine)).await;
    check("reset", &cluster, &key, async || proxy.turn(Mood::Reset), async || proxy.turn(Mood::Fine)).await;
    let gone = std::cell::RefCell::new(&mut redis);
    check(
        "gone",
        &cluster,
        &key,
        async || gone.borrow_mut().stop().unwrap(),
        async || gone.borrow_mut().start_again().unwrap(),
    )
    .await;
    // What was counted is what was spent: the budget that is left is as large as the books say.
    drained(&cluster.gateways, Duration::from_secs(10)).await;
    let all = receipts(&cluster.shared.database).await;
    assert!(all.iter().all(|receipt| receipt.status == 200));
    let calls = i64::try_from(all.len()).unwrap();
    #[expect(clippy::cast_precision_loss, reason = "a sum of money in JSON")]
    let cap = (calls + 5) as f64 / 100.0;
    cluster.gateways[0].post("/key/update", &json!({ "key": key, "max_budget": cap })).await.expect(200);
    // What was told to Redis late is there by now, and holds of before are over.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let clients = cluster.clients();
    let mut more = 0;
    while clients[more % 3].status(&key).await == 200 {
        more += 1;
        assert!(more <= 5, "more is spent than the budget has");
    }
    assert_eq!(more, 5, "calls are refused that the budget has room for");
    verify(cluster.gateways[0].directory.path(), &cluster.shared.database);
}

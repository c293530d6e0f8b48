//! Gateways that share a PostgreSQL and a Redis, and clients that live with their end.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use tempfile::TempDir;
use tollway::{Timeouts, Transport, TransportOptions};
use tollway_ledger::Receipt;
use tollway_ledger::books::{Books as _, Filter, SqlBooks};
use tollway_store::Store;
use tollway_testkit::FakeProvider;
use tollway_testkit::services::{self, Redis};

use crate::support::{self, Answer, Gateway, Start, text};

/// Environment variable: tests run as long as they can, not as long as they must.
pub(crate) const SOAK: &str = "TOLLWAY_SOAK";

/// A number that is small in a run of all tests and large in a soak.
pub(crate) fn scaled<T>(usual: T, soak: T) -> T {
    if std::env::var_os(SOAK).is_some() { soak } else { usual }
}

/// What a call to the model `cent` costs, in nano-dollars: ten tokens of output, and at most ten are asked for.
pub(crate) const CENT: i64 = 10_000_000;

/// The deployment of `cent` at `fake`, whose model is `model`.
pub(crate) fn cent(fake: &FakeProvider, model: &str) -> String {
    support::at(fake, "cent", model, ", input_cost_per_token: 0, output_cost_per_token: 0.001")
}

/// A call that costs a cent, at most and in fact.
pub(crate) fn call(stream: bool) -> Value {
    json!({
        "model": "cent", "max_tokens": 10, "stream": stream,
        "messages": [{ "role": "user", "content": "hi" }],
    })
}

/// Where gateways keep what they share.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) database: String,
    pub(crate) redis: String,
}

/// The processes.
pub(crate) struct Cluster {
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) fake: FakeProvider,
    pub(crate) shared: Shared,
    pub(crate) config: String,
    /// Our own, if the test did not bring one.
    _redis: Option<Redis>,
}

impl Cluster {
    /// Three processes on a new database of the run's PostgreSQL and a Redis of their own. `None`: there is no PostgreSQL.
    pub(crate) async fn start(
        models: impl FnOnce(&FakeProvider) -> Vec<String>,
        rest: &str,
    ) -> Option<Cluster> {
        let database = services::new_database()?;
        let redis = Redis::start().unwrap();
        let shared = Shared { database, redis: redis.url() };
        let mut cluster = Cluster::on(shared, 3, models, rest).await;
        cluster._redis = Some(redis);
        Some(cluster)
    }

    /// So many processes on servers that the test brings.
    pub(crate) async fn on(
        shared: Shared,
        count: usize,
        models: impl FnOnce(&FakeProvider) -> Vec<String>,
        rest: &str,
    ) -> Cluster {
        let fake = support::fake().await;
        let config = support::config(&models(&fake), rest);
        let mut gateways = Vec::new();
        for _ in 0..count {
            gateways.push(start(&shared, &config, None).await);
        }
        for gateway in &gateways {
            settled_in(gateway).await;
        }
        Cluster { gateways, fake, shared, config, _redis: None }
    }

    /// Kills a process, as nobody can prevent, and returns its directory.
    pub(crate) fn kill(&mut self, index: usize) -> TempDir {
        self.gateways.remove(index).stop()
    }

    /// Starts a process in the directory of one that is gone.
    pub(crate) async fn start_again(&mut self, directory: TempDir) -> &Gateway {
        self.gateways.push(start(&self.shared, &self.config, Some(directory)).await);
        self.gateways.last().unwrap()
    }

    pub(crate) fn clients(&self) -> Vec<Client> {
        self.gateways.iter().map(Client::of).collect()
    }

    /// The value of a new key's answer.
    pub(crate) async fn key(&self, body: Value) -> String {
        let answer = self.gateways[0].post("/key/generate", &body).await;
        answer.expect(200).json()["key"].as_str().unwrap().to_owned()
    }
}

/// Starts a process on shared servers.
pub(crate) async fn start(shared: &Shared, config: &str, directory: Option<TempDir>) -> Gateway {
    let environment = [
        ("DATABASE_URL", shared.database.as_str()),
        ("REDIS_URL", shared.redis.as_str()),
        ("LITELLM_SALT_KEY", "one for all of them"),
        ("NO_PROXY", "*"),
    ];
    Gateway::with(Start { config: Some(config), environment: &environment, directory, ..Start::default() })
        .await
}

/// Waits until the process has found both servers.
pub(crate) async fn settled_in(gateway: &Gateway) {
    until(Duration::from_secs(10), "both servers are found", async || {
        let ready = gateway.get("/health/readiness").await.json();
        ready["db"] == "connected" && ready["redis"] == "connected"
    })
    .await;
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn until(
    limit: Duration,
    what: &str,
    mut is_so: impl AsyncFnMut() -> bool,
) -> impl Future<Output = Duration> {
    let caller = std::panic::Location::caller();
    async move {
        let begun = Instant::now();
        while !is_so().await {
            assert!(begun.elapsed() < limit, "{caller}: not within {limit:?}: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        begun.elapsed()
    }
}

/// Calls one process.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    transport: Transport,
}

impl Client {
    pub(crate) fn of(gateway: &Gateway) -> Client {
        let options = TransportOptions { environment_proxies: false, ..TransportOptions::default() };
        Client { address: gateway.address, transport: Transport::new(options) }
    }

    /// The complete answer; `None` when the connection broke before its end.
    pub(crate) async fn post(&self, key: &str, path: &str, body: &Value) -> Option<Answer> {
        let request = http::Request::builder()
            .method("POST")
            .uri(format!("http://{}{path}", self.address))
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/json")
            .body(Bytes::from(body.to_string()))
            .unwrap();
        let answer = self.transport.send(request, &Timeouts::default()).await.ok()?;
        let body = answer.body.collect(1 << 26).await.ok()?;
        Some(Answer { status: answer.status.as_u16(), headers: answer.headers, body })
    }

    pub(crate) async fn chat(&self, key: &str, body: &Value) -> Option<Answer> {
        self.post(key, "/v1/chat/completions", body).await
    }

    /// The status of a call with one token of output.
    pub(crate) async fn status(&self, key: &str) -> u16 {
        self.chat(key, &call(false)).await.map_or(0, |answer| answer.status)
    }
}

/// The books in a database.
pub(crate) fn books(database: &str) -> SqlBooks {
    SqlBooks::new(Store::open(database).unwrap().sql().clone())
}

/// Every receipt in a database.
pub(crate) async fn receipts(database: &str) -> Vec<Receipt> {
    books(database).list(&Filter::default(), None, 1_000_000).await.unwrap()
}

/// What a call cost, in nano-dollars; `None`: nobody knows.
pub(crate) fn cost(receipt: &Receipt) -> Option<i64> {
    receipt.cost.nanos.map(|money| money.nanos())
}

/// What the receipts say was spent, in nano-dollars. Unknown costs count as nothing.
pub(crate) fn spent(receipts: &[Receipt]) -> i64 {
    receipts.iter().filter_map(cost).sum()
}

/// `tollway ledger verify`: receipts and every sum agree.
pub(crate) fn verify(directory: &Path, database: &str) {
    let mut command = support::tollway(directory);
    let output = command.args(["ledger", "verify", "--url", database]).output().unwrap();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

/// Waits until nothing waits in the journals of these processes.
pub(crate) async fn drained(gateways: &[Gateway], limit: Duration) -> Duration {
    let begun = Instant::now();
    for gateway in gateways {
        until(limit, "the journal is empty", async || {
            gateway.get("/health/readiness").await.json()["ledger"]["waiting"] == 0
        })
        .await;
    }
    begun.elapsed()
}

/// Numbers that look random; printed by whoever wants to see a failure again.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn new() -> Dice {
        let nanos = std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
        Dice(u64::from(nanos) | 1)
    }

    /// Less than `sides`.
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

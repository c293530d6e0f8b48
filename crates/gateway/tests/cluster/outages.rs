//! PostgreSQL stopped under load, away at the start, and back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tollway_testkit::services::{POSTGRES, Postgres, REQUIRED, Redis};

use crate::support::{KEY, chat};
use crate::world::{
    CENT, Cluster, Shared, call, cent, cost, drained, receipts, scaled, settled_in, spent, start, until,
    verify,
};

/// A server of our own, where the run has one, too.
fn postgres() -> Option<Postgres> {
    if std::env::var_os(POSTGRES).is_none() && std::env::var_os(REQUIRED).is_none() {
        eprintln!(
            "passed over: {POSTGRES} is not set; run this within `cargo xtask test` or `test-services`"
        );
        return None;
    }
    Some(Postgres::start().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_postgresql_known_keys_are_served_unknown_ones_wait_and_nothing_is_lost() {
    let Some(mut postgres) = postgres() else { return };
    let redis = Redis::start().unwrap();
    let shared = Shared { database: postgres.new_database().unwrap(), redis: redis.url() };
    let models = |fake: &_| vec![cent(fake, "openai/fake-tokens-10")];
    let cluster = Cluster::on(shared, 3, models, "").await;
    let known = cluster.key(json!({ "max_budget": 1_000_000, "rpm_limit": 1_000_000 })).await;
    let unknown = cluster.key(json!({})).await;
    for client in cluster.clients() {
        assert_eq!(client.status(&known).await, 200);
    }
    let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::new(AtomicUsize::new(3)));
    let mut load = JoinSet::new();
    for client in cluster.clients().into_iter().cycle().take(6) {
        let (stop, answered, known) = (stop.clone(), answered.clone(), known.clone());
        load.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let answer = client.chat(&known, &call(false)).await.unwrap();
                assert_eq!(answer.status, 200, "{}", answer.text());
                answered.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    postgres.stop().unwrap();
    for gateway in &cluster.gateways {
        until(Duration::from_secs(6), "readiness says so", async || {
            gateway.get("/health/readiness").await.expect(200).json()["db"] == "Not connected"
        })
        .await;
        let ready = gateway.get("/health/readiness").await.json();
        assert_eq!(ready["status"], "healthy");
        assert!(ready["reasons"].to_string().contains("the database is away since"), "{ready}");
    }
    for turn in 0..scaled(3, 60) {
        for client in cluster.clients() {
            for stranger in [unknown.as_str(), "sk-nobody-has-ever-made-this"] {
                let answer = client.chat(stranger, &call(false)).await.unwrap();
                assert_eq!(answer.status, 503, "turn {turn}: {}", answer.text());
                assert!(!answer.header("retry-after").is_empty());
            }
            assert_eq!(client.status(KEY).await, 200, "the master key needs no database");
            answered.fetch_add(1, Ordering::Relaxed);
        }
        // What the database must say is refused in time, as what may be tried again.
        let made = cluster.clients()[0].post(KEY, "/key/generate", &json!({})).await.unwrap();
        assert_eq!(made.status, 503, "{}", made.text());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let ready = cluster.gateways[0].get("/health/readiness").await.json();
    assert!(ready["ledger"]["waiting"].as_u64().unwrap() > 10, "{ready}");
    postgres.start_again().unwrap();
    for gateway in &cluster.gateways {
        settled_in(gateway).await;
    }
    // Calls go on, so something always waits; what had piled up does not.
    for gateway in &cluster.gateways {
        let drained =
            async || gateway.get("/health/readiness").await.json()["ledger"]["waiting"].as_u64() < Some(50);
        let took = until(Duration::from_secs(10), "the journal is shipped", drained).await;
        println!("the journal was shipped {took:?} after the database was back");
    }
    for client in cluster.clients() {
        until(Duration::from_secs(3), "the unknown key is served", async || {
            client.status(&unknown).await == 200
        })
        .await;
        answered.fetch_add(1, Ordering::Relaxed);
    }
    stop.store(true, Ordering::Relaxed);
    load.join_all().await;
    drained(&cluster.gateways, Duration::from_secs(10)).await;
    let all = receipts(&cluster.shared.database).await;
    let whole = all.iter().filter(|receipt| cost(receipt) == Some(CENT)).count();
    assert_eq!(whole, answered.load(Ordering::Relaxed));
    assert_eq!(spent(&all), CENT * i64::try_from(whole).unwrap());
    verify(cluster.gateways[0].directory.path(), &cluster.shared.database);
    for gateway in &cluster.gateways {
        let log = gateway.log();
        assert!(log.lines().count() < 200, "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_starts_before_its_database_serves_and_recovers() {
    let Some(mut postgres) = postgres() else { return };
    let redis = Redis::start().unwrap();
    let shared = Shared { database: postgres.new_database().unwrap(), redis: redis.url() };
    let models = |fake: &_| vec![cent(fake, "openai/fake-tokens-10")];
    // The first makes a key and a model, and goes.
    let mut cluster = Cluster::on(shared, 1, models, "").await;
    let key = cluster.key(json!({ "max_budget": 1_000_000 })).await;
    let params = json!({ "model": "openai/fake-ok", "api_base": format!("{}/v1", cluster.fake.url()), "api_key": "pk" });
    let model = json!({ "model_name": "stored", "litellm_params": params });
    cluster.gateways[0].post("/model/new", &model).await.expect(200);
    let directory = cluster.kill(0);
    postgres.stop().unwrap();
    let gateway = start(&cluster.shared, &cluster.config, Some(directory)).await;
    cluster.gateways.push(gateway);
    let gateway = &cluster.gateways[0];
    let client = &cluster.clients()[0];
    assert_eq!(client.status(KEY).await, 200);
    assert_eq!(client.status(&key).await, 503);
    let ready = gateway.get("/health/readiness").await.expect(200).json();
    assert_eq!(ready["db"], "Not connected", "{ready}");
    postgres.start_again().unwrap();
    let limit = Duration::from_secs(10);
    until(limit, "the key is known", async || client.status(&key).await == 200).await;
    until(limit, "the stored model is served", async || {
        gateway.chat(&chat("stored", "hi")).await.status == 200
    })
    .await;
    settled_in(gateway).await;
    drained(&cluster.gateways, limit).await;
    verify(cluster.gateways[0].directory.path(), &cluster.shared.database);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_whose_database_is_new_and_comes_late_makes_its_tables() {
    let Some(mut postgres) = postgres() else { return };
    let redis = Redis::start().unwrap();
    let shared = Shared { database: postgres.new_database().unwrap(), redis: redis.url() };
    postgres.stop().unwrap();
    let fake = crate::support::fake().await;
    let config = crate::support::config(&[cent(&fake, "openai/fake-tokens-10")], "");
    let gateway = start(&shared, &config, None).await;
    gateway.chat(&call(false)).await.expect(200);
    postgres.start_again().unwrap();
    settled_in(&gateway).await;
    let made = gateway.post("/key/generate", &json!({})).await.expect(200).json();
    let client = crate::world::Client::of(&gateway);
    assert_eq!(client.status(made["key"].as_str().unwrap()).await, 200);
    drained(std::slice::from_ref(&gateway), Duration::from_secs(10)).await;
    assert_eq!(receipts(&shared.database).await.len(), 2);
}

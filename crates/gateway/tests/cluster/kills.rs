//! A process that is killed at any moment loses and doubles nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tollway_testkit::services::{self, Redis};

use crate::world::{
    CENT, Client, Cluster, Dice, Shared, call, cent, cost, drained, receipts, scaled, spent, until, verify,
};

/// Calls one process until told to stop; the receipts of answers that were seen to their end. `answered` counts these.
fn load(
    client: &Client,
    key: &str,
    stop: &Arc<AtomicBool>,
    answered: &Arc<AtomicUsize>,
) -> JoinSet<Vec<String>> {
    let mut tasks = JoinSet::new();
    for number in 0..8 {
        let (client, key) = (client.clone(), key.to_owned());
        let (stop, answered) = (stop.clone(), answered.clone());
        tasks.spawn(async move {
            let mut seen = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let stream = number % 2 == 0;
                let Some(answer) = client.chat(&key, &call(stream)).await else { continue };
                // The first calls wait for what the process before had spent: on a busy machine longer than they may.
                if answer.status == 503 && answer.headers.contains_key("retry-after") {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
                assert_eq!(answer.status, 200, "{}", answer.text());
                if !stream || answer.text().contains("data: [DONE]") {
                    seen.push(answer.header("x-tollway-receipt").to_owned());
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            }
            seen
        });
    }
    tasks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_has_seen_is_in_the_ledger_once_however_often_the_process_is_killed() {
    let Some(database) = services::new_database() else { return };
    let redis = Redis::start().unwrap();
    let shared = Shared { database, redis: redis.url() };
    let models = |fake: &_| vec![cent(fake, "openai/fake-tokens-10+interval-1")];
    let mut cluster = Cluster::on(shared, 1, models, "tollway: {redis: {lease: 2s}}").await;
    let key = cluster.key(json!({ "max_budget": 1_000_000, "rpm_limit": 10_000_000 })).await;
    let mut dice = Dice::new();
    eprintln!("dice: {}", dice.0);
    let mut seen: Vec<String> = Vec::new();
    for round in 0..scaled(10, 100) {
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let load = load(&cluster.clients()[0], &key, &stop, &answered);
        // At any moment, but not before there is something to lose: the first call waits until the books know what the
        // process before had spent, and on a busy machine that takes its time.
        let what = format!("round {round}: a call is answered");
        until(Duration::from_secs(60), &what, async || answered.load(Ordering::Relaxed) > 0).await;
        tokio::time::sleep(Duration::from_millis(dice.roll(450))).await;
        let directory = cluster.kill(0);
        stop.store(true, Ordering::Relaxed);
        let new = load.join_all().await.concat();
        assert!(!new.is_empty(), "round {round}: no call was answered");
        seen.extend(new);
        cluster.start_again(directory).await;
    }
    drained(&cluster.gateways, Duration::from_secs(20)).await;
    let all = receipts(&cluster.shared.database).await;
    let known: HashMap<&str, Option<i64>> =
        all.iter().map(|receipt| (receipt.id.as_str(), cost(receipt))).collect();
    assert_eq!(known.len(), all.len(), "a receipt is there twice");
    for id in &seen {
        assert_eq!(known.get(id.as_str()), Some(&Some(CENT)), "{id}, of {} that were seen", seen.len());
    }
    // Whoever was cut off made at most one call more than was seen.
    assert!(spent(&all) >= CENT * i64::try_from(seen.len()).unwrap());
    verify(cluster.gateways[0].directory.path(), &cluster.shared.database);
    eprintln!("{} answers seen, {} receipts", seen.len(), all.len());
}

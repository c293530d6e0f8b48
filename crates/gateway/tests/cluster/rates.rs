//! Requests a minute hold over all processes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;

use crate::world::{Client, Cluster, SOAK, cent};

/// How many of so many calls at once, spread over all processes, are admitted.
async fn admitted(clients: &[Client], key: &str, calls: usize) -> usize {
    let mut tasks = JoinSet::new();
    for number in 0..calls {
        let (client, key) = (clients[number % clients.len()].clone(), key.to_owned());
        tasks.spawn(async move { client.status(&key).await });
    }
    let statuses = tasks.join_all().await;
    assert!(statuses.iter().all(|status| matches!(status, 200 | 429)), "{statuses:?}");
    statuses.iter().filter(|status| **status == 200).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rush_over_three_processes_is_admitted_to_the_limit_and_refusals_count_for_nothing() {
    let models = |fake: &_| vec![cent(fake, "openai/fake-tokens-10")];
    let Some(cluster) = Cluster::start(models, "").await else { return };
    let clients = cluster.clients();
    let key = cluster.key(json!({ "rpm_limit": 100 })).await;
    let begun = Instant::now();
    let count = admitted(&clients, &key, 300).await;
    assert_eq!(count, 100, "{}", cluster.gateways.iter().map(|gateway| gateway.log()).collect::<String>());
    // Two hundred were refused. With room for ten more, ten are admitted.
    cluster.gateways[1].post("/key/update", &json!({ "key": key, "rpm_limit": 110 })).await.expect(200);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(admitted(&clients, &key, 60).await, 10);
    assert!(begun.elapsed() < Duration::from_secs(60), "this machine is too slow to say");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minute_of_saturation_admits_the_limit_in_any_sixty_seconds() {
    if std::env::var_os(SOAK).is_none() {
        eprintln!("passed over: takes three minutes; {SOAK} is not set");
        return;
    }
    let models = |fake: &_| vec![cent(fake, "openai/fake-tokens-10")];
    let Some(cluster) = Cluster::start(models, "").await else { return };
    let key: Arc<str> = cluster.key(json!({ "rpm_limit": 100 })).await.into();
    let (begun, length) = (Instant::now(), Duration::from_secs(185));
    let mut tasks = JoinSet::new();
    for client in cluster.clients() {
        let key = key.clone();
        tasks.spawn(async move {
            let mut at = Vec::new();
            // About four calls a second from each, seven times the limit.
            while begun.elapsed() < length {
                let now = begun.elapsed();
                if client.status(&key).await == 200 {
                    at.push(now);
                }
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            at
        });
    }
    let mut at: Vec<Duration> = tasks.join_all().await.concat();
    at.sort();
    let minute = Duration::from_secs(60);
    for begin in (0..120_000).step_by(100).map(Duration::from_millis) {
        let count = at.iter().filter(|at| **at >= begin && **at < begin + minute).count();
        assert!((97..=101).contains(&count), "{count} in the minute from {begin:?} on");
    }
}

//! PostgreSQL kills transactions and connections while three processes write to it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;
use tollway_store::Store;
use tollway_store::sql::Sql;

use crate::world::{CENT, Cluster, call, cent, drained, receipts, scaled, spent, verify};

/// Rows of the sums, from the end and from the beginning.
const LAST: &str = "SELECT nanos FROM spend ORDER BY scope DESC, id DESC, hour DESC LIMIT 3 FOR UPDATE";
const FIRST: &str = "SELECT nanos FROM spend ORDER BY scope, id, hour LIMIT 3 FOR UPDATE";

/// Takes the sums' rows in an order of its own, slowly: whoever takes them in another meets it in a deadlock.
async fn lock_backwards(sql: &Sql, met: &AtomicUsize) {
    let locked = sql
        .transaction(|transaction| async move {
            transaction.query(LAST, vec![]).await?;
            transaction.query("SELECT pg_sleep(0.2)::text", vec![]).await?;
            transaction.query(FIRST, vec![]).await.map(|_| ())
        })
        .await;
    if locked.is_err() {
        met.fetch_add(1, Ordering::Relaxed);
    }
}

/// Ends every connection to this database but ours.
async fn cut_connections(sql: &Sql) {
    let others = "SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity \
                  WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let _ = sql.query(others, vec![]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadlocks_and_cut_connections_lose_and_double_nothing() {
    let models = |fake: &_| vec![cent(fake, "openai/fake-tokens-10")];
    let Some(cluster) = Cluster::start(models, "").await else { return };
    let keys = [cluster.key(json!({})).await, cluster.key(json!({})).await];
    let (stop, met) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let mut load = JoinSet::new();
    for (number, client) in cluster.clients().into_iter().cycle().take(6).enumerate() {
        let (stop, key) = (stop.clone(), keys[number % 2].clone());
        load.spawn(async move {
            let mut seen = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let answer = client.chat(&key, &call(false)).await.unwrap();
                // The key may be asked for again in the moment a connection is cut.
                if answer.status == 200 {
                    seen.push(answer.header("x-tollway-receipt").to_owned());
                } else {
                    assert_eq!(answer.status, 503, "{}", answer.text());
                }
            }
            seen
        });
    }
    let sql = Store::open(&cluster.shared.database).unwrap().sql().clone();
    let end = Instant::now() + scaled(Duration::from_secs(6), Duration::from_secs(60));
    let (mut deadlocks, mut turn) = (0, 0);
    while Instant::now() < end {
        tokio::join!(lock_backwards(&sql, &met), lock_backwards(&sql, &met));
        turn += 1;
        if turn % 3 == 0 {
            cut_connections(&sql).await;
        }
        let found = sql
            .query_one("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()", vec![])
            .await;
        deadlocks = found.ok().flatten().map_or(deadlocks, |row| row.int(0).unwrap());
    }
    stop.store(true, Ordering::Relaxed);
    let seen: HashSet<String> = load.join_all().await.concat().into_iter().collect();
    drained(&cluster.gateways, Duration::from_secs(20)).await;
    println!("{deadlocks} deadlocks, {turn} turns, {} calls", seen.len());
    assert!(deadlocks > 0, "nothing was tested");
    let all = receipts(&cluster.shared.database).await;
    let known: HashSet<String> =
        all.iter().filter(|receipt| receipt.status == 200).map(|receipt| receipt.id.clone()).collect();
    assert_eq!(known, seen);
    assert_eq!(spent(&all), CENT * i64::try_from(seen.len()).unwrap());
    verify(cluster.gateways[0].directory.path(), &cluster.shared.database);
}

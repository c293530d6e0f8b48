//! Requests a minute hold over all processes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;
use tollway_ledger::Outcome;

use crate::world::{Client, Cluster, PATIENT, SOAK, cent, drained, receipts, scaled};

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
    let Some(cluster) = Cluster::start(models, PATIENT).await else { return };
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

/// Environment variable: for so many seconds, more than 60, a limit is kept saturated. A soak does it for three minutes.
const SATURATION: &str = "TOLLWAY_SATURATION";

/// Calls a second that each process gets: ninety times the limit in all, of which nothing may count.
const CALLERS: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn saturation_is_admitted_to_the_limit_in_any_sixty_seconds() {
    let asked = std::env::var(SATURATION).ok().and_then(|seconds| seconds.parse().ok());
    let Some(seconds) = asked.or_else(|| scaled(None, Some(185))) else {
        eprintln!("passed over: takes minutes; neither {SATURATION} nor {SOAK} is set");
        return;
    };
    let models = |fake: &_| vec![cent(fake, "openai/fake-tokens-10")];
    let Some(cluster) = Cluster::start(models, PATIENT).await else { return };
    let key: Arc<str> = cluster.key(json!({ "rpm_limit": 100 })).await.into();
    let (begun, length) = (Instant::now(), Duration::from_secs(seconds));
    let mut tasks = JoinSet::new();
    for client in cluster.clients().iter().flat_map(|client| std::iter::repeat_n(client, CALLERS)) {
        let (client, key) = (client.clone(), key.clone());
        tasks.spawn(async move {
            let (mut refused, mut broken) = (0_usize, 0_usize);
            while begun.elapsed() < length {
                let status = client.status(&key).await;
                assert!(matches!(status, 0 | 200 | 429), "{status}");
                refused += usize::from(status == 429);
                // A connection that was idle can be closed in the moment in which it is used again.
                broken += usize::from(status == 0);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            (refused, broken)
        });
    }
    let ends = tasks.join_all().await;
    let refused: usize = ends.iter().map(|(refused, _)| refused).sum();
    let broken: usize = ends.iter().map(|(_, broken)| broken).sum();
    assert!(broken * 1000 < refused, "{broken} connections broke");
    drained(&cluster.gateways, Duration::from_secs(60)).await;
    // When the gateways say that the calls came: what a client sees is later by what it waited.
    let all = receipts(&cluster.shared.database).await;
    let admitted = all.iter().filter(|receipt| receipt.outcome != Outcome::Refused);
    let mut at: Vec<i64> = admitted.map(|receipt| receipt.at).collect();
    at.sort_unstable();
    let counts = in_any_minute(&at, i64::try_from(seconds).unwrap() * 1000);
    eprintln!(
        "{} admitted in {seconds} s, {refused} refused, {broken} broken; {counts:?} in any 60 s",
        at.len()
    );
    assert!(refused > at.len() * 10, "{refused} refused: nothing was saturated");
    assert!(counts.0 >= 97 && counts.1 <= 101, "{counts:?} in some 60 s; {at:?}");
}

/// The fewest and the most of these moments, milliseconds and sorted, that lie in any 60 seconds between the first and
/// `length` after it. Only where one begins or ends can the count change.
fn in_any_minute(at: &[i64], length: i64) -> (usize, usize) {
    const MINUTE: i64 = 60_000;
    let Some(first) = at.first().copied() else { return (0, 0) };
    let edges = at.iter().flat_map(|at| [*at, at + 1, at - MINUTE, at - MINUTE + 1]);
    let whole = edges.filter(|begin| *begin >= first && begin + MINUTE <= first + length);
    let counts = whole.map(|begin| {
        let before = |moment: i64| at.partition_point(|at| *at < moment);
        before(begin + MINUTE) - before(begin)
    });
    counts.fold((usize::MAX, 0), |(least, most), count| (least.min(count), most.max(count)))
}

#[test]
fn every_minute_is_looked_at() {
    let check = |at: &[i64], expected| assert_eq!(in_any_minute(at, 180_000), expected, "{at:?}");
    check(&[0, 59_999, 60_000, 120_000], (1, 2));
    check(&[0, 1, 59_999, 60_001, 120_000], (1, 3));
}

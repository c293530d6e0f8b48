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

/// Environment variable: for so many seconds, more than 60, limits are kept saturated. A soak does it for three minutes.
const SATURATION: &str = "TOLLWAY_SATURATION";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn saturation_is_admitted_to_the_limit_in_any_sixty_seconds() {
    let asked = std::env::var_os(SATURATION).and_then(|seconds| seconds.to_str()?.parse().ok());
    let Some(seconds) = asked.or_else(|| scaled(None, Some(185))) else {
        eprintln!("passed over: takes minutes; neither {SATURATION} nor {SOAK} is set");
        return;
    };
    let models = |fake: &_| vec![cent(fake, "openai/fake-tokens-10")];
    let Some(cluster) = Cluster::start(models, PATIENT).await else { return };
    let (clients, length) = (cluster.clients(), Duration::from_secs(seconds));
    let limited = async || cluster.key(json!({ "rpm_limit": 100 })).await;
    let (steady, rushed) = (limited().await, limited().await);
    // One is asked for twelve calls a second, seven times its limit; the other for as many as fifteen callers get answers.
    let (of_steady, of_rushed) = tokio::join!(
        saturated(&clients, &steady, (1, Duration::from_millis(250)), length),
        saturated(&clients, &rushed, (5, Duration::from_millis(100)), length),
    );
    drained(&cluster.gateways, Duration::from_secs(60)).await;
    let all = receipts(&cluster.shared.database).await;
    let length = i64::try_from(seconds).unwrap() * 1000;
    for (key, (refused, broken)) in [(&steady, of_steady), (&rushed, of_rushed)] {
        let token = tollway_accounts::manage::hash_key(key);
        // When the gateways say that calls came: what a client sees is later by what it waited.
        let came = |refused: bool| {
            let own = all.iter().filter(|one| *one.who.token == token);
            let those = own.filter(|one| (one.outcome == Outcome::Refused) == refused);
            let mut at: Vec<i64> = those.map(|receipt| receipt.at).collect();
            at.sort_unstable();
            at
        };
        let (at, turned_away) = (came(false), came(true));
        let (_, most) = in_any_minute(&at, length);
        // Whoever is refused finds the minute before full: what was refused earlier has consumed nothing of it.
        let before = |moment: i64| at.partition_point(|at| *at <= moment);
        let least = turned_away.iter().map(|moment| before(*moment) - before(moment - 60_000)).min().unwrap();
        eprintln!(
            "{} admitted in {seconds} s, {refused} refused, {broken} broken; in any 60 s at most {most}, and at least \
             {least} where one was refused at their end",
            at.len()
        );
        assert!(turned_away.len() >= refused && refused > at.len() * 4, "{refused}: nothing was saturated");
        assert!(broken * 1000 <= refused, "{broken} connections broke");
        assert!(least >= 97 && most <= 101, "{least} to {most}; {at:?}");
    }
}

/// Calls every process with so many callers, each with such pauses. How many calls were refused, and how many connections
/// broke.
async fn saturated(
    clients: &[Client],
    key: &str,
    (callers, pause): (usize, Duration),
    length: Duration,
) -> (usize, usize) {
    let (begun, key) = (Instant::now(), Arc::<str>::from(key));
    let mut tasks = JoinSet::new();
    for client in clients.iter().flat_map(|client| std::iter::repeat_n(client, callers)) {
        let (client, key) = (client.clone(), key.clone());
        tasks.spawn(async move {
            let (mut refused, mut broken) = (0, 0);
            while begun.elapsed() < length {
                let status = client.status(&key).await;
                assert!(matches!(status, 0 | 200 | 429), "{status}");
                refused += usize::from(status == 429);
                // A connection that was idle can be closed in the moment in which it is used again.
                broken += usize::from(status == 0);
                tokio::time::sleep(pause).await;
            }
            (refused, broken)
        });
    }
    tasks.join_all().await.into_iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

/// The fewest and the most of these moments, sorted, that lie in any minute between the first and `length` after it, all in
/// milliseconds. Only where one begins or ends can the count change.
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

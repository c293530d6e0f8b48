//! A budget holds over all processes, whatever clients do and whichever process dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::{self, KEY};
use crate::world::{CENT, Client, Cluster, Dice, call, cent, cost, drained, receipts, spent, until, verify};

/// The cap, in calls of a cent.
const CAP: i64 = 100;

/// The lease of holds.
const LEASE: Duration = Duration::from_secs(5);

const STRICT: &str = "tollway: {budgets: {strict: true}, redis: {lease: 5s, timeout: 5s}}";

/// What clients saw.
#[derive(Default)]
struct Tally {
    answered: AtomicUsize,
    refused: AtomicUsize,
    broken: AtomicUsize,
}

/// One call: some go away before the answer or inside it, and those whose connection broke try elsewhere.
async fn one(clients: &[Client], key: &str, fate: u64, tally: &Tally) {
    let stream = fate.is_multiple_of(2);
    for turn in 0..3 {
        let client = &clients[(usize::try_from(fate).unwrap() + turn) % clients.len()];
        let body = call(stream);
        let asked = client.chat(key, &body);
        let patience = match fate % 10 {
            // Going away is no reason to come back at once.
            7 => Duration::from_millis(fate % 40),
            _ => Duration::from_secs(30),
        };
        let Ok(seen) = tokio::time::timeout(patience, asked).await else { continue };
        match seen {
            Some(answer) if answer.status == 200 => {
                tally.answered.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Some(_) => {
                tally.refused.fetch_add(1, Ordering::Relaxed);
                return;
            }
            None => {
                tally.broken.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Five hundred calls at once.
fn rush(clients: &[Client], key: &str, tally: &Arc<Tally>) -> JoinSet<()> {
    let mut dice = Dice::new();
    let mut tasks = JoinSet::new();
    // Not more sockets at once than a machine that runs tests has to offer.
    let places = Arc::new(Semaphore::new(250));
    for _ in 0..500 {
        let (clients, key, tally) = (clients.to_vec(), key.to_owned(), tally.clone());
        let (fate, places) = (dice.roll(1000), places.clone());
        tasks.spawn(async move {
            let _place = places.acquire().await.unwrap();
            one(&clients, &key, fate, &tally).await;
        });
    }
    tasks
}

/// Spends what is left, call by call; then the cap is reached to the last cent, and never passed.
async fn check_spent_to_the_last_cent(cluster: &Cluster, key: &str) {
    let clients = cluster.clients();
    let refused = async || {
        for client in &clients {
            if client.status(key).await == 200 {
                return false;
            }
        }
        true
    };
    // Holds of clients that went away, and of a process that did, come back meanwhile.
    until(Duration::from_secs(30), "the budget is used up", refused).await;
    tokio::time::sleep(LEASE + Duration::from_millis(500)).await;
    until(Duration::from_secs(30), "the budget is used up", refused).await;
    drained(&cluster.gateways, Duration::from_secs(10)).await;
    let all = receipts(&cluster.shared.database).await;
    let total = spent(&all);
    assert!(total <= CAP * CENT, "{total} of {} were spent", CAP * CENT);
    assert!(total > (CAP - 1) * CENT, "only {total} were spent: holds did not come back");
    let answered = all.iter().filter(|receipt| cost(receipt) == Some(CENT)).count();
    assert!(answered <= usize::try_from(CAP).unwrap(), "{answered} calls were admitted");
    verify(cluster.gateways[0].directory.path(), &cluster.shared.database);
    for gateway in &cluster.gateways {
        let info = gateway.get(&format!("/key/info?key={key}")).await.expect(200).json();
        #[expect(clippy::cast_precision_loss, reason = "a sum of money in JSON")]
        let usd = total as f64 / 1e9;
        let shown = info["info"]["spend"].as_f64().unwrap();
        assert!((shown - usd).abs() < 1e-9, "{shown} is shown, {usd} was spent");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_calls_over_three_processes_spend_a_budget_to_the_last_cent_and_no_further() {
    let models = |fake: &_| vec![cent(fake, "openai/fake-tokens-10+slow-10+interval-1")];
    let Some(cluster) = Cluster::start(models, STRICT).await else { return };
    let key = cluster.key(json!({ "max_budget": 1.0 })).await;
    let tally = Arc::<Tally>::default();
    rush(&cluster.clients(), &key, &tally).join_all().await;
    assert!(tally.answered.load(Ordering::Relaxed) <= usize::try_from(CAP).unwrap());
    assert_eq!(tally.broken.load(Ordering::Relaxed), 0);
    assert!(tally.refused.load(Ordering::Relaxed) > 200);
    check_spent_to_the_last_cent(&cluster, &key).await;
    // The master key spends nothing of it.
    assert_eq!(cluster.clients()[0].status(KEY).await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_that_are_lost_and_tried_again_never_pass_a_budget() {
    // What answers costs a cent, and so does every attempt that is lost before: each of eight in every call. The worst case
    // of one attempt is a cent and the prompt, so without holding what was lost calls that run together pass the cap.
    let priced = |fake: &_, model: &str, more: &str| {
        let prices = format!(", input_cost_per_token: 0.0004, output_cost_per_token: 0.001{more}");
        support::at(fake, "cent", model, &prices)
    };
    let models = |fake: &_| {
        let lost =
            |order: usize| priced(fake, "openai/fake-slow-5000", &format!(", order: {order}, timeout: 0.3"));
        let mut models: Vec<String> = (1..=8).map(lost).collect();
        models.push(priced(fake, "openai/fake-tokens-10", ", order: 9"));
        models
    };
    let rest = format!("router_settings: {{num_retries: 0, disable_cooldowns: true}}\n{STRICT}");
    let Some(cluster) = Cluster::start(models, &rest).await else { return };
    let key = cluster.key(json!({ "max_budget": 1.0 })).await;
    let mut tasks = JoinSet::new();
    for number in 0..60 {
        let client = cluster.clients()[number % 3].clone();
        let (key, body) = (key.clone(), call(number % 2 == 0));
        tasks.spawn(async move { client.chat(&key, &body).await.map_or(0, |answer| answer.status) });
    }
    let statuses = tasks.join_all().await;
    assert!(statuses.iter().all(|status| matches!(status, 200 | 408 | 422)), "{statuses:?}");
    drained(&cluster.gateways, Duration::from_secs(20)).await;
    let all = receipts(&cluster.shared.database).await;
    let total = spent(&all);
    let stopped = all.iter().filter(|receipt| {
        let last = receipt.attempts.last().and_then(|attempt| attempt.then.as_deref());
        last.is_some_and(|why| why.contains("a strict budget has no room"))
    });
    eprintln!("{total} of {} spent, {} calls had to stop", CAP * CENT, stopped.clone().count());
    assert!(total <= CAP * CENT, "{total} of {} were spent", CAP * CENT);
    assert!(total > CAP * CENT / 4 && stopped.count() > 0, "{total}: nothing came near the cap");
    verify(cluster.gateways[0].directory.path(), &cluster.shared.database);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_gives_its_holds_back_and_loses_nothing_it_spent() {
    let models = |fake: &_| vec![cent(fake, "openai/fake-tokens-10+slow-60+interval-2")];
    let Some(mut cluster) = Cluster::start(models, STRICT).await else { return };
    let key = cluster.key(json!({ "max_budget": 1.0 })).await;
    let tally = Arc::<Tally>::default();
    let rush = rush(&cluster.clients(), &key, &tally);
    until(Duration::from_secs(20), "some calls are answered", async || {
        tally.answered.load(Ordering::Relaxed) > 20
    })
    .await;
    let directory = cluster.kill(2);
    // It is back before its holds are: what it had spent and not told is known by then.
    cluster.start_again(directory).await;
    rush.join_all().await;
    assert!(tally.broken.load(Ordering::Relaxed) > 0, "nobody was cut off");
    check_spent_to_the_last_cent(&cluster, &key).await;
}

//! What is changed on one process holds on all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::world::{Client, Cluster, cent, scaled, until};

/// A change of a key holds everywhere after this.
const BOUND: Duration = Duration::from_secs(1);

/// The status of a call that has no money left.
const OVER_BUDGET: u16 = 422;

/// Calls with a key from all processes without a pause, and remembers when each call that was admitted began.
struct Hammer {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Option<Instant>>,
}

impl Hammer {
    fn start(clients: &[Client], key: &str) -> Hammer {
        let stop = Arc::<AtomicBool>::default();
        let mut tasks = JoinSet::new();
        for client in clients.iter().flat_map(|client| [client.clone(), client.clone()]) {
            let (stop, key) = (stop.clone(), key.to_owned());
            tasks.spawn(async move {
                let mut last = None;
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    if client.status(&key).await == 200 {
                        last = last.max(Some(begun));
                    }
                }
                last
            });
        }
        Hammer { stop, tasks }
    }

    /// When the last call began that was admitted.
    async fn last(self) -> Instant {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.join_all().await.into_iter().max().flatten().unwrap()
    }
}

/// Makes a key on one process, hammers it on all, changes it on another and sees that it ends and stays ended.
async fn check_ends(cluster: &Cluster, path: &str, change: impl FnOnce(&str) -> Value) {
    let key = cluster.key(json!({})).await;
    let clients = cluster.clients();
    for client in &clients {
        assert_eq!(client.status(&key).await, 200, "a new key works on every process at once");
    }
    let hammer = Hammer::start(&clients, &key);
    tokio::time::sleep(Duration::from_millis(300)).await;
    cluster.gateways[1].post(path, &change(&key)).await.expect(200);
    let changed = Instant::now();
    tokio::time::sleep(scaled(Duration::from_secs(3), Duration::from_secs(120))).await;
    let last = hammer.last().await;
    let after = last.saturating_duration_since(changed);
    assert!(after < BOUND, "{path}: still admitted {after:?} later");
    for client in &clients {
        let answer = client.chat(&key, &crate::world::call(false)).await.unwrap();
        assert!(matches!(answer.status, 401 | 403), "{path}: {} {}", answer.status, answer.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_blocked_deleted_or_expired_ends_everywhere_within_a_second() {
    let models = |fake: &_| vec![cent(fake, "openai/fake-tokens-10")];
    let Some(cluster) = Cluster::start(models, "").await else { return };
    check_ends(&cluster, "/key/block", |key| json!({ "key": key })).await;
    check_ends(&cluster, "/key/delete", |key| json!({ "keys": [key] })).await;
    check_ends(&cluster, "/key/update", |key| json!({ "key": key, "models": ["another"] })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_budgets_teams_and_models_that_change_on_one_process_hold_on_all() {
    let models = |fake: &_| vec![cent(fake, "openai/fake-tokens-10")];
    let Some(cluster) = Cluster::start(models, "").await else { return };
    let clients = cluster.clients();
    let [one, two, three] = &cluster.gateways[..] else { panic!() };
    let statuses = async |key: &str| {
        let mut statuses = Vec::new();
        for client in &clients {
            statuses.push(client.status(key).await);
        }
        statuses
    };
    let become_all = async |key: &str, expected: &[u16]| {
        let changed = Instant::now();
        loop {
            let seen = statuses(key).await;
            if seen.iter().all(|status| expected.contains(status)) {
                return;
            }
            assert!(changed.elapsed() < BOUND, "{seen:?} instead of {expected:?}");
        }
    };
    // Requests: two of three are used, then none is left, then there is room again.
    let key = cluster.key(json!({ "rpm_limit": 3 })).await;
    assert_eq!(statuses(&key).await, [200; 3]);
    assert_eq!(statuses(&key).await, [429; 3]);
    two.post("/key/update", &json!({ "key": key, "rpm_limit": 1000 })).await.expect(200);
    become_all(&key, &[200]).await;
    // Money: what was spent through all counts for each.
    two.post("/key/update", &json!({ "key": key, "max_budget": 0.01 })).await.expect(200);
    become_all(&key, &[OVER_BUDGET]).await;
    three.post("/key/update", &json!({ "key": key, "max_budget": 1000 })).await.expect(200);
    become_all(&key, &[200]).await;
    // A team's key ends with the team.
    let team = one.post("/team/new", &json!({ "team_alias": "t" })).await.json()["team_id"].clone();
    let key = cluster.key(json!({ "team_id": team })).await;
    assert_eq!(statuses(&key).await, [200; 3]);
    three.post("/team/block", &json!({ "team_id": team })).await.expect(200);
    become_all(&key, &[401, 403]).await;
    one.post("/team/unblock", &json!({ "team_id": team })).await.expect(200);
    become_all(&key, &[200]).await;
    // A model that is added is served by all.
    let base = format!("{}/v1", cluster.fake.url());
    let params = json!({ "model": "openai/fake-ok", "api_base": base, "api_key": "pk" });
    two.post("/model/new", &json!({ "model_name": "added", "litellm_params": params })).await.expect(200);
    let body = json!({ "model": "added", "messages": [{ "role": "user", "content": "hi" }] });
    for gateway in [one, two, three] {
        until(2 * BOUND, "the model is served", async || gateway.chat(&body).await.status == 200).await;
    }
}

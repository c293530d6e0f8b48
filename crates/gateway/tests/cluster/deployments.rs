//! What one process learns of a deployment, the others go by.

use std::time::Duration;

use tollway_testkit::Script;

use crate::support::{at, chat, fake};
use crate::world::{Cluster, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_that_is_rate_limited_on_one_process_rests_on_all() {
    let spare = fake().await;
    let models = |fake: &_| {
        vec![at(fake, "gpt", "openai/fake-ok", ", weight: 1000000"), at(&spare, "gpt", "openai/fake-ok", "")]
    };
    let Some(cluster) = Cluster::start(models, "router_settings: {num_retries: 0}").await else { return };
    let [one, two, three] = &cluster.gateways[..] else { panic!() };
    // The second has called the group before, the third has never heard of it.
    two.chat(&chat("gpt", "hi")).await.expect(200);
    assert_eq!((cluster.fake.received().len(), spare.received().len()), (1, 0));
    cluster.fake.script(Script::from_model("fake-ratelimit-3600").unwrap());
    one.chat(&chat("gpt", "hi")).await;
    let before = cluster.fake.received().len();
    tokio::time::sleep(Duration::from_secs(1)).await;
    for gateway in [two, three] {
        for _ in 0..5 {
            gateway.chat(&chat("gpt", "hi")).await.expect(200);
        }
    }
    assert_eq!(cluster.fake.received().len(), before, "a process called a deployment that rests");
    // A process that starts later is told.
    let mut cluster = cluster;
    let directory = cluster.kill(2);
    let late = cluster.start_again(directory).await;
    crate::world::settled_in(late).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    late.chat(&chat("gpt", "hi")).await.expect(200);
    assert_eq!(cluster.fake.received().len(), before, "a new process called a deployment that rests");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn use_of_a_deployment_counts_over_all_processes() {
    let spare = fake().await;
    let models = |fake: &_| {
        vec![
            at(fake, "gpt", "openai/fake-ok", ", rpm: 5, weight: 1000000"),
            at(&spare, "gpt", "openai/fake-ok", ""),
        ]
    };
    let Some(cluster) =
        Cluster::start(models, "router_settings: {optional_pre_call_checks: [enforce_model_rate_limits]}")
            .await
    else {
        return;
    };
    let [one, two, three] = &cluster.gateways[..] else { panic!() };
    for gateway in [one, two, three] {
        gateway.chat(&chat("gpt", "hi")).await.expect(200);
    }
    let before = cluster.fake.received().len();
    for _ in before..5 {
        one.chat(&chat("gpt", "hi")).await.expect(200);
    }
    until(Duration::from_secs(2), "the second process knows of it", async || {
        let before = cluster.fake.received().len();
        two.chat(&chat("gpt", "hi")).await.expect(200);
        cluster.fake.received().len() == before
    })
    .await;
}

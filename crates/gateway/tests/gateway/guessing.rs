//! Guessing keys.

use crate::support::{Gateway, KEY, config, fake, three};

#[tokio::test]
async fn an_address_that_guesses_keys_has_to_wait() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "")).await;
    let mut statuses = Vec::new();
    for number in 0..110 {
        let guess = format!("Bearer sk-guess-{number}");
        statuses.push(gateway.send("GET", "/v1/models", &[("authorization", &guess)], "").await.status);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 100, "{statuses:?}");
    assert!(statuses[100..].iter().all(|status| *status == 429), "{statuses:?}");
    let waiting = gateway.get("/v1/models").await;
    let pause: u64 = waiting.expect(429).header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&pause), "{pause}");
    assert!(!waiting.text().contains(KEY));
    gateway.send("GET", "/health/liveness", &[], "").await.read().await.expect(200);
}

#[tokio::test]
async fn a_wrong_key_does_not_lock_out_who_shares_its_address() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "")).await;
    gateway.get("/v1/models").await.expect(200);
    for _ in 0..150 {
        gateway.send("GET", "/v1/models", &[("x-api-key", "sk-old")], "").await.read().await.expect(401);
    }
    gateway.get("/v1/models").await.expect(200);
}

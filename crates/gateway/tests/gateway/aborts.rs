//! A client that goes away takes its provider call along.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tollway_testkit::{FakeProvider, Script};

use crate::support::{Gateway, KEY, SOON, Surface, config, fake, surfaces, text, three};

/// How soon the provider's connection must be closed.
const AT_ONCE: Duration = Duration::from_millis(100);

/// A busy machine may be late; of so many tries one must be in time.
const TRIES: usize = 3;

async fn ask(gateway: &Gateway, surface: &Surface) -> TcpStream {
    let body = surface.body.to_string();
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-length: {}\r\n\r\n",
        surface.path,
        body.len()
    );
    let mut connection = gateway.connect().await;
    connection.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    connection
}

async fn read_until(connection: &mut TcpStream, part: &str) {
    let mut all = String::new();
    let mut buffer = [0; 4096];
    while !all.contains(part) {
        let count = tokio::time::timeout(SOON, connection.read(&mut buffer)).await.unwrap().unwrap();
        assert!(count > 0, "no {part:?} in {all:?}");
        all.push_str(&text(&buffer[..count]));
    }
}

/// Asks, waits for `part` of the answer (none: for the provider to have the call), hangs up.
async fn check(gateway: &Gateway, fake: &FakeProvider, what: &str, surface: &Surface, part: Option<&str>) {
    let mut times = Vec::new();
    for _ in 0..TRIES {
        let before = fake.received().len();
        let mut connection = ask(gateway, surface).await;
        assert!(fake.wait_until(SOON, |calls| calls.len() > before).await, "{what}: no call");
        match part {
            Some(part) => read_until(&mut connection, part).await,
            // The provider's headers must have arrived, where it sends them.
            None => tokio::time::sleep(Duration::from_millis(30)).await,
        }
        let hung_up = Instant::now();
        drop(connection);
        let closed = fake
            .wait_until(SOON, |calls| calls.iter().skip(before).all(|call| call.closed_early.is_some()))
            .await;
        assert!(closed, "{what}: the provider's connection stays open");
        times.push(hung_up.elapsed());
        if hung_up.elapsed() <= AT_ONCE {
            break;
        }
    }
    assert!(times.iter().any(|time| *time <= AT_ONCE), "{what}: {times:?}");
    let receipts = gateway.get("/receipts?limit=1").await.json();
    assert_eq!(receipts["data"][0]["outcome"], "client_closed", "{what}: {receipts}");
    assert_eq!(
        receipts["data"][0]["status"],
        json!(if part.is_some() { 200 } else { 499 }),
        "{what}: {receipts}"
    );
}

#[tokio::test]
async fn hanging_up_closes_the_providers_connection_in_every_phase() {
    let phases = [
        ("before the headers", "fake-slow-60000", None),
        ("between headers and first event", "fake-headers-then-silence", None),
        ("inside the stream", "fake-stall-after-5-chunks", Some("alpha")),
    ];
    let one = async |model: &'static str| {
        let fake = fake().await;
        let gateway = Gateway::start(&config(&three(&fake), "")).await;
        for (phase, script, part) in phases {
            fake.script(Script::from_model(script).unwrap());
            for (dialect, surface) in surfaces(model, "say: alpha beta gamma delta", true) {
                check(&gateway, &fake, &format!("{dialect} of {model} {phase}"), &surface, part).await;
            }
        }
    };
    tokio::join!(one("gpt"), one("claude"), one("gem"));
}

#[tokio::test]
async fn hanging_up_closes_the_providers_connection_of_a_whole_answer() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "")).await;
    for script in ["fake-slow-60000", "fake-stall-after-1-chunks"] {
        fake.script(Script::from_model(script).unwrap());
        for model in ["gpt", "claude"] {
            for (dialect, surface) in surfaces(model, "hi", false) {
                check(&gateway, &fake, &format!("{dialect} of {model}, {script}"), &surface, None).await;
            }
        }
    }
}

#[tokio::test]
async fn hanging_up_during_a_pause_ends_the_retries() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "router_settings: {num_retries: 5}")).await;
    fake.script(Script::from_model("fake-error-500").unwrap());
    let [(_, surface), ..] = surfaces("gpt", "hi", false);
    let connection = ask(&gateway, &surface).await;
    assert!(fake.wait_until(SOON, |calls| !calls.is_empty()).await);
    drop(connection);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(fake.received().len(), 1);
}

#[tokio::test]
async fn what_an_aborted_stream_used_is_in_its_receipt() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "")).await;
    fake.script(Script::from_model("fake-stall-after-5-chunks").unwrap());
    for (dialect, surface) in surfaces("claude", "say: alpha beta gamma delta", true) {
        let mut connection = ask(&gateway, &surface).await;
        read_until(&mut connection, "alpha").await;
        drop(connection);
        let begun = Instant::now();
        loop {
            let receipt = gateway.get("/receipts?limit=1").await.json()["data"][0].clone();
            if receipt["outcome"] == "client_closed" && receipt["surface"].as_str().unwrap().contains(dialect)
            {
                assert!(receipt["usage"]["input"].as_u64().unwrap() > 0, "{dialect}: {receipt}");
                break;
            }
            assert!(begun.elapsed() < SOON, "{dialect}: {receipt}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

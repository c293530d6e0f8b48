//! An orderly end.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::{Gateway, KEY, SOON, at, chat, config, fake, read_to_end, streamed_chat};

#[tokio::test]
async fn running_calls_finish_and_new_connections_are_refused() {
    let fake = fake().await;
    let models = [
        at(&fake, "gpt", "openai/fake-interval-150+tokens-12", ""),
        at(&fake, "slow", "openai/fake-slow-1500", ""),
    ];
    for signal in ["TERM", "INT"] {
        let mut gateway = Gateway::start(&config(&models, "")).await;
        let mut stream = gateway.open("/v1/chat/completions", &streamed_chat("gpt", "hi")).await;
        let begun = stream.until("\"content\"").await;
        let (whole, rest) = {
            let slow = chat("slow", "hi");
            let whole = gateway.chat(&slow);
            let ending = async {
                tokio::time::sleep(Duration::from_millis(200)).await;
                gateway.signal(signal);
                tokio::time::sleep(Duration::from_millis(300)).await;
                assert!(TcpStream::connect(gateway.address).await.is_err(), "still accepts connections");
                stream.read().await
            };
            tokio::join!(whole, ending)
        };
        whole.expect(200);
        let all = begun + &rest.text();
        assert!(all.trim_end().ends_with("data: [DONE]") && !all.contains("error"), "{all}");
        assert_eq!(gateway.ended(SOON).await, Some(0), "{}", gateway.log());
    }
}

#[tokio::test]
async fn an_idle_gateway_ends_at_once() {
    let fake = fake().await;
    let mut gateway = Gateway::start(&config(&[at(&fake, "gpt", "openai/fake-ok", "")], "")).await;
    gateway.chat(&chat("gpt", "hi")).await.expect(200);
    let begun = Instant::now();
    gateway.signal("TERM");
    assert_eq!(gateway.ended(SOON).await, Some(0));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn the_wait_for_running_calls_is_bounded() {
    let fake = fake().await;
    let models = [at(&fake, "gpt", "openai/fake-stall-after-3-chunks", "")];
    let mut gateway = Gateway::start(&config(&models, "tollway: {timeouts: {shutdown: 1s}}")).await;
    let mut stream = gateway.open("/v1/chat/completions", &streamed_chat("gpt", "hi")).await;
    stream.until("\"content\"").await;
    let begun = Instant::now();
    gateway.signal("TERM");
    assert_eq!(gateway.ended(SOON).await, Some(0));
    assert!(begun.elapsed() >= Duration::from_millis(900) && begun.elapsed() < Duration::from_secs(5));
    assert!(gateway.log().contains("did not finish in time"), "{}", gateway.log());
    let closed = fake.wait_until(SOON, |calls| calls[0].closed_early.is_some()).await;
    assert!(closed);
}

#[tokio::test]
async fn a_signal_while_connecting_waiting_and_reading_a_body_ends_in_time() {
    let fake = fake().await;
    // A port that takes connections and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nowhere = format!(
        "{{model_name: silent, litellm_params: {{model: openai/x, api_base: \"http://{}\", api_key: pk}}}}",
        silent.local_addr().unwrap()
    );
    let models = [at(&fake, "slow", "openai/fake-slow-20000", ""), nowhere];
    let mut gateway = Gateway::start(&config(&models, "tollway: {timeouts: {shutdown: 1s}}")).await;
    let mut connections = Vec::new();
    for body in
        [chat("slow", "hi"), streamed_chat("slow", "hi"), chat("silent", "hi"), streamed_chat("silent", "hi")]
    {
        let body = body.to_string();
        for part in [body.len(), body.len() / 2] {
            let mut connection = gateway.connect().await;
            let head = format!(
                "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            connection.write_all(format!("{head}{}", &body[..part]).as_bytes()).await.unwrap();
            connections.push(connection);
        }
    }
    connections.push(gateway.connect().await);
    assert!(fake.wait_until(SOON, |calls| calls.len() == 2).await);
    let begun = Instant::now();
    gateway.signal("TERM");
    assert_eq!(gateway.ended(SOON).await, Some(0), "{}", gateway.log());
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
}

#[tokio::test]
async fn half_sent_headers_hold_nobody_up() {
    let fake = fake().await;
    let models = [at(&fake, "gpt", "openai/fake-interval-100", "")];
    let mut gateway = Gateway::start(&config(&models, "")).await;
    let body = chat("gpt", "say: one two three four five six seven eight nine ten eleven twelve").to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    let mut whole = gateway.connect().await;
    whole.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    // One says nothing more, the other goes on in time.
    let (mut half, mut late) = (gateway.connect().await, gateway.connect().await);
    half.write_all(&head.as_bytes()[..30]).await.unwrap();
    late.write_all(&head.as_bytes()[..30]).await.unwrap();
    assert!(fake.wait_until(SOON, |calls| calls.len() == 1).await);
    let begun = Instant::now();
    gateway.signal("TERM");
    tokio::time::sleep(Duration::from_millis(300)).await;
    late.write_all(format!("{}{body}", &head[30..]).as_bytes()).await.unwrap();
    for running in [&mut whole, &mut late] {
        let answer = read_to_end(running).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("twelve"), "{answer}");
    }
    assert_eq!(gateway.ended(SOON).await, Some(0), "{}", gateway.log());
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}

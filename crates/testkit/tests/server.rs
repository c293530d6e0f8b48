//! The fake over real sockets: endings, timing, recording, and steering.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, in its helpers too")]

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tollway_testkit::{FakeProvider, Options, Reply, Script};

const SECOND: Duration = Duration::from_secs(1);

fn request(model: &str, stream: bool) -> String {
    let body = format!(
        r#"{{"model":"{model}","stream":{stream},"messages":[{{"role":"user","content":"say: a b c d"}}]}}"#
    );
    with_key(&body, "good-key")
}

fn with_key(body: &str, key: &str) -> String {
    format!(
        "POST /openai/v1/chat/completions?x=1 HTTP/1.1\r\nhost: fake\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

async fn open(fake: &FakeProvider, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(fake.addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// What comes back until the connection ends, and whether it ended with a reset.
async fn exchange(fake: &FakeProvider, request: &str) -> (String, bool) {
    let mut stream = open(fake, request).await;
    let mut answer = Vec::new();
    let ended =
        tokio::time::timeout(5 * SECOND, stream.read_to_end(&mut answer)).await.expect("the connection ends");
    (String::from_utf8_lossy(&answer).into_owned(), ended.is_err())
}

#[tokio::test]
async fn a_complete_stream_ends_with_done_and_is_recorded() {
    let fake = FakeProvider::start().await.unwrap();
    let (answer, reset) = exchange(&fake, &request("fake-ok", true)).await;
    assert!(!reset && answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("data: [DONE]") && answer.ends_with("0\r\n\r\n"), "{answer}");
    let calls = fake.received();
    let call = &calls[0];
    assert_eq!(
        (call.method.as_str(), call.path.as_str(), call.query.as_str()),
        ("POST", "/openai/v1/chat/completions", "x=1")
    );
    assert_eq!(call.header("authorization"), Some("Bearer good-key"));
    assert_eq!(call.json()["model"], "fake-ok");
    assert!(call.finished.is_some() && call.closed_early.is_none() && call.chunks_sent == 7, "{call:?}");
}

#[tokio::test]
async fn a_cut_stream_lacks_its_end_and_keeps_its_beginning() {
    let fake = FakeProvider::start().await.unwrap();
    let (answer, reset) = exchange(&fake, &request("fake-cut-after-3-chunks", true)).await;
    assert_eq!((answer.matches("data: ").count(), reset), (3, false), "{answer}");
    assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
    assert!(fake.received()[0].closed_early.is_none());
    let (answer, _) = exchange(&fake, &request("fake-cut-after-1-chunks", false)).await;
    assert!(answer.contains("200 OK") && !answer.ends_with("0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_reset_is_a_reset() {
    let fake = FakeProvider::start().await.unwrap();
    assert_eq!(exchange(&fake, &request("fake-reset", true)).await, (String::new(), true));
    let (answer, reset) = exchange(&fake, &request("fake-reset-after-2-chunks", true)).await;
    assert!(reset && answer.matches("data: ").count() == 2, "{reset} {answer}");
}

#[tokio::test]
async fn a_stalled_stream_says_nothing_more() {
    let fake = FakeProvider::start().await.unwrap();
    for (model, frames) in [("fake-stall-after-2-chunks", 2), ("fake-headers-then-silence", 0)] {
        let mut stream = open(&fake, &request(model, true)).await;
        let mut answer = Vec::new();
        let read = tokio::time::timeout(SECOND / 4, stream.read_to_end(&mut answer)).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(read.is_err() && answer.starts_with("HTTP/1.1 200"), "{model}: {answer}");
        assert_eq!(answer.matches("data: ").count(), frames, "{model}: {answer}");
    }
}

#[tokio::test]
async fn pauses_are_kept() {
    let fake = FakeProvider::start().await.unwrap();
    let begin = Instant::now();
    exchange(&fake, &request("fake-slow-100+interval-20", true)).await;
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(220) && took < 3 * SECOND, "{took:?}");
}

#[tokio::test]
async fn a_caller_that_hangs_up_is_noticed_at_once() {
    let fake = FakeProvider::start().await.unwrap();
    for model in
        ["fake-slow-5000", "fake-headers-then-silence", "fake-stall-after-2-chunks", "fake-interval-2000"]
    {
        fake.reset();
        let stream = open(&fake, &request(model, true)).await;
        assert!(fake.wait_until(SECOND, |calls| !calls.is_empty()).await, "{model}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(fake.received()[0].closed_early.is_none(), "{model}");
        let begin = Instant::now();
        drop(stream);
        assert!(fake.wait_until(SECOND, |calls| calls[0].closed_early.is_some()).await, "{model}");
        assert!(begin.elapsed() < SECOND / 4, "{model}: {:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn keys_are_demanded_unless_told_otherwise() {
    let fake = FakeProvider::start().await.unwrap();
    let body = r#"{"model":"fake-ok","messages":[{"role":"user","content":"hi"}]}"#;
    let (answer, _) = exchange(&fake, &with_key(body, "wrong-key")).await;
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("invalid_api_key"), "{answer}");
    let open = FakeProvider::start_with(Options { require_key: false, ..Options::default() }).await.unwrap();
    assert!(exchange(&open, &with_key(body, "wrong-key")).await.0.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_flaky_model_recovers() {
    let fake = FakeProvider::start().await.unwrap();
    for expected in ["503", "503", "200"] {
        let (answer, _) = exchange(&fake, &request("fake-flaky-2", false)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{answer}");
    }
}

#[tokio::test]
async fn scripts_and_replies_can_be_set_from_rust() {
    let fake = FakeProvider::start().await.unwrap();
    fake.reply_next(Reply::bytes(418, "text/plain", "short and stout"));
    fake.script_next(Script::from_model("fake-error-500").unwrap());
    fake.script(Script::from_model("fake-error-404").unwrap());
    for (status, text) in [("418", "stout"), ("500", "server_error"), ("404", "error"), ("404", "error")] {
        let (answer, _) = exchange(&fake, &request("gpt-4o", false)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(text), "{answer}");
    }
    fake.reset();
    assert!(exchange(&fake, &request("gpt-4o", false)).await.0.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn other_languages_can_look_at_what_came() {
    let fake = FakeProvider::start().await.unwrap();
    exchange(&fake, &request("fake-id-one", false)).await;
    exchange(&fake, &request("fake-id-two", false)).await;
    let get = "GET /__received?contains=id-two HTTP/1.1\r\nhost: fake\r\nconnection: close\r\n\r\n";
    let (answer, _) = exchange(&fake, get).await;
    let body: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!((body.as_array().unwrap().len(), &body[0]["json"]["model"]), (1, &"fake-id-two".into()));
    exchange(&fake, "POST /__reset HTTP/1.1\r\nhost: fake\r\nconnection: close\r\n\r\n").await;
    assert!(fake.received().is_empty());
}

#[tokio::test]
async fn the_benchmark_mode_answers_without_a_record() {
    let options = Options { bench: Some(tollway_testkit::bench::Bench::new()), ..Options::default() };
    let fake = FakeProvider::start_with(options).await.unwrap();
    let (answer, _) = exchange(&fake, &request("fake-tokens-32", true)).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.matches("data: ").count() == 36, "{answer}");
}

#[tokio::test]
async fn a_dropped_fake_takes_its_connections_along() {
    let fake = FakeProvider::start().await.unwrap();
    let mut stream = open(&fake, &request("fake-headers-then-silence", true)).await;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    drop(fake);
    let mut rest = Vec::new();
    tokio::time::timeout(SECOND, stream.read_to_end(&mut rest)).await.expect("the connection ends").ok();
}

//! Timeouts, and what dropping a call does.

use std::time::{Duration, Instant};

use tollway::{CallOptions, Kind, Request};

use crate::support::{PROVIDERS, hasty, start};

const SOON: Duration = Duration::from_millis(100);

/// Makes a call that must time out in about 100 ms, and the words of its error.
async fn check(model: &str, streamed: bool, options: CallOptions, expected: &str) {
    let (_fake, client) = start().await;
    for provider in PROVIDERS {
        let request = Request::chat(format!("{provider}/{model}"), "say: one two three four five six seven");
        let (started, options) = (Instant::now(), options.retries(0));
        let outcome = if streamed {
            match client.stream_with(&request, &options).await {
                Ok(stream) => stream.collect().await,
                Err(error) => Err(error),
            }
        } else {
            client.completion_with(&request, &options).await
        };
        let (took, error) = (started.elapsed(), outcome.expect_err(model));
        assert_eq!((error.kind(), error.status()), (Kind::Timeout, 408), "{provider} {model}: {error:?}");
        assert_eq!(error.message(), expected, "{provider} {model}");
        assert!(took >= SOON && took < Duration::from_secs(1), "{provider} {model}: {took:?}");
    }
}

#[tokio::test]
async fn an_answer_that_does_not_begin() {
    let options = hasty().first_byte(SOON);
    check("fake-slow-5000", false, options, "the provider sent no answer within 0.100 s").await;
    check("fake-slow-5000", true, options, "the provider sent no answer within 0.100 s").await;
}

#[tokio::test]
async fn an_answer_that_falls_silent() {
    let options = hasty().idle(SOON);
    check("fake-headers-then-silence", false, options, "the provider sent nothing more within 0.100 s").await;
    check("fake-stall-after-2-chunks", true, options, "the provider sent nothing more within 0.100 s").await;
}

#[tokio::test]
async fn an_answer_that_does_not_end() {
    let options = hasty().total(SOON);
    check(
        "fake-interval-30+tokens-500",
        true,
        options,
        "the provider did not finish its answer within 0.100 s",
    )
    .await;
    check("fake-slow-5000", false, options, "the provider sent no answer within 0.100 s").await;
}

#[tokio::test]
async fn slow_is_not_silent() {
    let (_fake, client) = start().await;
    let request = Request::chat("openai/fake-interval-40", "say: one two three four five six");
    let stream = client.stream_with(&request, &hasty().idle(SOON)).await.expect("begins");
    assert_eq!(
        stream.collect().await.expect("never 100 ms without a piece").text(),
        "one two three four five six"
    );
}

#[tokio::test]
async fn a_wait_without_end_is_no_panic() {
    let (_fake, client) = start().await;
    let ever = hasty().first_byte(Duration::MAX).idle(Duration::MAX).total(Duration::MAX);
    let request = Request::chat("openai/fake-interval-5", "say: hi");
    client.completion_with(&request, &ever).await.expect("answered");
    client.stream_with(&request, &ever).await.expect("begins").collect().await.expect("answered");
}

#[tokio::test]
async fn all_tries_together_keep_to_the_total() {
    let (fake, client) = start().await;
    let started = Instant::now();
    let options = hasty().retries(20).first_byte(Duration::from_millis(80)).total(Duration::from_millis(300));
    let request = Request::chat("openai/fake-slow-5000", "hi");
    let error = client.completion_with(&request, &options).await.expect_err("too slow");
    assert_eq!(error.kind(), Kind::Timeout);
    assert!(started.elapsed() < Duration::from_millis(600), "{:?}", started.elapsed());
    assert!((2..=5).contains(&fake.received().len()), "{}", fake.received().len());
}

#[tokio::test]
async fn a_dropped_stream_hangs_up() {
    let (fake, client) = start().await;
    for provider in PROVIDERS {
        let model = format!("{provider}/fake-interval-10+tokens-1000");
        let mut stream = client.stream(&Request::chat(model, "hi")).await.expect(provider);
        for _ in 0..3 {
            stream.next_text().await.expect("more").expect(provider);
        }
        drop(stream);
        let hung_up =
            fake.wait_until(SOON, |calls| calls.iter().all(|call| call.closed_early.is_some())).await;
        assert!(hung_up, "{provider}");
    }
    assert_eq!(fake.received().len(), 3);
}

#[tokio::test]
async fn a_dropped_call_hangs_up_before_its_answer_begins() {
    let (fake, client) = start().await;
    for model in ["fake-slow-5000", "fake-first-byte-5000"] {
        for provider in PROVIDERS {
            fake.reset();
            let request = Request::chat(format!("{provider}/{model}"), "hi");
            let call = tokio::time::timeout(Duration::from_millis(50), client.completion(&request));
            assert!(call.await.is_err(), "{provider} {model}");
            let hung_up =
                fake.wait_until(SOON, |calls| calls.len() == 1 && calls[0].closed_early.is_some()).await;
            assert!(hung_up, "{provider} {model}");
        }
    }
}

#[tokio::test]
async fn a_connection_that_does_not_come_is_given_up_by_the_call() {
    // Nobody accepts, and the queue of those who wait is full: the next handshake gets no answer.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let listener = socket.listen(1).expect("listens");
    let address = listener.local_addr().expect("bound");
    let mut queued = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(200), tokio::net::TcpStream::connect(address)).await
    {
        queued.push(stream);
    }
    let client = crate::support::builder(&format!("http://{address}")).build();
    let request = Request::chat("openai/fake-ok", "hi");
    let (started, options) = (Instant::now(), hasty().retries(0).connect(SOON));
    let error = client.completion_with(&request, &options).await.expect_err("no connection");
    assert_eq!(error.kind(), Kind::Connection, "{error:?}");
    assert_eq!(error.message(), "no connection to the provider within 0.100 s");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[tokio::test]
async fn an_answer_may_take_longer_than_the_connection() {
    let (_fake, client) = start().await;
    let request = Request::chat("openai/fake-slow-300", "say: hi");
    let options = hasty().retries(0).connect(SOON);
    assert_eq!(client.completion_with(&request, &options).await.expect("answered").text(), "hi");
}

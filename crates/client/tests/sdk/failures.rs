//! What goes wrong: its kind, and whether it is tried again.

use std::time::{Duration, Instant};

use tollway::model::{Origin, Retry};
use tollway::{Client, Kind, Request};
use tollway_testkit::{Ending, Fault, Reply, Speaks};

use crate::support::{PROVIDERS, builder, hasty, start};

#[tokio::test]
async fn every_provider_says_the_same_in_its_own_words() {
    let (_fake, client) = start().await;
    for provider in PROVIDERS {
        for (model, kind, again) in [
            ("fake-error-401", Kind::Authentication, Retry::Elsewhere),
            ("fake-error-403", Kind::Permission, Retry::Elsewhere),
            ("fake-model-not-found", Kind::NotFound, Retry::Elsewhere),
            ("fake-error-400", Kind::InvalidRequest, Retry::Never),
            ("fake-context-window", Kind::ContextWindow, Retry::Elsewhere),
            ("fake-content-policy", Kind::ContentPolicy, Retry::Elsewhere),
            ("fake-ratelimit-90", Kind::RateLimit, Retry::Later(Some(Duration::from_secs(90)))),
            ("fake-error-500", Kind::Upstream, Retry::Later(None)),
            ("fake-html-502", Kind::Upstream, Retry::Later(None)),
        ] {
            let request = Request::chat(format!("{provider}/{model}"), "hi");
            for streamed in [false, true] {
                let outcome = if streamed {
                    client.stream_with(&request, &hasty().retries(0)).await.map(|_| ())
                } else {
                    client.completion_with(&request, &hasty().retries(0)).await.map(|_| ())
                };
                let what = format!("{provider} {model} {streamed}");
                let Err(error) = outcome else {
                    // Gemini refuses a prompt inside a proper answer.
                    assert_eq!((provider, kind), ("gemini", Kind::ContentPolicy), "{what}");
                    continue;
                };
                assert_eq!(error.kind(), kind, "{what}: {error:?}");
                assert_eq!((error.origin(), error.retry()), (Origin::Upstream, again), "{what}: {error:?}");
                assert!(!error.message().is_empty(), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn an_overloaded_provider_may_answer_later() {
    let (_fake, client) = start().await;
    for provider in PROVIDERS {
        for status in [500, 502, 503, 504, 529] {
            let request = Request::chat(format!("{provider}/fake-error-{status}"), "hi");
            let error = client.completion_with(&request, &hasty().retries(0)).await.expect_err(provider);
            assert_eq!(
                (error.status(), error.retry()),
                (status, Retry::Later(None)),
                "{provider}: {error:?}"
            );
        }
    }
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_no_more_often_than_allowed() {
    for (model, retries, calls, succeeds) in [
        ("openai/fake-flaky-2", 2, 3, true),
        ("openai/fake-flaky-3", 2, 3, false),
        ("anthropic/fake-flaky-1", 0, 1, false),
        ("gemini/fake-flaky-1", 1, 2, true),
        ("openai/fake-error-401", 5, 1, false),
        ("openai/fake-error-400", 5, 1, false),
        ("openai/fake-html-502", 1, 2, false),
    ] {
        let (fake, client) = start().await;
        let answer = client.completion_with(&Request::chat(model, "hi"), &hasty().retries(retries)).await;
        assert_eq!(answer.is_ok(), succeeds, "{model}: {answer:?}");
        assert_eq!(fake.received().len(), calls, "{model}");
    }
}

#[tokio::test]
async fn the_provider_says_how_long_to_wait() {
    let (fake, client) = start().await;
    let fault = Fault::new(429, "slow down").header("retry-after", "1");
    fake.reply_next(Reply::fault(&fault, Speaks::OpenAi, "req_1"));
    client.completion(&Request::chat("openai/fake-ok", "hi")).await.expect("the second try");
    let times: Vec<Duration> = fake.received().iter().map(|call| call.at).collect();
    let [first, second] = times.as_slice() else { panic!("{times:?}") };
    let pause = *second - *first;
    assert!(pause >= Duration::from_secs(1) && pause < Duration::from_millis(1500), "{pause:?}");
}

#[tokio::test]
async fn a_wait_that_is_too_long_fails_at_once() {
    let (fake, client) = start().await;
    let started = Instant::now();
    let request = Request::chat("openai/fake-ratelimit-120", "hi");
    let error = client.completion(&request).await.expect_err("limited");
    assert_eq!(error.retry(), Retry::Later(Some(Duration::from_secs(120))));
    // It would end after the call's own time.
    let request = Request::chat("openai/fake-ratelimit-5", "hi");
    client.completion_with(&request, &hasty().total(Duration::from_secs(2))).await.expect_err("limited");
    assert_eq!(fake.received().len(), 2);
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_connection_that_breaks_is_tried_again() {
    let (fake, client) = start().await;
    fake.reply_next(Reply { status: 200, ending: Ending::Reset, ..Reply::default() });
    let answer =
        client.completion(&Request::chat("openai/fake-ok", "say: hi")).await.expect("the second try");
    assert_eq!(answer.text(), "hi");
    let nobody = builder("http://127.0.0.1:1").build();
    let error = nobody.completion(&Request::chat("openai/fake-ok", "hi")).await.expect_err("nobody listens");
    assert_eq!((error.kind(), error.status()), (Kind::Connection, 502));
    assert!(!error.message().contains("127.0.0.1"), "{error}");
}

#[tokio::test]
async fn nobody_is_followed_elsewhere_with_a_key() {
    let (fake, client) = start().await;
    let mut reply = Reply::bytes(307, "text/plain", "over there");
    reply.headers.push(("location".to_owned(), format!("{}/v1/chat/completions", fake.url())));
    fake.reply_next(reply);
    let request = Request::chat("openai/fake-ok", "hi");
    let error = client.completion_with(&request, &hasty().retries(0)).await.expect_err("no answer");
    assert_eq!(fake.received().len(), 1);
    assert_eq!((error.kind(), error.status(), error.retry()), (Kind::Upstream, 502, Retry::Elsewhere));
    assert!(!error.message().contains("127.0.0.1"), "{error}");
}

#[tokio::test]
async fn a_page_is_no_answer() {
    let (fake, client) = start().await;
    for provider in PROVIDERS {
        for streamed in [false, true] {
            fake.reply_next(Reply::bytes(200, "text/html", "<html>Please sign in.</html>"));
            let (request, options) = (Request::chat(format!("{provider}/fake-ok"), "hi"), hasty().retries(0));
            let error = if streamed {
                client.stream_with(&request, &options).await.map(|_| ()).expect_err(provider)
            } else {
                client.completion_with(&request, &options).await.map(|_| ()).expect_err(provider)
            };
            assert_eq!(
                (error.kind(), error.status()),
                (Kind::Upstream, 502),
                "{provider} {streamed}: {error:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_wrong_key_is_the_providers_word() {
    let (fake, _) = start().await;
    let client = Client::builder()
        .environment(|_| None)
        .api_key("anthropic", "wrong-key")
        .api_base("anthropic", fake.url())
        .build();
    let error = client.completion(&Request::chat("anthropic/fake-ok", "hi")).await.expect_err("wrong");
    assert_eq!((error.kind(), error.status()), (Kind::Authentication, 401));
    assert_eq!(error.message(), "invalid x-api-key");
    assert!(error.request_id().is_some(), "{error:?}");
}

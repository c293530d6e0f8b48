//! Streamed answers.

use serde_json::json;
use tollway::model::{Content, Laws, Response};
use tollway::{Event, EventStream, Kind, Request, Tool};
use tollway_testkit::FakeProvider;

use crate::support::{PROVIDERS, builder, hasty, start};

/// An answer without what differs from call to call.
fn timeless(mut response: Response) -> Response {
    response.id.clear();
    response.created = None;
    for part in response.choices.iter_mut().flat_map(|choice| &mut choice.parts) {
        if let Content::ToolCall(call) = &mut part.content {
            call.id.clear();
        }
    }
    response
}

fn weather() -> Tool {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    Tool::function("weather", "The weather of a city.", schema)
}

#[tokio::test]
async fn a_folded_stream_is_the_whole_answer() {
    let (_fake, client) = start().await;
    for provider in PROVIDERS {
        for model in ["fake-ok", "fake-reasoning", "fake-chunk-1", "fake-comments", "fake-no-usage"] {
            for tools in [vec![], vec![weather()]] {
                let request =
                    Request::chat(format!("{provider}/{model}"), "How is the weather in Oslo? Use tools.");
                let request = Request { tools, ..request };
                let whole = client.completion(&request).await.expect(model);
                let mut stream = client.stream(&request).await.expect(model);
                let mut laws = Laws::new();
                while let Some(event) = stream.next().await {
                    laws.check(&event.expect(model))
                        .unwrap_or_else(|broken| panic!("{provider} {model}: {broken}"));
                }
                let folded = stream.collect().await.expect(model);
                assert_eq!(timeless(folded.response), timeless(whole.response), "{provider} {model}");
                assert_eq!(folded.cost, whole.cost, "{provider} {model}");
            }
        }
    }
}

#[tokio::test]
async fn text_comes_without_thinking() {
    let (_fake, client) = start().await;
    for provider in PROVIDERS {
        let request = Request::chat(format!("{provider}/fake-reasoning"), "say: one two three");
        let mut stream = client.stream(&request).await.expect(provider);
        let mut pieces = Vec::new();
        while let Some(piece) = stream.next_text().await {
            pieces.push(piece.expect(provider));
        }
        assert_eq!(pieces.concat(), "one two three", "{provider}");
        assert!(pieces.len() > 1, "{provider}: {pieces:?}");
        assert!(stream.usage().is_some_and(|usage| usage.total_output() > 0), "{provider}");
    }
}

#[tokio::test]
async fn a_stream_that_was_read_in_part_still_gives_the_whole_answer() {
    let (_fake, client) = start().await;
    for provider in PROVIDERS {
        let request = Request::chat(format!("{provider}/fake-ok"), "say: one two three");
        let mut stream = client.stream(&request).await.expect(provider);
        assert_eq!(stream.next_text().await.expect("a piece").expect(provider), "one ", "{provider}");
        assert_eq!(stream.collect().await.expect(provider).text(), "one two three", "{provider}");
    }
}

/// The stream, read to its end or failure.
async fn drained(mut stream: EventStream) -> EventStream {
    while stream.next().await.is_some() {}
    stream
}

#[tokio::test]
async fn a_stream_that_breaks_ends_with_its_error() {
    let (_fake, client) = start().await;
    for provider in PROVIDERS {
        for model in [
            "fake-error-mid-stream-3",
            "fake-cut-after-3-chunks",
            "fake-reset-after-3-chunks",
            "fake-malformed-after-3",
        ] {
            let request = Request::chat(format!("{provider}/{model}"), "say: one two three four five");
            let mut stream = client.stream(&request).await.expect(model);
            let (mut events, mut error) = (0, None);
            while let Some(event) = stream.next().await {
                assert!(error.is_none(), "{provider} {model}: something follows the error");
                match event {
                    Ok(event) => {
                        assert!(!matches!(event, Event::End), "{provider} {model}");
                        events += 1;
                    }
                    Err(broken) => error = Some(broken),
                }
            }
            let error = error.unwrap_or_else(|| panic!("{provider} {model}: no error"));
            assert!(events > 0 && error.status() >= 500, "{provider} {model}: {error:?}");
            assert!(stream.next().await.is_none(), "{provider} {model}");
            let again = client.stream(&request).await.expect(model);
            let said = drained(again).await.partial();
            let said = said.first().map(|choice| (choice.text(), choice.finish)).unwrap_or_default();
            assert!("one two three four five six".starts_with(&said.0) && said.1.is_none(), "{said:?}");
            assert_eq!(
                stream.collect().await.expect_err("broken").kind(),
                error.kind(),
                "{provider} {model}"
            );
        }
    }
}

#[tokio::test]
async fn a_stream_without_events_fails_and_is_tried_again() {
    let (fake, client) = start().await;
    for (count, provider) in (1..).zip(PROVIDERS) {
        let request = Request::chat(format!("{provider}/fake-empty"), "hi");
        let error = client.stream_with(&request, &hasty().retries(1)).await.expect_err(provider);
        assert!(matches!(error.kind(), Kind::Upstream | Kind::Connection), "{provider}: {error:?}");
        assert_eq!(fake.received().len(), 2 * count, "{provider}");
    }
}

#[tokio::test]
async fn a_stream_that_fails_at_first_is_tried_again() {
    let (fake, client) = start().await;
    for provider in PROVIDERS {
        let request = Request::chat(format!("{provider}/fake-flaky-1+id-{provider}"), "say: hi");
        let answer = client.stream(&request).await.expect(provider).collect().await.expect(provider);
        assert_eq!(answer.text(), "hi", "{provider}");
    }
    assert_eq!(fake.received().len(), 6);
}

#[tokio::test]
async fn a_server_without_streams_answers_in_one_piece() {
    let (fake, client) = start().await;
    for provider in PROVIDERS {
        // What the fake says when nobody asks for a stream.
        let request = Request::chat(format!("{provider}/fake-ok"), "say: one two");
        client.completion(&request).await.expect(provider);
        let asked = fake.received().last().cloned().expect("received");
        let whole = tollway_testkit::demo::respond(&asked.path, &asked.body);
        fake.reply_next(whole);
        let mut stream = client.stream(&request).await.expect(provider);
        let mut laws = Laws::new();
        while let Some(event) = stream.next().await {
            laws.check(&event.expect(provider)).expect(provider);
        }
        assert_eq!(stream.collect().await.expect(provider).text(), "one two", "{provider}");
    }
}

#[tokio::test]
async fn a_stream_is_a_stream_for_other_crates() {
    fn pinned(stream: impl futures_core::Stream<Item = tollway::Result<Event>> + Unpin + Send) -> impl Sized {
        stream
    }
    let fake = FakeProvider::start().await.expect("a free port");
    let client = builder(&fake.url()).build();
    let _stream = pinned(client.stream(&Request::chat("openai/fake-ok", "hi")).await.expect("starts"));
}

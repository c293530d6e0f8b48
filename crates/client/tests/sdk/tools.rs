//! Loops of tool calls, with the state that providers want back.

use serde::Deserialize;
use serde_json::{Value, json};
use tollway::{Effort, FinishReason, Message, Request, Tool, ToolChoice};

use crate::support::{PROVIDERS, start};

#[derive(Deserialize)]
struct Place {
    city: String,
}

fn tools(request: Request) -> Request {
    let schema =
        || json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    request.tool(Tool::function("weather", "The weather of a city.", schema())).tool(Tool::function(
        "time",
        "The local time of a city.",
        schema(),
    ))
}

#[tokio::test]
async fn two_tools_are_called_and_their_results_are_heard() {
    let (_fake, client) = start().await;
    for provider in PROVIDERS {
        for streamed in [false, true] {
            let mut request = tools(Request::chat(format!("{provider}/fake-parallel-tools"), "Oslo?"));
            let answer = if streamed {
                client.stream(&request).await.expect(provider).collect().await.expect(provider)
            } else {
                client.completion(&request).await.expect(provider)
            };
            assert_eq!(answer.finish(), Some(FinishReason::ToolCalls), "{provider}");
            request = request.message(answer.message());
            let mut names = Vec::new();
            for call in answer.tool_calls() {
                let place: Place = call.parse().expect(provider);
                assert!(!place.city.is_empty(), "{provider}");
                names.push(call.name.clone());
                request =
                    request.message(Message::tool_result(call.result(format!("{} is fine", call.name))));
            }
            assert_eq!(names, ["weather", "time"], "{provider}");
            let answer = client.completion(&request).await.expect(provider);
            let expected = "The tool weather says: weather is fine\nThe tool time says: time is fine";
            assert_eq!(answer.text(), expected, "{provider}");
        }
    }
}

#[tokio::test]
async fn a_failed_tool_is_told_to_the_model() {
    let (fake, client) = start().await;
    let request =
        tools(Request::chat("anthropic/fake-ok", "hi")).tool_choice(ToolChoice::Named("time".into()));
    let answer = client.completion(&request).await.expect("a call");
    let call = answer.tool_calls().next().expect("the named tool");
    let request = tools(Request::chat("anthropic/fake-ok", "hi"))
        .message(answer.message())
        .message(Message::tool_result(call.failure("the clock stands still")));
    client.completion(&request).await.expect("heard");
    let sent = fake.received().last().expect("received").json();
    let result =
        sent["messages"].as_array().and_then(|messages| messages.last()).expect("a message")["content"][0]
            .clone();
    assert_eq!((&result["type"], &result["is_error"]), (&json!("tool_result"), &json!(true)), "{sent}");
}

/// Every value under a key called `name`, anywhere.
fn values<'v>(value: &'v Value, name: &str, found: &mut Vec<&'v str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| values(item, name, found)),
        Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str() {
                    Some(text) if key == name => found.push(text),
                    _ => values(value, name, found),
                }
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn signed_thinking_returns_to_the_provider_that_signed_it() {
    let (fake, client) = start().await;
    for (model, field) in [
        ("anthropic/fake-reasoning+parallel-tools", "signature"),
        ("gemini/fake-reasoning+parallel-tools+thought-signatures", "thoughtSignature"),
    ] {
        for streamed in [false, true] {
            let first = tools(Request::chat(model, "Oslo?").reasoning(Effort::Low).max_output_tokens(4000));
            let answer = if streamed {
                client.stream(&first).await.expect(model).collect().await.expect(model)
            } else {
                client.completion(&first).await.expect(model)
            };
            assert!(answer.reasoning().contains("characters"), "{model}: {:?}", answer.response);
            let mut second = first.message(answer.message());
            for call in answer.tool_calls() {
                second = second.message(Message::tool_result(call.result("fine")));
            }
            let last = client.completion(&second).await.unwrap_or_else(|error| panic!("{model}: {error}"));
            assert!(last.text().contains("says: fine"), "{model}: {}", last.text());
            let sent = fake.received().last().expect("received").json();
            let mut signatures = Vec::new();
            values(&sent, field, &mut signatures);
            assert!(
                !signatures.is_empty() && signatures.iter().all(|text| !text.is_empty()),
                "{model}: {sent}"
            );
        }
    }
}

#[tokio::test]
async fn a_conversation_moves_to_another_provider_without_foreign_signatures() {
    let (fake, client) = start().await;
    let request = tools(
        Request::chat("anthropic/fake-reasoning+parallel-tools", "Oslo?")
            .reasoning(Effort::Low)
            .max_output_tokens(4000),
    );
    let answer = client.completion(&request).await.expect("a call");
    let mut request = request.message(answer.message());
    for call in answer.tool_calls() {
        request = request.message(Message::tool_result(call.result("fine")));
    }
    for (model, field) in [("openai/fake-ok", "signature"), ("gemini/fake-ok", "thoughtSignature")] {
        let moved = Request { model: model.into(), ..request.clone() };
        let last = client.completion(&moved).await.unwrap_or_else(|error| panic!("{model}: {error}"));
        assert!(last.text().contains("says: fine"), "{model}: {}", last.text());
        assert!(!last.notices.iter().collect::<Vec<_>>().is_empty(), "{model}");
        let sent = fake.received().last().expect("received").json();
        let mut signatures = Vec::new();
        values(&sent, field, &mut signatures);
        assert_eq!(signatures, Vec::<&str>::new(), "{model}: {sent}");
    }
}

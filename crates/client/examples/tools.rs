//! Lets a model call functions until it has its answer: `cargo run --example tools [provider/model]`.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod shared;

use std::error::Error;

use serde::Deserialize;
use serde_json::json;
use tollway::{Message, Request, Tool, ToolCall, ToolResult};

/// Most turns of the loop: a model that never comes to an end costs money.
const MOST_TURNS: usize = 8;

#[derive(Deserialize)]
struct Place {
    city: String,
}

/// Runs one call. Wrong arguments go back to the model, which usually corrects itself.
fn run(call: &ToolCall) -> ToolResult {
    let place: Place = match call.parse() {
        Ok(place) => place,
        Err(error) => return call.failure(error.to_string()),
    };
    println!("[{} for {}]", call.name, place.city);
    match call.name.as_str() {
        "weather" => call.result(format!("{}: 7 °C, light rain", place.city)),
        "population" => call.result(format!("{}: 700,000", place.city)),
        other => call.failure(format!("there is no tool called {other}")),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let example = shared::setup("gemini/gemini-2.5-flash").await?;
    let city = || json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let mut request = Request::chat(&example.model, "What are the weather and the population of Oslo?")
        .tool(Tool::function("weather", "The weather of a city now.", city()))
        .tool(Tool::function("population", "How many people live in a city.", city()));
    for _ in 0..MOST_TURNS {
        let answer = example.client.completion(&request).await?;
        // The turn goes back whole: providers want their signed thinking again.
        request = request.message(answer.message());
        let results: Vec<ToolResult> = answer.tool_calls().map(run).collect();
        if results.is_empty() {
            println!("{}", answer.text());
            return Ok(());
        }
        request = results.into_iter().map(Message::tool_result).fold(request, Request::message);
    }
    Err("the model did not come to an end".into())
}

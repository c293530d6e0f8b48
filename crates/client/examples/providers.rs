//! Asks several providers at once and shows the answers as they come: `cargo run --example providers`.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod shared;

use std::error::Error;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tollway::{CallOptions, Completion, Request};

/// The model, how long it took, and its answer.
async fn ask(example: shared::Setup) -> (String, Duration, tollway::Result<Completion>) {
    let started = Instant::now();
    // Not every provider has a seed: where there is none, the call goes on without it.
    let request = Request { seed: Some(7), ..Request::chat(&example.model, "Name a colour.") };
    let options = CallOptions::default().drop_params(true);
    let answer = example.client.completion_with(&request, &options).await;
    (request.model, started.elapsed(), answer)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut asked = JoinSet::new();
    for model in ["openai/gpt-4o-mini", "anthropic/claude-haiku-4-5", "gemini/gemini-2.5-flash"] {
        asked.spawn(ask(shared::setup(model).await?));
    }
    while let Some(answered) = asked.join_next().await {
        match answered? {
            (model, time, Ok(answer)) => println!("{model} after {time:.0?}: {}", answer.text()),
            (model, time, Err(error)) => println!("{model} failed after {time:.0?}: {error}"),
        }
    }
    Ok(())
}

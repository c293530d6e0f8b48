//! Asks one question: `cargo run --example chat [provider/model]`.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod shared;

use std::error::Error;

use tollway::Request;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let example = shared::setup("openai/gpt-4o-mini").await?;
    let request = Request::chat(&example.model, "Why is the sky blue?")
        .system("Answer in one sentence.")
        .max_output_tokens(200);
    let answer = example.client.completion(&request).await?;
    println!("{}", answer.text());
    if let Some(usage) = answer.usage() {
        println!("\n{} tokens in, {} out", usage.total_input(), usage.total_output());
    }
    if let Some(cost) = answer.cost.known() {
        println!("{cost} USD");
    }
    for notice in answer.notices.iter() {
        println!("{}: {}", notice.field, notice.message);
    }
    Ok(())
}

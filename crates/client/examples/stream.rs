//! Prints an answer as it comes: `cargo run --example stream [provider/model]`.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod shared;

use std::error::Error;
use std::io::Write;
use std::time::Duration;

use tollway::{CallOptions, Request};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let example = shared::setup("anthropic/claude-haiku-4-5").await?;
    let request = Request::chat(&example.model, "Tell me a story of three sentences.").max_output_tokens(300);
    // A provider that is silent for ten seconds has lost us.
    let options = CallOptions::default().idle(Duration::from_secs(10));
    let mut stream = example.client.stream_with(&request, &options).await?;
    while let Some(piece) = stream.next_text().await {
        print!("{}", piece?);
        std::io::stdout().flush()?;
    }
    // Everything that came is still there, as one answer.
    let answer = stream.collect().await?;
    println!("\n\n{:?}, {:?}", answer.finish(), answer.cost);
    Ok(())
}

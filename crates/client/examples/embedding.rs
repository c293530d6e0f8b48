//! Finds the text nearest to a question: `cargo run --example embedding [provider/model]`.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod shared;

use std::error::Error;

use tollway::EmbeddingRequest;

fn nearness(one: &[f32], two: &[f32]) -> f32 {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    product(one, two) / (product(one, one) * product(two, two)).sqrt()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let example = shared::setup("openai/text-embedding-3-small").await?;
    let question = "How do I make soup?";
    let texts =
        ["Cut the onions and boil the stock.", "The train leaves at noon.", "Rust has no garbage collector."];
    let request = EmbeddingRequest::texts(&example.model, std::iter::once(question).chain(texts));
    let answer = example.client.embedding(&request).await?;
    let Some((asked, known)) = answer.vectors().split_first() else { return Err("no vectors".into()) };
    let mut found: Vec<_> = known.iter().map(|vector| nearness(asked, vector)).zip(texts).collect();
    found.sort_by(|one, two| two.0.total_cmp(&one.0));
    for (nearness, text) in found {
        println!("{nearness:+.3}  {text}");
    }
    Ok(())
}

//! Gets an answer as a Rust type: `cargo run --example structured [provider/model]`.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod shared;

use std::error::Error;

use serde::Deserialize;
use serde_json::json;
use tollway::Request;

#[derive(Debug, Deserialize)]
struct Recipe {
    title: String,
    minutes: u32,
    ingredients: Vec<String>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let example = shared::setup("openai/gpt-4o-mini").await?;
    let schema = json!({
        "type": "object",
        "properties": {
            "title": {"type": "string"},
            "minutes": {"type": "integer"},
            "ingredients": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["title", "minutes", "ingredients"],
        "additionalProperties": false,
    });
    let request = Request::chat(&example.model, "A soup for a cold evening.").json_schema("recipe", schema);
    let recipe: Recipe = example.client.completion(&request).await?.json()?;
    println!("{} ({} minutes): {}", recipe.title, recipe.minutes, recipe.ingredients.join(", "));
    Ok(())
}

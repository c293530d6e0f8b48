//! One client for every AI model provider: chat, streaming, tools and embeddings in one neutral shape.
//!
//! A [`Client`] takes a [`Request`] for `provider/model`, speaks the provider's dialect, and gives back a
//! [`Completion`], an [`EventStream`] or [`Embeddings`]. What a provider cannot do is an error before anything is sent,
//! or a notice; it is never dropped silently.
//!
//! ```no_run
//! use tollway::{Client, Request};
//!
//! # async fn example() -> tollway::Result<()> {
//! let client = Client::from_env();
//! let answer = client.completion(&Request::chat("openai/gpt-4o", "Why is the sky blue?")).await?;
//! println!("{} ({:?})", answer.text(), answer.cost);
//! # Ok(())
//! # }
//! ```
//!
//! # Streams
//!
//! [`Client::stream`] retries until the first event; then events come in an order that [`model::Laws`] states.
//!
//! ```
//! # use tollway_testkit::FakeProvider;
//! # use tollway::Client;
//! use tollway::Request;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let fake = FakeProvider::start().await?;
//! # let client = Client::builder().api_key("anthropic", "sk").api_base("anthropic", fake.url()).build();
//! let request = Request::chat("anthropic/claude-sonnet-4-5", "say: one two three");
//! let mut stream = client.stream(&request).await?;
//! let mut text = String::new();
//! while let Some(piece) = stream.next_text().await {
//!     text.push_str(&piece?);
//! }
//! assert_eq!(text, "one two three");
//! // The whole answer is still there.
//! let answer = stream.collect().await?;
//! assert_eq!(answer.text(), text);
//! # Ok(())
//! # }
//! ```
//!
//! # Tools
//!
//! The turn goes back with [`Completion::message`], which keeps the thinking that providers sign, and each call is
//! answered with [`ToolCall::result`] or [`ToolCall::failure`].
//!
//! ```
//! # use tollway_testkit::FakeProvider;
//! # use tollway::Client;
//! use serde_json::json;
//! use tollway::{Message, Request, Tool};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let fake = FakeProvider::start().await?;
//! # let client = Client::builder().api_key("gemini", "sk").api_base("gemini", fake.url()).build();
//! let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
//! let mut request = Request::chat("gemini/gemini-2.5-flash", "How is the weather in Oslo?")
//!     .tool(Tool::function("weather", "The weather of a city now.", schema));
//! let answer = client.completion(&request).await?;
//! request = request.message(answer.message());
//! for call in answer.tool_calls() {
//!     request = request.message(Message::tool_result(call.result("7 °C")));
//! }
//! let answer = client.completion(&request).await?;
//! assert_eq!(answer.text(), "The tool weather says: 7 °C");
//! # Ok(())
//! # }
//! ```
//!
//! # Structured output
//!
//! ```
//! # use tollway_testkit::FakeProvider;
//! # use tollway::Client;
//! use serde_json::json;
//! use tollway::Request;
//!
//! #[derive(serde::Deserialize)]
//! struct City {
//!     name: String,
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let fake = FakeProvider::start().await?;
//! # let base = format!("{}/v1", fake.url());
//! # let client = Client::builder().api_key("openai", "sk").api_base("openai", base).build();
//! let schema = json!({
//!     "type": "object", "additionalProperties": false, "required": ["name"],
//!     "properties": {"name": {"type": "string"}},
//! });
//! let request = Request::chat("openai/gpt-4o", "The capital of Norway.").json_schema("city", schema);
//! let city: City = client.completion(&request).await?.json()?;
//! # assert!(!city.name.is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! # Embeddings
//!
//! ```
//! # use tollway_testkit::FakeProvider;
//! # use tollway::Client;
//! use tollway::EmbeddingRequest;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let fake = FakeProvider::start().await?;
//! # let base = format!("{}/v1", fake.url());
//! # let client = Client::builder().api_key("openai", "sk").api_base("openai", base).build();
//! let request = EmbeddingRequest::texts("openai/text-embedding-3-small", ["a text", "another"]);
//! assert_eq!(client.embedding(&request).await?.vectors().len(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! # Errors, waits and tries
//!
//! An [`Error`] has one [`Kind`] for the same failure of every provider. What may pass is tried again within the
//! bounds of [`CallOptions`], which are set for a client or given with a call.
//!
//! ```
//! # use tollway_testkit::FakeProvider;
//! # use tollway::Client;
//! use std::time::Duration;
//! use tollway::{CallOptions, Kind, Request};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let fake = FakeProvider::start().await?;
//! # let client = Client::builder().api_key("anthropic", "sk").api_base("anthropic", fake.url()).build();
//! let hurry = CallOptions::default().retries(0).first_byte(Duration::from_millis(50));
//! let request = Request::chat("anthropic/fake-slow-1000", "Hello?");
//! let error = client.completion_with(&request, &hurry).await.unwrap_err();
//! assert_eq!(error.kind(), Kind::Timeout);
//! # Ok(())
//! # }
//! ```
//!
//! # Cancellation
//!
//! Dropping a call's future, or an [`EventStream`] before its end, closes the connection at once, so that the provider
//! stops generating and charging.
//!
//! ```
//! # use tollway_testkit::FakeProvider;
//! # use tollway::Client;
//! use std::time::Duration;
//! use tollway::Request;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let fake = FakeProvider::start().await?;
//! # let client = Client::builder().api_key("anthropic", "sk").api_base("anthropic", fake.url()).build();
//! let request = Request::chat("anthropic/fake-interval-10+tokens-1000", "A long story.");
//! let mut stream = client.stream(&request).await?;
//! stream.next_text().await;
//! drop(stream);
//! let hung_up = |calls: &[tollway_testkit::Received]| calls.iter().all(|call| call.closed_early.is_some());
//! assert!(fake.wait_until(Duration::from_millis(500), hung_up).await);
//! # Ok(())
//! # }
//! ```
//!
//! # What is where
//!
//! [`model`] is the neutral model, [`embedding`] its part for vectors. [`exchange`] and [`body`] are the parts of one
//! attempt that a gateway puts together in its own way; programs need [`Client`] only.

mod aws;
pub mod body;
mod client;
mod completion;
mod endpoints;
pub mod exchange;
mod options;
mod retry;
mod stream;
mod transport;

pub use client::{Client, ClientBuilder};
pub use completion::{Completion, Embeddings};
pub use options::CallOptions;
pub use stream::EventStream;
pub use tollway_model as model;
pub use tollway_model::{
    Cost, Delta, Effort, Error, Event, FinishReason, Kind, Message, Part, Request, Result, Role, Tool,
    ToolCall, ToolChoice, ToolResult, Usage,
};
pub use tollway_providers::aws::AwsSettings;
pub use tollway_wire::embedding;
pub use tollway_wire::embedding::EmbeddingRequest;

pub use transport::{Answer, Timeouts, Transport, TransportOptions};

/// The examples of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

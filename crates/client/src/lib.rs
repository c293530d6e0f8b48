//! One client for every AI model provider: chat, streaming, tools and embeddings in one neutral shape.
#![cfg_attr(doctest, doc = "")]

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
pub use tollway_wire::embedding;
pub use tollway_wire::embedding::EmbeddingRequest;

pub use transport::{Answer, Timeouts, Transport, TransportOptions};

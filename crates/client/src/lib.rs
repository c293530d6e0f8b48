//! One client for every AI model provider.

pub mod body;
mod client;
pub mod exchange;
mod transport;

pub use client::{CallOptions, Client, ClientBuilder, Completion, EventStream};
pub use tollway_model as model;
pub use tollway_wire::embedding;

pub use transport::{Answer, Timeouts, Transport, TransportOptions};

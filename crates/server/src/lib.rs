//! The gateway's HTTP surfaces.
//!
//! [`serve`] accepts connections within limits; [`routes`] is the one table of what exists and who may use it; every
//! model call, whatever its surface, becomes a `Call` and goes through `tollway_pipeline::Gateway::serve`. A route's
//! access is decided by the right of the table's entry that matched, never by looking at the URL a second time.

mod admin;
mod body;
mod crowd;
mod docs;
mod guesses;
mod health;
mod limits;
mod listen;
mod manage;
mod models;
mod openapi;
mod peer;
mod responses;
pub mod routes;
mod service;
mod spend;
mod stall;
mod tokens;

pub use limits::{HttpLimits, LiveLimits};
pub use listen::{Listener, serve};
pub use openapi::document as openapi_document;
pub use service::{AnswerBody, Hooks, Service};

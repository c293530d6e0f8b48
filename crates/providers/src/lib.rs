//! Who serves models, and how to ask them.
//!
//! A provider is a row of data ([`Provider`], in `data/providers.toml`): its dialect, base URL, key and departures
//! from the dialect. A deployment of a model there is an [`Endpoint`]: it turns a body into an HTTP request, and
//! tells which top-level fields of the body must change. Nothing here opens a socket or reads the environment; the
//! environment is a function passed in.
//!
//! To add a provider, add a table to `data/providers.toml` and a line to `tests/expected.tsv`: the behaviour suite
//! in `tests/behaviour.rs` then builds every request that provider can get.

mod address;
pub mod aws;
mod edits;
mod endpoint;
mod error;
mod headers;
mod hosts;
mod pattern;
mod provider;
mod reference;
mod rules;
mod secrets;
mod table;

pub use edits::Outgoing;
pub use endpoint::{Endpoint, EndpointSpec, Mode};
pub use error::EndpointError;
pub use provider::{Auth, AuthWhen, KeyNeed, ModelName, ModelRules, Native, Provider};
pub use reference::reference_markdown;
pub use rules::{Clamp, Refused, Replacement, Rules};
pub use secrets::Secrets;
pub use table::{Table, TableError, UnknownProvider};

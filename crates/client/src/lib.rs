//! Work in progress.
pub mod body;
pub mod exchange;
mod transport;

pub use transport::{Answer, Timeouts, Transport, TransportOptions};

//! Every client dialect with every provider dialect: what is said on one side must be heard on the other.
//!
//! The providers' bytes are written here, by hand, so that a codec is never its own witness.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod answers;
mod bedrock;
mod client_tools;
mod errors;
mod requests;
mod responses;
mod sessions;
mod signatures;
mod streams;
mod support;

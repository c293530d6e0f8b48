//! The SDK against fake providers of three dialects.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a helper of a test that fails has failed the test"
)]

mod bedrock;
mod calls;
mod connections;
mod defaults;
mod failures;
mod foreign;
mod proxies;
mod streams;
mod support;
mod tools;
mod waits;

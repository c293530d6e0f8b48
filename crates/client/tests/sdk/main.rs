//! The SDK against fake providers of three dialects.

mod calls;
mod connections;
mod failures;
mod proxies;
mod streams;
mod support;
mod tools;
mod waits;

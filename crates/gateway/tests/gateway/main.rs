//! The whole gateway from outside: the real binary, fake providers, HTTP.
//!
//! Every test starts its own gateway on a free port, with its own data directory and nothing of this process's
//! environment. [`support`] is the one place that knows how.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests are tests: they fail by panicking"
)]

mod aborts;
mod accepting;
mod answers;
mod bounds;
mod canary;
mod commands;
mod configuration;
mod database;
mod denials;
mod failover;
mod fault_table;
mod faults;
mod guessing;
mod hosts;
mod keys_demand;
mod ledger;
mod money;
mod providers;
mod receipts;
mod responses;
mod retries;
mod routes;
mod scopes;
mod secrets;
mod smuggling;
mod starting;
mod stopping;
mod streaming;
mod support;

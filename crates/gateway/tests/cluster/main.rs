//! Several gateways on one PostgreSQL and one Redis: the real binary, real servers, and what happens to both.
//!
//! Needs the programs of PostgreSQL and Redis and, but for tests that stop a server of their own, the run's PostgreSQL
//! ([`tollway_testkit::services`]). Without it the tests pass over, and say so. What is bounded here runs longer with
//! [`world::SOAK`], which `cargo xtask soak --cluster` sets.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests are tests: they fail by panicking"
)]

mod caps;
mod changes;
mod deadlocks;
mod deployments;
mod kills;
mod outages;
mod proxy;
mod rates;
mod redis;
#[expect(dead_code, reason = "the other test program uses the rest")]
#[path = "../gateway/support.rs"]
mod support;
mod world;

//! What a store promises, tried on every database: in memory, on an SQLite file, on a real PostgreSQL.
//!
//! PostgreSQL comes from the environment (`tollway_testkit::services`); `cargo xtask test` sees to it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests are tests: they fail by panicking"
)]

mod audit;
mod changes;
mod contention;
mod migrations;
mod place;
mod records;
mod resealing;
mod rows;
mod scale;
mod trouble;

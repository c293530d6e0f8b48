//! What a store promises, tried on every database: in memory, on an SQLite file, on a real PostgreSQL.
//!
//! PostgreSQL comes from the environment (`tollway_testkit::services`); `cargo xtask test` sees to it.

mod audit;
mod changes;
mod contention;
mod migrations;
mod place;
mod records;
mod resealing;
mod scale;
mod trouble;

//! What is kept, and where.
//!
//! Callers see small traits per concern ([`Records`], [`Audit`], [`Changes`], [`Upkeep`]); one implementation over a
//! thin layer of SQL serves SQLite and PostgreSQL. Nothing on a call's path waits for a store: keys are remembered, and
//! receipts go to the journal first.

mod audit;
mod changes;
pub mod migrations;
pub mod records;
mod reseal;
mod salt_file;
mod seal;
mod shelf;
pub mod sql;
mod store;
mod traits;

pub use reseal::{Progress, Resealed};
pub use salt_file::SaltFile;
pub use seal::{SaltKey, SealError, Sealer};
pub use store::{Store, Writer};
pub use traits::{
    Audit, AuditEntry, Change, Changes, Page, Query, Records, Shelf, StoreError, StoreResult, Upkeep,
};

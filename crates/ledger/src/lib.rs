//! Receipts, and what derives from them.
//!
//! A [`Receipt`] is the decision record of a call. It is the only source of truth about spending: it goes to the journal
//! before the caller has the end of its answer, from there in batches to the store, and every sum, rollup and balance is
//! computed from it.

pub mod books;
mod journal;
mod ledger;
pub mod litellm;
mod opening;
mod options;
mod packed;
mod receipt;
pub mod sample;
mod ship;
mod touched;

pub use books::{Batch, Books, MemoryBooks, SqlBooks};
pub use journal::{Left, inspect};
pub use ledger::{Ledger, LedgerError, Opened, Recovered, Status};
pub use opening::Opening;
pub use options::{OnFull, Options};
pub use receipt::{
    AttemptRecord, CostLine, CostRecord, ErrorRecord, Outcome, Receipt, Receipts, SkippedRecord, Timing, Who,
    kept, kept_word,
};
pub use ship::{Calm, ship};

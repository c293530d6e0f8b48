//! The journey of a call through the gateway.
//!
//! [`Gateway::serve`] reads top to bottom like the table in `ARCHITECTURE.md`: accept, plan, send, settle, record.
//! Every surface goes through it, so none can skip a step.

mod admission;
mod answer;
mod attempts;
mod attribution;
mod budgets;
mod call;
mod caller;
mod clock;
mod content;
mod control;
mod demand;
mod headers;
mod pieces;
mod reply;
mod responses;
mod serve;
mod services;
mod settings;
mod snapshot;
mod ticket;
mod turned_away;

pub use attempts::Access;
pub use attribution::Attribution;
pub use budgets::Budgets;
pub use call::{AcceptRules, Call, Control, Mock, Surface, not_found};
pub use caller::{Caller, Keyring, Presented};
pub use clock::{board_now, unix_millis};
pub use headers::VERSION;
pub use pieces::{Cut, PieceWriter, Pieces};
pub use reply::{Reply, ReplyBody};
pub use responses::{ItemsQuery, Responses};
pub use serve::{Gateway, json_reply, render_error};
pub use services::Services;
pub use settings::{Recovery, Settings};
pub use snapshot::{Environment, Snapshot, Sources};
pub use tollway_accounts::{KeyHash, KeyId, Role, WRONG_KEY};
pub use tollway_ledger::{
    AttemptRecord, CostRecord, ErrorRecord, Outcome, Receipt, Receipts, SkippedRecord, Timing, Who,
};

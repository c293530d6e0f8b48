//! The journey of a call through the gateway.
//!
//! [`Gateway::serve`] reads top to bottom like the table in `ARCHITECTURE.md`: accept, plan, send, settle, record.
//! Every surface goes through it, so none can skip a step.

mod answer;
mod attempts;
mod call;
mod caller;
mod clock;
mod content;
mod control;
mod headers;
mod receipt;
mod reply;
mod serve;
mod settings;
mod snapshot;
mod ticket;

pub use attempts::Access;
pub use call::{AcceptRules, Call, Control, Mock, Surface, not_found};
pub use caller::{Caller, KeyHash, KeyId, Keyring, Role, WRONG_KEY};
pub use clock::{board_now, unix_millis};
pub use headers::VERSION;
pub use receipt::{
    AttemptRecord, CostRecord, ErrorRecord, Outcome, Receipt, Receipts, SkippedRecord, Timing,
};
pub use reply::{Reply, ReplyBody};
pub use serve::{Gateway, json_reply, render_error};
pub use settings::{Recovery, Settings};
pub use snapshot::{Environment, Snapshot, Sources};

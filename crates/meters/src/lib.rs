//! Rate windows, places in flight and money: one atomic decision over all of them.
//!
//! A call makes one [`Demand`] on a list of [`Claim`]s, one per scope it counts for: its key, its user, its team … All
//! grant it or none does. What is granted is a [`Hold`], settled exactly once with what the call really used; a hold
//! that is dropped gives everything back.
//!
//! Rates are buckets, budgets are ledgers, and the two are never mixed: what left a rate window is free again, what was
//! spent of a budget stays spent until its window ends. Windows are computed from the time, not by a job.

mod block;
mod clock;
mod hold;
mod link;
mod meters;
mod pool;
mod purse;
mod rate;
mod registry;
mod shared;
mod spending;
mod state;
mod types;
mod window;

pub use clock::{Clock, ManualClock, SystemClock};
pub use hold::Hold;
pub use link::{Away, Health, Heard, Redis, RedisAddress, RedisSettings};
pub use meters::{Meters, Options};
pub use spending::{NothingSpent, Spending};
pub use types::{
    Alert, AllowanceState, Budget, COUNTED, CalendarUnit, Claim, Demand, Denied, LimitKind, Limits, Refusal,
    Scope, ScopeKind, Spent, Window,
};
pub use window::Span;

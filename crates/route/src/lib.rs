//! Which deployment serves a call, and which next if it fails.
//!
//! Three things meet here. [`Routes`] says which deployments a name stands for; it is part of a snapshot and never
//! changes. The [`Board`] knows how each of them is doing: calls in flight, latencies, the last minute's use, who rests
//! after failing; it outlives snapshots. [`plan`] puts a group in order for one call, a pure function of both, the
//! clock and the dice. Nothing waits, and a lock is held for a few instructions, never across calls.

mod board;
mod cooling;
mod deployment;
mod failure;
mod fallbacks;
mod live;
mod pattern;
mod plan;
mod policy;
mod routes;
mod tags;
mod window;

pub use board::{Board, Change, Standing};
pub use cooling::Cooling;
pub use deployment::{Availability, Deployment, Limits};
pub use failure::{Class, Counts};
pub use fallbacks::{Fallbacks, Rule, Target};
pub use live::{Answer, Budget, Caps, Denied, Flight, Live, Terms};
pub use pattern::Pattern;
pub use plan::{Ask, Candidate, Plan, Rank, Reason, Skipped, plan};
pub use policy::{LatencyArguments, Policy, Strategy, TagFilter};
pub use routes::{Alias, Group, MAX_NAME, Make, Routes, Template};
pub use window::Used;

/// A moment, in milliseconds of a clock that never goes back. Its zero is anyone's choice and comes before all calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Now(pub u64);

impl Now {
    /// The moment `duration` later.
    #[must_use]
    pub fn after(self, duration: std::time::Duration) -> Now {
        Now(self.0.saturating_add(millis(duration)))
    }

    /// How long ago `earlier` was.
    pub fn since(self, earlier: Now) -> std::time::Duration {
        std::time::Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// A duration in whole milliseconds.
pub(crate) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

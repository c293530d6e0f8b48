//! Which deployment serves a call, and which next if it fails.
//!
//! Everything here is a pure function of its inputs: the clock and the dice are passed in, nothing waits and nothing
//! is locked across calls. Start with [`Routes::resolve`], then [`plan`].

mod deployment;
mod pattern;
mod plan;
mod routes;

pub use deployment::{Availability, Deployment, Limits};
pub use pattern::Pattern;
pub use plan::{Plan, Skipped, plan};
pub use routes::{Group, MAX_NAME, Make, Routes, Template};

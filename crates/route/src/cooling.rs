//! When a failing deployment rests, and for how long.

use std::time::Duration;

use tollway_model::{Error, Kind, Retry};

use crate::failure::{Class, Counts};
use crate::window::Used;

/// Longest rest that a provider's `Retry-After` can ask for.
const LONGEST: Duration = Duration::from_secs(3600);

/// Calls of a minute from which a failure rate says something, in a group of several.
const ENOUGH: u64 = 5;

/// The same for a deployment alone in its group, where only failures rest it.
const ENOUGH_ALONE: u64 = 1000;

/// When a failing deployment rests.
///
/// Without counts, by the kind of failure. At once: a refused key (401, 402, 403), a missing model (404), a timeout
/// that the caller did not ask for, and a rate limit (429) where there are siblings to take over. By rate: when more
/// than half of at least five calls of the minute failed, or all of at least 1000 where there is no sibling. Never: a
/// request that is at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cooling {
    /// How long, where neither the deployment nor its provider says. Zero: never.
    pub rest: Duration,
    /// Failures that are allowed while `rest` passes; one more rests the deployment.
    pub allowed: Option<u32>,
    /// The same by kind; counts more.
    pub allowed_by_class: Counts,
}

impl Default for Cooling {
    fn default() -> Self {
        Cooling { rest: Duration::from_secs(5), allowed: None, allowed_by_class: Counts::default() }
    }
}

impl Cooling {
    /// How many failures of this kind are allowed; `None`: the kind itself decides.
    pub(crate) fn allowance(&self, class: Class) -> Option<u32> {
        let own = self.allowed_by_class.get(class).or(self.allowed);
        let counting = self.allowed.is_some() || !self.allowed_by_class.is_empty();
        // Where counts are given, kinds without one are LiteLLM's three.
        own.or(counting.then_some(3))
    }
}

/// Is the deployment to blame for `error` at all?
pub(crate) fn blames_deployment(error: &Error, siblings: bool) -> bool {
    match error.kind() {
        Kind::RateLimit => siblings,
        Kind::InvalidRequest
        | Kind::Unsupported
        | Kind::TooLarge
        | Kind::ContextWindow
        | Kind::ContentPolicy
        | Kind::Conflict
        | Kind::ClientClosed
        | Kind::Internal => error.status() >= 500 && error.origin() == tollway_model::Origin::Upstream,
        _ => true,
    }
}

/// Does a failure rest a deployment at once?
pub(crate) fn at_once(error: &Error) -> bool {
    matches!(
        error.kind(),
        Kind::RateLimit
            | Kind::Authentication
            | Kind::Permission
            | Kind::Payment
            | Kind::NotFound
            | Kind::Timeout
    )
}

/// Do the failures of the minute rest a deployment?
pub(crate) fn by_rate(minute: &Used, siblings: bool) -> bool {
    let finished = minute.answered + minute.failed;
    if siblings {
        finished >= ENOUGH && minute.failed * 2 > finished
    } else {
        finished >= ENOUGH_ALONE && minute.answered == 0
    }
}

/// How long a deployment rests after `error`, when its own rest is `rest`.
pub(crate) fn duration(error: &Error, rest: Duration) -> Duration {
    match error.retry() {
        Retry::Later(Some(asked)) if !asked.is_zero() && !rest.is_zero() => asked.min(LONGEST),
        _ => rest,
    }
}

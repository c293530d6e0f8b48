//! How deployments are chosen, the same for every group of a snapshot.

use std::sync::Arc;
use std::time::Duration;

use crate::Deployment;
use crate::cooling::Cooling;
use crate::live::{Caps, Terms};

/// What makes one deployment better than another of its order.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Strategy {
    /// Chance, by `weight`, else `rpm`, else `tpm`.
    #[default]
    Shuffle,
    /// Fewest calls in flight.
    LeastBusy,
    /// Lowest latency lately; those that have not been measured come first.
    Latency(LatencyArguments),
    /// Fewest tokens in the last minute.
    Usage,
    /// Lowest price of a token; an unknown price counts as five dollars.
    Cost,
}

/// Details of [`Strategy::Latency`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatencyArguments {
    /// How long a measurement counts.
    pub ttl: Duration,
    /// Deployments up to this share slower than the fastest count as equal to it.
    pub buffer: f64,
    /// How many of the latest measurements count.
    pub samples: usize,
}

impl Default for LatencyArguments {
    fn default() -> Self {
        LatencyArguments { ttl: Duration::from_secs(3600), buffer: 0.0, samples: 10 }
    }
}

/// Which deployments serve a call's tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TagFilter {
    /// One common tag is enough; otherwise the deployment needs all of the call's.
    pub any: bool,
}

/// How deployments are chosen.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Policy {
    /// What makes one better than another.
    pub strategy: Strategy,
    /// Only deployments with the call's tags serve it.
    pub tags: Option<TagFilter>,
    /// Leave out deployments whose context window the prompt exceeds.
    pub check_input: bool,
    /// `rpm` and `tpm` limit calls.
    pub enforce_limits: bool,
    /// Most calls in flight at a deployment that does not say itself.
    pub parallel: Option<u32>,
    /// When failing deployments rest; `None`: never.
    pub cooling: Option<Arc<Cooling>>,
}

impl Policy {
    /// Do `rpm` and `tpm` limit calls, be it as a part of the strategy?
    pub(crate) fn limits(&self) -> bool {
        self.enforce_limits
            || matches!(self.strategy, Strategy::Usage | Strategy::Latency(_) | Strategy::Cost)
    }

    /// Does a plan need to know how long the prompt is?
    pub fn wants_input(&self, group: &[Arc<Deployment>]) -> bool {
        let bounded = |one: &Arc<Deployment>| {
            (self.check_input && one.max_input_tokens.is_some())
                || (self.limits() && one.limits.tpm.is_some())
        };
        (self.check_input || self.limits()) && group.iter().any(bounded)
    }

    /// Can any deployment be left out for another reason than its failures?
    pub(crate) fn is_plain(&self) -> bool {
        self.tags.is_none() && !self.check_input && !self.limits()
    }

    /// The bounds that a call with so many input tokens has to fit into.
    pub fn caps(&self, deployment: &Deployment, input: u64) -> Caps {
        let (calls, tokens) =
            if self.limits() { (deployment.limits.rpm, deployment.limits.tpm) } else { (None, None) };
        Caps { parallel: deployment.limits.parallel.or(self.parallel), calls, tokens, input }
    }

    /// What a failure means for `deployment`.
    pub fn terms(&self, deployment: &Deployment, siblings: bool) -> Terms {
        Terms { cooling: self.cooling.clone(), rest: deployment.rest, siblings }
    }
}

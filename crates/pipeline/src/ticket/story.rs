//! What the receipt tells of the way to the answer: who was tried, who was not, and what came of it.

use std::sync::Arc;
use std::time::Duration;

use tollway_ledger::{AttemptRecord, ErrorRecord, Receipt, SkippedRecord};
use tollway_model::{Dialect, Error};
use tollway_route::Deployment;

use super::{Ticket, micros};

impl Ticket {
    /// A deployment, or a whole group, that is not tried, and why. `rank`: its place in the plan.
    pub(crate) fn skip(
        &mut self,
        group: &Arc<str>,
        deployment: Arc<str>,
        rank: Option<usize>,
        reason: String,
    ) {
        if let Some(receipt) = &mut self.receipt {
            let group = fallback(receipt, group);
            receipt.skipped.push(SkippedRecord { group, deployment, rank, reason });
        }
    }

    /// Was this deployment of this group tried, or does the receipt say already why not?
    pub(crate) fn tells_of(&self, group: &Arc<str>, deployment: &Arc<str>) -> bool {
        let Some(receipt) = &self.receipt else { return false };
        let group = fallback(receipt, group);
        let is_tried = receipt
            .attempts
            .iter()
            .any(|attempt| attempt.deployment == *deployment && attempt.group == group);
        is_tried || receipt.skipped.iter().any(|one| one.deployment == *deployment && one.group == group)
    }

    /// Who was not tried, so far.
    #[cfg(test)]
    pub(crate) fn skipped(&self) -> &[SkippedRecord] {
        self.receipt.as_ref().map_or(&[], |receipt| &receipt.skipped)
    }

    pub(crate) fn attempts(&self) -> &[AttemptRecord] {
        self.receipt.as_ref().map_or(&[], |receipt| &receipt.attempts)
    }

    /// What the last attempt's failure led to, if it was one of `group`.
    pub(crate) fn then(&mut self, group: &Arc<str>, what: String) {
        let Some(receipt) = &mut self.receipt else { return };
        let group = fallback(receipt, group);
        if let Some(attempt) = receipt.attempts.last_mut().filter(|attempt| attempt.group == group) {
            attempt.then = Some(what);
        }
    }

    /// Attempts beside the first one of each group.
    pub(crate) fn retries(&self) -> usize {
        let attempts = self.attempts();
        attempts.iter().zip(attempts.iter().skip(1)).filter(|(one, next)| one.group == next.group).count()
    }

    /// Groups that were tried after the first.
    pub(crate) fn fallbacks(&self) -> usize {
        let attempts = self.attempts();
        attempts.iter().zip(attempts.iter().skip(1)).filter(|(one, next)| one.group != next.group).count()
    }
}

/// The record of an attempt that is about to be sent.
pub(crate) fn attempt_record(
    deployment: &Deployment,
    lane: Option<Dialect>,
    started: Duration,
    took: Duration,
    error: Option<&Error>,
) -> AttemptRecord {
    AttemptRecord {
        group: None,
        deployment: deployment.id.clone(),
        provider: deployment.provider.clone(),
        model: deployment.model.clone(),
        lane: lane.map_or("verbatim", Dialect::name).into(),
        started_us: micros(started),
        took_us: micros(took),
        error: error.map(ErrorRecord::from),
        rests_ms: None,
        usage: None,
        cost: None,
        then: None,
    }
}

/// The group's name, unless it is the one that was asked for.
pub(super) fn fallback(receipt: &Receipt, group: &Arc<str>) -> Option<Arc<str>> {
    let asked = receipt.group.as_ref().unwrap_or(&receipt.model);
    (group.as_ref() != asked.as_str()).then(|| group.clone())
}

//! A place at one of the deployments of an order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tollway_model::{Error, Kind, Retry};
use tollway_route::{Candidate, Denied, Flight};

use super::refusals::{refusal, used_up};
use super::retry::Try;
use super::walk::Leg;
use super::{Lost, Run};
use crate::budgets::{self, Short};
use crate::clock::board_now;

/// A pause while every deployment of a group is as busy as it may be doubles from the first of these to the second.
const BUSY_PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(160));

impl Run<'_> {
    /// A place at one of the deployments: at the preferred one, else at the best that has one. Waits while all are as
    /// busy as they may be; takes one that rests when nothing else is left.
    pub(super) async fn admit(
        &mut self,
        tier: &[Candidate],
        tries: &[Try],
        preferred: Option<usize>,
        short: &mut Vec<(Arc<str>, Short)>,
        leg: &Leg<'_>,
    ) -> Result<(usize, Flight), Lost> {
        let (policy, board) = (&self.settings.policy, self.gateway.board());
        let begin = |index: usize, anyway: bool| {
            let deployment = tier.get(index).map(|one| &one.deployment)?;
            let caps = policy.caps(deployment, leg.input);
            let terms = policy.terms(deployment, leg.siblings);
            Some(deployment.live(board).begin(&caps, terms, anyway, board_now()))
        };
        // Beside the preferred one only those that have not failed: the others would need a pause.
        let is_fresh = |index: &usize| tries.get(*index).is_none_or(|one| one.count == 0);
        let mut pause = BUSY_PAUSES.0;
        loop {
            let (mut busy, mut soonest, mut full) = (false, None::<(u64, usize)>, None::<u64>);
            let others = (0..tier.len()).filter(|index| Some(*index) != preferred).filter(is_fresh);
            for index in preferred.into_iter().chain(others) {
                let resting =
                    |millis: u64| soonest.filter(|(least, _)| *least <= millis).or(Some((millis, index)));
                if !self.afford(tier.get(index), short, leg).await {
                    continue;
                }
                match begin(index, leg.plan.last_resort) {
                    Some(Ok(flight)) => return Ok((index, flight)),
                    Some(Err(Denied::Parallel(_))) => busy = true,
                    Some(Err(Denied::Resting(millis))) => soonest = resting(millis),
                    Some(Err(Denied::Probing)) => soonest = resting(0),
                    Some(Err(Denied::Full { frees_in, .. })) => {
                        full = Some(full.map_or(frees_in, |least| least.min(frees_in)));
                    }
                    None => {}
                }
            }
            if let Some((_, index)) = soonest.filter(|_| !busy)
                && self.afford(tier.get(index), short, leg).await
            {
                match begin(index, true) {
                    Some(Ok(flight)) => return Ok((index, flight)),
                    Some(Err(Denied::Parallel(_))) => busy = true,
                    _ => {}
                }
            }
            self.ticket.at(None);
            if !busy {
                let error = full.map(|millis| used_up(leg, millis));
                let error = error.or_else(|| budgets::refusal(&leg.group, short));
                let error = error.unwrap_or_else(|| refusal(leg));
                return Err(Lost { error, why: "nothing could be tried", over: false });
            }
            if Instant::now() + pause >= self.deadline {
                let message = format!("all deployments of {} are busy", leg.group);
                let error = Error::new(Kind::Unavailable, message).with_retry(Retry::Later(None));
                return Err(Lost { error, why: "gave up: the call's time is over", over: true });
            }
            tokio::time::sleep(pause).await;
            self.ticket.paused(pause);
            pause = (pause * 2).min(BUSY_PAUSES.1);
        }
    }
}

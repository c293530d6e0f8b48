//! The attempts of a call: which deployment next, when, and when to give up.
//!
//! One owner of retries and one deadline for all of them. Everything here happens before the caller has seen a byte,
//! so trying again is safe. A call is a walk over groups: the one asked for, then those it falls back to
//! ([`walk`]). In a group the deployments of the lowest `order` are tried first, each order with its own retries
//! ([`retry`] says what a failure leads to). What an attempt taught is on the board before the next one is chosen.

mod attempt;
mod mock;
pub(crate) mod money;
mod place;
mod refusals;
mod retry;
mod waits;
mod walk;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use tollway_accounts::Identity;
use tollway_model::{Error, Retry};
use tollway_route::{Candidate, Class, Deployment};

use self::refusals::{is_unable, refusal};
use self::retry::{Next, Try, decide};
use self::waits::Waits;
use self::walk::{Leg, Walk};
use crate::admission::{self, Beside};
use crate::answer::{Opened, Showing};
use crate::call::Call;
use crate::clock::board_now;
use crate::serve::Gateway;
use crate::settings::Settings;
use crate::snapshot::Snapshot;
use crate::ticket::Ticket;

pub(crate) use self::retry::Dice;
pub(crate) use self::walk::{Asked, Drawn, draw, reachable};

/// May the caller use the group with this name? Asked for every group that a call falls back to.
pub type Access = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// What bounds the groups that a call may fall back to.
#[derive(Default)]
pub(crate) struct Bounds {
    /// `None`: any group.
    pub(crate) access: Option<Access>,
    /// The caller, where its limits depend on the model, or those of whom it calls for.
    pub(crate) limited: Option<(Arc<Identity>, Option<Arc<Beside>>)>,
    /// The only region that the call may be served in.
    pub(crate) region: Option<Arc<str>>,
    /// The call counts against a budget: of the caller, a tag, or everything.
    pub(crate) is_budgeted: bool,
    /// Its budgets hold the worst case.
    pub(crate) is_strict: bool,
}

/// The winning attempt.
pub(crate) struct Won {
    pub(crate) deployment: Arc<Deployment>,
    pub(crate) opened: Opened,
    /// Where another group than the one asked for answers: its answer shows its own name.
    pub(crate) showing: Option<Showing>,
    /// Retries that were allowed where it was won.
    pub(crate) max_retries: u32,
    /// Other groups than the one asked for that were called.
    pub(crate) fallbacks: usize,
    /// Groups that failed before.
    pub(crate) failures: Vec<GroupFailure>,
}

/// A group that failed before another answered.
pub(crate) struct GroupFailure {
    pub(crate) group: Arc<str>,
    pub(crate) error: Error,
}

/// A group that could not answer.
struct Lost {
    error: Error,
    /// What was done about it, for the receipt.
    why: &'static str,
    /// Nothing else can help: the time is over.
    over: bool,
}

/// Tries the plan's deployments, and then the groups the call falls back to, until one answers.
///
/// When all fail, the error is that of the group that was asked for.
pub(crate) async fn run(
    gateway: &Gateway,
    snapshot: &Snapshot,
    call: &Call,
    drawn: Drawn,
    ticket: &mut Ticket,
    showing: &Showing,
    bounds: &Bounds,
) -> Result<Won, Error> {
    let settings = &snapshot.settings;
    let whole = call.control.deadline.map_or(settings.call_time, |asked| asked.min(settings.call_time));
    let (deadline, dice) = (call.started + whole, Dice::seeded(&call.id));
    let mut run = Run { gateway, snapshot, settings, call, deadline, dice, ticket, bounds };
    let mut walk =
        Walk::new(gateway, snapshot, call, bounds.access.as_ref()).within(bounds.region.as_deref());
    let mut leg = Leg::first(call, drawn, showing);
    // A group of which all rest, passed by in favour of another: it is tried when nothing else answers.
    let mut resort = None;
    loop {
        if leg.plan.last_resort
            && resort.is_none()
            && !leg.passed_by
            && let next = walk.around(&leg, run.ticket)
            && let Some(next) = run.enter(next, &mut walk).await
        {
            run.pass_by(&leg, &next.group);
            leg.passed_by = true;
            resort = Some(std::mem::replace(&mut leg, next));
        }
        let lost = match run.leg(&leg, &walk).await {
            Ok((deployment, opened, max_retries)) => {
                let showing = match leg.showing {
                    Cow::Owned(showing) => Some(showing),
                    Cow::Borrowed(_) => None,
                };
                let (fallbacks, failures) = (walk.fallbacks(), walk.failures);
                return Ok(Won { deployment, opened, showing, max_retries, fallbacks, failures });
            }
            Err(lost) => lost,
        };
        let over = lost.over;
        let next = walk.after(&leg, lost.error, over, run.ticket);
        let next = match run.enter(next, &mut walk).await {
            None if !over => resort.take().inspect(|first| run.ticket.enters(&first.counted, None)),
            next => next,
        };
        match next {
            Some(next) => {
                run.ticket.then(&leg.counted, format!("{}; fell back to {}", lost.why, next.group));
                leg = next;
            }
            None => {
                run.ticket.then(&leg.counted, lost.why.to_owned());
                if !settings.recovery.explain_failures {
                    return Err(walk.original());
                }
                let story = walk.story(run.ticket.attempts().len());
                return Err(walk.original().with_note(&story));
            }
        }
    }
}

/// What the attempts of one call share.
struct Run<'a> {
    gateway: &'a Gateway,
    snapshot: &'a Snapshot,
    settings: &'a Settings,
    call: &'a Call,
    deadline: Instant,
    dice: Dice,
    ticket: &'a mut Ticket,
    bounds: &'a Bounds,
}

type Winner = (Arc<Deployment>, Opened, u32);

impl Run<'_> {
    /// Takes the place and the money of a fallback from the caller's limits for its model; where there is none left, of
    /// the fallback after it.
    async fn enter<'w>(&mut self, next: Option<Leg<'w>>, walk: &mut Walk<'w>) -> Option<Leg<'w>> {
        let mut leg = next?;
        loop {
            let hold = match &self.bounds.limited {
                Some((identity, beside)) => {
                    let asked = admission::Asked {
                        identity,
                        beside: Beside::known(beside),
                        model: &leg.counted,
                        call: self.call,
                        plan: &leg.plan,
                        size: self.ticket.size(),
                        tags: self.ticket.tags(),
                    };
                    admission::reserve_model(self.gateway.services(), self.snapshot, &asked).await
                }
                None => Ok(None),
            };
            match hold {
                Ok(hold) => {
                    self.ticket.enters(&leg.counted, hold);
                    return Some(leg);
                }
                Err(why) => leg = walk.instead_of(&leg, why, self.ticket)?,
            }
        }
    }

    /// Says in the receipt who is left out of a group.
    fn tell_skipped(&mut self, leg: &Leg<'_>) {
        for skipped in &leg.plan.skipped {
            self.ticket.skip(&leg.counted, skipped.deployment.id.clone(), None, skipped.reason.to_string());
        }
    }

    /// A group of which all rest is left for later.
    fn pass_by(&mut self, leg: &Leg<'_>, next: &str) {
        self.tell_skipped(leg);
        for candidate in &leg.plan.candidates {
            let reason = format!("it failed lately and rests, so {next} is asked first");
            self.ticket.skip(&leg.counted, candidate.deployment.id.clone(), None, reason);
        }
    }

    /// Tries one group, order by order.
    async fn leg(&mut self, leg: &Leg<'_>, walk: &Walk<'_>) -> Result<Winner, Lost> {
        if !leg.passed_by {
            self.tell_skipped(leg);
        }
        if let Some(mock) = self.call.control.mock.filter(|_| leg.is_first) {
            let error =
                Error::new(mock.kind, format!("the call failed because `{}` asked for it", mock.field));
            return Err(Lost { error, why: "gave up: the caller asked for this failure", over: false });
        }
        let mut lost = None;
        for tier in
            leg.plan.candidates.chunk_by(|one, next| one.deployment.order() == next.deployment.order())
        {
            if lost.is_some() {
                self.ticket.then(&leg.counted, "tried the next order".to_owned());
            }
            match self.tier(tier, leg, walk).await {
                Ok(won) => {
                    self.not_needed(leg);
                    return Ok(won);
                }
                Err(failed) => {
                    let end = failed.over
                        || failed.error.retry() == Retry::Never
                        || leg.leaves(walk, &failed.error);
                    lost = Some(failed);
                    if end {
                        break;
                    }
                }
            }
        }
        self.not_needed(leg);
        Err(match lost {
            // None of them can.
            Some(lost) if is_unable(&lost.error) => {
                Lost { error: lost.error.with_retry(Retry::Never), ..lost }
            }
            Some(lost) => lost,
            None => Lost { error: refusal(leg), why: "nothing could be tried", over: false },
        })
    }

    /// Candidates that were never tried say so, and why they would have come later.
    fn not_needed(&mut self, leg: &Leg<'_>) {
        if leg.plan.candidates.len() < 2 {
            return;
        }
        for (index, candidate) in leg.plan.candidates.iter().enumerate() {
            if !self.ticket.tells_of(&leg.counted, &candidate.deployment.id) {
                let reason = format!("not needed: {}", candidate.rank);
                self.ticket.skip(&leg.counted, candidate.deployment.id.clone(), Some(index + 1), reason);
            }
        }
    }

    /// Tries the deployments of one order.
    async fn tier(&mut self, tier: &[Candidate], leg: &Leg<'_>, walk: &Walk<'_>) -> Result<Winner, Lost> {
        // Empty until something fails.
        let mut tries: Vec<Try> = Vec::new();
        let (mut tried, mut preferred) = (0_u32, None);
        let mut last: Option<Error> = None;
        let mut short = Vec::new();
        loop {
            if let Err(error) = self.cover(leg).await {
                let (why, over) = ("gave up: a strict budget has no room for another attempt", true);
                return Err(Lost { error: last.unwrap_or(error), why, over });
            }
            let (index, flight) = match self.admit(tier, &tries, preferred, &mut short, leg).await {
                Ok(admitted) => admitted,
                // What failed says more than that nothing else has room.
                Err(lost) => return Err(Lost { error: last.unwrap_or(lost.error), ..lost }),
            };
            let Some(Candidate { deployment, .. }) = tier.get(index) else {
                return Err(Lost { error: refusal(leg), why: "nothing could be tried", over: false });
            };
            let begun = Instant::now();
            let waits = Waits::of(self.settings, deployment, self.call, self.deadline, begun);
            let retries = self.retries(deployment);
            let error = match self.attempt(deployment, flight, (begun, &waits), leg, walk).await {
                Ok(opened) => return Ok((deployment.clone(), opened, retries)),
                Err(error) => error,
            };
            if tries.is_empty() {
                tries = tier.iter().map(|_| Try::default()).collect();
            }
            for (one, Candidate { deployment, .. }) in tries.iter_mut().zip(tier) {
                one.closed |= money::is_short(&short, deployment);
            }
            let leaves = leg.leaves(walk, &error);
            // Nobody was asked: another that can do it costs no retry.
            let unable = is_unable(&error);
            let by_class = self.settings.recovery.by_class(&leg.group, Class::of(&error));
            let retries = by_class.unwrap_or(retries);
            let facts = retry::Facts {
                tried,
                retries,
                forced: by_class.is_some_and(|count| count > 0),
                leaves,
                weighted_failover: self.settings.recovery.weighted_failover || unable,
                shortest_pause: self.settings.recovery.shortest_pause,
                deadline: self.deadline,
            };
            let now = Instant::now();
            let next = self.decide(tier, &mut tries, index, &error, &facts, now);
            match next {
                Next::GiveUp(why) => {
                    let over = Instant::now() >= self.deadline || why == retry::TOO_LATE;
                    return Err(Lost { error, why, over });
                }
                Next::Elsewhere(other) => {
                    self.ticket.then(&leg.counted, "tried the next deployment".to_owned());
                    preferred = Some(other);
                }
                Next::Again(other, pause) => {
                    self.ticket.then(&leg.counted, format!("tried again after {} ms", pause.as_millis()));
                    tokio::time::sleep(pause).await;
                    self.ticket.paused(pause);
                    preferred = Some(other);
                }
            }
            tried += u32::from(!unable);
            last = Some(error);
        }
    }

    fn decide(
        &mut self,
        tier: &[Candidate],
        tries: &mut [Try],
        failed: usize,
        error: &Error,
        facts: &retry::Facts,
        now: Instant,
    ) -> Next {
        let board = self.gateway.board();
        let rests = |index: usize| {
            let live = tier.get(index).map(|one| one.deployment.live(board));
            live.is_some_and(|live| live.cooling(board_now()).is_some())
        };
        let budget = &self.settings.recovery.budget;
        let may_repeat = |index: usize| {
            let live = tier.get(index).map(|one| one.deployment.live(board));
            live.is_some_and(|live| live.repeat(budget, board_now()))
        };
        decide(tries, failed, error, facts, &rests, &may_repeat, &mut self.dice, now)
    }

    /// How often a failure may be followed by another attempt: the caller's word, the deployment's, the settings'.
    fn retries(&self, deployment: &Deployment) -> u32 {
        self.call.control.retries.or(deployment.retries).unwrap_or(self.settings.recovery.retries)
    }
}

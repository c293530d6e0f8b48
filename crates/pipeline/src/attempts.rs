//! The attempts of a call: which deployment next, when, and when to give up.
//!
//! One owner of retries and one deadline for all of them. Everything here happens before the caller has seen a byte,
//! so trying again is safe. A call is a walk over groups: the one asked for, then those it falls back to
//! ([`walk`]). In a group the deployments of the lowest `order` are tried first, each order with its own retries
//! ([`retry`] says what a failure leads to). What an attempt taught is on the board before the next one is chosen.

mod mock;
pub(crate) mod money;
mod retry;
mod waits;
mod walk;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tollway::exchange::{Ask, Lane, Prepared, Refused, prepare, send};
use tollway_accounts::Identity;
use tollway_model::{Dialect, Error, Kind, Notices, Operation, Origin, RawJson, Retry};
use tollway_providers::Endpoint;
use tollway_route::{Candidate, Class, Denied, Deployment, Flight, Reason};
use tollway_wire::{Restore, codec};

use self::retry::{Next, Try, decide};
use self::waits::Waits;
use self::walk::{Leg, Walk};
use crate::admission::{self, Beside};
use crate::answer::{Opened, Showing, finish_of, open};
use crate::budgets::{self, Short};
use crate::call::Call;
use crate::clock::board_now;
use crate::content;
use crate::responses;
use crate::serve::Gateway;
use crate::settings::Settings;
use crate::snapshot::{FREE, Snapshot};
use crate::ticket::{End, Settlement, Ticket, attempt_record};

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

/// A pause while every deployment of a group is as busy as it may be doubles from the first of these to the second.
const BUSY_PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(160));

/// How long the rest of a stream that declines is read for what it used.
const LAST_WORDS: Duration = Duration::from_secs(1);

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
            let waits = Waits::of(self.settings, deployment, self.call, self.deadline);
            let retries = self.retries(deployment);
            let error = match self.attempt(deployment, flight, &waits, leg, walk).await {
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

    /// A place at one of the deployments: at the preferred one, else at the best that has one. Waits while all are as
    /// busy as they may be; takes one that rests when nothing else is left.
    async fn admit(
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

    /// One attempt. What it taught is on the board when it returns.
    async fn attempt(
        &mut self,
        deployment: &Arc<Deployment>,
        mut flight: Flight,
        waits: &Waits,
        leg: &Leg<'_>,
        walk: &Walk<'_>,
    ) -> Result<Opened, Error> {
        let begun = Instant::now();
        let since = begun.saturating_duration_since(self.ticket.started());
        if self.call.control.mock_timeout && leg.is_first {
            return Err(self.timed_out(deployment, waits, leg).await);
        }
        if let Some(mock) = self.call.control.mock_response.as_ref().or(deployment.mock.as_ref()) {
            return self.mocked(mock, deployment, flight, waits, leg).await;
        }
        let drop_params =
            self.call.control.drop_params.or(deployment.drop_params).unwrap_or(self.settings.drop_params);
        let endpoint = deployment.endpoint();
        let prepared = endpoint.ok_or_else(|| refusal(leg)).and_then(|endpoint| {
            Ok((endpoint, prepare(endpoint, leg.ask(), &deployment.defaults, drop_params)?))
        });
        let (endpoint, Prepared { request, lane, notices }) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                let error = if is_unable(&error) { error.with_retry(Retry::Elsewhere) } else { error };
                let record = attempt_record(deployment, None, since, begun.elapsed(), Some(&error));
                self.ticket.attempt(&leg.counted, record, Duration::ZERO, End::Unsent);
                return Err(error);
            }
        };
        let target = match &lane {
            Lane::Verbatim => None,
            Lane::Translated { target, .. } => Some(*target),
        };
        let sent = Instant::now();
        self.ticket.sending(deployment, &leg.counted, target);
        let spoken = target.unwrap_or(leg.ask().surface);
        let origin = leg.showing.turn.is_some() && leg.siblings && spoken == Dialect::OpenaiResponses;
        let origin = origin.then(|| responses::origin(&deployment.id));
        let result = receive(self.gateway, endpoint, request, lane, waits, leg, origin).await;
        let mut end = End::Told;
        let mut result = result.map_err(|refused| {
            end = ended(&refused);
            self.ticket.refused(refused.headers);
            refused.error
        });
        let declining = match &mut result {
            Ok(opened) if walk.may_be_declined(leg) => {
                declining(opened, leg.ask(), self.deadline.min(Instant::now() + LAST_WORDS)).await
            }
            _ => None,
        };
        let waited = sent.elapsed();
        let mut record = attempt_record(deployment, target, since, begun.elapsed(), result.as_ref().err());
        match (result, declining) {
            (Ok(_), Some(settlement)) => {
                let error = declined();
                record.error = Some((&error).into());
                let usage = settlement.usage.unwrap_or_default();
                let (tokens, output) = (usage.total(), usage.total_output());
                let streamed = leg.ask().stream;
                flight.answered(&tollway_route::Answer { tokens, output, streamed }, board_now());
                self.ticket.discard(&leg.counted, record, waited, settlement);
                Err(error)
            }
            (Ok(mut opened), None) => {
                keep(&mut opened, leg);
                flight.answers(board_now());
                self.ticket.attempt(&leg.counted, record, waited, end);
                self.ticket.flying(flight);
                let mut all: Notices = notices;
                if let Opened::Complete { notices, .. } = &opened {
                    all.extend(notices.clone());
                }
                self.ticket.answering(deployment.prices.clone(), all);
                Ok(opened)
            }
            (Err(error), _) => {
                let rest = flight.failed(&error, waits.blameless, board_now());
                record.rests_ms = rest.map(|rest| u64::try_from(rest.as_millis()).unwrap_or(u64::MAX));
                self.ticket.attempt(&leg.counted, record, waited, end);
                Err(error)
            }
        }
    }
}

impl Run<'_> {
    /// An attempt that is answered here: no provider is asked.
    async fn mocked(
        &mut self,
        mock: &RawJson,
        deployment: &Arc<Deployment>,
        mut flight: Flight,
        waits: &Waits,
        leg: &Leg<'_>,
    ) -> Result<Opened, Error> {
        let delay = self.call.control.mock_delay.unwrap_or_default();
        if delay >= waits.longest(leg.ask().stream) {
            return Err(self.timed_out(deployment, waits, leg).await);
        }
        let begun = Instant::now();
        let since = begun.saturating_duration_since(self.ticket.started());
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
            self.ticket.paused(delay);
        }
        let result = mock::answer(mock, leg.ask(), &leg.showing, self.ticket.size().input);
        let mut record = attempt_record(deployment, None, since, begun.elapsed(), result.as_ref().err());
        record.lane = "mocked".into();
        self.ticket.attempt(&leg.counted, record, Duration::ZERO, End::Told);
        match result {
            Ok(opened) => {
                flight.answers(board_now());
                self.ticket.flying(flight);
                let own = deployment.prices.clone().filter(|_| deployment.mock.is_some());
                let mut notices = Notices::new();
                if let Opened::Complete { notices: told, .. } = &opened {
                    notices.extend(told.clone());
                }
                self.ticket.answering(own.or_else(|| Some(FREE.clone())), notices);
                Ok(opened)
            }
            // A failure that was asked for is nobody's fault.
            Err(error) => Err(error),
        }
    }
}

impl Run<'_> {
    /// An attempt that nobody hears of, until its time is over.
    async fn timed_out(&mut self, deployment: &Arc<Deployment>, waits: &Waits, leg: &Leg<'_>) -> Error {
        let begun = Instant::now();
        let since = begun.saturating_duration_since(self.ticket.started());
        let longest = waits.longest(leg.ask().stream);
        tokio::time::sleep(longest).await;
        let error = Error::new(Kind::Timeout, "the call ran out of time because it asked for that")
            .with_origin(Origin::Upstream)
            .with_retry(Retry::Later(None))
            .with_status(408);
        let mut record = attempt_record(deployment, None, since, begun.elapsed(), Some(&error));
        record.lane = "mocked".into();
        self.ticket.attempt(&leg.counted, record, longest, End::Told);
        error
    }
}

async fn receive(
    gateway: &Gateway,
    endpoint: &Arc<Endpoint>,
    request: http::Request<tollway_wire::json::Pieces>,
    lane: Lane,
    waits: &Waits,
    leg: &Leg<'_>,
    origin: Option<String>,
) -> Result<Opened, Refused> {
    let ask = leg.ask();
    let target = match &lane {
        Lane::Verbatim => ask.surface,
        Lane::Translated { target, .. } => *target,
    };
    let received = match send(&gateway.transport, endpoint, request, target, &waits.timeouts).await {
        Ok(received) => received,
        Err(refused) => {
            log_refusal(&refused.error, target);
            return Err(refused);
        }
    };
    let opening = open(received, lane, ask, &leg.showing, endpoint, origin.as_deref());
    if !ask.stream {
        return Ok(opening.await?);
    }
    match tokio::time::timeout_at(waits.first_content.into(), opening).await {
        Ok(opened) => Ok(opened?),
        Err(_) => Err(waits.no_content().into()),
    }
}

/// What a failed attempt means for money.
fn ended(refused: &Refused) -> End {
    match (refused.is_unsent(), refused.may_be_billed()) {
        (true, _) => End::Unsent,
        (false, true) => End::Lost,
        (false, false) => End::Told,
    }
}

/// An answer that goes on a conversation is kept as soon as it is the caller's.
fn keep(opened: &mut Opened, leg: &Leg<'_>) {
    match opened {
        Opened::Stream { source, .. } => source.won(),
        Opened::Complete { body, .. } => {
            if let Some(turn) = leg.showing.turn.as_ref().filter(|_| leg.ask().operation == Operation::Chat) {
                turn.keep(body, &leg.showing.model);
            }
        }
    }
}

/// What is known of an answer in which the model declines, or its provider's filter; `None` for any other. A stream
/// declines when nothing else was said before; what it used comes last, and is waited for until `patience`.
async fn declining(opened: &mut Opened, ask: &Ask, patience: Instant) -> Option<Settlement> {
    if ask.operation != Operation::Chat {
        return None;
    }
    match opened {
        Opened::Complete { body, settlement, .. } => {
            declines(body, settlement, ask).then(|| settlement.clone())
        }
        Opened::Stream { first, source, .. } => {
            if !source.declines(first) {
                return None;
            }
            let _ = tokio::time::timeout_at(patience.into(), source.drain()).await;
            Some(source.settlement())
        }
    }
}

/// Does the model decline, or its provider's filter, in this whole answer for the caller?
fn declines(body: &[u8], settlement: &Settlement, ask: &Ask) -> bool {
    // The verbatim lane has not looked.
    let finish = settlement.finish.or_else(|| {
        let answer = codec(ask.surface).decode_response(body, &Restore::default()).ok()?;
        answer.choices.first().and_then(finish_of)
    });
    finish.is_some_and(content::declines)
}

/// The failure that an answer is thrown away for.
fn declined() -> Error {
    Error::new(Kind::ContentPolicy, "the model declined to answer")
        .with_origin(Origin::Upstream)
        .with_retry(Retry::Never)
}

/// The parts of an error that the caller must not see are for the operator's log.
fn log_refusal(error: &Error, target: Dialect) {
    if !tracing::enabled!(target: "tollway::attempt", tracing::Level::DEBUG) {
        return;
    }
    let context: Vec<String> = error.context().iter().map(|(key, value)| format!("{key}={value}")).collect();
    tracing::debug!(target: "tollway::attempt", dialect = target.name(), kind = error.kind().code(), context = context.join(" "), "attempt failed");
}

/// Is this a deployment that cannot do what the call asks for?
fn is_unable(error: &Error) -> bool {
    error.kind() == Kind::Unsupported && error.origin() != Origin::Upstream
}

/// Why nothing of a group could be tried, as an error for the caller.
fn refusal(leg: &Leg<'_>) -> Error {
    let skipped = &leg.plan.skipped;
    let frees_in = skipped.iter().filter_map(|skipped| match skipped.reason {
        Reason::Denied(Denied::Full { frees_in, .. }) => Some(frees_in),
        _ => None,
    });
    if let Some(millis) = frees_in.min() {
        return used_up(leg, millis);
    }
    let reasons: Vec<String> = skipped.iter().map(|skipped| skipped.reason.to_string()).collect();
    let message = format!("no deployment of {} can be called: {}", leg.group, reasons.join("; "));
    let any = |wanted: fn(&Reason) -> bool| skipped.iter().any(|skipped| wanted(&skipped.reason));
    if any(|reason| matches!(reason, Reason::TooLong { .. })) {
        return Error::new(Kind::ContextWindow, message).with_param("messages").with_retry(Retry::Never);
    }
    if any(|reason| matches!(reason, Reason::Tags)) {
        return Error::invalid_at("tags", message);
    }
    Error::new(Kind::Unavailable, message).with_param("model").with_retry(Retry::Never)
}

/// Every deployment has had its requests or tokens of this minute.
fn used_up(leg: &Leg<'_>, millis: u64) -> Error {
    let message = format!("the requests or tokens a minute of every deployment of {} are used up", leg.group);
    Error::new(Kind::RateLimit, message)
        .with_origin(Origin::Gateway)
        .with_retry(Retry::Later(Some(Duration::from_millis(millis))))
}

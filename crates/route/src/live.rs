//! How one deployment is doing.
//!
//! A deployment rests after failing ([`Cooling`](crate::Cooling)). When its rest is over it is *half-open*: one call at
//! a time tries whether it answers, the others go elsewhere. An answer opens it for all; a failure lets it rest again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tollway_model::{Error, Kind};

use crate::board::{Change, Standing};
use crate::cooling::{Cooling, at_once, blames_deployment, by_rate, duration};
use crate::failure::Class;
use crate::window::{Used, Window};
use crate::{Now, millis};

/// A call that timed out counts as this slow, in milliseconds.
const TIMED_OUT: f64 = 1_000_000.0;

/// Most latencies remembered of each kind.
const MOST_SAMPLES: usize = 100;

/// The live state of one deployment.
#[derive(Debug)]
pub struct Live {
    id: Arc<str>,
    /// What its calls count for beside itself: limits are asked there.
    whole: Option<Arc<Live>>,
    in_flight: AtomicU32,
    /// When its rest ends, in milliseconds; 0: it does not rest. In the past: half-open.
    rests_until: AtomicU64,
    /// A call is trying whether it answers again.
    probing: AtomicBool,
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    window: Window,
    /// Failures that count towards an allowance, and when the first of them was.
    failures: u32,
    failing_since: Now,
    /// Milliseconds for each output token of unstreamed answers.
    per_token: Samples,
    /// Milliseconds to the first content of streams.
    first_content: Samples,
    /// What other processes have not been told.
    unsent: Used,
    unsent_rest: Option<Option<u64>>,
}

/// The latest measurements, oldest first.
#[derive(Debug, Default)]
struct Samples(VecDeque<(Now, f64)>);

impl Samples {
    fn push(&mut self, now: Now, value: f64) {
        if self.0.len() >= MOST_SAMPLES {
            self.0.pop_front();
        }
        self.0.push_back((now, value));
    }

    fn mean(&self, now: Now, ttl: Duration, most: usize) -> Option<f64> {
        let recent = self.0.iter().rev().take(most).filter(|(at, _)| now.since(*at) <= ttl);
        let (mut sum, mut count) = (0.0, 0.0);
        for (_, value) in recent {
            sum += value;
            count += 1.0;
        }
        (count > 0.0).then(|| sum / count)
    }
}

/// Bounds of a deployment that a call has to fit into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Caps {
    /// Most calls in flight.
    pub parallel: Option<u32>,
    /// Most calls a minute.
    pub calls: Option<u64>,
    /// Most tokens a minute.
    pub tokens: Option<u64>,
    /// Tokens that the call brings along, by an estimate.
    pub input: u64,
}

/// Why a call cannot begin at a deployment now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// It rests for so many milliseconds.
    Resting(u64),
    /// Another call is trying whether it answers again.
    Probing,
    /// As many calls as it takes are in flight.
    Parallel(u32),
    /// As many calls or tokens as it takes came in the last minute.
    Full {
        /// `requests` or `tokens`.
        what: &'static str,
        /// Most a minute.
        limit: u64,
        /// Milliseconds until there is room.
        frees_in: u64,
    },
}

/// What a failure means for the deployment.
#[derive(Debug, Clone)]
pub struct Terms {
    /// When it rests; `None`: never.
    pub cooling: Option<Arc<Cooling>>,
    /// Its own rest.
    pub rest: Option<Duration>,
    /// There are others in its group.
    pub siblings: bool,
}

/// How often failed calls may be tried again at the deployment that failed them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// As a share of its calls of the last minute.
    pub share: f64,
    /// Always allowed, a minute.
    pub floor: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { share: 0.2, floor: 30 }
    }
}

/// What an answered call measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Answer {
    /// Input and output tokens.
    pub tokens: u64,
    /// Output tokens.
    pub output: u64,
    /// It was streamed.
    pub streamed: bool,
}

impl Live {
    pub(crate) fn new(id: Arc<str>) -> Live {
        Live {
            id,
            whole: None,
            in_flight: AtomicU32::new(0),
            rests_until: AtomicU64::new(0),
            probing: AtomicBool::new(false),
            log: Mutex::default(),
        }
    }

    /// One of several whose calls are limited together.
    pub(crate) fn within(id: Arc<str>, whole: Arc<Live>) -> Live {
        Live { whole: Some(whole), ..Live::new(id) }
    }

    /// Where its limits are counted.
    fn limited(&self) -> &Live {
        self.whole.as_deref().unwrap_or(self)
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls in flight.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Calls in flight that count against its limit: with those of others that share it.
    pub fn places_taken(&self) -> u32 {
        self.limited().in_flight()
    }

    /// Why the deployment cannot be called because of its failures; `None` when it can, be it to find out whether it
    /// answers again.
    pub fn cooling(&self, now: Now) -> Option<Denied> {
        match self.rests_until.load(Ordering::Relaxed) {
            0 => None,
            until if until > now.0 => Some(Denied::Resting(until - now.0)),
            _ => self.probing.load(Ordering::Relaxed).then_some(Denied::Probing),
        }
    }

    /// Why `caps` have no room for a call; `None` when they have.
    pub fn full(&self, caps: &Caps, now: Now) -> Option<Denied> {
        if caps.calls.is_none() && caps.tokens.is_none() {
            return None;
        }
        full(&self.limited().log().window, caps, now)
    }

    /// Tokens of the last minute.
    pub fn tokens(&self, now: Now) -> u64 {
        self.log().window.sum(now).tokens
    }

    /// The mean of the latest measurements in milliseconds: to the first content for streams, for each output token for
    /// others. `None` while there are none.
    pub fn latency(&self, streamed: bool, now: Now, ttl: Duration, most: usize) -> Option<f64> {
        let log = self.log();
        let first = streamed.then(|| log.first_content.mean(now, ttl, most)).flatten();
        first.or_else(|| log.per_token.mean(now, ttl, most))
    }

    /// May a call that failed here be tried here again? Counts it when it may.
    pub fn repeat(&self, budget: &Budget, now: Now) -> bool {
        let mut log = self.log();
        let minute = log.window.sum(now);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of the calls of a minute, cut to a whole number"
        )]
        let allowed = (minute.calls as f64 * budget.share.max(0.0)) as u64;
        let may = minute.repeats < allowed.max(u64::from(budget.floor));
        if may {
            log.window.add(now, Used { repeats: 1, ..Used::default() });
        }
        may
    }

    /// Begins a call, unless the deployment rests or is full. `anyway` begins it although the deployment rests: it is
    /// the last there is.
    pub fn begin(
        self: &Arc<Live>,
        caps: &Caps,
        terms: Terms,
        anyway: bool,
        now: Now,
    ) -> Result<Flight, Denied> {
        let until = self.rests_until.load(Ordering::Relaxed);
        let mut probe = false;
        if until != 0 {
            if until > now.0 && !anyway {
                return Err(Denied::Resting(until - now.0));
            }
            probe = !self.probing.swap(true, Ordering::AcqRel);
            if !probe && !anyway {
                return Err(Denied::Probing);
            }
        }
        // From here on the flight gives back what it took, whatever follows.
        let mut before = self.in_flight.fetch_add(1, Ordering::AcqRel);
        if let Some(whole) = &self.whole {
            before = whole.in_flight.fetch_add(1, Ordering::AcqRel);
        }
        let flight = Flight { live: self.clone(), terms, probe, began: now, first: None };
        if let Some(most) = caps.parallel.filter(|most| before >= *most) {
            return Err(Denied::Parallel(most));
        }
        let mut log = self.limited().log();
        if let Some(denied) = full(&log.window, caps, now) {
            return Err(denied);
        }
        let used = Used { calls: 1, ..Used::default() };
        log.count(now, used);
        drop(log);
        if self.whole.is_some() {
            self.log().count(now, used);
        }
        Ok(flight)
    }

    /// Rests for `duration` from `now` on, or longer when it already does.
    fn rest(&self, duration: Duration, now: Now) -> bool {
        let until = now.after(duration).0;
        self.rests_until.fetch_max(until, Ordering::AcqRel) < until
    }

    /// What other processes should know, since this was last asked.
    pub(crate) fn drain(&self, now: Now, out: &mut Vec<Change>) {
        let mut log = self.log();
        let used = std::mem::take(&mut log.unsent);
        let rest = log.unsent_rest.take();
        drop(log);
        let deployment = self.id.clone();
        match rest {
            Some(Some(until)) if until > now.0 => {
                out.push(Change::Rests { deployment: deployment.clone(), millis: until - now.0 });
            }
            Some(None) => out.push(Change::Answers { deployment: deployment.clone() }),
            _ => {}
        }
        if !used.is_zero() {
            out.push(Change::Used { deployment, used });
        }
    }

    /// What another process said.
    pub(crate) fn apply(&self, change: &Change, now: Now) {
        match change {
            Change::Rests { millis, .. } => {
                self.rest(Duration::from_millis(*millis), now);
            }
            Change::Answers { .. } => self.rests_until.store(0, Ordering::Release),
            Change::Used { used, .. } => self.log().window.add(now, *used),
        }
    }

    pub(crate) fn standing(&self, now: Now) -> Standing {
        let until = self.rests_until.load(Ordering::Relaxed);
        Standing {
            deployment: self.id.clone(),
            in_flight: self.in_flight(),
            rests_for_ms: until.saturating_sub(now.0),
            half_open: until != 0 && until <= now.0,
            minute: self.log().window.sum(now),
        }
    }
}

fn full(window: &Window, caps: &Caps, now: Now) -> Option<Denied> {
    if caps.calls.is_none() && caps.tokens.is_none() {
        return None;
    }
    let minute = window.sum(now);
    if let Some(limit) = caps.calls.filter(|limit| minute.calls >= *limit) {
        let frees_in = window.falls_below(now, limit, |used| used.calls);
        return Some(Denied::Full { what: "requests", limit, frees_in });
    }
    let limit = caps.tokens.filter(|limit| minute.tokens.saturating_add(caps.input.max(1)) > *limit)?;
    let room = limit.saturating_sub(caps.input).max(1);
    let frees_in = window.falls_below(now, room, |used| used.tokens);
    Some(Denied::Full { what: "tokens", limit, frees_in })
}

impl Log {
    /// Counts here what the other processes must count, too.
    fn count(&mut self, now: Now, used: Used) {
        self.window.add(now, used);
        self.unsent.add(used);
    }

    /// One more failure that counts towards an allowance; failures older than `rest` do not.
    fn fail(&mut self, now: Now, rest: Duration) -> u32 {
        if self.failures == 0 || now.since(self.failing_since) > rest {
            self.failures = 0;
            self.failing_since = now;
        }
        self.failures += 1;
        self.failures
    }
}

/// A call in flight at a deployment.
///
/// Ends with [`Flight::answered`] or [`Flight::failed`]; dropped without either, the caller went away, which says
/// nothing about the deployment.
#[derive(Debug)]
pub struct Flight {
    live: Arc<Live>,
    terms: Terms,
    /// This call tries whether the deployment answers again.
    probe: bool,
    began: Now,
    first: Option<Now>,
}

impl Flight {
    /// The deployment answers: content has come. From here on other calls go there again.
    pub fn answers(&mut self, now: Now) {
        self.first = Some(now);
        if self.live.rests_until.load(Ordering::Relaxed) != 0 {
            self.live.rests_until.store(0, Ordering::Release);
            let mut log = self.live.log();
            log.failures = 0;
            log.unsent_rest = Some(None);
        }
        self.land();
    }

    /// The answer is complete, or as much of it as the caller wanted.
    pub fn answered(mut self, answer: &Answer, now: Now) {
        if self.first.is_none() {
            self.answers(now);
        }
        let used = Used { tokens: answer.tokens, answered: 1, ..Used::default() };
        if let Some(whole) = &self.live.whole {
            whole.log().count(now, used);
        }
        let mut log = self.live.log();
        log.count(now, used);
        if answer.streamed {
            let first = self.first.unwrap_or(now);
            log.first_content.push(now, as_f64(millis(first.since(self.began))));
        } else {
            let took = as_f64(millis(now.since(self.began)));
            log.per_token.push(now, took / as_f64(answer.output.max(1)));
        }
    }

    /// The call failed. `blameless`: the caller's own time limit ran out. Returns how long the deployment rests for it.
    pub fn failed(mut self, error: &Error, blameless: bool, now: Now) -> Option<Duration> {
        let timed_out = error.kind() == Kind::Timeout;
        let blamed = blames_deployment(error, self.terms.siblings) && !(blameless && timed_out);
        let rest = self.judge(error, blamed, timed_out, now);
        if let Some(rest) = rest
            && self.live.rest(rest, now)
        {
            self.live.log().unsent_rest = Some(Some(now.after(rest).0));
        }
        self.land();
        rest
    }

    /// Counts a failure and says how long it rests the deployment.
    fn judge(&self, error: &Error, blamed: bool, timed_out: bool, now: Now) -> Option<Duration> {
        let mut log = self.live.log();
        if timed_out {
            log.per_token.push(now, TIMED_OUT);
            log.first_content.push(now, TIMED_OUT);
        }
        if !blamed {
            return None;
        }
        log.count(now, Used { failed: 1, ..Used::default() });
        let cooling = self.terms.cooling.as_ref()?;
        let own = self.terms.rest.unwrap_or(cooling.rest);
        if own.is_zero() {
            return None;
        }
        let rests = match cooling.allowance(Class::of(error)) {
            Some(allowed) => log.fail(now, own) > allowed,
            None => self.probe || at_once(error) || by_rate(&log.window.sum(now), self.terms.siblings),
        };
        rests.then(|| duration(error, own))
    }

    /// Lets another call try whether the deployment answers.
    fn land(&mut self) {
        if std::mem::take(&mut self.probe) {
            self.live.probing.store(false, Ordering::Release);
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.land();
        self.live.in_flight.fetch_sub(1, Ordering::AcqRel);
        if let Some(whole) = &self.live.whole {
            whole.in_flight.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a measurement needs no more than 52 bits")]
fn as_f64(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests;

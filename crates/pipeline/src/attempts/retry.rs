//! What a failed attempt leads to: a pure decision, the clock and the dice passed in.

use std::time::{Duration, Instant};

use tollway_model::{Error, Retry};

/// Longest pause that a provider's `Retry-After` can ask for; beyond it the deployment is not tried again.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Shortest pause before the same deployment is tried again, whatever its `Retry-After` says.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

/// Why a call ends whose next attempt would begin too late.
pub(super) const TOO_LATE: &str = "gave up: the call's deadline would pass during the pause";

/// What has been tried at one deployment in this call.
#[derive(Debug, Clone, Default)]
pub(super) struct Try {
    /// Attempts that failed.
    pub(super) count: u32,
    /// It is not tried again.
    pub(super) closed: bool,
    /// It asked for a longer pause than anyone waits.
    asked_too_long: bool,
    /// Its budget of tries again is used up.
    over_budget: bool,
    /// When it wants to be tried again.
    not_before: Option<Instant>,
}

/// What the decision needs to know beside the failure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    /// Attempts before this one, at deployments of this order.
    pub(super) tried: u32,
    /// How many further attempts are allowed.
    pub(super) retries: u32,
    /// The operator wants this kind of failure tried again, whatever it is.
    pub(super) forced: bool,
    /// Another group is to be tried for this kind of failure.
    pub(super) leaves: bool,
    /// Deployments that have not been tried cost no retry.
    pub(super) weighted_failover: bool,
    /// The operator's shortest pause.
    pub(super) shortest_pause: Duration,
    /// When the call's time is over.
    pub(super) deadline: Instant,
}

/// What to do about a failure.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    GiveUp(&'static str),
    /// At once, at a deployment that has not been tried.
    Elsewhere(usize),
    /// After a pause, at one that has failed before.
    Again(usize, Duration),
}

/// What to do about the failure of the deployment `failed`. `rests` says whether one rests, `may_repeat` whether one
/// has a try again left in its budget, and takes it.
#[expect(clippy::too_many_arguments, reason = "everything the decision depends on is named here")]
pub(super) fn decide(
    tries: &mut [Try],
    failed: usize,
    error: &Error,
    facts: &Facts,
    rests: &dyn Fn(usize) -> bool,
    may_repeat: &dyn Fn(usize) -> bool,
    dice: &mut Dice,
    now: Instant,
) -> Next {
    if let Some(one) = tries.get_mut(failed) {
        note(one, error, facts.forced, now);
    }
    if now >= facts.deadline {
        return Next::GiveUp("gave up: the call's time is over");
    }
    if facts.leaves {
        return Next::GiveUp("gave up: another model is to take this kind of failure");
    }
    let never = error.retry() == Retry::Never && !facts.forced;
    let fresh = tries.iter().any(|one| one.count == 0 && !one.closed);
    if facts.tried >= facts.retries && !(facts.weighted_failover && fresh && !never) {
        return Next::GiveUp(match facts.retries {
            0 => "gave up: retries are off",
            _ => "gave up: no retry left",
        });
    }
    if never {
        return Next::GiveUp("gave up: trying again cannot help");
    }
    loop {
        let open = (0..tries.len()).filter(|index| tries.get(*index).is_some_and(|one| !one.closed));
        let count = |index: usize| tries.get(index).map_or(0, |one| one.count);
        let Some(index) = open.min_by_key(|index| (count(*index) > 0, rests(*index), count(*index), *index))
        else {
            return Next::GiveUp(nothing_left(tries));
        };
        if count(index) == 0 {
            return Next::Elsewhere(index);
        }
        let Some(one) = tries.get_mut(index) else { return Next::GiveUp(nothing_left(tries)) };
        let asked = one.not_before.map(|at| at.saturating_duration_since(now));
        let pause = asked.unwrap_or_else(|| backoff(facts.tried, dice));
        let pause = pause.max(SHORTEST_PAUSE).max(facts.shortest_pause);
        if now + pause >= facts.deadline {
            return Next::GiveUp(TOO_LATE);
        }
        if may_repeat(index) {
            return Next::Again(index, pause);
        }
        (one.closed, one.over_budget) = (true, true);
    }
}

/// Keeps what a failure says about the deployment.
fn note(one: &mut Try, error: &Error, forced: bool, now: Instant) {
    one.count += 1;
    one.not_before = None;
    match error.retry() {
        Retry::Never | Retry::Elsewhere => one.closed |= !forced,
        Retry::Later(Some(pause)) if pause > LONGEST_RETRY_AFTER => {
            (one.closed, one.asked_too_long) = (true, true);
        }
        Retry::Later(asked) => one.not_before = asked.map(|pause| now + pause),
    }
}

fn nothing_left(tries: &[Try]) -> &'static str {
    if tries.iter().any(|one| one.over_budget) {
        "gave up: too many calls were tried again there in the last minute"
    } else if tries.iter().any(|one| one.asked_too_long) {
        "gave up: the provider asks for a longer pause"
    } else {
        "gave up: there is no other deployment"
    }
}

/// Half a second, doubled with every attempt up to eight seconds, less up to a quarter by chance.
fn backoff(tried: u32, dice: &mut Dice) -> Duration {
    let full = Duration::from_millis(500).saturating_mul(1 << tried.min(10)).min(Duration::from_secs(8));
    full.mul_f64(1.0 - 0.25 * dice.roll())
}

/// Numbers in `[0, 1)` for spreading load; no secret depends on them.
pub(crate) struct Dice(u64);

impl Dice {
    /// The random bits of a version 7 UUID are seed enough.
    pub(crate) fn seeded(id: &str) -> Dice {
        Dice(id.bytes().fold(0x9e37_79b9_7f4a_7c15, |seed, byte| {
            (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }

    /// SplitMix64.
    pub(crate) fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
        let fraction = (z >> 11) as f64;
        fraction / 9_007_199_254_740_992.0
    }
}

#[cfg(test)]
mod tests {
    use tollway_model::Kind;

    use super::*;

    fn facts() -> Facts {
        Facts {
            tried: 0,
            retries: 2,
            forced: false,
            leaves: false,
            weighted_failover: false,
            shortest_pause: Duration::ZERO,
            deadline: Instant::now() + Duration::from_secs(600),
        }
    }

    /// The first of `deployments` fails for the first time.
    fn check(error: &Error, facts: &Facts, deployments: usize, expected: Next) {
        let mut tries = vec![Try::default(); deployments];
        let got = decide(&mut tries, 0, error, facts, &|_| false, &|_| true, &mut Dice(1), Instant::now());
        assert_eq!(got, expected, "{error} {facts:?}");
    }

    fn error(kind: Kind) -> Error {
        Error::new(kind, "x").with_origin(tollway_model::Origin::Upstream)
    }

    fn asked(millis: u64) -> Error {
        error(Kind::RateLimit).with_retry(Retry::Later(Some(Duration::from_millis(millis))))
    }

    #[test]
    fn retries_happen_where_they_can_help() {
        let refused = error(Kind::Authentication).with_retry(Retry::Elsewhere);
        let never = Next::GiveUp("gave up: trying again cannot help");
        check(&error(Kind::InvalidRequest), &facts(), 2, never);
        check(&error(Kind::RateLimit), &facts(), 2, Next::Elsewhere(1));
        check(&refused, &facts(), 2, Next::Elsewhere(1));
        check(&refused, &facts(), 1, Next::GiveUp("gave up: there is no other deployment"));
        check(&asked(3_000), &facts(), 1, Next::Again(0, Duration::from_secs(3)));
        check(&asked(0), &facts(), 1, Next::Again(0, SHORTEST_PAUSE));
        check(&asked(61_000), &facts(), 1, Next::GiveUp("gave up: the provider asks for a longer pause"));
        check(&asked(61_000), &facts(), 2, Next::Elsewhere(1));
        check(&asked(3_000), &Facts { tried: 2, ..facts() }, 1, Next::GiveUp("gave up: no retry left"));
        check(&asked(3_000), &Facts { retries: 0, ..facts() }, 2, Next::GiveUp("gave up: retries are off"));
    }

    #[test]
    fn the_operators_policy_is_the_last_word() {
        let forced = Facts { forced: true, retries: 1, ..facts() };
        let refused = error(Kind::InvalidRequest).with_retry(Retry::Never);
        check(&refused, &forced, 2, Next::Elsewhere(1));
        let patient = Facts { shortest_pause: Duration::from_secs(4), ..facts() };
        check(&asked(1_000), &patient, 1, Next::Again(0, Duration::from_secs(4)));
        let weighted = Facts { weighted_failover: true, retries: 0, ..facts() };
        check(&error(Kind::Upstream), &weighted, 2, Next::Elsewhere(1));
        check(&error(Kind::Upstream), &weighted, 1, Next::GiveUp("gave up: retries are off"));
        let leaves = Facts { leaves: true, ..facts() };
        let left = Next::GiveUp("gave up: another model is to take this kind of failure");
        check(&error(Kind::ContextWindow), &leaves, 2, left);
    }

    #[test]
    fn a_deadline_ends_it() {
        let soon = Facts { deadline: Instant::now() + Duration::from_secs(2), ..facts() };
        check(&asked(3_000), &soon, 1, Next::GiveUp(TOO_LATE));
        check(&asked(3_000), &soon, 2, Next::Elsewhere(1));
        let past = Facts { deadline: Instant::now(), ..facts() };
        check(&error(Kind::RateLimit), &past, 2, Next::GiveUp("gave up: the call's time is over"));
    }

    #[test]
    fn a_budget_ends_repeats_and_nothing_else() {
        let mut tries = vec![Try::default(); 2];
        let now = Instant::now();
        let mut step = |failed, tried| {
            let facts = Facts { tried, retries: 9, ..facts() };
            decide(
                &mut tries,
                failed,
                &error(Kind::Upstream),
                &facts,
                &|_| false,
                &|_| false,
                &mut Dice(1),
                now,
            )
        };
        assert_eq!(step(0, 0), Next::Elsewhere(1));
        let over = Next::GiveUp("gave up: too many calls were tried again there in the last minute");
        assert_eq!(step(1, 1), over);
    }

    #[test]
    fn those_that_do_not_rest_and_have_failed_least_are_tried_again_first() {
        let now = Instant::now();
        let mut tries =
            vec![Try { count: 2, ..Try::default() }, Try { count: 1, ..Try::default() }, Try::default()];
        let mut step = |failed, rests: &dyn Fn(usize) -> bool| {
            let facts = Facts { retries: 9, ..facts() };
            match decide(&mut tries, failed, &asked(100), &facts, rests, &|_| true, &mut Dice(1), now) {
                Next::Elsewhere(index) | Next::Again(index, _) => index,
                Next::GiveUp(why) => panic!("{why}"),
            }
        };
        assert_eq!(step(1, &|_| false), 2, "the fresh one");
        assert_eq!(step(2, &|_| false), 2, "failed once, the others twice");
        assert_eq!(step(2, &|index| index != 1), 1, "the only one that does not rest");
    }

    #[test]
    fn pauses_grow_and_stay_bounded() {
        let mut dice = Dice::seeded("x");
        for (tried, full) in [(0, 500), (1, 1000), (2, 2000), (4, 8000), (30, 8000)] {
            let pause = backoff(tried, &mut dice).as_millis();
            assert!(pause <= full && pause >= full * 3 / 4, "{tried}: {pause}");
        }
    }

    #[test]
    fn dice_are_even() {
        let mut dice = Dice::seeded("0193-x");
        let high = (0..10_000).filter(|_| dice.roll() >= 0.5).count();
        assert!((4800..5200).contains(&high), "{high}");
    }
}

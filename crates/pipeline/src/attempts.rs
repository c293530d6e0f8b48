//! The attempts of a call: which deployment next, when, and when to give up.
//!
//! One owner of retries and one deadline for all of them. Everything here happens before the caller has seen a byte,
//! so trying again is safe.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tollway::Timeouts;
use tollway::exchange::{Lane, Prepared, Refused, prepare, send};
use tollway_model::{Dialect, Error, Kind, Notices, Retry};
use tollway_providers::Endpoint;
use tollway_route::{Deployment, Plan};

use crate::answer::{Opened, Showing, open};
use crate::call::Call;
use crate::serve::Gateway;
use crate::settings::Settings;
use crate::ticket::{Ticket, attempt_record};

/// The winning attempt.
pub(crate) struct Won {
    pub(crate) deployment: Arc<Deployment>,
    pub(crate) opened: Opened,
}

/// Longest pause that a provider's `Retry-After` can ask for; beyond it the call fails instead.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Shortest pause before the same deployment is tried again, whatever its `Retry-After` says.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

/// Tries the plan's deployments until one answers.
pub(crate) async fn run(
    gateway: &Gateway,
    settings: &Settings,
    call: &Call,
    plan: Plan,
    ticket: &mut Ticket,
    showing: &Showing,
) -> Result<Won, Error> {
    for skipped in plan.skipped {
        ticket.skip(skipped.deployment.id.clone(), skipped.reason);
    }
    let mut dice = Dice::seeded(&call.id);
    let mut tried = 0_u32;
    let mut next = 0;
    let mut deadline = None;
    loop {
        let Some(deployment) = plan.candidates.get(next) else {
            return Err(Error::new(
                Kind::Unavailable,
                format!("no deployment of {} can be called", call.ask.model),
            ));
        };
        let Some(endpoint) = deployment.endpoint() else {
            next += 1;
            continue;
        };
        let timeouts = timeouts(settings, deployment, call);
        let longest = timeouts.total.min(settings.call_time);
        let deadline = *deadline.get_or_insert(call.started + longest);
        let left = if tried == 0 { longest } else { deadline.saturating_duration_since(Instant::now()) };
        let timeouts = Timeouts { first_byte: timeouts.first_byte.min(left), ..timeouts };
        let drop_params = call.control.drop_params.or(deployment.drop_params).unwrap_or(settings.drop_params);
        let rules = Rules { timeouts, drop_params };
        let result = attempt(gateway, call, deployment, endpoint, &rules, ticket, showing).await;
        let error = match result {
            Ok(opened) => return Ok(Won { deployment: deployment.clone(), opened }),
            Err(error) => error,
        };
        let retries = call.control.retries.or(deployment.retries).unwrap_or(settings.retries);
        let elsewhere = (next + 1 < plan.candidates.len()).then_some(next + 1);
        match decide(&error, tried, retries, elsewhere, &mut dice) {
            Next::GiveUp(why) => {
                ticket.then(why.to_owned());
                return Err(error);
            }
            Next::Elsewhere(index) => {
                ticket.then("tried the next deployment".to_owned());
                next = index;
            }
            Next::Again(pause) => {
                if Instant::now() + pause >= deadline {
                    ticket.then("gave up: the call's deadline would pass during the pause".to_owned());
                    return Err(error);
                }
                ticket.then(format!("tried again after {} ms", pause.as_millis()));
                tokio::time::sleep(pause).await;
                ticket.paused(pause);
            }
        }
        tried += 1;
    }
}

/// What holds for one attempt: the caller's word counts more than the deployment's, the deployment's more than the
/// settings'.
struct Rules {
    timeouts: Timeouts,
    /// Leave out what the provider cannot do instead of failing.
    drop_params: bool,
}

async fn attempt(
    gateway: &Gateway,
    call: &Call,
    deployment: &Arc<Deployment>,
    endpoint: &Endpoint,
    rules: &Rules,
    ticket: &mut Ticket,
    showing: &Showing,
) -> Result<Opened, Error> {
    let begun = Instant::now();
    let since = begun.saturating_duration_since(ticket.started());
    let prepared = prepare(endpoint, &call.ask, &deployment.defaults, rules.drop_params);
    let Prepared { request, lane, notices } = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            let record = attempt_record(deployment, None, since, begun.elapsed(), Some(&error));
            ticket.attempt(record, Duration::ZERO);
            return Err(error);
        }
    };
    let target = match &lane {
        Lane::Verbatim => None,
        Lane::Translated { target, .. } => Some(*target),
    };
    let sent = Instant::now();
    let result = receive(gateway, call, endpoint, request, lane, &rules.timeouts, showing).await;
    let waited = sent.elapsed();
    let result = result.map_err(|Refused { error, headers }| {
        ticket.refused(headers);
        error
    });
    let error = result.as_ref().err();
    ticket.attempt(attempt_record(deployment, target, since, begun.elapsed(), error), waited);
    if let Ok(opened) = &result {
        let mut all: Notices = notices;
        if let Opened::Complete { notices, .. } = opened {
            all.extend(notices.clone());
        }
        ticket.answering(deployment.prices.clone(), all);
    }
    result
}

async fn receive(
    gateway: &Gateway,
    call: &Call,
    endpoint: &Endpoint,
    request: http::Request<tollway_wire::json::Pieces>,
    lane: Lane,
    timeouts: &Timeouts,
    showing: &Showing,
) -> Result<Opened, Refused> {
    let target = match &lane {
        Lane::Verbatim => call.ask.surface,
        Lane::Translated { target, .. } => *target,
    };
    match send(&gateway.transport, endpoint, request, target, timeouts).await {
        Ok(received) => Ok(open(received, lane, &call.ask, showing).await?),
        Err(refused) => {
            log_refusal(&refused.error, target);
            Err(refused)
        }
    }
}

/// The parts of an error that the caller must not see are for the operator's log.
fn log_refusal(error: &Error, target: Dialect) {
    if !tracing::enabled!(target: "tollway::attempt", tracing::Level::DEBUG) {
        return;
    }
    let context: Vec<String> = error.context().iter().map(|(key, value)| format!("{key}={value}")).collect();
    tracing::debug!(target: "tollway::attempt", dialect = target.name(), kind = error.kind().code(), context = context.join(" "), "attempt failed");
}

/// The caller's timeout wins over the deployment's, the deployment's over the settings'.
fn timeouts(settings: &Settings, deployment: &Deployment, call: &Call) -> Timeouts {
    let total = call.control.timeout.or(deployment.total_timeout).unwrap_or(settings.timeouts.total);
    let first_byte =
        deployment.first_byte_timeout.filter(|_| call.ask.stream).unwrap_or(settings.timeouts.first_byte);
    Timeouts { first_byte: first_byte.min(total), idle: settings.timeouts.idle.min(total), total }
}

#[derive(Debug, PartialEq)]
enum Next {
    GiveUp(&'static str),
    Elsewhere(usize),
    Again(Duration),
}

/// What to do about a failed attempt. `tried` counts the attempts before this one.
fn decide(error: &Error, tried: u32, retries: u32, elsewhere: Option<usize>, dice: &mut Dice) -> Next {
    if tried >= retries {
        return Next::GiveUp(if retries == 0 {
            "gave up: retries are off"
        } else {
            "gave up: no retry left"
        });
    }
    match (error.retry(), elsewhere) {
        (Retry::Never, _) => Next::GiveUp("gave up: trying again cannot help"),
        (_, Some(index)) => Next::Elsewhere(index),
        (Retry::Elsewhere, None) => Next::GiveUp("gave up: there is no other deployment"),
        (Retry::Later(asked), None) => match asked {
            Some(pause) if pause > LONGEST_RETRY_AFTER => {
                Next::GiveUp("gave up: the provider asks for a longer pause")
            }
            Some(pause) => Next::Again(pause.max(SHORTEST_PAUSE)),
            None => Next::Again(backoff(tried, dice)),
        },
    }
}

/// 0.5 s, 1 s, 2 s … at most 8 s, shortened by up to a quarter so that callers do not come back together.
fn backoff(tried: u32, dice: &mut Dice) -> Duration {
    let full = Duration::from_millis(500).saturating_mul(1 << tried.min(4)).min(Duration::from_secs(8));
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
    use super::*;

    fn check(error: Error, tried: u32, elsewhere: Option<usize>, expected: Next) {
        let mut dice = Dice(1);
        let got = decide(&error, tried, 2, elsewhere, &mut dice);
        match (&got, &expected) {
            (Next::GiveUp(_), Next::GiveUp(_)) => {}
            _ => assert_eq!(got, expected, "{error}"),
        }
    }

    #[test]
    fn retries_happen_where_they_can_help() {
        let give_up = || Next::GiveUp("");
        check(Error::invalid("bad"), 0, Some(1), give_up());
        check(Error::new(Kind::RateLimit, "slow"), 0, Some(1), Next::Elsewhere(1));
        check(
            Error::new(Kind::Authentication, "key").with_retry(Retry::Elsewhere),
            0,
            Some(1),
            Next::Elsewhere(1),
        );
        check(Error::new(Kind::Authentication, "key").with_retry(Retry::Elsewhere), 0, None, give_up());
        let asked = |seconds| {
            Error::new(Kind::RateLimit, "slow").with_retry(Retry::Later(Some(Duration::from_secs(seconds))))
        };
        check(asked(3), 0, None, Next::Again(Duration::from_secs(3)));
        check(asked(0), 0, None, Next::Again(SHORTEST_PAUSE));
        check(asked(61), 0, None, give_up());
        check(asked(3), 2, None, give_up());
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

//! Why nothing of a group could be tried, as errors for the caller.

use std::time::Duration;

use tollway_model::{Error, Kind, Origin, Retry};
use tollway_route::{Denied, Reason};

use super::walk::Leg;

/// Is this a deployment that cannot do what the call asks for?
pub(super) fn is_unable(error: &Error) -> bool {
    error.kind() == Kind::Unsupported && error.origin() != Origin::Upstream
}

/// Why nothing of a group could be tried, as an error for the caller.
pub(super) fn refusal(leg: &Leg<'_>) -> Error {
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
    if !skipped.is_empty() && skipped.iter().all(|one| matches!(one.reason, Reason::Region(_))) {
        // Not the caller's fault alone: a group that it falls back to may be there.
        let error = Error::new(Kind::Permission, message).with_origin(Origin::Gateway);
        return error.with_param("model").with_retry(Retry::Never);
    }
    Error::new(Kind::Unavailable, message).with_param("model").with_retry(Retry::Never)
}

/// Every deployment has had its requests or tokens of this minute.
pub(super) fn used_up(leg: &Leg<'_>, millis: u64) -> Error {
    let message = format!("the requests or tokens a minute of every deployment of {} are used up", leg.group);
    Error::new(Kind::RateLimit, message)
        .with_origin(Origin::Gateway)
        .with_retry(Retry::Later(Some(Duration::from_millis(millis))))
}

//! The headers of an answer that the gateway adds.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use tollway_model::{Dialect, Money};
use tollway_route::Deployment;
use tollway_wire::Framing;

use crate::answer::Showing;
use crate::attempts::Won;
use crate::call::Call;
use crate::caller::Caller;
use crate::clock::millis_text;
use crate::headers::{self, set};
use crate::snapshot::Snapshot;
use crate::ticket::Ticket;

pub(super) fn common_headers(out: &mut HeaderMap, call: &Call) {
    set(out, headers::CALL_ID, call.shown_id());
    set(out, headers::LITELLM_VERSION, HeaderValue::from_static(headers::VERSION));
    id_headers(out, call.ask.surface, &call.id);
}

/// Where the receipt is found, also under the name by which each dialect's clients look for the id of a call.
pub(crate) fn id_headers(out: &mut HeaderMap, surface: Dialect, id: &str) {
    let request_id = match surface {
        Dialect::Anthropic => headers::ANTHROPIC_REQUEST_ID,
        _ => headers::REQUEST_ID,
    };
    if let Ok(id) = HeaderValue::try_from(id) {
        out.insert(headers::RECEIPT, id.clone());
        out.insert(request_id, id);
    }
}

/// What the caller's key has spent since ever; of a key with a budget, [`admission::limit_headers`] tells afterwards what
/// counts there.
pub(super) fn key_spend_header(out: &mut HeaderMap, ticket: &Ticket) {
    set_key_spend(out, ticket.key_spend());
}

pub(super) fn set_key_spend(out: &mut HeaderMap, spend: Option<Money>) {
    if let Some(spend) = spend {
        set(out, headers::KEY_SPEND, spend.to_string());
    }
}

pub(super) fn deployment_headers(out: &mut HeaderMap, deployment: &Deployment, caller: &Caller) {
    set(out, headers::MODEL_ID, deployment.id.as_ref());
    set(out, headers::MODEL_GROUP, deployment.group.as_ref());
    // Where a deployment is, is the operator's business only.
    if caller.is_admin()
        && let Some(endpoint) = deployment.endpoint()
    {
        set(out, headers::MODEL_API_BASE, endpoint.base());
    }
}

/// What it took to get the answer.
pub(super) fn recovery_headers(
    out: &mut HeaderMap,
    won: &Won,
    snapshot: &Snapshot,
    call: &Call,
    ticket: &Ticket,
) {
    let retries = ticket.retries();
    if retries > 0 {
        set(out, headers::RETRIES, HeaderValue::from(retries));
        // Another order of the group is tried where no retry is allowed, too.
        if won.max_retries > 0 {
            set(out, headers::MAX_RETRIES, HeaderValue::from(won.max_retries));
        }
    }
    if won.fallbacks > 0 {
        set(out, headers::FALLBACKS, HeaderValue::from(won.fallbacks));
    }
    if won.failures.is_empty() {
        return;
    }
    if call.control.include_fallback_errors || snapshot.settings.recovery.tell_failures {
        let failures = won.failures.iter().map(|failure| (failure.group.as_ref(), &failure.error));
        set(out, headers::FALLBACK_ERRORS, headers::failures_text(failures));
    }
}

pub(super) fn notice_header(out: &mut HeaderMap, ticket: &Ticket) {
    if !ticket.notices().is_empty() {
        set(out, headers::NOTICES, headers::notices_text(ticket.notices().iter()));
    }
}

pub(super) fn timing_headers(out: &mut HeaderMap, took: Duration, overhead: Duration) {
    set(out, headers::DURATION, millis_text(took));
    set(out, headers::OVERHEAD, millis_text(overhead));
}

pub(super) fn json_headers(out: &mut HeaderMap) {
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
}

pub(super) fn stream_headers(out: &mut HeaderMap, showing: &Showing) {
    let kind = match showing.framing {
        Framing::Sse => "text/event-stream; charset=utf-8",
        Framing::JsonArray => "application/json",
    };
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    out.insert(headers::ACCEL_BUFFERING, HeaderValue::from_static("no"));
}

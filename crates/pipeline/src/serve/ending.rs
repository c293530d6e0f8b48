//! What the caller gets in the end: an answer with its headers, or an error in its own dialect.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tollway_model::{Cost, Dialect, Error, Kind, Money, Result};
use tollway_wire::codec;

use super::answer_headers::*;
use crate::admission::{self, Refusal};
use crate::answer::{Opened, Showing};
use crate::attempts::Won;
use crate::call::Call;
use crate::caller::Caller;
use crate::headers::{self, set};
use crate::reply::{Reply, ReplyBody, StreamReply};
use crate::snapshot::Snapshot;
use crate::ticket::Ticket;

/// What the caller gets when the attempts are over.
pub(super) fn reply(
    won: Result<Won>,
    snapshot: &Snapshot,
    call: &Call,
    caller: &Caller,
    showing: Showing,
    mut ticket: Ticket,
) -> Reply {
    let won = match won {
        Ok(won) => won,
        Err(error) => return refuse(error.into(), call, ticket),
    };
    let took = ticket.first_byte();
    let allowances = ticket.allowances();
    let mut out = HeaderMap::with_capacity(24 + 8 * allowances.len());
    common_headers(&mut out, call);
    deployment_headers(&mut out, &won.deployment, caller);
    recovery_headers(&mut out, &won, snapshot, call, &ticket);
    let showing = won.showing.unwrap_or(showing);
    match won.opened {
        Opened::Complete { body, settlement, headers, .. } => {
            headers::copy_provider_headers(&headers, &mut out);
            json_headers(&mut out);
            let overhead = ticket.overhead(took);
            notice_header(&mut out, &ticket);
            let held = ticket.held();
            let cost = ticket.answered(settlement);
            timing_headers(&mut out, took, overhead);
            // What was held is part of what is spent, until the cost takes its place.
            let change = cost.known().map_or(Money::ZERO, |money| money - held);
            key_spend_header(&mut out, &ticket);
            admission::limit_headers(&allowances, change, &mut out);
            if let Cost::Known(money) = cost {
                set(&mut out, headers::COST, money.to_string());
            }
            Reply { status: StatusCode::OK, headers: out, body: ReplyBody::full(body) }
        }
        Opened::Stream { first, source, headers } => {
            headers::copy_provider_headers(&headers, &mut out);
            key_spend_header(&mut out, &ticket);
            admission::limit_headers(&allowances, Money::ZERO, &mut out);
            stream_headers(&mut out, &showing);
            notice_header(&mut out, &ticket);
            timing_headers(&mut out, took, ticket.overhead(took));
            let stream = StreamReply::streaming(first, source, showing, ticket, snapshot.settings.keep_alive);
            Reply { status: StatusCode::OK, headers: out, body: ReplyBody::Stream(Box::new(stream)) }
        }
    }
}

pub(super) fn refuse(refusal: Refusal, call: &Call, mut ticket: Ticket) -> Reply {
    let Refusal { error, headers, .. } = refusal;
    let (retries, fallbacks) = (ticket.retries(), ticket.fallbacks());
    ticket.failed(&error, error.status());
    let mut reply = render_error(&error, call.ask.surface);
    reply.headers.extend(headers);
    if let Some(provider) = ticket.refusal() {
        headers::copy_provider_headers(provider, &mut reply.headers);
    }
    common_headers(&mut reply.headers, call);
    key_spend_header(&mut reply.headers, &ticket);
    if retries > 0 {
        set(&mut reply.headers, headers::RETRIES, HeaderValue::from(retries));
    }
    if fallbacks > 0 {
        set(&mut reply.headers, headers::FALLBACKS, HeaderValue::from(fallbacks));
    }
    reply
}

/// An error in the caller's own dialect.
pub fn render_error(error: &Error, surface: Dialect) -> Reply {
    // Messages quote what was wrong, and errors are logged and passed on by whoever gets them.
    let error = &error.rewritten(hide_keys);
    let mut out = HeaderMap::with_capacity(8);
    json_headers(&mut out);
    if let tollway_model::Retry::Later(Some(pause)) = error.retry() {
        set(&mut out, header::RETRY_AFTER, HeaderValue::from(pause.as_secs().max(1)));
    }
    if error.kind() == Kind::Authentication && error.origin() == tollway_model::Origin::Caller {
        out.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    // The official clients try again by themselves unless they are told that it cannot help.
    if error.retry() == tollway_model::Retry::Never {
        out.insert(headers::SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    set(&mut out, headers::LITELLM_VERSION, HeaderValue::from_static(headers::VERSION));
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Reply { status, headers: out, body: ReplyBody::full(codec(surface).encode_error(error)) }
}

/// `text` with `sk-***` for every virtual key in it.
pub(super) fn hide_keys(text: &str) -> Cow<'_, str> {
    const START: &str = "sk-";
    /// Shorter words are none.
    const SHORTEST: usize = 12;
    if !text.contains(START) {
        return Cow::Borrowed(text);
    }
    let mut hidden = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(START) {
        let (before, found) = rest.split_at(at);
        hidden.push_str(before);
        let word =
            |character: char| character.is_ascii_alphanumeric() || character == '-' || character == '_';
        let (key, after) = found.split_at(found.find(|character| !word(character)).unwrap_or(found.len()));
        let begins = !before.ends_with(|character: char| character.is_ascii_alphanumeric());
        hidden.push_str(if begins && key.len() >= SHORTEST { "sk-***" } else { key });
        rest = after;
    }
    hidden.push_str(rest);
    Cow::Owned(hidden)
}

/// A whole JSON answer of the gateway itself.
pub fn json_reply(status: StatusCode, value: &serde_json::Value) -> Reply {
    let mut out = HeaderMap::with_capacity(4);
    json_headers(&mut out);
    Reply { status, headers: out, body: ReplyBody::full(Bytes::from(value.to_string())) }
}

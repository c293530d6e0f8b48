//! What is left of the caller's limits, in the answer's headers.

use std::fmt::Write as _;
use std::sync::LazyLock;

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue};
use tollway_meters::{AllowanceState, ScopeKind};
use tollway_model::Money;

use crate::clock::unix_millis;
use crate::headers;

/// What is left of the caller's limits, as LiteLLM's clients read it by scope and OpenAI's for the tightest.
///
/// What the key has spent includes this call's likely cost; `change` is what the real one, once it is known, adds to that.
pub(crate) fn limit_headers(states: &[AllowanceState], change: Money, out: &mut HeaderMap) {
    if states.is_empty() {
        return;
    }
    let mut numbers = Numbers { text: BytesMut::with_capacity(states.len() * 64 + 128), out };
    key_headers(states, change, &mut numbers);
    let mut requests: Option<(u64, u64, i64)> = None;
    let mut tokens: Option<(u64, u64, i64)> = None;
    for state in states {
        let Some(names) = LIMIT_NAMES.of_scope(state.scope.kind) else { continue };
        for ([limit_name, left_name], pair) in
            names.iter().zip([state.requests, state.tokens, state.parallel, state.day])
        {
            let Some((limit, left)) = pair else { continue };
            numbers.add_whole(limit_name, limit, "");
            numbers.add_whole(left_name, left, "");
        }
        let tighter = |known: Option<(u64, u64, i64)>, pair: Option<(u64, u64)>| match (known, pair) {
            (Some(known), Some((_, left))) if known.1 <= left => Some(known),
            (_, Some((limit, left))) => Some((limit, left, state.resets_at)),
            (known, None) => known,
        };
        requests = tighter(requests, state.requests);
        tokens = tighter(tokens, state.tokens);
    }
    let now = unix_millis();
    for ([limit_name, left_name, reset_name], tightest) in LIMIT_NAMES.tightest.iter().zip([requests, tokens])
    {
        let Some((limit, left, resets_at)) = tightest else { continue };
        let seconds = (resets_at - now).max(0).div_euclid(1000).unsigned_abs();
        numbers.add_whole(limit_name, limit, "");
        numbers.add_whole(left_name, left, "");
        numbers.add_whole(reset_name, seconds, "s");
    }
}

/// The key's own limits and what it has spent of its budget, as LiteLLM's clients read them.
fn key_headers(states: &[AllowanceState], change: Money, numbers: &mut Numbers<'_>) {
    let Some(key) = states.iter().find(|state| state.scope.kind == ScopeKind::Key) else { return };
    if let Some((max, used)) = key.budget {
        numbers.add_money(&headers::KEY_SPEND, used + change);
        numbers.add_money(&headers::KEY_MAX_BUDGET, max);
    }
    for (name, limit) in [(headers::KEY_TPM, key.tokens), (headers::KEY_RPM, key.requests)] {
        if let Some((limit, _)) = limit {
            numbers.add_whole(&name, limit, "");
        }
    }
}

/// Numbers for headers, written into one buffer that all of them share: there are two dozen for every limited call.
struct Numbers<'a> {
    text: BytesMut,
    out: &'a mut HeaderMap,
}

impl Numbers<'_> {
    fn add_whole(&mut self, name: &HeaderName, number: u64, unit: &str) {
        self.text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        self.text.extend_from_slice(unit.as_bytes());
        self.set(name);
    }

    fn add_money(&mut self, name: &HeaderName, money: Money) {
        // Writing into memory cannot fail.
        let _ = write!(self.text, "{money}");
        self.set(name);
    }

    fn set(&mut self, name: &HeaderName) {
        if let Ok(value) = HeaderValue::from_maybe_shared(self.text.split().freeze()) {
            self.out.insert(name, value);
        }
    }
}

/// The names of [`limit_headers`], made once: every limited call carries two dozen of them.
struct LimitNames {
    /// By kind of scope: limit and rest of requests, of tokens, of places, of tokens a day.
    scopes: [(ScopeKind, [[HeaderName; 2]; 4]); ScopeKind::ALL.len()],
    /// Limit, rest and reset of requests, of tokens.
    tightest: [[HeaderName; 3]; 2],
}

static LIMIT_NAMES: LazyLock<LimitNames> = LazyLock::new(|| {
    // Made once and kept for ever: a copy of a static name costs nothing.
    let name = |text: String| HeaderName::from_static(text.leak());
    let of_scope = |kind: ScopeKind| {
        let names = ["requests", "tokens", "max_parallel_requests", "tokens_per_day"].map(|what| {
            ["limit", "remaining"].map(|which| name(format!("x-ratelimit-{}-{which}-{what}", kind.name())))
        });
        (kind, names)
    };
    LimitNames {
        scopes: ScopeKind::ALL.map(of_scope),
        tightest: ["requests", "tokens"].map(|what| {
            ["limit", "remaining", "reset"].map(|which| name(format!("x-ratelimit-{which}-{what}")))
        }),
    }
});

impl LimitNames {
    fn of_scope(&self, kind: ScopeKind) -> Option<&[[HeaderName; 2]; 4]> {
        self.scopes.iter().find(|(one, _)| *one == kind).map(|(_, names)| names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_tell_every_scope_and_the_tightest() {
        let state = |kind, left| AllowanceState {
            scope: tollway_meters::Scope { kind, id: "x".into() },
            requests: Some((100, left)),
            tokens: None,
            parallel: Some((7, 6)),
            day: (kind == ScopeKind::Key).then_some((1_000, 900)),
            budget: None,
            resets_at: 0,
        };
        let mut out = HeaderMap::new();
        limit_headers(&[state(ScopeKind::Key, 90), state(ScopeKind::Team, 80)], Money::ZERO, &mut out);
        let mut told: Vec<String> = out
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or_default()))
            .collect();
        told.sort_unstable();
        assert_eq!(
            told,
            [
                "x-litellm-key-rpm-limit: 100",
                "x-ratelimit-api_key-limit-max_parallel_requests: 7",
                "x-ratelimit-api_key-limit-requests: 100",
                "x-ratelimit-api_key-limit-tokens_per_day: 1000",
                "x-ratelimit-api_key-remaining-max_parallel_requests: 6",
                "x-ratelimit-api_key-remaining-requests: 90",
                "x-ratelimit-api_key-remaining-tokens_per_day: 900",
                "x-ratelimit-limit-requests: 100",
                "x-ratelimit-remaining-requests: 80",
                "x-ratelimit-reset-requests: 0s",
                "x-ratelimit-team-limit-max_parallel_requests: 7",
                "x-ratelimit-team-limit-requests: 100",
                "x-ratelimit-team-remaining-max_parallel_requests: 6",
                "x-ratelimit-team-remaining-requests: 80",
            ]
        );
        for (kind, names) in &LIMIT_NAMES.scopes {
            assert!(names.iter().flatten().all(|name| name.as_str().contains(kind.name())), "{kind:?}");
        }
    }
}

//! What a call will probably use, before it is sent: the size of its hold.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use memchr::memmem;
use tollway_meters::{Claim, Demand};
use tollway_model::{Dialect, Money, Operation, Usage};
use tollway_prices::{Facts, PriceSheet};
use tollway_route::Candidate;
use tollway_wire::json::Envelope;

use crate::call::Call;

/// Bytes of a prompt that make a token, in the likely case. English prose has 4 to 5, code and JSON 3 to 4.
const BYTES_PER_TOKEN: u64 = 4;

/// What a picture counts for, where its size is not known.
const TOKENS_PER_IMAGE: u64 = 1_000;

/// Output of a call that names no limit, as long as nothing is known of its key and model.
const FIRST_GUESS: u64 = 1_024;

/// Output that is held in the worst case where neither the call nor the model has a limit.
const LARGEST_OUTPUT: u64 = 128_000;

/// A call's size before it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    /// Prompt tokens, likely.
    pub(crate) input: u64,
    /// Prompt tokens, at most: no tokenizer makes more tokens than there are bytes.
    pub(crate) most_input: u64,
    /// The caller's own limit of output tokens.
    pub(crate) limit: Option<u64>,
    /// Answers asked for.
    pub(crate) answers: u64,
}

impl Size {
    /// Reads it from the request's top level.
    pub(crate) fn of(call: &Call) -> Size {
        let body = &call.ask.envelope;
        let (text, media) = split(body.body());
        let images = media * TOKENS_PER_IMAGE;
        let (limit, answers) = bounds(call.ask.surface, body);
        let is_generating = matches!(call.ask.operation, Operation::Chat | Operation::Completion);
        Size {
            input: text / BYTES_PER_TOKEN + images + 1,
            most_input: text + images * 4,
            limit: if is_generating { limit } else { Some(0) },
            answers,
        }
    }
}

impl Size {
    /// Is its output guessed from nothing? `usual` is what such calls emit; a caller's own small limit is no guess.
    pub(crate) fn is_guess(&self, usual: Option<u64>) -> bool {
        usual.is_none() && self.limit.is_none_or(|limit| limit > FIRST_GUESS)
    }
}

/// The caller's limit of output tokens and the answers it asks for, from the fields of its own dialect: another dialect's
/// limit nothing, and must not make the hold small. Of two limits the larger counts.
fn bounds(surface: Dialect, body: &Envelope) -> (Option<u64>, u64) {
    let fields: &[&str] = match surface {
        Dialect::OpenaiChat => &["max_completion_tokens", "max_tokens"],
        Dialect::OpenaiResponses => &["max_output_tokens"],
        Dialect::Gemini => return generation_bounds(body),
        _ => &["max_tokens"],
    };
    let answers = ["n", "best_of"].into_iter().filter_map(|field| body.u64(field)).max();
    (fields.iter().filter_map(|field| body.u64(field)).max(), answers.unwrap_or(1).max(1))
}

/// Gemini's clients have them one level deeper.
fn generation_bounds(body: &Envelope) -> (Option<u64>, u64) {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Generation {
        #[serde(alias = "max_output_tokens")]
        max_output_tokens: Option<u64>,
        #[serde(alias = "candidate_count")]
        candidate_count: Option<u64>,
    }
    let found = ["generationConfig", "generation_config"]
        .into_iter()
        .find_map(|field| body.read::<Generation>(field).ok().flatten());
    found.map_or((None, 1), |found| (found.max_output_tokens, found.candidate_count.unwrap_or(1).max(1)))
}

/// Bytes that are text, and how many media the body carries. Base64 is no text.
fn split(body: &[u8]) -> (u64, u64) {
    let mut text = body.len() as u64;
    let mut media = 0;
    // Nothing worth looking for fits into less.
    if body.len() < 2048 {
        return (text, media);
    }
    for begin in memmem::find_iter(body, b";base64,") {
        let rest = body.get(begin..).unwrap_or_default();
        let end = memchr::memchr(b'"', rest).unwrap_or(rest.len());
        text = text.saturating_sub(end as u64);
        media += 1;
    }
    // Anthropic's and Gemini's: the whole member is the data.
    for begin in memmem::find_iter(body, b"\"data\":") {
        let rest = body.get(begin + 7..).unwrap_or_default();
        let Some(open) = rest.iter().position(|byte| !byte.is_ascii_whitespace()) else { continue };
        if rest.get(open) != Some(&b'"') {
            continue;
        }
        let value = rest.get(open + 1..).unwrap_or_default();
        let end = memchr::memchr(b'"', value).unwrap_or(value.len());
        if end > 512 && !value.get(..end).unwrap_or_default().contains(&b' ') {
            text = text.saturating_sub(end as u64);
            media += 1;
        }
    }
    (text, media)
}

/// What a call will probably use. `sheets` are the prices of the deployments that may serve it; `None` among them: unknown.
///
/// In `strict` the worst case: every byte of the prompt a token, the whole limit of output used, at the dearest
/// deployment. Otherwise the likely one: `usual` output tokens, at the first. Free is only what all of them charge nothing
/// for.
pub(crate) fn demand<'p>(
    size: &Size,
    sheets: impl Iterator<Item = Option<&'p PriceSheet>>,
    usual: Option<u64>,
    model_limit: Option<u64>,
    strict: bool,
    at: i64,
) -> Demand {
    let most = size.limit.or(model_limit);
    let output = match (strict, most) {
        (true, most) => most.unwrap_or(LARGEST_OUTPUT),
        (false, Some(most)) => usual.unwrap_or(FIRST_GUESS).min(most),
        (false, None) => usual.unwrap_or(FIRST_GUESS),
    };
    let usage = Usage {
        input: if strict { size.most_input } else { size.input },
        output: output.saturating_mul(size.answers),
        ..Usage::default()
    };
    let facts = Facts { at: Some(at / 1000), ..Facts::default() };
    let mut money = Money::ZERO;
    let mut free = None;
    for (index, sheet) in sheets.enumerate() {
        let known = sheet.and_then(|sheet| tollway_prices::cost(sheet, &usage, &facts).total.known());
        if strict || index == 0 {
            money = money.max(known.unwrap_or(Money::ZERO));
        }
        // Any of them may have to answer, so the call is free only where all of them are.
        free = Some(free != Some(false) && known == Some(Money::ZERO));
        if !strict && free == Some(false) {
            break;
        }
    }
    Demand { tokens: usage.input.saturating_add(usage.output), money, free: free == Some(true) }
}

/// What a likely demand may take of the smallest limit, as a part of it: a whole one that nothing was used of is there
/// to be used.
pub(crate) const WHOLE: i64 = 1;

/// The same for a guess from nothing. Otherwise a small limit that no call was counted on yet would refuse all of them,
/// and nothing would ever be learned.
pub(crate) const FOURTH: i64 = 4;

/// A demand that takes at most one `part`th of the smallest limit, or what the `prompt` alone needs.
pub(crate) fn modest(likely: Demand, prompt: impl FnOnce() -> Demand, claims: &[Claim], part: i64) -> Demand {
    let tokens = claims.iter().filter_map(|claim| claim.limits.tpm).min();
    let tokens = tokens.map_or(u64::MAX, |most| most / part.unsigned_abs());
    let budgets = claims.iter().flat_map(|claim| &claim.limits.budgets).filter_map(|budget| budget.max);
    let money = budgets.min().map_or(Money::MAX, |most| Money::from_nanos(most.nanos() / part));
    if likely.tokens <= tokens && likely.money <= money {
        return likely;
    }
    let prompt = prompt();
    Demand {
        tokens: likely.tokens.min(tokens.max(prompt.tokens)),
        // A budget of nothing still refuses.
        money: likely.money.min(money.max(prompt.money).max(Money::from_nanos(1))),
        ..likely
    }
}

/// What calls of a key usually emit, by model: a level that rises at once to the largest seen and sinks slowly, so about
/// the 99th percentile of recent calls. Bounded: a slot is taken over by whoever hashes to it.
#[derive(Debug)]
pub(crate) struct Usual {
    hasher: RandomState,
    slots: Box<[Mutex<(u64, u64)>]>,
}

/// Slots of [`Usual`]: 16 thousand times 32 bytes.
const SLOTS: usize = 1 << 14;

impl Default for Usual {
    fn default() -> Self {
        Usual { hasher: RandomState::new(), slots: (0..SLOTS).map(|_| Mutex::default()).collect() }
    }
}

impl Usual {
    fn slot(&self, key: &str, model: &str) -> Option<(u64, &Mutex<(u64, u64)>)> {
        let hash = self.hasher.hash_one((key, model)).max(1);
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits choose the slot")]
        let index = hash as usize % SLOTS;
        Some((hash, self.slots.get(index)?))
    }

    /// What calls of `key` with `model` usually emit; `None` when none was seen lately.
    pub(crate) fn get(&self, key: &str, model: &str) -> Option<u64> {
        let (hash, slot) = self.slot(key, model)?;
        let slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        (slot.0 == hash).then_some(slot.1)
    }

    /// A call emitted so many tokens.
    pub(crate) fn saw(&self, key: &str, model: &str, output: u64) {
        let Some((hash, slot)) = self.slot(key, model) else { return };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = match *slot {
            (owner, level) if owner == hash && output < level => {
                (hash, level - (level - output).div_ceil(64))
            }
            _ => (hash, output),
        };
    }
}

/// The deployments' prices.
pub(crate) fn sheets(candidates: &[Candidate]) -> impl Iterator<Item = Option<&PriceSheet>> {
    candidates.iter().map(|candidate| candidate.deployment.prices.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_not_counted_as_text() {
        let data = "A".repeat(100_000);
        for body in [
            format!(r#"{{"image_url":{{"url":"data:image/png;base64,{data}"}}}}"#),
            format!(r#"{{"source":{{"type":"base64","data": "{data}"}}}}"#),
        ] {
            let (text, media) = split(body.as_bytes());
            assert!(text < 200, "{text}");
            assert_eq!(media, 1);
        }
        let prose = format!(r#"{{"data": "{}"}}"#, "some words ".repeat(1000));
        assert_eq!(split(prose.as_bytes()), (prose.len() as u64, 0));
    }

    #[test]
    fn what_is_usual_rises_at_once_and_sinks_slowly() {
        let usual = Usual::default();
        assert_eq!(usual.get("k", "m"), None);
        usual.saw("k", "m", 100);
        usual.saw("k", "m", 1000);
        usual.saw("k", "m", 100);
        let level = usual.get("k", "m").unwrap();
        assert!((900..1000).contains(&level), "{level}");
        (0..2000).for_each(|_| usual.saw("k", "m", 100));
        assert_eq!(usual.get("k", "m"), Some(100));
        assert_eq!(usual.get("k", "other"), None);
    }

    #[test]
    fn a_large_limit_does_not_hold_a_large_sum() {
        let size = Size { input: 100, most_input: 400, limit: Some(64_000), answers: 1 };
        let likely = demand(&size, std::iter::once(None), Some(500), None, false, 0);
        assert_eq!(likely.tokens, 600);
        let worst = demand(&size, std::iter::once(None), Some(500), None, true, 0);
        assert_eq!(worst.tokens, 64_400);
        assert!(!worst.free, "an unknown price is not free");
    }

    #[test]
    fn a_guess_from_nothing_leaves_room_in_small_limits() {
        use tollway_meters::{Budget, Limits, Scope, ScopeKind, Window};
        let claim = |tpm: Option<u64>, max: Option<i64>| Claim {
            scope: Scope { kind: ScopeKind::Key, id: "k".into() },
            limits: std::sync::Arc::new(Limits {
                tpm,
                budgets: max
                    .map(|max| Budget {
                        window: Window::Lifetime,
                        max: Some(Money::from_nanos(max)),
                        soft: None,
                    })
                    .into_iter()
                    .collect(),
                ..Limits::default()
            }),
        };
        let of = |tokens, nanos| Demand { tokens, money: Money::from_nanos(nanos), free: false };
        let check = |claims: &[Claim], expected: (u64, i64)| {
            let found = modest(of(1_044, 5_000), || of(20, 100), claims, FOURTH);
            assert_eq!((found.tokens, found.money.nanos()), expected);
        };
        check(&[], (1_044, 5_000));
        check(&[claim(Some(1_000_000), Some(1_000_000))], (1_044, 5_000));
        check(&[claim(Some(400), None), claim(Some(4_000), Some(4_000))], (100, 1_000));
        // What the prompt needs is no guess.
        check(&[claim(Some(40), Some(40))], (20, 100));
        let whole = modest(of(1_044, 5_000), || of(20, 100), &[claim(Some(400), Some(4_000))], WHOLE);
        assert_eq!((whole.tokens, whole.money.nanos()), (400, 4_000), "what is likely takes all there is");
        let free_prompt = modest(of(1_044, 5_000), || of(20, 0), &[claim(None, Some(0))], WHOLE);
        assert_eq!(free_prompt.money.nanos(), 1, "a budget of nothing refuses");
    }

    #[test]
    fn a_call_is_free_only_where_every_deployment_is() {
        let sheet = |price: u8| {
            let text = format!(
                "model_list:\n  - {{model_name: m, litellm_params: {{model: openai/m, api_key: k, \
                 input_cost_per_token: {price}, output_cost_per_token: {price}}}}}\n"
            );
            let group = crate::snapshot::tests::snapshot_of(&text).resolve("m").unwrap();
            PriceSheet::clone(group[0].prices.as_deref().unwrap())
        };
        let (free, paid) = (sheet(0), sheet(1));
        let size = Size { input: 100, most_input: 400, limit: Some(10), answers: 1 };
        for strict in [false, true] {
            let check = |sheets: &[Option<&PriceSheet>], expected: bool| {
                let found = demand(&size, sheets.iter().copied(), None, None, strict, 0);
                assert_eq!(found.free, expected, "{strict} {}", sheets.len());
            };
            check(&[Some(&free)], true);
            check(&[Some(&free), Some(&free)], true);
            check(&[Some(&free), Some(&paid)], false);
            check(&[Some(&free), None], false);
            check(&[Some(&paid), Some(&free)], false);
            check(&[], false);
        }
    }

    #[test]
    fn only_the_fields_of_the_callers_dialect_limit_the_output() {
        let check = |surface, body: &str, expected: (Option<u64>, u64)| {
            let body = Envelope::parse(body.to_owned().into(), 64).unwrap();
            assert_eq!(bounds(surface, &body), expected, "{surface:?} {:?}", body.body());
        };
        check(Dialect::OpenaiChat, r#"{"max_completion_tokens":1,"max_tokens":9,"n":3}"#, (Some(9), 3));
        check(Dialect::OpenaiChat, r#"{"max_output_tokens":1,"maxOutputTokens":1}"#, (None, 1));
        check(Dialect::OpenaiText, r#"{"max_tokens":7,"best_of":4,"n":2}"#, (Some(7), 4));
        check(Dialect::Anthropic, r#"{"max_completion_tokens":1,"max_tokens":64000}"#, (Some(64_000), 1));
        check(Dialect::OpenaiResponses, r#"{"max_output_tokens":5,"max_tokens":1}"#, (Some(5), 1));
        check(
            Dialect::Gemini,
            r#"{"max_tokens":1,"generationConfig":{"maxOutputTokens":8,"candidateCount":2}}"#,
            (Some(8), 2),
        );
        check(Dialect::Gemini, r#"{"contents":[]}"#, (None, 1));
    }
}

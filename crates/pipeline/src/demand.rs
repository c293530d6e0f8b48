//! What a call will probably use, before it is sent: the size of its hold.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use memchr::memmem;
use tollway::exchange::Ask;
use tollway_meters::{Claim, Demand};
use tollway_model::{Content, Dialect, MediaSource, Money, Operation, Part, Request, Usage};
use tollway_prices::{Facts, PriceSheet};
use tollway_route::Deployment;
use tollway_wire::hosted::{self, Runs, Way};
use tollway_wire::json::Envelope;

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
    pub(crate) fn of(ask: &Ask) -> Size {
        let body = &ask.envelope;
        let (text, media) = split(body);
        let images = media * TOKENS_PER_IMAGE;
        let (limit, answers) = bounds(ask.surface, body);
        let is_generating = matches!(ask.operation, Operation::Chat | Operation::Completion);
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

/// Keys that URLs with data in them are given under, in any dialect.
const URL_KEYS: [&str; 7] = ["url", "image_url", "file_data", "file_url", "video_url", "image", "uri"];

/// Bytes that are text, and how many media the body carries. Base64 is no text.
fn split(envelope: &Envelope) -> (u64, u64) {
    let body = envelope.body();
    let mut text = body.len() as u64;
    let mut media = 0;
    // Nothing worth looking for fits into less.
    if body.len() < 2048 {
        return (text, media);
    }
    let has_urls = URL_KEYS.into_iter().any(|key| envelope.may_have_key(key));
    let in_urls = if has_urls { body.as_ref() } else { &[] };
    for begin in memmem::find_iter(in_urls, b";base64,") {
        let rest = body.get(begin..).unwrap_or_default();
        let end = memchr::memchr(b'"', rest).unwrap_or(rest.len());
        text = text.saturating_sub(end as u64);
        media += 1;
    }
    // Anthropic's and Gemini's: the whole member is the data.
    let in_members = if envelope.may_have_key("data") { body.as_ref() } else { &[] };
    for begin in memmem::find_iter(in_members, b"\"data\":") {
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

/// A deployment that may serve a call: what decides the most that it can cost there.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Offer<'p> {
    /// `None`: unknown.
    pub(crate) prices: Option<&'p PriceSheet>,
    /// Most tokens the model takes.
    pub(crate) most_input: Option<u64>,
    /// Most tokens it gives.
    pub(crate) most_output: Option<u64>,
    /// How often the provider may run tools of its own; looked at for the worst case only.
    pub(crate) runs: Runs,
}

impl<'p> Offer<'p> {
    pub(crate) fn of(deployment: &'p Deployment) -> Offer<'p> {
        Offer {
            prices: deployment.prices.as_deref(),
            most_input: deployment.max_input_tokens,
            most_output: deployment.info.get("max_output_tokens").and_then(serde_json::Value::as_u64),
            runs: Runs::Never,
        }
    }

    /// With what the worst case of this call depends on there.
    pub(crate) fn at_worst(deployment: &'p Deployment, ask: &Ask) -> Offer<'p> {
        Offer { runs: runs(deployment, ask), ..Offer::of(deployment) }
    }

    /// Is there a bound to what a call costs here?
    pub(crate) fn is_bounded(&self, worst: Worst) -> bool {
        match self.runs {
            Runs::AnyNumber => false,
            Runs::AtMost(1..) => self.most_input.is_some(),
            Runs::AtMost(0) | Runs::Never => !worst.links || self.most_input.is_some(),
        }
    }
}

/// How often the provider of a deployment may run tools of its own for a call.
fn runs(deployment: &Deployment, ask: &Ask) -> Runs {
    let Some(endpoint) = deployment.endpoint() else { return Runs::Never };
    if endpoint.provider().searches_unasked {
        return Runs::AnyNumber;
    }
    let fields = ["tools", "web_search_options"];
    let is_set = |(name, _): &(String, _)| fields.contains(&name.as_str());
    if deployment.defaults.iter().any(is_set) {
        return Runs::AnyNumber;
    }
    let Some((_, target)) = endpoint.lane(ask.operation, ask.surface) else { return Runs::Never };
    // Servers that Anthropic calls by itself.
    if target == Dialect::Anthropic && ask.envelope.has("mcp_servers") {
        return Runs::AnyNumber;
    }
    if !fields.into_iter().any(|field| ask.envelope.may_have_key(field)) {
        return Runs::Never;
    }
    // What cannot be read can be anything.
    let Ok(request) = ask.request() else { return Runs::AnyNumber };
    let capabilities = endpoint.capabilities();
    let most = ask.envelope.u64("max_tool_calls");
    hosted::runs(request, &Way { target, verbatim: target == ask.surface, capabilities, most })
}

/// How a demand is worked out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// Output tokens that such a call usually gives.
    pub(crate) usual: Option<u64>,
    /// The worst case is wanted, and this is what it depends on.
    pub(crate) worst: Option<Worst>,
    /// When the call arrived, milliseconds since 1970.
    pub(crate) at: i64,
}

/// What can make a call dearer than its length says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Worst {
    /// It carries pictures, sound or files.
    pub(crate) media: bool,
    /// It names some by address or id, so nobody here knows how large they are.
    pub(crate) links: bool,
    /// Its provider may serve it in a dearer, faster tier.
    pub(crate) priority: bool,
}

impl Worst {
    pub(crate) fn of(ask: &Ask) -> Worst {
        let body = &ask.envelope;
        // Unless the caller says otherwise, the provider's own settings decide, which nobody here knows.
        let tier = body.str("service_tier");
        let priority = !matches!(tier.as_deref(), Some("default" | "flex" | "standard" | "standard_only"));
        let may_link = [&b"://"[..], b"file"].iter().any(|mark| memmem::find(body.body(), mark).is_some());
        let links = may_link && ask.request().is_ok_and(has_links);
        Worst { media: links || split(body).1 > 0, links, priority }
    }
}

/// Does it name media that the gateway does not see?
fn has_links(request: &Request) -> bool {
    request.messages.iter().flat_map(|message| &message.parts).any(is_link)
}

fn is_link(part: &Part) -> bool {
    match &part.content {
        Content::Image(media) | Content::Audio(media) | Content::Video(media) | Content::File(media) => {
            matches!(media.source, MediaSource::Url(_) | MediaSource::FileId(_))
        }
        Content::ToolResult(result) => result.parts.iter().any(is_link),
        _ => false,
    }
}

/// What a call will probably use at the deployments that may serve it.
///
/// In the worst case: every byte of the prompt a token, the whole limit of output used, and both at the highest price that
/// the dearest deployment may ask. Otherwise the likely one: the usual output tokens, at the first. Free is only what all
/// of them charge nothing for.
pub(crate) fn demand<'p>(size: &Size, offers: impl Iterator<Item = Offer<'p>>, terms: &Terms) -> Demand {
    let mut found = Demand::default();
    let mut free = None;
    for (index, offer) in offers.enumerate() {
        let usage = usage_at(size, &offer, terms);
        let known = offer.prices.and_then(|sheet| match terms.worst {
            Some(worst) => dearest(sheet, size, &usage, &offer, worst, terms.at),
            None => cost(sheet, &usage, None, terms.at),
        });
        if terms.worst.is_some() || index == 0 {
            found.tokens = found.tokens.max(usage.input.saturating_add(usage.output));
            found.money = found.money.max(known.unwrap_or(Money::ZERO));
        }
        // Any of them may have to answer, so the call is free only where all of them are.
        free = Some(free != Some(false) && known == Some(Money::ZERO));
        if terms.worst.is_none() && free == Some(false) {
            break;
        }
    }
    Demand { free: free == Some(true), ..found }
}

/// Plain input and output at one deployment.
fn usage_at(size: &Size, offer: &Offer<'_>, terms: &Terms) -> Usage {
    let most = size.limit.or(offer.most_output);
    let output = match (terms.worst, most) {
        (Some(_), most) => most.unwrap_or(LARGEST_OUTPUT),
        (None, Some(most)) => terms.usual.unwrap_or(FIRST_GUESS).min(most),
        (None, None) => terms.usual.unwrap_or(FIRST_GUESS),
    };
    let input = if terms.worst.is_some() { size.most_input } else { size.input };
    Usage { input, output: output.saturating_mul(size.answers), ..Usage::default() }
}

fn cost(sheet: &PriceSheet, usage: &Usage, tier: Option<&str>, at: i64) -> Option<Money> {
    let facts = Facts { service_tier: tier, at: Some(at / 1000), ..Facts::default() };
    tollway_prices::cost(sheet, usage, &facts).total.known()
}

/// The most that a call can cost by a sheet: its prompt written to a cache or heard as sound, its answer thought or spoken,
/// in the fastest tier. Media that nobody here can measure fill the whole context window; what a tool of the provider's own
/// found does so once more for every time it may run, and each time costs its fee.
fn dearest(
    sheet: &PriceSheet,
    size: &Size,
    usage: &Usage,
    offer: &Offer<'_>,
    worst: Worst,
    at: i64,
) -> Option<Money> {
    let window = offer.most_input.unwrap_or(0);
    let input = if worst.media { usage.input.max(window) } else { size.most_input };
    let (input, web_searches) = match offer.runs {
        Runs::AtMost(most @ 1..) => (input.max(window).saturating_mul(most.saturating_add(1)), most),
        _ => (input, 0),
    };
    // Where a search has no price, its cost is unknown, and the rest is held all the same.
    let is_sold = cost(sheet, &Usage { web_searches, ..*usage }, None, at).is_some();
    let rest = Usage { input: 0, web_searches: if is_sold { web_searches } else { 0 }, ..*usage };
    let mut inputs = vec![
        Usage { input, ..rest },
        Usage { cache_write: input, ..rest },
        Usage { cache_write_1h: input, ..rest },
    ];
    if worst.media {
        inputs.push(Usage { audio_input: input, ..rest });
        inputs.push(Usage { image_input: input, ..rest });
        inputs.push(Usage { video_input: input, ..rest });
    }
    let priority = sheet.services.contains_key(PRIORITY) && worst.priority;
    let tiers = [None, priority.then_some(PRIORITY)];
    let most = |usage: &Usage| tiers.iter().filter_map(|tier| cost(sheet, usage, *tier, at)).max();
    // What cannot be priced in one way may be in another; without a plain price nothing is known.
    most(&Usage { input, ..rest })?;
    let dearest_input = inputs.into_iter().max_by_key(|usage| most(usage))?;
    let silent = Usage { output: 0, ..dearest_input };
    let output = usage.output;
    let outputs =
        [dearest_input, Usage { reasoning: output, ..silent }, Usage { audio_output: output, ..silent }];
    outputs.iter().filter_map(most).max()
}

/// The dearer tier, as the models table names it.
const PRIORITY: &str = "priority";

/// What a likely demand may take of the smallest limit, as a part of it: a whole one that nothing was used of is there
/// to be used.
pub(crate) const WHOLE: i64 = 1;

/// The same for a guess from nothing. Otherwise a small limit that no call was counted on yet would refuse all of them,
/// and nothing would ever be learned.
pub(crate) const FOURTH: i64 = 4;

/// A demand that takes at most one `part`th of the smallest limit, or what the `prompt` alone needs.
pub(crate) fn modest(likely: Demand, prompt: impl FnOnce() -> Demand, claims: &[Claim], part: i64) -> Demand {
    let limits = claims.iter().flat_map(|claim| [claim.limits.tpm, claim.limits.tokens_a_day()]);
    let tokens = limits.flatten().min();
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
            let (text, media) = split(&Envelope::parse(body.into(), 64).unwrap());
            assert!(text < 200, "{text}");
            assert_eq!(media, 1);
        }
        let prose = format!(r#"{{"data": "{}"}}"#, "some words ".repeat(1000));
        let length = prose.len() as u64;
        assert_eq!(split(&Envelope::parse(prose.into(), 64).unwrap()), (length, 0));
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
        let unknown = Offer::default();
        let terms = |worst| Terms { usual: Some(500), worst, at: 0 };
        let likely = demand(&size, std::iter::once(unknown), &terms(None));
        assert_eq!(likely.tokens, 600);
        let worst = demand(&size, std::iter::once(unknown), &terms(Some(Worst::default())));
        assert_eq!(worst.tokens, 64_400);
        assert!(!worst.free, "an unknown price is not free");
    }

    /// The prices of a deployment that asks `price` dollars for every token, and more as `more` says.
    fn sheet(price: &str, more: &str) -> PriceSheet {
        let text = format!(
            "model_list:\n  - {{model_name: m, litellm_params: {{model: openai/m, api_key: k, \
             input_cost_per_token: {price}, output_cost_per_token: {price}{more}}}}}\n"
        );
        let group = crate::snapshot::tests::snapshot_of(&text).resolve("m").unwrap();
        PriceSheet::clone(group[0].prices.as_deref().unwrap())
    }

    #[test]
    fn the_worst_case_is_at_the_highest_price_that_may_be_asked() {
        let size = Size { input: 100, most_input: 400, limit: Some(10), answers: 1 };
        let check = |more: &str, worst: Worst, window: Option<u64>, dollars: i64| {
            let prices = sheet("1", more);
            let offer = Offer { prices: Some(&prices), most_input: window, ..Offer::default() };
            let terms = Terms { usual: None, worst: Some(worst), at: 0 };
            let found = demand(&size, std::iter::once(offer), &terms);
            assert_eq!(found.money, Money::from_dollars(dollars), "{more} {worst:?} {window:?}");
        };
        let plain = Worst::default();
        let fast = Worst { priority: true, ..plain };
        let linked = Worst { media: true, links: true, priority: false };
        check("", plain, Some(1000), 410);
        check(", cache_creation_input_token_cost: 2", plain, None, 810);
        check(", cache_creation_input_token_cost_above_1hr: 3", plain, None, 1210);
        check(", output_cost_per_reasoning_token: 5", plain, None, 450);
        let priority = ", input_cost_per_token_priority: 4, output_cost_per_token_priority: 2";
        check(priority, plain, None, 410);
        check(priority, fast, None, 1620);
        check("", linked, Some(1000), 1010);
        check(", input_cost_per_audio_token: 2", linked, Some(1000), 2010);
        check("", linked, None, 410);
    }

    #[test]
    fn the_dearest_deployment_counts_in_the_worst_case_and_the_first_in_the_likely_one() {
        let size = Size { input: 100, most_input: 400, limit: Some(10), answers: 2 };
        let (cheap, dear) = (sheet("1", ""), sheet("2", ""));
        let offers = [&cheap, &dear].map(|sheet| Offer { prices: Some(sheet), ..Offer::default() });
        let money = |worst| demand(&size, offers.into_iter(), &Terms { usual: None, worst, at: 0 }).money;
        assert_eq!(money(None), Money::from_dollars(120));
        assert_eq!(money(Some(Worst::default())), Money::from_dollars(840));
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
        let (free, paid) = (sheet("0", ""), sheet("1", ""));
        let size = Size { input: 100, most_input: 400, limit: Some(10), answers: 1 };
        for worst in [None, Some(Worst::default())] {
            let check = |sheets: &[Option<&PriceSheet>], expected: bool| {
                let offer = |prices: &_| Offer { prices: *prices, ..Offer::default() };
                let terms = Terms { usual: None, worst, at: 0 };
                let found = demand(&size, sheets.iter().map(offer), &terms);
                assert_eq!(found.free, expected, "{worst:?} {}", sheets.len());
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

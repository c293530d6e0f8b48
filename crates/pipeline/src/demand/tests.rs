use tollway_model::Dialect;
use tollway_wire::json::Envelope;

use super::size::{bounds, split};
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
                .map(|max| Budget { window: Window::Lifetime, max: Some(Money::from_nanos(max)), soft: None })
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

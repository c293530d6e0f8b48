use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::Catalog;
use crate::sheet::Rates;

/// A sheet of token prices in picodollars.
fn sheet(prices: &[(Rate, i64)]) -> PriceSheet {
    let tokens = prices.iter().map(|(rate, picos)| (*rate, Price::from_picos(*picos))).collect();
    PriceSheet { base: Rates { tokens, units: BTreeMap::new() }, ..PriceSheet::default() }
}

fn units(prices: &[(&str, i64)]) -> PriceSheet {
    let units = prices.iter().map(|(name, picos)| ((*name).to_owned(), Price::from_picos(*picos))).collect();
    PriceSheet { base: Rates { tokens: BTreeMap::new(), units }, ..PriceSheet::default() }
}

fn check(sheet: &PriceSheet, usage: Usage, facts: &Facts<'_>, nanos: i64) {
    assert_eq!(cost(sheet, &usage, facts).total, Cost::Known(Money::from_nanos(nanos)));
}

/// The cost is unknown because of `unpriced`.
fn check_unknown(sheet: &PriceSheet, usage: Usage, facts: &Facts<'_>, unpriced: &[Bucket]) {
    let breakdown = cost(sheet, &usage, facts);
    assert_eq!(breakdown.total, Cost::Unknown, "{breakdown:?}");
    assert_eq!(breakdown.unpriced, unpriced);
}

const PLAIN: Facts<'static> = Facts {
    service_tier: None,
    batch: false,
    at: None,
    geography: None,
    regional_endpoint: false,
    search_context: None,
    cached_audio: 0,
    cached_image: 0,
    explicit_cache: false,
    video_output: 0,
    citation_tokens: 0,
    characters_in: 0,
    characters_out: 0,
    requests: 1,
    images_in: 0,
    images_out: 0,
    image_size: None,
    pixels: 0,
    audio_in_millis: 0,
    audio_out_millis: 0,
    video_in_millis: 0,
    video_out_millis: 0,
    video_resolution: None,
    compute_millis: 0,
    pages: 0,
    annotation_pages: 0,
    ocr_credits: 0,
    queries: 0,
    results: 0,
    maps_queries: 0,
    text_messages: 0,
    code_sessions: 0,
    guardrail_units: &[],
};

#[test]
fn the_plain_facts_are_the_default() {
    assert_eq!(Facts::default(), PLAIN);
}

#[test]
fn the_sum_is_rounded_once_and_half_to_even() {
    let sheet = sheet(&[(Rate::In, 300), (Rate::Out, 200)]);
    // Each line alone rounds to nothing.
    check(&sheet, Usage { input: 1, output: 2, ..Usage::default() }, &PLAIN, 1);
    check(&sheet, Usage { input: 1, output: 1, ..Usage::default() }, &PLAIN, 0);
    check(&sheet, Usage { input: 5, ..Usage::default() }, &PLAIN, 2);
    check(&sheet, Usage { output: 1_000_000_000_000, ..Usage::default() }, &PLAIN, 200_000_000_000);
}

#[test]
fn a_fraction_of_a_picodollar_counts_at_the_half() {
    let mut sheet = sheet(&[(Rate::In, 500)]);
    // 500 rounds to the even 0; 550 is above the half; 450 below.
    check(&sheet, Usage { input: 1, ..Usage::default() }, &PLAIN, 0);
    sheet.multipliers.insert("eu".into(), crate::Ratio { numerator: 5001, denominator: 5000 });
    check(&sheet, Usage { input: 1, ..Usage::default() }, &Facts { geography: Some("eu"), ..PLAIN }, 1);
    sheet.multipliers.insert("eu".into(), crate::Ratio { numerator: 4999, denominator: 5000 });
    check(&sheet, Usage { input: 3, ..Usage::default() }, &Facts { geography: Some("eu"), ..PLAIN }, 1);
}

#[test]
fn an_unknown_price_is_not_zero_and_zero_is_not_unknown() {
    let usage = Usage { input: 10, output: 5, ..Usage::default() };
    check_unknown(&PriceSheet::default(), usage, &PLAIN, &[Bucket::Input, Bucket::Output]);
    check_unknown(&PriceSheet::default(), Usage::default(), &PLAIN, &[]);
    check_unknown(&sheet(&[(Rate::In, 1000)]), usage, &PLAIN, &[Bucket::Output]);
    check_unknown(
        &sheet(&[(Rate::DbuIn, 5), (Rate::DbuOut, 5)]),
        usage,
        &PLAIN,
        &[Bucket::Input, Bucket::Output],
    );
    check(&sheet(&[(Rate::In, 0), (Rate::Out, 0)]), usage, &PLAIN, 0);
    check(&sheet(&[(Rate::In, 1000)]), Usage::default(), &PLAIN, 0);
}

#[test]
fn searches_and_guardrails_without_a_price_make_the_cost_unknown() {
    let tokens = sheet(&[(Rate::In, 1000), (Rate::Out, 1000)]);
    let searched = Usage { input: 1, web_searches: 1, ..Usage::default() };
    check_unknown(&tokens, searched, &PLAIN, &[Bucket::WebSearches]);
    let facts = Facts { guardrail_units: &[("moon", 1)], ..PLAIN };
    check_unknown(&units(&[("guardrail@topic", 5)]), Usage::default(), &facts, &[Bucket::GuardrailUnits]);
    assert_eq!(cost(&tokens, &searched, &PLAIN).priced_part(), Money::from_nanos(1));
}

#[test]
fn media_that_nothing_charges_makes_the_cost_unknown() {
    let tokens = sheet(&[(Rate::In, 1000)]);
    let facts = Facts { images_out: 1, ..PLAIN };
    check_unknown(&tokens, Usage::default(), &facts, &[Bucket::ImagesOut]);
    check_unknown(&units(&[("image_out", 7)]), Usage::default(), &PLAIN, &[]);
    check_unknown(
        &tokens,
        Usage::default(),
        &Facts { audio_in_millis: 5, ..PLAIN },
        &[Bucket::AudioSecondsIn],
    );
}

#[test]
fn tokens_of_a_model_sold_by_units_are_paid_for_by_the_units() {
    let usage = Usage { input: 10, image_output: 100, ..Usage::default() };
    check(&units(&[("image_out", 40_000)]), usage, &Facts { images_out: 2, ..PLAIN }, 80);
    check(&units(&[("second_out", 1_000_000)]), usage, &Facts { compute_millis: 1500, ..PLAIN }, 1500);
    check(&units(&[("request", 9000)]), usage, &PLAIN, 9);
}

#[test]
fn bills_are_written_with_the_names_usage_has() {
    let breakdown =
        cost(&sheet(&[(Rate::In, 1000)]), &Usage { cache_write_1h: 2, ..Usage::default() }, &PLAIN);
    let json = serde_json::to_string(&breakdown).unwrap();
    let line = r#"{"bucket":"cache_write_1h","count":2,"per":1,"price":1000,"factor":[1,1]}"#;
    assert_eq!(json, format!(r#"{{"lines":[{line}],"unpriced":[],"total":{{"known":2}}}}"#));
    assert_eq!(serde_json::from_str::<Breakdown>(&json).unwrap(), breakdown);
}

#[test]
fn time_is_not_charged_beside_tokens() {
    let mut sheet = sheet(&[(Rate::In, 1000), (Rate::Out, 1000)]);
    sheet.base.units.insert("second_in".into(), Price::from_picos(1_000_000));
    let usage = Usage { input: 3, output: 1, ..Usage::default() };
    check(&sheet, usage, &Facts { compute_millis: 9000, audio_in_millis: 5000, ..PLAIN }, 4);
}

fn any_usage() -> impl Strategy<Value = Usage> {
    let tokens = || 0_u64..400_000;
    (tokens(), tokens(), tokens(), tokens(), tokens(), tokens(), tokens(), tokens()).prop_map(
        |(input, cache_read, cache_write, cache_write_1h, audio_input, image_input, output, reasoning)| {
            Usage {
                input,
                cache_read,
                cache_write,
                cache_write_1h,
                audio_input,
                image_input,
                output,
                reasoning,
                ..Usage::default()
            }
        },
    )
}

fn add(a: Usage, b: Usage) -> Usage {
    Usage {
        input: a.input + b.input,
        cache_read: a.cache_read + b.cache_read,
        cache_write: a.cache_write + b.cache_write,
        cache_write_1h: a.cache_write_1h + b.cache_write_1h,
        audio_input: a.audio_input + b.audio_input,
        image_input: a.image_input + b.image_input,
        output: a.output + b.output,
        reasoning: a.reasoning + b.reasoning,
        ..Usage::default()
    }
}

/// The exact sum of the lines, in thousandths of picodollars.
fn exact(breakdown: &Breakdown) -> i128 {
    breakdown.lines.iter().map(|line| line.picos()).map(|(amount, divisor)| amount * 1000 / divisor).sum()
}

/// Chat models of the table, picked so that all kinds of layers are among them.
fn models() -> &'static [PriceSheet] {
    static MODELS: std::sync::OnceLock<Vec<PriceSheet>> = std::sync::OnceLock::new();
    let chat = |entry: &crate::Entry| matches!(entry.mode.as_deref(), Some("chat" | "responses"));
    MODELS.get_or_init(|| {
        let catalog = Catalog::builtin();
        let sheets = catalog.entries().filter(chat).map(|entry| entry.prices);
        let (layered, plain): (Vec<_>, Vec<_>) = sheets.partition(|sheet| {
            !(sheet.tiers.is_empty() && sheet.ranges.is_empty() && sheet.services.is_empty())
        });
        layered.into_iter().step_by(11).chain(plain.into_iter().step_by(29)).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn lines_sum_to_the_total_and_count_every_token(usage in any_usage(), batch: bool) {
        for sheet in models() {
            let breakdown = cost(sheet, &usage, &Facts { batch, ..PLAIN });
            let Cost::Known(total) = breakdown.total else { continue };
            prop_assert_eq!(total, breakdown.priced_part());
            let picos = exact(&breakdown);
            prop_assert!((i128::from(total.nanos()) * 1_000_000 - picos).abs() <= 500_000);
            let counted: u64 = breakdown.lines.iter().filter(|line| line.bucket != Bucket::Requests).map(|line| line.count).sum();
            prop_assert_eq!(counted, usage.total());
        }
    }

    #[test]
    fn cost_is_additive_where_no_layer_depends_on_size(one in any_usage(), two in any_usage()) {
        for sheet in models() {
            if !sheet.tiers.is_empty() || !sheet.ranges.is_empty() || sheet.base.units.contains_key("request") {
                continue;
            }
            let of = |usage: Usage| exact(&cost(sheet, &usage, &PLAIN));
            prop_assert_eq!(of(one) + of(two), of(add(one, two)));
        }
    }

    #[test]
    fn more_usage_never_costs_less(one in any_usage(), two in any_usage()) {
        for sheet in models() {
            let less = cost(sheet, &one, &PLAIN).total.known();
            let more = cost(sheet, &add(one, two), &PLAIN).total.known();
            if let (Some(less), Some(more)) = (less, more) {
                prop_assert!(less <= more);
            }
        }
    }

    #[test]
    fn huge_counts_saturate(count: u64) {
        let usage = Usage { input: count, output: count, cache_read: count, ..Usage::default() };
        let sheet = sheet(&[(Rate::In, i64::MAX), (Rate::Out, i64::MAX)]);
        prop_assert!(cost(&sheet, &usage, &PLAIN).total.known().is_some());
    }
}

/// What a call of this mode uses.
fn typical(mode: &str) -> (Usage, Facts<'static>) {
    let prompt = Usage { input: 1000, ..Usage::default() };
    let none = Usage::default();
    match mode {
        "embedding" => (prompt, Facts { queries: 1, images_in: 1, ..PLAIN }),
        "rerank" => (prompt, Facts { queries: 1, ..PLAIN }),
        "search" | "vector_store" => (none, Facts { queries: 1, ..PLAIN }),
        "audio_transcription" => (Usage { output: 10, ..prompt }, Facts { audio_in_millis: 1000, ..PLAIN }),
        "audio_speech" => {
            let usage = Usage { audio_output: 10, ..prompt };
            (usage, Facts { characters_in: 100, audio_out_millis: 1000, images_out: 1, ..PLAIN })
        }
        "image_generation" | "image_edit" => {
            let usage = Usage { image_output: 1000, ..prompt };
            (usage, Facts { images_out: 1, pixels: 1_000_000, ..PLAIN })
        }
        "video_generation" => {
            (none, Facts { video_out_millis: 1000, images_out: 1, audio_out_millis: 1000, ..PLAIN })
        }
        "ocr" => (none, Facts { pages: 1, annotation_pages: 1, ocr_credits: 1, ..PLAIN }),
        "guardrail" => (none, Facts { guardrail_units: &[("topicPolicyUnits", 1)], ..PLAIN }),
        _ => {
            let usage = Usage { cache_read: 100, output: 100, ..prompt };
            let text = Facts { characters_in: 4000, characters_out: 400, compute_millis: 1000, ..PLAIN };
            (usage, Facts { audio_in_millis: 10, video_in_millis: 10, images_in: 1, ..text })
        }
    }
}

#[test]
fn every_model_is_priced_or_unknown_for_a_reason() {
    let (mut priced, mut unpriced, mut unexplained) = (0, 0, Vec::new());
    for entry in Catalog::builtin().entries() {
        let (usage, facts) = typical(entry.mode.as_deref().unwrap_or("chat"));
        match cost(&entry.prices, &usage, &facts).total {
            Cost::Known(_) => priced += 1,
            Cost::Unknown if entry.prices.is_empty() => unpriced += 1,
            Cost::Unknown => unexplained.push(entry.id.clone()),
        }
    }
    assert!(priced > 4000, "{priced}");
    assert!(unpriced < 200, "{unpriced}");
    // A cache price alone prices no call; containers are sold by the session.
    let known =
        ["azure/container", "fireworks_ai/accounts/fireworks/models/minimax-m2p7", "openai/container"];
    assert_eq!(unexplained, known);
}

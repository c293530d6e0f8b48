use super::*;
use crate::{Catalog, Facts, cost};
use tollway_model::{Cost, Money, Usage};

/// What `usage` costs at gpt-4o with these overrides, in dollars.
fn check(pairs: &[(&str, &str)], usage: Usage, dollars: &str) {
    let entry = Catalog::builtin().get("gpt-4o").unwrap();
    let sheet = Overrides::parse(pairs.iter().copied()).unwrap().prices(&entry.prices);
    let total = cost(&sheet, &usage, &Facts::default()).total;
    assert_eq!(total, Cost::Known(Money::parse_dollars(dollars).unwrap()), "{pairs:?}");
}

fn check_refused(key: &str, text: &str, expected: &str) {
    let error = Overrides::parse([(key, text)]).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

const USAGE: Usage = Usage {
    input: 1000,
    cache_read: 1000,
    cache_write: 0,
    cache_write_1h: 0,
    audio_input: 0,
    image_input: 0,
    video_input: 0,
    output: 100,
    reasoning: 0,
    audio_output: 0,
    image_output: 0,
    accepted_prediction: 0,
    rejected_prediction: 0,
    web_searches: 0,
    estimated: false,
};

#[test]
fn stated_prices_replace_the_tables() {
    // The table: 1000 × 2.5 + 1000 × 1.25 + 100 × 10, all per million.
    check(&[], USAGE, "0.00475");
    check(&[("cache_read_input_token_cost", "0.000001")], USAGE, "0.0045");
    check(&[("output_cost_per_token", "2e-05")], USAGE, "0.00575");
}

#[test]
fn one_price_of_a_map_is_stated_by_itself() {
    let searching = Usage { web_searches: 2, ..USAGE };
    let of = |size: &str| format!("search_context_cost_per_query.search_context_size_{size}");
    check(&[(&of("medium"), "0.5")], searching, "1.00475");
    check(&[(&of("medium"), "0.5"), (&of("low"), "0.25")], searching, "1.00475");
    check_refused(&of("medium"), "much", "search_context_cost_per_query");
    check_refused("search_context_cost_per_query.size", "1", "search_context_cost_per_query.size");
}

#[test]
fn a_stated_input_price_states_the_whole_input_side() {
    check(&[("input_cost_per_token", "0.000001")], USAGE, "0.003");
    check(&[("input_cost_per_token", "0"), ("output_cost_per_token", "0")], USAGE, "0");
    let pairs = [("input_cost_per_token", "0.000001"), ("cache_read_input_token_cost", "0.0000005")];
    check(&pairs, USAGE, "0.0025");
}

#[test]
fn long_prompts_services_and_time_can_be_stated() {
    let long = Usage { input: 200_001, ..Usage::default() };
    check(
        &[("input_cost_per_token", "1e-6"), ("input_cost_per_token_above_200k_tokens", "2e-6")],
        long,
        "0.400002",
    );
    let sheet =
        Overrides::parse([("input_cost_per_token_flex", "1e-6")]).unwrap().prices(&PriceSheet::default());
    assert_eq!(sheet.services["flex"].rates.token(Rate::In), Some(Price::from_picos(1_000_000)));
    let sheet =
        Overrides::parse([("input_cost_per_second", "0.0001")]).unwrap().prices(&PriceSheet::default());
    let facts = Facts { compute_millis: 2500, ..Facts::default() };
    assert_eq!(cost(&sheet, &USAGE, &facts).total, Cost::Known(Money::from_nanos(250_000)));
    let brackets = r#"[{"range":[0,1000],"input_cost_per_token":1e-6},{"range":[1000,9000],"input_cost_per_token":3e-6}]"#;
    let sheet = Overrides::parse([("tiered_pricing", brackets)]).unwrap().prices(&PriceSheet::default());
    let usage = Usage { input: 2000, ..Usage::default() };
    assert_eq!(cost(&sheet, &usage, &Facts::default()).total, Cost::Known(Money::from_nanos(6_000_000)));
}

#[test]
fn facts_are_stated_too() {
    let pairs = [("max_input_tokens", "5000"), ("supports_vision", "false"), ("supports_pdf_input", "True")];
    let entry = Overrides::parse(pairs).unwrap().apply(&Catalog::builtin().get("gpt-4o").unwrap());
    let capabilities = entry.capabilities();
    assert_eq!(capabilities.max_input_tokens, Some(5000));
    assert!(capabilities.vision.no() && capabilities.pdf.yes() && capabilities.tools.yes());
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    check_refused("input_cost_per_tokn", "1", "unknown price key `input_cost_per_tokn`");
    check_refused("input_cost_per_token", "cheap", "`input_cost_per_token` is not a price in dollars: cheap");
    check_refused("output_cost_per_token", "-1", "not a price");
    check_refused("supports_flying", "true", "unknown capability key `supports_flying`");
    check_refused("supports_vision", "maybe", "must be true or false");
    check_refused("max_input_tokens", "many", "not a whole number");
    check_refused("tiered_pricing", "[]x", "`tiered_pricing`");
}

#[test]
fn keys_that_state_prices_or_facts_are_recognised() {
    for key in
        ["input_cost_per_token", "input_cost_per_tokn", "tiered_pricing", "cache_read_input_token_cost_flex"]
    {
        assert!(Overrides::is_price_key(key) && !Overrides::is_fact_key(key), "{key}");
    }
    for key in ["supports_vision", "mode", "max_input_tokens"] {
        assert!(Overrides::is_fact_key(key) && !Overrides::is_price_key(key), "{key}");
    }
    for key in ["api_key", "model", "cost_per_ptu_per_hour", "rpm"] {
        assert!(!Overrides::is_fact_key(key) && !Overrides::is_price_key(key), "{key}");
    }
}

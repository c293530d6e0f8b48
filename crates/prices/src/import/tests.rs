use super::*;
use crate::{Facts, cost};
use tollway_model::{Cost, Money, Usage};

/// Entries of every kind the format has, written for this test.
const SAMPLE: &str = include_str!("sample.json");

#[test]
fn a_price_file_becomes_a_table_that_reads_back() {
    let catalog = litellm(SAMPLE.as_bytes()).unwrap();
    assert_eq!(catalog.len(), 16);
    let again = Catalog::from_jsonl(catalog.to_jsonl()).unwrap();
    assert_eq!(again.to_jsonl(), catalog.to_jsonl());
    assert!(catalog.entries().eq(again.entries()));
}

/// The line the sample's model becomes.
fn check(id: &str, expected: &str) {
    let catalog = litellm(SAMPLE.as_bytes()).unwrap();
    assert_eq!(std::str::from_utf8(catalog.line(id).unwrap()).unwrap(), expected);
}

#[test]
fn facts_and_prices_land_in_their_fields() {
    check(
        "chat-plain",
        r#"{"id":"chat-plain","provider":"acme","mode":"chat","limits":{"in":128000,"out":16384,"legacy_max":16384},"price":{"in":2.5,"out":10,"cache_read":1.25},"caps":["json_schema","tools"],"no":["vision"],"deprecated":"2027-01-31","source":"https://acme.test/prices"}"#,
    );
    check(
        "chat-long",
        r#"{"id":"chat-long","provider":"acme","mode":"chat","price":{"in":3,"out":15,"cache_write":3.75,"cache_write_1h":6},"tiers":[{"above_tokens":200000,"in":6,"out":22.5,"cache_write_1h":12}]}"#,
    );
    check(
        "chat-tiers",
        r#"{"id":"chat-tiers","provider":"acme","mode":"chat","price":{"in":1},"service":{"batch":{"in":0.5},"flex":{"in":0.6,"tiers":[{"above_tokens":272000,"in":1.2}]},"priority":{"out":9}}}"#,
    );
    check(
        "chat-brackets",
        r#"{"id":"chat-brackets","provider":"acme","mode":"chat","ranges":[{"from":0,"to":256000,"in":0.05,"out":0.4},{"from":256000,"to":1000000,"in":0.25,"out":2,"reasoning":3}]}"#,
    );
    check(
        "chat-nights",
        r#"{"id":"chat-nights","provider":"acme","price":{"in":1},"off_peak":{"in":0.5,"weekday_timezone":"Asia/Shanghai","windows":[{"hours_utc":["16:30-00:30"],"weekdays":[1,2,3,4,5]},{"hours_utc":["00:00-00:00"],"weekdays":[6,7]}]}}"#,
    );
    check(
        "search",
        r#"{"id":"search","provider":"finder","mode":"search","ranges":[{"results_from":0,"results_to":25,"unit.query":0.005}]}"#,
    );
    check(
        "video",
        r#"{"id":"video","provider":"acme","mode":"video_generation","units":{"second_out":0.1,"second_out@1080p":0.2}}"#,
    );
    check(
        "thinker",
        r#"{"id":"thinker","provider":"acme","mode":"chat","limits":{"cache_min":512},"caps":["adaptive_thinking","effort_max"],"no":["effort_minimal"],"effort_levels":["low","high"],"effort_default":"high","extra":{"thinking_always_on":true,"provider_specific_entry":{"us":1.1}}}"#,
    );
}

#[test]
fn imported_prices_make_bills() {
    let catalog = litellm(SAMPLE.as_bytes()).unwrap();
    let check = |id: &str, usage: Usage, facts: Facts<'_>, nanos: i64| {
        let total = cost(&catalog.get(id).unwrap().prices, &usage, &facts).total;
        assert_eq!(total, Cost::Known(Money::from_nanos(nanos)), "{id}");
    };
    let input = |input| Usage { input, ..Usage::default() };
    check("chat-long", input(200_001), Facts::default(), 1_200_006_000);
    check("thinker-priced", input(10), Facts { geography: Some("us"), ..Facts::default() }, 11_000);
    check("scan", Usage::default(), Facts { pages: 3, ..Facts::default() }, 6_000_000);
    check("guard", Usage::default(), Facts { guardrail_units: &[("topic", 2)], ..Facts::default() }, 300_000);
    check("grounded", Usage { web_searches: 2, ..input(1) }, Facts::default(), 28_000_000 + 1000);
}

fn check_refused(file: &str, expected: &str) {
    let error = litellm(file.as_bytes()).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn what_cannot_be_understood_is_refused_by_name() {
    check_refused("[]", "not a price file");
    check_refused(r#"{"m":{"mode":"chat"}}"#, "m: `litellm_provider` is missing");
    check_refused(
        r#"{"m":{"litellm_provider":"p","cost_of_moon":1,"supports_flying":true},"n":{"litellm_provider":"p","cost_of_moon":2}}"#,
        "unknown keys: `cost_of_moon` (in m), `supports_flying` (in m)",
    );
    check_refused(
        r#"{"m":{"litellm_provider":"p","input_cost_per_token":"x"}}"#,
        "m: `input_cost_per_token` is not a price",
    );
    check_refused(
        r#"{"m":{"litellm_provider":"p","input_cost_per_token":-1}}"#,
        "m: `input_cost_per_token` is not a price",
    );
    check_refused(
        r#"{"m":{"litellm_provider":"p","max_tokens":"many"}}"#,
        "m: `max_tokens` is not a whole number",
    );
    check_refused(r#"{"m":{"litellm_provider":"p","supports_vision":"yes"}}"#, "m: `supports_vision`");
    check_refused(r#"{"m":{"litellm_provider":"p","tiered_pricing":[{"range":[5,5]}]}}"#, "is not empty");
    check_refused(
        r#"{"m":{"litellm_provider":"p","tiered_pricing":[{"range":[0,5],"output_cost_per_moon":1}]}}"#,
        "output_cost_per_moon",
    );
}

#[test]
fn absent_facts_may_be_null() {
    let catalog =
        litellm(br#"{"m":{"litellm_provider":"p","input_cost_per_token":null,"mode":null}}"#).unwrap();
    assert_eq!(catalog.to_jsonl(), b"{\"id\":\"m\",\"provider\":\"p\"}\n");
}

proptest::proptest! {
    #[test]
    fn no_text_breaks_the_importer(text in "\\PC{0,80}") {
        let _ = litellm(text.as_bytes());
        let _ = Catalog::from_jsonl(text.as_bytes());
    }
}

use super::*;

/// A canonical line reads and writes back as itself.
fn check(line: &str) {
    let entry = read(line.as_bytes()).unwrap();
    assert_eq!(write(&entry), line);
}

fn check_refused(line: &str, expected: &str) {
    let error = read(line.as_bytes()).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn lines_survive_reading_and_writing() {
    check(r#"{"id":"a","provider":"p"}"#);
    check(
        r#"{"id":"a","provider":"p","mode":"chat","limits":{"in":5,"out":3,"rpm":1},"price":{"in":0.15,"out":12.5}}"#,
    );
    check(
        r#"{"id":"a","provider":"p","price":{"in":0.000015},"tiers":[{"above_tokens":8,"in":1,"unit.image_in":0.1}]}"#,
    );
    check(r#"{"id":"a","provider":"p","ranges":[{"results_from":0,"results_to":25,"unit.query":0.005}]}"#);
    check(r#"{"id":"a","provider":"p","service":{"flex":{"in":1,"tiers":[{"above_tokens":9,"in":2}]}}}"#);
    check(
        r#"{"id":"a","provider":"p","off_peak":{"in":1,"weekday_timezone":"Asia/Shanghai","windows":[{"hours_utc":["10:00-00:00"],"weekdays":[1,2]}]}}"#,
    );
    check(
        r#"{"id":"a","provider":"p","units":{"image_out@2K":0.12,"search_query@low":0.01},"caps":["tools"],"no":["pdf"]}"#,
    );
    check(r#"{"id":"a\"b","provider":"p","extra":{"us":1.1,"deep":{"x":[1,2]}},"source":"https://x"}"#);
}

#[test]
fn variants_may_be_an_object() {
    let entry = read(br#"{"id":"a","provider":"p","units":{"search_query":{"low":0.01}}}"#).unwrap();
    assert_eq!(entry.prices.base.unit("search_query", Some("low")), Some(Price::from_picos(10_000_000_000)));
}

#[test]
fn what_is_not_known_or_not_a_price_is_refused() {
    check_refused(r#"{"id":"a","provider":"p","colour":"red"}"#, "unknown field `colour`");
    check_refused(r#"{"id":"a","provider":"p","price":{"inn":1}}"#, "a: unknown price `inn`");
    check_refused(r#"{"id":"a","provider":"p","price":{"in":-1}}"#, "`in` is not a price: -1");
    check_refused(r#"{"id":"a","provider":"p","price":{"in":null}}"#, "not a price");
    check_refused(r#"{"id":"a","provider":"p","units":{"moon":1}}"#, "unknown unit `moon`");
    check_refused(r#"{"id":"a","provider":"p","tiers":[{"in":1}]}"#, "a tier without");
    check_refused(r#"{"id":"a","provider":"p","ranges":[{"from":9,"to":3}]}"#, "empty range");
    check_refused(r#"{"id":"a","provider":"p","off_peak":{"in":1}}"#, "without `windows`");
    check_refused(
        r#"{"id":"a","provider":"p","off_peak":{"in":1,"windows":[{"hours_utc":"25:00-26:00"}]}}"#,
        "not a span of hours",
    );
    check_refused(
        r#"{"id":"a","provider":"p","extra":{"regional_endpoint_uplift_multiplier":-2}}"#,
        "not a factor",
    );
}

#[test]
fn google_charges_grounding_once_a_prompt_unless_stated() {
    let check = |line: &str, expected: bool| {
        assert_eq!(read(line.as_bytes()).unwrap().prices.search_per_prompt, expected, "{line}");
    };
    check(r#"{"id":"a","provider":"gemini"}"#, true);
    check(r#"{"id":"a","provider":"gemini","extra":{"web_search_billing_unit":"per_query"}}"#, false);
    check(r#"{"id":"a","provider":"vertex_ai-anthropic_models"}"#, false);
    check(r#"{"id":"a","provider":"openai"}"#, false);
}

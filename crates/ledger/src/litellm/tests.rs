use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::{Value, json};
use tollway_meters::ScopeKind;
use tollway_model::Money;

use super::*;
use crate::books::{Batch, Books, Counted, DayFilter, DaysOf, MemoryBooks, Range};
use crate::receipt::Outcome;
use crate::sample;

/// Every column of LiteLLM's table of spend logs.
const COLUMNS: [&str; 36] = [
    "request_id",
    "call_type",
    "api_key",
    "spend",
    "total_tokens",
    "prompt_tokens",
    "completion_tokens",
    "startTime",
    "endTime",
    "request_duration_ms",
    "completionStartTime",
    "model",
    "model_id",
    "model_group",
    "custom_llm_provider",
    "api_base",
    "user",
    "metadata",
    "cache_hit",
    "cache_key",
    "request_tags",
    "team_id",
    "organization_id",
    "end_user",
    "requester_ip_address",
    "messages",
    "response",
    "session_id",
    "status",
    "mcp_namespaced_tool_name",
    "billing_agent_id",
    "agent_id",
    "proxy_server_request",
    "litellm_call_id",
    "created_at",
    "updated_at",
];

fn row(day: i64, token: &'static str, team: &'static str, model: &'static str, nanos: i64) -> DayRow {
    let text = Cow::Borrowed;
    let key = DayKey {
        day,
        key: text(if token == "t1" { "key-1" } else { "key-2" }),
        token: text(token),
        user: text("ann"),
        team: text(team),
        model: text(model),
        model_group: text("group"),
        provider: text("openai"),
        surface: text("openai-chat"),
        operation: text("chat"),
        ..DayKey::default()
    };
    let money = Money::from_nanos(nanos);
    (key, Day { money, input: 10, output: 5, answered: 2, failed: 1, total_us: 9000, ..Day::default() })
}

fn two_days() -> Vec<DayRow> {
    vec![
        row(20_777, "t1", "red", "gpt", 1_500_000_000),
        row(20_777, "t2", "", "gpt", 500_000_000),
        row(20_779, "t1", "red", "claude", 250_000_000),
    ]
}

fn alias(id: &str) -> Option<Arc<str>> {
    (id == "red").then(|| "Red team".into())
}

fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or_else(|| panic!("no {pointer} in {value:#}"))
}

#[test]
fn a_log_row_has_every_column() {
    for number in 0..40 {
        let receipt = sample::receipt(number);
        let row = log_row(&receipt);
        let names: BTreeSet<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, BTreeSet::from(COLUMNS));
        assert_eq!(row["request_id"], receipt.id.as_str());
        let success = receipt.outcome == Outcome::Answered;
        assert_eq!(row["status"], if success { "success" } else { "failure" });
        assert_eq!(at(&row, "/metadata/error_information").is_object(), receipt.error.is_some());
        assert_eq!(row["total_tokens"].as_u64().unwrap(), receipt.usage.map_or(0, |usage| usage.total()));
    }
}

#[test]
fn times_are_rfc_3339_and_dates_read_back() {
    assert_eq!(time(sample::BEGIN + 7), "2026-11-20T10:00:00.007Z");
    assert_eq!(date(20_777), "2026-11-20");
    assert_eq!(day_of("2026-11-20"), Some(20_777));
    assert_eq!(day_of("2026-11-20 10:00:00"), Some(20_777));
    assert_eq!(day_of("tomorrow"), None);
    assert_eq!(day_of("2026-13-40"), None);
}

#[test]
fn a_page_tells_how_many_pages_there_are() {
    let counted = |calls, whole| Counted { calls, whole };
    let page = logs_page(&[sample::receipt(1)], counted(101, true), 2, 50);
    assert_eq!(
        (&page["total"], &page["total_pages"], &page["total_is_capped"]),
        (&json!(101), &json!(3), &json!(false))
    );
    assert_eq!(page["data"].as_array().unwrap().len(), 1);
    assert_eq!(logs_page(&[], counted(10_000, false), 1, 0)["total_is_capped"], json!(true));
}

#[test]
fn spend_by_day_has_keys_users_models_and_empty_days() {
    let found = logs_by_day(&two_days(), 20_780);
    assert_eq!(
        found,
        json!([
            { "startTime": "2026-11-20", "spend": 2.0, "users": { "ann": 2.0 }, "models": { "gpt": 2.0 }, "t1": 1.5, "t2": 0.5 },
            { "startTime": "2026-11-21", "spend": 0.0, "users": {}, "models": {} },
            { "startTime": "2026-11-22", "spend": 0.25, "users": { "ann": 0.25 }, "models": { "claude": 0.25 }, "t1": 0.25 },
            { "startTime": "2026-11-23", "spend": 0.0, "users": {}, "models": {} },
        ])
    );
    assert_eq!(logs_by_day(&[], 20_780), json!([]));
}

#[test]
fn daily_activity_breaks_a_day_down() {
    let found = daily_activity(&two_days(), Entity::Team, 1, 1, &alias);
    let results = found["results"].as_array().unwrap();
    assert_eq!((results.len(), &results[0]["date"]), (1, &json!("2026-11-22")), "the latest first");
    assert_eq!(at(&found, "/metadata/total_spend"), &json!(2.25));
    assert_eq!(at(&found, "/metadata/total_tokens"), &json!(45));
    assert_eq!(
        (at(&found, "/metadata/total_pages"), at(&found, "/metadata/has_more")),
        (&json!(2), &json!(true))
    );
    let second = daily_activity(&two_days(), Entity::Team, 2, 1, &alias);
    let day = at(&second, "/results/0");
    assert_eq!(at(day, "/metrics/api_requests"), &json!(6));
    assert_eq!(at(day, "/breakdown/models/gpt/metrics/spend"), &json!(2.0));
    assert_eq!(at(day, "/breakdown/entities/red/metadata/team_alias"), &json!("Red team"));
    assert_eq!(at(day, "/breakdown/entities/Unassigned/api_key_breakdown/t2/metrics/spend"), &json!(0.5));
    assert_eq!(at(day, "/breakdown/api_keys/t1/metadata/team_id"), &json!("red"));
    assert_eq!(
        at(day, "/breakdown/endpoints").as_object().unwrap().keys().next().unwrap(),
        "/chat/completions"
    );
    assert_eq!(at(&second, "/metadata/has_more"), &json!(false));
    assert_eq!(at(&daily_activity(&[], Entity::None, 1, 10, &alias), "/metadata/total_pages"), &json!(1));
}

#[test]
fn reports_group_by_team_and_by_key() {
    let teams = spend_report(&two_days(), ReportBy::Team, &alias);
    assert_eq!(at(&teams, "/0/group_by_day"), "2026-11-20T00:00:00+00:00");
    assert_eq!(at(&teams, "/0/teams/0/team_name"), "Unassigned Team");
    assert_eq!(
        at(&teams, "/0/teams/1"),
        &json!({ "team_name": "Red team", "total_spend": 1.5, "metadata": [{ "model": "gpt", "api_key": "t1", "spend": 1.5, "total_tokens": 15 }] })
    );
    let keys = spend_report_by_key(&two_days());
    assert_eq!(
        at(&keys, "/0"),
        &json!({ "api_key": "t1", "total_cost": 1.75, "total_input_tokens": 20, "total_output_tokens": 10, "model_details": [
            { "model": "claude", "total_cost": 0.25, "total_input_tokens": 10, "total_output_tokens": 5 },
            { "model": "gpt", "total_cost": 1.5, "total_input_tokens": 10, "total_output_tokens": 5 },
        ] })
    );
}

#[test]
fn activity_counts_calls_and_tokens() {
    assert_eq!(
        global_activity(&two_days()),
        json!({
            "daily_data": [
                { "date": "Nov 20", "api_requests": 6, "total_tokens": 30 },
                { "date": "Nov 22", "api_requests": 3, "total_tokens": 15 },
            ],
            "sum_api_requests": 9, "sum_total_tokens": 45,
        })
    );
    assert_eq!(at(&global_activity_by_model(&two_days()), "/0/model"), "group");
}

#[tokio::test]
async fn routes_agree_with_each_other() {
    let books = MemoryBooks::new();
    books
        .record(
            &Batch::of(&(0..300).map(|number| Arc::new(sample::receipt(number))).collect::<Vec<_>>())
                .unwrap(),
        )
        .await
        .unwrap();
    let all = books.days(&DayFilter { days: (0, i64::MAX), ..DayFilter::default() }).await.unwrap();
    let total = books.sums(ScopeKind::Global, Range::default(), 1).await.unwrap()[0].1;
    let spend = global_spend(total, None)["spend"].as_f64().unwrap();
    let close = |found: f64| assert!((found - spend).abs() < 1e-9, "{found} {spend}");
    let activity = daily_activity(&all, Entity::User, 1, 100, &|_| None);
    close(at(&activity, "/metadata/total_spend").as_f64().unwrap());
    let by_day = logs_by_day(&all, 0);
    close(by_day.as_array().unwrap().iter().map(|day| day["spend"].as_f64().unwrap()).sum());
    close(
        spend_report_by_key(&all)
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key["total_cost"].as_f64().unwrap())
            .sum(),
    );
    let tags = spend_by_tag(&books.sums(ScopeKind::Tag, Range::default(), 100).await.unwrap());
    assert_eq!(at(&tags, "/0/individual_request_tag"), "production");
    let of = DaysOf::Customers(vec![]);
    let customers = books.days(&DayFilter { days: (0, i64::MAX), of, ..DayFilter::default() }).await.unwrap();
    let report = spend_report(&customers, ReportBy::Customer, &|_| None);
    assert!(at(&report, "/0/customers/0/customer").as_str().unwrap().starts_with("customer-"));
}

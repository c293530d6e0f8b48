//! What the OpenAPI document says of the spend routes, and which parameters they know.

use serde_json::{Map, Value, json};

use super::Spend;

/// The parameters of a route's query.
pub(crate) fn parameters(what: Spend) -> &'static [&'static str] {
    const DATES: &[&str] = &["start_date", "end_date"];
    match what {
        Spend::Logs => &["api_key", "user_id", "request_id", "start_date", "end_date", "summarize"],
        Spend::LogPages => &[
            "api_key",
            "user_id",
            "request_id",
            "team_id",
            "organization_id",
            "end_user",
            "model",
            "model_group",
            "model_id",
            "custom_llm_provider",
            "session_id",
            "tag",
            "status_filter",
            "error_code",
            "min_spend",
            "max_spend",
            "start_date",
            "end_date",
            "page",
            "page_size",
            "after",
            "sort_by",
            "sort_order",
            "key_alias",
        ],
        Spend::LogSession => &["session_id", "page", "page_size", "after"],
        Spend::Users => &["user_id"],
        Spend::Tags
        | Spend::GlobalProviders
        | Spend::GlobalTeams
        | Spend::GlobalActivity
        | Spend::GlobalActivityByModel => DATES,
        Spend::GlobalExceptions => &["start_date", "end_date", "model_group"],
        Spend::GlobalLogs => &["api_key", "start_date", "end_date"],
        Spend::GlobalKeys | Spend::GlobalModels => &["limit", "start_date", "end_date"],
        Spend::GlobalTags => &["tags", "start_date", "end_date"],
        Spend::GlobalReport => {
            &["start_date", "end_date", "group_by", "api_key", "internal_user_id", "team_id", "customer_id"]
        }
        Spend::KeyReport => &["start_date", "end_date", "api_key"],
        Spend::UserReport => &["start_date", "end_date", "user_id", "internal_user_id"],
        Spend::TeamReport => &["start_date", "end_date", "team_id"],
        Spend::UserActivity => {
            &["start_date", "end_date", "user_id", "model", "api_key", "page", "page_size", "timezone"]
        }
        Spend::UserActivityWhole => &["start_date", "end_date", "user_id", "model", "api_key", "timezone"],
        Spend::TeamActivity => &[
            "start_date",
            "end_date",
            "team_ids",
            "exclude_team_ids",
            "model",
            "api_key",
            "page",
            "page_size",
            "timezone",
        ],
        Spend::TeamActivityWhole => {
            &["start_date", "end_date", "team_ids", "exclude_team_ids", "model", "api_key", "timezone"]
        }
        Spend::TagActivity => {
            &["start_date", "end_date", "tags", "model", "api_key", "page", "page_size", "timezone"]
        }
        Spend::TagActivityWhole => &["start_date", "end_date", "tags", "model", "api_key", "timezone"],
        Spend::CustomerActivityWhole => {
            &["start_date", "end_date", "end_user_ids", "model", "api_key", "timezone"]
        }
        Spend::CustomerActivity => {
            &["start_date", "end_date", "end_user_ids", "model", "api_key", "page", "page_size", "timezone"]
        }
        Spend::Receipts => &["limit", "after"],
        Spend::Log
        | Spend::Keys
        | Spend::Calculate
        | Spend::Estimate
        | Spend::Global
        | Spend::KeyReset
        | Spend::MemberReset
        | Spend::GlobalReset
        | Spend::Receipt => &[],
    }
}

/// The schema of a route's body; `None`: it has none.
pub(crate) fn request_type(what: Spend) -> Option<&'static str> {
    match what {
        Spend::Calculate => Some("CalculateSpend"),
        Spend::Estimate => Some("EstimateCost"),
        Spend::KeyReset | Spend::MemberReset => Some("ResetSpend"),
        _ => None,
    }
}

/// The schemas of the bodies.
pub(crate) fn schemas() -> Map<String, Value> {
    let text = json!({ "type": "string" });
    let messages = json!({ "type": "array", "items": { "type": "object" } });
    let calculate = json!({
        "type": "object", "additionalProperties": false,
        "properties": {
            "model": text, "messages": messages, "prompt": text, "completion_response": { "type": "object" },
        },
    });
    let reset = json!({
        "type": "object", "additionalProperties": false,
        "properties": { "reset_to": { "type": "number", "minimum": 0 } },
    });
    let count = json!({ "type": "integer", "minimum": 0 });
    let maybe = json!({ "type": ["integer", "null"], "minimum": 0 });
    let estimate = json!({
        "type": "object", "additionalProperties": false, "required": ["model", "input_tokens", "output_tokens"],
        "properties": {
            "model": text, "input_tokens": count, "output_tokens": count, "cache_read_input_tokens": count,
            "cache_creation_input_tokens": count, "reasoning_tokens": count, "num_requests_per_day": maybe,
            "num_requests_per_month": maybe,
        },
    });
    Map::from_iter([
        ("CalculateSpend".to_owned(), calculate),
        ("EstimateCost".to_owned(), estimate),
        ("ResetSpend".to_owned(), reset),
    ])
}

/// What a route answers, as far as clients rely on it.
pub(crate) fn answer_schema(what: Spend) -> Value {
    let (text, number, integer) =
        (json!({ "type": "string" }), json!({ "type": "number" }), json!({ "type": "integer" }));
    let object = |properties: Value| {
        let required: Vec<&String> =
            properties.as_object().map(|map| map.keys().collect()).unwrap_or_default();
        json!({ "type": "object", "required": required, "properties": properties, "additionalProperties": true })
    };
    let list = |properties: Value| json!({ "type": "array", "items": object(properties) });
    let log =
        || json!({ "request_id": text, "api_key": text, "spend": number, "model": text, "startTime": text });
    match what {
        Spend::LogPages | Spend::LogSession => object(json!({
            "data": list(log()), "total": integer, "page": integer, "page_size": integer, "total_pages": integer,
            "next": { "type": ["string", "null"] },
        })),
        Spend::Log => object(log()),
        Spend::Calculate => object(json!({ "cost": number })),
        Spend::Estimate => object(json!({ "model": text, "cost_per_request": number })),
        Spend::Global => object(json!({ "spend": number, "max_budget": number })),
        Spend::GlobalActivity => object(
            json!({ "daily_data": { "type": "array" }, "sum_api_requests": integer, "sum_total_tokens": integer }),
        ),
        Spend::UserActivity
        | Spend::UserActivityWhole
        | Spend::TeamActivity
        | Spend::TeamActivityWhole
        | Spend::TagActivity
        | Spend::TagActivityWhole
        | Spend::CustomerActivity
        | Spend::CustomerActivityWhole => {
            object(json!({ "results": { "type": "array" }, "metadata": { "type": "object" } }))
        }
        Spend::MemberReset => {
            object(json!({ "team_id": text, "user_id": text, "spend": number, "previous_spend": number }))
        }
        Spend::KeyReset => object(json!({ "key_hash": text, "spend": number, "previous_spend": number })),
        Spend::GlobalReset => object(json!({ "message": text, "status": text })),
        Spend::GlobalTeams => object(
            json!({ "daily_spend": { "type": "array" }, "teams": { "type": "array" }, "total_spend_per_team": { "type": "array" } }),
        ),
        Spend::GlobalTags => object(json!({ "spend_per_tag": { "type": "array" } })),
        Spend::Receipts => {
            object(json!({ "data": { "type": "array" }, "next": { "type": ["string", "null"] } }))
        }
        Spend::Receipt => object(json!({ "id": text, "call_id": text, "at": integer, "outcome": text })),
        _ => json!({ "type": "array", "items": { "type": "object" } }),
    }
}

//! `/spend/logs` and `/spend/logs/v2`: one row a call, or sums by day.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tollway_model::{Dialect, Money, Operation};

use super::{DayRow, date, time};
use crate::books::Counted;
use crate::receipt::{Outcome, Receipt};

/// A receipt as a row of LiteLLM's `SpendLogs`.
///
/// `request_id` is the receipt's id, which is unique: providers repeat theirs.
pub fn log_row(receipt: &Receipt) -> Value {
    let who = &receipt.who;
    let last = receipt.attempts.last();
    let usage = receipt.usage.unwrap_or_default();
    let millis = |micros: u64| i64::try_from(micros / 1000).unwrap_or(i64::MAX);
    let end = receipt.at.saturating_add(millis(receipt.timing.total_us));
    let first = receipt.timing.first_byte_us.map(|first| time(receipt.at.saturating_add(millis(first))));
    let answered = receipt.outcome == Outcome::Answered;
    json!({
        "request_id": receipt.id,
        "litellm_call_id": receipt.call_id,
        "call_type": call_type(receipt),
        "api_key": who.token,
        "spend": receipt.cost.nanos.unwrap_or_default().to_dollars_lossy(),
        "total_tokens": usage.total(),
        "prompt_tokens": usage.total_input(),
        "completion_tokens": usage.total_output(),
        "startTime": time(receipt.at),
        "endTime": time(end),
        "completionStartTime": first,
        "request_duration_ms": millis(receipt.timing.total_us),
        "model": last.map_or(receipt.model.as_str(), |attempt| attempt.model.as_ref()),
        "model_id": last.map_or("", |attempt| attempt.deployment.as_ref()),
        "model_group": receipt.model_group(),
        "custom_llm_provider": last.map_or("", |attempt| attempt.provider.as_ref()),
        "api_base": "",
        "user": who.user.as_deref().unwrap_or(""),
        "team_id": who.team,
        "organization_id": who.organization,
        "end_user": who.customer.as_deref().unwrap_or(""),
        "agent_id": Value::Null,
        "billing_agent_id": Value::Null,
        "session_id": who.session.as_deref().unwrap_or(&receipt.call_id),
        "status": if answered { "success" } else { "failure" },
        "cache_hit": "False",
        "cache_key": "",
        "request_tags": who.tags,
        "requester_ip_address": who.address,
        "mcp_namespaced_tool_name": Value::Null,
        "metadata": metadata(receipt),
        "messages": {},
        "response": {},
        "proxy_server_request": {},
        "created_at": time(end),
        "updated_at": time(end),
    })
}

/// The call by the name LiteLLM gives it.
fn call_type(receipt: &Receipt) -> &'static str {
    match (receipt.operation, receipt.surface) {
        (Operation::Chat, Dialect::Anthropic) => "anthropic_messages",
        (Operation::Chat, Dialect::Gemini) => "agenerate_content",
        (Operation::Completion, _) => "atext_completion",
        (Operation::Embedding, _) => "aembedding",
        (Operation::CountTokens, _) => "acount_tokens",
        // Whatever else is a chat: by the dialect's own name, so that a new one is told apart.
        (_, Dialect::OpenaiChat) => "acompletion",
        (_, Dialect::OpenaiText) => "atext_completion",
        (_, other) => other.name(),
    }
}

fn metadata(receipt: &Receipt) -> Value {
    let who = &receipt.who;
    let usage = receipt.usage.unwrap_or_default();
    let mut found = json!({
        "user_api_key": who.token,
        "user_api_key_alias": who.key_alias,
        "user_api_key_user_id": who.user,
        "user_api_key_team_id": who.team,
        "user_api_key_team_alias": who.team_alias,
        "user_api_key_org_id": who.organization,
        "requester_ip_address": who.address,
        "status": if receipt.outcome == Outcome::Answered { "success" } else { "failure" },
        "attempted_retries": receipt.attempts.len().saturating_sub(1),
        "usage_object": {
            "prompt_tokens": usage.total_input(),
            "completion_tokens": usage.total_output(),
            "total_tokens": usage.total(),
            "prompt_tokens_details": { "cached_tokens": usage.cache_read, "audio_tokens": usage.audio_input },
            "completion_tokens_details": { "reasoning_tokens": usage.reasoning, "audio_tokens": usage.audio_output },
            "cache_creation_input_tokens": usage.total_cache_write(),
            "cache_read_input_tokens": usage.cache_read,
        },
        "cost_breakdown": { "total_cost": receipt.cost.nanos.map(Money::to_dollars_lossy) },
        "error_information": Value::Null,
        "tollway": {
            "outcome": receipt.outcome,
            "estimated": receipt.cost.estimated || usage.estimated,
            "cost_unknown": receipt.cost_is_unknown(),
        },
    });
    if let (Some(error), Some(found)) = (&receipt.error, found.as_object_mut()) {
        let information = json!({
            "error_code": receipt.status.to_string(),
            "error_class": error.kind.code(),
            "error_message": error.message,
            "llm_provider": receipt.attempts.last().map_or("", |attempt| attempt.provider.as_ref()),
            "traceback": "",
        });
        found.insert("error_information".to_owned(), information);
    }
    found
}

/// `/spend/logs/v2`: a page of rows. `total` counts the rows of the filter.
pub fn logs_page(receipts: &[Receipt], total: Counted, page: u64, page_size: u64) -> Value {
    let Counted { calls, whole } = total;
    json!({
        "data": receipts.iter().map(log_row).collect::<Vec<_>>(),
        "total": calls,
        "page": page,
        "page_size": page_size,
        "total_pages": calls.div_ceil(page_size.max(1)),
        "total_is_capped": !whole,
    })
}

/// `/spend/logs` with dates and `summarize`: what was spent each day, by key, user and model. Days without calls are
/// there from the first one with any to `last`.
pub fn logs_by_day(days: &[DayRow], last: i64) -> Value {
    let mut found: BTreeMap<i64, (BTreeMap<&str, Money>, LogDay)> = BTreeMap::new();
    for row in days {
        let (keys, rest) = found.entry(row.0.day).or_default();
        *keys.entry(row.0.token.as_ref()).or_default() += row.1.money;
        rest.add(row);
    }
    if let Some((first, _)) = found.first_key_value() {
        for day in *first..=last {
            found.entry(day).or_default();
        }
    }
    let item = |(day, (keys, rest)): (i64, (BTreeMap<&str, Money>, LogDay))| {
        let mut item = dollars(&keys);
        item.extend(rest.members(day));
        Value::Object(item)
    };
    found.into_iter().map(item).collect()
}

/// What a day of [`logs_by_day`] has beside its keys.
#[derive(Debug, Default)]
pub struct LogDay {
    total: Money,
    users: BTreeMap<String, Money>,
    models: BTreeMap<String, Money>,
}

impl LogDay {
    /// Adds a row of the day.
    pub fn add(&mut self, (key, day): &DayRow) {
        self.total += day.money;
        for (sums, name) in [(&mut self.users, key.user.as_ref()), (&mut self.models, model(key))] {
            match sums.get_mut(name) {
                Some(sum) => *sum += day.money,
                None => drop(sums.insert(name.to_owned(), day.money)),
            }
        }
    }

    /// The members of the day.
    pub fn members(&self, day: i64) -> Map<String, Value> {
        Map::from_iter([
            ("startTime".to_owned(), date(day).into()),
            ("spend".to_owned(), self.total.to_dollars_lossy().into()),
            ("users".to_owned(), dollars(&self.users).into()),
            ("models".to_owned(), dollars(&self.models).into()),
        ])
    }
}

/// What the keys of some rows spent, as members of a day.
pub fn logs_of_keys(rows: &[DayRow]) -> Map<String, Value> {
    let mut keys: BTreeMap<&str, Money> = BTreeMap::new();
    for (key, day) in rows {
        *keys.entry(key.token.as_ref()).or_default() += day.money;
    }
    dollars(&keys)
}

fn dollars<T: AsRef<str>>(sums: &BTreeMap<T, Money>) -> Map<String, Value> {
    sums.iter().map(|(name, money)| (name.as_ref().to_owned(), money.to_dollars_lossy().into())).collect()
}

/// The model as the provider names it; the caller's name where no provider was asked.
pub(super) fn model<'a>(key: &'a crate::books::DayKey<'_>) -> &'a str {
    if key.model.is_empty() { &key.model_group } else { &key.model }
}

//! `/user/daily/activity`, `/team/daily/activity` and their sisters: each day by model, provider, endpoint and key.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Alias, DayRow, date, logs};
use crate::books::{Day, DayKey};

/// What a day is broken down by beside the usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entity {
    /// Nothing.
    None,
    /// Users.
    User,
    /// Teams.
    Team,
    /// Organizations.
    Organization,
    /// Customers or tags: whoever the days were asked for.
    Of,
}

/// What a part of a day adds up to, and by whose keys.
#[derive(Default)]
struct Part<'a> {
    all: Day,
    keys: BTreeMap<&'a str, (Day, &'a DayKey<'static>)>,
}

impl<'a> Part<'a> {
    fn add(&mut self, key: &'a DayKey<'static>, day: &Day) {
        self.all.add(day);
        if !key.token.is_empty() {
            self.keys.entry(key.token.as_ref()).or_insert((Day::default(), key)).0.add(day);
        }
    }
}

/// A page of days, the latest first, and the sums over the whole range.
///
/// `page` counts from 1. `alias` names keys and teams by their id.
pub fn daily_activity(days: &[DayRow], entity: Entity, page: u64, page_size: u64, alias: Alias<'_>) -> Value {
    let mut by_day: BTreeMap<i64, Vec<&DayRow>> = BTreeMap::new();
    let mut total = Day::default();
    for row in days {
        by_day.entry(row.0.day).or_default().push(row);
        total.add(&row.1);
    }
    let size = usize::try_from(page_size.max(1)).unwrap_or(usize::MAX);
    let pages = (by_day.len().div_ceil(size) as u64).max(1);
    let skipped = usize::try_from(page.saturating_sub(1)).unwrap_or(usize::MAX).saturating_mul(size);
    let shown = by_day.iter().rev().skip(skipped).take(size);
    let results: Vec<Value> = shown.map(|(day, rows)| one_day(*day, rows, entity, alias)).collect();
    let mut metadata: Map<String, Value> =
        counts(&total).into_iter().map(|(name, value)| (total_name(&name), value)).collect();
    metadata.extend([
        ("page".to_owned(), page.into()),
        ("total_pages".to_owned(), pages.into()),
        ("has_more".to_owned(), (page < pages).into()),
    ]);
    json!({ "results": results, "metadata": metadata })
}

fn total_name(name: &str) -> String {
    if name.starts_with("total_") { name.to_owned() } else { format!("total_{name}") }
}

fn one_day(day: i64, rows: &[&DayRow], entity: Entity, alias: Alias<'_>) -> Value {
    let mut all = Day::default();
    let mut models: BTreeMap<&str, Part<'_>> = BTreeMap::new();
    let mut groups: BTreeMap<&str, Part<'_>> = BTreeMap::new();
    let mut providers: BTreeMap<&str, Part<'_>> = BTreeMap::new();
    let mut endpoints: BTreeMap<&str, Part<'_>> = BTreeMap::new();
    let mut entities: BTreeMap<&str, Part<'_>> = BTreeMap::new();
    let mut keys = Part::default();
    for (key, day) in rows {
        all.add(day);
        keys.add(key, day);
        models.entry(logs::model(key)).or_default().add(key, day);
        groups.entry(&key.model_group).or_default().add(key, day);
        let provider = if key.provider.is_empty() { "unknown" } else { key.provider.as_ref() };
        providers.entry(provider).or_default().add(key, day);
        endpoints.entry(endpoint(key)).or_default().add(key, day);
        if let Some(id) = entity_of(entity, key) {
            entities.entry(id).or_default().add(key, day);
        }
    }
    let plain = |_: &str| json!({});
    let team = |id: &str| if entity == Entity::Team { json!({ "team_alias": alias(id) }) } else { json!({}) };
    json!({
        "date": date(day),
        "metrics": counts(&all),
        "breakdown": {
            "mcp_servers": {},
            "models": parts(&models, plain, alias),
            "model_groups": parts(&groups, plain, alias),
            "providers": parts(&providers, plain, alias),
            "endpoints": parts(&endpoints, plain, alias),
            "api_keys": key_parts(&keys, alias),
            "entities": parts(&entities, team, alias),
        },
    })
}

fn entity_of<'a>(entity: Entity, key: &'a DayKey<'_>) -> Option<&'a str> {
    let id = match entity {
        Entity::None => return None,
        Entity::User => &key.user,
        Entity::Team => &key.team,
        Entity::Organization => &key.organization,
        Entity::Of => &key.of_id,
    };
    Some(if id.is_empty() { "Unassigned" } else { id.as_ref() })
}

/// The route a call came by.
fn endpoint(key: &DayKey<'_>) -> &'static str {
    match (key.surface.as_ref(), key.operation.as_ref()) {
        (_, "embedding") => "/embeddings",
        ("openai-text", _) => "/completions",
        ("anthropic", "count_tokens") => "/v1/messages/count_tokens",
        ("anthropic", _) => "/v1/messages",
        ("gemini", "count_tokens") => "/models/{model}:countTokens",
        ("gemini", _) => "/models/{model}:generateContent",
        ("openai-responses", _) => "/responses",
        ("bedrock-converse", _) => "/model/{model}/converse",
        _ => "/chat/completions",
    }
}

fn parts(
    parts: &BTreeMap<&str, Part<'_>>,
    metadata: impl Fn(&str) -> Value,
    alias: Alias<'_>,
) -> Map<String, Value> {
    let one = |(name, part): (&&str, &Part<'_>)| {
        let value = json!({
            "metrics": counts(&part.all),
            "metadata": metadata(name),
            "api_key_breakdown": key_parts(part, alias),
        });
        ((*name).to_owned(), value)
    };
    parts.iter().map(one).collect()
}

fn key_parts(part: &Part<'_>, alias: Alias<'_>) -> Map<String, Value> {
    let one = |(token, (day, key)): (&&str, &(Day, &DayKey<'static>))| {
        let team = (!key.team.is_empty()).then_some(key.team.as_ref());
        let metadata = json!({ "key_alias": alias(&key.key), "team_id": team });
        ((*token).to_owned(), json!({ "metrics": counts(day), "metadata": metadata }))
    };
    part.keys.iter().map(one).collect()
}

/// LiteLLM's names for counts; what does not exist here is zero.
fn counts(day: &Day) -> Map<String, Value> {
    let millis = day.total_us / 1000;
    [
        ("spend", Value::from(day.money.to_dollars_lossy())),
        ("flat_cost", 0.0.into()),
        ("prompt_tokens", day.input.into()),
        ("completion_tokens", day.output.into()),
        ("cache_read_input_tokens", day.cache_read.into()),
        ("cache_creation_input_tokens", day.cache_write.into()),
        ("compression_saved_tokens", 0.into()),
        ("compression_savings_spend", 0.0.into()),
        ("prompt_caching_savings_spend", 0.0.into()),
        ("gateway_injected_caching_savings_spend", 0.0.into()),
        ("autorouter_savings_spend", 0.0.into()),
        ("total_tokens", (day.input + day.output).into()),
        ("successful_requests", day.answered.into()),
        ("failed_requests", day.failed.into()),
        ("api_requests", day.calls().into()),
        ("total_response_time_ms", millis.into()),
        ("timed_requests", day.calls().into()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

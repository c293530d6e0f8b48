//! How the calls of a key or a team are retried, waited for and failed over, where the calls do not say it themselves.

use serde_json::{Map, Value};
use tollway_model::Result;

use super::errors::bad;
use super::fields::{Field, NOT_BUILT, check_name};

const FALLBACKS: [&str; 3] = ["fallbacks", "context_window_fallbacks", "content_policy_fallbacks"];
const TIMES: [&str; 2] = ["timeout", "stream_timeout"];

/// LiteLLM's settings of the router that hold for everybody here.
const OF_ALL: [&str; 12] = [
    "allowed_fails",
    "cooldown_time",
    "default_fallbacks",
    "max_fallbacks",
    "model_group_alias",
    "model_group_retry_policy",
    "retry_after",
    "retry_policy",
    "routing_strategy",
    "routing_strategy_args",
    "weights",
    "enable_tag_filtering",
];

/// Most models that one list of fallbacks names: more refuses calls.
const MOST: usize = 32;

/// Longest wait, seconds: a day.
const LONGEST: f64 = 86_400.0;

/// Changes `settings` as the field says; what would have no effect is refused by name.
pub(crate) fn put(
    field: &Field<Map<String, Value>>,
    settings: &mut Option<Map<String, Value>>,
) -> Result<()> {
    match field {
        Field::Absent => {}
        Field::Null => *settings = None,
        Field::Set(given) => {
            let nothing = [Value::Null, Value::Array(Vec::new()), Value::Object(Map::new())];
            let said = given.iter().filter(|(_, value)| !nothing.contains(value));
            let said: Map<String, Value> = said.map(|(name, value)| (name.clone(), value.clone())).collect();
            said.iter().try_for_each(|(name, value)| check(name, value))?;
            *settings = (!said.is_empty()).then_some(said);
        }
    }
    Ok(())
}

fn check(name: &str, value: &Value) -> Result<()> {
    let wrong = |what: &str| {
        let field = format!("router_settings.{name}");
        let message = format!("`{field}` {what}");
        Err(bad(field, message))
    };
    if FALLBACKS.contains(&name) {
        return match targets(value) {
            Some(names) if names.len() <= MOST => names.into_iter().try_for_each(|one| check_name(name, one)),
            Some(_) => wrong("names more than 32 models"),
            None => {
                wrong("is a list of objects from a model's name to a list of models, or a list of models")
            }
        };
    }
    match name {
        "num_retries" if value.as_u64().is_some_and(|count| count <= 20) => Ok(()),
        "num_retries" => wrong("is a whole number of at most 20"),
        name if TIMES.contains(&name) => match value.as_f64() {
            Some(seconds) if seconds > 0.0 && seconds <= LONGEST => Ok(()),
            _ => wrong("is a number of seconds, more than nothing and at most a day"),
        },
        name if OF_ALL.contains(&name) => wrong(NOT_BUILT),
        _ => wrong(
            "is no setting that a key or a team has of its own; it has `num_retries`, `timeout`, \
                    `stream_timeout`, `fallbacks`, `context_window_fallbacks` and `content_policy_fallbacks`",
        ),
    }
}

/// All models that a list of fallbacks names; `None`: it is no such list.
fn targets(value: &Value) -> Option<Vec<&str>> {
    let mut names = Vec::new();
    for item in value.as_array()? {
        match item {
            Value::String(name) => names.push(name.as_str()),
            Value::Object(rules) => {
                for (group, models) in rules {
                    names.push(group);
                    names.extend(models.as_array()?.iter().map(Value::as_str).collect::<Option<Vec<_>>>()?);
                }
            }
            _ => return None,
        }
    }
    Some(names)
}

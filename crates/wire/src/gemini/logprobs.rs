//! Log-probabilities: Gemini's `logprobsResult` and OpenAI's `{"content":[…]}`.

use serde_json::{Value, json};
use tollway_model::RawJson;

/// To OpenAI's shape; `None` when there are none.
pub(super) fn read(native: &Value) -> Option<RawJson> {
    let chosen = native.get("chosenCandidates")?.as_array().filter(|chosen| !chosen.is_empty())?;
    let tops = native.get("topCandidates").and_then(Value::as_array);
    let content: Vec<Value> = chosen
        .iter()
        .enumerate()
        .map(|(index, one)| {
            let top = tops.and_then(|tops| tops.get(index)?.get("candidates")?.as_array());
            let top: Vec<Value> = top.into_iter().flatten().map(token).collect();
            let mut entry = token(one);
            if let Some(entry) = entry.as_object_mut() {
                entry.insert("top_logprobs".into(), Value::Array(top));
            }
            entry
        })
        .collect();
    Some(RawJson::from(json!({"content": content, "refusal": null})))
}

fn token(native: &Value) -> Value {
    let text = native.get("token").and_then(Value::as_str).unwrap_or_default();
    let logprob = native.get("logProbability").cloned().unwrap_or(json!(0.0));
    json!({"token": text, "logprob": logprob, "bytes": text.as_bytes()})
}

/// From OpenAI's shape; `None` when there are none.
pub(super) fn write(logprobs: &RawJson) -> Option<RawJson> {
    let value = logprobs.to_value();
    let content = value.get("content")?.as_array().filter(|content| !content.is_empty())?;
    let chosen: Vec<Value> = content.iter().map(candidate).collect();
    let tops: Vec<Value> = content
        .iter()
        .map(|entry| {
            let top = entry.get("top_logprobs").and_then(Value::as_array);
            let top: Vec<Value> = top.into_iter().flatten().map(candidate).collect();
            json!({"candidates": top})
        })
        .collect();
    let mut out = json!({"chosenCandidates": chosen});
    if tops
        .iter()
        .any(|top| top.get("candidates").and_then(Value::as_array).is_some_and(|top| !top.is_empty()))
        && let Some(out) = out.as_object_mut()
    {
        out.insert("topCandidates".into(), Value::Array(tops));
    }
    Some(RawJson::from(out))
}

fn candidate(entry: &Value) -> Value {
    let field = |key: &str| entry.get(key).cloned().unwrap_or(Value::Null);
    json!({"token": field("token"), "logProbability": field("logprob")})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_probabilities_go_both_ways() {
        let native = json!({
            "chosenCandidates": [{"token": "Hé", "tokenId": 7, "logProbability": -0.25}],
            "topCandidates": [{"candidates": [{"token": "Hé", "logProbability": -0.25}, {"token": "Yo", "logProbability": -2.5}]}]
        });
        let neutral = read(&native).unwrap();
        assert_eq!(
            neutral.to_value(),
            json!({"content": [{"token": "Hé", "logprob": -0.25, "bytes": [72, 195, 169], "top_logprobs": [
                {"token": "Hé", "logprob": -0.25, "bytes": [72, 195, 169]},
                {"token": "Yo", "logprob": -2.5, "bytes": [89, 111]}
            ]}], "refusal": null})
        );
        let back = write(&neutral).unwrap();
        assert_eq!(read(&back.to_value()).unwrap(), neutral);
        assert!(read(&json!({})).is_none());
        assert!(write(&RawJson::from(json!({"content": null}))).is_none());
    }
}

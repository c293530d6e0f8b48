//! LiteLLM's published price file to our table.
//!
//! The file is one JSON object: model name → facts, prices in dollars a token. Every key must be one we know: a new
//! one is an error that names it, so that a refresh never drops a price silently. Free text (`comment`, `metadata`)
//! is left behind.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::catalog::Catalog;
use crate::entry::Entry;
use crate::{Error, Result, keys, row};

/// Members of the file that are no models.
const NOT_MODELS: [&str; 2] = ["sample_spec", "fallback_generalizations"];

/// Free text of the source.
const LEFT_BEHIND: [&str; 2] = ["comment", "metadata"];

/// Facts carried as they are, under the same name.
const EXTRAS: [&str; 19] = [
    "audio_transcription_config",
    "bedrock_converse_supports_strict_tools",
    "bedrock_output_config_effort_ceiling",
    "gemini_audio_only_live",
    "gemini_native_audio",
    "provider_specific_entry",
    "regional_endpoint_uplift_multiplier",
    "regional_processing_uplift_multiplier_eu",
    "regional_processing_uplift_multiplier_us",
    "search_free_requests",
    "supported_audio_formats",
    "thinking_always_on",
    "token_count_framing",
    "token_count_model",
    "token_count_tokenizer",
    "use_openai_responses_path",
    "uses_embed_content",
    "vertex_ai_audio_api",
    "web_search_billing_unit",
];

/// How many unknown keys an error lists.
const MOST_LISTED: usize = 20;

/// Reads LiteLLM's price file.
///
/// Fails on text that is not such a file, on values of the wrong kind (naming model and key), and on keys that are
/// not known (naming each with a model that has it).
pub fn litellm(file: &[u8]) -> Result<Catalog> {
    let models: IndexMap<String, &RawValue> =
        serde_json::from_slice(file).map_err(|error| Error::new(format!("not a price file: {error}")))?;
    let mut unknown = BTreeMap::new();
    let mut entries = Vec::with_capacity(models.len());
    for (id, facts) in models {
        if NOT_MODELS.contains(&id.as_str()) {
            continue;
        }
        entries.push(entry(&id, facts.get(), &mut unknown).map_err(|error| error.at(&id))?);
    }
    if !unknown.is_empty() {
        return Err(Error::new(listed(&unknown)));
    }
    Catalog::from_entries(entries)
}

fn listed(unknown: &BTreeMap<String, String>) -> String {
    let shown = unknown.iter().take(MOST_LISTED).map(|(key, model)| format!("`{key}` (in {model})"));
    let shown = shown.collect::<Vec<_>>().join(", ");
    let more = unknown.len().saturating_sub(MOST_LISTED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("unknown keys: {shown}{more}")
}

fn entry(id: &str, json: &str, unknown: &mut BTreeMap<String, String>) -> Result<Entry> {
    let facts: IndexMap<String, &RawValue> =
        serde_json::from_str(json).map_err(|error| Error::new(error.to_string()))?;
    let mut entry = Entry { id: id.to_owned(), ..Entry::default() };
    for (key, raw) in &facts {
        let known = raw.get() == "null" || take(&mut entry, key, raw.get())?;
        if !known {
            unknown.entry(key.clone()).or_insert_with(|| id.to_owned());
        }
    }
    if entry.label.is_empty() {
        return Err(Error::new("`litellm_provider` is missing"));
    }
    entry.prices.multipliers = row::multipliers(&entry.extra)?;
    entry.prices.search_per_prompt = row::search_per_prompt(&entry.label, &entry.extra);
    Ok(entry)
}

/// Takes one fact; `false` when its key is not known.
fn take(entry: &mut Entry, key: &str, json: &str) -> Result<bool> {
    if let Some(place) = keys::place(key) {
        keys::put(&mut entry.prices, &place, keys::price(key, json)?);
    } else if keys::NESTED.contains(&key) {
        keys::put_nested(&mut entry.prices, key, json)?;
    } else if let Some(capability) = keys::capability(key) {
        entry.state(capability, value(key, json)?);
    } else if EXTRAS.contains(&key) {
        entry.extra.insert(key.to_owned(), value(key, json)?);
    } else if !LEFT_BEHIND.contains(&key) {
        return field(entry, key, json);
    }
    Ok(true)
}

fn field(entry: &mut Entry, key: &str, json: &str) -> Result<bool> {
    match key {
        "litellm_provider" => entry.label = value(key, json)?,
        "mode" => entry.mode = Some(value(key, json)?),
        "max_input_tokens" => entry.limits.input = Some(keys::whole(key, json)?),
        "max_output_tokens" => entry.limits.output = Some(keys::whole(key, json)?),
        "max_tokens" => entry.limits.legacy_max = Some(keys::whole(key, json)?),
        "rpm" => entry.limits.requests_per_minute = Some(keys::whole(key, json)?),
        "tpm" => entry.limits.tokens_per_minute = Some(keys::whole(key, json)?),
        "output_vector_size" => entry.limits.dimensions = Some(keys::whole(key, json)?),
        "prompt_cache_min_tokens" => entry.limits.cache_min = Some(keys::whole(key, json)?),
        "reasoning_effort_levels" => entry.effort_levels = value(key, json)?,
        "default_reasoning_effort" => entry.effort_default = Some(value(key, json)?),
        "supported_endpoints" => entry.endpoints = value(key, json)?,
        "supported_modalities" => entry.modalities_in = value(key, json)?,
        "supported_output_modalities" => entry.modalities_out = value(key, json)?,
        "supported_regions" => entry.regions = value(key, json)?,
        "deprecation_date" => entry.deprecated = Some(value(key, json)?),
        "source" => entry.source = Some(value(key, json)?),
        _ => return Ok(false),
    }
    Ok(true)
}

fn value<T: DeserializeOwned>(key: &str, json: &str) -> Result<T> {
    serde_json::from_str(json).map_err(|error| Error::new(format!("`{key}`: {error}")))
}

#[cfg(test)]
mod tests;

//! What is known of a model: the table's facts with the configuration's over them.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tollway_config::{LitellmParams, Mode as ModelMode, ModelInfo};
use tollway_model::{Capabilities, Support};
use tollway_prices::{Overrides, PriceSheet, Rate};
use tollway_providers::{Mode, Provider};

use super::maker::Maker;

pub(super) struct Facts {
    pub(super) capabilities: Capabilities,
    pub(super) prices: Option<Arc<PriceSheet>>,
    pub(super) max_input_tokens: Option<u64>,
    pub(super) info: Map<String, Value>,
    /// Which of OpenAI's dialects the model is spoken to in.
    pub(super) spoken: Mode,
    /// Why the entry's own facts cannot be read.
    pub(super) fault: Option<String>,
}

impl Maker {
    /// What is known of the model: the table's facts with the configuration's over them.
    pub(super) fn facts(
        &self,
        provider: Option<&Arc<Provider>>,
        model: &str,
        params: &LitellmParams,
        info: &ModelInfo,
    ) -> Facts {
        let provider_row = provider;
        let provider = provider_row.map_or("", |provider| provider.id.as_str());
        let found = match info.base_model.as_deref() {
            Some(base) => self.catalog.get(base).or_else(|| self.catalog.find(provider, base)),
            None => self.catalog.find(provider, model),
        };
        let known = found.is_some();
        let entry = found.unwrap_or_default();
        let overrides = overrides(params, info);
        let (entry, fault) = match overrides {
            Ok(overrides) => (overrides.apply(&entry), None),
            Err(fault) => (entry, Some(fault)),
        };
        let only_responses = entry.mode.as_deref() == Some(ModelMode::Responses.word());
        let spoken = match info.mode {
            Some(ModelMode::Chat) => Mode::Chat,
            Some(ModelMode::Responses) => Mode::Responses,
            None if only_responses && provider_row.is_some_and(|row| row.serves_responses()) => {
                Mode::Responses
            }
            _ => Mode::Native,
        };
        let prices = (!entry.prices.is_empty()).then(|| Arc::new(entry.prices.clone()));
        let mut shown = Map::new();
        if known {
            shown.insert("key".into(), json!(entry.id));
        }
        let mode =
            info.mode.map(|mode| json!(mode.word())).or_else(|| entry.mode.as_ref().map(|mode| json!(mode)));
        let facts = [
            ("mode", mode),
            ("max_input_tokens", entry.limits.input.map(Value::from)),
            ("max_output_tokens", entry.limits.output.map(Value::from)),
            (
                "max_tokens",
                info.max_tokens.or(entry.limits.output).or(entry.limits.legacy_max).map(Value::from),
            ),
            ("base_model", info.base_model.as_ref().map(|base| json!(base))),
            ("deprecation_date", entry.deprecated.as_ref().map(|date| json!(date))),
            ("access_groups", (!info.access_groups.is_empty()).then(|| json!(info.access_groups))),
        ];
        shown.extend(facts.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        shown.extend(shown_facts(&entry));
        shown.extend(info.other.iter().map(|(key, value)| (key.clone(), value.clone())));
        Facts {
            capabilities: entry.capabilities(),
            prices,
            max_input_tokens: entry.limits.input,
            info: shown,
            spoken,
            fault,
        }
    }
}

fn overrides(params: &LitellmParams, info: &ModelInfo) -> Result<Overrides, String> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    pairs.extend(info.supports.iter().map(|(key, value)| (key.clone(), value.to_string())));
    let limits = [
        ("max_tokens", info.max_tokens),
        ("max_input_tokens", info.max_input_tokens),
        ("max_output_tokens", info.max_output_tokens),
    ];
    pairs.extend(limits.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.to_string()))));
    // Those of litellm_params count more, so they come last.
    let prices = info.prices.iter().chain(&params.prices);
    pairs.extend(prices.map(|(key, value)| (key.clone(), value.as_str().to_owned())));
    Overrides::parse(pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())))
        .map_err(|error| error.message().to_owned())
}

/// Prices and capabilities under LiteLLM's names, for `/model/info`.
fn shown_facts(entry: &tollway_prices::Entry) -> Map<String, Value> {
    const PRICES: [(Rate, &str); 6] = [
        (Rate::In, "input_cost_per_token"),
        (Rate::Out, "output_cost_per_token"),
        (Rate::CacheRead, "cache_read_input_token_cost"),
        (Rate::CacheWrite, "cache_creation_input_token_cost"),
        (Rate::CacheWrite1h, "cache_creation_input_token_cost_above_1hr"),
        (Rate::Reasoning, "output_cost_per_reasoning_token"),
    ];
    const CAPABILITIES: [(&str, &str); 11] = [
        ("tools", "supports_function_calling"),
        ("parallel_tools", "supports_parallel_function_calling"),
        ("tool_choice", "supports_tool_choice"),
        ("vision", "supports_vision"),
        ("pdf", "supports_pdf_input"),
        ("audio_in", "supports_audio_input"),
        ("audio_out", "supports_audio_output"),
        ("json_schema", "supports_response_schema"),
        ("prompt_caching", "supports_prompt_caching"),
        ("reasoning", "supports_reasoning"),
        ("web_search", "supports_web_search"),
    ];
    let prices = PRICES.into_iter().filter_map(|(rate, key)| {
        // A JSON number, as LiteLLM's clients expect; the exact price is the table's integer.
        let picos: f64 = format!("{}e-12", entry.prices.base.token(rate)?.picos()).parse().ok()?;
        Some((key.to_owned(), json!(picos)))
    });
    let capabilities = CAPABILITIES.into_iter().filter_map(|(name, key)| match entry.supports(name) {
        Support::Yes => Some((key.to_owned(), json!(true))),
        Support::No => Some((key.to_owned(), json!(false))),
        Support::Unknown => None,
    });
    prices.chain(capabilities).collect()
}

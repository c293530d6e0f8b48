//! A deployment's own prices and facts, laid over the table's.

use crate::entry::Entry;
use crate::keys::{self, Place, Target};
use crate::sheet::{PriceSheet, Rate, Rates};
use crate::{Error, Result};
use tollway_model::Price;

/// What a configuration states of a deployment, in LiteLLM's key names.
///
/// Prices are dollars a token or unit. Stating `input_cost_per_token` states the whole input side of the tokens: the
/// table's other input rates (cache, audio, long prompts, service tiers, cheap hours) no longer apply unless they
/// are stated too, and fall back to the stated price. `output_cost_per_token` does the same for the output side.
/// Stating any other key replaces that one price.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overrides {
    prices: Vec<(Place, Price)>,
    nested: Vec<(String, String)>,
    capabilities: Vec<(&'static str, bool)>,
    limits: Vec<(Limit, u64)>,
    mode: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    Input,
    Output,
    Legacy,
    Dimensions,
    CacheMin,
}

impl Overrides {
    /// Does this key of `litellm_params` or `model_info` state a price of calls?
    ///
    /// True for anything that looks like one, so that a misspelt key reaches [`Overrides::parse`] and is refused
    /// there instead of being ignored. `cost_per_ptu_per_hour` is a price of capacity, not of calls.
    pub fn is_price_key(key: &str) -> bool {
        let price = key.contains("cost_per_") || key.contains("token_cost") || key.ends_with("_pricing");
        price && key != "cost_per_ptu_per_hour"
    }

    /// Does this key of `model_info` state a limit, a capability or the mode? In `litellm_params` some of these
    /// names mean something else: `max_tokens` there is a default of the request.
    pub fn is_fact_key(key: &str) -> bool {
        key.starts_with("supports_") || key == "mode" || limit(key).is_some()
    }

    /// Reads keys with the text of their values: decimals, `true` or `false`, or JSON for the nested keys
    /// (`tiered_pricing`, `off_peak_pricing`, `search_context_cost_per_query`). A single price of a map is
    /// `search_context_cost_per_query.search_context_size_low`.
    ///
    /// Fails on an unknown key and on a value that is not what the key needs, naming the key.
    pub fn parse<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Overrides> {
        let mut overrides = Overrides::default();
        for (key, text) in pairs {
            overrides.take(key, text)?;
        }
        Ok(overrides)
    }

    fn take(&mut self, key: &str, text: &str) -> Result<()> {
        if let Some(place) = keys::place(key) {
            self.prices.push((place, keys::price(key, text)?));
        } else if keys::NESTED.contains(&key) {
            keys::put_nested(&mut PriceSheet::default(), key, text)?;
            self.nested.push((key.to_owned(), text.to_owned()));
        } else if let Some((outer, inner)) =
            key.split_once('.').filter(|(outer, _)| keys::NESTED.contains(outer))
        {
            // One price of a map, as the configuration names it.
            let text = format!("{{{}: {text}}}", serde_json::Value::from(inner));
            keys::put_nested(&mut PriceSheet::default(), outer, &text)?;
            self.nested.push((outer.to_owned(), text));
        } else if let Some(capability) = keys::capability(key) {
            let wrong = || Error::new(format!("`{key}` must be true or false: {text}"));
            self.capabilities.push((capability, text.to_ascii_lowercase().parse().map_err(|_| wrong())?));
        } else if let Some(limit) = limit(key) {
            self.limits.push((limit, keys::whole(key, text)?));
        } else if key == "mode" {
            self.mode = Some(text.to_owned());
        } else if key.starts_with("supports_") {
            return Err(Error::new(format!("unknown capability key `{key}`")));
        } else {
            return Err(keys::unknown(key));
        }
        Ok(())
    }

    /// Is nothing stated?
    pub fn is_empty(&self) -> bool {
        *self == Overrides::default()
    }

    /// Is any price stated?
    pub fn has_prices(&self) -> bool {
        !self.prices.is_empty() || !self.nested.is_empty()
    }

    /// The sheet with these prices.
    pub fn prices(&self, sheet: &PriceSheet) -> PriceSheet {
        let mut sheet = sheet.clone();
        for (place, _) in &self.prices {
            if place.above.is_none() && place.service.is_none() {
                match place.target {
                    Target::Token(Rate::In) => drop_side(&mut sheet, true),
                    Target::Token(Rate::Out) => drop_side(&mut sheet, false),
                    Target::Token(_) | Target::Unit(_) => {}
                }
            }
        }
        for (key, json) in &self.nested {
            // Checked when it was read.
            let _checked = keys::put_nested(&mut sheet, key, json);
        }
        for (place, price) in &self.prices {
            keys::put(&mut sheet, place, *price);
        }
        sheet
    }

    /// The entry with these prices, limits and capabilities.
    pub fn apply(&self, entry: &Entry) -> Entry {
        let mut entry = entry.clone();
        entry.prices = self.prices(&entry.prices);
        for (capability, supported) in &self.capabilities {
            entry.state(capability, *supported);
        }
        for (limit, value) in &self.limits {
            let place = match limit {
                Limit::Input => &mut entry.limits.input,
                Limit::Output => &mut entry.limits.output,
                Limit::Legacy => &mut entry.limits.legacy_max,
                Limit::Dimensions => &mut entry.limits.dimensions,
                Limit::CacheMin => &mut entry.limits.cache_min,
            };
            *place = Some(*value);
        }
        if self.mode.is_some() {
            entry.mode.clone_from(&self.mode);
        }
        entry
    }
}

fn limit(key: &str) -> Option<Limit> {
    match key {
        "max_input_tokens" => Some(Limit::Input),
        "max_output_tokens" => Some(Limit::Output),
        "max_tokens" => Some(Limit::Legacy),
        "output_vector_size" => Some(Limit::Dimensions),
        "prompt_cache_min_tokens" => Some(Limit::CacheMin),
        _ => None,
    }
}

/// Removes the token rates of one side from every layer, and layers that are then empty.
fn drop_side(sheet: &mut PriceSheet, input: bool) {
    let strip = |rates: &mut Rates| rates.tokens.retain(|rate, _| rate.is_input() != input);
    strip(&mut sheet.base);
    sheet.tiers.iter_mut().for_each(|tier| strip(&mut tier.rates));
    sheet.ranges.iter_mut().for_each(|range| strip(&mut range.rates));
    for service in sheet.services.values_mut() {
        strip(&mut service.rates);
        service.tiers.iter_mut().for_each(|tier| strip(&mut tier.rates));
        service.tiers.retain(|tier| !tier.rates.is_empty());
    }
    if let Some(off_peak) = &mut sheet.off_peak {
        strip(&mut off_peak.rates);
    }
    sheet.tiers.retain(|tier| !tier.rates.is_empty());
    sheet.ranges.retain(|range| !range.rates.is_empty());
    sheet.services.retain(|_, service| !service.rates.is_empty() || !service.tiers.is_empty());
    sheet.off_peak = sheet.off_peak.take().filter(|off_peak| !off_peak.rates.is_empty());
}

#[cfg(test)]
mod tests;

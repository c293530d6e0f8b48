//! The names LiteLLM gives prices and capabilities, in its price file and in its configuration.
//!
//! A price key is `base[_above_{N}k_tokens|_above_{N}s_interval][_{service}]`. Token prices are dollars a token.
//! Source: the price file of LiteLLM and the keys its configuration accepts (`litellm_params`, `model_info`).

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use tollway_model::Price;

use crate::sheet::{Above, Measure, OffPeak, PriceSheet, Range, Rate, Rates, Tier};
use crate::{Error, Result, row};

/// What a price key names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Token(Rate),
    Unit(String),
}

/// Where a price belongs in a sheet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) target: Target,
    pub(crate) above: Option<Above>,
    pub(crate) service: Option<&'static str>,
}

const TOKENS: [(&str, Rate); 23] = [
    ("input_cost_per_token", Rate::In),
    ("output_cost_per_token", Rate::Out),
    ("cache_read_input_token_cost", Rate::CacheRead),
    ("cache_creation_input_token_cost", Rate::CacheWrite),
    ("cache_creation_input_token_cost_above_1hr", Rate::CacheWrite1h),
    ("cache_creation_input_token_cost_above_12hr", Rate::CacheWrite12h),
    ("output_cost_per_reasoning_token", Rate::Reasoning),
    ("input_cost_per_audio_token", Rate::AudioIn),
    ("output_cost_per_audio_token", Rate::AudioOut),
    ("cache_read_input_audio_token_cost", Rate::AudioCacheRead),
    ("cache_creation_input_audio_token_cost", Rate::AudioCacheWrite),
    ("input_cost_per_image_token", Rate::ImageIn),
    ("output_cost_per_image_token", Rate::ImageOut),
    ("cache_read_input_image_token_cost", Rate::ImageCacheRead),
    ("input_cost_per_video_token", Rate::VideoIn),
    ("output_cost_per_video_token", Rate::VideoOut),
    ("input_cost_per_character", Rate::CharIn),
    ("output_cost_per_character", Rate::CharOut),
    ("citation_cost_per_token", Rate::Citation),
    ("explicit_cache_read_input_token_cost", Rate::CacheReadExplicit),
    ("input_cost_per_token_cache_hit", Rate::CacheHitLegacy),
    ("input_dbu_cost_per_token", Rate::DbuIn),
    ("output_dbu_cost_per_token", Rate::DbuOut),
];

const UNITS: [(&str, &str); 20] = [
    ("input_cost_per_image", "image_in"),
    ("output_cost_per_image", "image_out"),
    ("input_cost_per_pixel", "pixel_in"),
    ("output_cost_per_pixel", "pixel_out"),
    ("input_cost_per_second", "second_in"),
    ("output_cost_per_second", "second_out"),
    ("cost_per_second", "second"),
    ("input_cost_per_audio_per_second", "audio_second_in"),
    ("output_cost_per_audio_per_second", "audio_second_out"),
    ("input_cost_per_video_per_second", "video_second_in"),
    ("output_cost_per_video_per_second", "video_second_out"),
    ("input_cost_per_query", "query"),
    ("google_maps_grounding_cost_per_query", "maps_query"),
    ("search_queries_cost_per_query", "search_query"),
    ("input_cost_per_request", "request"),
    ("input_cost_per_text_message", "text_message"),
    ("ocr_cost_per_page", "ocr_page"),
    ("annotation_cost_per_page", "annotation_page"),
    ("ocr_cost_per_credit", "ocr_credit"),
    ("code_interpreter_cost_per_session", "code_interpreter_session"),
];

/// LiteLLM's endings for service tiers, and ours.
const SERVICES: [(&str, &str); 6] = [
    ("_batches", "batch"),
    ("_priority", "priority"),
    ("_flex", "flex"),
    ("_balanced", "balanced"),
    ("_ultrafast", "ultrafast"),
    ("_decisions", "decisions"),
];

/// Capabilities whose LiteLLM name is not `supports_` and ours.
const CAPABILITIES: [(&str, &str); 16] = [
    ("function_calling", "tools"),
    ("parallel_function_calling", "parallel_tools"),
    ("pdf_input", "pdf"),
    ("audio_input", "audio_in"),
    ("audio_output", "audio_out"),
    ("video_input", "video_in"),
    ("image_input", "image_in"),
    ("embedding_image_input", "embed_image_in"),
    ("response_schema", "json_schema"),
    ("system_messages", "system"),
    ("assistant_prefill", "prefill"),
    ("none_reasoning_effort", "effort_none"),
    ("minimal_reasoning_effort", "effort_minimal"),
    ("low_reasoning_effort", "effort_low"),
    ("xhigh_reasoning_effort", "effort_xhigh"),
    ("max_reasoning_effort", "effort_max"),
];

/// Capabilities with the same name on both sides.
const SAME_CAPABILITIES: [&str; 33] = [
    "adaptive_thinking",
    "anthropic_compaction",
    "anthropic_thinking_payload",
    "bedrock_converse_tool_result_images",
    "bedrock_native_structured_output",
    "bedrock_runtime_chat_completions_inline_reasoning",
    "bedrock_runtime_chat_completions_response_format",
    "bedrock_runtime_chat_completions_tools_with_reasoning",
    "box_questions",
    "computer_use",
    "fast_mode",
    "forced_tool_use",
    "image_size",
    "legacy_thinking",
    "mid_conversation_system",
    "multimodal",
    "native_streaming",
    "native_structured_output",
    "nova_canvas_image_edit",
    "output_config",
    "parallel_tool_use_config",
    "prompt_cache_breakpoint",
    "prompt_caching",
    "reasoning",
    "regex_lookaround",
    "sampling_params",
    "speed",
    "thinking_cache_preservation",
    "tool_choice",
    "tool_search",
    "url_context",
    "vision",
    "web_search",
];

/// Our name of the capability that `supports_…` states.
pub(crate) fn capability(key: &str) -> Option<&'static str> {
    let name = key.strip_prefix("supports_")?;
    let renamed = CAPABILITIES.iter().find(|(theirs, _)| *theirs == name).map(|(_, ours)| *ours);
    renamed.or_else(|| SAME_CAPABILITIES.iter().find(|same| **same == name).copied())
}

/// Where the price under `key` belongs; `None` when it is no price key we know.
pub(crate) fn place(key: &str) -> Option<Place> {
    let whole = |key: &str| target(key).map(|target| Place { target, above: None, service: None });
    if let Some(place) = whole(key) {
        return Some(place);
    }
    let ending = SERVICES.iter().find_map(|(ending, name)| Some((key.strip_suffix(ending)?, *name)));
    let (rest, service) = match ending {
        Some((rest, name)) => (rest, Some(name)),
        None => (key, None),
    };
    if let Some(target) = target(rest) {
        return Some(Place { target, above: None, service });
    }
    let (base, threshold) = rest.rsplit_once("_above_")?;
    let above = match (threshold.strip_suffix("k_tokens"), threshold.strip_suffix("s_interval")) {
        (Some(thousands), _) => Above::Tokens(thousands.parse::<u64>().ok()?.checked_mul(1000)?),
        (_, Some(seconds)) => Above::Seconds(seconds.parse().ok()?),
        _ => return None,
    };
    Some(Place { target: target(base)?, above: Some(above), service })
}

fn target(key: &str) -> Option<Target> {
    if let Some((_, rate)) = TOKENS.iter().find(|(name, _)| *name == key) {
        return Some(Target::Token(*rate));
    }
    if let Some((_, unit)) = UNITS.iter().find(|(name, _)| *name == key) {
        return Some(Target::Unit((*unit).to_owned()));
    }
    // output_cost_per_second_1080p, output_cost_per_image_2K
    let sized = [("output_cost_per_second_", "second_out"), ("output_cost_per_image_", "image_out")];
    sized.iter().find_map(|(beginning, unit)| {
        let size = key.strip_prefix(beginning)?;
        let number = size.trim_end_matches(['k', 'K', 'p', 'P']);
        let plausible =
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        (plausible && size.len() - number.len() <= 1).then(|| Target::Unit(format!("{unit}@{size}")))
    })
}

/// Reads a price: dollars a token or unit, never negative.
pub(crate) fn price(key: &str, text: &str) -> Result<Price> {
    let price = Price::parse_dollars(text).filter(|price| price.picos() >= 0);
    price.ok_or_else(|| Error::new(format!("`{key}` is not a price in dollars: {text}")))
}

/// Puts a price where its key says.
pub(crate) fn put(sheet: &mut PriceSheet, place: &Place, price: Price) {
    let (rates, tiers) = match place.service {
        Some(name) => {
            let service = sheet.services.entry(name.to_owned()).or_default();
            (&mut service.rates, &mut service.tiers)
        }
        None => (&mut sheet.base, &mut sheet.tiers),
    };
    let rates = match place.above {
        Some(above) => tier(tiers, above),
        None => Some(rates),
    };
    match (rates, &place.target) {
        (Some(rates), Target::Token(rate)) => drop(rates.tokens.insert(*rate, price)),
        (Some(rates), Target::Unit(unit)) => drop(rates.units.insert(unit.clone(), price)),
        (None, _) => {}
    }
}

/// The rates of the tier above `above`, new if need be, tiers kept in order.
fn tier(tiers: &mut Vec<Tier>, above: Above) -> Option<&mut Rates> {
    let at = tiers.partition_point(|tier| tier.above < above);
    if tiers.get(at).is_none_or(|tier| tier.above != above) {
        tiers.insert(at, Tier { above, rates: Rates::default() });
    }
    tiers.get_mut(at).map(|tier| &mut tier.rates)
}

/// Price keys that hold an object or a list.
pub(crate) const NESTED: [&str; 4] =
    ["search_context_cost_per_query", "guardrail_cost_per_unit", "tiered_pricing", "off_peak_pricing"];

type RawMap<'a> = BTreeMap<String, &'a RawValue>;

fn parse<'a, T: serde::Deserialize<'a>>(key: &str, json: &'a str) -> Result<T> {
    serde_json::from_str(json).map_err(|error| Error::new(format!("`{key}`: {error}")))
}

/// Puts what a nested key holds.
pub(crate) fn put_nested(sheet: &mut PriceSheet, key: &str, json: &str) -> Result<()> {
    match key {
        "search_context_cost_per_query" => variants(sheet, key, json, "search_query", "search_context_size_"),
        "guardrail_cost_per_unit" => variants(sheet, key, json, "guardrail", ""),
        "tiered_pricing" => {
            let rows: Vec<RawMap<'_>> = parse(key, json)?;
            sheet.ranges = rows.iter().map(range).collect::<Result<_>>()?;
            Ok(())
        }
        "off_peak_pricing" => {
            sheet.off_peak = Some(off_peak(&parse(key, json)?)?);
            Ok(())
        }
        _ => Err(unknown(key)),
    }
}

pub(crate) fn unknown(key: &str) -> Error {
    Error::new(format!("unknown price key `{key}`"))
}

fn variants(sheet: &mut PriceSheet, key: &str, json: &str, unit: &str, beginning: &str) -> Result<()> {
    for (name, raw) in parse::<RawMap<'_>>(key, json)? {
        let variant = name.strip_prefix(beginning).ok_or_else(|| unknown(&format!("{key}.{name}")))?;
        sheet.base.units.insert(format!("{unit}@{variant}"), price(&name, raw.get())?);
    }
    Ok(())
}

fn plain(rates: &mut Rates, key: &str, raw: &RawValue) -> Result<()> {
    match place(key) {
        Some(Place { target, above: None, service: None }) => {
            let price = price(key, raw.get())?;
            match target {
                Target::Token(rate) => drop(rates.tokens.insert(rate, price)),
                Target::Unit(unit) => drop(rates.units.insert(unit, price)),
            }
            Ok(())
        }
        _ => Err(unknown(key)),
    }
}

fn range(row: &RawMap<'_>) -> Result<Range> {
    let mut range = Range { measure: Measure::Tokens, from: 0, to: 0, rates: Rates::default() };
    for (key, raw) in row {
        let measure = match key.as_str() {
            "range" => Measure::Tokens,
            "max_results_range" => Measure::Results,
            _ => {
                plain(&mut range.rates, key, raw)?;
                continue;
            }
        };
        let [from, to] = parse::<[&RawValue; 2]>(key, raw.get())?;
        (range.measure, range.from, range.to) = (measure, whole(key, from.get())?, whole(key, to.get())?);
    }
    if range.to <= range.from {
        return Err(Error::new("`tiered_pricing` needs a `range` or `max_results_range` that is not empty"));
    }
    Ok(range)
}

/// A whole number, which the source may write as `256000.0` or `1e6`.
pub(crate) fn whole(key: &str, text: &str) -> Result<u64> {
    let wrong = || Error::new(format!("`{key}` is not a whole number: {text}"));
    let scaled = tollway_model::Money::parse_dollars(text).ok_or_else(wrong)?.nanos();
    let (number, rest) = (scaled / 1_000_000_000, scaled % 1_000_000_000);
    u64::try_from(number).ok().filter(|_| rest == 0).ok_or_else(wrong)
}

fn off_peak(row: &RawMap<'_>) -> Result<OffPeak> {
    let mut found = OffPeak { rates: Rates::default(), windows: Vec::new(), weekday_zone: None };
    for (key, raw) in row {
        match key.as_str() {
            "windows" => found.windows = row::windows(raw)?,
            "weekday_timezone" => found.weekday_zone = row::zone(raw.get().trim_matches('"'))?,
            _ => plain(&mut found.rates, key, raw)?,
        }
    }
    if found.windows.is_empty() {
        return Err(Error::new("`off_peak_pricing` without `windows`"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: &str, target: Target, above: Option<Above>, service: Option<&'static str>) {
        assert_eq!(place(key), Some(Place { target, above, service }), "{key}");
    }

    #[test]
    fn price_keys_say_where_they_belong() {
        let long = |thousands: u64| Some(Above::Tokens(thousands * 1000));
        check("input_cost_per_token", Target::Token(Rate::In), None, None);
        check("input_cost_per_token_cache_hit", Target::Token(Rate::CacheHitLegacy), None, None);
        check("output_cost_per_token_above_200k_tokens", Target::Token(Rate::Out), long(200), None);
        check("cache_creation_input_token_cost_above_1hr", Target::Token(Rate::CacheWrite1h), None, None);
        check(
            "cache_creation_input_token_cost_above_1hr_above_100k_tokens",
            Target::Token(Rate::CacheWrite1h),
            long(100),
            None,
        );
        check(
            "cache_creation_input_token_cost_above_12hr_above_272k_tokens_flex",
            Target::Token(Rate::CacheWrite12h),
            long(272),
            Some("flex"),
        );
        check("input_cost_per_audio_token_batches", Target::Token(Rate::AudioIn), None, Some("batch"));
        let unit = |name: &str| Target::Unit(name.into());
        check("output_cost_per_second_1080p", unit("second_out@1080p"), None, None);
        check("output_cost_per_image_0.5K", unit("image_out@0.5K"), None, None);
        check(
            "input_cost_per_video_per_second_above_8s_interval",
            unit("video_second_in"),
            Some(Above::Seconds(8)),
            None,
        );
        check("ocr_cost_per_page_batches", unit("ocr_page"), None, Some("batch"));
    }

    #[test]
    fn keys_of_other_things_are_no_prices() {
        for key in [
            "",
            "input_cost",
            "output_cost_per_image_tokens",
            "output_cost_per_image_kk",
            "input_cost_per_token_above_k_tokens",
            "input_cost_per_token_above_9k",
            "input_cost_per_token_gold",
            "max_tokens",
        ] {
            assert_eq!(place(key), None, "{key}");
        }
    }

    #[test]
    fn capabilities_have_one_name_each() {
        assert_eq!(capability("supports_function_calling"), Some("tools"));
        assert_eq!(capability("supports_vision"), Some("vision"));
        assert_eq!(capability("supports_flying"), None);
        assert_eq!(capability("vision"), None);
    }

    #[test]
    fn whole_numbers_may_be_written_as_floats() {
        assert_eq!(whole("k", "256000.0"), Ok(256_000));
        assert_eq!(whole("k", "1e6"), Ok(1_000_000));
        for text in ["1.5", "-1", "x", "\"5\""] {
            assert!(whole("k", text).is_err(), "{text}");
        }
    }
}

//! One line of the table: JSON to [`Entry`] and back.
//!
//! Prices are read from the digits of the file, never through a float, and written with exactly the digits they need,
//! so that a written line reads back as the same entry. Unknown keys are errors: a table with facts this code does
//! not know must not be half read.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tollway_model::Price;

use crate::entry::{Entry, Limits};
use crate::sheet::{
    Above, Measure, OffPeak, PriceSheet, Range, Rate, Rates, Ratio, Service, Tier, Window, Zone, is_unit,
};
use crate::{Error, Result};

mod write;

pub(crate) use write::write;

type RawMap<'a> = BTreeMap<String, &'a RawValue>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row<'a> {
    id: String,
    provider: String,
    mode: Option<String>,
    #[serde(default)]
    limits: RowLimits,
    #[serde(borrow, default)]
    price: RawMap<'a>,
    #[serde(borrow, default)]
    units: RawMap<'a>,
    #[serde(borrow, default)]
    tiers: Vec<RawMap<'a>>,
    #[serde(borrow, default)]
    ranges: Vec<RawMap<'a>>,
    #[serde(borrow, default)]
    service: BTreeMap<String, RawMap<'a>>,
    #[serde(borrow, default)]
    off_peak: Option<RawMap<'a>>,
    #[serde(default)]
    caps: Vec<String>,
    #[serde(default)]
    no: Vec<String>,
    #[serde(default)]
    effort_levels: Vec<String>,
    effort_default: Option<String>,
    #[serde(default)]
    endpoints: Vec<String>,
    #[serde(default)]
    modalities_in: Vec<String>,
    #[serde(default)]
    modalities_out: Vec<String>,
    #[serde(default)]
    regions: Vec<String>,
    deprecated: Option<String>,
    #[serde(default)]
    extra: Map<String, Value>,
    source: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RowLimits {
    #[serde(rename = "in")]
    input: Option<u64>,
    out: Option<u64>,
    legacy_max: Option<u64>,
    rpm: Option<u64>,
    tpm: Option<u64>,
    dims: Option<u64>,
    cache_min: Option<u64>,
}

/// Reads one line.
pub(crate) fn read(line: &[u8]) -> Result<Entry> {
    let row: Row<'_> = serde_json::from_slice(line).map_err(|error| Error::new(error.to_string()))?;
    let prices = sheet(&row).map_err(|error| error.at(&row.id))?;
    Ok(Entry {
        prices,
        limits: Limits {
            input: row.limits.input,
            output: row.limits.out,
            legacy_max: row.limits.legacy_max,
            requests_per_minute: row.limits.rpm,
            tokens_per_minute: row.limits.tpm,
            dimensions: row.limits.dims,
            cache_min: row.limits.cache_min,
        },
        id: row.id,
        label: row.provider,
        mode: row.mode,
        caps: row.caps,
        no: row.no,
        effort_levels: row.effort_levels,
        effort_default: row.effort_default,
        endpoints: row.endpoints,
        modalities_in: row.modalities_in,
        modalities_out: row.modalities_out,
        regions: row.regions,
        deprecated: row.deprecated,
        extra: row.extra,
        source: row.source,
        derived: None,
    })
}

fn sheet(row: &Row<'_>) -> Result<PriceSheet> {
    let mut base = Rates::default();
    for (key, raw) in &row.price {
        token(&mut base, key, raw)?;
    }
    for (key, raw) in &row.units {
        unit(&mut base, key, raw)?;
    }
    let services = row.service.iter().map(|(name, raw)| Ok((name.clone(), service(raw)?)));
    Ok(PriceSheet {
        base,
        tiers: tiers(&row.tiers)?,
        ranges: row.ranges.iter().map(range).collect::<Result<_>>()?,
        services: services.collect::<Result<_>>()?,
        off_peak: row.off_peak.as_ref().map(off_peak).transpose()?,
        multipliers: multipliers(&row.extra)?,
        search_per_prompt: search_per_prompt(&row.provider, &row.extra),
    })
}

/// Factors on token prices that the source keeps among its oddities.
pub(crate) fn multipliers(extra: &Map<String, Value>) -> Result<BTreeMap<String, Ratio>> {
    let mut found = BTreeMap::new();
    let mut take = |name: &str, value: Option<&Value>| -> Result<()> {
        if let Some(number) = value.filter(|value| value.is_number()) {
            found.insert(name.to_owned(), Ratio::parse(&number.to_string())?);
        }
        Ok(())
    };
    let specific = extra.get("provider_specific_entry");
    take("us", specific.and_then(|specific| specific.get("us")))?;
    take("fast", specific.and_then(|specific| specific.get("fast")))?;
    take("us", extra.get("regional_processing_uplift_multiplier_us"))?;
    take("eu", extra.get("regional_processing_uplift_multiplier_eu"))?;
    take("regional", extra.get("regional_endpoint_uplift_multiplier"))?;
    Ok(found)
}

/// Google's models charge grounding once a prompt unless the table says they charge every query.
pub(crate) fn search_per_prompt(label: &str, extra: &Map<String, Value>) -> bool {
    let google = label == "gemini" || label == "vertex_ai-language-models" || label == "vertex_ai";
    google && extra.get("web_search_billing_unit").and_then(Value::as_str) != Some("per_query")
}

fn text(raw: &RawValue) -> &str {
    raw.get().trim_matches('"')
}

fn number(key: &str, raw: &RawValue) -> Result<u64> {
    let wrong = || Error::new(format!("`{key}` is not a whole number: {}", raw.get()));
    raw.get().parse().map_err(|_| wrong())
}

/// A price of a million tokens.
fn token(rates: &mut Rates, key: &str, raw: &RawValue) -> Result<()> {
    let rate = Rate::from_name(key).ok_or_else(|| Error::new(format!("unknown price `{key}`")))?;
    let price = Price::parse_dollars_per_million(text(raw));
    rates.tokens.insert(rate, not_negative(key, raw, price)?);
    Ok(())
}

/// A price of one unit, or of its variants as an object.
fn unit(rates: &mut Rates, key: &str, raw: &RawValue) -> Result<()> {
    if !is_unit(key) {
        return Err(Error::new(format!("unknown unit `{key}`")));
    }
    if !raw.get().starts_with('{') {
        rates.units.insert(key.to_owned(), not_negative(key, raw, Price::parse_dollars(text(raw)))?);
        return Ok(());
    }
    for (variant, raw) in parse::<RawMap<'_>>(key, raw)? {
        let name = format!("{key}@{variant}");
        let price = not_negative(&name, raw, Price::parse_dollars(text(raw)))?;
        rates.units.insert(name, price);
    }
    Ok(())
}

fn not_negative(key: &str, raw: &RawValue, price: Option<Price>) -> Result<Price> {
    let price = price.filter(|price| price.picos() >= 0);
    price.ok_or_else(|| Error::new(format!("`{key}` is not a price: {}", raw.get())))
}

fn parse<'a, T: Deserialize<'a>>(key: &str, raw: &'a RawValue) -> Result<T> {
    serde_json::from_str(raw.get()).map_err(|error| Error::new(format!("`{key}`: {error}")))
}

/// Token rates, and unit rates under `unit.` names.
fn mixed(rates: &mut Rates, key: &str, raw: &RawValue) -> Result<()> {
    match key.strip_prefix("unit.") {
        Some(name) => unit(rates, name, raw),
        None => token(rates, key, raw),
    }
}

fn tiers(raw: &[RawMap<'_>]) -> Result<Vec<Tier>> {
    let mut tiers = raw.iter().map(tier).collect::<Result<Vec<_>>>()?;
    tiers.sort_by_key(|tier| tier.above);
    Ok(tiers)
}

fn tier(raw: &RawMap<'_>) -> Result<Tier> {
    let (mut above, mut rates) = (None, Rates::default());
    for (key, value) in raw {
        match key.as_str() {
            "above_tokens" => above = Some(Above::Tokens(number(key, value)?)),
            "above_seconds" => above = Some(Above::Seconds(number(key, value)?)),
            _ => mixed(&mut rates, key, value)?,
        }
    }
    let above = above.ok_or_else(|| Error::new("a tier without `above_tokens` or `above_seconds`"))?;
    Ok(Tier { above, rates })
}

fn range(raw: &RawMap<'_>) -> Result<Range> {
    let mut range = Range { measure: Measure::Tokens, from: 0, to: 0, rates: Rates::default() };
    for (key, value) in raw {
        match key.as_str() {
            "from" => range.from = number(key, value)?,
            "to" => range.to = number(key, value)?,
            "results_from" => (range.measure, range.from) = (Measure::Results, number(key, value)?),
            "results_to" => (range.measure, range.to) = (Measure::Results, number(key, value)?),
            _ => mixed(&mut range.rates, key, value)?,
        }
    }
    if range.to <= range.from {
        return Err(Error::new(format!("an empty range from {} to {}", range.from, range.to)));
    }
    Ok(range)
}

fn service(raw: &RawMap<'_>) -> Result<Service> {
    let mut service = Service::default();
    for (key, value) in raw {
        match key.as_str() {
            "tiers" => service.tiers = tiers(&parse::<Vec<RawMap<'_>>>(key, value)?)?,
            _ => mixed(&mut service.rates, key, value)?,
        }
    }
    Ok(service)
}

fn off_peak(raw: &RawMap<'_>) -> Result<OffPeak> {
    let mut found = OffPeak { rates: Rates::default(), windows: Vec::new(), weekday_zone: None };
    for (key, value) in raw {
        match key.as_str() {
            "windows" => found.windows = windows(value)?,
            "weekday_timezone" => found.weekday_zone = zone(text(value))?,
            _ => mixed(&mut found.rates, key, value)?,
        }
    }
    if found.windows.is_empty() {
        return Err(Error::new("off-peak prices without `windows`"));
    }
    Ok(found)
}

/// The zone that decides weekdays; `None` is UTC.
pub(crate) fn zone(name: &str) -> Result<Option<Zone>> {
    match name {
        "UTC" => Ok(None),
        name if name == Zone::Shanghai.name() => Ok(Some(Zone::Shanghai)),
        _ => Err(Error::new(format!("unknown `weekday_timezone` {name}; known are UTC and Asia/Shanghai"))),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RowWindow {
    hours_utc: OneOrMany,
    #[serde(default)]
    weekdays: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// Windows of cheaper hours, as the table and its source both write them.
pub(crate) fn windows(raw: &RawValue) -> Result<Vec<Window>> {
    let rows: Vec<RowWindow> = parse("windows", raw)?;
    rows.into_iter()
        .map(|row| {
            let hours = match row.hours_utc {
                OneOrMany::One(hours) => vec![hours],
                OneOrMany::Many(hours) => hours,
            };
            if row.weekdays.iter().any(|day| !(1..=7).contains(day)) {
                return Err(Error::new(format!("weekdays run from 1 to 7: {:?}", row.weekdays)));
            }
            let spans = hours.iter().map(|hours| span(hours)).collect::<Result<_>>()?;
            Ok(Window { spans, weekdays: row.weekdays })
        })
        .collect()
}

/// `10:00-00:00` in minutes after midnight.
fn span(text: &str) -> Result<(u16, u16)> {
    let minute = |time: &str| -> Option<u16> {
        let (hour, minute) = time.split_once(':')?;
        let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
        (hour < 24 && minute < 60).then_some(hour * 60 + minute)
    };
    let ends = text.split_once('-').and_then(|(start, end)| Some((minute(start)?, minute(end)?)));
    ends.ok_or_else(|| Error::new(format!("not a span of hours such as `10:00-16:30`: `{text}`")))
}

#[cfg(test)]
mod tests;

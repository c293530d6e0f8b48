//! The prices of one model.
//!
//! A sheet has standard rates, and layers that replace some of them: long prompts, brackets, service tiers and cheap
//! hours. Token rates are prices of one token (or character); the table writes them for a million.

use std::collections::BTreeMap;

use tollway_model::Price;

use crate::{Error, Result};

/// What a token (or character) rate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rate {
    /// Text prompt tokens.
    In,
    /// Text generated.
    Out,
    /// Prompt tokens from the provider's cache.
    CacheRead,
    /// Prompt tokens written to the cache for five minutes or an unstated time.
    CacheWrite,
    /// Prompt tokens written to the cache for an hour.
    CacheWrite1h,
    /// Prompt tokens written to the cache for twelve hours. No provider reports such tokens apart yet.
    CacheWrite12h,
    /// Thinking tokens.
    Reasoning,
    /// Audio prompt tokens.
    AudioIn,
    /// Audio tokens generated.
    AudioOut,
    /// Audio prompt tokens from the cache.
    AudioCacheRead,
    /// Audio prompt tokens written to the cache. No provider reports such tokens apart yet.
    AudioCacheWrite,
    /// Image prompt tokens.
    ImageIn,
    /// Image tokens generated.
    ImageOut,
    /// Image prompt tokens from the cache.
    ImageCacheRead,
    /// Video prompt tokens.
    VideoIn,
    /// Video tokens generated.
    VideoOut,
    /// Characters read.
    CharIn,
    /// Characters written.
    CharOut,
    /// Tokens of cited sources.
    Citation,
    /// Prompt tokens from a cache entry the caller created and named.
    CacheReadExplicit,
    /// An older name of [`Rate::CacheRead`], used where that is absent.
    CacheHitLegacy,
    /// Databricks units for prompt tokens: not US dollars, never charged.
    DbuIn,
    /// Databricks units for generated tokens: not US dollars, never charged.
    DbuOut,
}

/// Every token rate with its name in the table.
pub(crate) const RATES: [(Rate, &str); 23] = [
    (Rate::In, "in"),
    (Rate::Out, "out"),
    (Rate::CacheRead, "cache_read"),
    (Rate::CacheWrite, "cache_write"),
    (Rate::CacheWrite1h, "cache_write_1h"),
    (Rate::CacheWrite12h, "cache_write_12h"),
    (Rate::Reasoning, "reasoning"),
    (Rate::AudioIn, "audio_in"),
    (Rate::AudioOut, "audio_out"),
    (Rate::AudioCacheRead, "audio_cache_read"),
    (Rate::AudioCacheWrite, "audio_cache_write"),
    (Rate::ImageIn, "image_in"),
    (Rate::ImageOut, "image_out"),
    (Rate::ImageCacheRead, "image_cache_read"),
    (Rate::VideoIn, "video_in"),
    (Rate::VideoOut, "video_out"),
    (Rate::CharIn, "char_in"),
    (Rate::CharOut, "char_out"),
    (Rate::Citation, "citation"),
    (Rate::CacheReadExplicit, "cache_read_explicit"),
    (Rate::CacheHitLegacy, "cache_hit_legacy"),
    (Rate::DbuIn, "dbu_in"),
    (Rate::DbuOut, "dbu_out"),
];

/// Things priced one by one; a size, resolution or kind may follow after `@` (`image_out@2K`, `search_query@low`).
pub(crate) const UNITS: [&str; 21] = [
    "annotation_page",
    "audio_second_in",
    "audio_second_out",
    "code_interpreter_session",
    "guardrail",
    "image_in",
    "image_out",
    "maps_query",
    "ocr_credit",
    "ocr_page",
    "pixel_in",
    "pixel_out",
    "query",
    "request",
    "search_query",
    "second",
    "second_in",
    "second_out",
    "text_message",
    "video_second_in",
    "video_second_out",
];

impl Rate {
    /// The name in the table.
    pub fn name(self) -> &'static str {
        RATES.iter().find(|(rate, _)| *rate == self).map_or("", |(_, name)| name)
    }

    /// The rate the table calls `name`.
    pub fn from_name(name: &str) -> Option<Rate> {
        RATES.iter().find(|(_, known)| *known == name).map(|(rate, _)| *rate)
    }

    /// Is it paid for what goes in?
    pub(crate) const fn is_input(self) -> bool {
        !matches!(
            self,
            Rate::Out
                | Rate::Reasoning
                | Rate::AudioOut
                | Rate::ImageOut
                | Rate::VideoOut
                | Rate::CharOut
                | Rate::Citation
                | Rate::DbuOut
        )
    }
}

/// Is `key` a unit the table knows, with or without a variant after `@`?
pub(crate) fn is_unit(key: &str) -> bool {
    let base = key.split_once('@').map_or(key, |(base, _)| base);
    UNITS.contains(&base)
}

/// A set of rates. What is absent is not priced here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rates {
    /// Prices of one token or character.
    pub tokens: BTreeMap<Rate, Price>,
    /// Prices of other things, by name; a variant follows after `@`.
    pub units: BTreeMap<String, Price>,
}

impl Rates {
    /// The price of a token of this kind.
    pub fn token(&self, rate: Rate) -> Option<Price> {
        self.tokens.get(&rate).copied()
    }

    /// The price of a unit: its `variant` when there is one, else the plain unit.
    pub fn unit(&self, name: &str, variant: Option<&str>) -> Option<Price> {
        // Most sheets sell tokens only.
        if self.units.is_empty() {
            return None;
        }
        let exact = variant.and_then(|variant| self.units.get(&format!("{name}@{variant}")));
        exact.or_else(|| self.units.get(name)).copied()
    }

    /// Is nothing priced?
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.units.is_empty()
    }
}

/// What a [`Tier`] needs to apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Above {
    /// More prompt tokens than this, cached ones included; exactly this many is still the lower tier.
    Tokens(u64),
    /// Media longer than this many seconds.
    Seconds(u64),
}

/// Rates of long prompts or long media. They replace the named ones; the highest tier that is reached applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tier {
    /// When it applies.
    pub above: Above,
    /// What it replaces.
    pub rates: Rates,
}

/// What a [`Range`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// All prompt tokens.
    Tokens,
    /// Results asked of a search.
    Results,
}

/// Rates of a bracket. A count belongs to the first bracket whose `to` is not below it, and past the last bracket
/// the last one applies; the whole call is charged at that bracket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// What is counted.
    pub measure: Measure,
    /// Where it begins. Kept for readers: brackets follow each other.
    pub from: u64,
    /// The last count that belongs to it.
    pub to: u64,
    /// The rates.
    pub rates: Rates,
}

/// Rates of a service tier such as `batch`, `flex` or `priority`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Service {
    /// The rates of usual prompts.
    pub rates: Rates,
    /// Its own tiers.
    pub tiers: Vec<Tier>,
}

/// Hours in which other rates apply, in UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Spans in minutes after midnight UTC: start included, end excluded. Equal ends mean the whole day; a span may
    /// wrap around midnight.
    pub spans: Vec<(u16, u16)>,
    /// Days it holds on, 1 = Monday; empty means every day.
    pub weekdays: Vec<u8>,
}

/// Cheaper hours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffPeak {
    /// What it replaces.
    pub rates: Rates,
    /// When it applies: in any of these.
    pub windows: Vec<Window>,
    /// The zone that decides which weekday it is, when that is not UTC.
    pub weekday_zone: Option<Zone>,
}

/// A time zone without daylight saving, by its name in the time-zone database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// UTC+8 all year since 1991.
    Shanghai,
}

impl Zone {
    /// Its database name.
    pub const fn name(self) -> &'static str {
        match self {
            Zone::Shanghai => "Asia/Shanghai",
        }
    }

    const fn offset_seconds(self) -> i64 {
        match self {
            Zone::Shanghai => 8 * 3600,
        }
    }
}

impl OffPeak {
    /// Do the cheap hours hold at `at`, in Unix seconds?
    pub fn holds(&self, at: i64) -> bool {
        let minute = at.rem_euclid(86_400) / 60;
        let shift = self.weekday_zone.map_or(0, Zone::offset_seconds);
        // 1970-01-01 was a Thursday.
        let weekday = (at + shift).div_euclid(86_400).wrapping_add(3).rem_euclid(7) + 1;
        self.windows.iter().any(|window| {
            let day =
                window.weekdays.is_empty() || window.weekdays.iter().any(|day| i64::from(*day) == weekday);
            day && window.spans.iter().any(|span| within(*span, minute))
        })
    }
}

fn within((start, end): (u16, u16), minute: i64) -> bool {
    let (start, end) = (i64::from(start), i64::from(end));
    if start < end { (start..end).contains(&minute) } else { minute >= start || minute < end }
}

/// An exact positive factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ratio {
    /// Above the line.
    pub numerator: u32,
    /// Below the line, never zero.
    pub denominator: u32,
}

impl Ratio {
    /// One.
    pub const ONE: Ratio = Ratio { numerator: 1, denominator: 1 };

    /// Reads a decimal such as `1.1` exactly, in lowest terms.
    pub fn parse(text: &str) -> Result<Ratio> {
        let fail = || Error::new(format!("not a factor between 0 and 1000: `{text}`"));
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let places = u32::try_from(fraction.len()).ok().filter(|places| *places <= 6).ok_or_else(fail)?;
        let digits: u32 = format!("{whole}{fraction}").parse().map_err(|_| fail())?;
        let denominator = 10_u32.pow(places);
        if digits == 0 || digits / denominator > 1000 {
            return Err(fail());
        }
        Ok(Ratio { numerator: digits, denominator }.reduced())
    }

    /// The product; `None` when it does not fit, which products of parsed factors do.
    pub fn times(self, other: Ratio) -> Option<Ratio> {
        let numerator = self.numerator.checked_mul(other.numerator)?;
        let denominator = self.denominator.checked_mul(other.denominator)?;
        Some(Ratio { numerator, denominator }.reduced())
    }

    fn reduced(self) -> Ratio {
        let (mut a, mut b) = (self.numerator, self.denominator);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        let divisor = a.max(1);
        Ratio { numerator: self.numerator / divisor, denominator: self.denominator / divisor }
    }
}

/// All prices of one model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PriceSheet {
    /// Standard rates.
    pub base: Rates,
    /// Rates of long prompts, lowest first.
    pub tiers: Vec<Tier>,
    /// Brackets, lowest first.
    pub ranges: Vec<Range>,
    /// Rates of service tiers, by name.
    pub services: BTreeMap<String, Service>,
    /// Cheaper hours of the standard service.
    pub off_peak: Option<OffPeak>,
    /// Factors on all token prices: a geography (`us`, `eu`), `regional` endpoints, or the `fast` mode.
    pub multipliers: BTreeMap<String, Ratio>,
    /// Searches are charged once a prompt, however many were run.
    pub search_per_prompt: bool,
}

impl PriceSheet {
    /// Is nothing priced at all?
    pub fn is_empty(&self) -> bool {
        self.base.is_empty()
            && self.tiers.is_empty()
            && self.ranges.is_empty()
            && self.services.is_empty()
            && self.off_peak.is_none()
    }

    /// Is something priced, and everything at zero?
    pub fn is_free(&self) -> bool {
        let layers = std::iter::once(&self.base)
            .chain(self.tiers.iter().map(|tier| &tier.rates))
            .chain(self.ranges.iter().map(|range| &range.rates))
            .chain(self.services.values().map(|service| &service.rates));
        let mut prices = layers.flat_map(|rates| rates.tokens.values().chain(rates.units.values()));
        !self.is_empty() && prices.all(|price| price.picos() == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_exact_fractions_in_lowest_terms() {
        for (text, numerator, denominator) in [("1.1", 11, 10), ("2.0", 2, 1), ("1", 1, 1), ("0.5", 1, 2)] {
            assert_eq!(Ratio::parse(text), Ok(Ratio { numerator, denominator }), "{text}");
        }
        for text in ["", "0", "-1", "x", "1.1234567", "1e3", "2000"] {
            assert!(Ratio::parse(text).is_err(), "{text}");
        }
    }

    fn check_hours(spans: &[(u16, u16)], weekdays: &[u8], zone: Option<Zone>, at: i64, expected: bool) {
        let window = Window { spans: spans.to_vec(), weekdays: weekdays.to_vec() };
        let off_peak = OffPeak { rates: Rates::default(), windows: vec![window], weekday_zone: zone };
        assert_eq!(off_peak.holds(at), expected, "{spans:?} {weekdays:?} {at}");
    }

    #[test]
    fn cheap_hours_follow_the_utc_clock_and_the_weekday() {
        // 2026-11-20 was a Friday; midnight UTC is 1_795_132_800.
        let friday = 1_795_132_800;
        check_hours(&[(60, 120)], &[], None, friday + 3600, true);
        check_hours(&[(60, 120)], &[], None, friday + 7199, true);
        check_hours(&[(60, 120)], &[], None, friday + 7200, false);
        check_hours(&[(60, 120)], &[], None, friday + 3599, false);
        check_hours(&[(600, 0)], &[5], None, friday + 86_399, true);
        check_hours(&[(0, 0)], &[6, 7], None, friday, false);
        check_hours(&[(0, 0)], &[6, 7], None, friday + 86_400, true);
        check_hours(&[(1320, 120)], &[], None, friday + 3600, true);
        check_hours(&[(0, 0)], &[6], Some(Zone::Shanghai), friday + 16 * 3600, true);
        check_hours(&[(0, 0)], &[6], Some(Zone::Shanghai), friday + 16 * 3600 - 1, false);
    }
}

//! Which rates hold for a call.
//!
//! Layers lie on the standard rates: the most particular first. A rate that a layer does not name falls back to that
//! layer's own `in` or `out`, because a service or a long prompt reprices everything; see [`Layers::inherit`].

use tollway_model::{Price, Usage};

use crate::facts::Facts;
use crate::sheet::{Above, Measure, PriceSheet, Range, Rate, Rates, Ratio, Service, Tier};

/// The layers of a sheet that hold for one call.
pub(crate) struct Layers<'a> {
    sheet: &'a PriceSheet,
    layers: Vec<&'a Rates>,
    /// The factor on every token price.
    pub(crate) multiplier: Ratio,
}

impl<'a> Layers<'a> {
    pub(crate) fn choose(sheet: &'a PriceSheet, usage: &Usage, facts: &Facts<'_>) -> Layers<'a> {
        let prompt = usage.total_input();
        let mut layers = Vec::new();
        let service = service(sheet, facts);
        if let Some(service) = service {
            layers.extend(reached_tokens(&service.tiers, prompt));
            layers.push(&service.rates);
        } else if let Some(off_peak) =
            sheet.off_peak.as_ref().filter(|hours| facts.at.is_some_and(|at| hours.holds(at)))
        {
            layers.push(&off_peak.rates);
        }
        let seconds = facts.video_in_millis.max(facts.audio_in_millis);
        layers.extend(bracket(&sheet.ranges, Measure::Tokens, prompt));
        layers.extend(bracket(&sheet.ranges, Measure::Results, facts.results));
        layers.extend(reached_tokens(&sheet.tiers, prompt));
        layers.extend(reached_seconds(&sheet.tiers, seconds));
        layers.push(&sheet.base);
        Layers { sheet, layers, multiplier: multiplier(sheet, facts) }
    }

    /// The price of a token, when any layer has one.
    pub(crate) fn token(&self, rate: Rate) -> Option<Price> {
        for layer in &self.layers {
            if let Some(price) = layer.token(rate) {
                return Some(price);
            }
            for anchor in anchors(rate) {
                if let Some(price) = layer.token(*anchor) {
                    return Some(self.inherit(rate, *anchor, price));
                }
            }
        }
        // A model that takes or makes one kind of thing only may price just that kind.
        only_kind(rate).iter().find_map(|kind| self.layers.iter().find_map(|layer| layer.token(*kind)))
    }

    /// The price named for exactly this rate.
    pub(crate) fn stated(&self, rate: Rate) -> Option<Price> {
        self.layers.iter().find_map(|layer| layer.token(rate))
    }

    /// The price of a unit.
    pub(crate) fn unit(&self, name: &str, variant: Option<&str>) -> Option<Price> {
        self.layers.iter().find_map(|layer| layer.unit(name, variant))
    }

    /// Is any token of this side priced in dollars?
    pub(crate) fn sells_tokens(&self, input: bool) -> bool {
        let other = |rate| matches!(rate, Rate::DbuIn | Rate::DbuOut | Rate::CharIn | Rate::CharOut);
        let mut rates = self.layers.iter().flat_map(|layer| layer.tokens.keys());
        rates.any(|rate| !other(*rate) && rate.is_input() == input)
    }

    /// The price of a rate the layer does not name, from the layer's `anchor` price.
    ///
    /// It is the anchor's price, with two corrections the standard rates allow: what they sell above the anchor
    /// (an hour's cache write, audio) keeps that proportion; and where the layer is no dearer than the standard
    /// service, what they sell below the anchor (a cache read) costs no more than there.
    fn inherit(&self, rate: Rate, anchor: Rate, price: Price) -> Price {
        let base = &self.sheet.base;
        let (Some(standard), Some(standard_anchor)) = (base.token(rate), base.token(anchor)) else {
            return price;
        };
        if standard_anchor.picos() > 0 && standard > standard_anchor {
            let scaled = price.times(u64::try_from(standard.picos()).unwrap_or(0));
            let divisor = i128::from(standard_anchor.picos());
            let rounded = (scaled + divisor / 2) / divisor;
            return Price::from_picos(i64::try_from(rounded).unwrap_or(i64::MAX));
        }
        if price <= standard_anchor { price.min(standard) } else { price }
    }
}

/// The rates that stand in for one, nearest first.
const fn anchors(rate: Rate) -> &'static [Rate] {
    match rate {
        Rate::CacheRead => &[Rate::CacheHitLegacy, Rate::In],
        Rate::CacheReadExplicit | Rate::AudioCacheRead | Rate::ImageCacheRead => {
            &[Rate::CacheRead, Rate::CacheHitLegacy, Rate::In]
        }
        Rate::CacheWrite | Rate::AudioIn | Rate::ImageIn | Rate::VideoIn => &[Rate::In],
        Rate::CacheWrite1h => &[Rate::CacheWrite, Rate::In],
        Rate::Reasoning | Rate::AudioOut | Rate::ImageOut | Rate::VideoOut => &[Rate::Out],
        _ => &[],
    }
}

const fn only_kind(rate: Rate) -> &'static [Rate] {
    match rate {
        Rate::In => &[Rate::AudioIn, Rate::ImageIn, Rate::VideoIn],
        Rate::Out => &[Rate::ImageOut, Rate::AudioOut, Rate::VideoOut],
        _ => &[],
    }
}

/// The service tier's rates; `None` is the standard service, also when the sheet has no such tier.
fn service<'a>(sheet: &'a PriceSheet, facts: &Facts<'_>) -> Option<&'a Service> {
    if facts.batch {
        return sheet.services.get("batch");
    }
    let name = facts.service_tier?.to_ascii_lowercase();
    // Vertex AI reports `ON_DEMAND_FLEX` and `ON_DEMAND_PRIORITY`.
    sheet.services.get(name.strip_prefix("on_demand_").unwrap_or(&name))
}

fn multiplier(sheet: &PriceSheet, facts: &Facts<'_>) -> Ratio {
    let fast = facts.service_tier.filter(|tier| tier.eq_ignore_ascii_case("fast")).map(|_| "fast");
    let regional = facts.regional_endpoint.then_some("regional");
    let names = [facts.geography, regional, fast].into_iter().flatten();
    let factors = names.filter_map(|name| sheet.multipliers.get(name));
    factors.fold(Ratio::ONE, |product, factor| product.times(*factor).unwrap_or(product))
}

fn reached_tokens(tiers: &[Tier], prompt: u64) -> Option<&Rates> {
    let reached = |tier: &&Tier| matches!(tier.above, Above::Tokens(limit) if prompt > limit);
    tiers.iter().rev().find(reached).map(|tier| &tier.rates)
}

fn reached_seconds(tiers: &[Tier], millis: u64) -> Option<&Rates> {
    let reached =
        |tier: &&Tier| matches!(tier.above, Above::Seconds(limit) if millis > limit.saturating_mul(1000));
    tiers.iter().rev().find(reached).map(|tier| &tier.rates)
}

fn bracket(ranges: &[Range], measure: Measure, count: u64) -> Option<&Rates> {
    let mut same = ranges.iter().filter(|range| range.measure == measure);
    let found = same.clone().find(|range| count <= range.to).or_else(|| same.next_back());
    found.map(|range| &range.rates)
}

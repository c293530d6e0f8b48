//! The one function from usage to money.
//!
//! Every surface prices with [`cost`], streamed or not, so equal usage costs the same everywhere. Sums are exact and
//! rounded once. What was used and has no price makes the whole cost unknown, never zero.

use serde::{Deserialize, Serialize};
use tollway_model::{Cost, Money, Price, Usage};

use crate::facts::{Bucket, Facts};
use crate::layers::Layers;
use crate::sheet::{PriceSheet, Rate};

/// A bill: what was charged, what could not be, and the sum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breakdown {
    /// What was charged.
    pub lines: Vec<Line>,
    /// What was used and has no price.
    pub unpriced: Vec<Bucket>,
    /// The exact sum of the lines rounded once, half to even; unknown when something is unpriced.
    pub total: Cost,
}

/// One line of a bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// What is counted.
    pub bucket: Bucket,
    /// How many.
    pub count: u64,
    /// Counts in one unit: 1, or 1000 where milliseconds are counted and seconds are priced.
    pub per: u32,
    /// The price of a unit.
    pub price: Price,
    /// The factor on it, as numerator and denominator.
    pub factor: (u32, u32),
}

/// Every line is summed in picodollars times this: 1000 for milliseconds.
const PARTS: u32 = 1000;

impl Line {
    /// The exact amount, as picodollars over a divisor.
    pub const fn picos(&self) -> (i128, i128) {
        let amount = self.price.times(self.count).saturating_mul(self.factor.0 as i128);
        (amount, self.per as i128 * self.factor.1 as i128)
    }
}

impl Breakdown {
    /// The sum of what could be priced, whether or not that is all.
    pub fn priced_part(&self) -> Money {
        sum(&self.lines)
    }
}

/// Rounds the exact sum once. All factors of a bill are one, or the same factor.
fn sum(lines: &[Line]) -> Money {
    let common = lines.iter().map(|line| i128::from(line.factor.1)).max().unwrap_or(1);
    let scaled = lines.iter().fold(0_i128, |sum, line| {
        let (amount, divisor) = line.picos();
        let parts = common * i128::from(PARTS) / divisor;
        sum.saturating_add(amount.saturating_mul(parts))
    });
    let divisor = common * i128::from(PARTS);
    // Picodollars to nano-dollars rounds half to even; a fraction of a picodollar only matters on the half.
    let (picos, rest) = (scaled.div_euclid(divisor), scaled.rem_euclid(divisor));
    let above_half = rest > 0 && picos.rem_euclid(1000) == 500;
    Money::from_picos_rounded(picos.saturating_add(i128::from(above_half)))
}

/// What `usage` costs by `sheet`, given the other facts of the call.
///
/// - Long-prompt tiers and brackets are chosen by all prompt tokens, cached ones included: more than `above_tokens`.
/// - A service tier the sheet does not have is charged as standard service.
/// - Tokens and other measures of the same thing are charged once: sound by tokens where the provider counted
///   tokens and the sheet prices them, else by seconds; the same for pictures and characters.
/// - [`Cost::Unknown`] when something used has no price, or when nothing was charged by a sheet without token prices.
///   A price of zero is known.
pub fn cost(sheet: &PriceSheet, usage: &Usage, facts: &Facts<'_>) -> Breakdown {
    let mut bill =
        Bill { layers: Layers::choose(sheet, usage, facts), lines: Vec::new(), unpriced: Vec::new() };
    bill.input_tokens(usage, facts);
    bill.output_tokens(usage, facts);
    let token_lines = bill.lines.len();
    bill.searches(sheet, usage, facts);
    let extras = bill.lines.len();
    bill.text(usage, facts);
    bill.pictures(usage, facts);
    bill.seconds(usage, facts);
    bill.counts(facts);
    let by_unit = bill.lines.len() > extras;
    bill.forgive_tokens(by_unit);
    if !by_unit && token_lines == 0 {
        bill.note_unsold_media(facts);
    }
    bill.end(sheet)
}

struct Bill<'a> {
    layers: Layers<'a>,
    lines: Vec<Line>,
    unpriced: Vec<Bucket>,
}

impl Bill<'_> {
    fn input_tokens(&mut self, usage: &Usage, facts: &Facts<'_>) {
        let cached_audio = facts.cached_audio.min(usage.cache_read);
        let cached_image = facts.cached_image.min(usage.cache_read - cached_audio);
        let cached_text = usage.cache_read - cached_audio - cached_image;
        let read = if facts.explicit_cache { Rate::CacheReadExplicit } else { Rate::CacheRead };
        self.tokens(Bucket::Input, usage.input, Rate::In);
        self.tokens(Bucket::CacheRead, cached_text, read);
        self.tokens(Bucket::CachedAudio, cached_audio, Rate::AudioCacheRead);
        self.tokens(Bucket::CachedImage, cached_image, Rate::ImageCacheRead);
        self.tokens(Bucket::CacheWrite, usage.cache_write, Rate::CacheWrite);
        self.tokens(Bucket::CacheWrite1h, usage.cache_write_1h, Rate::CacheWrite1h);
        self.tokens(Bucket::AudioInput, usage.audio_input, Rate::AudioIn);
        self.tokens(Bucket::ImageInput, usage.image_input, Rate::ImageIn);
        self.tokens(Bucket::VideoInput, usage.video_input, Rate::VideoIn);
    }

    fn output_tokens(&mut self, usage: &Usage, facts: &Facts<'_>) {
        // Pictures sold one by one are not sold again as text.
        let by_picture = facts.images_out > 0 && self.layers.stated(Rate::ImageOut).is_none();
        let by_picture = by_picture && self.layers.unit("image_out", facts.image_size).is_some();
        self.tokens(Bucket::Output, usage.output, Rate::Out);
        self.tokens(Bucket::Reasoning, usage.reasoning, Rate::Reasoning);
        self.tokens(Bucket::AudioOutput, usage.audio_output, Rate::AudioOut);
        self.tokens(Bucket::ImageOutput, if by_picture { 0 } else { usage.image_output }, Rate::ImageOut);
        self.tokens(Bucket::VideoOutput, facts.video_output, Rate::VideoOut);
        if facts.citation_tokens > 0 && self.layers.stated(Rate::Citation).is_some() {
            self.tokens(Bucket::Citations, facts.citation_tokens, Rate::Citation);
        }
    }

    fn tokens(&mut self, bucket: Bucket, count: u64, rate: Rate) {
        if count == 0 {
            return;
        }
        match self.layers.token(rate) {
            Some(price) => self.line(bucket, count, 1, price, true),
            None => self.unpriced.push(bucket),
        }
    }

    fn searches(&mut self, sheet: &PriceSheet, usage: &Usage, facts: &Facts<'_>) {
        // Mostly there are none, and no price needs to be looked up.
        if [usage.web_searches, facts.maps_queries, facts.code_sessions] == [0; 3] {
            return;
        }
        let searches = if sheet.search_per_prompt { usage.web_searches.min(1) } else { usage.web_searches };
        let size = facts.search_context.unwrap_or("medium");
        let price = self
            .layers
            .unit("search_query", Some(size))
            .or_else(|| self.layers.unit("search_query@medium", None));
        self.used(Bucket::WebSearches, searches, price);
        let maps = if sheet.search_per_prompt { facts.maps_queries.min(1) } else { facts.maps_queries };
        let price = self.layers.unit("maps_query", None);
        self.used(Bucket::MapsQueries, maps, price);
        let price = self.layers.unit("code_interpreter_session", None);
        self.used(Bucket::CodeSessions, facts.code_sessions, price);
    }

    /// Characters, where the sheet sells them and the tokens are not sold.
    fn text(&mut self, usage: &Usage, facts: &Facts<'_>) {
        if [facts.characters_in, facts.characters_out] == [0; 2] {
            return;
        }
        let tokens_in = usage.total_input() > 0 && self.layers.stated(Rate::In).is_some();
        if let Some(price) =
            self.layers.stated(Rate::CharIn).filter(|_| !tokens_in && facts.characters_in > 0)
        {
            self.line(Bucket::CharactersIn, facts.characters_in, 1, price, true);
        }
        let tokens_out = usage.total_output() > 0 && self.layers.stated(Rate::Out).is_some();
        if let Some(price) =
            self.layers.stated(Rate::CharOut).filter(|_| !tokens_out && facts.characters_out > 0)
        {
            self.line(Bucket::CharactersOut, facts.characters_out, 1, price, true);
        }
    }

    fn pictures(&mut self, usage: &Usage, facts: &Facts<'_>) {
        if [facts.images_in, facts.images_out, facts.pixels] == [0; 3] {
            return;
        }
        let given_as_tokens = usage.image_input > 0 && self.layers.stated(Rate::ImageIn).is_some();
        let given = self.layers.unit("image_in", facts.image_size);
        if !given_as_tokens {
            self.optional(Bucket::ImagesIn, facts.images_in, 1, given);
        }
        let made_as_tokens = usage.total_output() > 0 && self.layers.stated(Rate::ImageOut).is_some();
        if made_as_tokens {
            return;
        }
        let by_pixel = [self.layers.unit("pixel_in", None), self.layers.unit("pixel_out", None)];
        let made = self.layers.unit("image_out", facts.image_size);
        if made.is_some() {
            self.optional(Bucket::ImagesOut, facts.images_out, 1, made);
        } else if by_pixel.iter().any(Option::is_some) {
            // The table states the pixels of a generated picture on either side.
            for price in by_pixel {
                self.optional(Bucket::Pixels, facts.pixels, 1, price);
            }
        } else if facts.images_in == 0 {
            // Some sheets state the price of a generated picture on the input side only.
            self.optional(Bucket::ImagesOut, facts.images_out, 1, given);
        }
    }

    fn seconds(&mut self, usage: &Usage, facts: &Facts<'_>) {
        let media =
            [facts.audio_in_millis, facts.audio_out_millis, facts.video_in_millis, facts.video_out_millis];
        if media == [0; 4] && facts.compute_millis == 0 {
            return;
        }
        let tokens_sold = usage.total_input() > 0 && self.layers.sells_tokens(true);
        let plain_in = self.layers.unit("second_in", None);
        let plain_out = self.layers.unit("second_out", facts.video_resolution);
        if usage.audio_input == 0 || self.layers.stated(Rate::AudioIn).is_none() {
            let price = self.layers.unit("audio_second_in", None).or(plain_in.filter(|_| !tokens_sold));
            self.optional(Bucket::AudioSecondsIn, facts.audio_in_millis, PARTS, price);
        }
        if usage.video_input == 0 || self.layers.stated(Rate::VideoIn).is_none() {
            let price = self.layers.unit("video_second_in", None);
            self.optional(Bucket::VideoSecondsIn, facts.video_in_millis, PARTS, price);
        }
        if usage.audio_output == 0 || self.layers.stated(Rate::AudioOut).is_none() {
            let price = self.layers.unit("audio_second_out", None).or(plain_out);
            self.optional(Bucket::AudioSecondsOut, facts.audio_out_millis, PARTS, price);
        }
        if facts.video_output == 0 || self.layers.stated(Rate::VideoOut).is_none() {
            let price = self.layers.unit("video_second_out", facts.video_resolution).or(plain_out);
            self.optional(Bucket::VideoSecondsOut, facts.video_out_millis, PARTS, price);
        }
        let of_time = self.layers.unit("second", None).or_else(|| {
            let sold_by_time =
                media == [0; 4] && !self.layers.sells_tokens(true) && !self.layers.sells_tokens(false);
            plain_out.filter(|price| price.picos() > 0).or(plain_in).filter(|_| sold_by_time)
        });
        self.optional(Bucket::ComputeSeconds, facts.compute_millis, PARTS, of_time);
    }

    fn counts(&mut self, facts: &Facts<'_>) {
        for (bucket, count, unit) in [
            (Bucket::Requests, facts.requests, "request"),
            (Bucket::Queries, facts.queries, "query"),
            (Bucket::Pages, facts.pages, "ocr_page"),
            (Bucket::AnnotationPages, facts.annotation_pages, "annotation_page"),
            (Bucket::OcrCredits, facts.ocr_credits, "ocr_credit"),
            (Bucket::TextMessages, facts.text_messages, "text_message"),
        ] {
            if count > 0 {
                let price = self.layers.unit(unit, None);
                self.optional(bucket, count, 1, price);
            }
        }
        for (policy, count) in facts.guardrail_units {
            let price = self.layers.unit("guardrail", Some(policy));
            self.used(Bucket::GuardrailUnits, *count, price);
        }
    }

    /// Charges what certainly costs money: without a price the cost is unknown.
    fn used(&mut self, bucket: Bucket, count: u64, price: Option<Price>) {
        match price {
            _ if count == 0 => {}
            Some(price) => self.line(bucket, count, 1, price, false),
            None => self.unpriced.push(bucket),
        }
    }

    /// Charges what only some sheets sell.
    fn optional(&mut self, bucket: Bucket, count: u64, per: u32, price: Option<Price>) {
        if let Some(price) = price.filter(|_| count > 0) {
            self.line(bucket, count, per, price, false);
        }
    }

    fn line(&mut self, bucket: Bucket, count: u64, per: u32, price: Price, token: bool) {
        let factor = self.layers.multiplier;
        let factor = if token { (factor.numerator, factor.denominator) } else { (1, 1) };
        self.lines.push(Line { bucket, count, per, price, factor });
    }

    /// Tokens of a side that the sheet does not sell at all are paid for by the units that were charged; where it
    /// sells the characters of that side, by those only.
    fn forgive_tokens(&mut self, by_unit: bool) {
        let paid = |input: bool, rate: Rate, characters: Bucket| {
            let by_character = self.lines.iter().any(|line| line.bucket == characters);
            !self.layers.sells_tokens(input)
                && by_unit
                && (by_character || self.layers.stated(rate).is_none())
        };
        let paid_in = paid(true, Rate::CharIn, Bucket::CharactersIn);
        let paid_out = paid(false, Rate::CharOut, Bucket::CharactersOut);
        self.unpriced.retain(|bucket| match bucket {
            Bucket::WebSearches | Bucket::MapsQueries | Bucket::CodeSessions | Bucket::GuardrailUnits => true,
            bucket if bucket.is_output() => !paid_out,
            _ => !paid_in,
        });
    }

    /// Media that no line charged.
    fn note_unsold_media(&mut self, facts: &Facts<'_>) {
        for (bucket, count) in [
            (Bucket::CharactersIn, facts.characters_in),
            (Bucket::ImagesOut, facts.images_out),
            (Bucket::AudioSecondsIn, facts.audio_in_millis),
            (Bucket::AudioSecondsOut, facts.audio_out_millis),
            (Bucket::VideoSecondsOut, facts.video_out_millis),
            (Bucket::Pages, facts.pages),
            (Bucket::Queries, facts.queries),
        ] {
            if count > 0 {
                self.unpriced.push(bucket);
            }
        }
    }

    fn end(self, sheet: &PriceSheet) -> Breakdown {
        let sells_tokens = self.layers.sells_tokens(true) || self.layers.sells_tokens(false);
        let nothing_charged = sheet.is_empty() || (self.lines.is_empty() && !sells_tokens);
        let unknown = nothing_charged || !self.unpriced.is_empty();
        let total = if unknown { Cost::Unknown } else { Cost::Known(sum(&self.lines)) };
        Breakdown { lines: self.lines, unpriced: self.unpriced, total }
    }
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;

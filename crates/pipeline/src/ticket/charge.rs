//! What a call costs: the answer that the caller got, and those that were paid for and that nobody gets.

use std::sync::Arc;
use std::time::Duration;

use tollway_ledger::{AttemptRecord, CostLine, Outcome, Receipt};
use tollway_model::{Cost, Money, Operation, Usage};
use tollway_prices::{Facts, PriceSheet};

use super::{End, Settlement, Ticket};

/// Bytes of an answer's text that make a token.
pub(crate) const BYTES_PER_TOKEN: u64 = 4;

/// What something costs, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Charge {
    /// `None`: nothing is known.
    known: Option<Money>,
    /// That is all of it.
    is_whole: bool,
}

impl Charge {
    const NOTHING: Charge = Charge { known: Some(Money::ZERO), is_whole: true };
    const UNKNOWN: Charge = Charge { known: None, is_whole: false };

    pub(super) fn money(self) -> Money {
        self.known.unwrap_or(Money::ZERO)
    }

    /// Both together. What is known of one is spent, whether or not the other is known.
    fn and(self, other: Charge) -> Charge {
        let is_whole = self.is_whole && other.is_whole;
        let money = self.money() + other.money();
        // Of something unknown nothing is said to be known.
        let known = (is_whole || money != Money::ZERO).then_some(money);
        Charge { known, is_whole }
    }
}

/// Answers that were thrown away because their models declined, and attempts whose answers were lost.
#[derive(Debug)]
pub(super) struct Discarded {
    usage: Usage,
    pub(super) charge: Charge,
    lines: Vec<CostLine>,
}

impl Ticket {
    /// Adds an attempt whose answer nobody gets, be it thrown away or lost. Its provider bills it.
    pub(crate) fn discard(
        &mut self,
        group: &Arc<str>,
        mut record: AttemptRecord,
        waited: Duration,
        settlement: Settlement,
    ) {
        let usage = settlement.usage.unwrap_or_else(|| self.estimate(settlement.emitted));
        let at = self.receipt.as_ref().map_or(0, |receipt| receipt.at);
        let (charge, mut lines) =
            priced(self.prices.as_deref(), &usage, settlement.service_tier.as_deref(), at);
        (record.usage, record.cost) = (Some(usage), charge.known);
        self.leaves(&record, charge.money(), at);
        self.add(group, record, waited, End::Told);
        let before = self.discarded.take();
        self.discarded = Some(Box::new(match before {
            None => Discarded { usage, charge, lines },
            Some(mut before) => {
                before.lines.append(&mut lines);
                Discarded {
                    usage: together(before.usage, usage),
                    charge: before.charge.and(charge),
                    lines: before.lines,
                }
            }
        }));
    }

    /// What the call cost. One rule for all surfaces:
    ///
    /// - The provider's word on usage counts.
    /// - Where it has none and the call reached it, the prompt and the text that came are counted here, and the receipt
    ///   says `estimated`. So a caller who hangs up pays for what the provider generated until then.
    /// - Where its last word is from before the stream broke off (Anthropic tells the prompt first, and the output at the
    ///   end), more output than it told is counted in the same way.
    /// - A call that no provider took, or that every provider answered with an error, costs nothing.
    /// - An answer that was thrown away costs what it costs, beside the one that the caller got. One that was lost after
    ///   its request had left costs the prompt, estimated.
    ///
    /// Returns what is known of the cost, and what of that belongs to the last attempt.
    pub(super) fn price(&self, receipt: &mut Receipt) -> (Cost, Money) {
        if receipt.usage.is_none() && self.sent && receipt.operation != Operation::CountTokens {
            receipt.usage = Some(self.estimate(self.emitted));
        }
        if let Some(usage) = &mut receipt.usage
            && self.sent
            && receipt.outcome != Outcome::Answered
            && receipt.finish.is_none()
        {
            at_least(usage, self.output_of(self.emitted));
        }
        let (mut charge, mut lines) = match &receipt.usage {
            Some(usage) => priced(self.prices.as_deref(), usage, receipt.service_tier.as_deref(), receipt.at),
            None => (Charge::NOTHING, Vec::new()),
        };
        let last = charge.money();
        if let Some(discarded) = &self.discarded {
            charge = discarded.charge.and(charge);
            lines.extend(discarded.lines.iter().cloned());
            receipt.usage =
                Some(receipt.usage.map_or(discarded.usage, |usage| together(usage, discarded.usage)));
        }
        receipt.cost.estimated = receipt.usage.is_some_and(|usage| usage.estimated);
        receipt.cost.nanos = charge.known;
        receipt.cost.partial = charge.known.is_some() && !charge.is_whole;
        receipt.cost.usd = charge.known.map(|money| money.to_string());
        receipt.cost.lines = lines;
        (charge.known.map_or(Cost::Unknown, Cost::Known), last)
    }

    /// Tokens of an answer that so many bytes of text have come of: never more than the call allows.
    fn output_of(&self, emitted: u64) -> u64 {
        let most = self.size.limit.map_or(u64::MAX, |limit| limit.saturating_mul(self.size.answers));
        emitted.div_ceil(BYTES_PER_TOKEN).min(most)
    }

    /// What is likely to have been used for so many bytes of text.
    fn estimate(&self, emitted: u64) -> Usage {
        Usage { input: self.size.input, output: self.output_of(emitted), estimated: true, ..Usage::default() }
    }
}

/// What usage costs, and of what that is made. What has a price is spent, though something beside it has none.
fn priced(sheet: Option<&PriceSheet>, usage: &Usage, tier: Option<&str>, at: i64) -> (Charge, Vec<CostLine>) {
    let Some(sheet) = sheet else { return (Charge::UNKNOWN, Vec::new()) };
    let facts = Facts { service_tier: tier, at: Some(at / 1000), ..Facts::default() };
    let breakdown = tollway_prices::cost(sheet, usage, &facts);
    let lines = breakdown.lines.iter();
    let lines = lines
        .map(|line| CostLine { bucket: line.bucket, count: line.count, unit_picos: line.price.picos() })
        .collect();
    let charge = match breakdown.total {
        Cost::Known(money) => Charge { known: Some(money), is_whole: true },
        Cost::Unknown => {
            Charge { known: Some(breakdown.priced_part()), ..Charge::UNKNOWN }.and(Charge::NOTHING)
        }
    };
    (charge, lines)
}

/// What two answers used.
fn together(one: Usage, other: Usage) -> Usage {
    Usage {
        input: one.input + other.input,
        cache_read: one.cache_read + other.cache_read,
        cache_write: one.cache_write + other.cache_write,
        cache_write_1h: one.cache_write_1h + other.cache_write_1h,
        audio_input: one.audio_input + other.audio_input,
        image_input: one.image_input + other.image_input,
        video_input: one.video_input + other.video_input,
        output: one.output + other.output,
        reasoning: one.reasoning + other.reasoning,
        audio_output: one.audio_output + other.audio_output,
        image_output: one.image_output + other.image_output,
        accepted_prediction: one.accepted_prediction + other.accepted_prediction,
        rejected_prediction: one.rejected_prediction + other.rejected_prediction,
        web_searches: one.web_searches + other.web_searches,
        estimated: one.estimated || other.estimated,
    }
}

/// Output that came counts, whatever was told before it came.
fn at_least(usage: &mut Usage, output: u64) {
    let missing = output.saturating_sub(usage.total_output());
    if missing > 0 {
        usage.output = usage.output.saturating_add(missing);
        usage.estimated = true;
    }
}

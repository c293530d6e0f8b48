//! What a call will probably use, before it is sent: the size of its hold.

mod size;
mod usual;
mod worst;

use tollway::exchange::Ask;
use tollway_meters::{Claim, Demand};
use tollway_model::{Money, Usage};
use tollway_prices::{Facts, PriceSheet};
use tollway_route::Deployment;
use tollway_wire::hosted::Runs;

use self::worst::{dearest, runs};

pub(crate) use self::size::Size;
pub(crate) use self::usual::Usual;
pub(crate) use self::worst::Worst;

/// Output of a call that names no limit, as long as nothing is known of its key and model.
const FIRST_GUESS: u64 = 1_024;

/// Output that is held in the worst case where neither the call nor the model has a limit.
const LARGEST_OUTPUT: u64 = 128_000;

/// A deployment that may serve a call: what decides the most that it can cost there.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Offer<'p> {
    /// `None`: unknown.
    pub(crate) prices: Option<&'p PriceSheet>,
    /// Most tokens the model takes.
    pub(crate) most_input: Option<u64>,
    /// Most tokens it gives.
    pub(crate) most_output: Option<u64>,
    /// How often the provider may run tools of its own; looked at for the worst case only.
    pub(crate) runs: Runs,
}

impl<'p> Offer<'p> {
    pub(crate) fn of(deployment: &'p Deployment) -> Offer<'p> {
        Offer {
            prices: deployment.prices.as_deref(),
            most_input: deployment.max_input_tokens,
            most_output: deployment.info.get("max_output_tokens").and_then(serde_json::Value::as_u64),
            runs: Runs::Never,
        }
    }

    /// With what the worst case of this call depends on there.
    pub(crate) fn at_worst(deployment: &'p Deployment, ask: &Ask) -> Offer<'p> {
        Offer { runs: runs(deployment, ask), ..Offer::of(deployment) }
    }

    /// Is there a bound to what a call costs here?
    pub(crate) fn is_bounded(&self, worst: Worst) -> bool {
        match self.runs {
            Runs::AnyNumber => false,
            Runs::AtMost(1..) => self.most_input.is_some(),
            Runs::AtMost(0) | Runs::Never => !worst.links || self.most_input.is_some(),
        }
    }
}

/// How a demand is worked out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// Output tokens that such a call usually gives.
    pub(crate) usual: Option<u64>,
    /// The worst case is wanted, and this is what it depends on.
    pub(crate) worst: Option<Worst>,
    /// When the call arrived, milliseconds since 1970.
    pub(crate) at: i64,
}

/// What a call will probably use at the deployments that may serve it.
///
/// In the worst case: every byte of the prompt a token, the whole limit of output used, and both at the highest price that
/// the dearest deployment may ask. Otherwise the likely one: the usual output tokens, at the first. Free is only what all
/// of them charge nothing for.
pub(crate) fn demand<'p>(size: &Size, offers: impl Iterator<Item = Offer<'p>>, terms: &Terms) -> Demand {
    let mut found = Demand::default();
    let mut free = None;
    for (index, offer) in offers.enumerate() {
        let usage = usage_at(size, &offer, terms);
        let known = offer.prices.and_then(|sheet| match terms.worst {
            Some(worst) => dearest(sheet, size, &usage, &offer, worst, terms.at),
            None => cost(sheet, &usage, None, terms.at),
        });
        if terms.worst.is_some() || index == 0 {
            found.tokens = found.tokens.max(usage.input.saturating_add(usage.output));
            found.money = found.money.max(known.unwrap_or(Money::ZERO));
        }
        // Any of them may have to answer, so the call is free only where all of them are.
        free = Some(free != Some(false) && known == Some(Money::ZERO));
        if terms.worst.is_none() && free == Some(false) {
            break;
        }
    }
    Demand { free: free == Some(true), ..found }
}

/// Plain input and output at one deployment.
fn usage_at(size: &Size, offer: &Offer<'_>, terms: &Terms) -> Usage {
    let most = size.limit.or(offer.most_output);
    let output = match (terms.worst, most) {
        (Some(_), most) => most.unwrap_or(LARGEST_OUTPUT),
        (None, Some(most)) => terms.usual.unwrap_or(FIRST_GUESS).min(most),
        (None, None) => terms.usual.unwrap_or(FIRST_GUESS),
    };
    let input = if terms.worst.is_some() { size.most_input } else { size.input };
    Usage { input, output: output.saturating_mul(size.answers), ..Usage::default() }
}

fn cost(sheet: &PriceSheet, usage: &Usage, tier: Option<&str>, at: i64) -> Option<Money> {
    let facts = Facts { service_tier: tier, at: Some(at / 1000), ..Facts::default() };
    tollway_prices::cost(sheet, usage, &facts).total.known()
}

/// What a likely demand may take of the smallest limit, as a part of it: a whole one that nothing was used of is there
/// to be used.
pub(crate) const WHOLE: i64 = 1;

/// The same for a guess from nothing. Otherwise a small limit that no call was counted on yet would refuse all of them,
/// and nothing would ever be learned.
pub(crate) const FOURTH: i64 = 4;

/// A demand that takes at most one `part`th of the smallest limit, or what the `prompt` alone needs.
pub(crate) fn modest(likely: Demand, prompt: impl FnOnce() -> Demand, claims: &[Claim], part: i64) -> Demand {
    let limits = claims.iter().flat_map(|claim| [claim.limits.tpm, claim.limits.tokens_a_day()]);
    let tokens = limits.flatten().min();
    let tokens = tokens.map_or(u64::MAX, |most| most / part.unsigned_abs());
    let budgets = claims.iter().flat_map(|claim| &claim.limits.budgets).filter_map(|budget| budget.max);
    let money = budgets.min().map_or(Money::MAX, |most| Money::from_nanos(most.nanos() / part));
    if likely.tokens <= tokens && likely.money <= money {
        return likely;
    }
    let prompt = prompt();
    Demand {
        tokens: likely.tokens.min(tokens.max(prompt.tokens)),
        // A budget of nothing still refuses.
        money: likely.money.min(money.max(prompt.money).max(Money::from_nanos(1))),
        ..likely
    }
}

#[cfg(test)]
mod tests;

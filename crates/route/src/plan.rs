//! The order in which a group's deployments are tried.

use std::fmt;
use std::sync::Arc;

use crate::live::Denied;
use crate::policy::{Policy, Strategy};
use crate::{Availability, Board, Deployment, Now, tags};

/// What a call brings along that decides where it goes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ask<'a> {
    /// Its answer is streamed.
    pub streamed: bool,
    /// Its tags.
    pub tags: &'a [Arc<str>],
    /// The only region it may be served in.
    pub region: Option<&'a str>,
    /// Tokens of its prompt, by an estimate; 0 when nobody counted.
    pub input: u64,
}

/// Deployments to try, best first, and those left out with the reason. Every deployment of the group is in one of them.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// To be tried in this order.
    pub candidates: Vec<Candidate>,
    /// Not tried.
    pub skipped: Vec<Skipped>,
    /// All that could be tried rest after failing; the candidate is the one that rests shortest.
    pub last_resort: bool,
}

impl Plan {
    /// Puts the candidate that `fits` before all others, whatever its order.
    pub fn prefer(&mut self, fits: impl Fn(&Deployment) -> bool) {
        if let Some(at) = self.candidates.iter().position(|candidate| fits(&candidate.deployment)) {
            let mut preferred = self.candidates.remove(at);
            preferred.rank = Rank::Origin;
            self.candidates.insert(0, preferred);
        }
    }
}

/// A deployment to be tried.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Which.
    pub deployment: Arc<Deployment>,
    /// What decided its place.
    pub rank: Rank,
}

/// What decided a deployment's place among those of its order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rank {
    /// There is no other.
    Only,
    /// It alone can read what the call brings along.
    Origin,
    /// Chance; this was its share.
    Share(f64),
    /// Calls in flight.
    InFlight(u32),
    /// Latency in milliseconds, for each output token or to the first content; `None`: not measured yet.
    Latency(Option<f64>),
    /// Tokens of the last minute.
    Tokens(u64),
    /// Picodollars of an input and an output token; `None`: unknown.
    Price(Option<i64>),
}

/// A deployment that is not tried, and why.
#[derive(Debug, Clone)]
pub struct Skipped {
    /// Which.
    pub deployment: Arc<Deployment>,
    /// Why.
    pub reason: Reason,
}

/// Why a deployment is not tried. Reads as lower case without a full stop.
#[derive(Debug, Clone, PartialEq)]
pub enum Reason {
    /// It cannot be called at all.
    Unavailable(String),
    /// Its tags are not the call's.
    Tags,
    /// The call may be served in this region only.
    Region(Box<str>),
    /// The prompt is longer than it takes.
    TooLong {
        /// The prompt, by an estimate.
        input: u64,
        /// Most it takes.
        limit: u64,
    },
    /// It rests, or is full.
    Denied(Denied),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Unavailable(reason) => f.write_str(reason),
            Reason::Tags => f.write_str("its tags are not the call's"),
            Reason::Region(region) => {
                write!(
                    f,
                    "the customer's calls are served in the region `{region}` only, and it is not known to be there"
                )
            }
            Reason::TooLong { input, limit } => {
                write!(f, "the prompt has about {input} tokens, and it takes {limit}")
            }
            Reason::Denied(denied) => denied.fmt(f),
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Denied::Resting(millis) => write!(f, "it failed lately and rests for another {millis} ms"),
            Denied::Probing => f.write_str("it failed lately, and another call is trying whether it answers"),
            Denied::Parallel(most) => write!(f, "{most} calls are in flight there, the most it takes"),
            Denied::Full { what, limit, frees_in } => {
                write!(f, "its {limit} {what} a minute are used up for another {frees_in} ms")
            }
        }
    }
}

impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rank::Only => f.write_str("the only one"),
            Rank::Origin => f.write_str("the conversation's encrypted reasoning came from it"),
            Rank::Share(share) => write!(f, "drawn with a share of {:.1} %", share * 100.0),
            Rank::InFlight(count) => write!(f, "{count} calls in flight"),
            Rank::Latency(Some(millis)) => write!(f, "{millis:.1} ms latency"),
            Rank::Latency(None) => f.write_str("latency not measured yet"),
            Rank::Tokens(tokens) => write!(f, "{tokens} tokens in the last minute"),
            Rank::Price(Some(picos)) => write!(f, "{picos} picodollars a token"),
            Rank::Price(None) => f.write_str("price unknown"),
        }
    }
}

/// An unknown price, in picodollars: five dollars a token, dearer than anything.
const UNKNOWN_PRICE: i64 = 5_000_000_000_000;

/// Orders `group` for one call.
///
/// Left out are deployments that cannot be called, have other tags, too small a context window, no requests or tokens
/// left, or rest after failing; but never the last one for its rest: when all that is left rests, the one that rests
/// shortest is tried. Lower `order` first; within one order as the policy's strategy says. `dice` returns numbers in
/// `[0, 1)`.
pub fn plan(
    group: &[Arc<Deployment>],
    ask: &Ask<'_>,
    policy: &Policy,
    board: &Board,
    now: Now,
    dice: &mut dyn FnMut() -> f64,
) -> Plan {
    // The common case needs no dice and no sorting.
    if let [only] = group
        && only.endpoint().is_some()
        && policy.is_plain()
        && ask.region.is_none()
    {
        let last_resort = only.live(board).cooling(now).is_some();
        let candidate = Candidate { deployment: only.clone(), rank: Rank::Only };
        return Plan { candidates: vec![candidate], skipped: Vec::new(), last_resort };
    }
    let mut plan = Plan::default();
    let mut ready = filter(group, ask, policy, board, now, &mut plan);
    ready.sort_by_key(|deployment| deployment.order());
    let mut rest = ready.as_slice();
    while let Some(first) = rest.first() {
        let order = first.order();
        let end = rest.partition_point(|deployment| deployment.order() <= order);
        let (tier, later) = rest.split_at(end);
        rank(tier, ask, policy, board, now, dice, &mut plan.candidates);
        rest = later;
    }
    plan
}

/// The deployments that can be tried; the others go to `plan.skipped`.
fn filter(
    group: &[Arc<Deployment>],
    ask: &Ask<'_>,
    policy: &Policy,
    board: &Board,
    now: Now,
    plan: &mut Plan,
) -> Vec<Arc<Deployment>> {
    let tagged = policy.tags.map(|filter| tags::matching(group, ask.tags, filter));
    let mut ready = Vec::with_capacity(group.len());
    let mut resting: Vec<(u64, &Arc<Deployment>)> = Vec::new();
    for (index, deployment) in group.iter().enumerate() {
        let fits = tagged.as_ref().is_none_or(|tagged| tagged.get(index).copied().unwrap_or(false));
        let reason = match unfit(deployment, fits, ask, policy, board, now) {
            None => {
                ready.push(deployment.clone());
                continue;
            }
            Some(reason) => reason,
        };
        match reason {
            Reason::Denied(Denied::Resting(millis)) => resting.push((millis, deployment)),
            Reason::Denied(Denied::Probing) => resting.push((0, deployment)),
            _ => {}
        }
        plan.skipped.push(Skipped { deployment: deployment.clone(), reason });
    }
    let shortest = resting.iter().min_by_key(|(millis, _)| *millis).map(|(_, deployment)| *deployment);
    if let Some(last) = shortest.filter(|_| ready.is_empty()) {
        plan.last_resort = true;
        plan.skipped.retain(|skipped| !Arc::ptr_eq(&skipped.deployment, last));
        ready.push(last.clone());
    }
    ready
}

/// Why a deployment is not tried.
fn unfit(
    deployment: &Deployment,
    fits_tags: bool,
    ask: &Ask<'_>,
    policy: &Policy,
    board: &Board,
    now: Now,
) -> Option<Reason> {
    if let Availability::Unavailable(reason) = &deployment.availability {
        return Some(Reason::Unavailable(reason.clone()));
    }
    if !fits_tags {
        return Some(Reason::Tags);
    }
    if let Some(region) = ask.region.filter(|region| deployment.region.as_deref() != Some(region)) {
        return Some(Reason::Region(region.into()));
    }
    if let Some(limit) = deployment.max_input_tokens.filter(|limit| policy.check_input && ask.input > *limit)
    {
        return Some(Reason::TooLong { input: ask.input, limit });
    }
    let live = deployment.live(board);
    let full = live.full(&policy.caps(deployment, ask.input), now);
    full.or_else(|| live.cooling(now)).map(Reason::Denied)
}

/// Puts the deployments of one order in their order.
fn rank(
    tier: &[Arc<Deployment>],
    ask: &Ask<'_>,
    policy: &Policy,
    board: &Board,
    now: Now,
    dice: &mut dyn FnMut() -> f64,
    out: &mut Vec<Candidate>,
) {
    if let [only] = tier {
        out.push(Candidate { deployment: only.clone(), rank: Rank::Only });
        return;
    }
    let begin = out.len();
    match policy.strategy {
        Strategy::Shuffle => shuffle(tier, dice, out),
        Strategy::LeastBusy => {
            let score = |one: &Deployment| one.live(board).in_flight();
            by_score(tier, dice, |one| (f64::from(score(one)), Rank::InFlight(score(one))), out);
        }
        Strategy::Latency(arguments) => {
            let measure = |one: &Deployment| {
                let latency = one.live(board).latency(ask.streamed, now, arguments.ttl, arguments.samples);
                (latency.unwrap_or(0.0), Rank::Latency(latency))
            };
            by_score(tier, dice, measure, out);
            mix_close(out.get_mut(begin..).unwrap_or_default(), arguments.buffer, dice);
        }
        Strategy::Usage => {
            let score = |one: &Deployment| {
                let tokens = one.live(board).tokens(now);
                (share(tokens), Rank::Tokens(tokens))
            };
            by_score(tier, dice, score, out);
        }
        Strategy::Cost => {
            let score = |one: &Deployment| {
                let price = one.token_price();
                (price_score(price.unwrap_or(UNKNOWN_PRICE)), Rank::Price(price))
            };
            by_score(tier, dice, score, out);
        }
    }
    // Full ones come last: a call would have to wait there.
    let is_full = |one: &Candidate| {
        let most = policy.caps(&one.deployment, 0).parallel;
        most.is_some_and(|most| one.deployment.live(board).places_taken() >= most)
    };
    out.get_mut(begin..).unwrap_or_default().sort_by_key(is_full);
}

/// Lowest score first; chance decides between equals.
fn by_score(
    tier: &[Arc<Deployment>],
    dice: &mut dyn FnMut() -> f64,
    score: impl Fn(&Deployment) -> (f64, Rank),
    out: &mut Vec<Candidate>,
) {
    let mut scored: Vec<(f64, f64, Candidate)> = tier
        .iter()
        .map(|one| {
            let (score, rank) = score(one);
            (score, dice(), Candidate { deployment: one.clone(), rank })
        })
        .collect();
    scored.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.total_cmp(&other.1)));
    out.extend(scored.into_iter().map(|(_, _, candidate)| candidate));
}

/// Draws the first among those that are hardly slower than the fastest.
fn mix_close(sorted: &mut [Candidate], buffer: f64, dice: &mut dyn FnMut() -> f64) {
    let latency = |one: &Candidate| match one.rank {
        Rank::Latency(latency) => latency.unwrap_or(0.0),
        _ => 0.0,
    };
    let Some(lowest) = sorted.first().map(latency) else { return };
    let close = sorted.partition_point(|one| latency(one) <= lowest * (1.0 + buffer));
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index into a few deployments"
    )]
    let drawn = (dice() * close as f64) as usize;
    if let Some(front) = sorted.get_mut(..=drawn.min(close.saturating_sub(1))) {
        front.rotate_right(1);
    }
}

fn shuffle(tier: &[Arc<Deployment>], dice: &mut dyn FnMut() -> f64, out: &mut Vec<Candidate>) {
    let mut weights = weights(tier);
    let whole: f64 = weights.iter().sum();
    let mut left: Vec<&Arc<Deployment>> = tier.iter().collect();
    while !left.is_empty() {
        let total: f64 = weights.iter().sum();
        let mut rest = dice() * total;
        let chosen = weights.iter().position(|weight| {
            rest -= weight;
            rest < 0.0
        });
        let chosen = chosen.unwrap_or(left.len() - 1);
        let share = weights.remove(chosen) / whole;
        out.push(Candidate { deployment: left.remove(chosen).clone(), rank: Rank::Share(share) });
    }
}

/// A deployment without the number the others have never comes first, but stays as a fallback.
fn weights(tier: &[Arc<Deployment>]) -> Vec<f64> {
    let by = |read: fn(&Deployment) -> Option<f64>| -> Option<Vec<f64>> {
        let list: Vec<f64> = tier.iter().map(|one| read(one).unwrap_or(0.0).max(0.0)).collect();
        list.iter().any(|weight| *weight > 0.0).then_some(list)
    };
    by(|one| one.limits.weight)
        .or_else(|| by(|one| one.limits.rpm.map(share)))
        .or_else(|| by(|one| one.limits.tpm.map(share)))
        .unwrap_or_else(|| vec![1.0; tier.len()])
}

#[expect(clippy::cast_precision_loss, reason = "a share of traffic needs no more than 52 bits")]
fn share(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "prices are compared, not added")]
fn price_score(picos: i64) -> f64 {
    picos as f64
}

#[cfg(test)]
pub(crate) mod tests;

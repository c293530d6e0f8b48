//! The order in which a group's deployments are tried.

use std::sync::Arc;

use crate::{Availability, Deployment};

/// Deployments to try, best first, and those left out with the reason.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// To be tried in this order.
    pub candidates: Vec<Arc<Deployment>>,
    /// Not tried.
    pub skipped: Vec<Skipped>,
}

/// A deployment that is not tried, and why.
#[derive(Debug, Clone)]
pub struct Skipped {
    /// Which.
    pub deployment: Arc<Deployment>,
    /// Why, lower case, no full stop.
    pub reason: String,
}

/// Orders `deployments` for one call.
///
/// Lower `order` first; within one order a weighted shuffle: by `weight` when any is set, else by `rpm`, else by
/// `tpm`, else evenly. `dice` returns numbers in `[0, 1)`.
pub fn plan(deployments: &[Arc<Deployment>], dice: &mut dyn FnMut() -> f64) -> Plan {
    // The common case needs no dice and no sorting.
    if let [only] = deployments
        && only.endpoint().is_some()
    {
        return Plan { candidates: vec![only.clone()], skipped: Vec::new() };
    }
    let mut plan = Plan::default();
    let mut ready = Vec::with_capacity(deployments.len());
    for deployment in deployments {
        match &deployment.availability {
            Availability::Ready(_) => ready.push(deployment.clone()),
            Availability::Unavailable(reason) => {
                plan.skipped.push(Skipped { deployment: deployment.clone(), reason: reason.clone() });
            }
        }
    }
    ready.sort_by_key(|deployment| deployment.limits.order.unwrap_or(0));
    let mut rest = ready.as_slice();
    while let Some(first) = rest.first() {
        let order = first.limits.order.unwrap_or(0);
        let end = rest.partition_point(|deployment| deployment.limits.order.unwrap_or(0) <= order);
        let (tier, later) = rest.split_at(end);
        shuffle(tier.to_vec(), dice, &mut plan.candidates);
        rest = later;
    }
    plan
}

fn shuffle(mut tier: Vec<Arc<Deployment>>, dice: &mut dyn FnMut() -> f64, out: &mut Vec<Arc<Deployment>>) {
    let mut weights = weights(&tier);
    while tier.len() > 1 {
        let total: f64 = weights.iter().sum();
        let mut left = dice() * total;
        let chosen = weights.iter().position(|weight| {
            left -= weight;
            left < 0.0
        });
        let chosen = chosen.unwrap_or(tier.len() - 1);
        weights.remove(chosen);
        out.push(tier.remove(chosen));
    }
    out.append(&mut tier);
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Limits;

    pub(crate) fn deployment(id: &str, limits: Limits) -> Arc<Deployment> {
        Arc::new(Deployment {
            id: id.into(),
            group: "g".into(),
            provider: "demo".into(),
            model: id.into(),
            availability: Availability::Unavailable("test".into()),
            limits,
            first_byte_timeout: None,
            total_timeout: None,
            retries: None,
            drop_params: None,
            defaults: Vec::new(),
            prices: None,
            info: Arc::default(),
        })
    }

    fn order(tier: &[Arc<Deployment>], mut dice: impl FnMut() -> f64) -> Vec<String> {
        let mut out = Vec::new();
        shuffle(tier.to_vec(), &mut dice, &mut out);
        out.iter().map(|one| one.id.to_string()).collect()
    }

    #[test]
    fn a_shuffle_follows_the_weights() {
        let heavy = deployment("heavy", Limits { weight: Some(9.0), ..Limits::default() });
        let light = deployment("light", Limits { weight: Some(1.0), ..Limits::default() });
        let none = deployment("none", Limits::default());
        let tier = [none, heavy, light];
        assert_eq!(order(&tier, || 0.0), ["heavy", "light", "none"]);
        assert_eq!(order(&tier, || 0.95), ["light", "heavy", "none"]);
        let mut step = 0.0;
        let firsts = (0..1000).filter(|_| {
            step = (step + 0.618_034) % 1.0;
            order(&tier, || step).first().is_some_and(|id| id == "heavy")
        });
        assert!((880..=920).contains(&firsts.count()));
    }

    #[test]
    fn requests_per_minute_count_when_there_are_no_weights() {
        let fast = deployment("fast", Limits { rpm: Some(900), tpm: Some(1), ..Limits::default() });
        let slow = deployment("slow", Limits { rpm: Some(100), tpm: Some(999), ..Limits::default() });
        assert_eq!(order(&[slow.clone(), fast.clone()], || 0.5), ["fast", "slow"]);
        assert_eq!(order(&[slow, fast], || 0.05), ["slow", "fast"]);
    }

    #[test]
    fn a_deployment_that_cannot_be_called_is_skipped_with_its_reason() {
        let plan = plan(&[deployment("a", Limits::default())], &mut || 0.0);
        assert!(plan.candidates.is_empty());
        assert_eq!(plan.skipped.first().map(|skipped| skipped.reason.as_str()), Some("test"));
    }
}

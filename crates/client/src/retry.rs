//! Trying again what may pass.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;
use tollway_model::{Result, Retry};

use crate::options::CallOptions;
use crate::transport::{Timeouts, bounded};

/// Calls `once` until it succeeds, fails for good, or the options' tries or time are used up. Each try gets the waits
/// that are left.
pub(crate) async fn with_retries<T, F>(
    options: &CallOptions,
    mut once: impl FnMut(Timeouts) -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let deadline = Instant::now() + bounded(options.timeouts.total);
    let (mut tried, mut timeouts) = (0, options.timeouts);
    loop {
        let error = match once(timeouts).await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let Retry::Later(asked) = error.retry() else { return Err(error) };
        let pause = pause(options, tried, asked, chance());
        let left = deadline.saturating_duration_since(Instant::now());
        let too_long = pause > options.longest_pause || pause >= left;
        if tried >= options.retries || too_long {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        timeouts.total = deadline.saturating_duration_since(Instant::now());
        tried += 1;
    }
}

/// The pause after `tried` retries. `chance` is from 0 to 1.
fn pause(options: &CallOptions, tried: u32, asked: Option<Duration>, chance: f64) -> Duration {
    let growing = options.pause.saturating_mul(1 << tried.min(16)).min(options.longest_pause);
    match asked {
        // Not before the provider wants it, and not all callers at that very moment.
        Some(asked) => asked.saturating_add(growing.min(asked).mul_f64(chance / 10.0)),
        None => growing.mul_f64(1.0 - chance / 2.0),
    }
}

/// A number from 0 to 1. Nobody's secret depends on it, so the randomness of hash maps is good enough.
fn chance() -> f64 {
    let bits = RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(bits >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(tried: u32, asked: Option<u64>, chance: f64, expected: u64) {
        let pause = pause(&CallOptions::default(), tried, asked.map(Duration::from_millis), chance);
        assert_eq!(pause, Duration::from_millis(expected), "{tried} {asked:?} {chance}");
    }

    #[test]
    fn pauses_double_up_to_a_bound_and_are_shortened_by_up_to_a_half() {
        check(0, None, 0.0, 500);
        check(1, None, 0.0, 1_000);
        check(3, None, 0.0, 4_000);
        check(3, None, 1.0, 2_000);
        check(40, None, 0.0, 60_000);
    }

    #[test]
    fn what_the_provider_asks_for_is_never_cut_short() {
        check(0, Some(3_000), 0.0, 3_000);
        check(0, Some(3_000), 1.0, 3_050);
        check(0, Some(0), 1.0, 0);
        check(5, Some(90_000), 0.0, 90_000);
    }

    #[test]
    fn chances_differ_and_stay_between_0_and_1() {
        let all: Vec<f64> = (0..100).map(|_| chance()).collect();
        assert!(all.iter().all(|chance| (0.0..=1.0).contains(chance)));
        assert!(all.iter().any(|chance| *chance < 0.5) && all.iter().any(|chance| *chance > 0.5), "{all:?}");
    }
}

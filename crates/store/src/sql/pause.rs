//! Waiting between tries.

use std::time::{Duration, Instant};

/// Tries that another transaction's way costs at most.
const TRIES: u32 = 20;
/// Time after which nothing is tried again.
const PATIENCE: Duration = Duration::from_secs(10);
const FIRST: Duration = Duration::from_millis(2);
const LONGEST: Duration = Duration::from_millis(250);

/// Counts tries and waits longer between each, by a random part so that two that met do not meet again.
#[derive(Debug)]
pub(super) struct Pause {
    tries: u32,
    began: Instant,
}

impl Pause {
    pub(super) fn new() -> Pause {
        Pause { tries: 0, began: Instant::now() }
    }

    /// Waits, unless it was tried often enough: then `false`.
    pub(super) async fn wait(&mut self) -> bool {
        self.tries += 1;
        if self.tries >= TRIES || self.began.elapsed() > PATIENCE {
            return false;
        }
        let longest = FIRST.saturating_mul(1 << self.tries.min(10)).min(LONGEST);
        tokio::time::sleep(longest.mul_f64(fraction())).await;
        true
    }
}

/// Between 0 and 1.
fn fraction() -> f64 {
    let mut bytes = [0; 2];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => f64::from(u16::from_le_bytes(bytes)) / f64::from(u16::MAX),
        Err(_) => 1.0,
    }
}

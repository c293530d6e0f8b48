//! Use of the last minute, in slots of five seconds.

use serde::{Deserialize, Serialize};

use crate::Now;

/// Length of a slot.
const SLOT_MILLIS: u64 = 5_000;

/// Twelve slots are a minute; the thirteenth makes sure that no minute, wherever it begins, holds more than is counted.
const SLOTS: usize = 13;

/// What happened at a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Used {
    /// Calls that began.
    pub calls: u64,
    /// Tokens of calls that ended.
    pub tokens: u64,
    /// Calls that were answered.
    pub answered: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Calls that began as tries again of one that failed here.
    pub repeats: u64,
}

impl Used {
    /// Adds `other`.
    pub(crate) fn add(&mut self, other: Used) {
        self.calls += other.calls;
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.answered += other.answered;
        self.failed += other.failed;
        self.repeats += other.repeats;
    }

    /// Did nothing happen?
    pub(crate) fn is_zero(&self) -> bool {
        *self == Used::default()
    }
}

/// Counts of the last minute; between 60 and 65 seconds, so that a limit checked against it holds in every minute.
#[derive(Debug, Default)]
pub(crate) struct Window {
    slots: [(u64, Used); SLOTS],
}

impl Window {
    /// Adds to the slot of `now`.
    pub(crate) fn add(&mut self, now: Now, used: Used) {
        let number = number(now);
        #[expect(clippy::cast_possible_truncation, reason = "a remainder of thirteen")]
        let index = (number % SLOTS as u64) as usize;
        let Some(slot) = self.slots.get_mut(index) else { return };
        if slot.0 != number {
            *slot = (number, Used::default());
        }
        slot.1.add(used);
    }

    /// What happened in the minute before `now`.
    pub(crate) fn sum(&self, now: Now) -> Used {
        let mut sum = Used::default();
        for (_, used) in self.recent(now) {
            sum.add(used);
        }
        sum
    }

    /// Milliseconds until `read` is below `limit`, if nothing more is added.
    pub(crate) fn falls_below(&self, now: Now, limit: u64, read: fn(&Used) -> u64) -> u64 {
        let mut left = read(&self.sum(now));
        let mut slots: Vec<(u64, u64)> =
            self.recent(now).map(|(number, used)| (number, read(&used))).collect();
        slots.sort_unstable();
        let mut until = now.0;
        for (number, count) in slots {
            if left < limit {
                break;
            }
            left = left.saturating_sub(count);
            // Slots are numbered by when they are forgotten.
            until = number * SLOT_MILLIS;
        }
        until.saturating_sub(now.0)
    }

    fn recent(&self, now: Now) -> impl Iterator<Item = (u64, Used)> {
        let number = number(now);
        let recent = move |slot: &&(u64, Used)| slot.0 <= number && number - slot.0 < SLOTS as u64;
        self.slots.iter().filter(recent).copied()
    }
}

/// A slot's number says when it is forgotten: so many slots after the clock's zero. An untouched slot is in the past.
fn number(now: Now) -> u64 {
    now.0 / SLOT_MILLIS + SLOTS as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(calls: u64) -> Used {
        Used { calls, ..Used::default() }
    }

    #[test]
    fn a_window_forgets_what_is_older_than_a_minute_and_not_before() {
        let mut window = Window::default();
        for (at, expected) in [(0, 1), (4_999, 2), (5_000, 3), (59_999, 4), (60_001, 5)] {
            window.add(Now(at), calls(1));
            assert_eq!(window.sum(Now(at)).calls, expected, "{at}");
        }
        assert_eq!(window.sum(Now(64_999)).calls, 5);
        assert_eq!(window.sum(Now(65_000)).calls, 3);
        assert_eq!(window.sum(Now(1_000_000)).calls, 0);
    }

    #[test]
    fn a_full_window_says_when_it_has_room() {
        let mut window = Window::default();
        window.add(Now(1_000), calls(3));
        window.add(Now(30_000), calls(2));
        let wait = |limit| window.falls_below(Now(40_000), limit, |used| used.calls);
        assert_eq!(wait(6), 0);
        assert_eq!(wait(5), 25_000);
        assert_eq!(wait(3), 25_000);
        assert_eq!(wait(2), 55_000);
        assert_eq!(wait(0), 55_000);
    }

    proptest::proptest! {
        #[test]
        fn no_minute_holds_more_than_a_limit_that_is_checked(steps in proptest::collection::vec(0_u64..4_000, 1..400)) {
            let (mut window, mut now, mut admitted) = (Window::default(), 0, Vec::new());
            for step in steps {
                now += step;
                if window.sum(Now(now)).calls < 10 {
                    window.add(Now(now), calls(1));
                    admitted.push(now);
                }
                let minute = admitted.iter().filter(|at| now - **at < 60_000).count();
                proptest::prop_assert!(minute <= 10);
            }
        }
    }
}

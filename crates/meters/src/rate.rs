//! What was taken in the last 60 seconds.

use std::collections::VecDeque;

/// How long what is taken counts, milliseconds.
pub(crate) const MINUTE: u64 = 60_000;

/// More slots than this are merged, so that a busy scope costs some tens of kilobytes at most.
const MOST_SLOTS: usize = 2048;
/// Slots are never wider than this, milliseconds; a minute of them is fewer than the most.
const WIDEST: u64 = 64;

/// Requests and tokens of the last 60 seconds, in slots that exist only when something is in them.
///
/// A slot is a millisecond wide, and wider only when there would be too many: then 60 seconds are up to 64 ms longer,
/// never shorter, because a slot is forgotten when its last moment is 60 seconds away. No span of 60 seconds ever
/// holds more than the limit.
#[derive(Debug)]
pub(crate) struct Rate {
    slots: VecDeque<Slot>,
    requests: u64,
    tokens: u64,
    /// Milliseconds, a power of two.
    width: u64,
}

#[derive(Debug)]
struct Slot {
    /// Its last millisecond, on the steady clock.
    end: u64,
    requests: u32,
    tokens: u64,
}

impl Default for Rate {
    fn default() -> Rate {
        Rate { slots: VecDeque::new(), requests: 0, tokens: 0, width: 1 }
    }
}

impl Rate {
    /// Drops what is over. To be called before anything is asked.
    pub(crate) fn forget(&mut self, now: u64) {
        while let Some(oldest) = self.slots.front() {
            if oldest.end.saturating_add(MINUTE) > now {
                return;
            }
            self.requests -= u64::from(oldest.requests);
            self.tokens -= oldest.tokens;
            self.slots.pop_front();
        }
        self.width = 1;
        // A burst should not keep its memory for ever.
        if self.slots.capacity() > 64 {
            self.slots.shrink_to(4);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests
    }

    pub(crate) fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Requests and tokens since a moment of the steady clock.
    pub(crate) fn since(&self, moment: u64) -> (u64, u64) {
        self.slots
            .iter()
            .rev()
            .take_while(|slot| slot.end >= moment)
            .fold((0, 0), |(requests, tokens), slot| {
                (requests + u64::from(slot.requests), tokens + slot.tokens)
            })
    }

    pub(crate) fn add(&mut self, now: u64, requests: u32, tokens: u64) {
        // So many tokens are a caller's mistake; the sum must not wrap.
        let tokens = tokens.min((u64::MAX / 4).saturating_sub(self.tokens));
        let end = now | (self.width - 1);
        match self.slots.back_mut() {
            Some(newest) if newest.end >= end => {
                newest.requests = newest.requests.saturating_add(requests);
                newest.tokens += tokens;
            }
            _ => self.slots.push_back(Slot { end, requests, tokens }),
        }
        self.requests += u64::from(requests);
        self.tokens += tokens;
        while self.slots.len() > MOST_SLOTS && self.width < WIDEST {
            self.widen();
        }
    }

    /// Makes the slots twice as wide.
    fn widen(&mut self) {
        self.width *= 2;
        let mut merged: VecDeque<Slot> = VecDeque::with_capacity(self.slots.len());
        for slot in self.slots.drain(..) {
            let end = slot.end | (self.width - 1);
            match merged.back_mut() {
                Some(last) if last.end == end => {
                    last.requests = last.requests.saturating_add(slot.requests);
                    last.tokens += slot.tokens;
                }
                _ => merged.push_back(Slot { end, ..slot }),
            }
        }
        self.slots = merged;
    }

    /// Undoes, before anything else is forgotten, what was added at a moment. What is forgotten needs no undoing.
    pub(crate) fn take_back(&mut self, moment: u64, now: u64, requests: u32, tokens: u64) {
        self.forget(now);
        let index = self.slots.partition_point(|slot| slot.end < moment);
        let Some(slot) = self.slots.get_mut(index) else { return };
        // The slot of the moment begins with it at the latest; a later one holds what others did.
        if slot.end - moment >= WIDEST {
            return;
        }
        let (requests, tokens) = (requests.min(slot.requests), tokens.min(slot.tokens));
        slot.requests -= requests;
        slot.tokens -= tokens;
        self.requests -= u64::from(requests);
        self.tokens -= tokens;
        if slot.requests == 0 && slot.tokens == 0 {
            self.slots.remove(index);
        }
    }

    /// In how many milliseconds so much will have been forgotten; `None`: never.
    pub(crate) fn wait_for(&self, now: u64, requests: u64, tokens: u64) -> Option<u64> {
        let (mut free_requests, mut free_tokens) = (0, 0);
        for slot in &self.slots {
            free_requests += u64::from(slot.requests);
            free_tokens += slot.tokens;
            if free_requests >= requests && free_tokens >= tokens {
                return Some(slot.end.saturating_add(MINUTE).saturating_sub(now));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_counts_for_60_seconds() {
        let mut rate = Rate::default();
        rate.add(49, 1, 10);
        rate.forget(60_048);
        assert_eq!((rate.requests(), rate.tokens()), (1, 10));
        rate.forget(60_049);
        assert_eq!((rate.requests(), rate.tokens()), (0, 0));
        assert!(rate.is_empty());
    }

    #[test]
    fn what_is_taken_back_is_gone_at_once() {
        let mut rate = Rate::default();
        rate.add(1, 1, 10);
        rate.add(1, 1, 5);
        rate.add(3, 1, 7);
        rate.take_back(1, 3, 1, 10);
        assert_eq!((rate.requests(), rate.tokens()), (2, 12));
        rate.take_back(1, 3, 9, 99);
        assert_eq!((rate.requests(), rate.tokens(), rate.slots.len()), (1, 7, 1));
    }

    #[test]
    fn what_is_forgotten_is_not_taken_back_from_others() {
        let mut rate = Rate::default();
        rate.add(1, 1, 10);
        rate.add(50_000, 1, 7);
        rate.take_back(1, 60_001, 1, 10);
        assert_eq!((rate.requests(), rate.tokens()), (1, 7));
    }

    #[test]
    fn the_wait_is_until_enough_is_forgotten() {
        let mut rate = Rate::default();
        rate.add(10, 1, 10);
        rate.add(20, 1, 10);
        assert_eq!(rate.wait_for(20, 1, 0), Some(59_990));
        assert_eq!(rate.wait_for(20, 1, 11), Some(60_000));
        assert_eq!(rate.wait_for(20, 0, 21), None);
    }

    #[test]
    fn only_what_came_since_is_asked_for() {
        let mut rate = Rate::default();
        rate.add(10, 1, 10);
        rate.add(20, 2, 5);
        assert_eq!(rate.since(11), (2, 5));
        assert_eq!(rate.since(10), (3, 15));
    }

    #[test]
    fn a_busy_minute_has_a_bounded_number_of_slots_and_is_never_shorter() {
        let mut rate = Rate::default();
        for now in 0..200_000 {
            rate.forget(now);
            rate.add(now, 1, 2);
            assert!(rate.slots.len() <= MOST_SLOTS);
            assert!(rate.requests() >= (now + 1).min(MINUTE) && rate.requests() <= MINUTE + WIDEST, "{now}");
        }
        rate.take_back(199_000, 199_999, 1, 2);
        assert_eq!(rate.requests() * 2, rate.tokens());
        rate.forget(300_000);
        assert_eq!((rate.requests(), rate.tokens(), rate.width), (0, 0, 1));
    }
}

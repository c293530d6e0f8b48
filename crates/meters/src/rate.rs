//! What was taken in the last 60 seconds.

use std::collections::VecDeque;

/// Width of a slot, milliseconds. It bounds how much longer than 60 seconds something is counted.
pub(crate) const SLOT: u64 = 50;

/// The slots of 60 seconds and the one that is being filled: what is in a slot is forgotten only when the last moment of
/// that slot is 60 seconds away, so no span of 60 seconds ever holds more than the limit.
pub(crate) const SLOTS: u32 = 1201;

/// The slot of a moment of the steady clock.
pub(crate) fn slot_at(steady: u64) -> u32 {
    u32::try_from(steady / SLOT).unwrap_or(u32::MAX)
}

/// Requests and tokens of the last 60 seconds, in slots that exist only when something is in them.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    slots: VecDeque<Slot>,
    requests: u64,
    tokens: u64,
}

#[derive(Debug)]
struct Slot {
    number: u32,
    requests: u32,
    tokens: u64,
}

impl Rate {
    /// Drops what is over. To be called before anything is asked.
    pub(crate) fn forget(&mut self, now: u32) {
        while let Some(oldest) = self.slots.front() {
            if oldest.number.saturating_add(SLOTS) > now {
                return;
            }
            self.requests -= u64::from(oldest.requests);
            self.tokens -= oldest.tokens;
            self.slots.pop_front();
        }
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

    /// Requests and tokens in the slots from this one on.
    pub(crate) fn since(&self, slot: u32) -> (u64, u64) {
        self.slots
            .iter()
            .rev()
            .take_while(|other| other.number >= slot)
            .fold((0, 0), |(requests, tokens), other| (requests + u64::from(other.requests), tokens + other.tokens))
    }

    pub(crate) fn add(&mut self, now: u32, requests: u32, tokens: u64) {
        // Tokens beyond this are a caller's mistake; the sum must not wrap.
        let tokens = tokens.min(u64::MAX / 4 - self.tokens.min(u64::MAX / 4));
        match self.slots.back_mut() {
            Some(newest) if newest.number >= now => {
                newest.requests = newest.requests.saturating_add(requests);
                newest.tokens += tokens;
            }
            _ => self.slots.push_back(Slot { number: now, requests, tokens }),
        }
        self.requests += u64::from(requests);
        self.tokens += tokens;
    }

    /// Undoes what was added in a slot. What is forgotten already needs no undoing.
    pub(crate) fn take_back(&mut self, slot: u32, requests: u32, tokens: u64) {
        let Ok(index) = self.slots.binary_search_by_key(&slot, |slot| slot.number) else { return };
        let Some(slot) = self.slots.get_mut(index) else { return };
        let (requests, tokens) = (requests.min(slot.requests), tokens.min(slot.tokens));
        slot.requests -= requests;
        slot.tokens -= tokens;
        self.requests -= u64::from(requests);
        self.tokens -= tokens;
        if slot.requests == 0 && slot.tokens == 0 {
            self.slots.remove(index);
        }
    }

    /// In how many milliseconds, seen from slot `now`, so much will have been forgotten; `None`: never.
    pub(crate) fn wait_for(&self, now: u32, requests: u64, tokens: u64) -> Option<u64> {
        let (mut free_requests, mut free_tokens) = (0, 0);
        for slot in &self.slots {
            if free_requests >= requests && free_tokens >= tokens {
                break;
            }
            free_requests += u64::from(slot.requests);
            free_tokens += slot.tokens;
            if free_requests >= requests && free_tokens >= tokens {
                return Some(u64::from(slot.number.saturating_add(SLOTS).saturating_sub(now)) * SLOT);
            }
        }
        (requests == 0 && tokens == 0).then_some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_counts_for_at_least_60_seconds_and_hardly_more() {
        let mut rate = Rate::default();
        rate.add(slot_at(49), 1, 10);
        rate.forget(slot_at(60_000 + 49));
        assert_eq!((rate.requests(), rate.tokens()), (1, 10));
        rate.forget(slot_at(60_000 + 50));
        assert_eq!((rate.requests(), rate.tokens()), (0, 0));
        assert!(rate.is_empty());
    }

    #[test]
    fn what_is_taken_back_is_gone_at_once() {
        let mut rate = Rate::default();
        rate.add(1, 1, 10);
        rate.add(1, 1, 5);
        rate.add(3, 1, 7);
        rate.take_back(1, 1, 10);
        assert_eq!((rate.requests(), rate.tokens()), (2, 12));
        rate.take_back(2, 1, 1);
        rate.take_back(1, 9, 99);
        assert_eq!((rate.requests(), rate.tokens(), rate.slots.len()), (1, 7, 1));
    }

    #[test]
    fn the_wait_is_until_enough_is_forgotten() {
        let mut rate = Rate::default();
        rate.add(10, 1, 10);
        rate.add(20, 1, 10);
        assert_eq!(rate.wait_for(20, 1, 0), Some(1191 * 50));
        assert_eq!(rate.wait_for(20, 1, 11), Some(1201 * 50));
        assert_eq!(rate.wait_for(20, 0, 21), None);
        assert_eq!(rate.wait_for(20, 0, 0), Some(0));
    }

    #[test]
    fn only_the_newest_slots_are_asked_for() {
        let mut rate = Rate::default();
        rate.add(10, 1, 10);
        rate.add(20, 2, 5);
        assert_eq!(rate.since(11), (2, 5));
        assert_eq!(rate.since(10), (3, 15));
    }
}

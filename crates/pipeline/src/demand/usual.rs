//! What calls usually emit.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

/// What calls of a key usually emit, by model: a level that rises at once to the largest seen and sinks slowly, so about
/// the 99th percentile of recent calls. Bounded: a slot is taken over by whoever hashes to it.
#[derive(Debug)]
pub(crate) struct Usual {
    hasher: RandomState,
    slots: Box<[Mutex<(u64, u64)>]>,
}

/// Slots of [`Usual`]: 16 thousand times 32 bytes.
const SLOTS: usize = 1 << 14;

impl Default for Usual {
    fn default() -> Self {
        Usual { hasher: RandomState::new(), slots: (0..SLOTS).map(|_| Mutex::default()).collect() }
    }
}

impl Usual {
    fn slot(&self, key: &str, model: &str) -> Option<(u64, &Mutex<(u64, u64)>)> {
        let hash = self.hasher.hash_one((key, model)).max(1);
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits choose the slot")]
        let index = hash as usize % SLOTS;
        Some((hash, self.slots.get(index)?))
    }

    /// What calls of `key` with `model` usually emit; `None` when none was seen lately.
    pub(crate) fn get(&self, key: &str, model: &str) -> Option<u64> {
        let (hash, slot) = self.slot(key, model)?;
        let slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        (slot.0 == hash).then_some(slot.1)
    }

    /// A call emitted so many tokens.
    pub(crate) fn saw(&self, key: &str, model: &str, output: u64) {
        let Some((hash, slot)) = self.slot(key, model) else { return };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = match *slot {
            (owner, level) if owner == hash && output < level => {
                (hash, level - (level - output).div_ceil(64))
            }
            _ => (hash, output),
        };
    }
}

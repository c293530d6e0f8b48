//! Whose receipts may still be on their way to the store.
//!
//! Who asks what a scope has spent has to wait only for receipts that concern it. So the sequence of the latest one is
//! remembered by a hash of the scope; scopes that share a slot wait for each other, never too short.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use tollway_meters::{Scope, ScopeKind};

use crate::receipt::Receipt;

/// 16 thousand times 8 bytes.
const SLOTS: usize = 1 << 14;

/// The latest sequence by scope.
pub(crate) struct Touched {
    hasher: RandomState,
    slots: Box<[AtomicU64]>,
}

impl std::fmt::Debug for Touched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Touched").finish_non_exhaustive()
    }
}

impl Touched {
    /// Everything up to `floor` may concern anybody.
    pub(crate) fn new(floor: u64) -> Touched {
        Touched { hasher: RandomState::new(), slots: (0..SLOTS).map(|_| AtomicU64::new(floor)).collect() }
    }

    /// This receipt has this sequence.
    pub(crate) fn note(&self, receipt: &Receipt, sequence: u64) {
        let who = &receipt.who;
        let named = [
            (ScopeKind::Key, &who.key),
            (ScopeKind::User, &who.user),
            (ScopeKind::Team, &who.team),
            (ScopeKind::Organization, &who.organization),
            (ScopeKind::Customer, &who.customer),
        ];
        for (kind, id) in named {
            if let Some(slot) = id.as_deref().and_then(|id| self.slot(kind, id)) {
                slot.fetch_max(sequence, Ordering::AcqRel);
            }
        }
    }

    /// The latest sequence that may concern a scope; `None` for kinds that are not followed.
    pub(crate) fn latest(&self, scope: &Scope) -> Option<u64> {
        let followed =
            [ScopeKind::Key, ScopeKind::User, ScopeKind::Team, ScopeKind::Organization, ScopeKind::Customer];
        if !followed.contains(&scope.kind) {
            return None;
        }
        self.slot(scope.kind, &scope.id).map(|slot| slot.load(Ordering::Acquire))
    }

    fn slot(&self, kind: ScopeKind, id: &str) -> Option<&AtomicU64> {
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits choose the slot")]
        let index = self.hasher.hash_one((kind, id)) as usize % SLOTS;
        self.slots.get(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn a_scope_knows_its_latest_receipt() {
        let touched = Touched::new(7);
        let scope = |kind, id: &str| Scope { kind, id: id.into() };
        assert_eq!(touched.latest(&scope(ScopeKind::Key, "nobody")), Some(7));
        let receipts: Vec<Receipt> = (0..50).map(sample::receipt).collect();
        for (receipt, sequence) in receipts.iter().zip(10..) {
            touched.note(receipt, sequence);
        }
        for (receipt, sequence) in receipts.iter().zip(10..) {
            for (kind, id) in [(ScopeKind::Key, &receipt.who.key), (ScopeKind::Team, &receipt.who.team)] {
                let Some(id) = id else { continue };
                assert!(touched.latest(&scope(kind, id)) >= Some(sequence), "{kind:?} {id}");
            }
        }
        assert_eq!(touched.latest(&scope(ScopeKind::Provider, "openai")), None);
    }
}

//! Which scopes are counted: found by their name, forgotten when nothing would be lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::Scope;
use crate::state::State;

const SHARDS: usize = 64;

/// One scope and what is counted for it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) scope: Scope,
    state: Mutex<State>,
    /// Held while what is spent is asked for; inside, when the last question failed, on the steady clock.
    pub(crate) seeding: tokio::sync::Mutex<Option<u64>>,
}

impl Entry {
    /// Held for the length of a decision, never across an await.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Scopes = HashMap<Scope, Arc<Entry>>;

/// All scopes that are counted.
#[derive(Debug)]
pub(crate) struct Registry {
    shards: Box<[RwLock<Shard>]>,
    /// Most scopes a shard keeps without looking for idle ones.
    bound: usize,
}

#[derive(Debug, Default)]
struct Shard {
    scopes: Scopes,
    /// The size at which idle scopes are looked for.
    sweep_at: usize,
}

impl Registry {
    pub(crate) fn new(most: usize) -> Registry {
        let bound = (most / SHARDS).max(1);
        let shard = || RwLock::new(Shard { scopes: Scopes::default(), sweep_at: bound });
        Registry { shards: (0..SHARDS).map(|_| shard()).collect(), bound }
    }

    fn shard(&self, scope: &Scope) -> Option<&RwLock<Shard>> {
        // The map hashes with a secret key. Here the worst that chosen names can do is to share a lock.
        let tail = scope.id.bytes().rev().take(8);
        let hash = tail
            .fold(scope.kind as usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(usize::from(byte)));
        self.shards.get(hash % SHARDS)
    }

    /// The entry of a scope, if it is counted.
    pub(crate) fn find(&self, scope: &Scope) -> Option<Arc<Entry>> {
        let shard = self.shard(scope)?.read().unwrap_or_else(PoisonError::into_inner);
        shard.scopes.get(scope).cloned()
    }

    /// The entry of a scope, which is counted from now on. `is_idle` says which others may be forgotten for it.
    pub(crate) fn get(&self, scope: &Scope, is_idle: impl Fn(&mut State) -> bool) -> Arc<Entry> {
        if let Some(entry) = self.find(scope) {
            return entry;
        }
        let fresh = || {
            let (state, seeding) = (Mutex::default(), tokio::sync::Mutex::new(None));
            Arc::new(Entry { scope: scope.clone(), state, seeding })
        };
        let Some(shard) = self.shard(scope) else { return fresh() };
        let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
        if shard.scopes.len() >= shard.sweep_at && !shard.scopes.contains_key(scope) {
            // Nobody can take a new reference while the shard is locked, so one reference means that no hold has it.
            shard.scopes.retain(|_, entry| Arc::strong_count(entry) > 1 || !is_idle(&mut entry.state()));
            // When most are busy, look again only after the shard has grown by an eighth: the search is not for free.
            shard.sweep_at = self.bound.max(shard.scopes.len() + shard.scopes.len() / 8 + 1);
        }
        Arc::clone(shard.scopes.entry(scope.clone()).or_insert_with(fresh))
    }

    /// How many scopes are counted.
    pub(crate) fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).scopes.len())
            .sum()
    }
}

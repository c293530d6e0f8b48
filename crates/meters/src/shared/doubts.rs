//! Purses that may have missed something, and how they get it back.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::{BACKGROUND, BATCH, CALM, Shared, Way};
use crate::meters::Inner;
use crate::{Away, Scope};

impl Shared {
    /// Is this the store of before? One that has lost its memory is seeded from the ledger, which knows what was spent
    /// meanwhile or soon will: what waits is not told, because much of it would count twice. What the ledger did not know
    /// yet when a purse was seeded is missing there, so these purses are in doubt.
    pub(super) async fn recognise(&self, inner: &Inner, born: &str, way: Way<'_>) -> Result<(), Away> {
        let is_new = {
            let known = self.born.lock().unwrap_or_else(PoisonError::into_inner);
            known.as_deref().is_some_and(|known| known != born)
        };
        if is_new {
            self.calm_until.store(inner.now().steady.saturating_add(CALM), Ordering::Relaxed);
            self.close_all(inner, None);
            let mut batch = self.sending.lock().await;
            let mut pots = self.outbox().forget_money();
            batch.forget_money(&mut pots);
            for block in self.blocks_alive().iter().filter(|block| block.forget_money()) {
                block.parts.iter().for_each(|part| part.name_pots(&mut pots));
            }
            drop(batch);
            pots.sort_unstable();
            pots.dedup();
            for pots in pots.chunks(BATCH) {
                let mut script = self.scripts.doubt.key(&self.space);
                script.arg(pots.len());
                for (scope, window) in pots {
                    script.arg(scope).arg(window);
                }
                self.invoke::<i64>(way, Some(BACKGROUND), &script).await?;
            }
        }
        *self.born.lock().unwrap_or_else(PoisonError::into_inner) = Some(born.to_owned());
        Ok(())
    }
}

/// Compares purses with the ledger, in the background: `scope, window, start` of each.
pub(super) fn raise(inner: &Arc<Inner>, due: &[String]) {
    let Some(shared) = &inner.shared else { return };
    if due.is_empty() || shared.raising.swap(true, Ordering::AcqRel) {
        return;
    }
    let (inner, due) = (Arc::clone(inner), due.to_vec());
    tokio::spawn(async move {
        let Some(shared) = &inner.shared else { return };
        for purse in due.chunks_exact(3) {
            let [key, window, start] = purse else { continue };
            let (Some(scope), Ok(from)) = (Scope::from_text(key), start.parse::<i64>()) else { continue };
            // Without an answer it is asked again later.
            let Ok(spent) = inner.ask(&scope, (from > 0).then_some(from)).await else { continue };
            let mut script = shared.scripts.raise.key(&shared.space);
            script.arg(key).arg(window).arg(start).arg(spent.nanos());
            let _ = shared.invoke::<i64>(Way::Link, Some(BACKGROUND), &script).await;
        }
        shared.raising.store(false, Ordering::Release);
    });
}

#[cfg(test)]
mod tests {
    use super::super::Part;
    use super::*;
    use crate::ScopeKind;

    #[test]
    fn a_scope_is_found_by_the_name_it_has_in_the_store() {
        for kind in ScopeKind::ALL {
            let known = Scope { kind, id: "a:b/c d".into() };
            assert_eq!(Scope::from_text(&Part::key_of(&known)), Some(known));
        }
        assert_eq!(Scope::from_text("nothing:a"), None);
        assert_eq!(Scope::from_text("api_key"), None);
    }
}

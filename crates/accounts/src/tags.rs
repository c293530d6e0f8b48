//! Tags that have limits, ready for calls.
//!
//! They are few and an administrator's, and what callers send as tags is anything: so all of them are remembered at once,
//! and a tag that nobody made costs no question.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tollway_meters::{Claim, ScopeKind};
use tollway_model::Error;
use tollway_store::records::{Budget, Millis, Tag};
use tollway_store::{Query, Shelf, StoreError};

use crate::ModelAccess;
use crate::claims::{ByModel, add_models, claim, merged, raised_until};
use crate::directory::in_time;
use crate::identity::{Owner, no_access};

/// Records that are read at once.
const PAGE: u64 = 500;

/// How long tags that could not be read are not asked for again, milliseconds: calls would otherwise wait one after the
/// other.
const PAUSE_AFTER_FAILURE: Millis = 250;

/// A tag made ready for calls.
#[derive(Debug)]
pub struct KnownTag {
    /// What all calls with it may use together.
    pub claim: Option<Claim>,
    by_model: ByModel,
    access: ModelAccess,
    /// What its shared budget may be spent on.
    budget: ModelAccess,
}

impl KnownTag {
    fn of(tag: &Tag, budget: Option<&Budget>, now: Millis) -> KnownTag {
        let limits = merged(&tag.limits, budget, now);
        let mut by_model = ByModel::new();
        add_models(ScopeKind::ModelPerTag, &tag.name, &limits, true, &mut by_model);
        KnownTag {
            claim: claim(ScopeKind::Tag, &tag.name, &limits),
            by_model,
            access: ModelAccess::of(&tag.models),
            budget: ModelAccess::of(budget.map_or(&[], |budget| budget.allowed_models.as_slice())),
        }
    }

    /// May calls with it use this model? `groups` are the access groups it is in.
    pub fn may_use(&self, model: &str, groups: &[Arc<str>]) -> Result<(), Error> {
        match self.access.allows(model, groups) && self.budget.allows(model, groups) {
            true => Ok(()),
            false => Err(no_access(Owner::Tag, model)),
        }
    }

    /// Limits of single models, by the names they were set for.
    pub fn limited_models(&self) -> impl Iterator<Item = (&str, &[Claim])> {
        self.by_model.iter().map(|(model, claims)| (&**model, claims.as_slice()))
    }
}

type Tags = HashMap<Box<str>, Arc<KnownTag>>;

/// All tags there are.
#[derive(Debug, Default)]
pub(crate) struct TagBook {
    known: RwLock<Arc<Tags>>,
    /// What is known is what is stored.
    is_fresh: AtomicBool,
    /// Some limits are others from then on; 0: they stay as they are.
    until: AtomicI64,
    /// Grows with every change.
    epoch: AtomicU64,
    /// When they could not be read; 0: they could.
    failed_at: AtomicI64,
    reading: tokio::sync::Mutex<()>,
}

impl TagBook {
    /// Something changed.
    pub(crate) fn forget(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.is_fresh.store(false, Ordering::Release);
    }

    /// Those of `names` that somebody made. While the store is away, what was known last counts.
    pub(crate) async fn find(
        &self,
        names: &[Arc<str>],
        tags: &Shelf<Tag>,
        budgets: &Shelf<Budget>,
        is_away: bool,
    ) -> Vec<Arc<KnownTag>> {
        let until = self.until.load(Ordering::Relaxed);
        if until != 0 && until <= crate::now() {
            self.is_fresh.store(false, Ordering::Release);
        }
        if !is_away && !self.is_fresh.load(Ordering::Acquire) {
            Box::pin(self.read_again(tags, budgets)).await;
        }
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if known.is_empty() {
            return Vec::new();
        }
        names.iter().filter_map(|name| known.get(&**name).cloned()).collect()
    }

    async fn read_again(&self, tags: &Shelf<Tag>, budgets: &Shelf<Budget>) {
        let _one = self.reading.lock().await;
        let has_just_failed = crate::now() - self.failed_at.load(Ordering::Relaxed) < PAUSE_AFTER_FAILURE;
        if has_just_failed || self.is_fresh.load(Ordering::Acquire) {
            return;
        }
        let epoch = self.epoch.load(Ordering::Acquire);
        match read(tags, budgets).await {
            Ok((found, until)) => {
                self.failed_at.store(0, Ordering::Relaxed);
                self.until.store(until.unwrap_or(0), Ordering::Relaxed);
                *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(found);
                // A change that came meanwhile may be missing.
                self.is_fresh.store(true, Ordering::Release);
                if self.epoch.load(Ordering::Acquire) != epoch {
                    self.is_fresh.store(false, Ordering::Release);
                }
            }
            Err(error) => {
                self.failed_at.store(crate::now(), Ordering::Relaxed);
                tracing::warn!(target: "tollway::store", %error, "the limits of tags cannot be read; those that were known last hold");
            }
        }
    }
}

/// All tags, and when some of their limits become others. Each answer of the store has its own time: there may be many.
async fn read(tags: &Shelf<Tag>, budgets: &Shelf<Budget>) -> Result<(Tags, Option<Millis>), StoreError> {
    let (mut found, now, mut until) = (Tags::new(), crate::now(), None);
    let mut shared: HashMap<String, Option<Budget>> = HashMap::new();
    for page in 0.. {
        let query = Query { sort: Some("id"), offset: page * PAGE, limit: PAGE, ..Query::default() };
        let records = in_time(Duration::ZERO, tags.list(&query)).await?.records;
        let is_last = (records.len() as u64) < PAGE;
        for tag in records {
            if let Some(id) = tag.budget_id.as_ref().filter(|id| !shared.contains_key(*id)) {
                shared.insert(id.clone(), in_time(Duration::ZERO, budgets.get(id)).await?);
            }
            let budget = tag.budget_id.as_ref().and_then(|id| shared.get(id)?.as_ref());
            until = until.into_iter().chain(raised_until(budget, now)).min();
            found.insert(tag.name.as_str().into(), Arc::new(KnownTag::of(&tag, budget, now)));
        }
        if is_last {
            break;
        }
    }
    Ok((found, until))
}

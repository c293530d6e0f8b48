//! Lists in an order, or of a kind, that no column has: by what was spent, by a limit, by a role.
//!
//! Such a list is put together in memory, from a bounded number of records. Where there are more, and the order is by
//! what was spent, those that spent something are looked at: they come first.

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;

use tollway_meters::ScopeKind;
use tollway_model::{Money, Result};
use tollway_store::Query;
use tollway_store::records::{Limits, Millis, Record};

use super::desk::Desk;
use super::errors::bad;
use super::params::{Paging, Params};
use super::{Management, limits};

/// Most records that one list is put together from.
pub(crate) const SCANNED: u64 = 20_000;

/// Most of those that spent something, where not all records can be looked at.
const SPENDERS: usize = 5_000;

/// Records that are looked up by their ids at once.
const AT_ONCE: usize = 500;

/// What a list is ordered by, where no column is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// What was spent in the running window of its budget.
    Spend,
    /// Its budget; none is more than any.
    MaxBudget,
    /// When it ends; never is later than any time.
    Expires,
}

/// What is ordered by.
pub(crate) struct Facts<'r> {
    pub(crate) limits: &'r Limits,
    pub(crate) expires: Option<Millis>,
}

/// A list that the store cannot make alone.
pub(crate) struct Scan<'s, R> {
    pub(crate) kind: ScopeKind,
    pub(crate) by: Option<By>,
    /// Which records belong to the list; `None`: all that the query finds.
    pub(crate) keep: Option<&'s (dyn Fn(&R) -> bool + Send + Sync)>,
    pub(crate) facts: fn(&R) -> Facts<'_>,
}

impl Params {
    /// The order that `sort_by` asks for, where it is one of `known`.
    pub(crate) fn order_beyond_columns(&self, known: &[(&str, By)]) -> Result<Option<By>> {
        let by = self.text("sort_by")?;
        Ok(known.iter().find(|(name, _)| Some(*name) == by).map(|(_, by)| *by))
    }
}

impl Management {
    /// A page of what `query` finds, and how many there are.
    pub(crate) async fn scan<R: Record>(
        &self,
        desk: &Desk<R>,
        mut query: Query,
        paging: Paging,
        scan: &Scan<'_, R>,
    ) -> Result<(Vec<R>, u64)> {
        if scan.by.is_none() && scan.keep.is_none() {
            paging.cut(&mut query);
            let page = desk.list(&query).await?;
            return Ok((page.records, page.total));
        }
        query.limit = 0;
        let there = desk.list(&query).await?.total;
        let descending = query.descending;
        let mut missing = 0;
        let mut records = Vec::new();
        if there > SCANNED {
            if scan.keep.is_some() || scan.by != Some(By::Spend) || !query.descending {
                return Err(too_many(there));
            }
            let spenders: Vec<String> = self.spenders(scan.kind).await.into_keys().take(SPENDERS).collect();
            missing = there;
            // In the order of their ids, which is how they are found one by one.
            query.sort = Some("id");
            for ids in spenders.chunks(AT_ONCE) {
                let mut some = Query { limit: ids.len() as u64, ..query.clone() };
                some.any_of.push(("id", ids.to_vec()));
                records.extend(desk.list(&some).await?.records);
            }
        } else {
            records = desk.all(query).await?;
        }
        if let Some(keep) = scan.keep {
            records.retain(keep);
        }
        let total = missing.max(records.len() as u64);
        if missing > 0 && (paging.page - 1).saturating_mul(paging.size) >= records.len() as u64 {
            return Err(too_many(there));
        }
        if let Some(by) = scan.by {
            records = self.rank(records, by, descending, scan).await;
        }
        Ok((cut(records, paging), total))
    }

    /// Records in order. Of equals the order stays what it was.
    pub(crate) async fn rank<R: Record>(
        &self,
        records: Vec<R>,
        by: By,
        descending: bool,
        scan: &Scan<'_, R>,
    ) -> Vec<R> {
        let ranks: Vec<Rank> = match by {
            By::Spend => self.spends(&records, scan).await.into_iter().map(Rank::Money).collect(),
            By::MaxBudget => records
                .iter()
                .map(|one| (scan.facts)(one).limits.max_budget.map_or(Rank::Last, Rank::Money))
                .collect(),
            By::Expires => {
                records.iter().map(|one| (scan.facts)(one).expires.map_or(Rank::Last, Rank::Time)).collect()
            }
        };
        let mut ranked: Vec<(Rank, R)> = ranks.into_iter().zip(records).collect();
        if descending {
            ranked.sort_by_key(|(rank, _)| Reverse(*rank));
        } else {
            ranked.sort_by_key(|(rank, _)| *rank);
        }
        ranked.into_iter().map(|(_, record)| record).collect()
    }

    /// What each has spent, as it is shown. Only those with a window of their own are asked about one by one.
    async fn spends<R: Record>(&self, records: &[R], scan: &Scan<'_, R>) -> Vec<Money> {
        let now = self.now();
        let ever = self.spenders(scan.kind).await;
        let of = |record: &R| ever.get(record.id()).copied().unwrap_or_default();
        let windowed: Vec<(&str, &Limits)> = records
            .iter()
            .filter(|one| of(one) > Money::ZERO && limits::window((scan.facts)(one).limits, now).is_some())
            .map(|one| (one.id(), (scan.facts)(one).limits))
            .collect();
        let figures = self.figures(scan.kind, &windowed).await;
        let within: HashMap<&str, Money> =
            windowed.iter().map(|(id, _)| *id).zip(figures.iter().map(|figures| figures.spend)).collect();
        records.iter().map(|one| within.get(one.id()).copied().unwrap_or_else(|| of(one))).collect()
    }

    async fn spenders(&self, kind: ScopeKind) -> HashMap<String, Money> {
        self.spend.most(kind, u32::try_from(SCANNED).unwrap_or(u32::MAX)).await.into_iter().collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rank {
    Money(Money),
    Time(Millis),
    Last,
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Rank::Money(one), Rank::Money(other)) => one.cmp(other),
            (Rank::Time(one), Rank::Time(other)) => one.cmp(other),
            (Rank::Last, Rank::Last) => Ordering::Equal,
            (Rank::Last, _) => Ordering::Greater,
            (_, Rank::Last) => Ordering::Less,
            (Rank::Money(_), Rank::Time(_)) => Ordering::Less,
            (Rank::Time(_), Rank::Money(_)) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The page's records.
pub(crate) fn cut<R>(records: Vec<R>, paging: Paging) -> Vec<R> {
    let skip = usize::try_from((paging.page - 1).saturating_mul(paging.size)).unwrap_or(usize::MAX);
    let size = usize::try_from(paging.size).unwrap_or(usize::MAX);
    records.into_iter().skip(skip).take(size).collect()
}

fn too_many(there: u64) -> tollway_model::Error {
    let message = format!(
        "this order or filter looks at {SCANNED} records at most, and there are {there}: narrow the list, for example to \
         one user or team"
    );
    bad("sort_by", message)
}

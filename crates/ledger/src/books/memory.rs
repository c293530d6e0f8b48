//! Books in memory: for tests, and as the plain definition of what the others compute.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tollway_meters::{Scope, ScopeKind};
use tollway_store::StoreResult;

use super::line::Line;
use super::sums::{Batch, Day, DayKey, Sum, Tally};
use super::{
    Adjustment, Books, Counted, DAY, DayFilter, Filter, HOUR, Millis, Order, Place, Progress, Range,
    Retained, Verification, Within, is_summed_by_days,
};
use crate::receipt::Receipt;

/// Books in memory. Everything is computed when it is asked for.
#[derive(Debug, Default)]
pub struct MemoryBooks {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    receipts: BTreeMap<(Millis, String), Arc<Receipt>>,
    ids: BTreeSet<String>,
    adjustments: Vec<Adjustment>,
    /// What forgotten receipts added up to.
    carried: Tally,
    forgotten_before: Millis,
}

impl MemoryBooks {
    /// Empty books.
    pub fn new() -> MemoryBooks {
        MemoryBooks::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tally(&self, keep: impl Fn(&Receipt) -> bool) -> Tally {
        let lines: Vec<Line<'_>> =
            self.receipts.values().filter(|receipt| keep(receipt)).map(|receipt| Line::of(receipt)).collect();
        Tally::of(lines.iter())
    }

    fn matching<'a>(&'a self, filter: &'a Filter) -> impl Iterator<Item = &'a Arc<Receipt>> {
        self.receipts.values().rev().filter(|receipt| filter.holds(receipt))
    }

    /// What a kind's scopes spent within a range; forgotten hours count whole.
    fn sums(&self, kind: ScopeKind, range: Range) -> BTreeMap<String, Sum> {
        let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
        let kept = self.tally(|receipt| range.holds(receipt.at));
        let touched = |hour: i64| {
            range.from.is_none_or(|from| hour >= from.div_euclid(HOUR))
                && range.until.is_none_or(|until| hour * HOUR < until)
        };
        let carried = self.carried.hours.iter().filter(|((_, _, hour), _)| touched(*hour));
        for ((_, id, _), sum) in
            kept.hours.iter().chain(carried).filter(|((name, _, _), _)| *name == kind.name())
        {
            sums.entry(id.clone()).or_default().add(*sum);
        }
        for adjustment in self.adjustments.iter().filter(|one| one.scope.kind == kind && range.holds(one.at))
        {
            sums.entry(adjustment.scope.id.to_string()).or_default().add(Sum::of_money(adjustment.amount));
        }
        sums
    }

    fn verification(&self) -> Verification {
        let tally = self.tally(|_| true);
        let global = tally.scopes().get(&(ScopeKind::Global.name(), "")).copied().unwrap_or_default();
        Verification {
            receipts: self.receipts.len() as u64,
            total: global.money,
            unknown: u64::try_from(global.unknown).unwrap_or(0),
            scopes: tally.scopes().len() as u64,
            ..Verification::default()
        }
    }
}

impl Range {
    pub(crate) fn holds(&self, at: Millis) -> bool {
        self.from.is_none_or(|from| at >= from) && self.until.is_none_or(|until| at < until)
    }
}

impl Filter {
    /// Does a receipt match?
    pub(crate) fn holds(&self, receipt: &Receipt) -> bool {
        let line = Line::of(receipt);
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        let cost = line.nanos.unwrap_or(0);
        self.range.holds(line.at)
            && is(&self.token, Some(&line.token))
            && is(&self.key, Some(&line.key))
            && is(&self.user, line.user.as_deref())
            && is(&self.team, line.team.as_deref())
            && (self.teams.is_empty() || self.teams.iter().any(|team| line.team.as_deref() == Some(team)))
            && is(&self.organization, line.organization.as_deref())
            && is(&self.customer, line.customer.as_deref())
            && is(&self.model, line.model.as_deref())
            && is(&self.model_group, Some(&line.model_group))
            && is(&self.provider, line.provider.as_deref())
            && is(&self.deployment, line.deployment.as_deref())
            && is(&self.session, line.session.as_deref())
            && self.call.as_deref().is_none_or(|call| receipt.id == call || receipt.call_id == call)
            && self.tag.as_deref().is_none_or(|tag| line.tags.iter().any(|other| other.as_ref() == tag))
            && self.status.is_none_or(|status| line.status == status)
            && self.answered.is_none_or(|answered| line.answered() == answered)
            && self.min.is_none_or(|min| cost >= min.nanos())
            && self.max.is_none_or(|max| cost <= max.nanos())
            && self.within.as_ref().is_none_or(|within| {
                within.holds(
                    &line.key,
                    line.user.as_deref().unwrap_or(""),
                    line.team.as_deref().unwrap_or(""),
                )
            })
    }
}

impl Within {
    /// Does what belongs to these belong to it? Empty names are nobody's.
    pub fn holds(&self, key: &str, user: &str, team: &str) -> bool {
        let any = |list: &[String], name: &str| !name.is_empty() && list.iter().any(|one| one == name);
        any(&self.keys, key) || any(&self.users, user) || any(&self.teams, team)
    }
}

impl DayFilter {
    /// Does a row match?
    pub(crate) fn holds(&self, key: &DayKey<'_>) -> bool {
        let any = |list: &[String], value: &str| list.is_empty() || list.iter().any(|one| one == value);
        let (of, ids) = self.of.name_and_ids();
        (self.days.0..=self.days.1).contains(&key.day)
            && key.of == of
            && any(ids, &key.of_id)
            && any(&self.keys, &key.key)
            && any(&self.tokens, &key.token)
            && any(&self.users, &key.user)
            && any(&self.teams, &key.team)
            && any(&self.organizations, &key.organization)
            && any(&self.model_groups, &key.model_group)
            && any(&self.models, &key.model)
            && any(&self.providers, &key.provider)
            && !self.without_teams.iter().any(|team| *team == key.team)
            && self.within.as_ref().is_none_or(|within| within.holds(&key.key, &key.user, &key.team))
    }
}

impl super::DaysOf {
    pub(crate) fn name_and_ids(&self) -> (&'static str, &[String]) {
        match self {
            super::DaysOf::All => ("", &[]),
            super::DaysOf::Customers(ids) => (ScopeKind::Customer.name(), ids),
            super::DaysOf::Tags(ids) => (ScopeKind::Tag.name(), ids),
        }
    }
}

#[async_trait]
impl Books for MemoryBooks {
    async fn record(&self, batch: &Batch) -> StoreResult<u64> {
        let receipts = batch.receipts()?;
        let mut state = self.state();
        let mut new = 0;
        for receipt in receipts {
            if state.ids.insert(receipt.id.clone()) {
                state.receipts.insert((receipt.at, receipt.id.clone()), Arc::new(receipt));
                new += 1;
            }
        }
        Ok(new)
    }

    async fn get(&self, id: &str) -> StoreResult<Option<Receipt>> {
        let state = self.state();
        let by_id = state.receipts.values().find(|receipt| receipt.id == id);
        let found = by_id.or_else(|| state.receipts.values().rev().find(|receipt| receipt.call_id == id));
        Ok(found.map(|receipt| receipt.as_ref().clone()))
    }

    async fn list(&self, filter: &Filter, after: Option<&Place>, limit: u32) -> StoreResult<Vec<Receipt>> {
        let state = self.state();
        let behind = |receipt: &&Arc<Receipt>| {
            after.is_none_or(|place| (receipt.at, receipt.id.as_str()) < (place.at, place.id.as_str()))
        };
        let found = state.matching(filter).filter(behind).take(limit as usize);
        Ok(found.map(|receipt| receipt.as_ref().clone()).collect())
    }

    async fn sorted(
        &self,
        filter: &Filter,
        order: Order,
        skip: u32,
        limit: u32,
    ) -> StoreResult<Vec<Receipt>> {
        let state = self.state();
        let mut found: Vec<_> = state.matching(filter).collect();
        found.sort_by(|one, other| order.compare(one, other));
        let shown = found.into_iter().skip(skip as usize).take(limit as usize);
        Ok(shown.map(|receipt| receipt.as_ref().clone()).collect())
    }

    async fn count(&self, filter: &Filter, _: u64) -> StoreResult<Counted> {
        Ok(Counted { calls: self.state().matching(filter).count() as u64, whole: true })
    }

    async fn spent(&self, scope: &Scope, from: Option<Millis>) -> StoreResult<Sum> {
        if is_summed_by_days(scope.kind) {
            return self.spent_on_model(scope, from).await;
        }
        let mut sums = self.state().sums(scope.kind, Range { from, until: None });
        Ok(sums.remove(scope.id.as_ref()).unwrap_or_default())
    }

    async fn sums(&self, kind: ScopeKind, range: Range, limit: u32) -> StoreResult<Vec<(Arc<str>, Sum)>> {
        let sums = self.state().sums(kind, range);
        let mut sums: Vec<(Arc<str>, Sum)> = sums.into_iter().map(|(id, sum)| (Arc::from(id), sum)).collect();
        sums.sort_by(|(a, one), (b, other)| other.money.cmp(&one.money).then_with(|| a.cmp(b)));
        sums.truncate(limit as usize);
        Ok(sums)
    }

    async fn days(&self, filter: &DayFilter) -> StoreResult<Vec<(DayKey<'static>, Day)>> {
        let state = self.state();
        let mut days = state.tally(|_| true).days;
        for (key, day) in &state.carried.days {
            days.entry(key.clone()).or_default().add(day);
        }
        let mut found: BTreeMap<DayKey<'static>, Day> = BTreeMap::new();
        for (key, day) in days.into_iter().filter(|(key, _)| filter.holds(key)) {
            found.entry(key.with(filter.detail)).or_default().add(&day);
        }
        let limit = filter.limit.map_or(usize::MAX, |limit| limit as usize);
        Ok(found.into_iter().skip(filter.skip as usize).take(limit).collect())
    }

    async fn day_sums(
        &self,
        kind: ScopeKind,
        day: i64,
        after: Option<&str>,
        limit: u32,
    ) -> StoreResult<Vec<(Arc<str>, Sum)>> {
        let state = self.state();
        let kept = state.tally(|receipt| receipt.at.div_euclid(DAY) == day);
        let carried =
            state.carried.hours.iter().filter(|((_, _, hour), _)| (hour * HOUR).div_euclid(DAY) == day);
        let mut sums: BTreeMap<&str, Sum> = BTreeMap::new();
        for ((_, id, _), sum) in
            kept.hours.iter().chain(carried).filter(|((name, ..), _)| *name == kind.name())
        {
            sums.entry(id).or_default().add(*sum);
        }
        let behind = sums
            .into_iter()
            .filter(|(id, sum)| after.is_none_or(|after| *id > after) && *sum != Sum::default());
        Ok(behind.take(limit as usize).map(|(id, sum)| (Arc::from(id), sum)).collect())
    }

    async fn callers(&self, filter: &DayFilter, after: Option<&str>, limit: u32) -> StoreResult<Vec<String>> {
        let state = self.state();
        let any = DayFilter {
            days: (i64::MIN, i64::MAX),
            of: super::DaysOf::All,
            models: Vec::new(),
            model_groups: Vec::new(),
            providers: Vec::new(),
            ..filter.clone()
        };
        let days = state.tally(|_| true).days;
        let rows = days.keys().chain(state.carried.days.keys()).filter(|key| any.holds(key));
        let keys: BTreeSet<&str> = rows.map(|key| key.key.as_ref()).collect();
        let behind = keys.into_iter().filter(|id| after.is_none_or(|after| *id > after));
        Ok(behind.take(limit as usize).map(str::to_owned).collect())
    }

    async fn adjust(&self, adjustment: &Adjustment) -> StoreResult<bool> {
        let mut state = self.state();
        let new = state.adjustments.iter().all(|known| known.id != adjustment.id);
        if new {
            state.adjustments.push(adjustment.clone());
        }
        Ok(new)
    }

    async fn retain(&self, before: Millis) -> StoreResult<Retained> {
        let mut state = self.state();
        let before = before.div_euclid(DAY) * DAY;
        let gone = state.tally(|receipt| receipt.at < before);
        for (key, sum) in gone.hours {
            state.carried.hours.entry(key).or_default().add(sum);
        }
        for (key, day) in gone.days {
            state.carried.days.entry(key).or_default().add(&day);
        }
        let count = state.receipts.len();
        state.receipts.retain(|(at, _), _| *at >= before);
        state.forgotten_before = state.forgotten_before.max(before);
        Ok(Retained { receipts: (count - state.receipts.len()) as u64, partitions: 0 })
    }

    /// Keeps them: what forgotten receipts added up to is all it has.
    async fn thin(&self, _: Millis) -> StoreResult<u64> {
        Ok(0)
    }

    async fn verify(&self, _: Progress<'_>) -> StoreResult<Verification> {
        Ok(self.state().verification())
    }

    async fn rebuild(&self, _: Progress<'_>) -> StoreResult<Verification> {
        Ok(self.state().verification())
    }
}

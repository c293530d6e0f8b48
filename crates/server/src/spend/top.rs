//! Who and what spent most: `/spend/keys|users|tags`, `/global/spend` and what is below it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tollway_ledger::books::{DayFilter, DayKey, DaysOf, Detail, Range, Sum};
use tollway_ledger::litellm::{self, DayRow, date};
use tollway_meters::{Scope, ScopeKind};
use tollway_model::{Money, Result};

use super::{Answer, Desk, period, stored};

/// Keys and users of a list.
const LISTED: u32 = 100;

/// Tags of a list.
const TAGS: u32 = 1_000;

impl Desk<'_> {
    /// `GET /spend/keys`: the keys that spent most.
    pub(super) async fn keys(&self) -> Result<Value> {
        let most = if self.grant.is_all() { self.most(ScopeKind::Key).await? } else { Vec::new() };
        self.management()?.spend_of_keys(&self.grant, &most, LISTED as usize).await
    }

    /// `GET /spend/users`: the users that spent most, or the one of `user_id`.
    pub(super) async fn users(&self) -> Result<Value> {
        let own = match self.grant.scope() {
            tollway_accounts::rights::Scope::Own(own) => own.user.clone(),
            tollway_accounts::rights::Scope::All => None,
        };
        let most = match self.text("user_id")?.or(own) {
            Some(user) => {
                let scope = Scope { kind: ScopeKind::User, id: user.as_str().into() };
                let sum = self.books()?.spent(&scope, None).await.map_err(stored)?;
                vec![(scope.id, sum.money)]
            }
            None if self.grant.is_all() => self.most(ScopeKind::User).await?,
            None => Vec::new(),
        };
        self.management()?.spend_of_users(&self.grant, &most).await
    }

    async fn most(&self, kind: ScopeKind) -> Result<Vec<(Arc<str>, Money)>> {
        let sums = self.books()?.sums(kind, Range::default(), LISTED).await.map_err(stored)?;
        Ok(sums.into_iter().map(|(id, sum)| (id, sum.money)).collect())
    }

    /// `GET /spend/tags`.
    pub(super) async fn tags(&self) -> Result<Value> {
        if self.grant.is_all() {
            let range = period::range(&self.params)?;
            let sums = self.books()?.sums(ScopeKind::Tag, range, TAGS).await.map_err(stored)?;
            return Ok(litellm::spend_by_tag(&sums));
        }
        let of = DaysOf::Tags(Vec::new());
        let days = period::days_or_latest(&self.params, self.now)?;
        let rows = self.days(DayFilter {
            days,
            of,
            within: self.within(),
            detail: Detail::Days,
            ..DayFilter::default()
        });
        let mut sums: BTreeMap<Arc<str>, Sum> = BTreeMap::new();
        for (key, day) in rows.await? {
            let sum = sums.entry(key.of_id.as_ref().into()).or_default();
            sum.money += day.money;
            sum.calls += day.calls();
            sum.unknown += day.unknown;
        }
        let mut sums: Vec<(Arc<str>, Sum)> = sums.into_iter().collect();
        sums.sort_by(|(a, one), (b, other)| other.money.cmp(&one.money).then_with(|| a.cmp(b)));
        sums.truncate(TAGS as usize);
        Ok(litellm::spend_by_tag(&sums))
    }

    /// `GET /global/spend`: in the running window of the budget over everything; since ever where there is none.
    pub(super) async fn global(&self) -> Result<Value> {
        let limits = self.snapshot.settings.global_limits.as_ref();
        let budget = limits.and_then(|claim| claim.limits.budgets.first());
        let from = budget.and_then(|budget| budget.window.current(self.now).start);
        let scope = Scope { kind: ScopeKind::Global, id: "".into() };
        let sum = self.books()?.spent(&scope, from).await.map_err(stored)?;
        Ok(litellm::global_spend(sum, budget.and_then(|budget| budget.max)))
    }

    async fn recent(&self, detail: Detail, of: DaysOf) -> Result<Vec<DayRow>> {
        let days = period::days_or_latest(&self.params, self.now)?;
        let mut filter = DayFilter { days, detail, of, ..DayFilter::default() };
        if let Some(key) = self.text("api_key")? {
            self.days_of_keys(&mut filter, &[key]).await?;
        }
        self.days(filter).await
    }

    /// `GET /global/spend/logs`: spend by day.
    pub(super) async fn global_logs(&self) -> Result<Value> {
        let rows = self.recent(Detail::Days, DaysOf::All).await?;
        let row =
            |(key, day): &DayRow| json!({ "date": date(key.day), "spend": day.money.to_dollars_lossy() });
        Ok(rows.iter().map(row).collect())
    }

    /// `GET /global/spend/keys`: the keys that spent most lately.
    pub(super) async fn global_keys(&self) -> Result<Value> {
        let days = period::days_or_latest(&self.params, self.now)?;
        let from = days.0.saturating_mul(tollway_ledger::books::DAY);
        let until = (days.1 + 1).saturating_mul(tollway_ledger::books::DAY);
        let range = Range { from: Some(from), until: Some(until) };
        let limit = u32::try_from(self.limit()?).unwrap_or(LISTED);
        let sums = self.books()?.sums(ScopeKind::Key, range, limit).await.map_err(stored)?;
        let most: Vec<(Arc<str>, Money)> = sums.into_iter().map(|(id, sum)| (id, sum.money)).collect();
        let named = match &self.management {
            Some(management) => management.names_of_keys(&self.grant, &most).await?,
            None => BTreeMap::new(),
        };
        let row = |(id, money): &(Arc<str>, Money)| {
            let (token, name, alias) =
                named.get(id.as_ref()).cloned().unwrap_or_else(|| (id.to_string(), None, None));
            json!({ "api_key": token, "key_alias": alias, "key_name": name, "total_spend": money.to_dollars_lossy() })
        };
        Ok(most.iter().map(row).collect())
    }

    /// `GET /global/spend/models`.
    pub(super) async fn global_models(&self) -> Result<Value> {
        let rows = self.recent(Detail::Models, DaysOf::All).await?;
        let models = sorted(&rows, |key| if key.model.is_empty() { &key.model_group } else { &key.model });
        let row = |(model, money, _): &(&str, Money, i64)| json!({ "model": model, "total_spend": money.to_dollars_lossy() });
        Ok(models.iter().take(self.limit()?).map(row).collect())
    }

    /// `GET /global/spend/provider`.
    pub(super) async fn global_providers(&self) -> Result<Value> {
        let rows = self.recent(Detail::Providers, DaysOf::All).await?;
        let providers = sorted(&rows, |key| &key.provider);
        let row = |(provider, money, _): &(&str, Money, i64)| json!({ "provider": provider, "spend": money.to_dollars_lossy() });
        Ok(providers.iter().filter(|(provider, ..)| !provider.is_empty()).map(row).collect())
    }

    /// `GET /global/spend/tags`.
    pub(super) async fn global_tags(&self) -> Result<Value> {
        let rows = self.recent(Detail::Days, DaysOf::Tags(self.list("tags")?)).await?;
        let tags = sorted(&rows, |key| &key.of_id);
        let row = |(tag, money, calls): &(&str, Money, i64)| json!({ "name": tag, "spend": money.to_dollars_lossy(), "log_count": calls });
        Ok(json!({ "spend_per_tag": tags.iter().take(TAGS as usize).map(row).collect::<Vec<_>>() }))
    }

    /// `GET /global/spend/teams`.
    pub(super) async fn global_teams(&self) -> Result<Answer> {
        if self.text("api_key")?.is_none() {
            let days = period::days_or_latest(&self.params, self.now)?;
            return self.long(|scribe| scribe.teams(days)).await.map(Answer::Long);
        }
        let rows = self.recent(Detail::Teams, DaysOf::All).await?;
        let names = self.aliases(&rows).await?;
        let name = |id: &str| match id {
            "" => "Unassigned".to_owned(),
            id => names.get(id).map_or_else(|| id.to_owned(), |alias| alias.to_string()),
        };
        let mut days: BTreeMap<i64, BTreeMap<&str, Money>> = BTreeMap::new();
        for (key, day) in &rows {
            *days.entry(key.day).or_default().entry(key.team.as_ref()).or_default() += day.money;
        }
        let teams = sorted(&rows, |key| &key.team);
        let daily = |(day, teams): (&i64, &BTreeMap<&str, Money>)| {
            let mut row: Map<String, Value> =
                teams.iter().map(|(team, money)| (name(team), money.to_dollars_lossy().into())).collect();
            row.insert("date".to_owned(), date(*day).into());
            Value::Object(row)
        };
        let total = |(team, money, _): &(&str, Money, i64)| json!({ "team_id": name(team), "total_spend": money.to_dollars_lossy() });
        Ok(Answer::Whole(json!({
            "daily_spend": days.iter().map(daily).collect::<Vec<_>>(),
            "teams": teams.iter().map(|(team, ..)| name(team)).collect::<Vec<_>>(),
            "total_spend_per_team": teams.iter().map(total).collect::<Vec<_>>(),
        })))
    }

    fn limit(&self) -> Result<usize> {
        Ok(usize::try_from(self.number("limit", 10, u64::from(LISTED))?).unwrap_or(usize::MAX))
    }
}

/// Money and calls by a part of the key, the largest first.
fn sorted<'a>(
    rows: &'a [DayRow],
    pick: impl Fn(&'a DayKey<'static>) -> &'a str,
) -> Vec<(&'a str, Money, i64)> {
    let mut found: BTreeMap<&str, (Money, i64)> = BTreeMap::new();
    for (key, day) in rows {
        let (money, calls) = found.entry(pick(key)).or_default();
        *money += day.money;
        *calls += day.calls();
    }
    let mut found: Vec<_> = found.into_iter().map(|(name, (money, calls))| (name, money, calls)).collect();
    found.sort_by(|(a, one, _), (b, other, _)| other.cmp(one).then_with(|| a.cmp(b)));
    found
}

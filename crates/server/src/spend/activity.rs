//! `/user/daily/activity` and its sisters, `/global/activity`: what was used each day.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use tollway_accounts::rights::Scope;
use tollway_ledger::books::{DAY, DayFilter, DaysOf, Detail, Filter, Range};
use tollway_ledger::litellm::{self, DayRow, Entity};
use tollway_model::{Error, Result};

use super::{Desk, ROWS, Spend, period, stored};

/// Most days in which calls are counted one by one.
const COUNTED_DAYS: i64 = 31;

/// Days of a page of activity that does not say how many.
const USUAL_DAYS: u64 = 50;

/// Calls whose keys are looked through for those that used a model.
const LOOKED_THROUGH: i64 = 200_000;

impl Desk<'_> {
    /// Each day by model, provider, endpoint and key; by user, team, tag or customer where that was asked for.
    pub(super) async fn activity(&self, what: Spend) -> Result<Value> {
        let paging = match what {
            Spend::UserActivityWhole
            | Spend::TeamActivityWhole
            | Spend::TagActivityWhole
            | Spend::CustomerActivityWhole => (1, 1_000),
            _ => (self.number("page", 1, 1_000_000_000)?, self.number("page_size", USUAL_DAYS, 1_000)?),
        };
        // Days begin at midnight UTC, for everybody.
        if !matches!(self.params.text("timezone")?, None | Some("0" | "UTC")) {
            return Err(Error::invalid_at("timezone", "days are counted in UTC: leave `timezone` out"));
        }
        let days = period::days(&self.params)?;
        let mut filter = DayFilter { days, within: self.within(), ..DayFilter::default() };
        filter.models = self.list("model")?;
        self.days_of_keys(&mut filter, &self.list("api_key")?).await?;
        let entity = match what {
            Spend::UserActivity | Spend::UserActivityWhole => {
                filter.users = self.list("user_id")?;
                self.by_default_oneself(&mut filter);
                Entity::User
            }
            Spend::TeamActivity | Spend::TeamActivityWhole => {
                filter.teams = self.list("team_ids")?;
                filter.without_teams = self.list("exclude_team_ids")?;
                self.by_default_own_teams(&mut filter);
                Entity::Team
            }
            Spend::TagActivity | Spend::TagActivityWhole => {
                filter.of = DaysOf::Tags(self.list("tags")?);
                Entity::Of
            }
            _ => {
                filter.of = DaysOf::Customers(self.list("end_user_ids")?);
                Entity::Of
            }
        };
        self.pages_of(filter, entity, paging).await
    }

    /// Whoever names no user asks for itself, where the caller is one.
    fn by_default_oneself(&self, filter: &mut DayFilter) {
        if let Scope::Own(own) = self.grant.scope()
            && filter.users.is_empty()
        {
            filter.users.extend(own.user.clone());
        }
    }

    fn by_default_own_teams(&self, filter: &mut DayFilter) {
        if let Scope::Own(own) = self.grant.scope()
            && filter.teams.is_empty()
        {
            filter.teams = own.member_of.union(&own.admin_of).cloned().collect();
            if filter.teams.is_empty() {
                // An empty list would mean everybody's.
                filter.within = Some(tollway_ledger::books::Within::default());
            }
        }
    }

    /// Makes `filter` one of these keys.
    pub(super) async fn days_of_keys(&self, filter: &mut DayFilter, named: &[String]) -> Result<()> {
        let tokens: Vec<String> =
            named.iter().map(|named| tollway_accounts::manage::token_of(named)).collect();
        let mut ids = self.key_ids(&tokens).await?;
        let ids: Vec<Option<String>> = tokens.iter().map(|token| ids.remove(token)).collect();
        if ids.iter().all(Option::is_some) {
            filter.keys = ids.into_iter().flatten().collect();
        } else {
            filter.tokens = tokens;
        }
        Ok(())
    }

    /// Would the keys that used a model be looked for among those of very many calls?
    async fn looks_through_all(&self, filter: &DayFilter) -> Result<bool> {
        let owned = [&filter.keys, &filter.tokens, &filter.users, &filter.teams];
        if filter.models.is_empty() || filter.within.is_some() || owned.iter().any(|list| !list.is_empty()) {
            return Ok(false);
        }
        let all = DayFilter { models: Vec::new(), detail: Detail::Days, ..filter.clone() };
        Ok(self.days(all).await?.iter().map(|(_, day)| day.calls()).sum::<i64>() > LOOKED_THROUGH)
    }

    /// A page in full detail, and of the other days the sums.
    async fn pages_of(&self, filter: DayFilter, entity: Entity, (page, size): (u64, u64)) -> Result<Value> {
        let sums = self.days(DayFilter { detail: Detail::Days, ..filter.clone() }).await?;
        let days: BTreeSet<i64> = sums.iter().map(|(key, _)| key.day).collect();
        let skipped = usize::try_from((page - 1).saturating_mul(size)).unwrap_or(usize::MAX);
        let size_of = usize::try_from(size).unwrap_or(usize::MAX);
        let shown: Vec<i64> = days.iter().rev().skip(skipped).take(size_of).copied().collect();
        let mut rows: Vec<DayRow> = sums.into_iter().filter(|(key, _)| !shown.contains(&key.day)).collect();
        let mut whole = true;
        if let (Some(last), Some(first)) = (shown.first(), shown.last()) {
            let detailed = DayFilter { days: (*first, *last), limit: Some(ROWS + 1), ..filter };
            let books = self.books()?;
            let too_many = self.looks_through_all(&detailed).await? || self.surely_many(&detailed).await?;
            let mut found =
                if too_many { Vec::new() } else { books.days(&detailed).await.map_err(stored)? };
            if too_many || found.len() > ROWS as usize {
                // Too many keys to list them all: everything else is still exact.
                whole = false;
                found = self.days(DayFilter { detail: Detail::Use, ..detailed }).await?;
            }
            rows.extend(found);
        }
        let names = self.aliases(&rows).await?;
        let entity = if whole { entity } else { Entity::None };
        let alias = |id: &str| names.get(id).map(Arc::clone);
        let mut answer = litellm::daily_activity(&rows, entity, page, size, &alias);
        if !whole && let Some(metadata) = answer.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("keys_left_out".to_owned(), json!(true));
        }
        Ok(answer)
    }

    /// `GET /global/activity/exceptions`: calls that a rate limit ended, ours or a provider's, each day.
    pub(super) async fn global_exceptions(&self) -> Result<Value> {
        let days = period::days(&self.params)?;
        if days.1 - days.0 >= COUNTED_DAYS {
            let message =
                format!("ask for at most {COUNTED_DAYS} days at once: these calls are counted one by one");
            return Err(Error::invalid_at("start_date", message));
        }
        let model_group = self.text("model_group")?;
        let rows = self.days(DayFilter { days, detail: Detail::Days, ..DayFilter::default() }).await?;
        let mut found: Vec<Value> = Vec::new();
        let mut sum = 0;
        for (key, _) in rows.iter().filter(|(_, day)| day.failed > 0) {
            let from = key.day.saturating_mul(DAY);
            let filter = Filter {
                range: Range { from: Some(from), until: Some(from.saturating_add(DAY)) },
                status: Some(429),
                model_group: model_group.clone(),
                ..Filter::default()
            };
            let count = self.books()?.count(&filter, u64::from(u32::MAX)).await.map_err(stored)?.calls;
            sum += count;
            if count > 0 {
                found.push(
                    json!({ "date": litellm::short_date(key.day), "num_rate_limit_exceptions": count }),
                );
            }
        }
        Ok(json!({ "daily_data": found, "sum_num_rate_limit_exceptions": sum }))
    }

    /// `GET /global/activity` and `/global/activity/model`.
    pub(super) async fn global_activity(&self, by_model: bool) -> Result<Value> {
        let detail = if by_model { Detail::Models } else { Detail::Days };
        let days = period::days(&self.params)?;
        let rows = self.days(DayFilter { days, detail, ..DayFilter::default() }).await?;
        Ok(if by_model { litellm::global_activity_by_model(&rows) } else { litellm::global_activity(&rows) })
    }
}

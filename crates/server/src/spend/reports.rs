//! `/global/spend/report` and the reports of one key, user or team.

use std::sync::Arc;

use tollway_ledger::books::{DayFilter, DaysOf, Detail};
use tollway_ledger::litellm::{ReportBy, spend_report, spend_report_by_key};
use tollway_model::{Error, Result};

use super::{Answer, Desk, ROWS, Spend, period};

impl Desk<'_> {
    /// `GET /global/spend/report`: by team, customer or key.
    pub(super) async fn global_report(&self) -> Result<Answer> {
        let days = period::days(&self.params)?;
        let mut filter = DayFilter { days, detail: Detail::Keys, ..DayFilter::default() };
        let mut by = match self.params.text("group_by")? {
            None | Some("team") => Some(ReportBy::Team),
            Some("customer") => Some(ReportBy::Customer),
            Some("api_key") => None,
            Some(_) => {
                return Err(Error::invalid_at("group_by", "`group_by` is `team`, `customer` or `api_key`"));
            }
        };
        // One key, user or team is shown by key; one customer by customer.
        let key = self.text("api_key")?;
        filter.users.extend(self.text("internal_user_id")?);
        filter.teams.extend(self.text("team_id")?);
        if key.is_some() || !filter.users.is_empty() || !filter.teams.is_empty() {
            by = None;
        }
        if let Some(key) = key {
            self.days_of_keys(&mut filter, &[key]).await?;
        }
        let customer = self.text("customer_id")?;
        if customer.is_some() {
            by = Some(ReportBy::Customer);
        }
        let Some(by) = by else { return self.report_by_key(filter).await };
        match by {
            ReportBy::Team => {}
            ReportBy::Customer => filter.of = DaysOf::Customers(customer.into_iter().collect()),
        }
        let few = if self.calls_much(&filter).await? { None } else { self.few_days(filter.clone()).await? };
        let Some(rows) = few else {
            return self.long(|scribe| scribe.report_by_day(filter, by)).await.map(Answer::Long);
        };
        let names = self.aliases(&rows).await?;
        Ok(Answer::Whole(spend_report(&rows, by, &|id| names.get(id).map(Arc::clone))))
    }

    /// Has a customer that is named called so often that its rows need not be read to see that they are many?
    async fn calls_much(&self, filter: &DayFilter) -> Result<bool> {
        if !filter.of.names_some() {
            return Ok(false);
        }
        let sums = self.days(DayFilter { detail: Detail::Days, ..filter.clone() }).await?;
        Ok(sums.iter().map(|(_, day)| day.calls()).sum::<i64>() > i64::from(ROWS))
    }

    async fn report_by_key(&self, filter: DayFilter) -> Result<Answer> {
        match self.few_days(filter.clone()).await? {
            Some(rows) => Ok(Answer::Whole(spend_report_by_key(&rows))),
            None => self.long(|scribe| scribe.report_by_key(filter)).await.map(Answer::Long),
        }
    }

    /// The key, user or team that asks, where it names none.
    fn oneself(&self, what: Spend) -> Option<String> {
        let key = self.grant.own_key()?;
        match what {
            Spend::KeyReport => Some(key.token.clone()),
            Spend::UserReport => key.user_id.clone(),
            _ => key.team_id.clone(),
        }
    }

    /// `GET /key/spend/report`, `/user/spend/report`, `/team/spend/report`: by key and model.
    pub(super) async fn report_of(&self, what: Spend) -> Result<Answer> {
        let days = period::days(&self.params)?;
        let mut filter =
            DayFilter { days, detail: Detail::Keys, within: self.within(), ..DayFilter::default() };
        let name = match what {
            Spend::KeyReport => "api_key",
            Spend::UserReport => "user_id",
            _ => "team_id",
        };
        let other = if what == Spend::UserReport { self.text("internal_user_id")? } else { None };
        let named = match self.text(name)?.or(other).or_else(|| self.oneself(what)) {
            Some(named) => named,
            None => return Err(Error::invalid_at(name, format!("`{name}` is missing"))),
        };
        match what {
            Spend::KeyReport => self.days_of_keys(&mut filter, &[named]).await?,
            Spend::UserReport => filter.users.push(named),
            _ => filter.teams.push(named),
        }
        self.report_by_key(filter).await
    }
}

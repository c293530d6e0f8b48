//! What was spent: by call, by day, by whom.
//!
//! Everything here reads the books through a [`Desk`], which knows how far its caller sees: what the grant does not reach
//! is left out by the question itself, so it looks as if it did not exist. Answers are those of LiteLLM's routes of the
//! same names. Every answer and every question is bounded.

mod activity;
mod calculate;
mod describe;
mod logs;
mod long;
mod pages;
mod period;
mod receipts;
mod reports;
mod reset;
mod top;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use tollway_accounts::manage::{Management, Params, token_of};
use tollway_accounts::rights::{Grant, Scope};
use tollway_ledger::Books;
use tollway_ledger::books::{ADMIN, Day, DayFilter, DayKey, Detail, Filter, Within};
use tollway_model::{Error, Kind, Result, Retry};
use tollway_pipeline::{Caller, Gateway, Pieces, Snapshot};
use tollway_store::StoreError;

pub(crate) use describe::{answer_schema, parameters, request_type, schemas};
pub(crate) use pages::Pages;

/// What a spend route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the route of its name; the route table says what it does")]
pub enum Spend {
    Logs,
    LogPages,
    Log,
    LogSession,
    Keys,
    Users,
    Tags,
    Calculate,
    Estimate,
    Global,
    GlobalLogs,
    GlobalKeys,
    GlobalModels,
    GlobalTeams,
    GlobalTags,
    GlobalProviders,
    GlobalReport,
    KeyReport,
    UserReport,
    TeamReport,
    GlobalActivity,
    GlobalActivityByModel,
    GlobalExceptions,
    UserActivity,
    UserActivityWhole,
    TeamActivity,
    TeamActivityWhole,
    TagActivity,
    TagActivityWhole,
    CustomerActivity,
    CustomerActivityWhole,
    KeyReset,
    MemberReset,
    GlobalReset,
    Receipts,
    Receipt,
}

/// Most rows of days that one answer is made of.
const ROWS: u32 = 20_000;

/// Most names that are looked up for one answer.
const NAMES: usize = 1_000;

/// An answer.
#[derive(Debug)]
pub(crate) enum Answer {
    /// All of it.
    Whole(Value),
    /// As it is made.
    Long(Pieces),
}

/// Where a spend request is answered.
pub(crate) struct Desk<'a> {
    pub(crate) gateway: &'a Gateway,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) management: Option<Arc<Management>>,
    pub(crate) pages: &'a Pages,
    pub(crate) caller: &'a Caller,
    pub(crate) grant: Grant,
    pub(crate) params: Params,
    /// What a part of the path names.
    pub(crate) named: Option<String>,
    /// Milliseconds since 1970.
    pub(crate) now: i64,
}

impl Desk<'_> {
    /// Answers. `body` is empty where the route takes none.
    pub(crate) async fn act(&self, what: Spend, body: bytes::Bytes) -> Result<Answer> {
        match what {
            Spend::Calculate | Spend::Estimate => {}
            _ => self.params.allow(parameters(what))?,
        }
        match what {
            Spend::Logs => self.logs().await,
            Spend::GlobalTeams => self.global_teams().await,
            Spend::GlobalReport => self.global_report().await,
            Spend::KeyReport | Spend::UserReport | Spend::TeamReport => self.report_of(what).await,
            _ => self.whole(what, body).await.map(Answer::Whole),
        }
    }

    async fn whole(&self, what: Spend, body: bytes::Bytes) -> Result<Value> {
        match what {
            Spend::Logs
            | Spend::GlobalTeams
            | Spend::GlobalReport
            | Spend::KeyReport
            | Spend::UserReport
            | Spend::TeamReport => Err(Error::internal("this answer may be long")),
            Spend::LogPages => self.log_pages().await,
            Spend::LogSession => self.log_session().await,
            Spend::Log => self.log().await,
            Spend::Keys => self.keys().await,
            Spend::Users => self.users().await,
            Spend::Tags => self.tags().await,
            Spend::Calculate => self.calculate(body).await,
            Spend::Estimate => self.estimate(body).await,
            Spend::Global => self.global().await,
            Spend::GlobalLogs => self.global_logs().await,
            Spend::GlobalKeys => self.global_keys().await,
            Spend::GlobalModels => self.global_models().await,
            Spend::GlobalTags => self.global_tags().await,
            Spend::GlobalProviders => self.global_providers().await,
            Spend::GlobalActivity => self.global_activity(false).await,
            Spend::GlobalExceptions => self.global_exceptions().await,
            Spend::GlobalActivityByModel => self.global_activity(true).await,
            Spend::UserActivity
            | Spend::UserActivityWhole
            | Spend::TeamActivity
            | Spend::TeamActivityWhole
            | Spend::TagActivity
            | Spend::TagActivityWhole
            | Spend::CustomerActivity
            | Spend::CustomerActivityWhole => self.activity(what).await,
            Spend::KeyReset => self.key_reset(&body).await,
            Spend::MemberReset => self.member_reset(&body).await,
            Spend::GlobalReset => self.global_reset().await,
            Spend::Receipts => self.receipts().await,
            Spend::Receipt => self.receipt().await,
        }
    }

    fn books(&self) -> Result<&Arc<dyn Books>> {
        let books = self.gateway.services().books.as_ref();
        books.ok_or_else(|| {
            Error::new(Kind::Unavailable, "there is no database: what is spent is not kept here")
        })
    }

    fn management(&self) -> Result<&Management> {
        let management = self.management.as_deref();
        management.ok_or_else(|| {
            Error::new(Kind::Unavailable, "there is no database: keys and teams are not kept here")
        })
    }

    /// What the grant reaches; `None`: everything.
    fn within(&self) -> Option<Within> {
        let Scope::Own(own) = self.grant.scope() else { return None };
        let mut within = Within { teams: own.admin_of.iter().cloned().collect(), ..Within::default() };
        match (&own.user, &own.key) {
            (Some(user), _) => within.users.push(user.clone()),
            (None, Some(key)) => within.keys.push(key.id.clone()),
            (None, None) => {}
        }
        Some(within)
    }

    /// Leaves out of `filter` what the grant does not reach. Where that comes to one user, team or key it is said in
    /// these terms, for which there is an index.
    fn narrow(&self, filter: &mut Filter) {
        let Some(within) = self.within() else { return };
        let is =
            |asked: &Option<String>, own: &[String]| asked.as_ref().is_some_and(|asked| own.contains(asked));
        if is(&filter.user, &within.users) || is(&filter.team, &within.teams) || is(&filter.key, &within.keys)
        {
            return;
        }
        match (within.keys.as_slice(), within.users.as_slice(), within.teams.as_slice()) {
            ([key], [], []) if filter.key.is_none() => filter.key = Some(key.clone()),
            ([], [user], []) if filter.user.is_none() => filter.user = Some(user.clone()),
            ([], [], [team]) if filter.team.is_none() => filter.team = Some(team.clone()),
            _ => filter.within = Some(within),
        }
    }

    /// Makes `filter` one of a key: by its id where it is known, so that calls with its earlier secrets are there too.
    async fn of_key(&self, filter: &mut Filter, named: &str) -> Result<()> {
        let token = token_of(named);
        let ids = self.key_ids(std::slice::from_ref(&token)).await?;
        match ids.get(&token) {
            Some(id) => filter.key = Some(id.clone()),
            None => filter.token = Some(token),
        }
        Ok(())
    }

    async fn key_ids(&self, tokens: &[String]) -> Result<BTreeMap<String, String>> {
        let mut ids = match &self.management {
            Some(management) => management.key_ids(&self.grant, tokens).await?,
            None => BTreeMap::new(),
        };
        let principal = &self.caller.identity.principal;
        if principal.key.is_none() && tokens.iter().any(|token| **token == *principal.token) {
            ids.insert(principal.token.to_string(), ADMIN.to_owned());
        }
        Ok(ids)
    }

    /// Rows of days, all of them; `None`: they are more than an answer is made of at once.
    async fn few_days(&self, filter: DayFilter) -> Result<Option<Vec<(DayKey<'static>, Day)>>> {
        if self.surely_many(&filter).await? {
            return Ok(None);
        }
        let days =
            self.books()?.days(&DayFilter { limit: Some(ROWS + 1), ..filter }).await.map_err(stored)?;
        Ok((days.len() <= ROWS as usize).then_some(days))
    }

    /// Are there more rows of days than an answer is made of? Looks only where everybody is asked for and keys are told
    /// apart: there it is cheaper to count rows than to read them in vain.
    async fn surely_many(&self, filter: &DayFilter) -> Result<bool> {
        let some = [&filter.keys, &filter.tokens, &filter.users, &filter.teams, &filter.organizations];
        let everybodys = some.iter().all(|list| list.is_empty())
            && filter.without_teams.is_empty()
            && filter.within.is_none()
            && !filter.of.names_some();
        if !everybodys || !matches!(filter.detail, Detail::All | Detail::Keys) {
            return Ok(false);
        }
        let behind = DayFilter { skip: ROWS, limit: Some(1), ..filter.clone() };
        Ok(!self.books()?.days(&behind).await.map_err(stored)?.is_empty())
    }

    /// The same: more are refused.
    async fn days(&self, filter: DayFilter) -> Result<Vec<(DayKey<'static>, Day)>> {
        let Some(days) = self.few_days(filter).await? else {
            return Err(Error::invalid_at(
                "start_date",
                format!(
                    "this would be more than {ROWS} rows; ask for fewer days, or for one key, user or team"
                ),
            ));
        };
        Ok(days)
    }

    /// Names of the keys and teams in `days`, as many as are looked up.
    async fn aliases(&self, days: &[(DayKey<'static>, Day)]) -> Result<BTreeMap<String, Arc<str>>> {
        let Some(management) = &self.management else { return Ok(BTreeMap::new()) };
        let distinct = |pick: for<'a> fn(&'a DayKey<'static>) -> &'a str| {
            let ids: std::collections::BTreeSet<&str> =
                days.iter().map(|(key, _)| pick(key)).filter(|id| !id.is_empty() && *id != ADMIN).collect();
            ids.into_iter().take(NAMES).map(str::to_owned).collect::<Vec<_>>()
        };
        management.aliases(&self.grant, distinct(|key| &key.key), distinct(|key| &key.team)).await
    }

    /// A parameter; text that no database takes is refused.
    fn text(&self, name: &str) -> Result<Option<String>> {
        match self.params.text(name)? {
            Some(text) if text.contains('\0') => {
                Err(Error::invalid_at(name, format!("`{name}` has a zero character in it")))
            }
            Some(text) if text.len() > 1024 => {
                Err(Error::invalid_at(name, format!("`{name}` is longer than 1024 bytes")))
            }
            found => Ok(found.map(str::to_owned)),
        }
    }

    /// A parameter with several values, at most a hundred.
    fn list(&self, name: &str) -> Result<Vec<String>> {
        let list = self.params.list(name);
        if list.len() > 100 {
            return Err(Error::invalid_at(name, format!("`{name}` names more than 100")));
        }
        if list.iter().any(|text| text.contains('\0') || text.len() > 1024) {
            return Err(Error::invalid_at(name, format!("`{name}` has a value that is no name")));
        }
        Ok(list)
    }

    /// A whole number from 1 to `most`.
    fn number(&self, name: &str, usual: u64, most: u64) -> Result<u64> {
        let Some(text) = self.params.text(name)? else { return Ok(usual) };
        text.parse()
            .ok()
            .filter(|number| (1..=most).contains(number))
            .ok_or_else(|| Error::invalid_at(name, format!("`{name}` is a whole number from 1 to {most}")))
    }
}

/// What went wrong in the books.
fn stored(error: StoreError) -> Error {
    match error {
        StoreError::Unavailable(reason) => {
            Error::new(Kind::Unavailable, "the database is not available; try again in a moment")
                .with_retry(Retry::Later(Some(std::time::Duration::from_secs(1))))
                .with_context("database", reason)
        }
        other => Error::internal("the database answered something that cannot be read")
            .with_context("database", format!("{other}")),
    }
}

#[cfg(test)]
mod tests;

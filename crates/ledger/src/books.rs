//! Books: receipts in a store, and the sums that derive from them.
//!
//! A batch of receipts is recorded in one transaction: those whose id is known already are passed over, and sums move
//! for the others only, so that a batch may arrive any number of times.

pub(crate) mod line;
mod memory;
mod sql;
mod sums;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use tollway_meters::{Scope, ScopeKind};
use tollway_model::Money;
use tollway_store::StoreResult;

pub use line::ADMIN;
pub use memory::MemoryBooks;
pub use sql::{Filling, SqlBooks};
pub use sums::{Batch, Day, DayKey, Sum};

use crate::receipt::Receipt;

/// Milliseconds since 1970.
pub type Millis = i64;

/// Milliseconds of a minute.
pub(crate) const MINUTE: Millis = 60_000;

/// Milliseconds of an hour.
pub const HOUR: Millis = 3_600_000;

/// Milliseconds of a day.
pub const DAY: Millis = 24 * HOUR;

/// Receipts and their sums, wherever they are kept.
#[async_trait]
pub trait Books: Send + Sync {
    /// Records receipts; those whose id is known already change nothing. All of it happens or nothing. Returns how many
    /// were new.
    async fn record(&self, batch: &Batch) -> StoreResult<u64>;

    /// The receipt with this id, or the latest with this call id.
    async fn get(&self, id: &str) -> StoreResult<Option<Receipt>>;

    /// Receipts, newest first, beginning behind `after`.
    async fn list(&self, filter: &Filter, after: Option<&Place>, limit: u32) -> StoreResult<Vec<Receipt>>;

    /// Receipts in another order than time's, without the first `skip`; those that are alike, newest first.
    ///
    /// Reads everything the filter finds: whoever asks bounds that by [`Books::count`].
    async fn sorted(&self, filter: &Filter, order: Order, skip: u32, limit: u32)
    -> StoreResult<Vec<Receipt>>;

    /// How many receipts there are. May stop when it has looked at `bound` receipts.
    async fn count(&self, filter: &Filter, bound: u64) -> StoreResult<Counted>;

    /// What a scope has spent since `from`, exactly; since ever without it. When the receipts of `from`'s hour are gone,
    /// the whole hour counts.
    async fn spent(&self, scope: &Scope, from: Option<Millis>) -> StoreResult<Sum>;

    /// What some scopes of a kind have spent since ever; those that never called are left out.
    async fn lifetimes(&self, kind: ScopeKind, ids: &[&str]) -> StoreResult<HashMap<String, Sum>> {
        let mut found = HashMap::with_capacity(ids.len());
        for id in ids {
            let sum = self.spent(&Scope { kind, id: Arc::from(*id) }, None).await?;
            if sum != Sum::default() {
                found.insert((*id).to_owned(), sum);
            }
        }
        Ok(found)
    }

    /// How many tokens a scope has used since a midnight of UTC. Of kinds that days do not tell, nothing is known.
    async fn tokens(&self, scope: &Scope, from: Millis) -> StoreResult<u64> {
        let one = || vec![scope.id.to_string()];
        let days = (from.div_euclid(DAY), i64::from(i32::MAX));
        let mut filter = DayFilter { days, detail: Detail::Days, ..DayFilter::default() };
        match scope.kind {
            ScopeKind::Key => filter.keys = one(),
            ScopeKind::User => filter.users = one(),
            ScopeKind::Team => filter.teams = one(),
            ScopeKind::TeamMember => {
                let Some((team, user)) = scope.id.split_once('/') else { return Ok(0) };
                (filter.teams, filter.users) = (vec![team.to_owned()], vec![user.to_owned()]);
            }
            ScopeKind::Customer => filter.of = DaysOf::Customers(one()),
            ScopeKind::Tag => filter.of = DaysOf::Tags(one()),
            _ => return Ok(0),
        }
        let rows = self.days(&filter).await?;
        Ok(rows.iter().map(|(_, day)| day.input.saturating_add(day.output).max(0).unsigned_abs()).sum())
    }

    /// What a user, member, customer or tag has spent on one model since `from`: as [`Books::spent`], for scopes that have
    /// no sums of their own. What is younger than a day is added up from receipts, the rest from days.
    async fn spent_on_model(&self, scope: &Scope, from: Option<Millis>) -> StoreResult<Sum> {
        let from = from.unwrap_or(0).max(0);
        let first = -(-from).div_euclid(DAY);
        let mut found = Sum::default();
        // Ids and models may have colons of their own.
        for (at, _) in scope.id.match_indices(':') {
            let (Some(owner), Some(model)) = (scope.id.get(..at), scope.id.get(at + 1..)) else { continue };
            let Some((mut filter, mut days)) = owned(scope.kind, owner) else { continue };
            days.days = (first, i64::from(i32::MAX));
            days.model_groups = vec![model.to_owned()];
            days.detail = Detail::Models;
            for (_, day) in self.days(&days).await? {
                found.add(Sum { money: day.money, calls: day.calls(), unknown: day.unknown });
            }
            if from < first.saturating_mul(DAY) {
                filter.range = Range { from: Some(from), until: Some(first.saturating_mul(DAY)) };
                filter.model_group = Some(model.to_owned());
                found.add(self.added_up(&filter).await?);
            }
        }
        Ok(found)
    }

    /// What receipts add up to, one by one: for short stretches of time.
    async fn added_up(&self, filter: &Filter) -> StoreResult<Sum> {
        let (mut sum, mut after) = (Sum::default(), None);
        loop {
            let receipts = self.list(filter, after.as_ref(), PAGE).await?;
            for receipt in &receipts {
                sum.add(Sum::of(&line::Line::of(receipt)));
            }
            match receipts.last().filter(|_| receipts.len() == PAGE as usize) {
                Some(last) => after = Some(Place { at: last.at, id: last.id.clone() }),
                None => return Ok(sum),
            }
        }
    }

    /// What all scopes of a kind have spent, the largest first.
    async fn sums(&self, kind: ScopeKind, range: Range, limit: u32) -> StoreResult<Vec<(Arc<str>, Sum)>>;

    /// Days, oldest first, with everything that makes them differ. Empty lists of the filter mean everything.
    async fn days(&self, filter: &DayFilter) -> StoreResult<Vec<(DayKey<'static>, Day)>>;

    /// What calls of a day (since 1970) spent by scopes of a kind, in the order of their ids, beginning behind `after`.
    /// Scopes without calls and money are left out.
    async fn day_sums(
        &self,
        kind: ScopeKind,
        day: i64,
        after: Option<&str>,
        limit: u32,
    ) -> StoreResult<Vec<(Arc<str>, Sum)>>;

    /// Ids of the keys that ever called as the filter asks (key, user, team, organization), in their order, beginning
    /// behind `after`. Calls without a key have the empty id, which is the first.
    async fn callers(&self, filter: &DayFilter, after: Option<&str>, limit: u32) -> StoreResult<Vec<String>>;

    /// Changes what a scope has spent, for a reason; the same id counts once.
    async fn adjust(&self, adjustment: &Adjustment) -> StoreResult<bool>;

    /// Forgets receipts that arrived before `before`. Their sums stay, and are carried forward for [`Books::verify`].
    /// Whole days only: what is younger than the last midnight (UTC) before `before` stays.
    async fn retain(&self, before: Millis) -> StoreResult<Retained>;

    /// Forgets the sums of hours and days before the last midnight (UTC) before `before`; sums over all time stay.
    /// Returns how many rows that were.
    async fn thin(&self, before: Millis) -> StoreResult<u64>;

    /// Compares receipts with every sum that derives from them. `progress` hears of each day that is done.
    async fn verify(&self, progress: Progress<'_>) -> StoreResult<Verification>;

    /// Makes every sum anew from receipts, adjustments and what was carried forward.
    async fn rebuild(&self, progress: Progress<'_>) -> StoreResult<Verification>;
}

/// Receipts that are read at once.
const PAGE: u32 = 1_000;

/// Are days all there is of what scopes of this kind have spent?
pub(crate) fn is_summed_by_days(kind: ScopeKind) -> bool {
    owned(kind, "a/b").is_some()
}

/// The receipts and the days of the owner of a model's limit.
fn owned(kind: ScopeKind, owner: &str) -> Option<(Filter, DayFilter)> {
    let (mut filter, mut days) = (Filter::default(), DayFilter::default());
    match kind {
        ScopeKind::ModelPerUser => {
            filter.user = Some(owner.to_owned());
            days.users = vec![owner.to_owned()];
        }
        ScopeKind::ModelPerMember => {
            let (team, user) = owner.split_once('/')?;
            (filter.team, filter.user) = (Some(team.to_owned()), Some(user.to_owned()));
            (days.teams, days.users) = (vec![team.to_owned()], vec![user.to_owned()]);
        }
        ScopeKind::ModelPerCustomer => {
            filter.customer = Some(owner.to_owned());
            days.of = DaysOf::Customers(vec![owner.to_owned()]);
        }
        ScopeKind::ModelPerTag => {
            filter.tag = Some(owner.to_owned());
            days.of = DaysOf::Tags(vec![owner.to_owned()]);
        }
        _ => return None,
    }
    Some((filter, days))
}

/// Hears of a day that is done, and how many receipts are done so far.
pub type Progress<'a> = &'a (dyn Fn(Millis, u64) + Send + Sync);

/// How many receipts there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// So many, at least.
    pub calls: u64,
    /// There are no others.
    pub whole: bool,
}

/// From a time on, and before another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Range {
    /// From here on; `None`: from the beginning.
    pub from: Option<Millis>,
    /// Before this; `None`: to the end.
    pub until: Option<Millis>,
}

/// Which receipts. Everything given must hold.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// When they arrived.
    pub range: Range,
    /// Hash of the key.
    pub token: Option<String>,
    /// Id of the key; [`ADMIN`] for the master key.
    pub key: Option<String>,
    /// The user.
    pub user: Option<String>,
    /// The team.
    pub team: Option<String>,
    /// One of these teams.
    pub teams: Vec<String>,
    /// The organization.
    pub organization: Option<String>,
    /// The customer.
    pub customer: Option<String>,
    /// The model as the provider names it.
    pub model: Option<String>,
    /// The model as callers name it.
    pub model_group: Option<String>,
    /// The provider.
    pub provider: Option<String>,
    /// The deployment.
    pub deployment: Option<String>,
    /// The caller's id of the call, or the receipt's.
    pub call: Option<String>,
    /// The conversation.
    pub session: Option<String>,
    /// A tag.
    pub tag: Option<String>,
    /// `true`: answered; `false`: not.
    pub answered: Option<bool>,
    /// The status that the client got.
    pub status: Option<u16>,
    /// Cost at least.
    pub min: Option<Money>,
    /// Cost at most.
    pub max: Option<Money>,
    /// Whose they may be at all; `None`: anybody's.
    pub within: Option<Within>,
}

/// How receipts are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// By what.
    pub by: SortBy,
    /// The largest first.
    pub descending: bool,
}

/// What receipts can be ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortBy {
    /// When they arrived.
    Arrived,
    /// When they ended.
    Ended,
    /// What they cost; an unknown cost counts as none.
    Cost,
    /// All their tokens.
    Tokens,
    /// How long they took.
    Duration,
    /// How long their first byte took; those without one count as none.
    FirstByte,
    /// The model as the provider names it, or as the caller does where there was no provider.
    Model,
}

impl Order {
    /// Which of two receipts stands before the other.
    fn compare(self, one: &Receipt, other: &Receipt) -> std::cmp::Ordering {
        let number = |receipt: &Receipt| -> i64 {
            let usage = receipt.usage.unwrap_or_default();
            let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
            match self.by {
                SortBy::Arrived => receipt.at,
                SortBy::Ended => receipt.at.saturating_add(signed(receipt.timing.total_us / 1000)),
                SortBy::Cost => receipt.cost.nanos.map_or(0, Money::nanos),
                SortBy::Tokens => signed(usage.total()),
                SortBy::Duration => signed(receipt.timing.total_us),
                SortBy::FirstByte => signed(receipt.timing.first_byte_us.unwrap_or_default()),
                SortBy::Model => 0,
            }
        };
        let model = |receipt: &Receipt| -> String {
            let line = line::Line::of(receipt);
            line.model.unwrap_or(line.model_group).into_owned()
        };
        let order = match self.by {
            SortBy::Model => model(one).cmp(&model(other)),
            _ => number(one).cmp(&number(other)),
        };
        let order = if self.descending { order.reverse() } else { order };
        order.then_with(|| (other.at, &other.id).cmp(&(one.at, &one.id)))
    }
}

/// What somebody may see: everything that belongs to one of these. Nothing, when all of it is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Within {
    /// Keys' ids.
    pub keys: Vec<String>,
    /// Users.
    pub users: Vec<String>,
    /// Teams.
    pub teams: Vec<String>,
}

/// A place in a list of receipts: behind the one that is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// When it arrived.
    pub at: Millis,
    /// Its id.
    pub id: String,
}

/// Which days.
#[derive(Debug, Clone, Default)]
pub struct DayFilter {
    /// Days since 1970, the first and the last.
    pub days: (i64, i64),
    /// Of whom: `None` is everybody's; a customer or a tag has rows of its own.
    pub of: DaysOf,
    /// Keys' ids.
    pub keys: Vec<String>,
    /// Keys' hashes.
    pub tokens: Vec<String>,
    /// Users.
    pub users: Vec<String>,
    /// Teams.
    pub teams: Vec<String>,
    /// Organizations.
    pub organizations: Vec<String>,
    /// Models as callers name them.
    pub model_groups: Vec<String>,
    /// Models as providers name them.
    pub models: Vec<String>,
    /// Providers.
    pub providers: Vec<String>,
    /// Not these teams'.
    pub without_teams: Vec<String>,
    /// Whose they may be at all; `None`: anybody's.
    pub within: Option<Within>,
    /// What the rows tell apart; days that are the same in all of it are one row, with the rest of its key empty.
    pub detail: Detail,
    /// Rows that are left out at first.
    pub skip: u32,
    /// Most rows; `None`: all. Which ones they are when there are more is not said.
    pub limit: Option<u32>,
}

/// What rows of days tell apart, beside the day and whose it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Detail {
    /// Everything.
    #[default]
    All,
    /// Everything but the key, its user, team and organization.
    Use,
    /// The model, as callers and as the provider name it.
    Models,
    /// The team.
    Teams,
    /// The key with its user, team and organization, and the model.
    Keys,
    /// The provider.
    Providers,
    /// Nothing.
    Days,
}

impl Detail {
    /// The columns of a day's key that stay.
    fn keeps(self) -> &'static [&'static str] {
        const USE: &[&str] = &["model", "model_group", "provider", "surface", "operation"];
        const KEYS: &[&str] =
            &["key_id", "token", "user_id", "team_id", "organization_id", "model", "model_group"];
        const ALL: &[&str] = &[
            "key_id",
            "token",
            "user_id",
            "team_id",
            "organization_id",
            "model",
            "model_group",
            "provider",
            "surface",
            "operation",
        ];
        match self {
            Detail::All => ALL,
            Detail::Use => USE,
            Detail::Models => &["model", "model_group"],
            Detail::Teams => &["team_id"],
            Detail::Keys => KEYS,
            Detail::Providers => &["provider"],
            Detail::Days => &[],
        }
    }
}

/// Whose days.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum DaysOf {
    /// Everybody's; each call is in one row.
    #[default]
    All,
    /// Customers', these or all.
    Customers(Vec<String>),
    /// Tags', these or all; a call with two tags is in two rows.
    Tags(Vec<String>),
}

impl DaysOf {
    /// Are these the days of customers or tags that are named?
    pub fn names_some(&self) -> bool {
        matches!(self, DaysOf::Customers(ids) | DaysOf::Tags(ids) if !ids.is_empty())
    }
}

/// A change of what a scope has spent that no call made: a reset, a correction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjustment {
    /// Unique; the same id counts once.
    pub id: String,
    /// When.
    pub at: Millis,
    /// Whose sum.
    pub scope: Scope,
    /// By how much; negative for less.
    pub amount: Money,
    /// Why, for people.
    pub reason: String,
}

/// What was forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retained {
    /// Receipts.
    pub receipts: u64,
    /// Partitions that were dropped whole.
    pub partitions: u64,
}

/// What a comparison found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verification {
    /// Receipts that were read.
    pub receipts: u64,
    /// Their money.
    pub total: Money,
    /// Calls among them whose cost is unknown.
    pub unknown: u64,
    /// Scopes that have a sum.
    pub scopes: u64,
    /// What is not equal. At most [`Verification::MOST`] are kept.
    pub differences: Vec<Difference>,
    /// How many there are.
    pub different: u64,
}

impl Verification {
    /// Differences that are kept.
    pub const MOST: usize = 1000;

    pub(crate) fn compare(
        &mut self,
        what: &'static str,
        scope: &Scope,
        at: Option<Millis>,
        expected: Sum,
        found: Sum,
    ) {
        if expected == found {
            return;
        }
        self.different += 1;
        if self.differences.len() < Verification::MOST {
            self.differences.push(Difference { what, scope: scope.clone(), at, expected, found });
        }
    }
}

/// A sum that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// `lifetime`, `hour`, `hours`, `day`, `days`, `minute` or `caller`.
    pub what: &'static str,
    /// Whose.
    pub scope: Scope,
    /// Of which hour or day.
    pub at: Option<Millis>,
    /// As the receipts say.
    pub expected: Sum,
    /// As it is kept.
    pub found: Sum,
}

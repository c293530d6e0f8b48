//! What receipts add up to.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Serialize;
use tollway_meters::ScopeKind;
use tollway_model::Money;

use super::line::{Line, Share};
use super::{DAY, Detail, HOUR};
use crate::receipt::Receipt;

/// What a scope spent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// Money, as far as it is known.
    pub money: Money,
    /// Calls.
    pub calls: i64,
    /// Calls among them whose cost is unknown.
    pub unknown: i64,
}

impl Sum {
    pub(crate) fn add(&mut self, other: Sum) {
        self.money += other.money;
        self.calls += other.calls;
        self.unknown += other.unknown;
    }

    pub(crate) fn without(self, other: Sum) -> Sum {
        Sum {
            money: self.money - other.money,
            calls: self.calls - other.calls,
            unknown: self.unknown - other.unknown,
        }
    }

    /// Money that no call spent.
    pub(crate) fn of_money(money: Money) -> Sum {
        Sum { money, calls: 0, unknown: 0 }
    }

    pub(crate) fn of(line: &Line<'_>) -> Sum {
        Sum { money: Money::from_nanos(line.nanos.unwrap_or(0)), calls: 1, unknown: i64::from(line.unknown) }
    }

    fn of_share(share: &Share<'_>) -> Sum {
        Sum { money: Money::from_nanos(share.nanos), calls: share.calls, unknown: share.unknown }
    }
}

/// What makes two rows of a day differ.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DayKey<'a> {
    /// Days since 1970.
    pub day: i64,
    /// Empty for everybody's rows, `end_user` or `tag` for theirs.
    pub of: &'static str,
    /// The customer's or tag's id.
    pub of_id: Cow<'a, str>,
    /// The key's id.
    pub key: Cow<'a, str>,
    /// The key's hash.
    pub token: Cow<'a, str>,
    /// The user.
    pub user: Cow<'a, str>,
    /// The team.
    pub team: Cow<'a, str>,
    /// The organization.
    pub organization: Cow<'a, str>,
    /// The model as the provider names it.
    pub model: Cow<'a, str>,
    /// The model as callers name it.
    pub model_group: Cow<'a, str>,
    /// The provider.
    pub provider: Cow<'a, str>,
    /// The caller's dialect.
    pub surface: Cow<'a, str>,
    /// What was asked for.
    pub operation: Cow<'a, str>,
}

/// What a row of a day adds up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Day {
    /// Money, as far as it is known.
    pub money: Money,
    /// Prompt tokens, cached ones included.
    pub input: i64,
    /// Generated tokens.
    pub output: i64,
    /// Prompt tokens read from the provider's cache.
    pub cache_read: i64,
    /// Prompt tokens written to it.
    pub cache_write: i64,
    /// Calls that were answered.
    pub answered: i64,
    /// Calls that were not.
    pub failed: i64,
    /// Calls whose cost is unknown.
    pub unknown: i64,
    /// How long they took together, microseconds.
    pub total_us: i64,
}

impl Day {
    /// Adds another row's counts.
    pub fn add(&mut self, other: &Day) {
        self.money += other.money;
        self.input += other.input;
        self.output += other.output;
        self.cache_read += other.cache_read;
        self.cache_write += other.cache_write;
        self.answered += other.answered;
        self.failed += other.failed;
        self.unknown += other.unknown;
        self.total_us += other.total_us;
    }

    /// All calls.
    pub fn calls(&self) -> i64 {
        self.answered + self.failed
    }

    pub(crate) fn sum(&self) -> Sum {
        Sum { money: self.money, calls: self.calls(), unknown: self.unknown }
    }

    fn of(line: &Line<'_>) -> Day {
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        Day {
            money: Money::from_nanos(line.nanos.unwrap_or(0)),
            input: count(line.input),
            output: count(line.output),
            cache_read: count(line.cache_read),
            cache_write: count(line.cache_write),
            answered: i64::from(line.answered()),
            failed: i64::from(!line.answered()),
            unknown: i64::from(line.unknown),
            total_us: count(line.total_us),
        }
    }

    /// What one deployment has of a call; where the call is not counted there are neither calls nor time.
    fn of_share(share: &Share<'_>, line: &Line<'_>) -> Day {
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let whole = if share.calls == 0 { Day::default() } else { Day::of(line) };
        Day {
            money: Money::from_nanos(share.nanos),
            input: count(share.input),
            output: count(share.output),
            cache_read: count(share.cache_read),
            cache_write: count(share.cache_write),
            unknown: share.unknown,
            ..whole
        }
    }
}

/// Every scope a receipt counts for; with shares, deployments and providers are [`share_scopes`]' business.
pub(crate) fn scopes<'a>(line: &'a Line<'_>, mut found: impl FnMut(ScopeKind, Cow<'a, str>)) {
    let known = |text: &'a Option<Cow<'_, str>>| text.as_deref().map(Cow::Borrowed);
    let key = Some(line.key.as_ref()).filter(|key| !key.is_empty());
    let group = line.model_group.as_ref();
    found(ScopeKind::Global, Cow::Borrowed(""));
    if let Some(key) = key {
        found(ScopeKind::Key, Cow::Borrowed(key));
        found(ScopeKind::ModelPerKey, Cow::Owned([key, ":", group].concat()));
    }
    if let Some(user) = known(&line.user) {
        found(ScopeKind::User, user);
    }
    if let Some(team) = line.team.as_deref() {
        found(ScopeKind::Team, Cow::Borrowed(team));
        found(ScopeKind::ModelPerTeam, Cow::Owned([team, ":", group].concat()));
        if let Some(user) = line.user.as_deref() {
            found(ScopeKind::TeamMember, Cow::Owned([team, "/", user].concat()));
        }
    }
    for (kind, id, is_shared) in [
        (ScopeKind::Organization, &line.organization, false),
        (ScopeKind::Customer, &line.customer, false),
        (ScopeKind::Deployment, &line.deployment, true),
        (ScopeKind::Provider, &line.provider, true),
    ] {
        if let Some(id) = known(id).filter(|_| !is_shared || line.shares.is_empty()) {
            found(kind, id);
        }
    }
    for (index, tag) in line.tags.iter().enumerate() {
        // A tag counts once.
        if !line.tags.iter().take(index).any(|earlier| earlier == tag) {
            found(ScopeKind::Tag, Cow::Borrowed(tag.as_ref()));
        }
    }
}

/// The deployments and providers that share a receipt's money.
fn share_scopes<'a>(line: &'a Line<'_>, mut found: impl FnMut(ScopeKind, Cow<'a, str>, Sum)) {
    for share in &line.shares {
        let sum = Sum::of_share(share);
        found(ScopeKind::Deployment, Cow::Borrowed(&share.deployment), sum);
        found(ScopeKind::Provider, Cow::Borrowed(&share.provider), sum);
    }
}

fn day_keys<'a>(line: &'a Line<'_>, mut found: impl FnMut(DayKey<'a>)) {
    fn text<'a>(text: &'a Option<Cow<'_, str>>) -> Cow<'a, str> {
        Cow::Borrowed(text.as_deref().unwrap_or(""))
    }
    let all = DayKey {
        day: line.at.div_euclid(DAY),
        of: "",
        of_id: Cow::Borrowed(""),
        key: Cow::Borrowed(&line.key),
        token: Cow::Borrowed(&line.token),
        user: text(&line.user),
        team: text(&line.team),
        organization: text(&line.organization),
        model: text(&line.model),
        model_group: Cow::Borrowed(&line.model_group),
        provider: text(&line.provider),
        surface: Cow::Borrowed(&line.surface),
        operation: Cow::Borrowed(&line.operation),
    };
    scopes(line, |kind, id| {
        if matches!(kind, ScopeKind::Customer | ScopeKind::Tag) {
            found(DayKey { of: kind.name(), of_id: id, ..all.clone() });
        }
    });
    found(all);
}

/// Rows that count for the same scopes, in the same hour.
struct Alike<'a> {
    /// One of them.
    line: &'a Line<'a>,
    hour: i64,
    sum: Sum,
    day: Day,
}

/// Everything that says what a row counts for.
#[derive(PartialEq, Eq, Hash)]
struct Counted<'a> {
    hour: i64,
    key: [&'a str; 5],
    owners: [Option<&'a str>; 5],
    used: [Option<&'a str>; 2],
    tags: &'a [Arc<str>],
}

impl<'a> Counted<'a> {
    fn of(line: &'a Line<'_>) -> Counted<'a> {
        let owners = [&line.user, &line.team, &line.organization, &line.customer, &line.deployment];
        Counted {
            hour: line.at.div_euclid(HOUR),
            key: [&line.key, &line.token, &line.model_group, &line.surface, &line.operation],
            owners: owners.map(Option::as_deref),
            used: [line.model.as_deref(), line.provider.as_deref()],
            tags: &line.tags,
        }
    }
}

/// Adds up rows that are alike, as most of a batch usually are, before each scope is looked at.
fn alike<'a>(lines: impl Iterator<Item = &'a Line<'a>>) -> Vec<Alike<'a>> {
    let mut found: Vec<Alike<'a>> = Vec::new();
    let mut places: HashMap<Counted<'a>, usize> = HashMap::new();
    for line in lines {
        let counted = Counted::of(line);
        let (sum, day, hour) = (Sum::of(line), Day::of(line), counted.hour);
        if !line.shares.is_empty() {
            found.push(Alike { line, hour, sum, day });
            continue;
        }
        let place = *places.entry(counted).or_insert(found.len());
        match found.get_mut(place) {
            Some(alike) => {
                alike.sum.add(sum);
                alike.day.add(&day);
            }
            None => found.push(Alike { line, hour, sum, day }),
        }
    }
    found
}

/// Sums by scope and hour, and by day, of some rows.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// By kind, id and hour (hours since 1970): in this order, so that two writers never wait for each other.
    pub(crate) hours: BTreeMap<(&'static str, String, i64), Sum>,
    pub(crate) days: BTreeMap<DayKey<'static>, Day>,
}

impl Tally {
    pub(crate) fn of<'a>(lines: impl Iterator<Item = &'a Line<'a>>) -> Tally {
        let mut hours: HashMap<(ScopeKind, Cow<'a, str>, i64), Sum> = HashMap::new();
        let mut days: HashMap<DayKey<'a>, Day> = HashMap::new();
        for Alike { line, hour, sum, day } in alike(lines) {
            scopes(line, |kind, id| hours.entry((kind, id, hour)).or_default().add(sum));
            share_scopes(line, |kind, id, sum| hours.entry((kind, id, hour)).or_default().add(sum));
            day_keys(line, |key| {
                if line.shares.is_empty() {
                    days.entry(key).or_default().add(&day);
                    return;
                }
                for share in &line.shares {
                    let (model, provider) = (Cow::Borrowed(&*share.model), Cow::Borrowed(&*share.provider));
                    let own = DayKey { model, provider, ..key.clone() };
                    days.entry(own).or_default().add(&Day::of_share(share, line));
                }
            });
        }
        let hours =
            hours.into_iter().map(|((kind, id, hour), sum)| ((kind.name(), id.into_owned(), hour), sum));
        let days = days.into_iter().map(|(key, day)| (key.owned(), day));
        Tally { hours: hours.collect(), days: days.collect() }
    }

    pub(crate) fn merge(&mut self, other: Tally) {
        for (key, sum) in other.hours {
            self.hours.entry(key).or_default().add(sum);
        }
        for (key, day) in other.days {
            self.days.entry(key).or_default().add(&day);
        }
    }

    /// Sums by scope over all hours.
    pub(crate) fn scopes(&self) -> BTreeMap<(&'static str, &str), Sum> {
        let mut scopes: BTreeMap<_, Sum> = BTreeMap::new();
        for ((kind, id, _), sum) in &self.hours {
            scopes.entry((*kind, id.as_str())).or_default().add(*sum);
        }
        scopes
    }
}

impl DayKey<'_> {
    /// Only what rows of this detail tell apart.
    pub(crate) fn with(mut self, detail: Detail) -> Self {
        let kept = detail.keeps();
        for (column, field) in [
            ("key_id", &mut self.key),
            ("token", &mut self.token),
            ("user_id", &mut self.user),
            ("team_id", &mut self.team),
            ("organization_id", &mut self.organization),
            ("model", &mut self.model),
            ("model_group", &mut self.model_group),
            ("provider", &mut self.provider),
            ("surface", &mut self.surface),
            ("operation", &mut self.operation),
        ] {
            if !kept.contains(&column) {
                *field = Cow::Borrowed("");
            }
        }
        self
    }

    /// With everything in it owned.
    pub fn owned(self) -> DayKey<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        DayKey {
            day: self.day,
            of: self.of,
            of_id: own(self.of_id),
            key: own(self.key),
            token: own(self.token),
            user: own(self.user),
            team: own(self.team),
            organization: own(self.organization),
            model: own(self.model),
            model_group: own(self.model_group),
            provider: own(self.provider),
            surface: own(self.surface),
            operation: own(self.operation),
        }
    }
}

/// Receipts that are recorded together, with what they add up to.
#[derive(Debug)]
pub struct Batch {
    pub(crate) receipts: Vec<Arc<Receipt>>,
    pub(crate) tally: Tally,
}

impl Batch {
    /// Sorts, and adds up. A receipt that is there twice counts once.
    pub fn of(mut receipts: Vec<Arc<Receipt>>) -> Batch {
        receipts.sort_by(|a, b| a.id.cmp(&b.id));
        receipts.dedup_by(|a, b| a.id == b.id);
        let lines: Vec<Line<'_>> = receipts.iter().map(|receipt| Line::of(receipt)).collect();
        let tally = Tally::of(lines.iter());
        drop(lines);
        Batch { receipts, tally }
    }

    /// The receipts, by id.
    pub fn receipts(&self) -> &[Arc<Receipt>] {
        &self.receipts
    }
}

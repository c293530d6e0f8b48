//! What receipts add up to.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};
use serde::Serialize;
use tollway_meters::ScopeKind;
use tollway_model::Money;
use tollway_store::StoreResult;

use super::line::{Line, Share};
use super::{DAY, Detail, HOUR, MINUTE, Millis};
use crate::packed::{PackedReceipt, PackedReceipts};
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
    /// Empty for everybody's rows, `end_user` or `tag` for theirs; others where keys are not told apart.
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

    /// Takes away what is a part of it.
    pub(crate) fn subtract(&mut self, part: &Day) {
        self.money = self.money - part.money;
        self.input -= part.input;
        self.output -= part.output;
        self.cache_read -= part.cache_read;
        self.cache_write -= part.cache_write;
        self.answered -= part.answered;
        self.failed -= part.failed;
        self.unknown -= part.unknown;
        self.total_us -= part.total_us;
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

/// `spend_days.of_kind` of rows that tell no keys apart: everybody's.
pub(crate) const EVERYBODY: &str = "all";

/// The same by team; `of_id` is empty for calls without one.
pub(crate) const TEAMS: &str = "all:team";

/// The same by customer.
pub(crate) const CUSTOMERS: &str = "all:end_user";

/// The same by tag.
pub(crate) const TAGS: &str = "all:tag";

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
    let used = DayKey {
        day: line.at.div_euclid(DAY),
        of: EVERYBODY,
        model: text(&line.model),
        model_group: Cow::Borrowed(&line.model_group),
        provider: text(&line.provider),
        surface: Cow::Borrowed(&line.surface),
        operation: Cow::Borrowed(&line.operation),
        ..DayKey::default()
    };
    let all = DayKey {
        of: "",
        key: Cow::Borrowed(&line.key),
        token: Cow::Borrowed(&line.token),
        user: text(&line.user),
        team: text(&line.team),
        organization: text(&line.organization),
        ..used.clone()
    };
    scopes(line, |kind, id| {
        let without_keys = match kind {
            ScopeKind::Customer => CUSTOMERS,
            ScopeKind::Tag => TAGS,
            _ => return,
        };
        found(DayKey { of: without_keys, of_id: id.clone(), ..used.clone() });
        found(DayKey { of: kind.name(), of_id: id, ..all.clone() });
    });
    found(DayKey { of: TEAMS, of_id: text(&line.team), ..used.clone() });
    found(all);
    found(used);
}

/// What minutes are remembered for, beside the scopes of the same name.
pub(crate) mod mark {
    use std::borrow::Cow;

    use tollway_meters::ScopeKind;

    use super::Line;

    /// Every call.
    pub(crate) const ALL: &str = "";
    /// The model as the provider names it.
    pub(crate) const MODEL: &str = "model";
    /// The model as callers name it.
    pub(crate) const GROUP: &str = "model_group";
    /// Answered calls, and the others.
    pub(crate) const OUTCOME: &str = "outcome";

    /// The HTTP status.
    pub(crate) const STATUS: &str = "status";

    /// The name of an outcome.
    pub(crate) const fn outcome(answered: bool) -> &'static str {
        if answered { "answered" } else { "other" }
    }

    /// Everything a row is remembered for.
    pub(super) fn each<'a>(line: &'a Line<'_>, mut found: impl FnMut(&'static str, Cow<'a, str>)) {
        found(STATUS, Cow::Owned(line.status.to_string()));
        let mut found = |kind, id: &'a str| found(kind, Cow::Borrowed(id));
        found(ALL, "");
        found(OUTCOME, outcome(line.answered()));
        found(GROUP, &line.model_group);
        let known = [
            (MODEL, &line.model),
            (ScopeKind::Provider.name(), &line.provider),
            (ScopeKind::Deployment.name(), &line.deployment),
            (ScopeKind::Organization.name(), &line.organization),
        ];
        for (kind, id) in known {
            if let Some(id) = id.as_deref() {
                found(kind, id);
            }
        }
        for (index, tag) in line.tags.iter().enumerate() {
            if !line.tags.iter().take(index).any(|earlier| earlier == tag) {
                found(ScopeKind::Tag.name(), tag);
            }
        }
    }
}

/// Receipts of a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Minute {
    pub(crate) calls: i64,
    /// What the cheapest of them cost; an unknown cost is zero.
    pub(crate) least: i64,
    /// What the dearest cost.
    pub(crate) most: i64,
}

impl Minute {
    fn add(&mut self, other: Minute) {
        self.calls += other.calls;
        self.least = self.least.min(other.least);
        self.most = self.most.max(other.most);
    }
}

/// Who called: the id and hash of the key, its user, team and organization.
pub(crate) type CallerOf = [String; 5];

/// Rows that count for the same scopes, in the same minute.
struct Alike<'a> {
    /// One of them.
    line: &'a Line<'a>,
    minute: i64,
    sum: Sum,
    day: Day,
    costs: Minute,
}

/// Everything that says what a row counts for.
#[derive(PartialEq, Eq, Hash)]
struct Counted<'a> {
    minute: i64,
    answered: bool,
    status: u16,
    key: [&'a str; 5],
    owners: [Option<&'a str>; 5],
    used: [Option<&'a str>; 2],
    tags: &'a [Arc<str>],
}

impl<'a> Counted<'a> {
    fn of(line: &'a Line<'_>) -> Counted<'a> {
        let owners = [&line.user, &line.team, &line.organization, &line.customer, &line.deployment];
        Counted {
            minute: line.at.div_euclid(MINUTE),
            answered: line.answered(),
            status: line.status,
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
        let (sum, day, minute) = (Sum::of(line), Day::of(line), counted.minute);
        let cost = line.nanos.unwrap_or(0);
        let costs = Minute { calls: 1, least: cost, most: cost };
        if !line.shares.is_empty() {
            found.push(Alike { line, minute, sum, day, costs });
            continue;
        }
        let place = *places.entry(counted).or_insert(found.len());
        match found.get_mut(place) {
            Some(alike) => {
                alike.sum.add(sum);
                alike.day.add(&day);
                alike.costs.add(costs);
            }
            None => found.push(Alike { line, minute, sum, day, costs }),
        }
    }
    found
}

/// Sums by scope and hour, and by day, of some rows, and where to find these.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// By kind, id and hour (hours since 1970): in this order, so that two writers never wait for each other.
    pub(crate) hours: BTreeMap<(&'static str, String, i64), Sum>,
    pub(crate) days: BTreeMap<DayKey<'static>, Day>,
    /// By mark, id and minute (minutes since 1970).
    pub(crate) minutes: BTreeMap<(&'static str, String, i64), Minute>,
    pub(crate) callers: BTreeSet<CallerOf>,
}

impl Tally {
    pub(crate) fn of<'a>(lines: impl Iterator<Item = &'a Line<'a>>) -> Tally {
        let mut hours: HashMap<(ScopeKind, Cow<'a, str>, i64), Sum> = HashMap::new();
        let mut days: HashMap<DayKey<'a>, Day> = HashMap::new();
        let mut minutes: HashMap<(&'static str, Cow<'a, str>, i64), Minute> = HashMap::new();
        let mut callers: HashSet<[&'a str; 5]> = HashSet::new();
        for Alike { line, minute, sum, day, costs } in alike(lines) {
            let hour = minute.div_euclid(HOUR / MINUTE);
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
            mark::each(line, |kind, id| {
                minutes.entry((kind, id, minute)).and_modify(|known| known.add(costs)).or_insert(costs);
            });
            let owners = [&line.user, &line.team, &line.organization];
            let [user, team, organization] = owners.map(|owner| owner.as_deref().unwrap_or(""));
            callers.insert([&line.key, &line.token, user, team, organization]);
        }
        let hours =
            hours.into_iter().map(|((kind, id, hour), sum)| ((kind.name(), id.into_owned(), hour), sum));
        let days = days.into_iter().map(|(key, day)| (key.owned(), day));
        let minutes =
            minutes.into_iter().map(|((kind, id, minute), costs)| ((kind, id.into_owned(), minute), costs));
        let callers = callers.into_iter().map(|caller| caller.map(str::to_owned));
        Tally {
            hours: hours.collect(),
            days: days.collect(),
            minutes: minutes.collect(),
            callers: callers.collect(),
        }
    }

    pub(crate) fn merge(&mut self, other: Tally) {
        for (key, sum) in other.hours {
            self.hours.entry(key).or_default().add(sum);
        }
        for (key, day) in other.days {
            self.days.entry(key).or_default().add(&day);
        }
        for (key, costs) in other.minutes {
            self.minutes.entry(key).and_modify(|known| known.add(costs)).or_insert(costs);
        }
        self.callers.extend(other.callers);
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
    /// By id.
    pub(crate) receipts: Arc<PackedReceipts>,
    pub(crate) tally: Tally,
    /// When the first and the last of them arrived.
    pub(crate) between: (Millis, Millis),
}

impl Batch {
    /// Adds up receipts. One that is there twice counts once.
    ///
    /// # Errors
    ///
    /// When one cannot be written down.
    pub fn of(receipts: &[Arc<Receipt>]) -> StoreResult<Batch> {
        let packed = PackedReceipts::of(receipts.iter().map(AsRef::as_ref))?;
        Ok(Batch::new(packed).0)
    }

    /// The same of packed ones, and how many of them cannot be read: those are left out.
    pub(crate) fn new(mut receipts: PackedReceipts) -> (Batch, usize) {
        let ((tally, between), unreadable) = receipts.sort(|lines| {
            let arrivals = lines.iter().map(|line| line.at);
            let between = (arrivals.clone().min().unwrap_or_default(), arrivals.max().unwrap_or_default());
            (Tally::of(lines.iter()), between)
        });
        (Batch { receipts: Arc::new(receipts), tally, between }, unreadable)
    }

    /// How many receipts it has.
    pub fn len(&self) -> usize {
        self.receipts.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.receipts.is_empty()
    }

    /// The receipts, by id.
    ///
    /// # Errors
    ///
    /// When one cannot be read.
    pub fn receipts(&self) -> StoreResult<Vec<Receipt>> {
        self.receipts.iter().map(PackedReceipt::receipt).collect()
    }

    /// The receipts' ids.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.receipts.iter().filter_map(|receipt| receipt.id().ok())
    }

    /// Those of its receipts that `keep` holds for, by id.
    pub(crate) fn only(&self, keep: impl Fn(&str) -> bool) -> Batch {
        let mut kept = PackedReceipts::default();
        for receipt in self.receipts.iter().filter(|receipt| receipt.id().is_ok_and(&keep)) {
            kept.push(receipt);
        }
        Batch::new(kept).0
    }

    /// Its two halves.
    pub(crate) fn halves(&self) -> (Batch, Batch) {
        let part = |range: std::ops::Range<usize>| {
            let mut part = PackedReceipts::default();
            for receipt in range.filter_map(|index| self.receipts.get(index)) {
                part.push(receipt);
            }
            Batch::new(part).0
        };
        let (middle, end) = (self.len() / 2, self.len());
        (part(0..middle), part(middle..end))
    }
}

//! Answers that are too long to be made at once: written piece by piece while they are read, each from a bounded number
//! of rows.
//!
//! A piece is read when the one before has gone out, so that what arrives meanwhile may be in it. Nothing is shown twice
//! and nothing is left out: pieces are cut by day, team, customer and key, and a line is about one of each.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tollway_accounts::manage::Management;
use tollway_accounts::rights::Grant;
use tollway_ledger::Books;
use tollway_ledger::books::{DAY, DayFilter, DaysOf, Detail, Range};
use tollway_ledger::litellm::{
    DayRow, LogDay, ReportBy, date, logs_of_keys, report_day, spend_report_by_key, spend_report_groups,
    spend_report_lines,
};
use tollway_meters::ScopeKind;
use tollway_model::{Money, Result};
use tollway_pipeline::{PieceWriter, Pieces};

use super::{Desk, NAMES, ROWS, stored};

/// How much is read at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Most rows of days, but for those of a single key.
    pub(super) rows: u32,
    /// Teams, customers or keys that are asked for.
    pub(super) at_once: u32,
    /// Keys whose rows are read for the first piece, so that it is there soon.
    pub(super) first_keys: usize,
    /// Rows that a piece should have.
    pub(super) piece_rows: usize,
    /// Keys that are sorted by what they spent.
    pub(super) sorted: u32,
}

const USUAL: Bounds = Bounds { rows: ROWS, at_once: 500, first_keys: 1, piece_rows: 4_000, sorted: 20_000 };

impl Desk<'_> {
    /// Begins a long answer.
    pub(super) async fn long<F, W>(&self, write: F) -> Result<Pieces>
    where
        F: FnOnce(Scribe) -> W,
        W: Future<Output = Result<()>> + Send + 'static,
    {
        self.long_within(USUAL, write).await
    }

    pub(super) async fn long_within<F, W>(&self, bounds: Bounds, write: F) -> Result<Pieces>
    where
        F: FnOnce(Scribe) -> W,
        W: Future<Output = Result<()>> + Send + 'static,
    {
        let (books, management, grant) = (self.books()?.clone(), self.management.clone(), self.grant.clone());
        Pieces::begin(|writer| write(Scribe { books, management, grant, bounds, writer, items: false })).await
    }
}

/// Reads the books and writes an answer.
pub(super) struct Scribe {
    books: Arc<dyn Books>,
    management: Option<Arc<Management>>,
    grant: Grant,
    bounds: Bounds,
    writer: PieceWriter,
    /// The list or object that is being written has something in it.
    items: bool,
}

/// Keys, some at a time: as many as make a piece.
struct Keys {
    bounds: Bounds,
    filter: DayFilter,
    /// Those that come next.
    next: VecDeque<String>,
    /// The last that is known; `None`: none is.
    last: Option<String>,
    /// All are known.
    known: bool,
    size: usize,
}

impl Keys {
    /// Whoever ever called as the filter asks, in the order of ids.
    fn of(filter: DayFilter, bounds: Bounds) -> Keys {
        let size = bounds.first_keys;
        Keys { bounds, filter, next: VecDeque::new(), last: None, known: false, size }
    }

    /// These.
    fn these(filter: DayFilter, keys: VecDeque<String>, bounds: Bounds) -> Keys {
        Keys { next: keys, known: true, ..Keys::of(filter, bounds) }
    }

    /// The rows of the next keys; `None`: there are no more.
    async fn rows(&mut self, books: &dyn Books) -> Result<Option<Vec<DayRow>>> {
        let Bounds { rows: most, at_once, piece_rows, .. } = self.bounds;
        if self.next.is_empty() && !self.known {
            let found = books.callers(&self.filter, self.last.as_deref(), at_once).await.map_err(stored)?;
            self.known = found.len() < at_once as usize;
            self.last = found.last().cloned().or(self.last.take());
            self.next = found.into();
        }
        while !self.next.is_empty() {
            let count = self.size.clamp(1, at_once as usize).min(self.next.len());
            let keys: Vec<String> = self.next.iter().take(count).cloned().collect();
            // One key's are read however many they are.
            let limit = (count > 1).then_some(most + 1);
            let filter = DayFilter { keys, limit, detail: Detail::Keys, ..self.filter.clone() };
            let rows = books.days(&filter).await.map_err(stored)?;
            if limit.is_some() && rows.len() > most as usize {
                self.size = count / 2;
                continue;
            }
            self.next.drain(..count);
            self.size = (count * piece_rows).checked_div(rows.len()).unwrap_or(count * 8).min(count * 8);
            return Ok(Some(rows));
        }
        Ok(None)
    }
}

impl Scribe {
    async fn text(&mut self, text: &str) -> Result<()> {
        self.writer.write(text.as_bytes()).await
    }

    /// Begins a list or object.
    async fn begin(&mut self, text: &str) -> Result<()> {
        self.items = false;
        self.text(text).await
    }

    /// Ends a list or object, which is an item of what it stands in.
    async fn end(&mut self, text: &str) -> Result<()> {
        self.items = true;
        self.text(text).await
    }

    async fn comma(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.items, true) { self.text(",").await } else { Ok(()) }
    }

    /// An item of a list.
    async fn item(&mut self, value: &Value) -> Result<()> {
        self.comma().await?;
        self.text(&value.to_string()).await
    }

    /// Members of an object.
    async fn members(&mut self, members: &Map<String, Value>) -> Result<()> {
        for (name, value) in members {
            self.comma().await?;
            self.text(&format!("{}:{value}", Value::from(name.as_str()))).await?;
        }
        Ok(())
    }

    /// The days of a range in which anybody called.
    async fn days(&self, filter: &DayFilter) -> Result<BTreeSet<i64>> {
        let days = DayFilter { days: filter.days, detail: Detail::Days, ..DayFilter::default() };
        Ok(self.books.days(&days).await.map_err(stored)?.into_iter().map(|(key, _)| key.day).collect())
    }

    async fn aliases(&self, teams: Vec<String>) -> Result<BTreeMap<String, Arc<str>>> {
        match &self.management {
            Some(management) => management.aliases(&self.grant, Vec::new(), teams).await,
            None => Ok(BTreeMap::new()),
        }
    }

    /// Each key's models: the largest spender first where everybody is asked for and there are not too many, else in the
    /// order of keys' ids.
    pub(super) async fn report_by_key(mut self, filter: DayFilter) -> Result<()> {
        let mut keys = match self.largest_first(&filter).await? {
            Some(keys) => Keys::these(filter, keys, self.bounds),
            None => Keys::of(filter, self.bounds),
        };
        self.begin("[").await?;
        while let Some(rows) = keys.rows(&*self.books).await? {
            for key in spend_report_by_key(&rows).as_array().into_iter().flatten() {
                self.item(key).await?;
            }
            self.writer.flush().await?;
        }
        self.end("]").await?;
        self.writer.flush().await
    }

    async fn largest_first(&self, filter: &DayFilter) -> Result<Option<VecDeque<String>>> {
        let everybody = DayFilter { days: filter.days, detail: filter.detail, ..DayFilter::default() };
        if format!("{filter:?}") != format!("{everybody:?}") {
            return Ok(None);
        }
        let (first, last) = filter.days;
        let range = Range {
            from: Some(first.saturating_mul(DAY)),
            until: Some(last.saturating_add(1).saturating_mul(DAY)),
        };
        let sums = self.books.sums(ScopeKind::Key, range, self.bounds.sorted + 1).await.map_err(stored)?;
        if sums.len() > self.bounds.sorted as usize {
            return Ok(None);
        }
        // Calls without a key have no sum.
        let keys = sums.into_iter().map(|(key, _)| key.to_string()).chain([String::new()]);
        Ok(Some(keys.collect()))
    }

    /// Each day's teams or customers, each with what every key spent on every model.
    pub(super) async fn report_by_day(mut self, filter: DayFilter, by: ReportBy) -> Result<()> {
        self.begin("[").await?;
        for day in self.days(&filter).await? {
            let mut begun = false;
            let mut groups = Groups::of(&filter, by, self.bounds);
            while let Some(some) = groups.next(&*self.books, day).await? {
                self.groups(&filter, by, day, some, &mut begun).await?;
            }
            if begun {
                self.end("]}").await?;
            }
        }
        self.end("]").await?;
        self.writer.flush().await
    }

    /// Some groups of a day.
    async fn groups(
        &mut self,
        filter: &DayFilter,
        by: ReportBy,
        day: i64,
        some: Vec<String>,
        begun: &mut bool,
    ) -> Result<()> {
        let mut waiting = VecDeque::from([some]);
        while let Some(mut some) = waiting.pop_front() {
            let of = filter_of(filter, by, day, &some);
            let limited = DayFilter { limit: Some(self.bounds.rows + 1), ..of.clone() };
            let rows = self.books.days(&limited).await.map_err(stored)?;
            let (few, teams) = (rows.len() <= self.bounds.rows as usize, by == ReportBy::Team);
            if !few && some.len() > 1 {
                let rest = some.split_off(some.len() / 2);
                waiting.extend([some, rest]);
                continue;
            }
            if rows.is_empty() {
                continue;
            }
            let names = if teams { self.aliases(some.clone()).await? } else { BTreeMap::new() };
            let alias = |id: &str| names.get(id).map(Arc::clone);
            if !std::mem::replace(begun, true) {
                self.comma().await?;
                let (day, list) = (Value::from(report_day(day)), by.list());
                self.begin(&format!("{{\"group_by_day\":{day},\"{list}\":[")).await?;
            }
            if few {
                let found = spend_report_groups(&rows, by, &alias);
                for group in &found {
                    self.item(group).await?;
                }
            } else if let Some(id) = some.first() {
                let name = by.shown(id, &alias);
                drop(rows);
                self.group(of, by, &name).await?;
            }
            self.writer.flush().await?;
        }
        Ok(())
    }

    /// One group of very many lines.
    async fn group(&mut self, of: DayFilter, by: ReportBy, name: &str) -> Result<()> {
        self.comma().await?;
        self.begin("{\"metadata\":[").await?;
        let (mut total, mut keys) = (Money::ZERO, Keys::of(of, self.bounds));
        while let Some(rows) = keys.rows(&*self.books).await? {
            total += rows.iter().map(|(_, day)| day.money).sum::<Money>();
            for line in spend_report_lines(&rows) {
                self.item(&line).await?;
            }
            self.writer.flush().await?;
        }
        let (name_of, name, total) = (by.name(), Value::from(name), Value::from(total.to_dollars_lossy()));
        self.end(&format!("],\"{name_of}\":{name},\"total_spend\":{total}}}")).await
    }

    /// What was spent each day by key, user and model, from the first day with any to the last that is asked for.
    pub(super) async fn logs_by_day(mut self, filter: DayFilter) -> Result<()> {
        let called = self.days(&filter).await?;
        self.begin("[").await?;
        let (first, last) = filter.days;
        let mut begun = false;
        for day in first..=last {
            let mut rest = LogDay::default();
            let mut keys = Keys::of(DayFilter { days: (day, day), ..filter.clone() }, self.bounds);
            let mut open = false;
            while called.contains(&day)
                && let Some(rows) = keys.rows(&*self.books).await?
            {
                if rows.is_empty() {
                    continue;
                }
                if !std::mem::replace(&mut open, true) {
                    self.comma().await?;
                    self.begin("{").await?;
                }
                self.members(&logs_of_keys(&rows)).await?;
                rows.iter().for_each(|row| rest.add(row));
                self.writer.flush().await?;
            }
            begun |= open;
            if !begun {
                continue;
            }
            if !open {
                self.comma().await?;
                self.begin("{").await?;
            }
            self.members(&rest.members(day)).await?;
            self.end("}").await?;
        }
        self.end("]").await?;
        self.writer.flush().await
    }

    /// What each team spent each day, and in all.
    pub(super) async fn teams(mut self, days: (i64, i64)) -> Result<()> {
        let everybody = DayFilter { days, detail: Detail::Days, ..DayFilter::default() };
        let everybody = self.books.days(&everybody).await.map_err(stored)?;
        let mut totals: BTreeMap<String, (Arc<str>, Money)> = BTreeMap::new();
        // A name is a member of each day's object: a team whose name stands for something else goes by its id.
        let mut taken: BTreeSet<Arc<str>> = ["date", "Unassigned"].map(Arc::from).into();
        self.begin("{\"daily_spend\":[").await?;
        for (key, all) in everybody {
            self.comma().await?;
            self.begin("{").await?;
            let (mut calls, mut rest, mut after) = (all.calls(), all.money, None);
            loop {
                let books = &self.books;
                let found = books.day_sums(ScopeKind::Team, key.day, after.as_deref(), self.bounds.at_once);
                let found = found.await.map_err(stored)?;
                let new = found.iter().filter(|(id, _)| !totals.contains_key(id.as_ref()));
                let new: Vec<String> = new.map(|(id, _)| id.to_string()).collect();
                let names = self.aliases(new.clone()).await?;
                for id in new {
                    let name = names.get(&id).filter(|name| taken.insert((*name).clone())).cloned();
                    let name = name.unwrap_or_else(|| id.as_str().into());
                    totals.insert(id, (name, Money::ZERO));
                }
                let mut members = Map::new();
                for (id, sum) in &found {
                    let Some((name, total)) = totals.get_mut(id.as_ref()) else { continue };
                    *total += sum.money;
                    calls -= sum.calls;
                    rest = rest - sum.money;
                    members.insert(name.to_string(), sum.money.to_dollars_lossy().into());
                }
                self.members(&members).await?;
                after = found.last().map(|(id, _)| id.to_string());
                if found.len() < self.bounds.at_once as usize {
                    break;
                }
            }
            if calls > 0 {
                totals.entry(String::new()).or_insert(("Unassigned".into(), Money::ZERO)).1 += rest;
                let rest = ("Unassigned".to_owned(), rest.to_dollars_lossy().into());
                self.members(&Map::from_iter([rest])).await?;
            }
            self.members(&Map::from_iter([("date".to_owned(), date(key.day).into())])).await?;
            self.end("}").await?;
        }
        let mut teams: Vec<(Arc<str>, Money)> = totals.into_values().collect();
        teams.sort_by(|(a, one), (b, other)| other.cmp(one).then_with(|| a.cmp(b)));
        self.begin("],\"teams\":[").await?;
        for (name, _) in &teams {
            self.item(&Value::from(name.as_ref())).await?;
        }
        self.begin("],\"total_spend_per_team\":[").await?;
        for (name, money) in &teams {
            self.item(&json!({ "team_id": name, "total_spend": money.to_dollars_lossy() })).await?;
        }
        self.end("]}").await?;
        self.writer.flush().await
    }
}

/// The rows of some groups of a day.
fn filter_of(filter: &DayFilter, by: ReportBy, day: i64, some: &[String]) -> DayFilter {
    let mut of = DayFilter { days: (day, day), detail: Detail::Keys, ..filter.clone() };
    match by {
        ReportBy::Team => of.teams = some.to_vec(),
        ReportBy::Customer => of.of = DaysOf::Customers(some.to_vec()),
    }
    of
}

/// The groups of a day, some at a time: as many as have rows for a piece.
struct Groups {
    bounds: Bounds,
    kind: ScopeKind,
    next: VecDeque<(String, i64)>,
    last: Option<String>,
    known: bool,
}

impl Groups {
    fn of(filter: &DayFilter, by: ReportBy, bounds: Bounds) -> Groups {
        let (kind, next) = (ScopeKind::Team, VecDeque::new());
        let mut groups = Groups { bounds, kind, next, last: None, known: false };
        match (by, &filter.of) {
            // Calls without a team have no sum.
            (ReportBy::Team, _) => groups.next.push_back((String::new(), i64::MAX)),
            (ReportBy::Customer, DaysOf::Customers(named)) if !named.is_empty() => {
                groups.next.extend(named.iter().map(|id| (id.clone(), i64::MAX)));
                groups.known = true;
            }
            (ReportBy::Customer, _) => groups.kind = ScopeKind::Customer,
        }
        groups
    }

    async fn next(&mut self, books: &dyn Books, day: i64) -> Result<Option<Vec<String>>> {
        if self.next.is_empty() && !self.known {
            let Bounds { at_once, .. } = self.bounds;
            let found =
                books.day_sums(self.kind, day, self.last.as_deref(), at_once).await.map_err(stored)?;
            self.known = found.len() < at_once as usize;
            self.last = found.last().map(|(id, _)| id.to_string()).or(self.last.take());
            self.next = found.into_iter().map(|(id, sum)| (id.to_string(), sum.calls)).collect();
        }
        // A call makes one line at most.
        let (mut some, mut calls) = (Vec::new(), 0_i64);
        while let Some((id, of_one)) = self.next.pop_front() {
            calls = calls.saturating_add(of_one);
            if calls > i64::from(self.bounds.rows) && !some.is_empty() {
                self.next.push_front((id, of_one));
                break;
            }
            some.push(id);
        }
        Ok((!some.is_empty()).then_some(some))
    }
}

// As many names as are looked up at once.
const _: () = assert!(USUAL.at_once as usize <= NAMES);

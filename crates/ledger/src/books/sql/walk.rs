//! Walks over all receipts, day by day, in flat memory.

use std::collections::BTreeMap;

use tokio::task::{JoinHandle, spawn_blocking};
use tollway_store::sql::{Sql, Statement, Transaction};
use tollway_store::{StoreError, StoreResult, values};

use super::columns::{self, LINE};
use crate::books::line::Line;
use crate::books::sums::{Sum, Tally};
use crate::books::{DAY, Millis};

/// Receipts read at once.
const PAGE: usize = 10_000;

const FORGOTTEN_FACT: &str = "forgotten_before";

const FACT: &str = "SELECT value FROM spend_facts WHERE name = $1";

/// Receipts that arrived earlier are gone.
pub(super) async fn forgotten_before(sql: &Sql) -> StoreResult<Millis> {
    let row = sql.query_one(FACT, values![FORGOTTEN_FACT]).await?;
    row.map_or(Ok(0), |row| row.int(0))
}

/// As [`forgotten_before`].
pub(super) async fn forgotten_within(transaction: &Transaction) -> StoreResult<Millis> {
    let row = transaction.query_one(FACT, values![FORGOTTEN_FACT]).await?;
    row.map_or(Ok(0), |row| row.int(0))
}

/// The first and the last hour that have sums.
pub(super) async fn hours(sql: &Sql) -> StoreResult<Option<(i64, i64)>> {
    let text =
        "SELECT (SELECT min(hour) FROM spend WHERE hour >= 0), (SELECT max(hour) FROM spend WHERE hour >= 0)";
    let Some(row) = sql.query_one(text, vec![]).await? else { return Ok(None) };
    Ok(row.maybe_int(0)?.zip(row.maybe_int(1)?))
}

pub(super) async fn set_forgotten(transaction: &Transaction, before: Millis) -> StoreResult<()> {
    let text = "INSERT INTO spend_facts (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE \
                SET value = CASE WHEN excluded.value > spend_facts.value THEN excluded.value ELSE spend_facts.value END";
    transaction.execute(text, values![FORGOTTEN_FACT, before]).await?;
    Ok(())
}

/// One day's receipts.
#[derive(Debug, Default)]
pub(super) struct DayOf {
    /// Days since 1970.
    pub(super) day: i64,
    pub(super) receipts: u64,
    pub(super) tally: Tally,
}

/// The days that have receipts, from `from` on and before `until`.
pub(super) struct Days {
    from: Millis,
    until: Millis,
}

impl Days {
    pub(super) fn new(from: Millis, until: Millis) -> Days {
        Days { from, until }
    }

    /// The next day with all that its receipts add up to.
    pub(super) async fn next(&mut self, transaction: &Transaction) -> StoreResult<Option<DayOf>> {
        let mut tally = Tally::default();
        let walked = self.next_page_by_page(transaction, |page| tally.merge(page)).await?;
        Ok(walked.map(|(day, receipts)| DayOf { day, receipts, tally }))
    }

    /// The next day, and how many receipts it has; `each` gets what some of them add up to, in the order of time.
    pub(super) async fn next_page_by_page(
        &mut self,
        transaction: &Transaction,
        mut each: impl FnMut(Tally) + Send,
    ) -> StoreResult<Option<(i64, u64)>> {
        let first = transaction
            .query_one(
                "SELECT min(at) FROM receipts WHERE at >= $1 AND at < $2",
                values![self.from, self.until],
            )
            .await?;
        let Some(first) = first.map_or(Ok(None), |row| row.maybe_int(0))? else { return Ok(None) };
        let day = first.div_euclid(DAY);
        let until = ((day + 1) * DAY).min(self.until);
        let mut receipts = 0;
        let mut after = (first, String::new());
        // A page is added up while the next one is read.
        let mut summing: Option<JoinHandle<Tally>> = None;
        loop {
            let lines = page(transaction, &after, until, PAGE).await?;
            receipts += lines.len() as u64;
            let last = lines.last().filter(|_| lines.len() == PAGE);
            let next = last.map(|last| (last.at, last.id.as_ref().to_owned()));
            let before = summing.replace(spawn_blocking(move || Tally::of(lines.iter())));
            if let Some(before) = before {
                each(added_up(before).await?);
            }
            match next {
                Some(next) => after = next,
                None => break,
            }
        }
        if let Some(last) = summing {
            each(added_up(last).await?);
        }
        self.from = until;
        Ok(Some((day, receipts)))
    }
}

async fn added_up(summing: JoinHandle<Tally>) -> StoreResult<Tally> {
    summing.await.map_err(|error| StoreError::Broken(error.to_string()))
}

/// Some receipts behind a place, the oldest first.
pub(super) async fn page(
    transaction: &Transaction,
    after: &(Millis, String),
    until: Millis,
    limit: usize,
) -> StoreResult<Vec<Line<'static>>> {
    let text = format!(
        "SELECT {LINE} FROM receipts WHERE at >= $1 AND at < $2 AND (at > $1 OR id > $3) ORDER BY at, id LIMIT {limit}"
    );
    let rows = transaction.query(Statement::assembled(text), values![after.0, until, &after.1]).await?;
    rows.iter().map(columns::line).collect()
}

/// Sums by scope, as `spend` has them.
pub(super) type Sums = BTreeMap<(String, String), Sum>;

/// Sums by scope from rows of `scope, id, nanos, calls, unknown`.
pub(super) async fn sums(transaction: &Transaction, text: &str) -> StoreResult<Sums> {
    let rows = transaction.query(Statement::assembled(text.to_owned()), vec![]).await?;
    rows.iter()
        .map(|row| Ok(((row.text(0)?.to_owned(), row.text(1)?.to_owned()), columns::sum(row, 2)?)))
        .collect()
}

//! News of changes.
//!
//! Every change of a record leaves a row with the next number, in the change's own transaction. The number's row stays
//! locked until that commits, so who has seen a number has seen all before it. A notification wakes those who wait;
//! they look by themselves, too, since notifications get lost with a connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::records::Record;
use crate::sql::{Dialect, Sql, Statement, Transaction, Value, placeholder_rows};
use crate::store::News;
use crate::{Change, Changes, StoreError, StoreResult, values};

/// Changes kept. Who is further behind is told that everything may have changed.
const KEPT: i64 = 100_000;
/// Old changes are taken away whenever the number passes a multiple of this.
const PRUNED_EVERY: i64 = 1_000;
/// Most changes in one answer.
const ANSWER: i64 = 1_000;
/// Rows in one statement.
const CHUNK: usize = 1_000;
/// How often it looks without being told.
const LOOK_POSTGRES: Duration = Duration::from_secs(1);
/// Another process writing to an SQLite file wakes nobody.
const LOOK_SQLITE: Duration = Duration::from_millis(400);
/// The PostgreSQL channel.
const CHANNEL: &str = "tollway_changes";
/// How long to wait before listening again after the connection broke.
const LISTEN_AGAIN: Duration = Duration::from_secs(2);

/// Leaves news of changed records of type `R`: ids, with the tokens they are or were remembered by.
pub(crate) async fn leave<R: Record>(
    transaction: &Transaction,
    changed: impl IntoIterator<Item = (String, Vec<String>)>,
) -> StoreResult<()> {
    if R::ANNOUNCED { leave_of(transaction, R::TABLE, changed.into_iter().collect()).await } else { Ok(()) }
}

/// As [`leave`], for a table that is only known by name.
pub(crate) async fn leave_of(
    transaction: &Transaction,
    table: &'static str,
    changed: Vec<(String, Vec<String>)>,
) -> StoreResult<()> {
    let Ok(count) = i64::try_from(changed.len()) else { return Ok(()) };
    if count == 0 {
        return Ok(());
    }
    let head = transaction
        .query_one(
            "UPDATE changes_head SET sequence = sequence + $1 WHERE id = 1 RETURNING sequence",
            values![count],
        )
        .await?
        .ok_or_else(|| StoreError::Broken("the number of the last change is missing".to_owned()))?;
    let last = head.int(0)?;
    let mut sequence = last - count;
    for chunk in changed.chunks(CHUNK) {
        let mut parameters: Vec<Value> = Vec::with_capacity(chunk.len() * 4);
        for (id, tokens) in chunk {
            sequence += 1;
            parameters.extend(values![sequence, table, id, tokens.join(" ")]);
        }
        let statement = format!(
            "INSERT INTO changes (sequence, table_name, record_id, tokens) VALUES {}",
            placeholder_rows(chunk.len(), 4)
        );
        transaction.execute(Statement::assembled(statement), parameters).await?;
    }
    if last / PRUNED_EVERY != (last - count) / PRUNED_EVERY {
        transaction.execute("DELETE FROM changes WHERE sequence <= $1", values![last - KEPT]).await?;
    }
    if transaction.dialect() == Dialect::Postgres {
        transaction.query("SELECT pg_notify($1, '')", values![CHANNEL]).await?;
    }
    Ok(())
}

/// News of one database.
pub(crate) struct Followed {
    sql: Sql,
    news: News,
    listening: AtomicBool,
    /// Goes with this value; the listener's task sees it.
    alive: watch::Sender<()>,
}

impl Followed {
    pub(crate) fn new(sql: Sql, news: News) -> Arc<Followed> {
        Arc::new(Followed { sql, news, listening: AtomicBool::new(false), alive: watch::Sender::new(()) })
    }

    /// Starts to listen with the first who waits.
    fn listen(&self) {
        if self.sql.dialect() == Dialect::Postgres && !self.listening.swap(true, Ordering::Relaxed) {
            tokio::spawn(hear(self.sql.clone(), self.news.clone(), self.alive.subscribe()));
        }
    }

    async fn read(&self, sequence: i64) -> StoreResult<Vec<Change>> {
        let rows = self
            .sql
            .query(
                "SELECT sequence, table_name, record_id, tokens FROM changes WHERE sequence > $1 \
                 ORDER BY sequence LIMIT $2",
                values![sequence, ANSWER],
            )
            .await?;
        let mut changes = Vec::with_capacity(rows.len());
        for row in &rows {
            changes.push(Change {
                sequence: row.int(0)?,
                table: row.text(1)?.to_owned(),
                id: row.text(2)?.to_owned(),
                tokens: row.text(3)?.split_whitespace().map(str::to_owned).collect(),
            });
        }
        match changes.first() {
            // Some are gone already, or the database is an older copy.
            Some(first) if first.sequence > sequence + 1 => {
                Ok(vec![Change::everything(self.latest().await?)])
            }
            None if self.latest().await? != sequence => {
                let latest = self.latest().await?;
                // One may have come between the two questions; it is read the next time.
                let newer = latest > sequence && self.has(sequence + 1).await?;
                Ok(if newer { Vec::new() } else { vec![Change::everything(latest)] })
            }
            _ => Ok(changes),
        }
    }

    async fn has(&self, sequence: i64) -> StoreResult<bool> {
        let row =
            self.sql.query_one("SELECT sequence FROM changes WHERE sequence = $1", values![sequence]).await?;
        Ok(row.is_some())
    }
}

#[async_trait]
impl Changes for Followed {
    async fn after(&self, sequence: i64, patience: Duration) -> StoreResult<Vec<Change>> {
        self.listen();
        let end = Instant::now() + patience;
        let look = match self.sql.dialect() {
            Dialect::Sqlite => LOOK_SQLITE,
            Dialect::Postgres => LOOK_POSTGRES,
        };
        let mut woken = self.news.subscribe();
        loop {
            woken.mark_unchanged();
            let changes = self.read(sequence).await?;
            let now = Instant::now();
            if !changes.is_empty() || now >= end {
                return Ok(changes);
            }
            // Whether told, late or closed: look again.
            let _ = tokio::time::timeout(look.min(end - now), woken.changed()).await;
        }
    }

    async fn latest(&self) -> StoreResult<i64> {
        let row = self.sql.query_one("SELECT sequence FROM changes_head WHERE id = 1", vec![]).await?;
        row.map_or(Ok(0), |row| row.int(0))
    }
}

/// Passes notifications on until nobody is left to hear them.
async fn hear(sql: Sql, news: News, mut alive: watch::Receiver<()>) {
    loop {
        tokio::select! {
            // Only its end is ever seen.
            _ = alive.changed() => return,
            error = hear_until_broken(&sql, &news) => {
                tracing::debug!(%error, "news of changes are not heard for the moment; they are looked for");
            }
        }
        tokio::select! {
            _ = alive.changed() => return,
            () = tokio::time::sleep(LISTEN_AGAIN) => {}
        }
    }
}

async fn hear_until_broken(sql: &Sql, news: &News) -> StoreError {
    let mut listener = match sql.listener(CHANNEL).await {
        Ok(Some(listener)) => listener,
        Ok(None) => return StoreError::Broken("this database has no notifications".to_owned()),
        Err(error) => return error,
    };
    // Something may have come while nobody listened.
    news.wake();
    loop {
        match listener.recv().await {
            Ok(_) => news.wake(),
            Err(error) => return StoreError::Unavailable(error.to_string()),
        }
    }
}

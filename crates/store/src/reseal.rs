//! Changing the salt key: every sealed text in every record is opened and sealed again.

use serde_json::Value as Json;

use crate::changes;
use crate::records::TABLES;
use crate::sql::{Row, Sql, Statement};
use crate::{SealError, Sealer, StoreResult, values};

/// Records that one statement reads.
const CHUNK: i64 = 200;
/// Tries with a record that others keep changing.
const TRIES: u32 = 20;

/// How far [`Store::reseal`](crate::Store::reseal) is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// The table at hand.
    pub table: &'static str,
    /// Records with secrets that were looked at, in all tables.
    pub seen: u64,
}

/// What [`Store::reseal`](crate::Store::reseal) did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Records that hold secrets.
    pub records: u64,
    /// Secrets sealed with the active key now, and with another before.
    pub resealed: u64,
    /// Secrets that cannot be opened: table, record, why.
    pub failed: Vec<(&'static str, String, SealError)>,
}

pub(crate) async fn all(
    sql: &Sql,
    sealer: &Sealer,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> StoreResult<Resealed> {
    let mut done = Resealed::default();
    for table in TABLES {
        // A sealed text is the beginning of a JSON string; text that only looks so is told apart below.
        let statement = format!(
            "SELECT id, version, body FROM {table} WHERE id > $1 AND body LIKE '%\"tw1:%' ORDER BY id LIMIT $2"
        );
        let mut after = String::new();
        loop {
            let rows =
                sql.query(Statement::assembled(statement.clone()), values![after.as_str(), CHUNK]).await?;
            let Some(last) = rows.last() else { break };
            after = last.text(0)?.to_owned();
            for row in rows {
                record(sql, sealer, table, row, &mut done).await?;
            }
            progress(Progress { table, seen: done.records });
        }
    }
    Ok(done)
}

/// Seals one record's secrets again, unless it changes meanwhile: then what it became.
async fn record(
    sql: &Sql,
    sealer: &Sealer,
    table: &'static str,
    mut row: Row,
    done: &mut Resealed,
) -> StoreResult<()> {
    done.records += 1;
    let id = row.text(0)?.to_owned();
    for _ in 0..TRIES {
        let (version, body) = (row.int(1)?, row.text(2)?);
        let Ok(mut json) = serde_json::from_str(body) else { return Ok(()) };
        let mut found = Found::default();
        visit(&mut json, &id, sealer, &mut found);
        if found.resealed == 0 || replace(sql, table, &id, version, &json.to_string()).await? {
            done.resealed += found.resealed;
            done.failed.extend(found.failed.into_iter().map(|error| (table, id.clone(), error)));
            return Ok(());
        }
        let again = Statement::assembled(format!("SELECT id, version, body FROM {table} WHERE id = $1"));
        match sql.query_one(again, values![id.as_str()]).await? {
            Some(changed) => row = changed,
            None => return Ok(()),
        }
    }
    Err(crate::StoreError::Conflict { table, id })
}

async fn replace(sql: &Sql, table: &'static str, id: &str, version: i64, body: &str) -> StoreResult<bool> {
    let statement =
        format!("UPDATE {table} SET version = version + 1, body = $3 WHERE id = $1 AND version = $2");
    let statement = Statement::assembled(statement);
    let statement = &statement;
    sql.transaction(|transaction| async move {
        let changed = transaction.execute(statement.clone(), values![id, version, body]).await?;
        if changed > 0 {
            changes::leave_of(&transaction, table, vec![(id.to_owned(), Vec::new())]).await?;
        }
        Ok(changed > 0)
    })
    .await
}

#[derive(Default)]
struct Found {
    resealed: u64,
    failed: Vec<SealError>,
}

fn visit(json: &mut Json, id: &str, sealer: &Sealer, found: &mut Found) {
    match json {
        Json::String(text) if Sealer::is_sealed(text) => match sealer.reseal(id, text) {
            Ok(Some(sealed)) => {
                *text = sealed;
                found.resealed += 1;
            }
            Ok(None) => {}
            Err(error) => found.failed.push(error),
        },
        Json::Array(items) => items.iter_mut().for_each(|item| visit(item, id, sealer, found)),
        Json::Object(members) => members.values_mut().for_each(|member| visit(member, id, sealer, found)),
        _ => {}
    }
}

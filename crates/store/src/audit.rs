//! The audit log: a chain of hashes.
//!
//! An entry's hash covers the hash before it and all its fields, so whoever changes, inserts or removes one must change
//! all that follow. The chain's head is kept beside it, so that a missing end is noticed too. Copy the head's hash to a
//! place outside now and then (`tollway db status` shows it) to notice even a chain that was forged as a whole.

use async_trait::async_trait;
use aws_lc_rs::digest::{Context, SHA256};

use crate::migrations::hex;
use crate::sql::{Row, Sql, Statement, Transaction, Value};
use crate::{Audit, AuditEntry, Page, StoreError, StoreResult, values};

/// Entries that one statement reads.
const CHUNK: i64 = 1_000;

pub(crate) struct Log {
    sql: Sql,
}

impl Log {
    pub(crate) fn new(sql: Sql) -> Log {
        Log { sql }
    }
}

/// Adds an entry at the end. The head's row is locked until the transaction ends, so entries come one by one.
pub(crate) async fn append(transaction: &Transaction, mut entry: AuditEntry) -> StoreResult<AuditEntry> {
    let head = transaction
        .query_one(
            "UPDATE audit_head SET sequence = sequence + 1 WHERE id = 1 RETURNING sequence, hash",
            vec![],
        )
        .await?
        .ok_or_else(|| StoreError::Broken("the head of the audit log is missing".to_owned()))?;
    entry.sequence = head.int(0)?;
    entry.hash = hash(head.text(1)?, &entry);
    transaction
        .execute(
            "INSERT INTO audit (sequence, at, actor, actor_key, action, table_name, record_id, old_value, new_value, \
             hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            values![
                entry.sequence,
                entry.at,
                &entry.actor,
                &entry.actor_key,
                &entry.action,
                &entry.table,
                &entry.id,
                entry.before.clone(),
                entry.after.clone(),
                &entry.hash,
            ],
        )
        .await?;
    transaction.execute("UPDATE audit_head SET hash = $1 WHERE id = 1", values![&entry.hash]).await?;
    Ok(entry)
}

/// SHA-256 over the hash before and the entry's fields, each with its length, so that nothing can move from one to the
/// next.
fn hash(before: &str, entry: &AuditEntry) -> String {
    let mut context = Context::new(&SHA256);
    let mut field = |text: Option<&str>| match text {
        None => context.update(&u64::MAX.to_be_bytes()),
        Some(text) => {
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        }
    };
    field(Some(before));
    field(Some(&entry.sequence.to_string()));
    field(Some(&entry.at.to_string()));
    for text in [&entry.actor, &entry.actor_key, &entry.action, &entry.table, &entry.id] {
        field(Some(text));
    }
    field(entry.before.as_deref());
    field(entry.after.as_deref());
    hex(context.finish().as_ref())
}

const COLUMNS: &str =
    "sequence, at, actor, actor_key, action, table_name, record_id, old_value, new_value, hash";

fn read(row: &Row) -> StoreResult<AuditEntry> {
    let text = |column| row.text(column).map(str::to_owned);
    Ok(AuditEntry {
        sequence: row.int(0)?,
        at: row.int(1)?,
        actor: text(2)?,
        actor_key: text(3)?,
        action: text(4)?,
        table: text(5)?,
        id: text(6)?,
        before: row.maybe_text(7)?.map(str::to_owned),
        after: row.maybe_text(8)?.map(str::to_owned),
        hash: text(9)?,
    })
}

#[async_trait]
impl Audit for Log {
    async fn append(&self, entry: AuditEntry) -> StoreResult<AuditEntry> {
        let entry = &entry;
        self.sql.transaction(|transaction| async move { append(&transaction, entry.clone()).await }).await
    }

    async fn entries(
        &self,
        table: Option<&str>,
        id: Option<&str>,
        offset: u64,
        limit: u64,
    ) -> StoreResult<Page<AuditEntry>> {
        let mut parameters: Vec<Value> = Vec::new();
        let mut conditions = Vec::new();
        for (column, value) in [("table_name", table), ("record_id", id)] {
            if let Some(value) = value {
                parameters.push(Value::from(value));
                conditions.push(format!("{column} = ${}", parameters.len()));
            }
        }
        let condition = if conditions.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", conditions.join(" AND "))
        };
        let count = Statement::assembled(format!("SELECT count(*) FROM audit{condition}"));
        let total = self.sql.query_one(count, parameters.clone()).await?.map_or(Ok(0), |row| row.int(0))?;
        let next = parameters.len() + 1;
        let statement = format!(
            "SELECT {COLUMNS} FROM audit{condition} ORDER BY sequence DESC LIMIT ${next} OFFSET ${}",
            next + 1
        );
        parameters.extend(values![limit, offset]);
        let rows = self.sql.query(Statement::assembled(statement), parameters).await?;
        let records = rows.iter().map(read).collect::<StoreResult<_>>()?;
        Ok(Page { records, total: u64::try_from(total).unwrap_or(0) })
    }

    async fn verify(&self) -> StoreResult<Option<i64>> {
        // The head as it was before: entries that come meanwhile are not missed.
        let head = self.sql.query_one("SELECT sequence, hash FROM audit_head WHERE id = 1", vec![]).await?;
        let Some(head) = head else { return Ok(Some(1)) };
        let (last, last_hash) = (head.int(0)?, head.text(1)?);
        let (mut sequence, mut before) = (0, String::new());
        let statement = format!("SELECT {COLUMNS} FROM audit WHERE sequence > $1 ORDER BY sequence LIMIT $2");
        loop {
            let rows =
                self.sql.query(Statement::assembled(statement.clone()), values![sequence, CHUNK]).await?;
            for row in &rows {
                let entry = read(row)?;
                sequence += 1;
                if entry.sequence != sequence || entry.hash != hash(&before, &entry) {
                    return Ok(Some(sequence));
                }
                if sequence == last && entry.hash != last_hash {
                    return Ok(Some(sequence));
                }
                before = entry.hash;
            }
            if rows.is_empty() {
                return Ok((sequence < last).then_some(sequence + 1));
            }
        }
    }
}

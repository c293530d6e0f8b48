//! Records in tables: one implementation for all of them.

use std::marker::PhantomData;

use async_trait::async_trait;

use crate::changes;
use crate::records::Record;
use crate::sql::{Dialect, Row, Sql, Statement, Transaction, Value, containing, placeholders};
use crate::store::News;
use crate::{Page, Query, Records, StoreError, StoreResult, values};

/// Ids that one statement takes; well below every database's bound on parameters.
const CHUNK: usize = 500;

/// The records of one table.
pub(crate) struct Table<R> {
    sql: Sql,
    news: News,
    record: PhantomData<fn() -> R>,
}

impl<R: Record> Table<R> {
    pub(crate) fn new(sql: Sql, news: News) -> Table<R> {
        Table { sql, news, record: PhantomData }
    }
}

#[async_trait]
impl<R: Record> Records<R> for Table<R> {
    async fn get(&self, id: &str) -> StoreResult<Option<R>> {
        let statement = format!("SELECT {COLUMNS} FROM {} WHERE id = $1", R::TABLE);
        let row = self.sql.query_one(Statement::assembled(statement), values![id]).await?;
        row.as_ref().map(read).transpose()
    }

    async fn find(&self, column: &'static str, value: &str) -> StoreResult<Option<R>> {
        let column = known::<R>(column)?;
        let statement =
            format!("SELECT {COLUMNS} FROM {} WHERE {column} = $1 ORDER BY created_at, id LIMIT 1", R::TABLE);
        let row = self.sql.query_one(Statement::assembled(statement), values![value]).await?;
        row.as_ref().map(read).transpose()
    }

    async fn insert(&self, record: R) -> StoreResult<R> {
        let record = &record;
        let inserted = self
            .sql
            .transaction(|transaction| async move { insert(&transaction, record.clone()).await })
            .await;
        self.news.tell::<R, _>(inserted)
    }

    async fn update(&self, record: R) -> StoreResult<R> {
        let record = &record;
        let updated = self
            .sql
            .transaction(|transaction| async move { update(&transaction, record.clone()).await })
            .await;
        self.news.tell::<R, _>(updated)
    }

    async fn delete(&self, ids: &[&str]) -> StoreResult<Vec<R>> {
        let deleted =
            self.sql.transaction(|transaction| async move { delete(&transaction, ids).await }).await;
        self.news.tell::<R, _>(deleted)
    }

    async fn list(&self, query: &Query) -> StoreResult<Page<R>> {
        let filter = Filter::of::<R>(query, self.sql.dialect())?;
        if query.contains.is_empty() || query.limit == 0 {
            self.page(query, filter).await
        } else {
            self.search(query, filter).await
        }
    }
}

impl<R: Record> Table<R> {
    /// Counts, and reads the page.
    async fn page(&self, query: &Query, filter: Filter) -> StoreResult<Page<R>> {
        let (table, condition) = (R::TABLE, &filter.condition);
        let count = Statement::assembled(format!("SELECT count(*) FROM {table}{condition}"));
        let total =
            self.sql.query_one(count, filter.values.clone()).await?.map_or(Ok(0), |row| row.int(0))?;
        let mut page = Page { records: Vec::new(), total: u64::try_from(total).unwrap_or(0) };
        if query.limit == 0 || query.offset >= page.total {
            return Ok(page);
        }
        let (shown, slice) = (order::<R>(query)?, filter.slice());
        // A page in the second half is nearer to the end.
        let back = query.offset > page.total / 2;
        let limit = query.limit.min(page.total - query.offset);
        let from_end = Query {
            descending: query.descending != back,
            offset: if back { page.total - query.offset - limit } else { query.offset },
            limit,
            ..query.clone()
        };
        let order = order::<R>(&from_end)?;
        // The inner one is answered from an index alone; bodies are read for the page only.
        let statement = format!(
            "SELECT {COLUMNS} FROM {table} WHERE id IN \
             (SELECT id FROM {table}{condition} ORDER BY {order} {slice}) ORDER BY {shown}"
        );
        let rows = self.sql.query(Statement::assembled(statement), filter.sliced(&from_end)).await?;
        page.records = rows.iter().map(read).collect::<StoreResult<_>>()?;
        Ok(page)
    }

    /// Looks at every record once, for the page and the total together: no index helps to find a part of a text.
    async fn search(&self, query: &Query, filter: Filter) -> StoreResult<Page<R>> {
        let (table, condition) = (R::TABLE, &filter.condition);
        let (order, slice) = (order::<R>(query)?, filter.slice());
        let sort = match query.sort.unwrap_or(SORT) {
            "id" => "id".to_owned(),
            column => format!("id, {}", known::<R>(column)?),
        };
        let statement = format!(
            "WITH found AS MATERIALIZED (SELECT {sort} FROM {table}{condition}) \
             SELECT {COLUMNS}, (SELECT count(*) FROM found) FROM {table} WHERE id IN \
             (SELECT id FROM found ORDER BY {order} {slice}) ORDER BY {order}"
        );
        let rows = self.sql.query(Statement::assembled(statement), filter.sliced(query)).await?;
        let Some(first) = rows.first() else {
            // Nothing at all, or a page behind the last.
            let count = Query { limit: 0, ..query.clone() };
            return if query.offset == 0 {
                Ok(Page { records: Vec::new(), total: 0 })
            } else {
                self.page(&count, filter).await
            };
        };
        let total = u64::try_from(first.int(5)?).unwrap_or(0);
        Ok(Page { records: rows.iter().map(read).collect::<StoreResult<_>>()?, total })
    }
}

/// Adds a record.
pub(crate) async fn insert<R: Record>(transaction: &Transaction, mut record: R) -> StoreResult<R> {
    record.stamp_mut().version = 1;
    let columns = R::COLUMNS.len();
    let statement = format!(
        "INSERT INTO {} (id, version, created_at, updated_at, body{}) VALUES ({})",
        R::TABLE,
        R::COLUMNS.iter().map(|column| format!(", {column}")).collect::<String>(),
        placeholders(1, columns + 5),
    );
    let stamp = record.stamp();
    let mut parameters = values![record.id(), 1_i64, stamp.created_at, stamp.updated_at, write(&record)?];
    parameters.extend(record.columns().into_iter().map(Value::Text));
    transaction.execute(Statement::assembled(statement), parameters).await?;
    changes::leave::<R>(transaction, [(record.id().to_owned(), token(&record).into_iter().collect())])
        .await?;
    Ok(record)
}

/// Replaces the record of the same id and version.
pub(crate) async fn update<R: Record>(transaction: &Transaction, mut record: R) -> StoreResult<R> {
    let old = record.stamp().version;
    record.stamp_mut().version = old + 1;
    let mut tokens: Vec<String> = token(&record).into_iter().collect();
    if R::COLUMNS.contains(&TOKEN) {
        let statement = format!("SELECT {TOKEN} FROM {} WHERE id = $1 AND version = $2", R::TABLE);
        let before =
            transaction.query_one(Statement::assembled(statement), values![record.id(), old]).await?;
        if let Some(token) = before.as_ref().map(|row| row.maybe_text(0)).transpose()?.flatten()
            && !tokens.iter().any(|known| known == token)
        {
            tokens.push(token.to_owned());
        }
    }
    let sets: String =
        R::COLUMNS.iter().enumerate().map(|(index, column)| format!(", {column} = ${}", index + 6)).collect();
    let statement = format!(
        "UPDATE {} SET version = version + 1, created_at = $3, updated_at = $4, body = $5{sets} \
         WHERE id = $1 AND version = $2",
        R::TABLE,
    );
    let stamp = record.stamp();
    let mut parameters = values![record.id(), old, stamp.created_at, stamp.updated_at, write(&record)?];
    parameters.extend(record.columns().into_iter().map(Value::Text));
    let changed = transaction.execute(Statement::assembled(statement), parameters).await?;
    if changed == 0 {
        return Err(StoreError::Conflict { table: R::TABLE, id: record.id().to_owned() });
    }
    changes::leave::<R>(transaction, [(record.id().to_owned(), tokens)]).await?;
    Ok(record)
}

/// Takes records away; those that were there.
pub(crate) async fn delete<R: Record>(transaction: &Transaction, ids: &[&str]) -> StoreResult<Vec<R>> {
    let mut gone: Vec<R> = Vec::new();
    // In one order everywhere, so that two who delete the same records do not wait for each other.
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    for ids in ids.chunks(CHUNK) {
        let statement = format!(
            "DELETE FROM {} WHERE id IN ({}) RETURNING {COLUMNS}",
            R::TABLE,
            placeholders(1, ids.len())
        );
        let ids = ids.iter().map(|id| Value::from(*id)).collect();
        for row in transaction.query(Statement::assembled(statement), ids).await? {
            gone.push(read(&row)?);
        }
    }
    let news = gone.iter().map(|record| (record.id().to_owned(), token(record).into_iter().collect()));
    changes::leave::<R>(transaction, news).await?;
    Ok(gone)
}

/// The record with this id, as the transaction sees it.
pub(crate) async fn get<R: Record>(transaction: &Transaction, id: &str) -> StoreResult<Option<R>> {
    let statement = format!("SELECT {COLUMNS} FROM {} WHERE id = $1", R::TABLE);
    let row = transaction.query_one(Statement::assembled(statement), values![id]).await?;
    row.as_ref().map(read).transpose()
}

/// What [`read`] reads.
const COLUMNS: &str = "id, version, created_at, updated_at, body";

/// How lists are sorted unless asked otherwise.
const SORT: &str = "created_at";

/// The column whose values records are remembered by.
const TOKEN: &str = "token";

fn read<R: Record>(row: &Row) -> StoreResult<R> {
    let mut record: R = serde_json::from_str(row.text(4)?).map_err(|error| {
        let id = row.text(0).unwrap_or("?");
        StoreError::Broken(format!("{} {id} cannot be read: {error}", R::TABLE))
    })?;
    let stamp = record.stamp_mut();
    (stamp.version, stamp.created_at, stamp.updated_at) = (row.int(1)?, row.int(2)?, row.int(3)?);
    Ok(record)
}

/// The record as JSON text. PostgreSQL's text holds no zero byte, neither in `body` nor in a column.
fn write<R: Record>(record: &R) -> StoreResult<String> {
    let broken = |reason: String| StoreError::Broken(format!("{} {}: {reason}", R::TABLE, record.id()));
    let zero = |text: &str| text.contains('\0');
    if zero(record.id()) || record.columns().iter().flatten().any(|text| zero(text)) {
        return Err(broken("a zero byte cannot be kept".to_owned()));
    }
    serde_json::to_string(record).map_err(|error| broken(error.to_string()))
}

fn token<R: Record>(record: &R) -> Option<String> {
    let index = R::COLUMNS.iter().position(|column| *column == TOKEN)?;
    record.columns().into_iter().nth(index).flatten()
}

/// A column that may stand in a statement.
fn known<R: Record>(column: &'static str) -> StoreResult<&'static str> {
    let always = ["id", "created_at", "updated_at"];
    if R::COLUMNS.contains(&column) || always.contains(&column) {
        return Ok(column);
    }
    Err(StoreError::Broken(format!("{} has no column {column}", R::TABLE)))
}

fn order<R: Record>(query: &Query) -> StoreResult<String> {
    let column = known::<R>(query.sort.unwrap_or(SORT))?;
    // Records without a value come last, descending first: as PostgreSQL keeps its indexes.
    let (direction, nulls) = if query.descending { ("DESC", "FIRST") } else { ("ASC", "LAST") };
    if column == "id" {
        return Ok(format!("id {direction}"));
    }
    let nulls = if R::COLUMNS.contains(&column) { format!(" NULLS {nulls}") } else { String::new() };
    Ok(format!("{column} {direction}{nulls}, id {direction}"))
}

/// The condition of a query, with its parameters.
struct Filter {
    /// Empty, or ` WHERE …`.
    condition: String,
    values: Vec<Value>,
}

impl Filter {
    fn of<R: Record>(query: &Query, dialect: Dialect) -> StoreResult<Filter> {
        let mut parts = Vec::new();
        let mut values = Vec::new();
        for (column, value) in &query.equal {
            let column = known::<R>(column)?;
            match value {
                None => parts.push(format!("{column} IS NULL")),
                Some(value) => {
                    values.push(Value::from(value));
                    parts.push(format!("{column} = ${}", values.len()));
                }
            }
        }
        for (column, any) in &query.any_of {
            let column = known::<R>(column)?;
            if any.is_empty() {
                parts.push("1 = 0".to_owned());
                continue;
            }
            parts.push(format!("{column} IN ({})", placeholders(values.len() + 1, any.len())));
            values.extend(any.iter().map(Value::from));
        }
        for (column, text) in &query.contains {
            let column = known::<R>(column)?;
            values.push(Value::from(containing(&text.to_ascii_lowercase())));
            // SQLite's LIKE knows no case by itself.
            let column = match dialect {
                Dialect::Sqlite => column.to_owned(),
                Dialect::Postgres => format!("lower({column})"),
            };
            parts.push(format!("{column} LIKE ${} ESCAPE '\\'", values.len()));
        }
        let condition =
            if parts.is_empty() { String::new() } else { format!(" WHERE {}", parts.join(" AND ")) };
        Ok(Filter { condition, values })
    }

    /// `LIMIT` and `OFFSET`, as the two parameters after the condition's.
    fn slice(&self) -> String {
        format!("LIMIT ${} OFFSET ${}", self.values.len() + 1, self.values.len() + 2)
    }

    /// The parameters for a condition and a [`Filter::slice`].
    fn sliced(&self, query: &Query) -> Vec<Value> {
        let mut values = self.values.clone();
        values.extend(values![query.limit, query.offset]);
        values
    }
}

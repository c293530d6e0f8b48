//! Many rows that go into a table with one statement.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Statement, placeholders};
use crate::StoreResult;

/// Rows that SQLite takes before somebody who waits is looked after.
pub(super) const CHUNK: usize = 64;

/// Rows that SQLite takes with one statement while there are so many.
pub(super) const TOGETHER: usize = 4;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `BIGINT`.
    Int,
    /// `TEXT`.
    Text,
    /// `BYTEA` or `BLOB`.
    Bytes,
}

/// A statement that puts rows into a table.
#[derive(Debug)]
pub struct Load {
    /// For one row.
    pub(super) sqlite: Arc<str>,
    /// For [`TOGETHER`].
    pub(super) sqlite_together: Arc<str>,
    /// For all of them: an array a column.
    pub(super) postgres: Statement,
    pub(super) kinds: Vec<Kind>,
}

impl Load {
    /// Rows with these columns for `table`. `then`: what is done about rows that are there, `ON CONFLICT …`, or nothing.
    pub fn new(table: &str, columns: &[(&str, Kind)], then: &str) -> Load {
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        let (names, marks) = (names.join(", "), vec!["?"; columns.len()].join(", "));
        let arrays: Vec<String> = placeholders(1, columns.len())
            .split(", ")
            .zip(columns)
            .map(|(mark, (_, kind))| {
                let array = match kind {
                    Kind::Int => "BIGINT[]",
                    Kind::Text => "TEXT[]",
                    Kind::Bytes => "BYTEA[]",
                };
                format!("{mark}::{array}")
            })
            .collect();
        let sqlite = format!("INSERT INTO {table} ({names}) VALUES ({marks}) {then}");
        let together = vec![format!("({marks})"); TOGETHER].join(", ");
        let sqlite_together = format!("INSERT INTO {table} ({names}) VALUES {together} {then}");
        let postgres = format!(
            "INSERT INTO {table} ({names}) SELECT * FROM unnest({}) AS rows ({names}) {then}",
            arrays.join(", ")
        );
        Load {
            sqlite: sqlite.into(),
            sqlite_together: sqlite_together.into(),
            postgres: Statement::assembled(postgres),
            kinds: columns.iter().map(|(_, kind)| *kind).collect(),
        }
    }
}

/// Rows, wherever they come from. They may be asked for more than once, when a transaction is tried again.
pub trait Rows: Send + Sync + 'static {
    /// How many there are.
    fn count(&self) -> usize;

    /// Writes the columns of one of them, in the order of the statement.
    fn row(&self, index: usize, cells: &mut dyn Cells) -> StoreResult<()>;
}

/// Takes the columns of a row, in order.
pub trait Cells {
    /// An integer, or null.
    fn int(&mut self, value: Option<i64>);

    /// A text, or null. Zero characters, which PostgreSQL does not have, become U+FFFD.
    fn text(&mut self, value: Option<&str>);

    /// Bytes.
    fn bytes(&mut self, value: &[u8]);

    /// A count. SQL has no unsigned integers; nothing counted here comes near the difference.
    fn count(&mut self, value: u64) {
        self.int(Some(i64::try_from(value).unwrap_or(i64::MAX)));
    }
}

/// Text as both databases take it.
pub fn clean(text: &str) -> Cow<'_, str> {
    if text.as_bytes().contains(&0) { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

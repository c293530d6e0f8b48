//! How the database got its tables, step by step.
//!
//! Migrations only add, so that the version before still works with what the newer one made, and two versions run side
//! by side during an upgrade. One that was released never changes: its checksum is recorded with it. New ones go to the
//! end of [`ALL`].

mod accounts;
mod receipts;
mod run;
mod shares;
mod tags;

pub(crate) use run::{applied, apply};

use std::fmt::Write as _;

use crate::sql::Dialect;

/// Every migration, in order.
pub const ALL: &[Migration] = &[accounts::MIGRATION, receipts::MIGRATION, shares::MIGRATION, tags::MIGRATION];

/// A change of the database's tables.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Its name; begins with a number that grows.
    pub name: &'static str,
    /// What is done, in one transaction.
    pub steps: &'static [Step],
}

/// One statement.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// For both databases. `{text}` becomes the type of text that sorts by bytes, `{bytes}` that of bytes.
    Both(&'static str),
    /// For SQLite only.
    Sqlite(&'static str),
    /// For PostgreSQL only.
    Postgres(&'static str),
}

impl Migration {
    /// The statements for a database.
    pub fn statements(&self, dialect: Dialect) -> Vec<String> {
        let (text, bytes) = match dialect {
            Dialect::Sqlite => ("TEXT", "BLOB"),
            Dialect::Postgres => ("TEXT COLLATE \"C\"", "BYTEA"),
        };
        self.steps
            .iter()
            .filter_map(|step| match (step, dialect) {
                (Step::Both(statement), _)
                | (Step::Sqlite(statement), Dialect::Sqlite)
                | (Step::Postgres(statement), Dialect::Postgres) => {
                    Some(statement.replace("{text}", text).replace("{bytes}", bytes))
                }
                _ => None,
            })
            .collect()
    }

    /// SHA-256 of its statements, in hexadecimal.
    pub fn checksum(&self, dialect: Dialect) -> String {
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        for statement in self.statements(dialect) {
            context.update(statement.as_bytes());
            context.update(b"\0");
        }
        hex(context.finish().as_ref())
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

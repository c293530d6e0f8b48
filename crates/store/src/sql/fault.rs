//! What went wrong, in our words.

use sqlx::Error;

use crate::{StoreError, records};

/// What went wrong with a statement.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// The connection broke.
    Lost(String),
    /// There was no connection, so nothing was asked.
    Unreachable(String),
    /// The database did not answer in time.
    Slow(String),
    /// Another transaction was in the way: a deadlock, a lock that did not come. Trying again helps.
    Contended(String),
    /// A unique column's value is taken.
    Taken { table: &'static str, column: String },
    /// The statement itself is at fault.
    Refused(String),
}

impl Fault {
    /// The same, where it kept a connection from being made.
    pub(super) fn not_connected(self) -> Fault {
        match self {
            Fault::Lost(message) | Fault::Slow(message) => Fault::Unreachable(message),
            other => other,
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Lost(message)
            | Fault::Unreachable(message)
            | Fault::Slow(message)
            | Fault::Contended(message)
            | Fault::Refused(message) => f.write_str(message),
            Fault::Taken { table, column } => write!(f, "{table}: {column} is taken"),
        }
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> StoreError {
        match fault {
            Fault::Lost(message)
            | Fault::Unreachable(message)
            | Fault::Slow(message)
            | Fault::Contended(message) => StoreError::Unavailable(message),
            Fault::Taken { table, column } => StoreError::Taken { table, column },
            Fault::Refused(message) => StoreError::Broken(message),
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        match error {
            Error::Database(error) => match error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
                Some(postgres) => of_postgres(postgres),
                None => Fault::Refused(error.to_string()),
            },
            Error::PoolTimedOut => Fault::Unreachable("no connection was to be had in time".to_owned()),
            Error::PoolClosed => Fault::Unreachable("the database was closed".to_owned()),
            Error::Io(_) | Error::Tls(_) | Error::Protocol(_) => Fault::Lost(error.to_string()),
            other => Fault::Refused(other.to_string()),
        }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Fault {
        use rusqlite::Error::{SqlInputError, SqliteFailure};
        match error {
            SqliteFailure(code, message) => {
                let message = message.unwrap_or_else(|| code.to_string());
                of_sqlite(code.extended_code, &message)
            }
            SqlInputError { error, msg, .. } => of_sqlite(error.extended_code, &msg),
            other => Fault::Refused(other.to_string()),
        }
    }
}

/// By SQLSTATE. <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn of_postgres(error: &sqlx::postgres::PgDatabaseError) -> Fault {
    let message = || format!("{} (SQLSTATE {})", error.message(), error.code());
    match error.code() {
        "23505" => {
            let table = known_table(error.table().unwrap_or_default());
            let constraint = error.constraint().unwrap_or_default();
            // Primary keys end in `_pkey`, our unique indexes are `<table>_<column>`.
            let column = match constraint.strip_prefix(table).and_then(|rest| rest.strip_prefix('_')) {
                Some("pkey") => "id",
                Some(column) => column,
                None => constraint,
            };
            Fault::Taken { table, column: column.to_owned() }
        }
        "40001" | "40P01" | "55P03" => Fault::Contended(message()),
        "57014" => Fault::Slow(message()),
        // Shutting down, starting, read-only after a failover, idle for too long, full.
        "57P01" | "57P02" | "57P03" | "25006" | "25P03" => Fault::Lost(message()),
        code if code.starts_with("08") || code.starts_with("53") || code.starts_with("58") => {
            Fault::Lost(message())
        }
        _ => Fault::Refused(message()),
    }
}

/// By result code. <https://www.sqlite.org/rescode.html>
fn of_sqlite(code: i32, message: &str) -> Fault {
    const CONSTRAINT_UNIQUE: i32 = 2067;
    const CONSTRAINT_PRIMARY_KEY: i32 = 1555;
    let text = || format!("{message} (SQLite {code})");
    match (code, code & 0xff) {
        (CONSTRAINT_UNIQUE | CONSTRAINT_PRIMARY_KEY, _) => {
            // "UNIQUE constraint failed: keys.token"
            let name = message.rsplit(": ").next().unwrap_or_default();
            let (table, column) = name.split_once('.').unwrap_or((name, "value"));
            Fault::Taken { table: known_table(table), column: column.to_owned() }
        }
        (_, 5 | 6) => Fault::Contended(text()),
        // Input or output failed, cannot be opened, disk full, read-only.
        (_, 8 | 10 | 13 | 14) => Fault::Lost(text()),
        _ => Fault::Refused(text()),
    }
}

fn known_table(name: &str) -> &'static str {
    records::TABLES.iter().find(|known| **known == name).copied().unwrap_or("the database")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_codes_are_told_apart() {
        fn check(code: i32, message: &str, expected: &str) {
            let shown = format!("{:?}", of_sqlite(code, message));
            assert!(shown.starts_with(expected), "{shown}");
        }
        check(5, "database is locked", "Contended");
        check(517, "database is locked", "Contended");
        check(2067, "UNIQUE constraint failed: keys.token", "Taken { table: \"keys\", column: \"token\" }");
        check(1555, "UNIQUE constraint failed: teams.id", "Taken { table: \"teams\", column: \"id\" }");
        check(13, "database or disk is full", "Lost");
        check(1, "near \"SELEC\": syntax error", "Refused");
    }
}

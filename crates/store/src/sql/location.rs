//! Where a database is.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use sqlx::postgres::PgConnectOptions;

use crate::{StoreError, StoreResult};

/// Where a database is.
#[derive(Clone)]
pub enum Location {
    /// In this process's memory, gone with it.
    Memory,
    /// An SQLite file; made when it is missing, readable by its owner only.
    File(PathBuf),
    /// A PostgreSQL server.
    Postgres(Box<Server>),
}

/// A PostgreSQL server, database and schema.
#[derive(Clone)]
pub struct Server {
    pub(super) options: PgConnectOptions,
    /// The schema that holds our tables.
    pub(super) schema: String,
    /// `connection_limit` of the URL.
    pub(super) connections: Option<u32>,
    /// `connect_timeout` of the URL, in seconds.
    pub(super) connect_seconds: Option<u64>,
}

impl Server {
    /// The schema that holds our tables: a plain name of a-z, 0-9 and _.
    pub fn schema(&self) -> &str {
        &self.schema
    }
}

impl Location {
    /// Reads `postgres://…`, `postgresql://…`, `sqlite:PATH`, `memory:` or a file's path.
    ///
    /// Beside PostgreSQL's own parameters (`sslmode`, `sslrootcert`, `application_name` …), Prisma's `schema`
    /// (default `tollway`), `connection_limit` and `connect_timeout` count, because LiteLLM's URLs carry them;
    /// Prisma's others are passed over. No message quotes the URL: it holds a password.
    pub fn parse(text: &str) -> StoreResult<Location> {
        if text == "memory:" {
            return Ok(Location::Memory);
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return server(text).map(|server| Location::Postgres(Box::new(server)));
        }
        if let Some(path) = text.strip_prefix("sqlite:") {
            return Ok(Location::File(path.strip_prefix("//").unwrap_or(path).into()));
        }
        match text.split_once("://") {
            Some((scheme, _)) => Err(StoreError::Broken(format!(
                "a database URL begins with postgres:// or sqlite:, not with {scheme}://"
            ))),
            None if text.is_empty() => Err(StoreError::Broken("the database URL is empty".to_owned())),
            None => Ok(Location::File(text.into())),
        }
    }

    /// The SQLite file in a data directory.
    pub fn in_directory(directory: &Path) -> Location {
        Location::File(directory.join("tollway.db"))
    }
}

/// For people; without user and password.
impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Location::Memory => f.write_str("SQLite in memory"),
            Location::File(path) => write!(f, "SQLite, {}", path.display()),
            Location::Postgres(server) => {
                let options = &server.options;
                let (host, port) = (options.get_host(), options.get_port());
                let database = options.get_database().unwrap_or(options.get_username());
                write!(f, "PostgreSQL at {host}:{port}, database {database}, schema {}", server.schema)
            }
        }
    }
}

/// As [`Display`](std::fmt::Display): the options hold a password.
impl std::fmt::Debug for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// Parameters of Prisma that mean nothing here.
const PRISMA: &[&str] = &[
    "pool_timeout",
    "pgbouncer",
    "socket_timeout",
    "sslaccept",
    "sslidentity",
    "sslpassword",
    "channel_binding",
];

fn server(url: &str) -> StoreResult<Server> {
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let mut kept = Vec::new();
    let (mut schema, mut connections, mut connect_seconds) = ("tollway".to_owned(), None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match key {
            "schema" => schema = schema_name(value)?,
            "connection_limit" => connections = Some(number(key, value)?),
            "connect_timeout" => connect_seconds = Some(number(key, value)?),
            key if PRISMA.contains(&key) => {}
            _ => kept.push(pair),
        }
    }
    let url = format!("{address}?{}", kept.join("&"));
    let options = PgConnectOptions::from_str(&url).map_err(|error| {
        let reason = match error {
            sqlx::Error::Configuration(reason) => reason.to_string(),
            _ => "it has another form".to_owned(),
        };
        StoreError::Broken(format!("the database URL cannot be read: {reason}"))
    })?;
    Ok(Server { options, schema, connections, connect_seconds })
}

/// A schema's name becomes part of statements, so only plain names are taken.
fn schema_name(text: &str) -> StoreResult<String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if text.is_empty() || text.len() > 63 || !text.bytes().all(plain) {
        return Err(StoreError::Broken(
            "the schema in the database URL must be of a-z, 0-9 and _ only".to_owned(),
        ));
    }
    Ok(text.to_owned())
}

fn number<T: std::str::FromStr>(key: &str, text: &str) -> StoreResult<T> {
    text.parse().map_err(|_| StoreError::Broken(format!("{key} in the database URL is not a number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_paths_are_told_apart() {
        fn check(text: &str, expected: &str) {
            let shown = match Location::parse(text) {
                Ok(location) => location.to_string(),
                Err(error) => error.to_string(),
            };
            assert_eq!(shown, expected);
        }
        check("memory:", "SQLite in memory");
        check("data/tollway.db", "SQLite, data/tollway.db");
        check("sqlite:x.db", "SQLite, x.db");
        check("sqlite:///var/x.db", "SQLite, /var/x.db");
        check("postgres://u:secret@db:5433/llm", "PostgreSQL at db:5433, database llm, schema tollway");
        check(
            "postgresql://u:s@db/llm?schema=public&connection_limit=5&pool_timeout=10&sslmode=require&pgbouncer=true",
            "PostgreSQL at db:5432, database llm, schema public",
        );
        check("mysql://x", "a database URL begins with postgres:// or sqlite:, not with mysql://");
        check(
            "postgres://u:s@db/llm?schema=a;drop",
            "the schema in the database URL must be of a-z, 0-9 and _ only",
        );
        check(
            "postgres://u:s@db/llm?connection_limit=many",
            "connection_limit in the database URL is not a number",
        );
        check("", "the database URL is empty");
    }

    #[test]
    fn a_password_is_not_shown() {
        let text = "postgres://u:secret@db:port/llm";
        assert!(!Location::parse(text).unwrap_err().to_string().contains("secret"));
    }
}

//! Planted secrets, a run through everything the gateway does, and a search for every byte of them afterwards.
//!
//! The places where a secret may be: the answer that hands out a new key, once. The search looks for pieces of
//! [`search::PIECE`] bytes, plain and in the encodings that texts go through.

mod run;
mod search;

use std::path::Path;
use std::process::Command;

use tollway_testkit::services::{new_database, redis};

use run::{PROMPT, Run, planted};

/// Where a run keeps its records.
struct Services {
    database: Option<String>,
    redis: Option<String>,
}

#[tokio::test]
async fn no_byte_of_a_secret_leaves_with_a_file_as_database_and_a_json_log() {
    end_to_end("json", &Services { database: None, redis: None }).await;
}

#[tokio::test]
async fn no_byte_of_a_secret_leaves_with_postgresql_and_redis_and_a_readable_log() {
    let (Some(database), Some(redis)) = (new_database(), redis()) else { return };
    let services = Services { database: Some(with_role(&database)), redis: Some(redis) };
    end_to_end("pretty", &services).await;
}

/// The same database through a role with a password.
fn with_role(database: &str) -> String {
    let password = planted("database password");
    let make = format!("CREATE ROLE canary LOGIN SUPERUSER PASSWORD '{password}'");
    // Another run on the same server has made it already.
    let _ = Command::new("psql").args(["--quiet", "--no-psqlrc", database, "-c", &make]).output();
    database.replace("postgres@", &format!("canary:{password}@"))
}

async fn end_to_end(format: &str, services: &Services) {
    let mut run = Run::start(format, services.database.as_deref(), services.redis.as_deref()).await;
    run.models().await;
    run.keys().await;
    run.calls().await;
    run.echoes().await;
    run.strangers().await;
    run.mistakes().await;
    run.reading().await;
    run.commands();
    run.settle().await;
    let sealed = dump(services.database.as_deref(), run.gateway.directory.path());
    assert!(sealed.len() > 20_000, "the dump is too short to be one: {}", sealed.len());
    let needles = search::Needles::new(&run.planted);
    let prompt = search::Needles::new(&[("prompt".to_owned(), PROMPT.to_owned())]);
    let log = run.gateway.log().into_bytes();
    assert!(log.windows(5).any(|at| at == b"TRACE") && run.told.len() > 200, "{} answers", run.told.len());
    let mut leaks = Vec::new();
    let mut places: Vec<(&str, &[u8])> = vec![("database", &sealed), ("log", &log)];
    let banner = run.gateway.stdout().into_bytes();
    places.push(("banner", &banner));
    let journal =
        run::files(&run.gateway.file("data"), |name| !name.starts_with("tollway.db") && name != "salt-keys");
    places.extend(journal.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])));
    let records = run.told.iter().filter(|told| told.is_record);
    for (place, bytes) in places.iter().copied().chain(records.map(|told| (&*told.what, &told.bytes[..]))) {
        leaks.extend(prompt.found(place, bytes));
    }
    for (place, bytes) in places.into_iter().chain(run.told.iter().map(|told| (&*told.what, &told.bytes[..])))
    {
        leaks.extend(needles.found(place, bytes));
    }
    assert!(leaks.is_empty(), "{} leaks:\n{}", leaks.len(), leaks.join("\n"));
}

/// All that the database holds.
fn dump(database: Option<&str>, directory: &Path) -> Vec<u8> {
    match database {
        Some(url) => {
            let dump = Command::new("pg_dump").args(["--inserts", "--dbname", url]).output().unwrap();
            assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
            dump.stdout
        }
        None => {
            let files = run::files(&directory.join("data"), |name| name.starts_with("tollway.db"));
            assert!(files.iter().any(|(name, _)| name.ends_with("-wal")), "no write-ahead log");
            files.into_iter().flat_map(|(_, bytes)| bytes).collect()
        }
    }
}

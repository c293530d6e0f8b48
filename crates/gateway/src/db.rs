//! `tollway db`: the database.

use std::process::ExitCode;
use std::time::Instant;

use tollway_config::{Options, Source, load, process_env};
use tollway_store::migrations::ALL;
use tollway_store::records::TABLES;
use tollway_store::sql::{Location, Statement};
use tollway_store::{Store, StoreError, StoreResult, Upkeep as _};

use crate::cli::{DatabaseArgs, DbCommand};
use crate::output::line;
use crate::salt_key::SaltKeys;
use crate::{data_dir, services, state};

/// Failures in one list; more are counted only.
const SHOWN: usize = 20;

/// Does what the command says.
pub(crate) fn run(command: &DbCommand) -> Result<ExitCode, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    runtime.block_on(async {
        match command {
            DbCommand::Status(place) => status(place).await,
            DbCommand::Migrate { place, dry_run } => migrate(place, *dry_run).await,
            DbCommand::RotateSaltKey { place, forget_old } => rotate(place, *forget_old).await,
        }
    })
}

pub(crate) type Environment = Box<dyn Fn(&str) -> Option<String>>;

/// Where the database is, as a gateway with these arguments would find it, and the environment it would have.
pub(crate) fn locate(arguments: &DatabaseArgs) -> Result<(Location, Environment), String> {
    let mut environment: Environment = Box::new(process_env);
    let mut url = arguments.url.clone();
    if let Some(file) = &arguments.config {
        let loaded = load(Source::File(file.clone()), &process_env, Options { lenient: true, public: false });
        let config = loaded.config.as_ref().ok_or_else(|| loaded.report().to_string())?;
        url = url.or_else(|| services::database_url(config));
        environment = Box::new(state::overlay(config));
    }
    url = url.or_else(|| environment("DATABASE_URL")).filter(|url| !url.is_empty());
    let location = match url {
        Some(url) => Location::parse(&url).map_err(failed)?,
        None => Location::in_directory(&data_dir::locate(arguments.data_dir.as_deref())),
    };
    Ok((location, environment))
}

/// Opens a database that must be there.
pub(crate) fn open(location: &Location) -> Result<Store, String> {
    match location {
        Location::File(path) if !path.exists() => {
            Err(format!("there is no database yet at {}", path.display()))
        }
        _ => Store::open_at(location.clone()).map_err(failed),
    }
}

async fn status(arguments: &DatabaseArgs) -> Result<ExitCode, String> {
    let (location, _) = locate(arguments)?;
    line(&location.to_string());
    let store = open(&location)?;
    let start = Instant::now();
    store.ping().await.map_err(failed)?;
    line(&format!("answers in {:.1} ms", start.elapsed().as_secs_f64() * 1000.0));
    let migrations = store.migrations().await.map_err(failed)?;
    line("migrations:");
    for (name, applied) in &migrations {
        let known = ALL.iter().any(|migration| migration.name == name);
        let state = match applied {
            Some(at) if known => format!("applied {}", time(*at)),
            Some(at) => format!("applied {} by a newer version", time(*at)),
            None => "missing".to_owned(),
        };
        line(&format!("  {name:<24} {state}"));
    }
    if migrations.iter().any(|(_, applied)| applied.is_none()) {
        line("`tollway db migrate` applies what is missing; so does the gateway when it starts");
        return Ok(ExitCode::FAILURE);
    }
    let mut counts = Vec::new();
    for table in TABLES {
        counts.push(format!("{} {}", count(&store, table).await.map_err(failed)?, table.replace('_', " ")));
    }
    line(&format!("records: {}", counts.join(", ")));
    audit(&store).await.map_err(failed)
}

async fn count(store: &Store, table: &'static str) -> StoreResult<i64> {
    let statement = Statement::assembled(format!("SELECT count(*) FROM {table}"));
    store.sql().query_one(statement, vec![]).await?.map_or(Ok(0), |row| row.int(0))
}

async fn audit(store: &Store) -> StoreResult<ExitCode> {
    let log = store.audit();
    let newest = log.entries(None, None, 0, 1).await?;
    let head =
        newest.records.first().map(|entry| format!(", the last is {}", entry.hash)).unwrap_or_default();
    match log.verify().await? {
        None => line(&format!("audit log: {} entries, none changed or missing{head}", newest.total)),
        Some(sequence) => {
            line(&format!("audit log: entry {sequence} was changed, or is missing"));
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn migrate(arguments: &DatabaseArgs, dry_run: bool) -> Result<ExitCode, String> {
    let (location, _) = locate(arguments)?;
    if let Location::File(path) = &location {
        if dry_run && !path.exists() {
            line(&format!("{location}: would be made, with {} migrations", ALL.len()));
            return Ok(ExitCode::SUCCESS);
        }
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        directory
            .map_or(Ok(()), data_dir::make)
            .map_err(|error| format!("cannot make the directory of {}: {error}", path.display()))?;
    }
    let store = Store::open_at(location.clone()).map_err(failed)?;
    line(&location.to_string());
    if dry_run {
        let missing = store.migrations().await.map_err(failed)?;
        let missing: Vec<_> = ALL
            .iter()
            .filter(|migration| missing.iter().any(|(name, at)| name == migration.name && at.is_none()))
            .collect();
        for migration in &missing {
            line(&format!("-- {}", migration.name));
            for statement in migration.statements(store.sql().dialect()) {
                line(&format!("{statement};"));
            }
        }
        line(&format!("-- {} to apply; nothing was changed (--dry-run)", missing.len()));
        return Ok(ExitCode::SUCCESS);
    }
    let start = Instant::now();
    let applied = store.migrate().await.map_err(failed)?;
    if applied.is_empty() {
        line("nothing is missing");
        return Ok(ExitCode::SUCCESS);
    }
    for name in &applied {
        line(&format!("  {name} applied"));
    }
    line(&format!("done in {:.1} s", start.elapsed().as_secs_f64()));
    Ok(ExitCode::SUCCESS)
}

async fn rotate(arguments: &DatabaseArgs, forget_old: bool) -> Result<ExitCode, String> {
    let (location, environment) = locate(arguments)?;
    let store = open(&location)?;
    let directory = data_dir::locate(arguments.data_dir.as_deref());
    let keys = SaltKeys::find(&environment, &directory)?;
    if let SaltKeys::Kept(_, file) = &keys {
        if !matches!(location, Location::File(_)) {
            eprintln!(
                "note: the salt key is kept in {}; other gateways on this database must have the same file, or set \
                 TOLLWAY_SALT_KEY everywhere",
                directory.display()
            );
        }
        file.add().map_err(|error| format!("cannot keep a new salt key: {error}"))?;
    }
    // Found again: with the new key in front.
    let keys = SaltKeys::find(&environment, &directory)?;
    let sealer = keys.sealer();
    line(&format!("{location}: sealing with the salt key {}", sealer.active()));
    let report = |progress: tollway_store::Progress| {
        eprintln!("  {}: {} records so far", progress.table, progress.seen);
    };
    let done = store.reseal(sealer, report).await.map_err(failed)?;
    line(&format!("{} records hold secrets; {} secrets were sealed again", done.records, done.resealed));
    for (table, id, error) in done.failed.iter().take(SHOWN) {
        line(&format!("  {table} {id}: {error}"));
    }
    if !done.failed.is_empty() {
        line(&format!("{} secrets could not be opened and are as they were", done.failed.len()));
        return Ok(ExitCode::FAILURE);
    }
    match &keys {
        SaltKeys::Set(_, variable) => {
            line(&format!("all secrets open with the key in {variable}; TOLLWAY_OLD_SALT_KEYS may go"));
        }
        SaltKeys::Kept(_, file) if forget_old => {
            file.forget_old().map_err(|error| format!("the old salt keys are still kept: {error}"))?;
            line("the old salt keys are forgotten");
        }
        SaltKeys::Kept(..) => {
            line("the old keys still open; --forget-old forgets them, once no gateway seals with them")
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn time(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| millis.to_string(), |at| format!("{at:.0}"))
}

fn failed(error: StoreError) -> String {
    error.to_string()
}

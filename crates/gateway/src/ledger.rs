//! `tollway ledger`: receipts, and the sums that derive from them.

use std::future::Future;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use serde_json::json;
use tollway_ledger::books::{Books as _, Difference, Range, SqlBooks, Sum, Verification};
use tollway_ledger::{inspect, litellm};
use tollway_meters::ScopeKind;
use tollway_store::{StoreError, Upkeep as _};

use crate::cli::{DatabaseArgs, LedgerArgs, LedgerCommand};
use crate::output::line;
use crate::{data_dir, db};

/// Differences in a list for people.
const SHOWN: usize = 20;

/// Time between two words about progress.
const PATIENCE: Duration = Duration::from_secs(2);

/// Does what the command says.
pub(crate) fn run(command: &LedgerCommand) -> Result<ExitCode, String> {
    block_on(async {
        match command {
            LedgerCommand::Status(arguments) => status(arguments).await,
            LedgerCommand::Verify(arguments) => verify(arguments).await,
            LedgerCommand::Rebuild(arguments) => rebuild(arguments).await,
        }
    })
}

/// Runs a command's work to its end.
pub(crate) fn block_on(work: impl Future<Output = Result<ExitCode, String>>) -> Result<ExitCode, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| format!("cannot start: {error}"))?.block_on(work)
}

/// The books of a database that has their tables.
pub(crate) async fn books(place: &DatabaseArgs) -> Result<SqlBooks, String> {
    let (location, _) = db::locate(place)?;
    let store = db::open(&location)?;
    store.ping().await.map_err(failed)?;
    let migrations = store.migrations().await.map_err(failed)?;
    if migrations.iter().any(|(_, applied)| applied.is_none()) {
        return Err(format!("{location} lacks migrations; `tollway db migrate` applies them"));
    }
    Ok(SqlBooks::new(store.sql().clone()))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(crate) fn failed(error: StoreError) -> String {
    error.to_string()
}

async fn status(arguments: &LedgerArgs) -> Result<ExitCode, String> {
    let directory = data_dir::locate(arguments.place.data_dir.as_deref());
    let left = inspect(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let books = books(&arguments.place).await?;
    let sums = books.sums(ScopeKind::Global, Range::default(), 1).await.map_err(failed)?;
    let total = sums.first().map_or(Sum::default(), |(_, sum)| *sum);
    if arguments.json {
        line(&json!({ "journals": left, "booked": total }).to_string());
        return Ok(ExitCode::SUCCESS);
    }
    line(&format!(
        "booked      {} calls, {} USD, {} of unknown cost",
        total.calls, total.money, total.unknown
    ));
    for journal in &left {
        let state = if journal.in_use { "in use" } else { "left by a process that is gone" };
        line(&format!("journal     {} ({state})", journal.directory.display()));
        let since = journal.oldest_at.map_or(String::new(), |at| format!(", since {}", litellm::time(at)));
        line(&format!("  waiting   {} receipts{since}; {} bytes", journal.unshipped, journal.bytes));
        if journal.damaged > 0 {
            line(&format!("  damaged   {} stretches cannot be read", journal.damaged));
        }
        if journal.refused > 0 {
            line(&format!(
                "  refused   {} receipts the database does not take, in refused.jsonl",
                journal.refused
            ));
        }
    }
    if left.is_empty() {
        line(&format!("journal     none in {}", directory.display()));
    }
    Ok(ExitCode::SUCCESS)
}

async fn verify(arguments: &LedgerArgs) -> Result<ExitCode, String> {
    let books = books(&arguments.place).await?;
    let progress = Progress::new();
    let found = books.verify(&|day, receipts| progress.tell(day, receipts)).await.map_err(failed)?;
    report(&found, arguments.json);
    if found.different > 0 && !arguments.json {
        line("`tollway ledger rebuild` makes the sums anew from the receipts");
    }
    Ok(if found.different == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn rebuild(arguments: &LedgerArgs) -> Result<ExitCode, String> {
    let books = books(&arguments.place).await?;
    let progress = Progress::new();
    let found = books.rebuild(&|day, receipts| progress.tell(day, receipts)).await.map_err(failed)?;
    report(&found, arguments.json);
    Ok(if found.different == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A word now and then, on standard error.
struct Progress(Mutex<Instant>);

impl Progress {
    fn new() -> Progress {
        Progress(Mutex::new(Instant::now()))
    }

    fn tell(&self, day: i64, receipts: u64) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= PATIENCE {
            *last = Instant::now();
            eprintln!("{receipts} receipts, up to {}", litellm::time(day));
        }
    }
}

fn report(found: &Verification, as_json: bool) {
    if as_json {
        let differences: Vec<_> = found.differences.iter().map(difference).collect();
        let shown = json!({
            "receipts": found.receipts,
            "total": found.total.to_string(),
            "unknown_cost": found.unknown,
            "scopes": found.scopes,
            "different": found.different,
            "differences": differences,
        });
        line(&shown.to_string());
        return;
    }
    line(&format!(
        "{} receipts, {} USD, {} of unknown cost; {} scopes",
        found.receipts, found.total, found.unknown, found.scopes
    ));
    if found.different == 0 {
        line("receipts, sums, hours and days agree");
        return;
    }
    line(&format!("{} sums are not what the receipts say:", found.different));
    for one in found.differences.iter().take(SHOWN) {
        let at = one.at.map_or(String::new(), |at| format!(" {}", litellm::time(at)));
        line(&format!(
            "  {:<8} {} {}{at}: {} USD, {} calls; receipts: {} USD, {} calls",
            one.what,
            one.scope.kind.name(),
            one.scope.id,
            one.found.money,
            one.found.calls,
            one.expected.money,
            one.expected.calls,
        ));
    }
    if found.different > SHOWN as u64 {
        line(&format!(
            "  and {} more; --json shows up to {}",
            found.different - SHOWN as u64,
            Verification::MOST
        ));
    }
}

fn difference(one: &Difference) -> serde_json::Value {
    json!({
        "what": one.what,
        "scope": one.scope.kind.name(),
        "id": one.scope.id,
        "at": one.at.map(litellm::time),
        "expected": one.expected,
        "found": one.found,
    })
}

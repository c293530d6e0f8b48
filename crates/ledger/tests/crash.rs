//! A process is killed at random moments while it records calls. What it had acknowledged is in the store afterwards,
//! once, and the sums agree.
//!
//! `TOLLWAY_CRASH_ROUNDS` says how often; 20 without it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests are tests: they fail by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tollway_ledger::books::{Books, Filter, Range, SqlBooks};
use tollway_ledger::{Ledger, Opening, Options, Outcome, sample, ship};
use tollway_meters::ScopeKind;
use tollway_model::Money;
use tollway_store::Store;

/// The directory, and the number of the first receipt: what makes a process the child.
const CHILD: &str = "TOLLWAY_CRASH_CHILD";

fn options() -> Options {
    Options { segment_bytes: 64 << 10, ship_every: Duration::from_millis(5), batch: 50, ..Options::default() }
}

/// Not a test of its own: the process that is killed. It ships while it records.
#[test]
fn the_child() {
    let Some(task) = std::env::var_os(CHILD) else { return };
    let task = task.into_string().unwrap();
    let (first, directory) = task.split_once(' ').unwrap();
    let directory = Path::new(directory).to_owned();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (ledger, _) = Ledger::open(&directory, options()).unwrap();
    let shipped = ledger.clone();
    runtime.spawn(async move {
        let store = Store::open_and_migrate(directory.join("books.db").to_str().unwrap()).await.unwrap();
        let (_stop, stopped) = watch::channel(false);
        ship(shipped, Arc::new(SqlBooks::new(store.sql().clone())), None, stopped).await;
    });
    let next = AtomicU64::new(first.parse().unwrap());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let receipt = sample::receipt(number);
                    let opened = ledger.opened(&Opening::of(&receipt));
                    ledger.closed(&receipt, opened);
                    ledger.write();
                    // One write a line: what is printed was settled before.
                    let line = format!("settled {number}\n");
                    if std::io::stdout().write_all(line.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

/// Runs the child for a while, kills it, and returns what it had acknowledged.
fn round(directory: &Path, first: u64, life: Duration) -> Vec<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["the_child", "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, format!("{first} {}", directory.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        lines
            .filter_map(|line| line.rsplit("settled ").next().and_then(|number| number.parse().ok()))
            .collect()
    });
    std::thread::sleep(life);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_when_a_process_is_killed() {
    let rounds: u64 =
        std::env::var_os("TOLLWAY_CRASH_ROUNDS").map_or(20, |text| text.to_str().unwrap().parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    for number in 0..rounds {
        let life = Duration::from_millis(60 + number * 7919 % 240);
        for settled in round(directory.path(), number * 1_000_000, life) {
            assert!(acknowledged.insert(settled));
        }
    }
    assert!(acknowledged.len() as u64 > rounds * 10, "{} in {rounds} rounds", acknowledged.len());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(check(directory.path(), &acknowledged));
}

async fn check(directory: &Path, acknowledged: &BTreeSet<u64>) {
    let store = Store::open_and_migrate(directory.join("books.db").to_str().unwrap()).await.unwrap();
    let books = Arc::new(SqlBooks::new(store.sql().clone()));
    let (ledger, recovered) = Ledger::open(directory, options()).unwrap();
    assert_eq!(recovered.damaged, 0);
    // Told to stop at once, it ships what there is.
    let (_stop, stopped) = watch::channel(true);
    ship(ledger.clone(), books.clone(), None, stopped).await;
    let status = ledger.status();
    assert_eq!((status.waiting, status.dropped, status.set_aside, status.store_error), (0, 0, 0, None));

    let stored = books.list(&Filter::default(), None, u32::MAX).await.unwrap();
    let by_id: BTreeMap<&str, _> = stored.iter().map(|receipt| (receipt.id.as_str(), receipt)).collect();
    assert_eq!(by_id.len(), stored.len(), "every receipt once");
    let mut total = Money::ZERO;
    for number in acknowledged {
        let original = sample::receipt(*number);
        let kept = by_id.get(original.id.as_str()).unwrap_or_else(|| panic!("{number} is lost"));
        assert_eq!(serde_json::to_value(kept).unwrap(), serde_json::to_value(&original).unwrap());
    }
    for receipt in &stored {
        total += receipt.cost.nanos.unwrap_or_default();
    }
    // What was not acknowledged is either settled or interrupted.
    let originals = stored
        .iter()
        .filter(|receipt| receipt.outcome == Outcome::Interrupted && receipt.attempts.is_empty());
    assert!(originals.count() < stored.len());
    let verified = books.verify(&|_, _| ()).await.unwrap();
    assert_eq!(verified.different, 0, "{:?}", verified.differences);
    assert_eq!((verified.total, verified.receipts), (total, stored.len() as u64));
    let global = books.sums(ScopeKind::Global, Range::default(), 1).await.unwrap();
    assert_eq!(global[0].1.money, total);
    let left: Vec<_> = std::fs::read_dir(directory.join("journal")).unwrap().collect();
    assert_eq!(left.len(), 1, "directories of the dead are taken away");
}

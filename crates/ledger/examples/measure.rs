//! What recording and shipping cost on this machine: `cargo run --release -p tollway-ledger --example measure`.
//!
//! `measure settle` and `measure ship` do one of them; a number behind it says how many receipts; a database URL behind
//! that says where they are shipped to. `measure steady` ships the calls of one key; `measure steady-journal` does the
//! same without shipping, so that a profiler's counts can be taken off.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement that fails should say where")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tollway_ledger::books::{Batch, Books, SqlBooks};
use tollway_ledger::{Ledger, Opening, Options, Receipt, sample, ship};
use tollway_store::Store;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    let count = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let directory = std::env::temp_dir().join(format!("ledger-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    if what.starts_with("steady") {
        let url = arguments.next().unwrap_or_else(|| directory.join("steady.db").display().to_string());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(steady(&directory, &url, count, what == "steady"));
        std::fs::remove_dir_all(directory).unwrap();
        return;
    }
    if what != "ship" {
        settle(&directory, count);
    }
    if what != "settle" {
        let url = arguments.next().unwrap_or_else(|| directory.join("books.db").display().to_string());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(record(&url, count));
        runtime.block_on(shipping(
            &directory.join("s"),
            &format!("{}2", directory.join("books.db").display()),
            count,
        ));
    }
    std::fs::remove_dir_all(directory).unwrap();
}

fn each(what: &str, count: u64, took: Duration) {
    println!(
        "{what:<40} {:>8.2} µs each, {:>9.0} a second",
        took.as_secs_f64() * 1e6 / count as f64,
        count as f64 / took.as_secs_f64()
    );
}

fn receipts(count: u64) -> Vec<Receipt> {
    (0..count).map(sample::receipt).collect()
}

fn settle(directory: &std::path::Path, count: u64) {
    let (ledger, _) = Ledger::open(directory, Options::default()).unwrap();
    let some = receipts(1000);
    let rounds = count.div_ceil(1000);
    let begun = Instant::now();
    for _ in 0..rounds {
        for receipt in &some {
            std::hint::black_box(serde_json::to_vec(receipt).unwrap());
        }
    }
    each("JSON of a receipt alone", rounds * 1000, begun.elapsed());
    let begun = Instant::now();
    for _ in 0..rounds {
        for receipt in &some {
            let opened = ledger.opened(&Opening::of(receipt));
            ledger.closed(receipt, opened);
        }
    }
    each("opened and closed at once", rounds * 1000, begun.elapsed());
    let begun = Instant::now();
    for _ in 0..rounds {
        for receipt in &some {
            ledger.settled(receipt);
        }
    }
    each("settled, the write included", rounds * 1000, begun.elapsed());
    // Without the write: into memory, while the journal is full.
    let small = Options { total_bytes: 1, memory_bytes: 1 << 30, ..Options::default() };
    let (ledger, _) = Ledger::open(&directory.join("full"), small).unwrap();
    let begun = Instant::now();
    for _ in 0..rounds {
        for receipt in &some {
            ledger.settled(receipt);
        }
    }
    each("settled, the write left out", rounds * 1000, begun.elapsed());
}

async fn record(url: &str, count: u64) {
    let store = Store::open_and_migrate(url).await.unwrap();
    let books = SqlBooks::new(store.sql().clone());
    let (mut adding, mut recording) = (Duration::ZERO, Duration::ZERO);
    for start in (0..count).step_by(2000) {
        let some: Vec<Arc<Receipt>> =
            (start..(start + 2000).min(count)).map(sample::receipt).map(Arc::new).collect();
        let begun = Instant::now();
        let batch = Batch::of(&some).unwrap();
        adding += begun.elapsed();
        let begun = Instant::now();
        books.record(&batch).await.unwrap();
        recording += begun.elapsed();
    }
    each("adding up a batch", count, adding);
    each("recording it", count, recording);
    let begun = Instant::now();
    let verified = books.verify(&|_, _| ()).await.unwrap();
    assert_eq!(verified.different, 0);
    each("verify", count, begun.elapsed());
}

/// A thousand calls a second of one key to one model.
async fn steady(directory: &std::path::Path, url: &str, count: u64, whole: bool) {
    let (ledger, _) = Ledger::open(directory, Options::default()).unwrap();
    let plain = |receipt: &Receipt| {
        let who = &receipt.who;
        let known = who.key.is_some() && who.user.is_some() && who.team.is_some();
        let bare = who.tags.is_empty() && who.customer.is_none() && who.session.is_none();
        known
            && bare
            && receipt.attempts.len() == 1
            && receipt.error.is_none()
            && receipt.cost.nanos.is_some()
    };
    let mut receipt = (0..).map(sample::receipt).find(plain).unwrap();
    for number in 0..count {
        receipt.id = format!("{:08x}-{:04x}-7000-8000-{number:012x}", number >> 16, number & 0xffff);
        receipt.call_id.clone_from(&receipt.id);
        receipt.at += 1;
        ledger.settled(&receipt);
    }
    let store = Store::open_and_migrate(url).await.unwrap();
    if whole {
        let (_stop, stopped) = watch::channel(true);
        let begun = Instant::now();
        ship(ledger, Arc::new(SqlBooks::new(store.sql().clone())), None, stopped).await;
        each("shipping from the journal", count, begun.elapsed());
    }
}

async fn shipping(directory: &std::path::Path, url: &str, count: u64) {
    std::fs::create_dir_all(directory).unwrap();
    let (ledger, _) = Ledger::open(directory, Options::default()).unwrap();
    for number in 0..count {
        ledger.settled(&sample::receipt(number));
    }
    let store = Store::open_and_migrate(url).await.unwrap();
    let (_stop, stopped) = watch::channel(true);
    let begun = Instant::now();
    ship(ledger, Arc::new(SqlBooks::new(store.sql().clone())), None, stopped).await;
    each("shipping from the journal", count, begun.elapsed());
}

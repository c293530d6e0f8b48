//! A large database: fills one with keys and receipts, and asks a gateway that has it.
//!
//! `large fill URL KEYS RECEIPTS` makes what is missing; `large ask ADDRESS KEYS` measures the answers over HTTP
//! (`cargo xtask generate-data` fills), and `large verify URL` proves the sums. A hundredth of the keys, at least a thousand, make all the calls, half of them
//! fifty keys, over thirty days.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement that fails should say where")]

mod ask;
mod fill;

use tollway_ledger::books::DAY;
use tollway_ledger::sample;

/// Days that the receipts are spread over.
const DAYS: i64 = 30;

/// When the first receipt arrived; the last one came before the sample's first.
const BEGIN: i64 = sample::BEGIN - DAYS * DAY;

/// The master key of the gateway that is asked.
const MASTER: &str = "sk-large-master";

/// Of so many receipts one is about a model, a provider and so on that hardly any other is about.
const RARE: u64 = 50_000;

/// How many there are beside keys and receipts.
const USERS: u64 = 100_000;
const TEAMS: u64 = 1_000;
const CUSTOMERS: u64 = 10_000;

#[tokio::main(worker_threads = 2)]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().unwrap_or_default();
    let (what, place) = (next(), next());
    let mut number = |usual: u64| next().parse().unwrap_or(usual);
    match what.as_str() {
        "fill" => fill::fill(&place, number(1_000_000), number(10_000_000)).await,
        "verify" => fill::verify(&place).await,
        "ask" => ask::ask(&place, number(1_000_000)),
        _ => println!("large fill URL KEYS RECEIPTS | large ask ADDRESS KEYS | large verify URL"),
    }
}

/// Keys that call.
fn active(keys: u64) -> u64 {
    (keys / 100).max(1000)
}

fn key_text(number: u64) -> String {
    format!("sk-large-{number:08}")
}

fn key_id(number: u64) -> String {
    format!("key-{number:08}")
}

/// The key's hash, as its record has it.
fn token(number: u64) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key_text(number).as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

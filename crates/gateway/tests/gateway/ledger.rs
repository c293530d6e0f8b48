//! `tollway ledger` and `tollway spend`.

use std::path::Path;
use std::sync::Arc;

use tollway_ledger::books::{Batch, Books as _, SqlBooks};
use tollway_ledger::{Ledger, Options, sample};
use tollway_store::Store;

use crate::support::{text, tollway};

#[track_caller]
fn says(directory: &Path, arguments: &[&str], code: i32, parts: &[&str]) -> String {
    let output = tollway(directory).args(arguments).output().unwrap();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    for part in parts {
        assert!(said.contains(part), "{arguments:?}: no {part:?} in {said}");
    }
    said
}

#[tokio::test]
async fn sums_are_shown_proved_and_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let check = |arguments: &[&str], code, parts: &[&str]| says(directory.path(), arguments, code, parts);
    check(&["spend"], 1, &["there is no database yet"]);
    check(&["db", "migrate"], 0, &["0002_receipts applied"]);
    check(&["spend"], 0, &["nothing was spent"]);
    let data = directory.path().join("data");
    let store = Store::open_in(&data).unwrap();
    let books = SqlBooks::new(store.sql().clone());
    books
        .record(
            &Batch::of(&(0..200).map(|number| Arc::new(sample::receipt(number))).collect::<Vec<_>>())
                .unwrap(),
        )
        .await
        .unwrap();
    let (ledger, _) = Ledger::open(&data, Options::default()).unwrap();
    for number in 200..203 {
        ledger.settled(&sample::receipt(number));
    }
    check(&["ledger", "status"], 0, &["booked      200 calls", "(in use)", "3 receipts, since 2026-11-20T"]);
    drop(ledger);
    check(&["ledger", "status"], 0, &["left by a process that is gone"]);
    check(&["spend"], 0, &["key ", "USD", "key-3", "admin"]);
    check(&["spend", "--by", "model", "--since", "2026-11-20"], 0, &["group-1"]);
    check(&["spend", "--by", "day"], 0, &["2026-11-20"]);
    check(&["spend", "--by", "tag", "--until", "2026-11-19"], 0, &["nothing was spent"]);
    check(&["spend", "--since", "soon"], 1, &["soon is no day"]);
    let said = check(&["spend", "--by", "provider", "--json"], 0, &[]);
    let first: serde_json::Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    assert!(first["usd"].is_string() && first["calls"].as_i64() > Some(10));
    check(&["ledger", "verify"], 0, &["200 receipts", "agree"]);
    let damage = "UPDATE spend SET nanos = nanos + 5 WHERE scope = 'team' AND id = 'team-1' AND hour = -1";
    store.sql().execute(damage, vec![]).await.unwrap();
    check(&["ledger", "verify"], 1, &["not what the receipts say", "lifetime team team-1", "rebuild"]);
    check(&["ledger", "verify", "--json"], 1, &["\"what\":\"lifetime\""]);
    check(&["ledger", "rebuild"], 0, &["agree"]);
    check(&["ledger", "verify"], 0, &["agree"]);
}

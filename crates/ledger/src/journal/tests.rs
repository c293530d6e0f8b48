use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::ledger::Ledger;
use crate::opening::Opening;
use crate::options::OnFull;
use crate::packed::PackedReceipt;
use crate::receipt::{Outcome, Receipt};
use crate::sample;

fn options() -> Options {
    Options { sync_every: Duration::from_secs(60), ..Options::default() }
}

fn open(directory: &TempDir, options: Options) -> (Ledger, crate::Recovered) {
    Ledger::open(directory.path(), options).unwrap()
}

/// Records the end of a call that was opened, as calls do.
fn close(ledger: &Ledger, receipt: &Receipt, opened: crate::Opened) -> u64 {
    let sequence = ledger.closed(receipt, opened);
    ledger.write();
    sequence
}

/// The directory of the only process there was.
fn only(directory: &TempDir) -> PathBuf {
    let mut names = std::fs::read_dir(directory.path().join("journal")).unwrap();
    let name = names.next().unwrap().unwrap().path();
    assert!(names.next().is_none());
    name
}

/// Every readable record of a directory: sequence and id.
fn records(directory: &Path) -> Vec<(u64, Kind, String)> {
    let mut reader = Reader::new(directory.to_owned(), Cursor::default());
    let mut found = Vec::new();
    while let Some(entry) = reader.next(None).unwrap() {
        let id = match entry.kind {
            Kind::Settled => PackedReceipt(entry.record).id().unwrap().to_owned(),
            Kind::Opened | Kind::StillOpen => {
                record::read::<Opening<'_>>(entry.record).unwrap().id.into_owned()
            }
        };
        found.push((entry.sequence, entry.kind, id));
    }
    found
}

/// One finished segment with `count` receipts, and the places where its frames end.
fn one_segment(count: u64) -> (TempDir, PathBuf, Vec<usize>) {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, _) = open(&directory, options());
    for number in 0..count {
        ledger.settled(&sample::receipt(number));
    }
    drop(ledger);
    let place = only(&directory);
    let (first, size) = segment::list(&place).unwrap()[0];
    let file = segment::path(&place, first);
    let bytes = std::fs::read(&file).unwrap();
    assert_eq!(bytes.len() as u64, size);
    let mut ends = vec![usize::try_from(segment::HEADER).unwrap()];
    while let Some(length) = bytes.get(ends[ends.len() - 1]..).and_then(|rest| rest.first_chunk::<4>()) {
        ends.push(ends[ends.len() - 1] + frame::PREFIX + u32::from_le_bytes(*length) as usize);
    }
    assert_eq!(ends.len() as u64, count + 1);
    (directory, file, ends)
}

#[test]
fn what_is_settled_is_in_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, recovered) = open(&directory, options());
    assert_eq!(recovered, crate::Recovered::default());
    let sequences: Vec<u64> = (0..10).map(|number| ledger.settled(&sample::receipt(number))).collect();
    // Without closing anything: another reader sees it.
    let found = records(ledger.shared().journal.instance().directory());
    assert_eq!(found.iter().map(|(sequence, ..)| *sequence).collect::<Vec<_>>(), sequences);
    assert_eq!(found[9].2, sample::receipt(9).id);
    assert_eq!(ledger.status().waiting, 10);
}

#[test]
fn an_opening_reaches_the_file_without_anyone_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, _) = open(&directory, options());
    let receipt = sample::receipt(1);
    let _ = ledger.opened(&Opening::of(&receipt));
    let place = ledger.shared().journal.instance().directory().to_owned();
    let begun = Instant::now();
    while records(&place).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::yield_now();
    }
    assert_eq!(records(&place)[0].1, Kind::Opened);
}

#[test]
fn a_call_that_is_over_at_once_leaves_no_opening() {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, _) = open(&directory, options());
    let (short, long) = (sample::receipt(1), sample::receipt(2));
    let opened = ledger.opened(&Opening::of(&short));
    let _ = ledger.opened(&Opening::of(&long));
    ledger.closed(&short, opened);
    ledger.shared().journal.flush();
    let found = records(ledger.shared().journal.instance().directory());
    // The housekeeper may have come between.
    let of =
        |id: &str| found.iter().filter(|(_, _, of)| of == id).map(|(_, kind, _)| *kind).collect::<Vec<_>>();
    assert_eq!(of(&short.id).last(), Some(&Kind::Settled));
    assert_eq!(of(&long.id), [Kind::Opened]);
    // Twice is once, and an opening that is written cannot be taken back.
    ledger.closed(&long, opened);
    ledger.write();
    assert_eq!(records(ledger.shared().journal.instance().directory()).len(), found.len() + 1);
}

#[tokio::test]
async fn what_is_closed_is_in_the_file_when_it_was_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, _) = open(&directory, options());
    let close = |number| {
        let (ledger, receipt) = (ledger.clone(), sample::receipt(number));
        async move {
            let opened = ledger.opened(&Opening::of(&receipt));
            ledger.closed(&receipt, opened);
            ledger.written().await;
            let found = records(ledger.shared().journal.instance().directory());
            assert!(found.iter().any(|(_, kind, id)| *id == receipt.id && *kind == Kind::Settled));
        }
    };
    let calls: Vec<_> = (0..20).map(|number| tokio::spawn(close(number))).collect();
    for call in calls {
        call.await.unwrap();
    }
}

#[tokio::test]
async fn a_disk_that_takes_its_time_holds_up_no_thread() {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, _) = open(&directory, options());
    let journal = ledger.shared().journal.clone();
    let (hold, held) = std::sync::mpsc::channel();
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let disk = std::thread::spawn(move || {
        let mut writer = journal.writer.lock().unwrap();
        journal.writing.store(true, Ordering::Release);
        hold.send(()).unwrap();
        gone.recv().unwrap();
        journal.write(&mut writer);
    });
    held.recv().unwrap();
    ledger.closed(&sample::receipt(1), crate::Opened::default());
    // One thread has them both: the second only gets its turn because the first gives the thread back.
    let calls = async {
        tokio::join!(ledger.written(), async {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            go.send(()).unwrap();
        })
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), calls).await.unwrap();
    disk.join().unwrap();
    assert_eq!(ledger.shared().journal.unwritten_sequence(), None);
    assert_eq!(records(ledger.shared().journal.instance().directory()).len(), 1);
}

#[test]
fn calls_in_flight_become_interrupted_receipts() {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, _) = open(&directory, options());
    let (finished, lost) = (sample::receipt(1), sample::receipt(2));
    let opened = ledger.opened(&Opening::of(&finished));
    let _ = ledger.opened(&Opening::of(&lost));
    close(&ledger, &finished, opened);
    drop(ledger);
    let (ledger, recovered) = open(&directory, options());
    assert_eq!((recovered.unshipped, recovered.interrupted), (1, 1));
    assert_eq!(ledger.status().waiting, 2);
    let place = ledger.shared().journal.instance().directory().to_owned();
    let mut reader = Reader::new(place, Cursor::default());
    let mut receipts = Vec::new();
    while let Some(entry) = reader.next(None).unwrap() {
        if entry.kind == Kind::Settled {
            receipts.push(PackedReceipt(entry.record).receipt().unwrap());
        }
    }
    let interrupted = receipts.last().unwrap();
    assert_eq!(
        (interrupted.outcome, &interrupted.id, interrupted.at),
        (Outcome::Interrupted, &lost.id, lost.at)
    );
    assert_eq!((&interrupted.who, &interrupted.model), (&lost.who, &lost.model));
    assert!(interrupted.cost_is_unknown());
    drop(ledger);
    // It has its receipt now: once.
    let (_, recovered) = open(&directory, options());
    assert_eq!((recovered.unshipped, recovered.interrupted), (2, 0));
}

#[test]
fn many_threads_settle_and_every_record_is_there_once() {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, _) = open(&directory, Options { segment_bytes: 64 << 10, ..options() });
    let mut sequences: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8_u64)
            .map(|thread| {
                let ledger = ledger.clone();
                scope.spawn(move || {
                    let settle = |number: u64| {
                        let receipt = sample::receipt(thread * 1000 + number);
                        let opened = ledger.opened(&Opening::of(&receipt));
                        close(&ledger, &receipt, opened)
                    };
                    (0..100).map(settle).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    sequences.sort_unstable();
    drop(ledger);
    let place = only(&directory);
    assert!(segment::list(&place).unwrap().len() > 5);
    let settled: Vec<_> = records(&place).into_iter().filter(|(_, kind, _)| *kind == Kind::Settled).collect();
    assert_eq!(settled.iter().map(|(sequence, ..)| *sequence).collect::<Vec<_>>(), sequences);
    assert_eq!(settled.iter().map(|(.., id)| id).collect::<BTreeSet<_>>().len(), 800);
}

#[test]
fn a_file_cut_anywhere_gives_exactly_its_whole_records() {
    let (directory, file, ends) = one_segment(3);
    let bytes = std::fs::read(&file).unwrap();
    for cut in 0..bytes.len() {
        std::fs::write(&file, &bytes[..cut]).unwrap();
        let whole = ends.iter().skip(1).filter(|end| **end <= cut).count();
        let mut reader = Reader::new(only(&directory), Cursor::default());
        let mut found = 0;
        while reader.next(None).unwrap().is_some() {
            found += 1;
        }
        assert_eq!(found, whole, "cut at {cut}");
        let rest = cut - ends.iter().rev().find(|end| **end <= cut).unwrap_or(&0);
        assert_eq!(reader.damage(), Damage { torn: rest as u64, ..Damage::default() }, "cut at {cut}");
    }
}

#[test]
fn a_torn_end_is_cut_off_when_the_journal_is_opened() {
    let (directory, file, ends) = one_segment(3);
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..ends[2] + 40]).unwrap();
    let (ledger, recovered) = open(&directory, options());
    assert_eq!((recovered.unshipped, recovered.torn_bytes, recovered.damaged), (2, 40, 0));
    assert_eq!(std::fs::metadata(&file).unwrap().len(), ends[2] as u64);
    ledger.settled(&sample::receipt(7));
    assert_eq!(records(ledger.shared().journal.instance().directory()).len(), 3);
}

#[test]
fn damage_in_the_middle_is_passed_over_and_counted() {
    let (directory, file, ends) = one_segment(5);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[ends[1] + 30] ^= 0x55;
    // The next one's length says that it goes far beyond the end.
    bytes[ends[2] + 2] = 0x3f;
    std::fs::write(&file, bytes).unwrap();
    let found: Vec<String> = records(&only(&directory)).into_iter().map(|(.., id)| id).collect();
    assert_eq!(found, [0, 3, 4].map(|number| sample::receipt(number).id));
    let (_, recovered) = open(&directory, options());
    assert_eq!((recovered.unshipped, recovered.damaged), (3, 1));
    assert_eq!(recovered.damaged_bytes, (ends[3] - ends[1]) as u64);
}

#[test]
fn a_damaged_header_costs_nothing_but_itself() {
    let (directory, file, _) = one_segment(2);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[3] = 0;
    std::fs::write(&file, bytes).unwrap();
    let (_, recovered) = open(&directory, options());
    assert_eq!((recovered.unshipped, recovered.damaged_bytes), (2, segment::HEADER));
}

#[test]
fn a_journal_of_a_newer_version_is_not_touched() {
    let (directory, file, _) = one_segment(1);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[8] = u8::MAX;
    let checksum = crc32c::crc32c(&bytes[..20]).to_le_bytes();
    bytes[20..24].copy_from_slice(&checksum);
    std::fs::write(&file, &bytes).unwrap();
    let error = Ledger::open(directory.path(), options()).unwrap_err().to_string();
    assert!(error.contains("newer version"), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
}

#[test]
fn two_processes_never_share_a_directory_and_the_living_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (first, _) = open(&directory, options());
    let (second, recovered) = open(&directory, options());
    assert_eq!(recovered.adopted, 0);
    first.settled(&sample::receipt(1));
    second.settled(&sample::receipt(2));
    let place = |ledger: &Ledger| ledger.shared().journal.instance().directory().to_owned();
    assert_ne!(place(&first), place(&second));
    drop(first);
    drop(second);
    let (third, recovered) = open(&directory, options());
    assert_eq!((recovered.unshipped, recovered.adopted), (2, 1));
    drop(third);
}

#[test]
fn a_full_journal_keeps_receipts_in_memory_and_writes_them_when_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let small = Options { total_bytes: 4096, memory_bytes: 6000, segment_bytes: 1024, ..options() };
    let (ledger, _) = open(&directory, small);
    let mut number = 0;
    while !ledger.is_full() {
        ledger.settled(&sample::receipt(number));
        number += 1;
    }
    assert!(ledger.refuses(), "the default");
    let written = records(ledger.shared().journal.instance().directory()).len() as u64;
    assert!(written > 0 && written < number);
    while ledger.status().dropped == 0 {
        ledger.settled(&sample::receipt(number));
        number += 1;
    }
    let status = ledger.status();
    assert!(status.full && status.memory_bytes > 1000 && status.dropped == 1);
    assert!(status.journal_error.unwrap().contains("4096"), "says its bound");
    // The store has taken something.
    ledger.shared().journal.freed(1 << 20);
    let begun = Instant::now();
    while ledger.is_full() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(5));
    }
    let found = records(ledger.shared().journal.instance().directory());
    let ids: Vec<String> = found.into_iter().map(|(.., id)| id).collect();
    assert_eq!(ids, (0..number - 1).map(|number| sample::receipt(number).id).collect::<Vec<_>>());
    assert_eq!(ledger.status().journal_error, None);
}

#[test]
fn calls_go_on_over_a_full_journal_when_told_so() {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, _) = open(&directory, Options { total_bytes: 10, on_full: OnFull::Serve, ..options() });
    ledger.settled(&sample::receipt(1));
    assert!(ledger.is_full() && !ledger.refuses());
}

#[test]
fn an_endless_receipt_is_shortened_and_its_money_kept() {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, _) = open(&directory, options());
    let mut receipt = sample::receipt(4);
    receipt.who.tags = (0..100_000).map(|number| Arc::from(format!("{number:0100}"))).collect();
    assert_ne!(ledger.settled(&receipt), 0);
    let mut reader =
        Reader::new(ledger.shared().journal.instance().directory().to_owned(), Cursor::default());
    let kept = PackedReceipt(reader.next(None).unwrap().unwrap().record).receipt().unwrap();
    assert_eq!((kept.cost.nanos, kept.who.tags.len()), (receipt.cost.nanos, 32));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn flipped_bits_never_panic_and_never_invent_a_record(bits in prop::collection::vec(any::<u32>(), 1..8)) {
        let (directory, file, _) = one_segment(4);
        let mut bytes = std::fs::read(&file).unwrap();
        let originals: BTreeMap<u64, String> = records(&only(&directory))
            .into_iter().map(|(sequence, _, id)| (sequence, id)).collect();
        let all: BTreeSet<String> = (0..4).map(|number| serde_json::to_string(&sample::receipt(number)).unwrap()).collect();
        for bit in bits {
            let place = bit as usize % (bytes.len() * 8);
            bytes[place / 8] ^= 1 << (place % 8);
        }
        std::fs::write(&file, bytes).unwrap();
        let mut reader = Reader::new(only(&directory), Cursor::default());
        let mut last = 0;
        // A header can be flipped into one of a newer version only with its checksum.
        while let Some(entry) = reader.next(None).unwrap() {
            prop_assert!(entry.sequence > last);
            last = entry.sequence;
            let receipt = PackedReceipt(entry.record).receipt().unwrap();
            prop_assert!(all.contains(&serde_json::to_string(&receipt).unwrap()));
            prop_assert_eq!(&receipt.id, &originals[&entry.sequence]);
        }
    }
}

use proptest::prelude::*;

use super::*;
use crate::books::Batch;
use crate::sample;

fn packed(receipt: &Receipt) -> Vec<u8> {
    let mut bytes = Vec::new();
    pack(&mut bytes, receipt).unwrap();
    bytes
}

fn shown(receipt: &Receipt) -> serde_json::Value {
    serde_json::to_value(receipt).unwrap()
}

#[test]
fn a_receipt_survives_being_packed() {
    for seed in 0..64 {
        let receipt = sample::receipt(seed);
        let bytes = packed(&receipt);
        let read = PackedReceipt(&bytes);
        assert_eq!(shown(&read.receipt().unwrap()), shown(&receipt));
        assert_eq!((read.id().unwrap(), read.at().unwrap()), (receipt.id.as_str(), receipt.at));
    }
}

#[test]
fn receipts_lie_one_behind_the_other() {
    let receipts: Vec<Receipt> = (0..5).map(sample::receipt).collect();
    let packed = PackedReceipts::of(&receipts).unwrap();
    let ids: Vec<&str> = packed.iter().map(|receipt| receipt.id().unwrap()).collect();
    assert_eq!(ids, receipts.iter().map(|receipt| receipt.id.as_str()).collect::<Vec<_>>());
    assert!(packed.get(5).is_none());
}

#[test]
fn a_batch_has_each_receipt_once_in_the_order_of_ids_and_knows_what_it_cannot_read() {
    let mut receipts = PackedReceipts::default();
    for number in [3, 1, 2, 1] {
        receipts.push(PackedReceipt(&packed(&sample::receipt(number))));
    }
    receipts.push(PackedReceipt(b"\x01\x03"));
    let cut = packed(&sample::receipt(9));
    receipts.push(PackedReceipt(&cut[..60]));
    let (batch, unreadable) = Batch::new(receipts);
    assert_eq!(unreadable, 2);
    let expected: Vec<String> = (1..4).map(|number| sample::receipt(number).id).collect();
    assert_eq!(batch.ids().collect::<Vec<_>>(), expected);
    assert_eq!(batch.between, (sample::receipt(1).at, sample::receipt(3).at));
}

#[test]
fn columns_may_come_later() {
    let bytes = packed(&sample::receipt(3));
    let whole = PackedReceipt(&bytes).open().unwrap();
    // As a version wrote it that had no shares, and as one will that has one column more.
    let columns = &bytes[1..bytes.len() - whole.detail.len()];
    assert_eq!(columns.last(), Some(&NULL), "this receipt has no shares");
    let fewer = [&[30], &columns[..columns.len() - 1], whole.detail].concat();
    let more = [&[32], columns, &[INT], whole.detail].concat();
    for other in [fewer, more] {
        let read = PackedReceipt(&other).receipt().unwrap();
        assert_eq!(shown(&read), shown(&sample::receipt(3)));
    }
}

#[test]
fn what_is_cut_or_no_receipt_is_an_error() {
    let bytes = packed(&sample::receipt(1));
    let detail = PackedReceipt(&bytes).open().unwrap().detail.len();
    for cut in 0..bytes.len() - detail {
        assert!(PackedReceipt(&bytes[..cut]).line().is_err(), "{cut}");
        assert!(PackedReceipt(&bytes[..cut]).receipt().is_err(), "{cut}");
    }
    assert!(PackedReceipt(b"\x01\x03").line().is_err(), "no such kind");
    assert!(PackedReceipt(b"\x01\x06\xff").line().is_err(), "not UTF-8");
}

proptest! {
    #[test]
    fn any_value_reads_back_and_never_looks_like_a_frames_mark(values in prop::collection::vec(
        prop_oneof![
            any::<i64>().prop_map(|value| (Some(value), None)),
            (-400_i64..400).prop_map(|value| (Some(value), None)),
            ".{0,300}".prop_map(|text| (None, Some(text))),
            Just((None, None)),
        ],
        0..20,
    )) {
        let mut bytes = Vec::new();
        for (number, text) in &values {
            match text {
                Some(text) => Packer(&mut bytes).text(Some(text)),
                None => Packer(&mut bytes).int(*number),
            }
        }
        prop_assert!(!bytes.contains(&0xc1));
        let mut cells = Unpacker(&bytes);
        for (number, text) in &values {
            let expected = match (number, text) {
                (Some(number), _) => Cell::Int(*number),
                (_, Some(text)) => Cell::Text(text),
                _ => Cell::Null,
            };
            prop_assert_eq!(cells.cell(), Some(expected));
        }
        prop_assert!(cells.0.is_empty());
    }

    #[test]
    fn garbage_does_no_harm(bytes: Vec<u8>) {
        let _ = PackedReceipt(&bytes).receipt();
        let mut receipts = PackedReceipts::default();
        receipts.push(PackedReceipt(&bytes));
        let _ = Batch::new(receipts);
    }
}

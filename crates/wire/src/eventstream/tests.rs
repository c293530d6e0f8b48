use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Headers and payloads as text, and the fault that ended the stream.
fn read(chunks: &[&[u8]]) -> (Vec<String>, Option<Fault>) {
    let mut framer = Framer::new(1 << 20);
    let mut seen = Vec::new();
    for chunk in chunks {
        let kept = framer.push(chunk, |message| {
            seen.push(format!("{:?} {:?}", message.headers().collect::<Vec<_>>(), message.payload));
        });
        if let Err(fault) = kept {
            return (seen, Some(fault));
        }
    }
    (seen, framer.finish().err())
}

fn message(headers: &[(&str, Value<'_>)], payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(headers, payload, &mut bytes);
    bytes
}

#[test]
fn the_checksum_is_that_of_zlib() {
    assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    assert_eq!(crc32(b""), 0);
}

/// The examples of the specification: an empty message, and one with a header and a payload.
#[test]
fn the_bytes_are_those_of_the_specification() {
    let empty = [0, 0, 0, 0x10, 0, 0, 0, 0, 0x05, 0xc2, 0x48, 0xeb, 0x7d, 0x98, 0xc8, 0xff];
    assert_eq!(message(&[], b""), empty);
    let head = [0, 0, 0, 0x3d, 0, 0, 0, 0x20, 0x07, 0xfd, 0x83, 0x96, 0x0c];
    let all = message(&[("content-type", Value::Text("application/json"))], b"{'foo':'bar'}");
    assert_eq!(all[..13], head);
    assert_eq!(all[all.len() - 4..], [0x8d, 0x9c, 0x08, 0xb1]);
}

#[test]
fn every_type_of_header_comes_back() {
    let headers = [
        ("yes", Value::Bool(true)),
        ("no", Value::Bool(false)),
        ("byte", Value::Byte(-1)),
        ("short", Value::Short(-2)),
        ("int", Value::Int(-3)),
        ("long", Value::Long(i64::MIN)),
        ("bytes", Value::Bytes(b"\0\xff")),
        (":event-type", Value::Text("größe")),
        ("when", Value::Timestamp(1_700_000_000_000)),
        ("id", Value::Uuid([7; 16])),
    ];
    let bytes = message(&headers, b"payload");
    let mut framer = Framer::default();
    let mut count = 0;
    framer
        .push(&bytes, |message| {
            count += 1;
            assert_eq!(message.headers().collect::<Vec<_>>(), headers);
            assert_eq!(message.text(":event-type"), Some("größe"));
            assert_eq!((message.text("byte"), message.text("none")), (None, None));
            assert_eq!(message.payload, b"payload");
        })
        .unwrap();
    assert_eq!(count, 1);
}

fn check_fault(bytes: &[u8], fault: Fault) {
    assert_eq!(read(&[bytes]), (Vec::new(), Some(fault)), "{bytes:?}");
    let bytewise: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(read(&bytewise), (Vec::new(), Some(fault)), "bytewise {bytes:?}");
}

#[test]
fn what_is_no_message_is_a_fault() {
    let good = message(&[("a", Value::Text("b"))], b"{}");
    let broken = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    for at in 0..good.len() {
        check_fault(&broken(at), Fault::Checksum);
    }
    check_fault(&good[..good.len() - 1], Fault::Truncated);
    check_fault(b"HTTP/1.1 500 Oops", Fault::Checksum);
    // Right checksums, wrong lengths: too long, and headers that do not fit.
    for (total, headers) in [(u32::MAX, 0_u32), (2 << 20, 0), (15, 0), (20, 8), (1 << 20, 129 << 10)] {
        let mut bytes = [total.to_be_bytes(), headers.to_be_bytes()].concat();
        bytes.extend(crc32(&bytes).to_be_bytes());
        check_fault(&bytes, Fault::Length(usize::try_from(total).unwrap()));
    }
}

#[test]
fn headers_that_cannot_be_read_are_a_fault() {
    for headers in
        [&b"\x01a"[..], b"\x09a", b"\x01a\x0a", b"\x01a\x07\0\x05b", b"\x01\xff\x00", b"\x01a\x07\0\x01\xff"]
    {
        let mut bytes = [length(OVERHEAD + headers.len()), length(headers.len())].concat();
        bytes.extend(crc32(&bytes).to_be_bytes());
        bytes.extend(headers);
        bytes.extend(crc32(&bytes).to_be_bytes());
        check_fault(&bytes, Fault::Headers);
    }
}

#[test]
fn nothing_is_read_after_a_fault() {
    let mut framer = Framer::new(1 << 20);
    assert_eq!(framer.push(&[0xff; 12], |_| ()), Err(Fault::Checksum));
    let good = message(&[], b"x");
    assert_eq!(framer.push(&good, |_| panic!("read on")), Err(Fault::Checksum));
    assert_eq!(framer.finish(), Err(Fault::Checksum));
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same_messages(
        payloads in vec((vec(any::<u8>(), 0..40), "[a-z:]{0,6}"), 0..6),
        garbage in vec(any::<u8>(), 0..20),
        cuts in vec(0..400_usize, 0..12),
    ) {
        let mut stream = Vec::new();
        for (payload, text) in &payloads {
            write(&[(":event-type", Value::Text(text))], payload, &mut stream);
        }
        stream.extend(garbage);
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let chunks: Vec<_> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
        let whole = read(&[&stream]);
        prop_assert!(whole.0.len() >= payloads.len());
        prop_assert_eq!(read(&chunks), whole);
    }
}

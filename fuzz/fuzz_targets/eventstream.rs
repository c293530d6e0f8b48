//! The event-stream framer: any cut of the bytes gives the same messages, and what it reads can be written again.
//!
//! The first byte chooses the size of the pieces. The checksums of most inputs are wrong, so every input is also
//! tried as the payload of a message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollway_wire::eventstream::{Fault, Framer, Value, write};

fuzz_target!(|data: &[u8]| {
    let [size, body @ ..] = data else { return };
    let size = usize::from(*size) + 1;
    assert_eq!(messages(body, body.len().max(1)), messages(body, size));
    let mut stream = Vec::new();
    write(&[(":event-type", Value::Text("x")), ("bytes", Value::Bytes(body))], body, &mut stream);
    let (read, fault) = messages(&stream, size);
    assert_eq!((read.len(), fault), (1, None));
    assert_eq!(read[0], stream);
});

/// The messages of `body` pushed in pieces of `size` bytes, written again, and the fault that ended it.
fn messages(body: &[u8], size: usize) -> (Vec<Vec<u8>>, Option<Fault>) {
    let mut framer = Framer::new(1 << 20);
    let mut messages = Vec::new();
    for piece in body.chunks(size) {
        let kept = framer.push(piece, |message| {
            let headers: Vec<_> = message.headers().collect();
            let mut bytes = Vec::new();
            write(&headers, message.payload, &mut bytes);
            messages.push(bytes);
        });
        if let Err(fault) = kept {
            return (messages, Some(fault));
        }
    }
    let fault = framer.finish().err();
    (messages, fault)
}

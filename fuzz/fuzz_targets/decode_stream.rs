//! Providers' streams: any cut gives the same events, the events obey the laws, and every dialect can write them.
//!
//! The first byte chooses the provider's dialect, the second the size of the pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollway_model::{Dialect, Event, Laws};
use tollway_wire::{Framing, Restore, View, codec};

fuzz_target!(|data: &[u8]| {
    let [choice, size, body @ ..] = data else { return };
    let dialect = Dialect::ALL[usize::from(*choice) % Dialect::ALL.len()];
    let whole = events(dialect, body, body.len().max(1));
    let cut = events(dialect, body, usize::from(*size) + 1);
    assert_eq!(format!("{whole:?}"), format!("{cut:?}"), "the cut changed the events");

    let mut laws = Laws::new();
    for event in &whole {
        if let Err(broken) = laws.check(event) {
            panic!("{broken}");
        }
    }

    for other in Dialect::ALL {
        for framing in [Framing::Sse, Framing::JsonArray] {
            let view =
                View { model: "some-model", id: "call_fuzz", created: 1, include_usage: true, legacy_functions: false, framing };
            let mut encoder = codec(other).encoder(&view);
            let mut bytes = Vec::new();
            for event in &whole {
                encoder.push(event, &mut bytes);
            }
        }
    }
});

/// The events of `body` pushed in pieces of `size` bytes.
fn events(dialect: Dialect, body: &[u8], size: usize) -> Vec<Event> {
    let mut decoder = codec(dialect).decoder(Restore::default());
    let mut events = Vec::new();
    for piece in body.chunks(size) {
        decoder.push(piece, &mut events);
    }
    decoder.finish(&mut events);
    events
}

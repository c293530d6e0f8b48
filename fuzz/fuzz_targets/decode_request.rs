//! What clients send, in every dialect, and on to every dialect: no input may panic.
//!
//! The first byte chooses the client's dialect.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollway_model::{Capabilities, Dialect, Notices};
use tollway_wire::openai_chat::Quirks;
use tollway_wire::{Target, codec};

fuzz_target!(|data: &[u8]| {
    let Some((choice, body)) = data.split_first() else { return };
    let dialect = Dialect::ALL[usize::from(*choice) % Dialect::ALL.len()];
    // Counting reads the same bodies by another road.
    let _ = codec(dialect).decode_count_request(body);
    let Ok(request) = codec(dialect).decode_request(body) else { return };
    let capabilities = Capabilities::default();
    let quirks = Quirks::default();
    let target = Target { model: "some-model", capabilities: &capabilities, quirks: &quirks };
    for other in Dialect::ALL {
        let mut notices = Notices::default();
        let Ok(encoded) = codec(other).encode_request(&request, &target, &mut notices) else { continue };
        serde_json::from_slice::<&serde_json::value::RawValue>(&encoded.body).expect("what we send is JSON");
    }
});

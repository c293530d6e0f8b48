//! What providers answer, errors included, in every dialect, and on to every dialect: no input may panic.
//!
//! The first byte chooses the provider's dialect, the second the status of an error.
#![no_main]

use http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use tollway_model::{Dialect, Notices};
use tollway_wire::{Framing, Restore, View, codec};

fuzz_target!(|data: &[u8]| {
    let [choice, status, body @ ..] = data else { return };
    let dialect = Dialect::ALL[usize::from(*choice) % Dialect::ALL.len()];
    let error = codec(dialect).decode_error(400 + u16::from(*status), &HeaderMap::new(), body);
    for other in Dialect::ALL {
        is_json(&codec(other).encode_error(&error));
    }

    let Ok(response) = codec(dialect).decode_response(body, &Restore::default()) else { return };
    let view =
        View { model: "some-model", id: "call_fuzz", created: 1, include_usage: true, legacy_functions: false, framing: Framing::Sse };
    for other in Dialect::ALL {
        is_json(&codec(other).encode_response(&response, &view, &mut Notices::default()));
    }
});

fn is_json(bytes: &[u8]) {
    serde_json::from_slice::<&serde_json::value::RawValue>(bytes).expect("what we answer is JSON");
}

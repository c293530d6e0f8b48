//! The JSON door: it accepts only what serde_json accepts, means the same by it, and edits nothing it was not told to.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tollway_wire::json::{Edits, Envelope, MAX_DEPTH};

fuzz_target!(|data: &[u8]| {
    let Ok(envelope) = Envelope::parse(Bytes::copy_from_slice(data), MAX_DEPTH) else { return };
    let Ok(theirs) = serde_json::from_slice::<Value>(data) else {
        // Numbers beyond a float's range and lone surrogates are JSON, but have no value in serde_json.
        return;
    };
    let ours: Value = serde_json::from_slice(envelope.body()).expect("the checked body is JSON");
    assert_eq!(ours, theirs, "collapsing duplicate keys changed the meaning");

    for (key, raw) in envelope.members() {
        let member: Value = serde_json::from_str(raw).expect("a member is JSON");
        assert_eq!(Some(&member), theirs.get(key.as_ref()), "member {key:?}");
    }

    let mut edits = Edits::new();
    edits.set_str("model", "another \"model\"");
    edits.remove("stream");
    let edited: Value = serde_json::from_slice(&envelope.rewrite(&edits)).expect("an edited body is JSON");
    let mut expected = theirs;
    if let Some(object) = expected.as_object_mut() {
        object.insert("model".to_owned(), Value::from("another \"model\""));
        object.shift_remove("stream");
    }
    assert_eq!(edited, expected);
});

//! Conversations that the gateway keeps: request bodies, stored items and streams of any bytes, without a panic.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tollway_wire::json::{Edits, Envelope, MAX_DEPTH};
use tollway_wire::openai_responses::conversation::{
    Passage, echo, has_references, input_items, output_items, previous, show, with_history,
};

fuzz_target!(|data: &[u8]| {
    let mut edits = Edits::new();
    edits.set_str("id", "resp_ours");
    let mut passage = Passage::new(edits.clone());
    passage.pass(Bytes::copy_from_slice(data));
    let history = output_items(data).unwrap_or_default();
    let _ = show(Bytes::copy_from_slice(data), &edits);
    let Ok(body) = Envelope::parse(Bytes::copy_from_slice(data), MAX_DEPTH) else { return };
    let _ = (previous(&body), has_references(&body));
    echo(&body, &mut edits);
    let Ok(items) = input_items(&body, "resp_ours") else { return };
    let stored = |_: &str| items.first().cloned();
    let mut edits = Edits::new();
    if with_history(&body, &history, &stored, &mut edits).is_ok() {
        let rewritten = body.rewrite(&edits);
        Envelope::parse(rewritten, MAX_DEPTH * 2).expect("what we send is JSON");
    }
});

//! The SSE framer: any cut of the bytes gives the same events, and the limit holds.
//!
//! The first two bytes choose the limit and the size of the pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollway_wire::sse::Framer;

fuzz_target!(|data: &[u8]| {
    let [limit, size, body @ ..] = data else { return };
    let limit = usize::from(*limit) * 8 + 1;
    let size = usize::from(*size) + 1;
    assert_eq!(frames(limit, body, body.len().max(1)), frames(limit, body, size));
});

/// The events of `body` pushed in pieces of `size` bytes, and whether it stayed within the limit.
fn frames(limit: usize, body: &[u8], size: usize) -> (Vec<(Vec<u8>, Vec<u8>)>, bool) {
    let mut framer = Framer::new(limit);
    let mut frames = Vec::new();
    for piece in body.chunks(size) {
        let kept = framer.push(piece, |frame| {
            assert!(frame.data.len() <= limit, "an event longer than the limit");
            frames.push((frame.event.to_vec(), frame.data.to_vec()));
        });
        if kept.is_err() {
            return (frames, false);
        }
    }
    let kept = framer.finish(|frame| frames.push((frame.event.to_vec(), frame.data.to_vec())));
    (frames, kept.is_ok())
}

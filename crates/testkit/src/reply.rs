//! A reply as data: what to send, in which pieces, after which pauses, and how it ends.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use crate::fault::Fault;
use crate::route::Speaks;
use crate::script::{Break, Script};

/// One write to the caller.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// Pause before the write.
    pub after: Duration,
    /// What is written.
    pub bytes: Bytes,
}

/// What happens after the last chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ending {
    /// The body ends as HTTP wants it.
    #[default]
    Complete,
    /// The connection is closed without ending the body.
    Cut,
    /// The connection is reset (TCP RST); before the headers when there is no chunk.
    Reset,
    /// Nothing more is sent and the connection stays open.
    Stall,
}

/// A complete reply.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Pause before status and headers.
    pub wait: Duration,
    /// Headers in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub chunks: Vec<Chunk>,
    /// What happens after the last chunk.
    pub ending: Ending,
}

impl Reply {
    /// A body sent at once.
    pub fn bytes(status: u16, content_type: &str, body: impl Into<Bytes>) -> Reply {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        let chunks = vec![Chunk { after: Duration::ZERO, bytes: body.into() }];
        Reply { status, headers, chunks, ..Reply::default() }
    }

    /// A JSON body sent at once.
    pub fn json(status: u16, body: &Value) -> Reply {
        Reply::bytes(status, "application/json", body.to_string())
    }

    /// A refusal in the words of `speaks`.
    pub fn fault(fault: &Fault, speaks: Speaks, request_id: &str) -> Reply {
        let mut reply = Reply::json(fault.status, &fault.body(speaks, request_id));
        if speaks == Speaks::Bedrock {
            let kind = fault.code.as_deref().filter(|code| code.ends_with("Exception"));
            let kind = kind.unwrap_or_else(|| crate::bedrock::error_type(fault.status));
            reply
                .headers
                .push(("x-amzn-errortype".to_owned(), format!("{kind}:http://internal.amazon.com/coral/")));
        }
        reply.headers.extend(fault.headers.iter().cloned());
        reply
    }

    /// The whole body.
    pub fn body(&self) -> Bytes {
        let parts: Vec<&[u8]> = self.chunks.iter().map(|chunk| chunk.bytes.as_ref()).collect();
        Bytes::from(parts.concat())
    }

    /// The value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// An answer before a script has handled it.
pub(crate) enum Said {
    /// One JSON document.
    Json(Value),
    /// SSE frames, each ending in an empty line.
    Stream(Vec<String>),
    /// Messages of a binary event stream.
    Frames(Vec<Bytes>),
}

/// Sends `said` the way `script` wants; `failure` is the frame that reports a failure in the stream.
pub(crate) fn deliver(said: Said, failure: Bytes, script: &Script) -> Reply {
    let streams = matches!(said, Said::Stream(_) | Said::Frames(_));
    let has_lines = matches!(said, Said::Stream(_));
    let (mut pieces, content_type) = match said {
        Said::Json(body) => (whole(&body.to_string(), script), "application/json"),
        Said::Frames(frames) => (frames, "application/vnd.amazon.eventstream"),
        Said::Stream(frames) => {
            (frames.into_iter().map(Bytes::from).collect(), "text/event-stream; charset=utf-8")
        }
    };
    if script.empty {
        pieces.clear();
    }
    let mut ending = Ending::Complete;
    if let Some((after, how)) = script.broken {
        pieces.truncate(after);
        ending = match how {
            Break::Cut => Ending::Cut,
            Break::Stall => Ending::Stall,
            Break::Reset => Ending::Reset,
            Break::Malformed | Break::Error => Ending::Complete,
        };
        match how {
            Break::Malformed => pieces.push(Bytes::from_static(b"data: {\"broken\": tru\n\n")),
            Break::Error if streams => pieces.push(failure),
            Break::Error | Break::Cut | Break::Stall | Break::Reset => {}
        }
    }
    if script.comments && has_lines {
        let comment = Bytes::from_static(b": still working\n\n");
        pieces = pieces.into_iter().flat_map(|piece| [comment.clone(), piece]).collect();
    }
    if let Some(size) = script.chunk_bytes {
        pieces = cut_up(&pieces, size);
    }
    let pause = |at: usize| if at == 0 { script.first_byte } else { script.interval };
    let chunks =
        pieces.into_iter().enumerate().map(|(at, bytes)| Chunk { after: pause(at), bytes }).collect();
    let headers = vec![("content-type".to_owned(), content_type.to_owned())];
    Reply { status: 200, wait: script.slow, headers, chunks, ending }
}

/// A JSON body: one piece, or two halves when the script breaks between pieces.
fn whole(body: &str, script: &Script) -> Vec<Bytes> {
    if script.broken.is_none() {
        return vec![Bytes::from(body.to_owned())];
    }
    let (head, tail) = body.as_bytes().split_at(body.len() / 2);
    [head, tail].map(Bytes::copy_from_slice).to_vec()
}

/// Pieces a body is cut into at most; larger bodies get larger pieces.
const MOST_PIECES: usize = 1 << 18;

/// The same bytes in pieces of `size`, whatever that splits.
fn cut_up(pieces: &[Bytes], size: usize) -> Vec<Bytes> {
    let whole = Bytes::from(pieces.concat());
    let size = size.max(1).max(whole.len().div_ceil(MOST_PIECES));
    let starts = (0..whole.len()).step_by(size);
    starts.map(|start| whole.slice(start..whole.len().min(start + size))).collect()
}

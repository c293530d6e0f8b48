//! Codecs between the neutral model and wire formats.
//!
//! One folder per dialect, each a [`Codec`]: it reads what clients send and
//! writes what providers want, and the reverse. A codec knows its wire format
//! and nothing of accounts, URLs, retries or any provider's name. No I/O.
//!
//! ```text
//! client bytes ─decode_request──▶ Request  ──encode_request──▶ provider bytes
//! client bytes ◀encode_response── Response ◀decode_response─── provider bytes
//! client SSE   ◀StreamEncoder──── Event…   ◀StreamDecoder───── provider SSE
//! ```
//!
//! When both ends speak one dialect nothing is translated: [`json::Envelope`]
//! edits the few top-level fields that must change, and [`relay`] passes the
//! answer on while it reads usage from the bytes.

pub mod anthropic;
pub mod bedrock;
pub mod carry;
mod codec;
pub mod embedding;
pub mod eventstream;
mod field_names;
mod free_text;
pub mod gemini;
pub mod hosted;
pub mod json;
pub mod openai_chat;
pub mod openai_responses;
pub mod openai_text;
mod parts;
mod pause;
pub mod relay;
mod server_tools;
pub mod sse;
mod unsupported;
mod web_search;

pub use codec::{Codec, Encoded, Framing, Restore, StreamDecoder, StreamEncoder, Target, View, codec};
pub use field_names::field_name;

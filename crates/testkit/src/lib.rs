//! Fake providers: servers that speak OpenAI, Anthropic, Gemini and Bedrock without a model behind them.
//!
//! One pure function, [`demo::answer`], turns a request into a [`Reply`]: a status, headers and timed chunks. It is
//! as strict about requests as the vendors are, so that a wrong translation is noticed, and deterministic, so that
//! a test can say what must come back. A [`Script`] makes it misbehave: slow, stalled, cut, malformed, rate
//! limited. Scripts are set in Rust, or named by the request's model (`fake-cut-after-3-chunks`), so that tests
//! that only see HTTP can steer it too.
//!
//! [`FakeProvider`] serves this over HTTP and remembers what it received and when a caller hung up. The gateway's
//! built-in `demo/…` provider uses the same function without a socket.

mod anthropic;
mod bedrock;
pub mod bench;
mod body;
pub mod demo;
mod fault;
mod gemini;
mod json;
mod mind;
mod openai;
mod record;
mod reply;
mod route;
mod schema;
mod script;
mod serve;
pub mod services;
mod socket;
mod tokens;

pub use demo::Call;
pub use fault::Fault;
pub use record::Received;
pub use reply::{Chunk, Ending, Reply};
pub use route::{Endpoint, Speaks};
pub use script::{Script, UnknownDirective};
pub use serve::{FakeProvider, Options, serve};
pub use tokens::count as count_tokens;

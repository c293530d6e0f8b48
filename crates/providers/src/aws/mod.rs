//! Amazon: names of models, regions, where credentials come from, and signatures of requests.
//!
//! Pure: files, sockets and the clock are somebody else's. [`Access`] says what to read and whom to ask, in which
//! order; the answers are read by [`credentials_of`], [`profile`] and [`sts`]; [`sign`] signs with what they give.

mod access;
mod json;
mod name;
pub mod profile;
mod sigv4;
pub mod sts;
mod time;

pub use access::{Access, AwsSettings, Role, Source, Text};
pub use json::credentials_of;
pub(crate) use name::{ModelName, runtime_base, suffix};
pub use sigv4::{Scope, sign};

use tollway_model::Secret;

/// What requests are signed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Public: it stands in every signed request.
    pub access_key_id: String,
    /// Never sent.
    pub secret_access_key: Secret,
    /// Of temporary credentials: sent with every request.
    pub session_token: Option<Secret>,
    /// Seconds since 1970 after which they are refused; `None`: never.
    pub expires: Option<i64>,
}

/// How requests to an endpoint are signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signing {
    /// Region and service the signature holds for.
    pub scope: Scope,
    /// Where the credentials come from.
    pub access: Access,
}

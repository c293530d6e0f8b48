//! Kinds of failure that can be counted apart.

use std::collections::HashMap;

use tollway_model::{Error, Kind};

/// A kind of failure, as LiteLLM's settings name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// The request is at fault.
    BadRequest,
    /// The provider refuses the key.
    Authentication,
    /// No answer in time.
    Timeout,
    /// Too many requests or tokens.
    RateLimit,
    /// The provider refuses the content.
    ContentPolicy,
    /// The provider failed.
    InternalServer,
    /// The provider is overloaded.
    ServiceUnavailable,
    /// Nothing readable came, or no connection was made.
    BadGateway,
    /// The provider has no such model.
    NotFound,
    /// Any other.
    Other,
}

impl Class {
    /// The class of a failure.
    pub fn of(error: &Error) -> Class {
        match error.kind() {
            Kind::ContentPolicy => Class::ContentPolicy,
            Kind::Timeout => Class::Timeout,
            Kind::RateLimit => Class::RateLimit,
            Kind::Authentication | Kind::Permission => Class::Authentication,
            Kind::NotFound => Class::NotFound,
            Kind::InvalidRequest | Kind::Unsupported | Kind::TooLarge | Kind::ContextWindow => {
                Class::BadRequest
            }
            Kind::Overloaded | Kind::Unavailable => Class::ServiceUnavailable,
            Kind::Connection => Class::BadGateway,
            Kind::Upstream | Kind::Internal => match error.status() {
                502 => Class::BadGateway,
                503 | 529 => Class::ServiceUnavailable,
                _ => Class::InternalServer,
            },
            _ => Class::Other,
        }
    }
}

/// A number for some kinds of failure: retries, or failures allowed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    /// The numbers given.
    pub by_class: HashMap<Class, u32>,
    /// For kinds without one of their own.
    pub other: Option<u32>,
}

impl Counts {
    /// The number for `class`.
    pub fn get(&self, class: Class) -> Option<u32> {
        self.by_class.get(&class).copied().or(self.other)
    }

    /// Is no number given?
    pub fn is_empty(&self) -> bool {
        self.by_class.is_empty() && self.other.is_none()
    }
}

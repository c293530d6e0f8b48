//! Why a table, a price or a rule could not be read.

use std::fmt;

/// What was wrong, with the value.
///
/// One type for the whole crate: every failure here is bad data, found when it is loaded and never during a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    place: Option<String>,
    message: String,
}

impl Error {
    /// A failure without a place.
    pub fn new(message: impl Into<String>) -> Error {
        Error { place: None, message: message.into() }
    }

    /// Says where it was: a model id or a line, outermost first.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Error {
        self.place = Some(match self.place {
            Some(inner) => format!("{place}: {inner}"),
            None => place.to_string(),
        });
        self
    }

    /// What was wrong, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Error {}

/// The result of reading data.
pub type Result<T> = std::result::Result<T, Error>;

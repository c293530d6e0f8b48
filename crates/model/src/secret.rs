//! Text that must never be printed.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

/// A key, password or token.
///
/// Prints as `***` everywhere, cannot be serialised, compares in constant time, and is wiped from memory when the
/// last copy goes. [`Secret::expose`] is the one way to read it; every use of it is a place to review.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Keeps `text` secret.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(Arc::new(Zeroizing::new(text.into())))
    }

    /// The text itself, for a header or a hash.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Is there no text at all?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl PartialEq for Secret {
    /// Takes time that depends on the lengths only.
    fn eq(&self, other: &Secret) -> bool {
        let (one, two) = (self.expose().as_bytes(), other.expose().as_bytes());
        if one.len() != two.len() {
            return false;
        }
        std::hint::black_box(one.iter().zip(two).fold(0_u8, |sum, (a, b)| sum | (a ^ b))) == 0
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Secret {
        Secret(Arc::new(Zeroizing::new(text)))
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Secret {
        Secret::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints_itself() {
        let secret = Secret::new("sk-canary");
        assert!(!format!("{secret} {secret:?} {:?}", Some(&secret)).contains("canary"));
        assert_eq!(secret.expose(), "sk-canary");
        assert_eq!(secret, Secret::new("sk-canary"));
        assert_ne!(secret, Secret::new("sk-canarz"));
    }
}

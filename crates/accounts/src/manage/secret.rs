//! Making and recognising keys. A key is shown once; what is kept is its hash.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tollway_model::{Error, Result, Secret};

/// What keys made here begin with. Keys that begin like this and have a wrong checksum are mistyped.
const OURS: &str = "sk-tw-";
/// Characters of the checksum.
const CHECK: usize = 6;

/// A new key: 256 random bits, and a checksum that shows a slip without asking a store.
pub fn generate() -> Result<Secret> {
    let mut bytes = [0_u8; 32];
    rand::fill(&mut bytes).map_err(|_| Error::internal("the system gives no random numbers"))?;
    let body = URL_SAFE_NO_PAD.encode(bytes);
    let check = checksum(&body);
    Ok(Secret::new(format!("{OURS}{body}{check}")))
}

/// Is this one of our keys with a slip in it? Keys of another make are never called mistyped.
pub fn is_mistyped(key: &str) -> bool {
    let Some(rest) = key.strip_prefix(OURS) else { return false };
    match rest.len().checked_sub(CHECK).and_then(|at| Some((rest.get(..at)?, rest.get(at..)?))) {
        Some((body, check)) => checksum(body) != check,
        None => true,
    }
}

/// SHA-256 of a key in hexadecimal: its `token`.
pub fn hash(key: &str) -> String {
    hex(digest(&SHA256, key.as_bytes()).as_ref())
}

/// Is this a `token` and not a key?
pub(crate) fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase())
}

/// The `token` of what a caller named: a key or its hash.
pub fn token_of(key_or_hash: &str) -> String {
    if is_hash(key_or_hash) { key_or_hash.to_owned() } else { hash(key_or_hash) }
}

/// `sk-...abcd`, for people.
pub(crate) fn shown(key: &str) -> String {
    let last: Vec<char> = key.chars().rev().take(4).collect();
    format!("sk-...{}", last.into_iter().rev().collect::<String>())
}

fn checksum(body: &str) -> String {
    let hash = digest(&SHA256, format!("tollway key {body}").as_bytes());
    let mut text = URL_SAFE_NO_PAD.encode(hash.as_ref());
    text.truncate(CHECK);
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A random id, 128 bits in the form of a UUID.
pub(crate) fn id() -> Result<String> {
    let mut bytes = [0_u8; 16];
    rand::fill(&mut bytes).map_err(|_| Error::internal("the system gives no random numbers"))?;
    let text = hex(&bytes);
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    Ok(format!("{}-{}-4{}-a{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_in_a_key_is_seen_without_asking_a_store() {
        let key = generate().unwrap();
        let key = key.expose();
        assert_eq!(key.len(), 6 + 43 + 6);
        assert!(!is_mistyped(key));
        for at in 6..key.len() {
            let mut wrong = key.to_owned();
            let other = if wrong.as_bytes()[at] == b'x' { "y" } else { "x" };
            wrong.replace_range(at..=at, other);
            assert!(is_mistyped(&wrong), "{at}");
        }
        assert!(is_mistyped(&key[..key.len() - 1]));
        assert!(is_mistyped("sk-tw-"));
        for foreign in ["sk-1234", "sk-abcdefghijklmnopqrstuv", "", "nonsense"] {
            assert!(!is_mistyped(foreign), "{foreign}");
        }
    }

    #[test]
    fn keys_and_ids_differ_and_hashes_are_the_known_ones() {
        assert_ne!(generate().unwrap(), generate().unwrap());
        assert_ne!(id().unwrap(), id().unwrap());
        assert_eq!(id().unwrap().len(), 36);
        assert_eq!(hash("sk-1234"), "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b");
        assert!(is_hash(&hash("x")) && !is_hash("sk-1234"));
        assert_eq!(shown("sk-abcdef"), "sk-...cdef");
    }
}

//! Sealing secrets before they are kept.
//!
//! A sealed text is `tw1:<purpose>:<key id>:<base64>`: AES-256-GCM with a random nonce in front. The key for a purpose
//! comes from the salt key by HKDF, so that what is sealed for one purpose opens for no other; what is sealed for one
//! record opens for no other record either. Several salt keys may open, one seals, so that a key can be changed without
//! a moment in which something cannot be read.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use zeroize::Zeroizing;

use tollway_model::Secret;

use crate::migrations::hex;
use crate::salt_file::SaltFile;

/// How a sealed text begins.
const PREFIX: &str = "tw1:";
const NONCE: usize = 12;
const KEY: usize = 32;

/// Why a text cannot be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// No known salt key has this id.
    #[error(
        "this was sealed with the salt key {0}, which is not known here: set it in TOLLWAY_SALT_KEY, or list it in \
         TOLLWAY_OLD_SALT_KEYS"
    )]
    UnknownKey(String),
    /// It is not as it was sealed, or belongs to another record or purpose.
    #[error("what was sealed with the salt key {0} is damaged, or belongs to another record")]
    Damaged(String),
    /// It is no sealed text.
    #[error("this is not a sealed text")]
    NotSealed,
    /// It was sealed for something else.
    #[error("this was sealed for {0}, not for {1}")]
    OtherPurpose(String, String),
    /// The system has no random numbers, or a purpose is no plain word.
    #[error("cannot seal: {0}")]
    Impossible(&'static str),
}

/// A key that other keys are derived from.
#[derive(Clone)]
pub struct SaltKey {
    id: String,
    secret: Secret,
}

/// Shows the id only.
impl std::fmt::Debug for SaltKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SaltKey({})", self.id)
    }
}

impl SaltKey {
    /// From a text as an operator sets it. Its strength is the text's: 32 random bytes in any spelling are right.
    pub fn new(secret: Secret) -> SaltKey {
        let id = hex(derive(&secret, "key id").get(..4).unwrap_or_default());
        SaltKey { id, secret }
    }

    /// A new key of 256 random bits.
    pub fn random() -> Result<SaltKey, SealError> {
        let mut bytes = Zeroizing::new([0; KEY]);
        aws_lc_rs::rand::fill(bytes.as_mut_slice()).map_err(|_| NO_RANDOM)?;
        Ok(SaltKey::new(Secret::new(STANDARD_NO_PAD.encode(bytes.as_slice()))))
    }

    /// Eight hexadecimal digits that tell keys apart and say nothing about them.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key itself, to be kept.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }
}

const NO_RANDOM: SealError = SealError::Impossible("the system gives no random numbers");

/// Seals and opens. Copies share the keys.
#[derive(Debug, Clone)]
pub struct Sealer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The first seals, all open.
    keys: ArcSwap<Vec<SaltKey>>,
    /// Where the keys are kept, when it is a file.
    file: Option<SaltFile>,
}

impl Sealer {
    /// Seals with `active`, and opens what `active` or one of `old` sealed.
    pub fn new(active: SaltKey, old: Vec<SaltKey>) -> Sealer {
        let keys = std::iter::once(active).chain(old).collect::<Vec<_>>();
        Sealer { shared: Arc::new(Shared { keys: ArcSwap::from_pointee(keys), file: None }) }
    }

    /// Seals with the first key of a file and opens with all; makes the file with a new key when it is missing. It is
    /// read again when something was sealed with a key that is not known yet, so that another process may change it.
    pub fn of_file(path: &Path) -> std::io::Result<Sealer> {
        let file = SaltFile::new(path);
        let keys = ArcSwap::from_pointee(file.read_or_make()?);
        Ok(Sealer { shared: Arc::new(Shared { keys, file: Some(file) }) })
    }

    /// The id of the key that seals.
    pub fn active(&self) -> String {
        self.shared.keys.load().first().map_or("", SaltKey::id).to_owned()
    }

    /// The ids of all keys that open, the active one first.
    pub fn known(&self) -> Vec<String> {
        self.shared.keys.load().iter().map(|key| key.id().to_owned()).collect()
    }

    /// The key with this id.
    fn key(&self, id: &str) -> Result<SaltKey, SealError> {
        let find = || self.shared.keys.load().iter().find(|key| key.id() == id).cloned();
        let read_again = || {
            let keys = self.shared.file.as_ref()?.read().ok()?;
            self.shared.keys.store(Arc::new(keys));
            find()
        };
        find().or_else(read_again).ok_or_else(|| SealError::UnknownKey(id.to_owned()))
    }

    /// Is it a sealed text, by its form?
    pub fn is_sealed(text: &str) -> bool {
        Sealed::read(text).is_some()
    }

    /// Seals `plain` for a purpose and a record. A purpose is a word of a-z, 0-9, `_` and `-`.
    pub fn seal(&self, purpose: &str, record: &str, plain: &Secret) -> Result<String, SealError> {
        if purpose.is_empty()
            || !purpose.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
        {
            return Err(SealError::Impossible("a purpose is a word of a-z, 0-9, _ and -"));
        }
        let keys = self.shared.keys.load();
        let key = keys.first().ok_or(SealError::Impossible("there is no salt key"))?;
        let mut buffer = plain.expose().as_bytes().to_vec();
        let nonce = cipher(key, purpose)?
            .seal_in_place_append_tag(bound(purpose, key.id(), record), &mut buffer)
            .map_err(|_| NO_RANDOM)?;
        let mut bytes = nonce.as_ref().to_vec();
        bytes.append(&mut buffer);
        Ok(format!("{PREFIX}{purpose}:{}:{}", key.id(), STANDARD_NO_PAD.encode(bytes)))
    }

    /// Opens what was sealed for this purpose and record.
    pub fn open(&self, purpose: &str, record: &str, sealed: &str) -> Result<Secret, SealError> {
        let sealed = Sealed::read(sealed).ok_or(SealError::NotSealed)?;
        if sealed.purpose != purpose {
            return Err(SealError::OtherPurpose(sealed.purpose.to_owned(), purpose.to_owned()));
        }
        let key = self.key(sealed.key)?;
        let damaged = || SealError::Damaged(sealed.key.to_owned());
        let mut bytes = Zeroizing::new(STANDARD_NO_PAD.decode(sealed.data).map_err(|_| damaged())?);
        let (nonce, data) = bytes.split_at_mut_checked(NONCE).ok_or_else(damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| damaged())?;
        let plain = cipher(&key, purpose)?
            .open_in_place(nonce, bound(purpose, key.id(), record), data)
            .map_err(|_| damaged())?;
        std::str::from_utf8(plain).map(Secret::new).map_err(|_| damaged())
    }

    /// The same secret under the active key; `None` when it is already.
    pub fn reseal(&self, record: &str, sealed: &str) -> Result<Option<String>, SealError> {
        let parts = Sealed::read(sealed).ok_or(SealError::NotSealed)?;
        if parts.key == self.active() {
            return Ok(None);
        }
        let plain = self.open(parts.purpose, record, sealed)?;
        self.seal(parts.purpose, record, &plain).map(Some)
    }
}

/// The parts of a sealed text.
struct Sealed<'a> {
    purpose: &'a str,
    key: &'a str,
    data: &'a str,
}

impl<'a> Sealed<'a> {
    fn read(text: &'a str) -> Option<Sealed<'a>> {
        let mut parts = text.strip_prefix(PREFIX)?.splitn(3, ':');
        let (purpose, key, data) = (parts.next()?, parts.next()?, parts.next()?);
        let is_id = key.len() == 8 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_id && !purpose.is_empty()).then_some(Sealed { purpose, key, data })
    }
}

/// What a sealed text is bound to. The record's id comes last, because it may hold anything.
fn bound(purpose: &str, key: &str, record: &str) -> Aad<Vec<u8>> {
    Aad::from(format!("{PREFIX}{purpose}:{key}:{record}").into_bytes())
}

fn cipher(key: &SaltKey, purpose: &str) -> Result<RandomizedNonceKey, SealError> {
    let derived = derive(&key.secret, &format!("seal {purpose}"));
    RandomizedNonceKey::new(&AES_256_GCM, derived.as_slice())
        .map_err(|_| SealError::Impossible("the cipher takes no such key"))
}

/// HKDF-SHA256 of a salt key for one use.
#[expect(clippy::expect_used, reason = "HKDF refuses only what is longer than 8,160 bytes")]
fn derive(secret: &Secret, usage: &str) -> Zeroizing<[u8; KEY]> {
    struct Length;
    impl KeyType for Length {
        fn len(&self) -> usize {
            KEY
        }
    }
    let mut key = Zeroizing::new([0; KEY]);
    Salt::new(HKDF_SHA256, b"tollway salt key 1")
        .extract(secret.expose().as_bytes())
        .expand(&[usage.as_bytes()], Length)
        .and_then(|out| out.fill(key.as_mut_slice()))
        .expect("32 bytes are not too many");
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(keys: &[&str]) -> Sealer {
        let mut keys = keys.iter().map(|key| SaltKey::new(Secret::new(*key)));
        Sealer::new(keys.next().unwrap(), keys.collect())
    }

    #[test]
    fn what_is_sealed_opens_for_its_purpose_and_record_only() {
        let sealer = sealer(&["a key"]);
        let secret = Secret::new("sk-live-1");
        let sealed = sealer.seal("model", "m1", &secret).unwrap();
        assert!(Sealer::is_sealed(&sealed) && !sealed.contains("live"));
        assert!(sealer.open("model", "m1", &sealed).unwrap() == secret);
        let damaged = SealError::Damaged(sealer.active());
        assert_eq!(sealer.open("model", "m2", &sealed).unwrap_err(), damaged);
        let other = SealError::OtherPurpose("model".to_owned(), "webhook".to_owned());
        assert_eq!(sealer.open("webhook", "m1", &sealed).unwrap_err(), other);
        let renamed = sealed.replace("tw1:model:", "tw1:webhook:");
        assert_eq!(sealer.open("webhook", "m1", &renamed).unwrap_err(), damaged);
        assert_ne!(sealed, sealer.seal("model", "m1", &secret).unwrap(), "a nonce is used once");
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let sealer = sealer(&["a key"]);
        let sealed = sealer.seal("model", "m1", &Secret::new("x")).unwrap();
        for (index, character) in sealed.char_indices() {
            let other = if character == 'b' { "c" } else { "b" };
            let mut changed = sealed.clone();
            changed.replace_range(index..index + 1, other);
            assert!(sealer.open("model", "m1", &changed).is_err(), "{changed}");
        }
    }

    #[test]
    fn an_old_key_opens_and_a_new_one_seals() {
        let old = sealer(&["old"]).seal("model", "m1", &Secret::new("x")).unwrap();
        let both = sealer(&["new", "old"]);
        let new = both.reseal("m1", &old).unwrap().unwrap();
        assert_eq!(both.reseal("m1", &new), Ok(None));
        assert!(sealer(&["new"]).open("model", "m1", &new).is_ok());
        let error = sealer(&["new"]).open("model", "m1", &old).unwrap_err();
        assert_eq!(error, SealError::UnknownKey(SaltKey::new(Secret::new("old")).id().to_owned()));
    }

    #[test]
    fn other_texts_are_no_sealed_texts() {
        fn check(text: &str) {
            assert_eq!(sealer(&["k"]).open("model", "m", text).unwrap_err(), SealError::NotSealed);
        }
        check("");
        check("sk-live");
        check("tw1:");
        check("tw1:model:abc:AAAA");
        check("tw1:model:0123456z:AAAA");
    }

    proptest::proptest! {
        #[test]
        fn any_text_survives(text: String, record: String) {
            let sealer = sealer(&["k"]);
            let sealed = sealer.seal("model", &record, &Secret::new(text.clone())).unwrap();
            assert_eq!(sealer.open("model", &record, &sealed).unwrap().expose(), text);
        }
    }
}

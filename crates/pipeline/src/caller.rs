//! Who calls, and how they prove it.

use std::borrow::Cow;

use http::{HeaderMap, Uri, header};
use tollway_model::{Error, Kind, Result, Secret};

/// Who calls. Resolved once, then immutable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// What they may do.
    pub role: Role,
    /// The start of the key's hash: names the key in receipts and logs without being of use to a thief.
    pub key: KeyId,
}

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Holds the master key: everything.
    Admin,
}

/// The first eight bytes of a key's SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyId(pub [u8; 8]);

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

/// SHA-256 of a key: all that is kept of it.
#[derive(Debug, Clone, Copy)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Hashes a key.
    pub fn of(key: &str) -> KeyHash {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.as_bytes());
        let mut hash = [0; 32];
        hash.copy_from_slice(digest.as_ref());
        KeyHash(hash)
    }

    /// From 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<KeyHash> {
        let mut hash = [0; 32];
        let digits = text.as_bytes();
        if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(KeyHash(hash))
    }

    /// As 64 hexadecimal digits.
    pub fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The hash's first bytes.
    pub fn id(&self) -> KeyId {
        let mut id = [0; 8];
        id.copy_from_slice(self.0.first_chunk::<8>().unwrap_or(&[0; 8]));
        KeyId(id)
    }

    /// Compares in constant time.
    pub fn matches(&self, other: &KeyHash) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

/// The `param` of the error for a key that opens nothing; other failures to identify have none.
pub const WRONG_KEY: &str = "key";

/// The keys that open the gateway.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    admins: Vec<KeyHash>,
    header: Option<header::HeaderName>,
}

impl Keyring {
    /// A ring that any of `admins` opens; `header` is looked at before the usual ones.
    pub fn new(admins: Vec<KeyHash>, header: Option<header::HeaderName>) -> Keyring {
        Keyring { admins, header }
    }

    /// Hashes a configured master key.
    pub fn with_master(mut self, key: &Secret) -> Keyring {
        self.admins.push(KeyHash::of(key.expose()));
        self
    }

    /// Who sent a request with these headers? An error is always [`Kind::Authentication`]: there is no anonymous caller.
    pub fn identify(&self, headers: &HeaderMap, uri: &Uri) -> Result<Caller> {
        let Some(key) = presented(headers, uri, self.header.as_ref())? else {
            let message = "Authentication Error, No api key passed in.";
            return Err(
                Error::new(Kind::Authentication, message).with_provider(None, Some("auth_error".into()))
            );
        };
        let hash = KeyHash::of(&key);
        // Every admin key is compared, so the time does not tell which one was near.
        let matched = self.admins.iter().fold(false, |found, admin| admin.matches(&hash) | found);
        if matched {
            return Ok(Caller { role: Role::Admin, key: hash.id() });
        }
        let message = "Authentication Error, Invalid API key provided.";
        Err(Error::new(Kind::Authentication, message)
            .with_param(WRONG_KEY)
            .with_provider(None, Some("token_not_found_in_db".into())))
    }
}

/// The key a request presents. Order: the configured header, `x-litellm-api-key`, `Authorization: Bearer`, `api-key`,
/// `x-api-key`, `x-goog-api-key`, `Ocp-Apim-Subscription-Key`, `?key=`.
fn presented<'a>(
    headers: &'a HeaderMap,
    uri: &'a Uri,
    custom: Option<&header::HeaderName>,
) -> Result<Option<Cow<'a, str>>> {
    for name in custom.map(header::HeaderName::as_str).into_iter().chain(["x-litellm-api-key"]) {
        if let Some(value) = text(headers, name)? {
            return Ok(Some(Cow::Borrowed(strip_bearer(value))));
        }
    }
    if let Some(value) = text(headers, "authorization")? {
        return bearer(value).map(|key| Some(Cow::Borrowed(key))).ok_or_else(malformed);
    }
    for name in ["api-key", "x-api-key", "x-goog-api-key", "ocp-apim-subscription-key"] {
        if let Some(value) = text(headers, name)? {
            return Ok(Some(Cow::Borrowed(strip_bearer(value))));
        }
    }
    let from_query =
        uri.query().and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("key=")));
    Ok(from_query.filter(|key| !key.is_empty()).map(Cow::Borrowed))
}

/// What a header says; `None` when it is absent or empty. One that comes twice, or is no text, is refused and never
/// passed over: a proxy in front may have looked at the other one.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return if headers.contains_key(name) { Err(malformed()) } else { Ok(None) };
    };
    let value = value.to_str().map_err(|_| malformed())?.trim();
    Ok(Some(value).filter(|value| !value.is_empty()))
}

fn malformed() -> Error {
    let message =
        "Authentication Error, Malformed API Key passed in. Send `Authorization: Bearer <key>`, once.";
    Error::new(Kind::Authentication, message).with_provider(None, Some("auth_error".into()))
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

fn strip_bearer(value: &str) -> &str {
    bearer(value).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identify(headers: &[(&'static str, &str)], uri: &str) -> Result<Caller> {
        let ring = Keyring::default().with_master(&Secret::new("sk-right"));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        ring.identify(&map, &uri.parse().unwrap())
    }

    #[test]
    fn every_client_finds_its_way_to_present_a_key() {
        for header in
            ["x-litellm-api-key", "api-key", "x-api-key", "x-goog-api-key", "ocp-apim-subscription-key"]
        {
            assert!(identify(&[(header, "sk-right")], "/").is_ok(), "{header}");
            assert!(identify(&[(header, "sk-wrong")], "/").is_err(), "{header}");
        }
        assert!(identify(&[("authorization", "bearer sk-right")], "/").is_ok());
        assert!(identify(&[], "/v1beta/models/x:generateContent?alt=sse&key=sk-right").is_ok());
    }

    #[test]
    fn the_first_key_in_order_decides_and_junk_is_refused() {
        assert!(
            identify(&[("x-litellm-api-key", "sk-wrong"), ("authorization", "Bearer sk-right")], "/")
                .is_err()
        );
        for bad in ["", "sk-right", "Basic sk-right", "Bearer", "Bearer ", "Bearer ' OR 1=1 --"] {
            let error = identify(&[("authorization", bad)], "/").unwrap_err();
            assert_eq!(error.kind(), Kind::Authentication, "{bad}");
        }
        assert!(identify(&[], "/").unwrap_err().message().contains("No api key"));
    }

    #[test]
    fn a_key_that_comes_twice_or_is_no_text_is_refused_and_not_passed_over() {
        let right = ("authorization", "Bearer sk-right");
        for (name, value) in [right, ("x-litellm-api-key", "sk-\u{e9}"), ("authorization", "Bearer sk-wrong")]
        {
            for headers in [[(name, value), right], [right, (name, value)]] {
                let error = identify(&headers, "/").unwrap_err();
                assert_eq!((error.kind(), error.param()), (Kind::Authentication, None), "{headers:?}");
            }
        }
    }

    #[test]
    fn only_a_wrong_key_counts_as_a_guess() {
        let param = |headers: &[_]| identify(headers, "/").unwrap_err().param().map(str::to_owned);
        assert_eq!(param(&[("api-key", "sk-wrong")]).as_deref(), Some(WRONG_KEY));
        assert_eq!(param(&[]), None);
        assert_eq!(param(&[("authorization", "Basic x")]), None);
    }

    #[test]
    fn a_hash_survives_hexadecimal() {
        let hash = KeyHash::of("sk-right");
        assert!(KeyHash::from_hex(&hash.to_hex()).unwrap().matches(&hash));
        assert!(KeyHash::from_hex("xy").is_none());
        assert_eq!(hash.id().to_string(), hash.to_hex()[..16]);
    }
}

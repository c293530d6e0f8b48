//! Who calls, and how they prove it.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, Uri, header};
use tollway_accounts::{Identity, KeyHash, KeyId, Role, WRONG_KEY};
use tollway_model::{Error, Kind, Result, Secret};

/// Who calls. Resolved once, then immutable.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who it is, and what it may.
    pub identity: Arc<Identity>,
    /// The start of the key's hash: names the key in logs without being of use to a thief.
    pub key: KeyId,
}

impl Caller {
    /// Whoever holds the master key.
    pub fn master(hash: KeyHash) -> Caller {
        Caller { identity: Arc::new(Identity::master(hash.to_hex().into())), key: hash.id() }
    }

    /// May it do and see everything?
    pub fn is_admin(&self) -> bool {
        self.identity.principal.role == Role::ProxyAdmin
    }
}

/// The master keys, and where requests carry keys.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    masters: Vec<(KeyHash, Caller)>,
    header: Option<HeaderName>,
}

impl Keyring {
    /// A ring of these master keys; `header` is looked at before the usual ones.
    pub fn new(masters: Vec<KeyHash>, header: Option<HeaderName>) -> Keyring {
        Keyring { masters: masters.into_iter().map(|hash| (hash, Caller::master(hash))).collect(), header }
    }

    /// Hashes a configured master key.
    pub fn with_master(mut self, key: &Secret) -> Keyring {
        let hash = KeyHash::of(key.expose());
        self.masters.push((hash, Caller::master(hash)));
        self
    }

    /// The key that a request presents. An error is always [`Kind::Authentication`]: there is no anonymous caller.
    pub fn presented(&self, headers: &HeaderMap, uri: &Uri) -> Result<Presented> {
        let Some(key) = presented(headers, uri, self.header.as_ref())? else {
            let message = "Authentication Error, No api key passed in.";
            return Err(
                Error::new(Kind::Authentication, message).with_provider(None, Some("auth_error".into()))
            );
        };
        Ok(Presented::of(&key))
    }

    /// The holder of a master key, if it is one.
    pub fn master(&self, presented: &Presented) -> Option<&Caller> {
        // Every master key is compared, so the time does not tell which one was near.
        self.masters.iter().fold(None, |found, (hash, caller)| {
            let same = hash.matches(&presented.hash);
            found.or(same.then_some(caller))
        })
    }
}

/// A key as it was presented; of the key itself only the hash is kept.
#[derive(Debug, Clone, Copy)]
pub struct Presented {
    /// Its SHA-256.
    pub hash: KeyHash,
    /// It begins with `sk-`, as every virtual key does.
    pub is_virtual: bool,
    /// The last characters of one that does not, where it has many more: enough for its holder to know which it is.
    tail: Option<[u8; 4]>,
}

impl Presented {
    fn of(key: &str) -> Presented {
        /// Of a shorter one nothing is shown.
        const LONG: usize = 16;
        let is_virtual = key.starts_with("sk-");
        let shown = (key.len() >= LONG && !is_virtual).then(|| key.as_bytes().last_chunk::<4>()).flatten();
        let tail = shown.copied().filter(|tail| tail.iter().all(u8::is_ascii_alphanumeric));
        Presented { hash: KeyHash::of(key), is_virtual, tail }
    }

    /// The refusal of a key that opens nothing.
    pub fn refusal(&self) -> Error {
        let (message, kind) = if self.is_virtual {
            ("Authentication Error, Invalid API key provided.".to_owned(), "token_not_found_in_db")
        } else {
            let tail = self.tail.unwrap_or_default();
            let tail = std::str::from_utf8(&tail).unwrap_or_default().trim_matches('\0');
            let what = format!("a virtual key is expected; it starts with `sk-`, and `***{tail}` does not");
            (format!("Authentication Error, {what}."), "auth_error")
        };
        Error::new(Kind::Authentication, message).with_param(WRONG_KEY).with_provider(None, Some(kind.into()))
    }
}

const LITELLM_KEY: HeaderName = HeaderName::from_static("x-litellm-api-key");

/// Where clients put their key if not into `Authorization`.
static OTHER_KEYS: [HeaderName; 4] = [
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-goog-api-key"),
    HeaderName::from_static("ocp-apim-subscription-key"),
];

/// The key a request presents. Order: the configured header, `x-litellm-api-key`, `Authorization: Bearer`, `api-key`,
/// `x-api-key`, `x-goog-api-key`, `Ocp-Apim-Subscription-Key`, `?key=`.
fn presented<'a>(
    headers: &'a HeaderMap,
    uri: &'a Uri,
    custom: Option<&HeaderName>,
) -> Result<Option<Cow<'a, str>>> {
    for name in custom.into_iter().chain([&LITELLM_KEY]) {
        if let Some(value) = text(headers, name)? {
            return Ok(Some(Cow::Borrowed(strip_bearer(value))));
        }
    }
    if let Some(value) = text(headers, &header::AUTHORIZATION)? {
        return bearer(value).map(|key| Some(Cow::Borrowed(key))).ok_or_else(malformed);
    }
    for name in &OTHER_KEYS {
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
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>> {
    let mut values = headers.get_all(name).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value,
        (Some(_), Some(_)) => return Err(malformed()),
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
        let presented = ring.presented(&map, &uri.parse().unwrap())?;
        ring.master(&presented).cloned().ok_or_else(|| presented.refusal())
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
    fn a_key_of_another_make_is_shown_masked() {
        for (key, shown) in [
            ("somebodys-secret-12345", "`***2345`"),
            ("short-secret-1", "`***`"),
            ("somebodys-secret-12--", "`***`"),
            ("somebodys-secret-\u{2603}", "malformed"),
        ] {
            let message = identify(&[("authorization", &format!("Bearer {key}"))], "/").unwrap_err();
            let message = message.message().to_lowercase();
            assert!(message.contains(shown) && !message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn only_a_wrong_key_counts_as_a_guess() {
        let param = |headers: &[_]| identify(headers, "/").unwrap_err().param().map(str::to_owned);
        assert_eq!(param(&[("api-key", "sk-wrong")]).as_deref(), Some(WRONG_KEY));
        assert_eq!(param(&[]), None);
        assert_eq!(param(&[("authorization", "Basic x")]), None);
    }
}

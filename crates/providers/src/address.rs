//! From a base URL to the URL of an operation.
//!
//! People give bases in many forms: `https://host`, `https://host/v1`, with a slash at the end, or the whole URL of
//! the operation. All of them lead to the same place: what is already there is not added again.

use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Ends of paths that name an operation; a base may have one of them already.
const OPERATIONS: [&str; 5] =
    ["/chat/completions", "/completions", "/embeddings", "/messages/count_tokens", "/messages"];

/// Everything but the characters that mean themselves everywhere in a URL.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A base URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Base {
    /// `https://host:port`
    origin: String,
    /// `/v1`, or empty; without an operation and without a slash at the end.
    path: String,
    /// Without the question mark.
    query: Option<String>,
}

impl Base {
    /// Reads a base URL; an error says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Base, String> {
        let text = text.trim();
        if text.contains('#') {
            return Err("it has a `#` part".to_owned());
        }
        if !text.contains("://") {
            return Err("it is not a URL that starts with http:// or https://".to_owned());
        }
        let uri: Uri = text.parse().map_err(|error| format!("it is not a URL: {error}"))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err("it must start with http:// or https://".to_owned());
        };
        if scheme != "http" && scheme != "https" {
            return Err(format!("it must start with http:// or https://, not {scheme}://"));
        }
        if authority.as_str().contains('@') {
            return Err("it holds a user name or password; use `api_key` or a header".to_owned());
        }
        Ok(Base {
            origin: format!("{scheme}://{authority}"),
            path: without_operation(uri.path().trim_end_matches('/')).to_owned(),
            query: uri.query().filter(|query| !query.is_empty()).map(str::to_owned),
        })
    }

    /// Scheme, host, port and path, for people: no query, which may hold a secret.
    pub(crate) fn shown(&self) -> String {
        format!("{}{}", self.origin, self.path)
    }

    /// Appends `path` unless the base ends with its beginning already: `/v1/x` on `/v1` gives `/v1/x`.
    pub(crate) fn join(&self, path: &str) -> Base {
        let operation = OPERATIONS.iter().find(|end| path.trim_end_matches('/').ends_with(**end));
        let prefix = operation.map_or(path, |_| without_operation(path.trim_end_matches('/')));
        let rest = path.strip_prefix(prefix).unwrap_or_default();
        let overlap = overlap(&self.path, prefix);
        let path = format!("{}{}{rest}", self.path, prefix.get(overlap..).unwrap_or_default());
        Base { path, ..self.clone() }
    }

    /// Adds a query parameter.
    pub(crate) fn with_query(mut self, name: &str, value: &str) -> Base {
        let (name, value) = (utf8_percent_encode(name, SEGMENT), utf8_percent_encode(value, SEGMENT));
        let before = self.query.map(|query| format!("{query}&")).unwrap_or_default();
        self.query = Some(format!("{before}{name}={value}"));
        self
    }

    /// The URL of a Gemini method of `model`: the base may or may not end with its version.
    pub(crate) fn gemini(&self, version: &str, model: &str, method: &str) -> Base {
        let path = self.path.strip_suffix("/models").unwrap_or(&self.path);
        let last = path.rsplit('/').next().unwrap_or_default();
        let version = if is_version(last) { String::new() } else { format!("/{version}") };
        let model = match model.strip_prefix("tunedModels/") {
            Some(name) => format!("tunedModels/{}", utf8_percent_encode(name, SEGMENT)),
            None => {
                let name = model.strip_prefix("models/").unwrap_or(model);
                format!("models/{}", utf8_percent_encode(name, SEGMENT))
            }
        };
        Base { path: format!("{path}{version}/{model}:{method}"), ..self.clone() }
    }

    /// The URL of a method of a model at Bedrock. ARNs have slashes and colons, which are encoded.
    pub(crate) fn bedrock(&self, model: &str, method: &str) -> Base {
        Base { path: format!("{}/model/{}/{method}", self.path, segment(model)), ..self.clone() }
    }

    /// The URL.
    pub(crate) fn uri(&self) -> Result<Uri, String> {
        let query = self.query.as_deref().map(|query| format!("?{query}")).unwrap_or_default();
        let path = if self.path.is_empty() { "/" } else { &self.path };
        let text = format!("{}{path}{query}", self.origin);
        text.parse().map_err(|error| format!("it does not lead to a URL: {error}"))
    }
}

fn without_operation(path: &str) -> &str {
    OPERATIONS.iter().find_map(|end| path.strip_suffix(end)).unwrap_or(path)
}

/// How many bytes of `prefix` the end of `path` has already, in whole segments.
fn overlap(path: &str, prefix: &str) -> usize {
    let mut ends: Vec<_> = prefix.match_indices('/').map(|(at, _)| at).skip(1).collect();
    ends.push(prefix.len());
    let longest =
        ends.into_iter().rev().find(|end| prefix.get(..*end).is_some_and(|head| path.ends_with(head)));
    longest.unwrap_or(0)
}

/// `v1`, `v1beta`, `v1alpha`, `v1beta2` …
fn is_version(segment: &str) -> bool {
    let Some(rest) = segment.strip_prefix('v') else { return false };
    rest.starts_with(|first: char| first.is_ascii_digit()) && rest.chars().all(|c| c.is_ascii_alphanumeric())
}

/// May `value` stand for a variable in a URL? Nothing that could lead to another host or path.
pub(crate) fn is_plain(value: &str) -> bool {
    !value.is_empty() && value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// Percent-encodes `text` as one segment of a path.
pub(crate) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(base: &str, path: &str, expected: &str) {
        let uri = Base::parse(base).and_then(|base| base.join(path).uri());
        assert_eq!(uri.map(|uri| uri.to_string()), Ok(expected.to_owned()), "{base} {path}");
    }

    #[test]
    fn an_operation_is_appended_once_whatever_form_the_base_has() {
        check("https://x.test/v1", "/chat/completions", "https://x.test/v1/chat/completions");
        check("https://x.test/v1/", "/chat/completions", "https://x.test/v1/chat/completions");
        check(" https://x.test ", "/chat/completions", "https://x.test/chat/completions");
        check(
            "https://x.test/v1/chat/completions",
            "/chat/completions",
            "https://x.test/v1/chat/completions",
        );
        check("https://x.test/v1/chat/completions", "/embeddings", "https://x.test/v1/embeddings");
        check("https://x.test/api/chat", "/chat/completions", "https://x.test/api/chat/chat/completions");
        check("https://x.test/llm", "/chat/completions/", "https://x.test/llm/chat/completions/");
    }

    #[test]
    fn a_version_is_not_doubled() {
        for base in
            ["https://x.test", "https://x.test/v1", "https://x.test/v1/messages", "https://x.test/messages"]
        {
            check(base, "/v1/messages", "https://x.test/v1/messages");
            check(base, "/v1/messages/count_tokens", "https://x.test/v1/messages/count_tokens");
        }
        check("https://x.test/anthropic", "/v1/messages", "https://x.test/anthropic/v1/messages");
        check("https://x.test/v3", "/v1/messages", "https://x.test/v3/v1/messages");
        check("https://x.test/dev1", "/v1/messages", "https://x.test/dev1/v1/messages");
        check("https://x.test/api/v2", "/api/v2/genai/llmgw", "https://x.test/api/v2/genai/llmgw");
        check("https://x.test", "/api/v2/genai/llmgw", "https://x.test/api/v2/genai/llmgw");
    }

    #[test]
    fn a_query_of_the_base_stays_behind_the_path() {
        check("https://x.test/v1?a=b", "/chat/completions", "https://x.test/v1/chat/completions?a=b");
        let base = Base::parse("https://x.test?a=b").unwrap().with_query("api-version", "2025 1");
        assert_eq!(base.uri().unwrap().to_string(), "https://x.test/?a=b&api-version=2025%201");
    }

    #[test]
    fn a_gemini_url_has_one_version_and_an_encoded_model() {
        let gemini = |base: &str, model: &str| {
            let url = Base::parse(base).unwrap().gemini("v1beta", model, "generateContent");
            url.uri().unwrap().to_string()
        };
        for base in
            ["https://g.test", "https://g.test/", "https://g.test/v1beta", "https://g.test/v1beta/models"]
        {
            assert_eq!(gemini(base, "gemini-3"), "https://g.test/v1beta/models/gemini-3:generateContent");
        }
        assert_eq!(gemini("https://g.test/v1", "models/m"), "https://g.test/v1/models/m:generateContent");
        assert_eq!(
            gemini("https://g.test", "a/../b?c"),
            "https://g.test/v1beta/models/a%2F..%2Fb%3Fc:generateContent"
        );
        assert_eq!(
            gemini("https://g.test", "tunedModels/t-1"),
            "https://g.test/v1beta/tunedModels/t-1:generateContent"
        );
    }

    #[test]
    fn a_base_that_cannot_be_used_is_refused_with_a_reason() {
        let refused = |text: &str| Base::parse(text).unwrap_err();
        assert!(refused("x.test/v1").contains("http"));
        assert!(refused("ftp://x.test").contains("ftp"));
        assert!(refused("https://user:pass@x.test").contains("password"));
        assert!(refused("https://x.test/#a").contains('#'));
        assert!(refused("https://x test").contains("not a URL"));
        assert!(refused("").contains("URL"));
        assert_eq!(Base::parse("https://x.test/v1?key=secret").unwrap().shown(), "https://x.test/v1");
    }

    proptest! {
        #[test]
        fn the_url_of_an_operation_is_itself_a_base_that_leads_to_the_same_url(
            host in "[a-z]{1,8}(:[1-9][0-9]{1,3})?",
            path in "(/[a-z0-9-]{1,6}){0,3}/?",
            operation in prop::sample::select(vec!["/chat/completions", "/embeddings", "/v1/messages", "/v1/chat/completions"]),
        ) {
            let base = format!("https://{host}{path}");
            let once = Base::parse(&base).unwrap().join(operation).uri().unwrap();
            let twice = Base::parse(&once.to_string()).unwrap().join(operation).uri().unwrap();
            prop_assert_eq!(&once, &twice);
            prop_assert!(once.path().ends_with(operation) && once.path().starts_with(path.trim_end_matches('/')));
        }
    }
}

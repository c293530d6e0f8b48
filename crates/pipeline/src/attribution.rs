//! For whom a call is made, as the client says: customer, tags, session. Nothing is allowed because of it.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use serde::Deserialize;
use tollway_model::Dialect;
use tollway_wire::json::Envelope;

/// For whom a call is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attribution {
    /// The customer: `user` of the body, `metadata.user_id` of Anthropic's, or a header.
    pub customer: Option<Arc<str>>,
    /// Tags: `metadata.tags`, `tags` of the body, `x-litellm-tags`.
    pub tags: Vec<Arc<str>>,
    /// The conversation.
    pub session: Option<Arc<str>>,
    /// The address the call came from.
    pub address: Option<IpAddr>,
}

/// Names longer than this, in bytes, are cut: they are kept with every receipt.
const MAX_NAME: usize = 256;

/// Most tags of a call.
const MAX_TAGS: usize = 32;

const CUSTOMER_HEADERS: [&str; 3] = ["x-litellm-customer-id", "x-litellm-end-user-id", "x-litellm-user"];

#[derive(Deserialize, Default)]
#[serde(default)]
struct Metadata<'a> {
    #[serde(borrow)]
    tags: Tags<'a>,
    #[serde(borrow)]
    user_id: Word<'a>,
    #[serde(borrow)]
    session_id: Word<'a>,
}

/// Whatever it is, only texts are read.
#[derive(Deserialize, Default)]
#[serde(untagged)]
enum Word<'a> {
    #[serde(borrow)]
    Text(Cow<'a, str>),
    Other(serde::de::IgnoredAny),
    #[default]
    #[serde(skip)]
    None,
}

#[derive(Deserialize, Default)]
#[serde(untagged)]
enum Tags<'a> {
    #[serde(borrow)]
    List(Vec<Cow<'a, str>>),
    Other(serde::de::IgnoredAny),
    #[default]
    #[serde(skip)]
    None,
}

impl<'a> Word<'a> {
    fn text(&self) -> Option<&str> {
        match self {
            Word::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl Attribution {
    /// Reads it from the headers and the top level of the body. A header counts more than the body.
    pub(crate) fn read(dialect: Dialect, headers: &HeaderMap, body: &Envelope) -> Attribution {
        let mut attribution = Attribution::default();
        let header = |name: &str| match headers.is_empty() {
            true => None,
            false => headers.get(name).and_then(|value| value.to_str().ok()),
        };
        let metadata = ["metadata", "litellm_metadata"].into_iter().filter_map(|name| body.get(name));
        for raw in metadata.filter(|raw| raw.len() > 2) {
            let Ok(metadata) = serde_json::from_str::<Metadata<'_>>(raw) else { continue };
            if let Tags::List(tags) = &metadata.tags {
                attribution.add_tags(tags.iter().map(|tag| &**tag));
            }
            if dialect == Dialect::Anthropic {
                attribution.customer =
                    attribution.customer.or_else(|| metadata.user_id.text().and_then(name));
            }
            attribution.session = attribution.session.or_else(|| metadata.session_id.text().and_then(name));
        }
        let listed = body.get("tags").and_then(|raw| serde_json::from_str::<Tags<'_>>(raw).ok());
        if let Some(Tags::List(tags)) = listed {
            attribution.add_tags(tags.iter().map(|tag| &**tag));
        }
        if let Some(tags) = header("x-litellm-tags") {
            attribution.add_tags(tags.split(','));
        }
        if let Some(user) = body.str("user") {
            attribution.customer = name(&user).or(attribution.customer);
        }
        let from_header = CUSTOMER_HEADERS.into_iter().find_map(header).and_then(name);
        attribution.customer = from_header.or(attribution.customer);
        let session = || body.str("litellm_session_id").and_then(|id| name(&id));
        let from_header =
            header("x-litellm-session-id").or_else(|| header("x-litellm-trace-id")).and_then(name);
        attribution.session = from_header.or_else(session).or(attribution.session);
        attribution
    }

    fn add_tags<'t>(&mut self, tags: impl Iterator<Item = &'t str>) {
        for tag in tags.filter_map(name) {
            if self.tags.len() < MAX_TAGS && !self.tags.contains(&tag) {
                self.tags.push(tag);
            }
        }
    }
}

fn name(text: &str) -> Option<Arc<str>> {
    let text = text.trim();
    let mut end = text.len().min(MAX_NAME);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = text.get(..end).filter(|text| !text.is_empty())?;
    (!text.chars().any(char::is_control)).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        dialect: Dialect,
        headers: &[(&'static str, &str)],
        body: &str,
        expected: (&str, &[&str], &str),
    ) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let body = Envelope::parse(body.to_owned().into(), 64).unwrap();
        let found = Attribution::read(dialect, &map, &body);
        let text = |text: &Option<Arc<str>>| text.as_deref().unwrap_or_default().to_owned();
        let tags: Vec<&str> = found.tags.iter().map(|tag| &**tag).collect();
        assert_eq!(
            (text(&found.customer).as_str(), tags.as_slice(), text(&found.session).as_str()),
            expected
        );
    }

    #[test]
    fn customer_tags_and_session_are_read_where_clients_put_them() {
        let openai = Dialect::OpenaiChat;
        check(openai, &[], r#"{"user":"ann"}"#, ("ann", &[], ""));
        check(openai, &[("x-litellm-customer-id", "bob")], r#"{"user":"ann"}"#, ("bob", &[], ""));
        check(Dialect::Anthropic, &[], r#"{"metadata":{"user_id":"ann"}}"#, ("ann", &[], ""));
        check(openai, &[], r#"{"metadata":{"user_id":"ann"}}"#, ("", &[], ""));
        check(
            openai,
            &[("x-litellm-tags", "b, c")],
            r#"{"metadata":{"tags":["a","b"],"session_id":"s"},"tags":["d"]}"#,
            ("", &["a", "b", "d", "c"], "s"),
        );
        check(openai, &[], r#"{"metadata":{"tags":7,"session_id":[1]},"user":7}"#, ("", &[], ""));
        check(openai, &[("x-litellm-session-id", "s")], r#"{"litellm_session_id":"t"}"#, ("", &[], "s"));
    }

    #[test]
    fn names_are_short_and_have_no_control_characters() {
        assert_eq!(name(&"ä".repeat(1000)).unwrap().len(), MAX_NAME);
        assert_eq!(name("a\nb"), None);
        assert_eq!(name("  "), None);
    }
}

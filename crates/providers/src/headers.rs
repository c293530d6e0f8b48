//! Headers of requests: checked once, when the endpoint is built.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Headers that belong to the connection and the body, not to a deployment.
const RESERVED: [HeaderName; 9] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::EXPECT,
    header::PROXY_AUTHORIZATION,
];

/// A list in one header: values add up instead of replacing each other.
const ANTHROPIC_BETA: HeaderName = HeaderName::from_static("anthropic-beta");

/// Sets `name` to `value`; an error says what is wrong, without the value.
pub(crate) fn set(headers: &mut HeaderMap, name: &str, value: &str, sensitive: bool) -> Result<(), String> {
    let Ok(name) = HeaderName::try_from(name) else {
        return Err(format!("`{}` is not a header name", name.escape_debug()));
    };
    if RESERVED.contains(&name) {
        return Err(format!("`{name}` cannot be set: it belongs to the connection"));
    }
    let merged =
        headers.get(&name).filter(|_| name == ANTHROPIC_BETA).and_then(|before| merge(before, value));
    let value = merged.as_deref().unwrap_or(value);
    let Ok(mut value) = HeaderValue::from_str(value) else {
        return Err(format!("the value of `{name}` holds characters no header can carry"));
    };
    value.set_sensitive(sensitive);
    headers.insert(name, value);
    Ok(())
}

/// Both comma lists as one, each item once.
fn merge(before: &HeaderValue, more: &str) -> Option<String> {
    let mut items: Vec<&str> = Vec::new();
    for item in before.to_str().ok()?.split(',').chain(more.split(',')).map(str::trim) {
        if !item.is_empty() && !items.contains(&item) {
            items.push(item);
        }
    }
    Some(items.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_breaks_and_connection_headers_are_refused() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-a", "b\r\nx-c: d"),
            ("x-a\n", "b"),
            ("Host", "evil.test"),
            ("content-length", "1"),
            ("", "b"),
        ] {
            let error = set(&mut headers, name, value, false).unwrap_err();
            assert!(!error.contains('\n') && !error.contains("x-c"), "{error}");
        }
        assert!(headers.is_empty());
    }

    #[test]
    fn betas_add_up_and_other_headers_replace() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("anthropic-beta", "a,b"), ("Anthropic-Beta", "b, c"), ("x-a", "1"), ("x-a", "2")]
        {
            set(&mut headers, name, value, false).unwrap();
        }
        assert_eq!(headers["anthropic-beta"], "a,b,c");
        assert_eq!(headers["x-a"], "2");
        assert_eq!(headers.len(), 2);
    }

    #[test]
    fn a_sensitive_value_is_not_printed() {
        let mut headers = HeaderMap::new();
        set(&mut headers, "authorization", "Bearer sk-canary", true).unwrap();
        assert!(!format!("{headers:?}").contains("canary"));
    }
}

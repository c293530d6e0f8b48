//! Signatures of requests, version 4.
//!
//! What is signed: the method, the path encoded once more, the query, the body, the host, the content type and every
//! `x-amz-` header. Whatever is changed after that breaks the signature.
//! Spec: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use std::fmt::Write;

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, Tag, sign as hmac};
use http::{HeaderValue, Uri, header, request};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tollway_model::{Error, Result};

use super::{Credentials, time};

/// The characters of a path that mean themselves.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// What a signature holds for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    /// `us-east-1` …
    pub region: String,
    /// `bedrock`, `sts` …
    pub service: &'static str,
}

/// Signs a request whose body is `body`, at `seconds` since 1970.
///
/// Sets `authorization`, `x-amz-date` and, with temporary credentials, `x-amz-security-token`. Fails when a header
/// to sign is not text.
pub fn sign<'b>(
    request: &mut request::Parts,
    body: impl Iterator<Item = &'b [u8]>,
    credentials: &Credentials,
    scope: &Scope,
    seconds: i64,
) -> Result<()> {
    let stamp = time::stamp(seconds);
    let day = stamp.get(..8).unwrap_or_default();
    request.headers.remove(header::AUTHORIZATION);
    set(request, "x-amz-date", &stamp, false)?;
    if let Some(token) = &credentials.session_token {
        set(request, "x-amz-security-token", token.expose(), true)?;
    }
    let (headers, names) = canonical_headers(request)?;
    let mut hash = Context::new(&SHA256);
    body.for_each(|piece| hash.update(piece));
    let canonical = format!(
        "{}\n{}\n{}\n{headers}\n{names}\n{}",
        request.method,
        canonical_path(&request.uri),
        canonical_query(&request.uri),
        hex(hash.finish().as_ref()),
    );
    let mut hash = Context::new(&SHA256);
    hash.update(canonical.as_bytes());
    let Scope { region, service } = scope;
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{stamp}\n{day}/{region}/{service}/aws4_request\n{}",
        hex(hash.finish().as_ref())
    );
    let signature = hex(signature(credentials, day, scope, &to_sign).as_ref());
    let access_key = &credentials.access_key_id;
    let value = format!(
        "AWS4-HMAC-SHA256 Credential={access_key}/{day}/{region}/{service}/aws4_request, SignedHeaders={names}, \
         Signature={signature}"
    );
    set(request, "authorization", &value, true)
}

fn signature(credentials: &Credentials, day: &str, scope: &Scope, text: &str) -> Tag {
    let first = zeroize::Zeroizing::new(format!("AWS4{}", credentials.secret_access_key.expose()));
    let mut key = Key::new(HMAC_SHA256, first.as_bytes());
    for part in [day, &scope.region, scope.service, "aws4_request"] {
        key = Key::new(HMAC_SHA256, hmac(&key, part.as_bytes()).as_ref());
    }
    hmac(&key, text.as_bytes())
}

fn set(request: &mut request::Parts, name: &'static str, value: &str, sensitive: bool) -> Result<()> {
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| Error::internal("the AWS credentials hold characters that no header can carry"))?;
    value.set_sensitive(sensitive);
    request.headers.insert(name, value);
    Ok(())
}

/// The headers that are signed, one a line, and their names.
fn canonical_headers(request: &request::Parts) -> Result<(String, String)> {
    let mut headers = vec![("host", host(&request.uri))];
    for (name, value) in &request.headers {
        if *name != header::CONTENT_TYPE && !name.as_str().starts_with("x-amz-") {
            continue;
        }
        let value = value
            .to_str()
            .map_err(|_| Error::internal(format!("the header `{name}` cannot be signed: it is not text")))?;
        let value = value.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        match headers.iter_mut().find(|(known, _)| *known == name.as_str()) {
            Some((_, values)) => {
                values.push(',');
                values.push_str(&value);
            }
            None => headers.push((name.as_str(), value)),
        }
    }
    headers.sort_unstable();
    let lines = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    Ok((lines, names))
}

/// As the connection will write it: a usual port is left out.
fn host(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    match uri.port_u16().filter(|port| *port != usual) {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// The path with every segment encoded once more, as all services but S3 want it.
fn canonical_path(uri: &Uri) -> String {
    utf8_percent_encode(uri.path(), PATH).to_string()
}

fn canonical_query(uri: &Uri) -> String {
    let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<_> = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
    pairs.sort_unstable();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: i64 = 1_440_938_160;

    fn signed(
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: &[&[u8]],
        token: Option<&str>,
    ) -> String {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let credentials = Credentials {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            session_token: token.map(Into::into),
            expires: None,
        };
        let scope = Scope { region: "us-east-1".into(), service: "service" };
        sign(&mut parts, body.iter().copied(), &credentials, &scope, AT).unwrap();
        assert!(!format!("{parts:?}").contains("Signature="), "the signature is printed");
        parts.headers["authorization"].to_str().unwrap().to_owned()
    }

    fn check(
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: &[&[u8]],
        names: &str,
        signature: &str,
    ) {
        let expected = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders={names}, Signature={signature}"
        );
        assert_eq!(signed(method, uri, headers, body, None), expected, "{method} {uri}");
    }

    /// Cases of Amazon's published suite that this signer's choice of headers and paths meets.
    #[test]
    fn signatures_are_those_of_the_published_suite() {
        let (host, get) = ("https://example.amazonaws.com", "host;x-amz-date");
        check(
            "GET",
            &format!("{host}/"),
            &[],
            &[],
            get,
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        );
        check(
            "GET",
            &format!("{host}/?Param2=value2&Param1=value1"),
            &[],
            &[],
            get,
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        );
        check(
            "POST",
            &format!("{host}/"),
            &[],
            &[],
            get,
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        );
        let form = [("content-type", "application/x-www-form-urlencoded")];
        let expected = "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a";
        check(
            "POST",
            &format!("{host}/"),
            &form,
            &[b"Param1=value1"],
            "content-type;host;x-amz-date",
            expected,
        );
        // In pieces, with a port that is understood, and with headers that are not signed.
        let more = [form[0], ("user-agent", "x"), ("authorization", "Bearer old")];
        let pieces: [&[u8]; 3] = [b"Param1", b"", b"=value1"];
        check(
            "POST",
            "https://example.amazonaws.com:443/",
            &more,
            &pieces,
            "content-type;host;x-amz-date",
            expected,
        );
        let spaces = [("x-amz-meta", "  a   b "), ("x-amz-meta", "c")];
        assert!(
            signed("GET", &format!("{host}/"), &spaces, &[], None).contains("host;x-amz-date;x-amz-meta,")
        );
    }

    #[test]
    fn a_session_token_and_an_encoded_path_are_signed() {
        let uri = "http://127.0.0.1:8000/model/us.anthropic.claude%3A0/converse";
        assert_eq!(canonical_path(&uri.parse().unwrap()), "/model/us.anthropic.claude%253A0/converse");
        assert_eq!(super::host(&uri.parse().unwrap()), "127.0.0.1:8000");
        let with = signed("POST", uri, &[], &[b"{}"], Some("token"));
        assert!(with.contains("SignedHeaders=host;x-amz-date;x-amz-security-token,"), "{with}");
        assert_ne!(
            with.split("Signature=").last(),
            signed("POST", uri, &[], &[b"{}"], None).split("Signature=").last()
        );
    }
}

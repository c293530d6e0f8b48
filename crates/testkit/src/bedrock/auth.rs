//! Who calls: a bearer key, or a request signed with credentials that the fake knows.
//!
//! The signature is computed anew from what arrived, so a header or a byte of the body changed after signing is
//! noticed.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use http::{HeaderMap, Method};

use crate::fault::Fault;

/// The long-lived credentials of the fake's only user: id and secret.
pub(crate) const USER: (&str, &str) = ("AKIAFAKEUSER", "fake/secret+key");
/// The temporary credentials that its services give out: id, secret and session token.
pub(crate) const SESSION: (&str, &str, &str) =
    ("ASIAFAKESESSION", "fake/session+secret", "fake/session/token==");

/// A request, as far as its signature covers it.
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
}

/// Checks a bearer key or a signature for `service`.
pub(crate) fn check(request: &Signed<'_>, service: &str) -> Result<(), Fault> {
    let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
    let value = header("authorization").unwrap_or_default();
    if let Some(key) = value.strip_prefix("Bearer ") {
        return match key {
            "" | "wrong-key" => {
                Err(Fault::new(403, "Authentication failed: Please make sure your API Key is valid."))
            }
            _ => Ok(()),
        };
    }
    let Some(fields) = value.strip_prefix("AWS4-HMAC-SHA256 ") else {
        return Err(Fault::new(403, "Missing Authentication Token"));
    };
    let field =
        |name: &str| fields.split(", ").find_map(|field| field.strip_prefix(name)).unwrap_or_default();
    let scope: Vec<_> = field("Credential=").split('/').collect();
    let [id, day, region, found, "aws4_request"] = scope.as_slice() else {
        return Err(wrong("Credential should be scoped with five parts"));
    };
    if *found != service {
        return Err(wrong(format!("Credential should be scoped to correct service: '{service}'.")));
    }
    let token = header("x-amz-security-token");
    let secret = match (*id, token) {
        (id, None) if id == USER.0 => USER.1,
        (id, Some(token)) if id == SESSION.0 && token == SESSION.2 => SESSION.1,
        _ => return Err(Fault::new(403, "The security token included in the request is invalid.")),
    };
    let stamp = header("x-amz-date").unwrap_or_default();
    if !stamp.starts_with(day) {
        return Err(wrong("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date"));
    }
    let names = field("SignedHeaders=");
    for must in
        ["host", "content-type", "x-amz-date"].into_iter().chain(token.map(|_| "x-amz-security-token"))
    {
        if !names.split(';').any(|name| name == must) {
            return Err(wrong(format!("'{must}' must be a 'SignedHeader' in the AWS Authorization.")));
        }
    }
    let canonical = canonical(request, names);
    let text = format!(
        "AWS4-HMAC-SHA256\n{stamp}\n{day}/{region}/{service}/aws4_request\n{}",
        hex(digest(&SHA256, canonical.as_bytes()).as_ref())
    );
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in [day, region, service, "aws4_request", &text] {
        key = sign(&Key::new(HMAC_SHA256, &key), part.as_bytes()).as_ref().to_vec();
    }
    if hex(&key) == field("Signature=") {
        return Ok(());
    }
    Err(wrong(format!(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access \
         Key and signing method. Consult the service documentation for details.\n\nThe Canonical String for this \
         request should have been\n'{canonical}'"
    )))
}

fn canonical(request: &Signed<'_>, names: &str) -> String {
    let line = |name: &str| {
        let values = request.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        let values: Vec<_> = values
            .map(|value| value.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "))
            .collect();
        format!("{name}:{}\n", values.join(","))
    };
    let headers: String = names.split(';').map(line).collect();
    let mut query: Vec<_> = request.query.split('&').filter(|pair| !pair.is_empty()).collect();
    query.sort_unstable();
    let path: String = request
        .path
        .bytes()
        .map(|byte| match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect();
    let body = hex(digest(&SHA256, request.body).as_ref());
    format!("{}\n{path}\n{}\n{headers}\n{names}\n{body}", request.method, query.join("&"))
}

fn wrong(message: impl Into<String>) -> Fault {
    Fault::new(403, message).code("InvalidSignatureException")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

use super::*;

fn check(status: u16, body: &str, kind: Kind, retry: Retry, message: &str) {
    let error = decode(status, &HeaderMap::new(), body.as_bytes());
    assert_eq!((error.kind(), error.retry(), error.message()), (kind, retry, message), "{body}");
    assert_eq!((error.status(), error.origin()), (status, Origin::Upstream));
}

#[test]
fn every_hosts_error_becomes_a_readable_message_and_the_right_kind() {
    use Kind::*;
    use Retry::*;
    check(
        401,
        r#"{"error":{"message":"Incorrect API key","type":"invalid_request_error","code":"invalid_api_key"}}"#,
        Authentication,
        Elsewhere,
        "Incorrect API key",
    );
    check(
        422,
        r#"{"object":"error","detail":[{"loc":["body","messages",0,"role"],"msg":"Extra inputs","type":"x"}]}"#,
        InvalidRequest,
        Never,
        "body.messages.0.role: Extra inputs",
    );
    check(401, r#"{"message":"Unauthorized"}"#, Authentication, Elsewhere, "Unauthorized");
    check(404, r#"{"detail":"Not Found"}"#, NotFound, Elsewhere, "Not Found");
    check(
        400,
        r#"{"error":"Input is too long for this"}"#,
        ContextWindow,
        Elsewhere,
        "Input is too long for this",
    );
    check(400, r#"{"error":["`a`: b","c"],"error_type":"validation"}"#, InvalidRequest, Never, "`a`: b; c");
    check(
        400,
        r#"{"error":{"code":"content_filter","message":"filtered","innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#,
        ContentPolicy,
        Elsewhere,
        "filtered",
    );
    check(
        400,
        r#"[{"error":{"code":400,"message":"API key not valid. X","status":"INVALID_ARGUMENT"}}]"#,
        Authentication,
        Elsewhere,
        "API key not valid. X",
    );
    check(429, r#"{"error":{"message":"slow down","type":"tokens"}}"#, RateLimit, Later(None), "slow down");
    check(429, r#"{"error":{"message":"m","code":"insufficient_quota"}}"#, RateLimit, Elsewhere, "m");
    check(
        503,
        "<html><head><title>503 Unavailable</title></head></html>",
        Overloaded,
        Later(None),
        "503 Unavailable",
    );
    check(502, "", Upstream, Later(None), "the provider answered with status 502 and no message");
    check(500, "boom", Upstream, Later(None), "boom");
    check(
        400,
        r#"{"success":false,"errors":[{"code":7003,"message":"no route"}]}"#,
        InvalidRequest,
        Never,
        "no route",
    );
    check(
        413,
        r#"{"message":"Current length is 9000 while limit is 8192"}"#,
        ContextWindow,
        Elsewhere,
        "Current length is 9000 while limit is 8192",
    );
    check(
        400,
        r#"{"error":{"message":"Invalid 'user': string too long. prompt is too long"}}"#,
        InvalidRequest,
        Never,
        "Invalid 'user': string too long. prompt is too long",
    );
}

#[test]
fn retry_headers_and_request_ids_are_read() {
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", "7".parse().unwrap());
    headers.insert("x-request-id", "req_1".parse().unwrap());
    let error = decode(429, &headers, b"{}");
    assert_eq!(error.retry(), Retry::Later(Some(Duration::from_secs(7))));
    assert_eq!(error.request_id(), Some("req_1"));
    headers.insert("retry-after-ms", "250".parse().unwrap());
    assert_eq!(decode(429, &headers, b"").retry(), Retry::Later(Some(Duration::from_millis(250))));
    headers.insert("retry-after-ms", "-1".parse().unwrap());
    assert_eq!(decode(503, &headers, b"").retry(), Retry::Later(Some(Duration::from_secs(7))));
    headers.insert("retry-after", "soon".parse().unwrap());
    assert_eq!(decode(503, &headers, b"").retry(), Retry::Later(None));
}

fn check_code(error: Error, expected: &str) {
    let body: serde_json::Value = serde_json::from_slice(&encode(&error)).unwrap();
    assert_eq!(body["error"]["code"], expected);
    assert_eq!(body["error"]["kind"], error.kind().code());
}

#[test]
fn the_code_for_clients_is_the_status_unless_there_is_a_telling_one() {
    check_code(Error::new(Kind::RateLimit, "m"), "429");
    check_code(Error::new(Kind::ContextWindow, "m"), "context_length_exceeded");
    let own = Error::new(Kind::NotFound, "m").with_provider(Some("model_not_found".into()), None);
    check_code(own, "model_not_found");
    let number = Error::new(Kind::NotFound, "m").with_provider(Some("404".into()), None);
    check_code(number, "404");
}

#[test]
fn nesting_without_end_does_no_harm() {
    for (open, close) in [("[", "]"), ("{\"error\":", "}"), ("{\"message\":", "}"), ("{\"detail\":[", "]}")] {
        let body = format!("{}1{}", open.repeat(50_000), close.repeat(50_000));
        assert_eq!(decode(500, &HeaderMap::new(), body.as_bytes()).kind(), Kind::Upstream);
    }
}

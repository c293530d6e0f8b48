use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> Result<Envelope> {
    Envelope::parse(Bytes::copy_from_slice(text.as_bytes()), MAX_DEPTH)
}

fn check_rewrite(body: &str, edit: impl FnOnce(&mut Edits), expected: &str) {
    let mut edits = Edits::new();
    edit(&mut edits);
    let out = parse(body).unwrap().rewrite(&edits);
    // The same edits to a body that is worth pieces.
    let long = format!("{{\"long\":\"{}\",{}", "x".repeat(20_000), &body[1..]);
    if let Ok(long) = parse(&long.replace(",}", "}").replace(", }", " }")) {
        let pieces = long.rewrite_pieces(&edits);
        assert_eq!(pieces.clone().joined().len(), pieces.len());
        assert_eq!(pieces.joined(), long.rewrite(&edits));
    }
    assert_eq!(std::str::from_utf8(&out).unwrap(), expected, "{body}");
    assert!(parse(expected).is_ok(), "{expected}");
}

#[test]
fn finds_top_level_members() {
    let envelope = parse(r#" {"model" : "a\u0062c", "stream":true,"n": 3 , "x":{"model":1}} "#).unwrap();
    assert_eq!(envelope.str("model").as_deref(), Some("abc"));
    assert_eq!(envelope.bool("stream"), Some(true));
    assert_eq!(envelope.u64("n"), Some(3));
    assert_eq!(envelope.get("x"), Some(r#"{"model":1}"#));
    let lists = parse(r#"{"a":[],"b":[[1,2],{"c":[3]},4],"d":{"e":[1,2]},"f":[ 1 ]}"#).unwrap();
    let counts = ["a", "b", "d", "f", "g"].map(|key| lists.elements(key));
    assert_eq!(counts, [Some(0), Some(3), None, Some(1), None]);
    assert_eq!(envelope.get("y"), None);
}

#[test]
fn long_strings_are_searched_to_their_end() {
    for at in [0, 7, 63, 64, 65, 127, 128, 4159, 4160, 4161, 8255, 8256, 8257, 9990] {
        for odd in ["\0", "\n", "\u{1f}", " ", "\u{7f}", "\u{80}", "ж", "\"", "\\", "\\n", "\\u0041", "\\u00"]
        {
            let text = format!(r#"{{"a":"{}{odd}{}","b":1}}"#, "x".repeat(at), "y".repeat(10_000 - at));
            let expected = serde_json::from_str::<serde_json::Value>(&text);
            assert_eq!(parse(&text).is_ok(), expected.is_ok(), "{odd:?} at {at}");
            if let (Ok(found), Ok(expected)) = (parse(&text), expected) {
                assert_eq!(found.str("a").as_deref(), expected["a"].as_str());
                assert_eq!(found.u64("b"), Some(1));
            }
            let mut bytes = text.into_bytes();
            bytes[at + 6] = 0xff;
            assert!(Envelope::parse(Bytes::from(bytes), MAX_DEPTH).is_err(), "not UTF-8 at {at}");
        }
    }
}

#[test]
fn edits_keep_every_other_byte() {
    let body = r#"{ "model": "a",  "t": 1.10, "big":12345678901234567890123 }"#;
    check_rewrite(
        body,
        |e| e.set_str("model", "b\""),
        r#"{ "model": "b\"",  "t": 1.10, "big":12345678901234567890123 }"#,
    );
    check_rewrite(body, |e| e.remove("model"), r#"{ "t": 1.10, "big":12345678901234567890123 }"#);
    check_rewrite(body, |e| e.remove("big"), r#"{ "model": "a",  "t": 1.10 }"#);
    check_rewrite(
        body,
        |e| e.rename("t", "temperature"),
        r#"{ "model": "a",  "temperature": 1.10, "big":12345678901234567890123 }"#,
    );
    check_rewrite("{}", |e| e.set_raw("a", "1"), r#"{"a":1}"#);
    check_rewrite("{ }", |e| e.set_raw("a", "1"), r#"{ "a":1}"#);
    check_rewrite("{} \n", |e| e.set_raw("a", "1"), "{\"a\":1} \n");
    check_rewrite(r#"{"a":1}"#, |e| e.remove("a"), "{}");
    check_rewrite(
        r#"{"a":1}"#,
        |e| {
            e.remove("a");
            e.set_raw("b", "2");
        },
        r#"{"b":2}"#,
    );
    check_rewrite(
        r#"{"a":1,"b":2}"#,
        |e| {
            e.remove("a");
            e.set_raw("c", "[3]");
        },
        r#"{"b":2,"c":[3]}"#,
    );
}

#[test]
fn duplicate_keys_collapse_to_the_last_at_every_depth() {
    for (body, expected) in [
        (r#"{"model":"a","model":"b"}"#, r#"{"model":"b"}"#),
        (r#"{"mod\u0065l":"a","x":1,"model":"b"}"#, r#"{"x":1,"model":"b"}"#),
        (
            r#"{"m":[{"role":"user","content":"a","content":"b"}]}"#,
            r#"{"m":[{"role":"user","content":"b"}]}"#,
        ),
        (r#"{"a":{"b":1,"b":2},"a":{"c":3,"c":4}}"#, r#"{"a":{"c":4}}"#),
    ] {
        let envelope = parse(body).unwrap();
        assert_eq!(std::str::from_utf8(envelope.body()).unwrap(), expected);
    }
    let many: String = (0..100).map(|i| format!("\"k{}\":{i},", i % 50)).collect();
    let envelope = parse(&format!("{{{}\"z\":0}}", many)).unwrap();
    assert_eq!(envelope.keys().count(), 51);
    assert_eq!(envelope.u64("k7"), Some(57));
}

#[test]
fn refuses_what_is_not_json() {
    for bad in [
        "",
        " ",
        "[]",
        "1",
        "{",
        "}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{\"a\":1}x",
        "{\"a\":01}",
        "{\"a\":1.}",
        "{\"a\":tru}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\ud800\"}",
        "{\"a\":[1,]}",
        "{\"a\":[1}",
        "{\"a\":[}",
        "{a:1}",
        "{\"a\":NaN}",
        "{\"a\":-}",
        "{\"a\":\"",
        "{\"a\":{\"b\":1,}}",
        "{\"a\":[,1]}",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
    assert!(Envelope::parse(Bytes::from_static(b"{\"a\":\"\xff\"}"), 64).is_err());
    for at in [0, 1, 7, 8, 63, 64, 65, 127, 128, 200, 219] {
        let mut bytes = format!("{{\"a\":\"{}\"}}", "x".repeat(220)).into_bytes();
        bytes[6 + at] = 0xFF;
        assert!(Envelope::parse(Bytes::from(bytes), 64).is_err(), "not UTF-8 at {at}");
        let mut text = "x".repeat(220);
        text.replace_range(at..=at, "\u{1}");
        assert!(parse(&format!("{{\"a\":\"{text}\"}}")).is_err(), "{at}");
        text.replace_range(at..=at, "\\n");
        let body = format!("{{\"a\":\"{text}\",\"b\":1}}");
        assert_eq!(parse(&body).unwrap().u64("b"), Some(1), "{at}");
    }
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(64), "]".repeat(64));
    assert!(parse(&deep).unwrap_err().message().contains("too deeply nested"));
    assert!(parse(&format!("{{\"a\":{}{}}}", "[".repeat(63), "]".repeat(63))).is_ok());
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(|f| serde_json::json!(f)),
        "\\PC{0,20}".prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            proptest::collection::vec((any::<String>(), inner), 0..5)
                .prop_map(|pairs| serde_json::Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn agrees_with_serde_json_on_valid_documents(value in any_json(), pretty: bool) {
        let body = serde_json::json!({ "first": value, "second": [value] });
        let text = if pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) }.unwrap();
        let envelope = parse(&text).unwrap();
        prop_assert_eq!(&envelope.read::<serde_json::Value>("first").unwrap().unwrap(), &body["first"]);
        prop_assert_eq!(&envelope.read::<serde_json::Value>("second").unwrap().unwrap(), &body["second"]);
    }

    #[test]
    fn agrees_with_serde_json_on_damaged_documents(value in any_json(), at: prop::sample::Index, byte: u8) {
        let mut bytes = serde_json::to_vec(&serde_json::json!({ "a": value, "b": 1 })).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let theirs = serde_json::from_slice::<serde_json::Value>(&bytes);
        let ours = Envelope::parse(Bytes::from(bytes.clone()), MAX_DEPTH);
        // Numbers beyond a double are valid JSON that serde_json's Value refuses before it reads on.
        let out_of_range = theirs.as_ref().is_err_and(|error| error.to_string().contains("out of range"));
        let readable = serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok();
        let object = theirs.as_ref().is_ok_and(serde_json::Value::is_object) || (out_of_range && readable);
        prop_assert_eq!(ours.is_ok(), object, "{}", String::from_utf8_lossy(&bytes));
        if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
            prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(ours.body()).unwrap(), theirs);
        }
    }
}

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn check(body: Value, input: Vec<EmbeddingInput>) {
    let request = decode_request(body.to_string().as_bytes()).unwrap();
    assert_eq!(request.input, input, "{body}");
}

fn check_error(body: Value, param: &str) {
    let error = decode_request(body.to_string().as_bytes()).unwrap_err();
    assert_eq!(error.param(), Some(param), "{body}: {error}");
}

#[test]
fn completion_tokens_are_shown_in_a_verbatim_answer() {
    let check = |body: &str, expected: Option<&str>| {
        let shown = show_completion_tokens(body.as_bytes()).map(|shown| String::from_utf8(shown).unwrap());
        assert_eq!(shown.as_deref(), expected, "{body}");
    };
    check(
        r#"{"data":[],"usage": {"prompt_tokens":3,"total_tokens":3},"x":1}"#,
        Some(r#"{"data":[],"usage": {"completion_tokens":0,"prompt_tokens":3,"total_tokens":3},"x":1}"#),
    );
    check(r#"{"usage":{"prompt_tokens":3,"completion_tokens":0}}"#, None);
    check(r#"{"data":[]}"#, None);
    check(r#"{"usage":{}}"#, None);
    check(r#"{"usage":null}"#, None);
    check(r#"{"usage""#, None);
}

#[test]
fn inputs_come_in_four_shapes() {
    use EmbeddingInput::{Text, Tokens};
    check(json!({"input":"a"}), vec![Text("a".into())]);
    check(json!({"input":["a","b"]}), vec![Text("a".into()), Text("b".into())]);
    check(json!({"input":[1,2]}), vec![Tokens(vec![1, 2])]);
    check(json!({"input":[[1],[2,3]]}), vec![Tokens(vec![1]), Tokens(vec![2, 3])]);
}

#[test]
fn errors_name_the_field() {
    check_error(json!({}), "input");
    check_error(json!({"input":[]}), "input");
    check_error(json!({"input":["a",true]}), "input[1]");
    check_error(json!({"input":"a","dimensions":"x"}), "dimensions");
    check_error(json!({"input":"a","encoding_format":"int8"}), "encoding_format");
}

#[test]
fn a_request_goes_on_as_it_came() {
    let body = json!({"model":"m","input":["a","b"],"dimensions":3,"encoding_format":"base64","user":"u",
        "input_type":"query"});
    let request = decode_request(body.to_string().as_bytes()).unwrap();
    let mut notices = Notices::new();
    let sent: Value = serde_json::from_slice(&encode_request(&request, "m", &mut notices)).unwrap();
    assert_eq!(sent, body);
    assert!(notices.is_empty());
    let foreign = EmbeddingRequest {
        extras: Extras { dialect: Some(Dialect::Gemini), ..request.extras.clone() },
        ..request
    };
    encode_request(&foreign, "m", &mut notices);
    assert_eq!(notices.first_dropped().unwrap().field, "input_type");
}

#[test]
fn answers_are_sorted_and_failures_are_named() {
    let body = br#"{"data":[{"index":1,"embedding":"AACAPw=="},{"index":0,"embedding":[0.5,-1]}],"model":"e",
        "usage":{"total_tokens":5}}"#;
    let response = decode_response(body).unwrap();
    assert_eq!(response.vectors, [vec![0.5, -1.0], vec![1.0]]);
    assert_eq!(response.usage.unwrap().total_input(), 5);
    for bad in ["[]", "{}", r#"{"data":[{"embedding":"AA=="}]}"#, r#"{"data":[{"embedding":["x"]}]}"#] {
        assert_eq!(decode_response(bad.as_bytes()).unwrap_err().kind(), Kind::Upstream, "{bad}");
    }
    let limited = decode_response(br#"{"error":{"message":"slow","code":429}}"#).unwrap_err();
    assert_eq!(limited.kind(), Kind::RateLimit);
}

proptest! {
    #[test]
    fn vectors_survive_both_encodings(
        vectors in proptest::collection::vec(proptest::collection::vec(-1.0e6_f32..1.0e6, 0..9), 0..4),
        base64: bool,
        tokens in 0..1000_u64,
    ) {
        let usage = Some(Usage { input: tokens, ..Usage::default() });
        let response = EmbeddingResponse { model: "m".into(), vectors, usage };
        prop_assert_eq!(decode_response(&encode_response(&response, "m", base64)).unwrap(), response);
    }

    #[test]
    fn no_bytes_make_it_panic(body: Vec<u8>) {
        let _ = decode_request(&body);
        let _ = decode_response(&body);
    }
}

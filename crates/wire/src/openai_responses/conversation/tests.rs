use proptest::prelude::*;
use serde_json::json;

use super::*;

fn envelope(body: &Value) -> Envelope {
    Envelope::parse(Bytes::from(body.to_string()), MAX_DEPTH).unwrap()
}

fn raw(text: &str) -> RawJson {
    RawJson::parse(text).unwrap()
}

fn nothing(_: &str) -> Option<RawJson> {
    None
}

#[test]
fn input_is_listed_with_types_and_ids_that_never_change() {
    let body = envelope(&json!({"input": "hi"}));
    let items = input_items(&body, "resp_1").unwrap();
    assert_eq!(input_items(&body, "resp_1").unwrap(), items);
    assert_ne!(input_items(&body, "resp_2").unwrap(), items);
    let item = items[0].to_value();
    assert!(item["id"].as_str().unwrap().starts_with("msg_"), "{item}");
    assert_eq!((&item["type"], &item["role"]), (&json!("message"), &json!("user")));
    assert_eq!(item["content"], json!([{"type": "input_text", "text": "hi"}]));

    let given =
        r#"{"type":"message","id":"msg_7","role":"user","content":[{"type":"input_text","text":"1.50"}]}"#;
    let body = format!(
        r#"{{"input":[{given},{{"role":"assistant","content":"a"}},{{"type":"function_call_output","call_id":"c","output":"x"}},{{"type":"reasoning","summary":[],"encrypted_content":"gAAA"}}]}}"#
    );
    let items = input_items(&Envelope::parse(Bytes::from(body), MAX_DEPTH).unwrap(), "r").unwrap();
    assert_eq!(items[0].get(), given);
    assert_eq!(items[1].to_value()["content"][0]["type"], "output_text");
    assert!(items[2].to_value()["id"].as_str().unwrap().starts_with("fco_"));
    assert_eq!(items[3].to_value().get("id"), None);
    assert!(input_items(&envelope(&json!({"input": [3]})), "r").unwrap_err().param() == Some("input[0]"));
    assert!(input_items(&envelope(&json!({})), "r").unwrap().is_empty());
}

fn joined(body: &Value, history: &[RawJson], stored: &dyn Fn(&str) -> Option<RawJson>) -> Result<String> {
    let body = envelope(body);
    let mut edits = Edits::new();
    with_history(&body, history, stored, &mut edits)?;
    Ok(String::from_utf8(body.rewrite(&edits).to_vec()).unwrap())
}

#[test]
fn history_stands_before_the_new_input_byte_for_byte() {
    let history = [raw(r#"{"id":"msg_1",  "type":"message"}"#), raw(r#"{"id":"fc_1","n":1.50}"#)];
    let body =
        json!({"model": "m", "previous_response_id": "resp_1", "input": [{"role": "user", "content": "go"}]});
    assert_eq!(previous(&envelope(&body)).as_deref(), Some("resp_1"));
    assert_eq!(
        joined(&body, &history, &nothing).unwrap(),
        r#"{"model":"m","input":[{"id":"msg_1",  "type":"message"},{"id":"fc_1","n":1.50},{"role":"user","content":"go"}]}"#
    );
    let body = json!({"model": "m", "input": "go \"on\""});
    assert_eq!(
        joined(&body, &history[1..], &nothing).unwrap(),
        r#"{"model":"m","input":[{"id":"fc_1","n":1.50},{"type":"message","role":"user","content":"go \"on\""}]}"#
    );
    // Nothing to add: the body stays as it is.
    assert_eq!(joined(&body, &[], &nothing).unwrap(), body.to_string());
}

#[test]
fn references_are_resolved_or_named() {
    let history = [raw(r#"{"id":"msg_1","type":"message"}"#)];
    let body = json!({"input": [{"type": "item_reference", "id": "msg_1"}, {"id": "fc_2"}, {"role": "user", "content": "x"}]});
    assert!(has_references(&envelope(&body)));
    let stored = |id: &str| (id == "fc_2").then(|| raw(r#"{"id":"fc_2","type":"function_call"}"#));
    assert_eq!(
        joined(&body, &history, &stored).unwrap(),
        r#"{"input":[{"id":"msg_1","type":"message"},{"id":"fc_2","type":"function_call"},{"role":"user","content":"x"}]}"#
    );
    let error = joined(&body, &history, &nothing).unwrap_err();
    assert_eq!((error.kind(), error.param()), (Kind::NotFound, Some("input[1].id")));
    assert!(!has_references(&envelope(&json!({"input": "x"}))));
}

#[test]
fn output_items_are_taken_verbatim() {
    let response = br#"{"id":"resp_1","output":[{"type":"message", "x":1.50},{"type":"reasoning"}]}"#;
    let items = output_items(response).unwrap();
    assert_eq!(
        items.iter().map(RawJson::get).collect::<Vec<_>>(),
        [r#"{"type":"message", "x":1.50}"#, r#"{"type":"reasoning"}"#]
    );
    assert!(output_items(b"{}").is_err() && output_items(b"x").is_err());
}

fn ours() -> Edits {
    let mut edits = Edits::new();
    edits.set_str("id", "resp_ours");
    edits.set_str("previous_response_id", "resp_before");
    edits
}

const CREATED: &str = "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"resp_theirs\",\"output\":[]}}\n\n";
const DELTA: &str = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"\\\"response\\\":{\\\"id\\\":1}\"}\n\n";
const COMPLETED: &str = "event: response.completed\ndata: {\"type\":\"response.completed\",\"sequence_number\":2,\"response\":{\"id\":\"resp_theirs\",\"previous_response_id\":\"resp_theirs_before\",\"output\":[{\"type\":\"message\",\"id\":\"msg_1\"}]}}\n\n";
const FAILED: &str = "event: response.failed\ndata: {\"type\":\"response.failed\",\"sequence_number\":0,\"response\":{\"id\":\"resp_call\",\"output\":[]}}\n\n";

#[test]
fn a_stream_goes_out_under_our_id_and_its_response_is_kept() {
    let mut passage = Passage::new(ours());
    let out = passage.pass(Bytes::from(format!("{CREATED}: keep-alive\n\n{DELTA}{COMPLETED}")));
    let out = String::from_utf8(out.to_vec()).unwrap();
    assert!(!out.contains("resp_theirs") && out.contains(DELTA), "{out}");
    let response: Value = serde_json::from_slice(passage.response().unwrap()).unwrap();
    let expected = json!({"id": "resp_ours", "previous_response_id": "resp_before", "output": [{"type": "message", "id": "msg_1"}]});
    assert_eq!(response, expected);
    assert!(out.contains(std::str::from_utf8(passage.response().unwrap()).unwrap()));
    let whole = show(Bytes::from(r#"{"id":"resp_theirs","output":[]}"#), &ours()).unwrap();
    assert_eq!(whole, r#"{"id":"resp_ours","output":[],"previous_response_id":"resp_before"}"#);
}

#[test]
fn other_events_are_not_copied_and_a_late_failure_is_numbered() {
    let mut passage = Passage::new(ours());
    let piece = Bytes::from_static(DELTA.as_bytes());
    assert_eq!(passage.pass(piece.clone()).as_ptr(), piece.as_ptr());
    assert!(passage.response().is_none());
    let out = passage.pass(Bytes::from_static(FAILED.as_bytes()));
    assert!(out.windows(20).any(|part| part == b"\"sequence_number\":1,"), "{out:?}");
    assert!(passage.response().is_some());
}

#[test]
fn an_echo_repeats_what_the_caller_set() {
    let body =
        envelope(&json!({"instructions": "x", "tools": [{"type": "function"}], "input": "y", "user": null}));
    let mut edits = Edits::new();
    echo(&body, &mut edits);
    let shown = show(Bytes::from(r#"{"id":"r","instructions":null,"tools":[]}"#), &edits).unwrap();
    assert_eq!(shown, r#"{"id":"r","instructions":"x","tools":[{"type":"function"}]}"#);
}

proptest! {
    #[test]
    fn a_passage_never_loses_a_byte_of_other_events(deltas in proptest::collection::vec("[a-z\"\\\\{}: ]{0,12}", 0..6)) {
        let mut passage = Passage::new(Edits::new());
        for delta in deltas {
            let event = format!("data: {}\n\n", json!({"type": "response.output_text.delta", "delta": delta}));
            prop_assert_eq!(passage.pass(Bytes::from(event.clone())), event.as_bytes());
        }
    }
}

//! Streams: whatever comes in whatever pieces obeys the laws, and a good stream is the whole answer.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use tollway_model::{Event, Fold, Laws, Notices};

use crate::{Codec, Framing, Restore, View, openai_responses::OpenaiResponses};

const VIEW: View<'static> = View {
    model: "group",
    id: "call_1",
    created: 1,
    include_usage: true,
    legacy_functions: false,
    framing: Framing::Sse,
};

fn events(stream: &[u8], size: usize) -> Vec<Event> {
    let mut decoder = OpenaiResponses.decoder(Restore::default());
    let mut events = Vec::new();
    stream.chunks(size).for_each(|piece| decoder.push(piece, &mut events));
    decoder.finish(&mut events);
    let mut laws = Laws::new();
    events.iter().for_each(|event| laws.check(event).unwrap_or_else(|law| panic!("{law}: {events:#?}")));
    assert!(matches!(events.last(), Some(Event::End | Event::Error(_))), "{events:#?}");
    events
}

fn sse(events: &[Value]) -> String {
    events
        .iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or("x")))
        .collect()
}

fn text() -> impl Strategy<Value = String> {
    "[a-z \u{e4}\u{1f600}\"\\\\\n{}]{0,12}[.]"
}

fn annotation() -> impl Strategy<Value = Value> {
    (0..9_u64, text()).prop_map(|(start, title)| {
        json!({"type": "url_citation", "url": "https://x", "title": title, "start_index": start, "end_index": start + 1})
    })
}

/// A complete output item.
fn item() -> impl Strategy<Value = Value> {
    let part = prop_oneof![
        (text(), vec(annotation(), 0..3)).prop_map(|(text, annotations)| {
            json!({"type": "output_text", "text": text, "annotations": annotations, "logprobs": [{"token": "a", "logprob": -1}]})
        }),
        text().prop_map(|text| json!({"type": "refusal", "refusal": text})),
    ];
    prop_oneof![
        vec(part, 1..3).prop_map(|content| json!({"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": content})),
        (vec(text(), 0..3), any::<bool>()).prop_map(|(texts, kept)| {
            let summary: Vec<_> = texts.iter().map(|text| json!({"type": "summary_text", "text": text})).collect();
            let mut item = json!({"id": "rs_1", "type": "reasoning", "summary": summary});
            if kept {
                item["encrypted_content"] = json!("gAAA=");
            }
            item
        }),
        ("[a-z]{1,5}", text()).prop_map(|(name, text)| {
            json!({"id": "fc_1", "type": "function_call", "status": "completed", "call_id": name, "name": name, "arguments": json!({"a": text}).to_string()})
        }),
        text().prop_map(|text| json!({"id": "ctc_1", "type": "custom_tool_call", "call_id": "c", "name": "patch", "input": text})),
        Just(json!({"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "q"}})),
    ]
}

fn response(items: &[Value]) -> Value {
    json!({"id": "resp_1", "object": "response", "created_at": 7, "model": "m", "status": "completed", "output": items,
        "usage": {"input_tokens": 9, "output_tokens": 5, "total_tokens": 14}, "service_tier": "flex", "tools": []})
}

/// The events of one item, each text in pieces of two letters.
fn unfold(place: usize, item: &Value, out: &mut Vec<Value>) {
    let mut say = |kind: &str, mut event: Value| {
        event["type"] = json!(kind);
        event["output_index"] = json!(place);
        out.push(event);
    };
    let pieces = |text: &Value| -> Vec<String> {
        let letters: Vec<char> = text.as_str().unwrap_or_default().chars().collect();
        letters.chunks(2).map(|piece| piece.iter().collect()).collect()
    };
    let mut added = item.clone();
    for (key, empty) in
        [("content", json!([])), ("summary", json!([])), ("arguments", json!("")), ("input", json!(""))]
    {
        if item.get(key).is_some() {
            added[key] = empty;
        }
    }
    say("response.output_item.added", json!({"item": added}));
    for (at, part) in item["summary"].as_array().into_iter().flatten().enumerate() {
        for delta in pieces(&part["text"]) {
            say("response.reasoning_summary_text.delta", json!({"summary_index": at, "delta": delta}));
        }
    }
    for (at, part) in item["content"].as_array().into_iter().flatten().enumerate() {
        let refusal = part["type"] == "refusal";
        let (kind, key) = if refusal { ("refusal", "refusal") } else { ("output_text", "text") };
        let mut empty = part.clone();
        (empty[key], empty["annotations"]) = (json!(""), json!([]));
        say("response.content_part.added", json!({"content_index": at, "part": empty}));
        for (number, delta) in pieces(&part[key]).into_iter().enumerate() {
            let logprobs = if number == 0 { part["logprobs"].clone() } else { json!([]) };
            say(
                &format!("response.{kind}.delta"),
                json!({"content_index": at, "delta": delta, "logprobs": logprobs}),
            );
        }
        for annotation in part["annotations"].as_array().into_iter().flatten() {
            say(
                "response.output_text.annotation.added",
                json!({"content_index": at, "annotation": annotation}),
            );
        }
        say("response.content_part.done", json!({"content_index": at, "part": part}));
    }
    for (key, kind) in [("arguments", "function_call_arguments"), ("input", "custom_tool_call_input")] {
        for delta in pieces(&item[key]) {
            say(&format!("response.{kind}.delta"), json!({"delta": delta}));
        }
    }
    say("response.output_item.done", json!({"item": item}));
}

fn stream(items: &[Value]) -> Vec<Value> {
    let mut out = vec![json!({"type": "response.created", "response": response(&[])})];
    items.iter().enumerate().for_each(|(place, item)| unfold(place, item, &mut out));
    out.push(json!({"type": "response.completed", "response": response(items)}));
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_stream_is_the_whole_answer_in_any_pieces(items in vec(item(), 0..5), size in 1..200_usize) {
        let whole = OpenaiResponses.decode_response(response(&items).to_string().as_bytes(), &Restore::default()).unwrap();
        let streamed = sse(&stream(&items));
        let read = events(streamed.as_bytes(), size);
        let mut fold = Fold::new();
        read.iter().cloned().for_each(|event| fold.push(event));
        let folded = fold.finish().unwrap();
        prop_assert_eq!(&folded, &whole);
        // And what we write of it reads back the same.
        let mut notices = Notices::new();
        let written = OpenaiResponses.encode_response(&whole, &VIEW, &mut notices);
        let again = OpenaiResponses.decode_response(&written, &Restore::default()).unwrap();
        prop_assert_eq!(&again.choices, &whole.choices);
        prop_assert_eq!(again.usage, whole.usage);
        let mut encoder = OpenaiResponses.encoder(&VIEW);
        let mut bytes = Vec::new();
        read.iter().for_each(|event| encoder.push(event, &mut bytes));
        let mut fold = Fold::new();
        events(&bytes, size).into_iter().for_each(|event| fold.push(event));
        prop_assert_eq!(&fold.finish().unwrap().choices, &whole.choices);
    }

    #[test]
    fn hosts_that_drop_events_or_mix_up_places_still_obey_the_laws(
        items in vec(item(), 1..4), keep in vec(0..10_u8, 80), places in vec(proptest::option::of(0..3_u64), 80), size in 1..64_usize,
    ) {
        let all = stream(&items);
        let last = all.len() - 1;
        let kept: Vec<_> = all
            .into_iter()
            .enumerate()
            .filter(|(at, _)| *at == 0 || *at == last || keep.get(*at).is_none_or(|keep| *keep > 1))
            .map(|(at, mut event)| {
                match places.get(at).copied().flatten() {
                    Some(2) => drop(event.as_object_mut().map(|event| event.remove("output_index"))),
                    Some(place) if keep.get(at) == Some(&9) => event["output_index"] = json!(place),
                    _ => {}
                }
                event
            })
            .collect();
        let streamed = sse(&kept);
        let read = events(streamed.as_bytes(), size);
        prop_assert_eq!(format!("{read:?}"), format!("{:?}", events(streamed.as_bytes(), streamed.len())));
        prop_assert!(matches!(read.last(), Some(Event::End)));
    }
}

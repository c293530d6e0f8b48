use proptest::prelude::*;
use serde_json::{Value, json};
use tollway_model::{Capabilities, Fold, Laws, Severity};

use super::*;
use crate::Framing;
use crate::openai_chat::{OpenaiChat, Quirks};

const VIEW: View<'_> = View {
    model: "m",
    id: "cmpl-1",
    created: 7,
    include_usage: true,
    legacy_functions: false,
    framing: Framing::Sse,
};

fn encode(codec: &dyn Codec, request: &Request) -> Result<(Value, Notices)> {
    let (capabilities, quirks) = (Capabilities::default(), Quirks::default());
    let target = Target { model: "up", capabilities: &capabilities, quirks: &quirks };
    let mut notices = Notices::new();
    let encoded = codec.encode_request(request, &target, &mut notices)?;
    Ok((serde_json::from_slice(&encoded.body).unwrap(), notices))
}

fn check_error(body: Value, kind: Kind, message: &str) {
    let error = OpenaiText.decode_request(body.to_string().as_bytes()).unwrap_err();
    assert_eq!((error.kind(), error.param()), (kind, Some("prompt")), "{body}");
    assert!(error.message().contains(message), "{}", error.message());
}

#[test]
fn a_prompt_becomes_one_user_message_for_chat_models() {
    let body = json!({"model":"m","prompt":["Say hi"],"max_tokens":5,"logprobs":2,"echo":true,"best_of":1,
        "stop":"\n","min_p":0.1});
    let request = OpenaiText.decode_request(body.to_string().as_bytes()).unwrap();
    let (sent, notices) = encode(&OpenaiChat, &request).unwrap();
    assert_eq!(
        sent,
        json!({"model":"up","messages":[{"role":"user","content":"Say hi"}],"max_completion_tokens":5,
            "stop":"\n","logprobs":true,"top_logprobs":2,"min_p":0.1})
    );
    let fields: Vec<_> = notices.iter().map(|n| (n.severity, n.field.as_ref())).collect();
    assert_eq!(fields, [(Severity::Dropped, "echo")]);
}

#[test]
fn the_same_dialect_gets_the_prompt_back() {
    let body = json!({"model":"up","prompt":"Say hi","suffix":"!","temperature":0.5,"stream":true,
        "logprobs":0,"stream_options":{"include_usage":true}});
    let request = OpenaiText.decode_request(body.to_string().as_bytes()).unwrap();
    assert_eq!(encode(&OpenaiText, &request).unwrap().0, body);
    let chat = OpenaiChat.decode_request(br#"{"messages":[{"role":"user","content":"x"}]}"#).unwrap();
    assert_eq!(encode(&OpenaiText, &chat).unwrap_err().kind(), Kind::Unsupported);
}

#[test]
fn prompts_that_cannot_be_translated_are_refused_by_name() {
    check_error(json!({"prompt":[1,2,3]}), Kind::Unsupported, "tokens");
    check_error(json!({"prompt":[[1,2]]}), Kind::Unsupported, "tokens");
    check_error(json!({"prompt":["a","b"]}), Kind::Unsupported, "2 prompts: send one per call");
    check_error(json!({"prompt":[]}), Kind::InvalidRequest, "one string");
    check_error(json!({}), Kind::InvalidRequest, "required");
    check_error(json!({"prompt":7}), Kind::InvalidRequest, "a string");
}

#[test]
fn answers_are_text_completions_streamed_or_not() {
    let body = json!({"id":"c1","object":"chat.completion","created":9,"model":"x","choices":[{"index":0,
        "message":{"role":"assistant","content":"hé","reasoning_content":"hm"},"finish_reason":"length",
        "logprobs":{"content":[{"token":"hé","logprob":-0.5,"bytes":null,"top_logprobs":[{"token":"ha","logprob":-1.5}]}]}}],
        "usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}});
    let answer = OpenaiText.decode_response(body.to_string().as_bytes(), &Restore::default()).unwrap();
    let mut notices = Notices::new();
    let shown: Value =
        serde_json::from_slice(&OpenaiText.encode_response(&answer, &VIEW, &mut notices)).unwrap();
    assert_eq!(
        shown["choices"],
        json!([{"text":"hé","index":0,"finish_reason":"length","logprobs":{"tokens":["hé"],
            "token_logprobs":[-0.5],"top_logprobs":[{"ha":-1.5}],"text_offset":[0]}}])
    );
    assert_eq!((&shown["object"], &shown["id"]), (&json!("text_completion"), &json!("c1")));
    assert_eq!(notices.iter().count(), 1);

    let mut encoder = OpenaiText.encoder(&VIEW);
    let mut bytes = Vec::new();
    answer.clone().into_events().iter().for_each(|event| encoder.push(event, &mut bytes));
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert!(text.ends_with("data: [DONE]\n\n") && !text.contains("hm"), "{text}");

    let mut decoder = OpenaiText.decoder(Restore::default());
    let (mut events, mut fold, mut laws) = (Vec::new(), Fold::new(), Laws::new());
    bytes.iter().for_each(|byte| decoder.push(&[*byte], &mut events));
    decoder.finish(&mut events);
    for event in events {
        laws.check(&event).unwrap();
        fold.push(event);
    }
    let read = fold.finish().unwrap();
    assert_eq!(read.choices[0].parts, [tollway_model::Part::text("hé")]);
    assert_eq!((read.choices[0].finish, read.usage), (Some(FinishReason::Length), answer.usage));
    let tokens = read.choices[0].logprobs.as_ref().unwrap().to_value();
    assert_eq!(tokens["content"][0]["top_logprobs"][0]["logprob"], json!(-1.5));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body: Vec<u8>, text in "\\{\"prompt\":[\\[\\]0-9a\",{}]{0,12}\\}") {
        let _ = OpenaiText.decode_request(&body);
        let _ = OpenaiText.decode_request(text.as_bytes());
        let _ = OpenaiText.decode_response(&body, &Restore::default());
    }
}

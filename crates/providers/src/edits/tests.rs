use bytes::Bytes;
use tollway_model::{RawJson, Severity};
use tollway_wire::json::MAX_DEPTH;

use super::*;
use crate::{EndpointSpec, Table};

const CHAT: (Operation, Dialect) = (Operation::Chat, Dialect::OpenaiChat);

fn endpoint(model: &str, extra_body: &[(&str, &str)]) -> Endpoint {
    let (provider, model) = Table::builtin().split_model(model).unwrap();
    let mut spec = EndpointSpec::new(provider, model);
    spec.api_key = Some("sk-test".into());
    spec.extra_body =
        extra_body.iter().map(|(name, raw)| ((*name).to_owned(), RawJson::parse(*raw).unwrap())).collect();
    Endpoint::build(spec, &|_| None).unwrap()
}

fn edited(
    endpoint: &Endpoint,
    lane: (Operation, Dialect),
    stream: bool,
    body: &str,
) -> (String, Vec<(Severity, String)>) {
    let envelope = Envelope::parse(Bytes::from(body.to_owned()), MAX_DEPTH).unwrap();
    let mut notices = Notices::new();
    let edits = endpoint
        .edits(
            &envelope,
            &Outgoing { operation: lane.0, dialect: lane.1, stream, allowed: &[] },
            &mut notices,
        )
        .unwrap();
    let notices = notices.iter().map(|notice| (notice.severity, notice.field.to_string())).collect();
    (String::from_utf8(envelope.rewrite(&edits).to_vec()).unwrap(), notices)
}

fn check(model: &str, stream: bool, body: &str, expected: &str) {
    assert_eq!(edited(&endpoint(model, &[]), CHAT, stream, body).0, expected, "{model} {body}");
}

fn dropped(model: &str, body: &str) -> Vec<String> {
    let (_, notices) = edited(&endpoint(model, &[]), CHAT, false, body);
    notices
        .into_iter()
        .filter(|(severity, _)| *severity == Severity::Dropped)
        .map(|(_, field)| field)
        .collect()
}

#[test]
fn a_body_that_is_right_already_needs_no_edits() {
    let body = Bytes::from_static(br#"{"model":"gpt-4o","messages":[]}"#);
    let envelope = Envelope::parse(body, MAX_DEPTH).unwrap();
    let mut notices = Notices::new();
    let edits = endpoint("openai/gpt-4o", &[])
        .edits(
            &envelope,
            &Outgoing { operation: CHAT.0, dialect: CHAT.1, stream: false, allowed: &[] },
            &mut notices,
        )
        .unwrap();
    assert!(edits.is_empty() && notices.is_empty());
}

#[test]
fn newest_claude_models_take_temperature_or_top_p() {
    let sent = |model: &str, body: &str| {
        let (sent, notices) =
            edited(&endpoint(model, &[]), (Operation::Chat, Dialect::Anthropic), false, body);
        (
            sent,
            notices.into_iter().map(|(severity, field)| format!("{severity:?} {field}")).collect::<Vec<_>>(),
        )
    };
    let both = r#"{"model":"claude-sonnet-4-5","temperature":0.2,"top_p":0.9}"#;
    let one = r#"{"model":"claude-sonnet-4-5","temperature":0.2}"#;
    assert_eq!(sent("anthropic/claude-sonnet-4-5", both), (one.to_owned(), vec!["Dropped top_p".to_owned()]));
    let harmless = r#"{"model":"claude-sonnet-4-5","temperature":0.2,"top_p":1.0}"#;
    assert_eq!(
        sent("anthropic/claude-sonnet-4-5", harmless),
        (one.to_owned(), vec!["Changed top_p".to_owned()])
    );
    assert_eq!(sent("anthropic/claude-sonnet-4-5", one), (one.to_owned(), vec![]));
    let older = r#"{"model":"claude-3-haiku-20240307","temperature":0.2,"top_p":0.9}"#;
    assert_eq!(sent("anthropic/claude-3-haiku-20240307", older), (older.to_owned(), vec![]));
}

#[test]
fn models_that_think_refuse_stop_texts() {
    let body = r#"{"messages":[],"stop":["END"]}"#;
    for model in ["openai/o3", "openai/o4-mini", "openai/gpt-5", "openai/gpt-5-mini", "openai/gpt-5.2"] {
        assert_eq!(dropped(model, body), ["stop"], "{model}");
    }
    for model in ["openai/gpt-4o", "openai/o3-mini", "openai/gpt-5-chat-latest", "openai/gpt-5.2-chat-latest"]
    {
        assert_eq!(dropped(model, body), [""; 0], "{model}");
    }
}

#[test]
fn only_models_made_for_it_search_the_web_in_a_chat() {
    let body = r#"{"messages":[],"web_search_options":{}}"#;
    assert_eq!(dropped("openai/gpt-5", body), ["web_search_options"]);
    assert_eq!(dropped("openai/gpt-4o-search-preview", body), [""; 0]);
    assert_eq!(dropped("openai/gpt-5-search-api", body), [""; 0]);
}

#[test]
fn gemini_behind_openais_dialect_gets_its_signatures_back() {
    for (model, expected) in
        [("openai/gemini-2.5-flash", true), ("openai/google/gemini-3-pro", true), ("openai/gpt-4o", false)]
    {
        assert_eq!(endpoint(model, &[]).quirks().google_extra_content, expected, "{model}");
    }
}

#[test]
fn the_model_gets_the_name_the_provider_knows() {
    check("groq/llama-3", false, r#"{ "model" : "fast" , "x":1.10}"#, r#"{ "model" : "llama-3" , "x":1.10}"#);
    check("groq/llama-3", false, "{}", r#"{"model":"llama-3"}"#);
    check("fireworks_ai/llama", false, "{}", r#"{"model":"accounts/fireworks/models/llama"}"#);
    check("fireworks_ai/accounts/me/m", false, "{}", r#"{"model":"accounts/me/m"}"#);
    check(
        "clarifai/openai.chat.gpt-4.1",
        false,
        "{}",
        r#"{"model":"https://clarifai.com/openai/chat/models/gpt-4.1"}"#,
    );
    check("clarifai/gpt", false, "{}", r#"{"model":"gpt"}"#);
}

#[test]
fn a_stream_asks_for_usage_where_the_provider_allows() {
    let asked = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#;
    check("openai/m", true, r#"{"model":"m","stream":true}"#, asked);
    check("openai/m", true, r#"{"model":"m","stream":true,"stream_options":null}"#, asked);
    check("openai/m", true, r#"{"model":"m","stream":true,"stream_options":{"include_usage":false}}"#, asked);
    check("openai/m", true, asked, asked);
    let more = r#"{"model":"m","stream":true,"stream_options":{"a":1,"include_usage":true}}"#;
    check("openai/m", true, r#"{"model":"m","stream":true,"stream_options":{"a":1}}"#, more);
    check("mistral/m", true, asked, r#"{"model":"m","stream":true}"#);
    check("openai/m", false, r#"{"model":"m","stream":true,"stream_options":{}}"#, r#"{"model":"m"}"#);
    check("openai/m", true, r#"{"model":"m","stream":false}"#, asked);
    let wrong = Envelope::parse(Bytes::from_static(br#"{"stream_options":[]}"#), MAX_DEPTH).unwrap();
    let error = endpoint("openai/m", &[])
        .edits(
            &wrong,
            &Outgoing { operation: CHAT.0, dialect: CHAT.1, stream: true, allowed: &[] },
            &mut Notices::new(),
        )
        .unwrap_err();
    assert_eq!(error.param(), Some("stream_options"));
}

#[test]
fn reasoning_models_of_openai_take_the_new_limit_and_no_sampling() {
    check(
        "openai/gpt-5",
        false,
        r#"{"model":"gpt-5","max_tokens":9}"#,
        r#"{"model":"gpt-5","max_completion_tokens":9}"#,
    );
    check(
        "openai/gpt-4o",
        false,
        r#"{"model":"gpt-4o","max_tokens":9}"#,
        r#"{"model":"gpt-4o","max_tokens":9}"#,
    );
    let sampling = r#"{"temperature":0.2,"top_p":0.9,"logprobs":true}"#;
    assert_eq!(dropped("openai/gpt-5-mini", sampling), ["logprobs", "temperature", "top_p"]);
    assert_eq!(dropped("openai/o3", sampling), ["logprobs", "temperature", "top_p"]);
    for model in ["openai/gpt-4o", "openai/gpt-5-chat-latest", "openai/gpt-5.1", "openai/gpt-5.2-chat-latest"]
    {
        assert!(dropped(model, sampling).is_empty(), "{model}");
    }
    assert!(dropped("openai/o3", r#"{"temperature":1,"top_p":1.0,"frequency_penalty":0}"#).is_empty());
    assert_eq!(dropped("openai/gpt-6-astra", sampling), ["logprobs", "temperature", "top_p"]);
    assert_eq!(dropped("openai/o1", r#"{"parallel_tool_calls":true}"#), ["parallel_tool_calls"]);
}

#[test]
fn newer_reasoning_models_refuse_sampling_only_while_they_think() {
    assert!(dropped("openai/gpt-5.1", r#"{"temperature":0.2,"reasoning_effort":"none"}"#).is_empty());
    assert_eq!(dropped("openai/gpt-5.1", r#"{"temperature":0.2,"reasoning_effort":"low"}"#), ["temperature"]);
}

#[test]
fn tools_and_thinking_do_not_meet_where_chat_completions_cannot_do_both() {
    let tools = r#""tools":[{"type":"function"}]"#;
    let with = |effort: &str| format!(r#"{{"model":"M",{tools}{effort}}}"#);
    let sent = |model: &str, effort: &str| {
        let (_, name) = model.split_once('/').unwrap();
        let body = with(effort).replace('M', name);
        edited(&endpoint(model, &[]), CHAT, false, &body).0.replace(name, "M")
    };
    let (high, none) = (r#","reasoning_effort":"high""#, r#","reasoning_effort":"none""#);
    assert_eq!(sent("openai/gpt-5.6", high), with(none));
    assert_eq!(sent("openai/gpt-5.6", ""), with(""));
    assert_eq!(sent("openai/gpt-6-sol", ""), with(none));
    assert_eq!(sent("openai/gpt-5.2", high), with(high));
    let empty = r#"{"model":"gpt-6-sol","tools":[],"reasoning_effort":"high"}"#;
    check("openai/gpt-6-sol", false, empty, empty);
}

#[test]
fn model_patterns_add_to_the_rules_of_the_row() {
    assert_eq!(
        dropped("xai/grok-4-fast", r#"{"stop":"x","web_search_options":{"a":1}}"#),
        ["web_search_options", "stop"]
    );
    assert_eq!(dropped("xai/grok-4.20-non-reasoning", r#"{"stop":"x"}"#), [""; 0]);
    assert_eq!(dropped("xai/grok-3", r#"{"stop":"x"}"#), [""; 0]);
    assert!(endpoint("openrouter/anthropic/claude-opus-5", &[]).quirks().cache_control);
    assert!(!endpoint("openrouter/openai/gpt-5", &[]).quirks().cache_control);
}

#[test]
fn extra_body_wins_and_no_field_appears_twice() {
    let endpoint = endpoint("groq/m", &[("max_tokens", "5"), ("a", r#"{"b":1}"#)]);
    let (body, _) = edited(&endpoint, CHAT, false, r#"{"model":"m","max_completion_tokens":9,"a":2}"#);
    assert_eq!(body, r#"{"model":"m","a":{"b":1},"max_tokens":5}"#);
}

#[test]
fn an_operator_may_drop_fields_and_allow_refused_ones() {
    let (provider, model) = Table::builtin().split_model("groq/m").unwrap();
    let mut spec = EndpointSpec::new(provider, model);
    spec.api_key = Some("sk-test".into());
    spec.dropped_fields = vec!["seed".to_owned(), "model".to_owned()];
    spec.allowed_fields = vec!["logprobs".to_owned(), "n".to_owned()];
    let endpoint = Endpoint::build(spec, &|_| None).unwrap();
    let (body, notices) = edited(
        &endpoint,
        CHAT,
        false,
        r#"{"model":"x","seed":1,"logprobs":true,"n":2,"logit_bias":{"1":2}}"#,
    );
    assert_eq!(body, r#"{"model":"m","logprobs":true,"n":2}"#);
    let told = [(Severity::Dropped, "logit_bias".to_owned()), (Severity::Changed, "seed".to_owned())];
    assert_eq!(notices, told);
}

#[test]
fn a_caller_may_allow_refused_fields() {
    let envelope =
        Envelope::parse(Bytes::from_static(br#"{"model":"m","logprobs":true,"logit_bias":{}}"#), MAX_DEPTH);
    let (envelope, mut notices) = (envelope.unwrap(), Notices::new());
    let allowed = ["logprobs".to_owned()];
    let outgoing = Outgoing { operation: CHAT.0, dialect: CHAT.1, stream: false, allowed: &allowed };
    let edits = endpoint("groq/m", &[]).edits(&envelope, &outgoing, &mut notices).unwrap();
    assert_eq!(&envelope.rewrite(&edits)[..], br#"{"model":"m","logprobs":true}"#);
}

#[test]
fn quirks_that_follow_from_rules_are_set_once() {
    let quirks = |model| endpoint(model, &[]).quirks().clone();
    assert!(quirks("deepseek/m").thinking_switch && !quirks("deepseek/m").max_tokens_only);
    assert!(quirks("mistral/m").required_as_any && quirks("mistral/m").max_tokens_only);
    assert!(!quirks("openai/gpt-5").thinking_switch && !quirks("openai/gpt-5").max_tokens_only);
}

#[test]
fn rules_of_the_row_do_not_reach_its_anthropic_base() {
    let endpoint = endpoint("deepseek/deepseek-v4", &[]);
    let body = r#"{"model":"x","reasoning_effort":"high","max_tokens":5,"stream":true}"#;
    let (sent, notices) = edited(&endpoint, (Operation::Chat, Dialect::Anthropic), true, body);
    assert_eq!(sent, r#"{"model":"deepseek-v4","reasoning_effort":"high","max_tokens":5,"stream":true}"#);
    assert!(notices.is_empty());
}

#[test]
fn responses_get_the_operators_fields_and_no_rules_for_chats() {
    let endpoint = endpoint("groq/m", &[("service_tier", "\"flex\"")]);
    let lane = (Operation::Chat, Dialect::OpenaiResponses);
    let body = r#"{"model":"x","top_logprobs":2,"max_output_tokens":5,"input":"1.50"}"#;
    let (sent, notices) = edited(&endpoint, lane, true, body);
    assert_eq!(
        sent,
        r#"{"model":"m","top_logprobs":2,"max_output_tokens":5,"input":"1.50","stream":true,"service_tier":"flex"}"#
    );
    assert!(notices.is_empty());
}

#[test]
fn gemini_has_model_and_stream_in_its_url() {
    let endpoint = endpoint("gemini/gemini-3-pro", &[("labels", "{}")]);
    let lane = (Operation::Chat, Dialect::Gemini);
    assert_eq!(edited(&endpoint, lane, true, r#"{"contents":[]}"#).0, r#"{"contents":[],"labels":{}}"#);
    assert_eq!(edited(&endpoint, lane, true, r#"{"model":"models/x"}"#).0, r#"{"labels":{}}"#);
}

#[test]
fn counting_and_embedding_get_no_chat_fields() {
    let anthropic = endpoint("anthropic/claude-x", &[("a", "1")]);
    let lane = (Operation::CountTokens, Dialect::Anthropic);
    assert_eq!(edited(&anthropic, lane, false, r#"{"model":"y"}"#).0, r#"{"model":"claude-x"}"#);
    let openrouter = endpoint("openrouter/m", &[]);
    let lane = (Operation::Embedding, Dialect::OpenaiChat);
    assert_eq!(
        edited(&openrouter, lane, false, r#"{"model":"m","input":"x"}"#).0,
        r#"{"model":"m","input":"x"}"#
    );
    let mistral = endpoint("mistral/embed", &[]);
    assert_eq!(
        edited(&mistral, lane, false, r#"{"model":"embed","dimensions":8,"user":"u"}"#).0,
        r#"{"model":"embed","output_dimension":8}"#
    );
}

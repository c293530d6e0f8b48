use tollway_model::{Message, RawJson, Role};

use super::*;

const ENGLISH: &str = "The gateway reserves money before a call and settles it exactly once afterwards, whatever happens. \
                       A client that goes away in the middle of a stream still pays for what the provider will bill.";
#[cfg(feature = "tokenizer")]
const CODE: &str = "fn main() {\n    let total: u64 = items.iter().map(|item| item.price * item.count).sum();\n    \
                    println!(\"{total}\");\n}\n";
#[cfg(feature = "tokenizer")]
const JSON: &str = r#"{"id":"chatcmpl-123","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hi"}}]}"#;
#[cfg(feature = "tokenizer")]
const RUSSIAN: &str = "Шлюз резервирует деньги перед вызовом и списывает их ровно один раз после него.";
#[cfg(feature = "tokenizer")]
const CHINESE: &str = "网关在调用之前预留资金,并在调用之后只结算一次。";

#[cfg(feature = "tokenizer")]
#[test]
fn counts_are_those_of_the_published_vocabularies() {
    let check = |model: &str, text: &str, tokens: u64| {
        assert_eq!(count(model, text), Count { tokens, method: Method::Exact }, "{model} {text}");
    };
    check("gpt-4o", "hello world", 2);
    check("gpt-4", "hello world", 2);
    check("azure/gpt-4o-mini", "tiktoken is great!", 6);
    check("gpt-4", "tiktoken is great!", 6);
    check("text-embedding-3-small", "", 0);
    assert!(load("gpt-4o") && is_loaded("openai/gpt-4o") && !load("claude-sonnet-4-5"));
}

#[cfg(feature = "tokenizer")]
#[test]
fn estimates_are_within_a_third_of_the_truth() {
    for text in [ENGLISH, CODE, JSON, RUSSIAN, CHINESE] {
        let (truth, guess) = (count("gpt-4o", text).tokens, estimate(text));
        assert!(guess * 3 >= truth * 2 && guess * 3 <= truth * 4, "{guess} instead of {truth}: {text}");
    }
}

#[test]
fn models_without_a_vocabulary_are_estimated() {
    assert_eq!(count("claude-sonnet-4-5", ENGLISH).method, Method::Estimate);
    assert_eq!(estimate(""), 0);
    assert_eq!(estimate("a"), 1);
}

fn request(parts: Vec<Part>) -> Request {
    Request { messages: vec![Message::new(Role::User, parts)], ..Request::default() }
}

#[cfg(feature = "tokenizer")]
#[test]
fn a_text_request_counts_as_openai_counts_it() {
    // "hello world" 2, the role 1, the message 3, the answer 3.
    let simple = request(vec![Part::text("hello world")]);
    assert_eq!(count_request("gpt-4o", &simple), Count { tokens: 9, method: Method::Exact });
}

#[test]
fn media_and_tools_are_estimates() {
    let check = |content: Content, more: u64| {
        let empty = estimate_request(&request(Vec::new()));
        let request = request(vec![Part::new(content)]);
        assert_eq!(estimate_request(&request) - empty, more, "{request:?}");
        assert_eq!(count_request("gpt-4o", &request).method, Method::Estimate);
    };
    let media = Media::base64("audio/wav", "A".repeat(64_000));
    check(Content::Image(Media::url("https://x")), 765);
    check(Content::Image(Media { detail: Some(Detail::Low), ..Media::url("https://x") }), 85);
    check(Content::Audio(media.clone()), 10);
    check(Content::Audio(Media { media_type: Some("audio/mpeg".into()), ..media.clone() }), 30);
    check(Content::Audio(Media::url("https://x")), 600);
    check(Content::File(media), 1601);
    check(Content::File(Media::url("https://x")), 1500);
    check(Content::Video(Media::url("https://x")), 2580);
    let tool = Tool::Function {
        name: "get".into(),
        description: Some("d".into()),
        parameters: RawJson::parse("{}"),
        strict: None,
        cache: None,
    };
    let with_tool = Request { tools: vec![tool], ..request(Vec::new()) };
    assert!(estimate_request(&with_tool) > estimate_request(&request(Vec::new())) + 12);
}

//! Every provider we carry, every request it can get.
//!
//! `expected.tsv` holds URL and credential of each provider as published, written down independently of the table.
//! To test a transport, walk `Table::carried()` the same way with a fake server as `api_base`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tollway_model::{Dialect, Notices, Operation, Severity};
use tollway_providers::{Auth, Endpoint, EndpointSpec, KeyNeed, Outgoing, Provider, Replacement, Table};
use tollway_wire::json::{Envelope, MAX_DEPTH};

const EXPECTED: &str = include_str!("expected.tsv");
const KEY: &str = "sk-canary-123";

struct Expected<'a> {
    id: &'a str,
    operation: Operation,
    url: &'a str,
    header: &'a str,
    value: String,
}

fn expected() -> Vec<Expected<'static>> {
    let rows = EXPECTED.lines().filter(|line| !line.starts_with('#'));
    rows.map(|line| {
        let mut columns = line.split('\t');
        let [id, operation, url, header, value] = std::array::from_fn(|_| columns.next().unwrap_or_default());
        let operation = if operation == "chat" { Operation::Chat } else { Operation::Embedding };
        Expected { id, operation, url, header, value: value.replace("KEY", KEY) }
    })
    .collect()
}

/// A deployment with a key, and an address where the provider has none.
fn endpoint(provider: &Arc<Provider>) -> Endpoint {
    let mut spec = EndpointSpec::new(provider, "model-1");
    spec.api_key = Some(KEY.into());
    spec.variables = BTreeMap::from([
        ("region".to_owned(), "example-1".to_owned()),
        ("account_id".to_owned(), "example-account".to_owned()),
    ]);
    if provider.base_url.is_none() {
        spec.api_base = Some("https://base.example".to_owned());
    }
    build(spec)
}

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn build(spec: EndpointSpec) -> Endpoint {
    Endpoint::build(spec, &|_| None).unwrap()
}

/// Does the dialect name the model in the URL?
fn in_url(dialect: Dialect) -> bool {
    matches!(dialect, Dialect::Gemini | Dialect::BedrockConverse)
}

/// Every operation, dialect and stream flag the endpoint has a URL for.
fn lanes(endpoint: &Endpoint) -> Vec<(Operation, Dialect, bool)> {
    let operations = [Operation::Chat, Operation::Completion, Operation::Embedding, Operation::CountTokens];
    let mut lanes = Vec::new();
    for operation in operations {
        for dialect in Dialect::ALL {
            for stream in [false, true] {
                if endpoint.speaks(operation, dialect) {
                    lanes.push((operation, dialect, stream));
                }
            }
        }
    }
    lanes
}

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn parse(body: &Value) -> Envelope {
    Envelope::parse(Bytes::from(body.to_string()), MAX_DEPTH).unwrap()
}

#[test]
fn every_carried_provider_is_expected_and_every_expected_one_is_carried() {
    let table = Table::builtin();
    let expected: BTreeSet<_> = expected().iter().map(|row| row.id.to_owned()).collect();
    let aliases = table.aliases().filter(|(_, id)| table.get(id).is_some_and(|provider| provider.carried()));
    let carried = table.carried().map(|provider| provider.id.clone());
    let carried: BTreeSet<_> = carried.chain(aliases.map(|(alias, _)| alias.to_owned())).collect();
    assert_eq!(carried, expected);
}

#[test]
fn requests_go_where_the_provider_says_with_the_key_where_it_wants_it() {
    for row in expected() {
        let endpoint = endpoint(Table::builtin().get(row.id).unwrap());
        let request = endpoint.request(row.operation, endpoint.dialect(), false, Bytes::new(), &[]).unwrap();
        assert_eq!(request.uri(), row.url, "{}", row.id);
        let value = request.headers().get(row.header).map(|value| value.to_str().unwrap());
        assert_eq!(value.unwrap_or("-"), row.value, "{}", row.id);
    }
}

#[test]
fn every_request_of_every_provider_is_complete_and_keeps_its_secret() {
    for provider in Table::builtin().carried() {
        let endpoint = endpoint(provider);
        assert!(!lanes(&endpoint).is_empty(), "{}", provider.id);
        for (operation, dialect, stream) in lanes(&endpoint) {
            let body = Bytes::from_static(b"{}");
            let request = endpoint.request(operation, dialect, stream, body.clone(), &[]).unwrap();
            let at = format!("{} {operation:?} {dialect} {stream}", provider.id);
            assert_eq!((request.method().as_str(), request.body()), ("POST", &body), "{at}");
            assert_eq!(request.headers()["content-type"], "application/json", "{at}");
            assert!(matches!(request.uri().scheme_str(), Some("http" | "https")), "{at}");
            let path = request.uri().path();
            for twice in ["/v1/v1", "//", "completions/chat", "embeddings/", "messages/v1"] {
                assert!(!path.contains(twice), "{at}: {path}");
            }
            assert!(!format!("{request:?} {endpoint:?}").contains("canary"), "{at}");
            let carriers = request.headers().values().filter(|value| value.to_str().unwrap().contains(KEY));
            let carriers: Vec<_> = carriers.collect();
            assert_eq!(carriers.is_empty(), provider.key == KeyNeed::None, "{at}");
            assert!(carriers.iter().all(|value| value.is_sensitive()), "{at}");
        }
    }
}

#[test]
fn what_no_rule_names_stays_byte_for_byte() {
    for provider in Table::builtin().carried() {
        let endpoint = endpoint(provider);
        for (operation, dialect, _) in lanes(&endpoint) {
            let model = Value::from(endpoint.model()).to_string();
            let model = if in_url(dialect) { String::new() } else { format!(r#" "model":  {model},"#) };
            let body =
                format!(r#"{{{model}"messages" :[{{"content":"\u00e9 1.10"}}],  "vendor_field":1.10 }}"#);
            let envelope = Envelope::parse(Bytes::from(body.clone()), MAX_DEPTH).unwrap();
            let mut notices = Notices::new();
            let edits = endpoint
                .edits(&envelope, &Outgoing { operation, dialect, stream: false, allowed: &[] }, &mut notices)
                .unwrap();
            let generates = matches!(operation, Operation::Chat | Operation::Completion);
            let second_base = dialect == Dialect::Anthropic && endpoint.dialect() != dialect;
            if generates && !second_base && !provider.rules.force.is_empty() {
                continue;
            }
            assert!(edits.is_empty() && notices.is_empty(), "{} {operation:?} {dialect}", provider.id);
            assert_eq!(envelope.rewrite(&edits), body);
        }
    }
}

#[test]
fn every_rule_of_every_row_does_what_it_says() {
    for provider in Table::builtin().carried() {
        let endpoint = endpoint(provider);
        let rules = &provider.rules;
        let mut sent = Map::new();
        let mut wanted = Map::from_iter([("model".to_owned(), Value::from(endpoint.model()))]);
        let mut dropped = BTreeSet::new();
        for (from, to) in &rules.rename {
            sent.insert(from.clone(), json!(17));
            wanted.insert(to.clone(), json!(17));
        }
        for refused in &rules.unsupported {
            let Some(value) = &refused.value else {
                sent.insert(refused.field.clone(), json!({ "asked": 1 }));
                dropped.insert(refused.field.clone());
                continue;
            };
            sent.insert(refused.field.clone(), json!(value));
            dropped.insert(refused.field.clone());
        }
        for field in rules.only.keys() {
            sent.insert(field.clone(), json!("other"));
            dropped.insert(field.clone());
        }
        sent.extend(rules.ignored.iter().map(|field| (field.clone(), json!("x"))));
        for (field, range) in &rules.clamp {
            sent.insert(field.clone(), json!(range.max.unwrap() + 1.0));
            wanted.insert(field.clone(), json!(range.max.unwrap()));
        }
        for (field, values) in &rules.map {
            let (from, to) = values.iter().next().unwrap();
            sent.insert(field.clone(), json!(if from == "*" { "anything" } else { from }));
            match to {
                Replacement::Value(value) => drop(wanted.insert(field.clone(), json!(value))),
                Replacement::Fields(fields) => wanted.extend(fields.clone()),
            }
        }
        wanted.extend(rules.force.clone());
        if in_url(endpoint.dialect()) {
            wanted.remove("model");
        }
        let envelope = parse(&Value::Object(sent));
        let mut notices = Notices::new();
        let edits = endpoint
            .edits(
                &envelope,
                &Outgoing {
                    operation: Operation::Chat,
                    dialect: endpoint.dialect(),
                    stream: false,
                    allowed: &[],
                },
                &mut notices,
            )
            .unwrap();
        let got: Value = serde_json::from_slice(&envelope.rewrite(&edits)).unwrap();
        let same = |one: &Value, two: &Value| {
            one == two || (one.is_f64() || two.is_f64()) && one.as_f64() == two.as_f64()
        };
        let object = got.as_object().unwrap();
        assert!(
            object.len() == wanted.len()
                && wanted.iter().all(|(k, v)| object.get(k).is_some_and(|got| same(got, v))),
            "{}: {got} is not {wanted:?}",
            provider.id
        );
        let told = notices.iter().filter(|notice| notice.severity == Severity::Dropped);
        assert_eq!(
            told.map(|notice| notice.field.to_string()).collect::<BTreeSet<_>>(),
            dropped,
            "{}",
            provider.id
        );
    }
}

#[test]
fn streams_ask_for_usage_unless_the_row_says_no() {
    for provider in Table::builtin().carried() {
        let endpoint = endpoint(provider);
        if endpoint.dialect() != Dialect::OpenaiChat {
            continue;
        }
        let envelope = parse(&json!({ "model": "x", "stream": true }));
        let mut notices = Notices::new();
        let edits = endpoint
            .edits(
                &envelope,
                &Outgoing {
                    operation: Operation::Chat,
                    dialect: Dialect::OpenaiChat,
                    stream: true,
                    allowed: &[],
                },
                &mut notices,
            )
            .unwrap();
        let body: Value = serde_json::from_slice(&envelope.rewrite(&edits)).unwrap();
        let asked = body.pointer("/stream_options/include_usage") == Some(&json!(true));
        assert_eq!(asked, !endpoint.quirks().no_stream_options, "{}", provider.id);
    }
}

#[test]
fn a_row_changes_each_field_in_one_way() {
    for provider in Table::builtin().carried() {
        let all = std::iter::once(&provider.rules).chain(provider.models.iter().map(|model| &model.rules));
        for rules in all {
            let renamed = rules.rename.keys().chain(rules.rename.values());
            let fields = renamed
                .chain(rules.map.keys())
                .chain(rules.clamp.keys())
                .chain(rules.only.keys())
                .chain(rules.ignored.iter())
                .chain(
                    rules
                        .unsupported
                        .iter()
                        .filter(|refused| refused.value.is_none())
                        .map(|refused| &refused.field),
                );
            let fields: Vec<_> = fields.collect();
            let distinct: BTreeSet<_> = fields.iter().collect();
            assert_eq!(fields.len(), distinct.len(), "{}: {fields:?}", provider.id);
        }
    }
}

#[test]
fn rows_are_well_formed() {
    for provider in Table::builtin().carried() {
        let id = &provider.id;
        let upper = |name: &String| {
            name.split('/').next().is_some_and(|name| {
                name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
            })
        };
        assert!(provider.key_env.iter().chain(&provider.base_url_env).all(upper), "{id}");
        assert!(provider.checked.len() == 10 && !provider.source.is_empty(), "{id}");
        assert!(!provider.serves.is_empty(), "{id}");
        assert!(provider.base_url.iter().all(|base| !base.ends_with('/')), "{id}");
        assert_eq!(provider.auth == Auth::None, provider.key == KeyNeed::None, "{id}");
    }
}

//! The calls the benchmark makes, and the gateway's configuration for them.

use std::net::SocketAddr;

/// The key clients send and the gateway's configuration holds.
pub(crate) const MASTER_KEY: &str = "sk-bench-master";

/// What a good answer looks like. Anything else is a failed call, so a fast error never counts as speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    /// A JSON body that holds the upstream's text.
    Json,
    /// A stream of at least this many events.
    Events(usize),
}

/// One request, ready to be sent any number of times.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    path: &'static str,
    body: String,
    key: String,
    pub(crate) expect: Expect,
}

impl Call {
    /// A chat call in OpenAI's dialect. `model` tells the upstream how to answer.
    pub(crate) fn openai(model: &str, stream: Option<usize>, prompt: &str) -> Call {
        let streamed = if stream.is_some() { r#""stream":true,"# } else { "" };
        let body = format!(
            r#"{{"model":"{model}",{streamed}"messages":[{{"role":"system","content":"You are a helpful assistant."}},{{"role":"user","content":"{prompt}"}}],"temperature":0.2,"max_tokens":256}}"#
        );
        Call { path: "/v1/chat/completions", body, key: MASTER_KEY.to_owned(), expect: expect(stream) }
    }

    /// The same call in Anthropic's dialect.
    pub(crate) fn anthropic(model: &str, stream: Option<usize>, prompt: &str) -> Call {
        let streamed = if stream.is_some() { r#""stream":true,"# } else { "" };
        let body = format!(
            r#"{{"model":"{model}",{streamed}"system":"You are a helpful assistant.","messages":[{{"role":"user","content":"{prompt}"}}],"temperature":0.2,"max_tokens":256}}"#
        );
        Call { path: "/v1/messages", body, key: MASTER_KEY.to_owned(), expect: expect(stream) }
    }

    /// The same call of the holder of another key.
    pub(crate) fn with_key(self, key: String) -> Call {
        Call { key, ..self }
    }

    /// The whole HTTP/1.1 request.
    pub(crate) fn bytes(&self, address: SocketAddr) -> Vec<u8> {
        format!(
            "POST {} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\naccept: application/json\r\nuser-agent: tollway-bench\r\ncontent-length: {}\r\n\r\n{}",
            self.path,
            self.key,
            self.body.len(),
            self.body
        )
        .into_bytes()
    }
}

fn expect(stream: Option<usize>) -> Expect {
    stream.map_or(Expect::Json, Expect::Events)
}

/// A short question.
pub(crate) const SHORT: &str = "Name three rivers that cross a border, and say which.";

/// A prompt of `bytes` bytes of prose.
pub(crate) fn prompt(bytes: usize) -> String {
    SHORT.chars().chain([' ']).cycle().take(bytes).collect()
}

/// Models the gateway offers: the names under which the scenarios ask for them, and who serves them.
pub(crate) const MODELS: [(&str, &str); 11] = [
    ("chat", "openai/chat"),
    ("stream200", "openai/stream200"),
    ("stream5-pause2", "openai/stream5-pause2"),
    ("hold300", "openai/hold300"),
    ("stream20-hold300", "openai/stream20-hold300"),
    ("flaky", "openai/flaky"),
    ("flaky-stream20", "openai/flaky-stream20"),
    ("claude-chat", "anthropic/chat"),
    ("claude-stream200", "anthropic/stream200"),
    ("claude-flaky", "anthropic/flaky"),
    ("claude-flaky-stream20", "anthropic/flaky-stream20"),
];

/// The gateway's configuration file.
///
/// Retries and cooldowns are off, so that an upstream error costs one attempt and the next call is tried as usual.
pub(crate) fn config(upstream: SocketAddr) -> String {
    let mut text = models(upstream, "");
    text.push_str(&format!(
        "router_settings:\n  num_retries: 0\n  disable_cooldowns: true\ngeneral_settings:\n  master_key: {MASTER_KEY}\n"
    ));
    text
}

/// The same with a price for every model, so that calls cost something, and with limits of users that hold for all
/// their keys.
pub(crate) fn priced_config(upstream: SocketAddr) -> String {
    let prices = "      input_cost_per_token: 0.00000015\n      output_cost_per_token: 0.0000006\n";
    let mut text = models(upstream, prices);
    text.push_str(&format!(
        "router_settings:\n  num_retries: 0\n  disable_cooldowns: true\ngeneral_settings:\n  master_key: {MASTER_KEY}\n"
    ));
    text
}

fn models(upstream: SocketAddr, more: &str) -> String {
    let mut text = String::from("model_list:\n");
    for (name, model) in MODELS {
        let base = if model.starts_with("openai/") { "/v1" } else { "" };
        text.push_str(&format!(
            "  - model_name: {name}\n    litellm_params:\n      model: {model}\n      api_base: http://{upstream}{base}\n      api_key: sk-bench-upstream\n{more}"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_json_and_the_length_is_right() {
        let long = prompt(100_000);
        for call in [
            Call::openai("chat", None, SHORT),
            Call::openai("stream200", Some(200), SHORT),
            Call::anthropic("chat", None, &long),
        ] {
            serde_json::from_str::<serde_json::Value>(&call.body).unwrap();
            let bytes = call.bytes("127.0.0.1:80".parse().unwrap());
            let text = String::from_utf8(bytes).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
        }
    }
}

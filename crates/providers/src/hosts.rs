//! Hosts: whose is the one that calls go to?

use std::sync::LazyLock;

use crate::Table;
use crate::pattern;

/// The host of an address, in lower case: without scheme, port, path, and the dot that may end a name.
pub(crate) fn host(address: &str) -> String {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host.trim_end_matches('.').to_ascii_lowercase()
}

/// Is it this machine?
pub(crate) fn is_loopback(host: &str) -> bool {
    let is_address = |address: std::net::IpAddr| address.is_loopback();
    host == "localhost" || host.ends_with(".localhost") || host.parse().is_ok_and(is_address)
}

/// Does a row of the table name this host, as its address or among the other hosts of its provider? Who answers there
/// sends bills, under whichever provider's name it is called.
pub(crate) fn is_public(name: &str) -> bool {
    static PATTERNS: LazyLock<Vec<String>> = LazyLock::new(|| {
        let addresses = |row: &crate::Provider| {
            let native = row.anthropic.as_ref().map(|native| native.base_url.clone());
            let own = row.base_url.iter().cloned().chain(native).map(|address| any_name(&host(&address)));
            own.chain(row.hosts.iter().cloned()).collect::<Vec<_>>()
        };
        let all = Table::builtin().iter().flat_map(|row| addresses(row));
        all.filter(|pattern| pattern.contains('.') && !is_loopback(pattern)).collect()
    });
    pattern::any(&PATTERNS, name)
}

/// `bedrock-runtime.{region}.amazonaws.com` as a pattern.
fn any_name(host: &str) -> String {
    let mut pattern = String::with_capacity(host.len());
    let mut rest = host;
    while let Some((before, behind)) = rest.split_once('{') {
        pattern.push_str(before);
        pattern.push('*');
        rest = behind.split_once('}').map_or("", |(_, rest)| rest);
    }
    pattern.push_str(rest);
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_read_from_every_form_of_an_address() {
        for (address, expected) in [
            ("https://API.openai.com/v1", "api.openai.com"),
            ("https://api.openai.com:443?x=1", "api.openai.com"),
            ("https://api.openai.com./v1", "api.openai.com"),
            ("http://[::1]:8000/v1", "::1"),
            ("api.groq.com", "api.groq.com"),
        ] {
            assert_eq!(host(address), expected);
        }
        assert_eq!(any_name("model-{model}.api.baseten.co"), "model-*.api.baseten.co");
    }

    #[test]
    fn public_hosts_are_known_and_others_are_not() {
        for known in [
            "api.openai.com",
            "eu.api.openai.com",
            "mine.openai.azure.com",
            "mine.services.ai.azure.com",
            "mine.cognitiveservices.azure.com",
            "bedrock-runtime.eu-central-1.amazonaws.com",
            "europe-west4-aiplatform.googleapis.com",
            "dashscope-intl.aliyuncs.com",
            "router.huggingface.co",
        ] {
            assert!(is_public(known), "{known}");
        }
        for own in [
            "localhost",
            "127.0.0.1",
            "10.0.0.7",
            "vllm.example.com",
            "api.openai.com.example.com",
            "openai.azure.com.example.com",
            "notopenai.azure.com",
            "ec2-1-2-3-4.compute.amazonaws.com",
            "mine.cloudapp.azure.com",
            "{base_url}",
            "",
        ] {
            assert!(!is_public(own), "{own}");
        }
    }
}

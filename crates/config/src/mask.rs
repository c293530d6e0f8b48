//! Keeps secrets out of the source lines that diagnostics show.
//!
//! Two nets: values whose key says they are secret (known by position once the file parses, by the text of the line
//! when it does not), and anything that looks like a key or carries a password in a URL.
//! A masked stretch keeps its length, so that the caret still points at the right column.

use crate::scalar::boolean;

/// Does a key of this name hold a secret?
pub(crate) fn is_secret_key(key: &str) -> bool {
    const PARTS: [&str; 8] = [
        "api_key",
        "api-key",
        "apikey",
        "secret",
        "password",
        "authorization",
        "private_key",
        "connection_string",
    ];
    const NAMES: [&str; 11] = [
        "token",
        "database_url",
        "redis_url",
        "cookie",
        "headers",
        "extra_headers",
        "static_headers",
        "generic_logger_headers",
        "credential_values",
        "vertex_credentials",
        "auth_value",
    ];
    // `max_input_tokens` and `input_cost_per_token` count tokens; `client_ids` and `key_name` only name things.
    const NOT: [&str; 4] = ["max_", "cost", "_name", "default_api_key_"];
    const ENDS: [&str; 4] = ["key", "_token", "-token", "_credentials"];
    let key = key.to_ascii_lowercase();
    let named = PARTS.iter().any(|part| key.contains(part))
        || NAMES.contains(&key.as_str())
        || ENDS.iter().any(|end| key.ends_with(end));
    named && !NOT.iter().any(|part| key.contains(part))
}

/// `line` with the byte ranges of `hidden`, and whatever looks secret, replaced by asterisks.
pub(crate) fn line(line: &str, mut hidden: Vec<(usize, usize)>) -> String {
    hidden.extend(values_of_secret_keys(line));
    hidden.extend(secret_looking(line));
    hidden.sort_unstable();
    let mut hidden = hidden.into_iter().peekable();
    let mut until = 0;
    let show = |(at, character): (usize, char)| {
        while let Some((_, to)) = hidden.next_if(|(from, _)| *from <= at) {
            until = until.max(to);
        }
        match character {
            _ if at < until => '*',
            // A terminal must not obey what a file contains.
            character if character.is_control() => ' ',
            character => character,
        }
    };
    line.char_indices().map(show).collect()
}

/// The text after `key:` up to the end of the value, for every key on the line that names a secret.
fn values_of_secret_keys(line: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (colon, _) in line.match_indices(':') {
        let (before, after) = (line.get(..colon).unwrap_or(""), line.get(colon + 1..).unwrap_or(""));
        let key = before
            .trim_end_matches(['"', '\''])
            .rsplit(|character: char| !(character.is_alphanumeric() || "_-".contains(character)))
            .next()
            .unwrap_or("");
        let start = colon + 1 + (after.len() - after.trim_start().len());
        let value = after.trim();
        if is_secret_key(key) && !value.starts_with(['{', '[', '&', '|', '>', '#']) {
            let ends =
                if line.get(..colon).is_some_and(|text| text.contains('{')) { &[',', '}'][..] } else { &[] };
            let end = value.find(ends).unwrap_or(value.len());
            if value.get(..end).is_some_and(may_be_secret) {
                found.push((start, start + end));
            }
        }
    }
    found
}

/// Byte ranges of all that is indented under a key that names a secret: what can be told of a text that does not parse.
pub(crate) fn under_secret_keys(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut under: Option<usize> = None;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let content = line.trim_start_matches([' ', '-', '\t']);
        let indent = line.len() - content.len();
        if under.is_some_and(|secret| indent > secret || content.trim().is_empty()) {
            found.push((start + indent, start + line.trim_end().len().max(indent)));
        } else {
            let key = content.split(':').next().unwrap_or("").trim_matches(['"', '\'', ' ']);
            let is_secret = content.contains(':') && (is_secret_key(key) || key == "environment_variables");
            under = is_secret.then_some(indent);
        }
        start += line.len();
    }
    found
}

/// A text that quotes values, without those that look secret.
pub(crate) fn text(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut done = 0;
    let mut found = secret_looking(text);
    found.sort_unstable();
    for (from, to) in found {
        if from >= done {
            masked.push_str(text.get(done..from).unwrap_or_default());
            masked.push_str("***");
        }
        done = done.max(to);
    }
    masked.push_str(text.get(done..).unwrap_or_default());
    masked
}

/// Can the value of a key that names a secret be one? A reference only names it, and no secret is a mere yes or no.
pub(crate) fn may_be_secret(value: &str) -> bool {
    let value = value.trim().trim_matches(['"', '\'']);
    !value.starts_with("os.environ/") && boolean(value).is_none()
}

/// Stretches that look like a key or a password, whatever the key is called.
fn secret_looking(line: &str) -> Vec<(usize, usize)> {
    const STARTS: [&str; 9] = ["sk-", "pk-", "rk-", "AKIA", "AIza", "ghp_", "gsk_", "xox", "eyJ"];
    let is_word = |character: char| character.is_ascii_alphanumeric() || "_-.+=".contains(character);
    let mut found = Vec::new();
    let mut at = 0;
    for word in line.split(|character| !is_word(character)) {
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        let letters = word.bytes().filter(u8::is_ascii_alphabetic).count();
        let prefixed = word.len() > 6 && STARTS.iter().any(|start| word.starts_with(start));
        let upper = word.bytes().filter(u8::is_ascii_uppercase).count();
        // Names of models have digits and capitals, too, and dashes between them.
        let mixed = digits >= 2 && upper >= 4 && letters - upper >= 4 && !word.contains('-');
        let mostly = digits >= 6 && letters >= 6;
        let random = word.len() >= 32 && (mostly || mixed) && !word.contains("per_token");
        if prefixed || random {
            found.push((at, at + word.len()));
        }
        at += word.len();
        at += line.get(at..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
    }
    for (start, _) in line.match_indices("://") {
        let rest = line.get(start + 3..).unwrap_or("");
        let authority = rest.split(['/', '?', '#', ' ', '"', '\'']).next().unwrap_or("");
        if let Some(user_info) = authority.rfind('@') {
            found.push((start + 3, start + 3 + user_info));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(line(text, Vec::new()), expected);
    }

    #[test]
    fn a_message_quotes_no_secret() {
        let message = "`rpm` must be a number, not `sk-abcdefghijkl`; see http://me:pw@x/ or key: 3";
        assert_eq!(text(message), "`rpm` must be a number, not `***`; see http://***@x/ or key: 3");
    }

    #[test]
    fn secrets_are_masked_and_names_stay() {
        check("  api_key: hunter2", "  api_key: *******");
        check("  api_key: os.environ/OPENAI_API_KEY", "  api_key: os.environ/OPENAI_API_KEY");
        check("{model: a, api_key: hunter2, rpm: 3}", "{model: a, api_key: *******, rpm: 3}");
        check("database_url: \"postgres://u:p@h/db\"", "database_url: *********************");
        check("target: postgres://u:p@h/db", "target: postgres://***@h/db");
        check("model_name: sk-abcdefghijkl", "model_name: ***************");
        check("apikey: hunter2", "apikey: *******");
        check("masterkey: hunter2", "masterkey: *******");
        check("  x: sk-1234", "  x: *******");
        check("redact_user_api_key_info: true", "redact_user_api_key_info: true");
        check("{api_key: hunter2, redact_api_key: no, a: 1}", "{api_key: *******, redact_api_key: no, a: 1}");
        check("rpm: XdDNtwBzLTBoxhTot8YGaLEk2wBxuPRuxPHL", "rpm: ************************************");
        check(
            "model: Meta-Llama-3.1-70B-Instruct-Turbo-Free",
            "model: Meta-Llama-3.1-70B-Instruct-Turbo-Free",
        );
        check("max_tokens: 400", "max_tokens: 400");
        check("max_headers: 400", "max_headers: 400");
        check("max_input_token: 400", "max_input_token: 400");
        check("litellm_credential_name: eu", "litellm_credential_name: eu");
        check("input_cost_per_token: 0.1", "input_cost_per_token: 0.1");
        check("routing_strategy: least-busy", "routing_strategy: least-busy");
        check("model: ü\u{1b}[31m", "model: ü [31m");
    }
}

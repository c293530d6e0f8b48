//! Is a master key worth the name?
//!
//! A gateway with a sample key is found and emptied within days: its provider keys pay for whoever asks.

use tollway_model::Secret;

use crate::config::Config;
use crate::diagnostic::{Diagnostic, Severity};

/// Fewest characters of a master key.
const SHORTEST: usize = 16;
/// Fewest different characters, so that length alone is not enough.
const FEWEST_DIFFERENT: usize = 8;

/// Keys from documentation, tutorials and templates, without `sk-` and in lower case.
const SAMPLES: &[&str] = &[
    "1234",
    "12345",
    "123456",
    "1234567",
    "12345678",
    "123456789",
    "1234567890",
    "0123456789",
    "0987654321",
    "abc123",
    "admin",
    "changeme",
    "change-me",
    "changeit",
    "default",
    "dummy",
    "example",
    "fake",
    "key",
    "litellm",
    "litellm-master-key",
    "litellm-1234",
    "localkey",
    "master",
    "master-key",
    "masterkey",
    "my-key",
    "my-master-key",
    "my-secret-key",
    "none",
    "null",
    "openai",
    "password",
    "placeholder",
    "proxy",
    "replace-me",
    "replace-with-your-key",
    "sample",
    "secret",
    "some-key",
    "super-secret",
    "super-secret-key",
    "supersecret",
    "test",
    "test-key",
    "testing",
    "todo",
    "tollway",
    "your-key",
    "your-api-key",
    "your-litellm-key",
    "your-litellm-master-key",
    "your-master-key",
    "your-master-key-here",
    "your-key-here",
    "your-secret-key",
    "your-secret-master-key",
    "xxx",
    "xxxx",
    "your_master_key",
    "my_master_key",
    "change_me",
    "your_litellm_master_key",
    "your_api_key",
    "litellm_master_key",
];

/// Words that make an otherwise long key a template that was never filled in.
const TEMPLATES: &[&str] = &[
    "your-",
    "your_",
    "changeme",
    "change-me",
    "change_me",
    "replace",
    "example",
    "placeholder",
    "<",
    "xxxx",
];

/// Is `key` fit to protect a gateway that others can reach?
///
/// At least 16 characters after `sk-`, at least 8 different ones, and none of the samples of documentation and
/// templates.
///
/// # Errors
/// Says what is wrong with it and how to make a better one. The key itself is not in the text.
pub fn check_master_key(key: &str) -> Result<(), String> {
    let advice = "make one with `openssl rand -hex 24`, and keep the `sk-` in front";
    let bare = key.trim();
    let bare = bare.strip_prefix("sk-").unwrap_or(bare).to_ascii_lowercase();
    let fold = bare.replace(['-', '_', ' '], "");
    let is_sample = SAMPLES.iter().any(|sample| *sample == bare || sample.replace(['-', '_'], "") == fold);
    if bare.is_empty() {
        return Err(format!("the master key is empty; {advice}"));
    }
    if is_sample || TEMPLATES.iter().any(|template| bare.contains(template)) {
        return Err(format!("the master key is a sample that everybody knows; {advice}"));
    }
    if bare.chars().count() < SHORTEST {
        return Err(format!("the master key is shorter than {SHORTEST} characters; {advice}"));
    }
    let mut different: Vec<char> = bare.chars().collect();
    different.sort_unstable();
    different.dedup();
    if different.len() < FEWEST_DIFFERENT || is_run(&bare) {
        return Err(format!("the master key is too regular to be hard to guess; {advice}"));
    }
    Ok(())
}

/// Do most characters just follow the one before, as in `abcdefgh` or `12345678`?
fn is_run(text: &str) -> bool {
    let steps: Vec<i32> =
        text.bytes().zip(text.bytes().skip(1)).map(|(one, two)| i32::from(two) - i32::from(one)).collect();
    let regular = steps.iter().filter(|step| (-1..=1).contains(*step)).count();
    regular * 4 > steps.len() * 3
}

/// What a weak master key means for starting: an error where the gateway can be reached by others, else a danger.
///
/// None at all is neither: the gateway then makes a strong key of its own.
pub(crate) fn judge(config: &Config, public: bool) -> Option<Diagnostic> {
    let general = &config.general_settings;
    let problem = check_master_key(general.master_key.as_ref().map(Secret::expose)?).err()?;
    let refused = public && !general.dangerously_permit_weak_or_unset_master_key;
    let severity = if refused { Severity::Error } else { Severity::Danger };
    let diagnostic = Diagnostic::new(severity, "weak-master-key", problem);
    Some(if refused {
        diagnostic.help("or listen on 127.0.0.1 only")
    } else {
        diagnostic.note("anyone who reaches the gateway may spend on its providers")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: &str, expected: Option<&str>) {
        let outcome = check_master_key(key);
        match expected {
            None => assert_eq!(outcome, Ok(()), "{key}"),
            Some(part) => {
                assert!(outcome.clone().is_err_and(|problem| problem.contains(part)), "{key}: {outcome:?}")
            }
        }
    }

    #[test]
    fn samples_and_weak_keys_are_refused() {
        for sample in [
            "sk-1234",
            "1234",
            "sk-12345",
            "changeme",
            "sk-your-master-key",
            "Your_Master_Key",
            "sk-litellm",
            "sk-litellm-master-key",
            "sk-<your-litellm-key-here>",
            "sk-replace-with-a-long-random-string",
        ] {
            check(sample, Some("sample"));
        }
        check("", Some("empty"));
        check("sk-", Some("empty"));
        check("sk-9fK2xQ", Some("shorter"));
        check("aaaaaaaaaaaaaaaaaaaaaaaa", Some("regular"));
        check("abcdefghijklmnopqrstuvwxyz", Some("regular"));
        check("sk-12345678901234567890", Some("regular"));
        check("sk-4f9a1c07e2b85d3366f0a9c1", None);
        check("correct horse battery staple", None);
    }

    #[test]
    fn the_key_is_not_in_the_text() {
        let problem = check_master_key("sk-hunter2").expect_err("short");
        assert!(!problem.contains("hunter2"));
    }
}

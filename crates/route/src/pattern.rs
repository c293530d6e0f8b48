//! Model names with one `*`.

/// A model name with one `*`, such as `openai/*`, `*` or `bedrock/*-sonnet`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    prefix: String,
    suffix: String,
}

impl Pattern {
    /// Reads a pattern; `None` when `name` has no `*` and so is a plain name.
    ///
    /// Only the first `*` is special.
    pub fn parse(name: &str) -> Option<Pattern> {
        let (prefix, suffix) = name.split_once('*')?;
        Some(Pattern { prefix: prefix.to_owned(), suffix: suffix.to_owned() })
    }

    /// Every name that begins with `prefix` and goes on.
    pub fn with_prefix(prefix: impl Into<String>) -> Pattern {
        Pattern { prefix: prefix.into(), suffix: String::new() }
    }

    /// What the `*` stands for in `name`; `None` when the name does not match.
    pub fn capture<'a>(&self, name: &'a str) -> Option<&'a str> {
        let rest = name.strip_prefix(self.prefix.as_str())?;
        let captured = rest.strip_suffix(self.suffix.as_str())?;
        (!captured.is_empty()).then_some(captured)
    }

    /// Longer patterns are more specific and are tried first.
    pub fn specificity(&self) -> usize {
        self.prefix.len() + self.suffix.len()
    }

    /// `template` with its `*` replaced by what was captured.
    pub fn fill(template: &str, captured: &str) -> String {
        template.replacen('*', captured, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, name: &str, expected: Option<&str>) {
        assert_eq!(Pattern::parse(pattern).unwrap().capture(name), expected, "{pattern} on {name}");
    }

    #[test]
    fn a_pattern_captures_what_its_star_stands_for() {
        check("openai/*", "openai/gpt-4o", Some("gpt-4o"));
        check("*", "anything/at-all", Some("anything/at-all"));
        check("bedrock/*-sonnet", "bedrock/claude-3-sonnet", Some("claude-3"));
        check("openai/*", "openai/", None);
        check("openai/*", "azure/gpt-4o", None);
        assert_eq!(Pattern::parse("gpt-4o"), None);
        assert_eq!(Pattern::fill("openai/*", "gpt-4o"), "openai/gpt-4o");
    }
}

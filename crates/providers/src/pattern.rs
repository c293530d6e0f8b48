//! Patterns of model names.

/// Does `text` match `pattern`? `*` stands for any text, `?` for one character that is not `/`.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut seen) = (0, 0);
    // Where to go on after a mismatch: behind the last star, one more byte eaten by it.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        match (pattern.get(at), text.get(seen)) {
            (Some(b'*'), _) => {
                retry = Some((at + 1, seen));
                at += 1;
            }
            (None, None) => return true,
            (Some(b'?'), Some(byte)) if *byte != b'/' => (at, seen) = (at + 1, seen + 1),
            (Some(want), Some(byte)) if want == byte => (at, seen) = (at + 1, seen + 1),
            _ => {
                let Some((after_star, eaten)) = retry.filter(|(_, eaten)| *eaten < text.len()) else {
                    return false;
                };
                retry = Some((after_star, eaten + 1));
                (at, seen) = (after_star, eaten + 1);
            }
        }
    }
}

/// Does `text` match one of `patterns`?
pub(crate) fn any(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(pattern: &str, yes: &[&str], no: &[&str]) {
        for text in yes {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for text in no {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn stars_and_question_marks_match_as_documented() {
        check("gpt-5", &["gpt-5"], &["gpt-5-mini", "gpt-", ""]);
        check("gpt-5*", &["gpt-5", "gpt-5.1", "gpt-5-mini"], &["gpt-4o", "xgpt-5"]);
        check("*claude*", &["claude", "anthropic/claude-opus-5"], &["gpt"]);
        check("????????", &["abcd1234"], &["abcd/234", "abcd123", "abcd12345"]);
        check("gpt-5.?-chat*", &["gpt-5.2-chat-latest"], &["gpt-5-chat", "gpt-5.22-chat"]);
        check("a*b*c", &["abc", "aXbXbXc"], &["ab", "acb"]);
        check("*", &["", "x"], &[]);
    }

    proptest! {
        #[test]
        fn a_star_matches_whatever_is_between(head in "[a-b]{0,4}", middle in "[a-b]{0,6}", tail in "[a-b]{0,4}") {
            let (pattern, text) = (format!("{head}*{tail}"), format!("{head}{middle}{tail}"));
            prop_assert!(matches(&pattern, &text));
        }
    }
}

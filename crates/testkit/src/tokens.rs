//! The fake's tokenizer: four characters are one token.

/// Tokens of `text`: one per started four characters, none for an empty text.
pub fn count(text: &str) -> usize {
    text.chars().count().div_ceil(CHARS)
}

/// Characters of one token.
pub(crate) const CHARS: usize = 4;

/// The longest prefix of `text` that is at most `limit` tokens.
pub(crate) fn first(text: &str, limit: usize) -> &str {
    let end = text.char_indices().nth(limit.saturating_mul(CHARS)).map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or(text)
}

/// A text of exactly `n` tokens, one word a token.
pub(crate) fn words(n: usize) -> String {
    const WORDS: [&str; 8] = ["all ", "the ", "way ", "you ", "can ", "see ", "far ", "sky "];
    WORDS.iter().copied().cycle().take(n).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_characters_are_one_token_in_any_script() {
        for (text, tokens) in [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("日本語です", 2)] {
            assert_eq!(count(text), tokens, "{text}");
        }
        assert_eq!(count(&words(1000)), 1000);
        assert_eq!(first("日本語です", 1), "日本語で");
        assert_eq!(first("ab", 9), "ab");
    }
}

//! The text of a statement.

use std::borrow::Cow;
use std::fmt::Write as _;

/// A statement's text: a constant, or assembled from constants. Data goes into parameters `$1`, `$2` …, never here.
#[derive(Debug, Clone)]
pub struct Statement {
    text: Cow<'static, str>,
    planned_anew: bool,
}

impl Statement {
    /// A text put together from constants and [`placeholders`]. Never from anything that came from a caller.
    pub fn assembled(text: String) -> Statement {
        Statement { text: Cow::Owned(text), planned_anew: false }
    }

    /// PostgreSQL plans it for its parameters each time it runs. Without this it settles on one plan for all after a few
    /// times, which is quicker and much worse where the best way depends on what is asked: on how many days, say.
    pub fn planned_anew(self) -> Statement {
        Statement { planned_anew: true, ..self }
    }

    pub(super) fn is_planned_anew(&self) -> bool {
        self.planned_anew
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl From<&'static str> for Statement {
    fn from(text: &'static str) -> Statement {
        Statement { text: Cow::Borrowed(text), planned_anew: false }
    }
}

/// `($1, $2), ($3, $4)`: `rows` groups of `columns` placeholders, for `VALUES`. Most databases take at most 32,766
/// placeholders in a statement.
pub fn placeholder_rows(rows: usize, columns: usize) -> String {
    let mut text = String::with_capacity(rows * columns * 7);
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        text.push_str(&placeholders(row * columns + 1, columns));
        text.push(')');
    }
    text
}

/// `$3, $4, $5`: `count` placeholders beginning with number `first`.
pub fn placeholders(first: usize, count: usize) -> String {
    let mut text = String::with_capacity(count * 6);
    for number in first..first + count {
        // Writing to a string cannot fail.
        let _ = write!(text, "{}${number}", if number == first { "" } else { ", " });
    }
    text
}

/// The pattern for `LIKE $n ESCAPE '\'` that finds `text` anywhere; `%` and `_` in it are plain characters.
pub fn containing(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_numbered_through() {
        assert_eq!(placeholders(3, 3), "$3, $4, $5");
        assert_eq!(placeholders(1, 0), "");
        assert_eq!(placeholder_rows(2, 2), "($1, $2), ($3, $4)");
    }

    #[test]
    fn wildcards_in_a_pattern_are_plain_characters() {
        assert_eq!(containing("50%_\\x"), "%50\\%\\_\\\\x%");
    }
}

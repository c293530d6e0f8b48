//! The known word a misspelt one was probably meant to be.

/// The nearest of `words` to `wrong`, when it is near enough to be meant: about one slip in three letters.
pub fn nearest<'w>(wrong: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let folded = fold(wrong);
    let allowed = (folded.len() / 3).clamp(1, 5);
    words
        .into_iter()
        .map(|word| (distance(&folded, &fold(word), allowed + 1), word))
        .filter(|(distance, word)| *distance <= allowed && *word != wrong)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Case, `-` and `_` are not worth a slip.
fn fold(word: &str) -> Vec<char> {
    word.chars()
        .take(80)
        .map(|letter| if letter == '-' { '_' } else { letter.to_ascii_lowercase() })
        .collect()
}

/// Insertions, deletions, changes and swaps of neighbours between two words; `limit` when there are at least so many.
#[expect(clippy::indexing_slicing, reason = "every index is below the lengths the rows are made with")]
fn distance(one: &[char], two: &[char], limit: usize) -> usize {
    if one.len().abs_diff(two.len()) >= limit {
        return limit;
    }
    let mut before: Vec<usize> = vec![0; two.len() + 1];
    let mut last: Vec<usize> = (0..=two.len()).collect();
    for (row, letter) in one.iter().enumerate() {
        let mut next = vec![row + 1; two.len() + 1];
        for (column, other) in two.iter().enumerate() {
            let changed = last[column] + usize::from(letter != other);
            next[column + 1] = changed.min(last[column + 1] + 1).min(next[column] + 1);
            let swapped = row > 0 && column > 0 && *letter == two[column - 1] && one[row - 1] == *other;
            if swapped && letter != other {
                next[column + 1] = next[column + 1].min(before[column - 1] + 1);
            }
        }
        before = std::mem::replace(&mut last, next);
    }
    last[two.len()].min(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: [&str; 5] = ["routing_strategy", "num_retries", "timeout", "api_key", "api_base"];

    fn check(wrong: &str, expected: Option<&str>) {
        assert_eq!(nearest(wrong, WORDS), expected, "{wrong}");
    }

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        check("routing_stratgy", Some("routing_strategy"));
        check("routing-strategy", Some("routing_strategy"));
        check("num_retires", Some("num_retries"));
        check("Timeout", Some("timeout"));
        check("apikey", Some("api_key"));
        check("tiemout", Some("timeout"));
        check("colour", None);
        check("", None);
    }
}

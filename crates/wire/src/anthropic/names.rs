//! Names and ids the API accepts, and the way back.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// Longest tool name the API takes.
const LONGEST_NAME: usize = 128;

/// Replaces what `^[a-zA-Z0-9_-]+$` refuses, never giving two originals one name.
///
/// Originals that are fine keep their names: they are all known before the first is rewritten.
pub(crate) struct Rewriter<'a> {
    longest: usize,
    taken: HashSet<Cow<'a, str>>,
    rewritten: HashMap<&'a str, String>,
}

impl<'a> Rewriter<'a> {
    /// For tool names.
    pub(crate) fn names(all: impl Iterator<Item = &'a str> + Clone) -> Rewriter<'a> {
        Rewriter::new(all, LONGEST_NAME, "tool")
    }

    /// For tool call ids.
    pub(crate) fn ids(all: impl Iterator<Item = &'a str> + Clone) -> Rewriter<'a> {
        Rewriter::new(all, usize::MAX, "call")
    }

    /// Names of at most `longest` bytes; an empty one becomes `fallback`.
    pub(crate) fn new(
        all: impl Iterator<Item = &'a str> + Clone,
        longest: usize,
        fallback: &str,
    ) -> Rewriter<'a> {
        let taken = all.clone().filter(|name| is_fine(name, longest)).map(Cow::Borrowed).collect();
        let mut rewriter = Rewriter { longest, taken, rewritten: HashMap::new() };
        for name in all.filter(|name| !is_fine(name, longest)) {
            if !rewriter.rewritten.contains_key(name) {
                let new = rewriter.free(name, fallback);
                rewriter.rewritten.insert(name, new);
            }
        }
        rewriter
    }

    /// The name to send.
    pub(crate) fn get<'b>(&'b self, name: &'b str) -> &'b str {
        self.rewritten.get(name).map_or(name, String::as_str)
    }

    /// A name near `wanted` that no other has.
    pub(crate) fn free(&mut self, wanted: &str, fallback: &str) -> String {
        let mut clean: String = wanted
            .chars()
            .map(|c| if is_allowed(c) { c } else { '_' })
            .take(self.longest.min(4096))
            .collect();
        if clean.is_empty() {
            clean.push_str(fallback);
        }
        let mut name = clean.clone();
        let mut number = 2_u32;
        while !self.taken.insert(Cow::Owned(name.clone())) {
            let suffix = format!("_{number}");
            let stem = clean.get(..clean.len().min(self.longest.saturating_sub(suffix.len())));
            name = format!("{}{suffix}", stem.unwrap_or_default());
            number += 1;
        }
        name
    }

    /// Sent name → original, for those that were rewritten.
    pub(crate) fn into_restore(self) -> HashMap<String, String> {
        self.rewritten.into_iter().map(|(original, new)| (new, original.to_owned())).collect()
    }
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

fn is_fine(name: &str, longest: usize) -> bool {
    !name.is_empty() && name.len() <= longest && name.chars().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(names: &[&str], expected: &[&str]) {
        let rewriter = Rewriter::names(names.iter().copied());
        let sent: Vec<_> = names.iter().map(|name| rewriter.get(name)).collect();
        assert_eq!(sent, expected);
    }

    #[test]
    fn only_names_the_api_refuses_are_rewritten() {
        check(&["get_weather", "a-1"], &["get_weather", "a-1"]);
        check(&["files.read", "files_read"], &["files_read_2", "files_read"]);
        check(&["a.b", "a/b", "a.b"], &["a_b", "a_b_2", "a_b"]);
        check(&["", "été"], &["tool", "_t_"]);
        let long = "x".repeat(130);
        check(&[&long], &[&long[..128]]);
    }

    proptest! {
        #[test]
        fn rewritten_names_are_accepted_distinct_and_map_back(names in proptest::collection::vec("[a.é/_-]{0,4}|x{126,131}", 0..12)) {
            let rewriter = Rewriter::names(names.iter().map(String::as_str));
            let originals: HashSet<_> = names.iter().collect();
            let sent: HashSet<_> = names.iter().map(|name| rewriter.get(name).to_owned()).collect();
            prop_assert_eq!(sent.len(), originals.len());
            prop_assert!(sent.iter().all(|name| is_fine(name, LONGEST_NAME)));
            let pairs: Vec<_> = names.iter().map(|name| (rewriter.get(name).to_owned(), name)).collect();
            let restore = rewriter.into_restore();
            for (sent, name) in pairs {
                prop_assert_eq!(restore.get(&sent).unwrap_or(&sent), name);
            }
        }
    }
}

//! Function names that fit Gemini's rule: `[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}`.

use std::borrow::Cow;
use std::collections::HashMap;

const LONGEST: usize = 64;

/// Renames functions, and remembers how to undo it.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Name sent → name the caller gave.
    pub(super) renamed: HashMap<String, String>,
}

impl Names {
    /// The name to send for `name`.
    ///
    /// A name that must change gets a hash of itself at the end: the result depends on nothing else, so a tool keeps
    /// its name from turn to turn, and two tools never meet.
    pub(super) fn sent<'a>(&mut self, name: &'a str) -> Cow<'a, str> {
        if fits(name) {
            return Cow::Borrowed(name);
        }
        let mut out = String::with_capacity(LONGEST);
        if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            out.push('_');
        }
        out.extend(name.chars().map(|c| if allowed(c) { c } else { '_' }).take(LONGEST - 10));
        out.push_str(&format!("_{:08x}", hash(name.as_bytes()) >> 32));
        self.renamed.insert(out.clone(), name.to_owned());
        Cow::Owned(out)
    }
}

fn fits(name: &str) -> bool {
    name.len() <= LONGEST
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(allowed)
}

fn allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '-')
}

/// FNV-1a: stable across runs and machines, which the standard hasher is not.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn good_names_stay_and_bad_ones_are_remembered() {
        let mut names = Names::default();
        assert_eq!(names.sent("mcp__files.read:all-1"), "mcp__files.read:all-1");
        assert!(names.renamed.is_empty());
        let sent = names.sent("get weather!").into_owned();
        assert!(sent.starts_with("get_weather__"), "{sent}");
        assert_eq!(names.renamed[&sent], "get weather!");
        assert_ne!(names.sent("a b"), names.sent("a/b"));
    }

    proptest! {
        #[test]
        fn every_sent_name_fits(name in "\\PC{0,100}") {
            let mut names = Names::default();
            let sent = names.sent(&name).into_owned();
            prop_assert!(fits(&sent), "{}", sent);
            prop_assert_eq!(names.renamed.get(&sent).unwrap_or(&sent), &name);
        }
    }
}

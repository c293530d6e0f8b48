//! The table of models.
//!
//! It stays the text it came as: one line of JSON a model, sorted by id. A lookup is a binary search in the text and
//! parses the lines it returns, so opening the built-in table costs nothing and touches no page of it.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::{Arc, OnceLock};

use memchr::{memchr, memmem, memrchr};

use crate::entry::Entry;
use crate::{Error, Result, row};

/// `data/models.jsonl`, in the binary.
static BUILTIN: &[u8] = include_bytes!("../../../data/models.jsonl");

/// Every known model. Immutable: a refreshed table is a new catalog.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// Lines in canonical form, each ended by a line feed, ids strictly ascending.
    text: Cow<'static, [u8]>,
}

/// What every line begins with.
const HEAD: &[u8] = br#"{"id":""#;

impl Catalog {
    /// The table this version was built with.
    pub fn builtin() -> Arc<Catalog> {
        static CATALOG: OnceLock<Arc<Catalog>> = OnceLock::new();
        Arc::clone(CATALOG.get_or_init(|| Arc::new(Catalog { text: Cow::Borrowed(BUILTIN) })))
    }

    /// Reads a table: one JSON object a line, in any order; empty lines are skipped.
    ///
    /// Every line is checked. Fails with the line number on anything unknown or impossible, and on a repeated id.
    pub fn from_jsonl(bytes: &[u8]) -> Result<Catalog> {
        let mut entries = Vec::new();
        for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            let line = line.trim_ascii();
            if !line.is_empty() {
                entries.push(row::read(line).map_err(|error| error.at(format!("line {number}")))?);
            }
        }
        Catalog::from_entries(entries)
    }

    /// A table of these entries.
    ///
    /// Fails on a repeated id, and on an id with quotes, backslashes or control characters.
    pub fn from_entries(mut entries: Vec<Entry>) -> Result<Catalog> {
        entries.sort_by(|a, b| a.id.cmp(&b.id));
        for pair in entries.windows(2) {
            if let [one, two] = pair
                && one.id == two.id
            {
                return Err(Error::new("the id stands twice").at(&one.id));
            }
        }
        let mut text = Vec::new();
        for entry in &entries {
            if entry.id.is_empty() || entry.id.contains(|c: char| c == '"' || c == '\\' || c.is_control()) {
                return Err(Error::new("an id is text without quotes, backslashes and control characters")
                    .at(&entry.id));
            }
            text.extend_from_slice(row::write(entry).as_bytes());
            text.push(b'\n');
        }
        Ok(Catalog { text: Cow::Owned(text) })
    }

    /// The table in the form [`Catalog::from_jsonl`] reads: sorted, one entry a line, keys in a fixed order.
    pub fn to_jsonl(&self) -> &[u8] {
        &self.text
    }

    /// How many models there are. Counts lines: not for hot paths.
    pub fn len(&self) -> usize {
        self.lines().count()
    }

    /// Is there no model?
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Every entry, by id. Parses the whole table.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.lines().filter_map(|line| row::read(line).ok())
    }

    /// Every id, ascending.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.lines().map(id_of)
    }

    /// The entry with exactly this id.
    pub fn get(&self, id: &str) -> Option<Entry> {
        row::read(self.line(id)?).ok()
    }

    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
    }

    /// The line of this id.
    pub(crate) fn line(&self, id: &str) -> Option<&[u8]> {
        let rest = self.text.get(self.lower_bound(id)..)?;
        let line = rest.split(|byte| *byte == b'\n').next()?;
        (id_of(line) == id && !line.is_empty()).then_some(line)
    }

    /// The ids that begin with `prefix`, ascending.
    pub(crate) fn ids_from<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        let rest = self.text.get(self.lower_bound(prefix)..).unwrap_or_default();
        let ids = rest.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(id_of);
        ids.take_while(move |id| id.starts_with(prefix))
    }

    /// Where the first line stands whose id is not below `id`.
    fn lower_bound(&self, id: &str) -> usize {
        let text = &*self.text;
        let (mut low, mut high) = (0, text.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let start =
                memrchr(b'\n', text.get(low..middle).unwrap_or_default()).map_or(low, |at| low + at + 1);
            let rest = text.get(start..high).unwrap_or_default();
            let length = memchr(b'\n', rest).unwrap_or(rest.len());
            match id_of(rest.get(..length).unwrap_or_default()).cmp(id) {
                Ordering::Less => low = (start + length + 1).min(high),
                Ordering::Equal | Ordering::Greater => high = start,
            }
        }
        low
    }
}

/// The id of a canonical line; empty for anything else.
fn id_of(line: &[u8]) -> &str {
    let rest = line.strip_prefix(HEAD).unwrap_or_default();
    let id = rest.get(..memchr(b'"', rest).unwrap_or(0)).unwrap_or_default();
    std::str::from_utf8(id).unwrap_or_default()
}

/// The provider label of a canonical line.
pub(crate) fn label_of(line: &[u8]) -> Option<&str> {
    const KEY: &[u8] = br#","provider":""#;
    let start = memmem::find(line, KEY)? + KEY.len();
    let rest = line.get(start..)?;
    std::str::from_utf8(rest.get(..memchr(b'"', rest)?)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_table_is_canonical_and_complete() {
        let catalog = Catalog::builtin();
        let read = Catalog::from_jsonl(catalog.to_jsonl()).unwrap();
        assert!(read.to_jsonl() == catalog.to_jsonl(), "write data/models.jsonl with Catalog::to_jsonl");
        assert_eq!(catalog.len(), catalog.entries().count());
        assert!(catalog.len() > 4000);
    }

    #[test]
    fn every_id_is_found_and_its_neighbours_are_not() {
        let catalog = Catalog::builtin();
        for id in catalog.ids() {
            assert_eq!(id_of(catalog.line(id).unwrap()), id);
            for near in [format!("{id}\u{1}"), format!(" {id}")] {
                assert!(catalog.line(&near).is_none(), "{near}");
            }
        }
        assert!(catalog.line("").is_none());
        assert!(catalog.line("\u{10ffff}").is_none());
    }

    fn check_refused(text: &str, expected: &str) {
        let error = Catalog::from_jsonl(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn a_table_may_be_unsorted_but_not_wrong() {
        let text = "{\"id\":\"b\",\"provider\":\"p\"}\r\n\n{\"provider\":\"p\",\"id\":\"a\"}";
        let catalog = Catalog::from_jsonl(text.as_bytes()).unwrap();
        assert_eq!(catalog.ids().collect::<Vec<_>>(), ["a", "b"]);
        check_refused(
            "{\"id\":\"a\",\"provider\":\"p\"}\n{\"id\":\"a\",\"provider\":\"q\"}",
            "a: the id stands twice",
        );
        check_refused("\n{\"id\":\"a\"}", "line 2");
        check_refused(r#"{"id":"a\"b","provider":"p"}"#, "an id is text without quotes");
        assert!(Catalog::from_jsonl(b"").unwrap().is_empty());
        assert!(Catalog::from_jsonl(b"").unwrap().get("a").is_none());
    }
}

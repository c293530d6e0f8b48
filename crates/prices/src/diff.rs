//! What a refreshed table changes.

use std::fmt;

use indexmap::IndexMap;
use serde_json::value::RawValue;

use crate::catalog::Catalog;
use crate::row;

/// The differences between two tables.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diff {
    /// Ids only the new table has.
    pub added: Vec<String>,
    /// Ids only the old table has.
    pub removed: Vec<String>,
    /// Ids whose facts differ, with the facts.
    pub changed: Vec<(String, Vec<Change>)>,
}

/// One fact that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its path in the table's line: `price.in`, `tiers[0].out`.
    pub field: String,
    /// The old value as JSON.
    pub old: Option<String>,
    /// The new value as JSON.
    pub new: Option<String>,
}

impl Diff {
    /// Compares two tables.
    pub fn between(old: &Catalog, new: &Catalog) -> Diff {
        let mut diff = Diff::default();
        for id in old.ids() {
            match (old.line(id), new.line(id)) {
                (Some(_), None) => diff.removed.push(id.to_owned()),
                (Some(one), Some(two)) if one != two => {
                    let changes = changes(one, two);
                    if !changes.is_empty() {
                        diff.changed.push((id.to_owned(), changes));
                    }
                }
                _ => {}
            }
        }
        diff.added = new.ids().filter(|id| old.line(id).is_none()).map(str::to_owned).collect();
        diff
    }

    /// Are the tables the same?
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// A summary line, then `+ id`, `- id`, and `~ id` with an indented line for every fact.
impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (added, removed, changed) = (self.added.len(), self.removed.len(), self.changed.len());
        writeln!(f, "{added} added, {removed} removed, {changed} changed")?;
        self.added.iter().try_for_each(|id| writeln!(f, "+ {id}"))?;
        self.removed.iter().try_for_each(|id| writeln!(f, "- {id}"))?;
        for (id, changes) in &self.changed {
            writeln!(f, "~ {id}")?;
            for change in changes {
                let (old, new) = (change.old.as_deref(), change.new.as_deref());
                writeln!(f, "    {}: {} → {}", change.field, old.unwrap_or("none"), new.unwrap_or("none"))?;
            }
        }
        Ok(())
    }
}

fn changes(old: &[u8], new: &[u8]) -> Vec<Change> {
    let (old, mut new) = (facts(old), facts(new));
    let mut changes = Vec::new();
    for (field, old) in old {
        let new = new.shift_remove(&field);
        if new.as_ref() != Some(&old) {
            changes.push(Change { field, old: Some(old), new });
        }
    }
    changes.extend(new.into_iter().map(|(field, new)| Change { field, old: None, new: Some(new) }));
    changes
}

/// Every fact of a line by its path, with the digits as written.
fn facts(line: &[u8]) -> IndexMap<String, String> {
    let mut facts = IndexMap::new();
    if let Ok(entry) = row::read(line) {
        flatten("", &row::write(&entry), &mut facts);
    }
    facts
}

fn flatten(path: &str, json: &str, facts: &mut IndexMap<String, String>) {
    if json.starts_with('{')
        && let Ok(object) = serde_json::from_str::<IndexMap<String, &RawValue>>(json)
    {
        for (key, value) in object {
            let path = if path.is_empty() { key } else { format!("{path}.{key}") };
            flatten(&path, value.get(), facts);
        }
    } else if json.starts_with("[{")
        && let Ok(array) = serde_json::from_str::<Vec<&RawValue>>(json)
    {
        for (index, value) in array.into_iter().enumerate() {
            flatten(&format!("{path}[{index}]"), value.get(), facts);
        }
    } else {
        facts.insert(path.to_owned(), json.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_names_every_fact_that_changed() {
        let table = |text: &str| Catalog::from_jsonl(text.as_bytes()).unwrap();
        let old = table(
            r#"{"id":"a","provider":"p","price":{"in":2.5,"out":10},"caps":["tools"]}
               {"id":"b","provider":"p"}
               {"id":"c","provider":"p","tiers":[{"above_tokens":8,"in":1}]}"#,
        );
        let new = table(
            r#"{"id":"a","provider":"p","price":{"in":3,"out":10},"limits":{"in":9}}
               {"id":"c","provider":"p","tiers":[{"above_tokens":8,"in":1.5}]}
               {"id":"d","provider":"p"}"#,
        );
        let expected = "1 added, 1 removed, 2 changed\n+ d\n- b\n~ a\n    price.in: 2.5 → 3\n    \
                        caps: [\"tools\"] → none\n    limits.in: none → 9\n~ c\n    tiers[0].in: 1 → 1.5\n";
        assert_eq!(Diff::between(&old, &new).to_string(), expected);
        assert!(Diff::between(&old, &old).is_empty());
    }
}

//! Changes to the top-level members of a body.

use std::borrow::Cow;

use super::write_str;

/// Changes to top-level members.
#[derive(Debug, Clone, Default)]
pub struct Edits {
    pub(super) list: Vec<(Cow<'static, str>, Edit)>,
}

#[derive(Debug, Clone)]
pub(super) enum Edit {
    Set(String),
    Remove,
    Rename(Cow<'static, str>),
}

impl Edits {
    /// No changes yet.
    pub fn new() -> Edits {
        Edits::default()
    }

    /// Sets `key` to the JSON text `raw`, in place when it is there, at the end when it is not.
    pub fn set_raw(&mut self, key: impl Into<Cow<'static, str>>, raw: impl Into<String>) {
        self.put(key.into(), Edit::Set(raw.into()));
    }

    /// Sets `key` to a string.
    pub fn set_str(&mut self, key: impl Into<Cow<'static, str>>, value: &str) {
        let mut raw = Vec::with_capacity(value.len() + 2);
        write_str(value, &mut raw);
        self.put(key.into(), Edit::Set(String::from_utf8(raw).unwrap_or_default()));
    }

    /// Removes `key` if it is there.
    pub fn remove(&mut self, key: impl Into<Cow<'static, str>>) {
        self.put(key.into(), Edit::Remove);
    }

    /// Gives the member `key` another name, in place.
    pub fn rename(&mut self, key: impl Into<Cow<'static, str>>, to: impl Into<Cow<'static, str>>) {
        self.put(key.into(), Edit::Rename(to.into()));
    }

    /// No changes at all.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Adds all of `other`; where both change a key, `other` counts.
    pub fn extend(&mut self, other: Edits) {
        for (key, edit) in other.list {
            self.put(key, edit);
        }
    }

    fn put(&mut self, key: Cow<'static, str>, edit: Edit) {
        self.list.retain(|(other, _)| *other != key);
        self.list.push((key, edit));
    }
}

impl Edit {
    pub(super) fn len(&self) -> usize {
        match self {
            Edit::Set(raw) => raw.len(),
            Edit::Rename(name) => name.len(),
            Edit::Remove => 0,
        }
    }
}

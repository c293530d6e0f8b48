//! What translation changed or dropped.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// How much a notice matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The caller asked for something that the target cannot do. With `drop_params`
    /// off the call is refused with a 400 that names the field.
    Dropped,
    /// Carried in another form or left out without changing what the caller gets
    /// (a cache hint, bookkeeping metadata, a schema keyword). Never refused.
    Changed,
}

/// One thing translation changed or dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// How much it matters.
    pub severity: Severity,
    /// The field in the caller's dialect, as a path: `logit_bias`, `messages[2].content[0]`.
    pub field: Cow<'static, str>,
    /// What happened and why, lower case, no full stop.
    pub message: Cow<'static, str>,
}

/// Most notices that are kept. A request with a hundred thousand unknown fields must not cost as many notices.
pub const MOST_NOTICES: usize = 100;

/// Collects notices while a request or an answer is translated.
///
/// Keeps the first [`MOST_NOTICES`] and says when there were more. The first dropped field is kept in any case: it
/// decides whether the call is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notices {
    list: Vec<Notice>,
}

/// Stands for all that were not kept.
const MORE: Notice = Notice {
    severity: Severity::Changed,
    field: Cow::Borrowed("request_body"),
    message: Cow::Borrowed("more was changed or dropped than is listed here"),
};

impl Notices {
    /// None yet.
    pub fn new() -> Notices {
        Notices::default()
    }

    /// The target cannot do what `field` asks for.
    pub fn dropped(&mut self, field: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) {
        self.push(Severity::Dropped, field.into(), message.into());
    }

    /// `field` was carried in another form, or left out harmlessly.
    pub fn changed(&mut self, field: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) {
        self.push(Severity::Changed, field.into(), message.into());
    }

    fn push(&mut self, severity: Severity, field: Cow<'static, str>, message: Cow<'static, str>) {
        let full = self.list.len() >= MOST_NOTICES;
        if full && (severity == Severity::Changed || self.first_dropped().is_some()) {
            if self.list.len() < MOST_NOTICES + 2 {
                self.note(MORE);
            }
            return;
        }
        self.note(Notice { severity, field, message });
    }

    fn note(&mut self, notice: Notice) {
        if !self.list.contains(&notice) {
            self.list.push(notice);
        }
    }

    /// In the order they arose.
    pub fn iter(&self) -> std::slice::Iter<'_, Notice> {
        self.list.iter()
    }

    /// Nothing was changed or dropped.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The first field that was dropped, if any: what a strict call is refused for.
    pub fn first_dropped(&self) -> Option<&Notice> {
        self.list.iter().find(|notice| notice.severity == Severity::Dropped)
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: Notices) {
        for notice in other.list {
            self.push(notice.severity, notice.field, notice.message);
        }
    }
}

impl IntoIterator for Notices {
    type Item = Notice;
    type IntoIter = std::vec::IntoIter<Notice>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_notices_is_cut_off_and_the_first_dropped_field_is_kept() {
        let mut notices = Notices::new();
        for number in 0..100_000 {
            notices.changed(format!("field_{number}"), "left out");
        }
        assert!(notices.first_dropped().is_none());
        for number in 0..100_000 {
            notices.dropped(format!("dropped_{number}"), "not supported");
        }
        assert_eq!(notices.first_dropped().unwrap().field, "dropped_0");
        assert_eq!(notices.iter().filter(|notice| **notice == MORE).count(), 1);
        assert_eq!(notices.iter().count(), MOST_NOTICES + 2);
    }

    #[test]
    fn the_same_notice_is_kept_once() {
        let mut notices = Notices::new();
        notices.changed("user", "left out");
        notices.changed("user", "left out");
        assert_eq!(notices.iter().count(), 1);
    }
}

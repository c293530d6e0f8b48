//! From the tree to typed settings, collecting every finding on the way.
//!
//! A type says how it is read in [`FromNode`]; a setting that cannot be read is reported and takes its default, so
//! that one load names everything that is wrong. [`Fields`] remembers which keys of a map were asked for; what is left
//! is known to LiteLLM and not built here, or unknown.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use indexmap::IndexMap;

use crate::diagnostic::{Diagnostic, Severity};
use crate::environment::{Environment, reference};
use crate::known;
use crate::mask::is_secret_key;
use crate::model_list::LitellmParams;
use crate::nearest::nearest;
use crate::source::{Files, Mark};
use crate::tree::{Entry, Node, Value};

/// Most findings of one load that are kept one by one.
const FINDINGS: usize = 500;

/// A type that can be read from the tree.
pub(crate) trait FromNode: Sized {
    /// What belongs here, for messages: `a number of seconds …`.
    const EXPECTED: &'static str;

    /// Is null a value of its own in a list or map of these?
    const TAKES_NULL: bool = false;

    /// Reads the value. None when it is null or wrong; what is wrong has been reported.
    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self>;
}

/// A scalar after environment references are resolved.
pub(crate) enum Resolved<'n> {
    /// Nothing, or a variable that is not set.
    Null,
    /// Text.
    Text {
        /// The text itself.
        text: Cow<'n, str>,
        /// Could it be something else than text?
        plain: bool,
        /// The variable it came from.
        variable: Option<&'n str>,
    },
}

/// Everything a load has to say, and what it needs to read values.
pub(crate) struct Reader<'a> {
    pub files: &'a Files,
    pub environment: Environment<'a>,
    pub lenient: bool,
    /// What deployments may refer to; read before them.
    pub credentials: IndexMap<String, LitellmParams>,
    diagnostics: Vec<Diagnostic>,
    /// What is said beyond [`FINDINGS`], counted and not kept: how many, and the worst of them.
    more: Option<(usize, Diagnostic)>,
    path: String,
    unset: IndexMap<String, Vec<Mark>>,
    unbuilt: BTreeMap<usize, Vec<(String, Mark)>>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(files: &'a Files, environment: Environment<'a>, lenient: bool) -> Reader<'a> {
        Reader {
            files,
            environment,
            lenient,
            credentials: IndexMap::new(),
            diagnostics: Vec::new(),
            more: None,
            path: String::new(),
            unset: IndexMap::new(),
            unbuilt: BTreeMap::new(),
        }
    }

    /// Runs `read` with `key` added to the path that messages name.
    pub(crate) fn within<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        if !self.path.is_empty() && !key.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(key);
        let result = read(self);
        self.path.truncate(length);
        result
    }

    /// Reports a finding at `mark`; more can be added to what is returned.
    pub(crate) fn report(
        &mut self,
        severity: Severity,
        code: &'static str,
        mark: Mark,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        if self.diagnostics.len() >= FINDINGS {
            let worst = Diagnostic::new(severity, "more", "");
            let (count, diagnostic) = self.more.get_or_insert((0, worst));
            *count += 1;
            diagnostic.severity = diagnostic.severity.min(severity);
            return diagnostic;
        }
        let mut diagnostic = Diagnostic::new(severity, code, message).at(self.files.place(mark));
        diagnostic.path.clone_from(&self.path);
        self.diagnostics.push(diagnostic);
        let last = self.diagnostics.len() - 1;
        #[expect(clippy::indexing_slicing, reason = "pushed on the line before")]
        &mut self.diagnostics[last]
    }

    /// Reports a value that is not what belongs here. Shows the value unless it may be secret.
    pub(crate) fn wrong(&mut self, node: &Node, expected: &str) -> &mut Diagnostic {
        let found = self.describe(node);
        let expected = expected.trim_end_matches(',');
        let key = self.path.clone();
        self.report(
            Severity::Error,
            "wrong-type",
            node.mark,
            format!("`{key}` must be {expected}, not {found}"),
        )
    }

    fn describe(&self, node: &Node) -> String {
        let secret = is_secret_key(self.path.rsplit('.').next().unwrap_or(""));
        match &node.value {
            Value::Scalar(scalar) if !scalar.is_null() => match reference(&scalar.text) {
                Some(name) => format!("what the environment variable `{name}` holds"),
                None if secret => "the value it has".to_owned(),
                None => format!("`{}`", scalar.text.chars().take(60).collect::<String>()),
            },
            _ => node.kind().to_owned(),
        }
    }

    /// The scalar at `node` with its environment reference resolved; reports anything but a scalar.
    pub(crate) fn scalar<'n>(&mut self, node: &'n Node, expected: &str) -> Option<Resolved<'n>> {
        let Value::Scalar(scalar) = &node.value else {
            self.wrong(node, expected);
            return None;
        };
        if scalar.is_null() {
            return Some(Resolved::Null);
        }
        if let Some(name) = reference(&scalar.text) {
            return Some(match self.environment.get(name) {
                Some(value) => Resolved::Text { text: Cow::Owned(value), plain: true, variable: Some(name) },
                None => {
                    self.unset.entry(name.to_owned()).or_default().push(node.mark);
                    Resolved::Null
                }
            });
        }
        if scalar.text.contains("os.environ/") {
            let message = "`os.environ/` is only replaced when the value is nothing else";
            self.report(Severity::Warning, "reference-inside-text", node.mark, message)
                .help
                .push("put the whole value into one environment variable".to_owned());
        }
        Some(Resolved::Text { text: Cow::Borrowed(&scalar.text), plain: scalar.plain, variable: None })
    }

    /// Reads a scalar with `parse`; reports text it does not take.
    pub(crate) fn parse<T>(
        &mut self,
        node: &Node,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        match self.scalar(node, expected)? {
            Resolved::Null => None,
            Resolved::Text { text, .. } => {
                let value = parse(text.trim());
                if value.is_none() {
                    self.wrong(node, expected);
                }
                value
            }
        }
    }

    /// Remembers a key that LiteLLM knows and this gateway does not build.
    pub(crate) fn not_built(&mut self, group: usize, entry: &Entry) {
        self.unbuilt.entry(group).or_default().push((entry.key.clone(), entry.key_mark));
    }

    /// All findings, those that belong together as one.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        if let Some((count, worst)) = self.more.take() {
            let message = format!("{count} more findings are not shown");
            self.diagnostics.push(Diagnostic::new(worst.severity, "more", message));
        }
        for (name, marks) in std::mem::take(&mut self.unset) {
            let message = format!("the environment variable `{name}` is not set");
            let diagnostic = self.grouped(Severity::Warning, "unset-variable", message, &marks);
            let help =
                format!("set `{name}` where the gateway runs; until then the value counts as not given");
            self.diagnostics.push(diagnostic.help(help));
        }
        for (index, keys) in std::mem::take(&mut self.unbuilt) {
            let Some(group) = known::GROUPS.get(index) else { continue };
            let marks: Vec<Mark> = keys.iter().map(|(_, mark)| *mark).collect();
            let message = format!("{} not built yet: {}", group.what, counted(&keys));
            let diagnostic = self.grouped(group.severity, "not-built", message, &marks);
            self.diagnostics.push(diagnostic.note(group.meaning));
        }
        self.diagnostics
    }

    fn grouped(&self, severity: Severity, code: &'static str, message: String, marks: &[Mark]) -> Diagnostic {
        let mut places = marks.iter().take(FINDINGS).filter_map(|mark| self.files.place(*mark));
        let mut diagnostic = Diagnostic::new(severity, code, message).at(places.next());
        diagnostic.also = places.collect();
        diagnostic.also.dedup_by_key(|place| (place.file.clone(), place.line));
        diagnostic
    }
}

/// Puts findings in the order of the files and their lines, the worst first where they share a place.
pub(crate) fn sort(diagnostics: &mut [Diagnostic], files: &Files) {
    let order: HashMap<&str, usize> =
        files.iter().enumerate().map(|(index, file)| (file.name.as_str(), index)).collect();
    diagnostics.sort_by_key(|diagnostic| {
        let place = diagnostic.place.as_ref().map(|place| {
            (order.get(place.file.as_str()).copied().unwrap_or(usize::MAX), place.line, place.column)
        });
        (place, diagnostic.severity)
    });
}

/// Names, each once, with how often it occurs: `` `a`, `b` (14 times) ``.
fn counted(keys: &[(String, Mark)]) -> String {
    let mut counts: IndexMap<&str, usize> = IndexMap::new();
    for (key, _) in keys {
        *counts.entry(key).or_default() += 1;
    }
    let names = counts.iter().map(|(key, count)| match count {
        1 => format!("`{key}`"),
        count => format!("`{key}` ({count} times)"),
    });
    names.collect::<Vec<_>>().join(", ")
}

/// The keys of one map while they are read.
pub(crate) struct Fields<'n> {
    entries: &'n [Entry],
    used: Vec<bool>,
    /// Names asked for, to suggest from.
    names: Vec<&'static str>,
    /// The list of LiteLLM's keys that applies, such as `general_settings`; empty for a section of our own.
    section: &'static str,
    /// Where the map stands, for what is missing in it.
    pub mark: Mark,
}

impl<'n> Fields<'n> {
    /// The fields of `node`. None when it is null, or not a map, which is reported.
    pub(crate) fn of(node: &'n Node, section: &'static str, reader: &mut Reader<'_>) -> Option<Fields<'n>> {
        match &node.value {
            Value::Map(entries) => Some(Fields {
                entries,
                used: vec![false; entries.len()],
                names: Vec::new(),
                section,
                mark: node.mark,
            }),
            _ if node.is_null() => None,
            _ => {
                reader.wrong(node, "a map of settings");
                None
            }
        }
    }

    /// Marks the entry called `name` as read and returns it.
    pub(crate) fn entry(&mut self, name: &'static str) -> Option<&'n Entry> {
        self.names.push(name);
        let at = self.entries.iter().position(|entry| entry.key == name)?;
        *self.used.get_mut(at)? = true;
        self.entries.get(at)
    }

    /// Reads the setting `name`, or the first of its `aliases` that is present. None when absent, null or wrong.
    pub(crate) fn take<T: FromNode>(
        &mut self,
        reader: &mut Reader<'_>,
        name: &'static str,
        aliases: &[&'static str],
    ) -> Option<T> {
        let mut chosen: Option<&Entry> = None;
        for name in std::iter::once(name).chain(aliases.iter().copied()) {
            let Some(entry) = self.entry(name) else { continue };
            match chosen {
                None => chosen = Some(entry),
                Some(first) => {
                    let message = format!("`{}` has no effect: `{}` is set too", entry.key, first.key);
                    reader.report(Severity::Warning, "no-effect", entry.key_mark, message);
                }
            }
        }
        let entry = chosen?;
        reader.within(&entry.key, |reader| {
            if entry.value.is_null() { None } else { T::from_node(&entry.value, reader) }
        })
    }

    /// The entries nobody has asked for that `wanted` picks, from now on counted as read.
    pub(crate) fn rest(&mut self, wanted: impl Fn(&Entry) -> bool) -> Vec<&'n Entry> {
        let mut taken = Vec::new();
        for (entry, used) in self.entries.iter().zip(&mut self.used) {
            if !*used && wanted(entry) {
                *used = true;
                taken.push(entry);
            }
        }
        taken
    }

    /// Names that can be written here, as far as they have been asked for, and LiteLLM's.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        // A deployment sets fields of requests, too.
        let also = if self.section == "litellm_params" { "request" } else { "" };
        self.names.iter().copied().chain(known::keys(self.section)).chain(known::keys(also))
    }

    /// Reports every key that nobody has asked for.
    pub(crate) fn finish(mut self, reader: &mut Reader<'_>) {
        for entry in self.rest(|_| true) {
            if known::contains(self.section, &entry.key) {
                if !known::is_inert(&entry.key, &entry.value) {
                    reader.not_built(known::group(self.section, &entry.key, &entry.value), entry);
                }
            } else if !self.is_shelf(entry) {
                self.unknown(entry, reader);
            }
        }
    }

    /// Is it a place for values that are used elsewhere by their anchors? LiteLLM passes over such keys, and unlike most
    /// unknown ones they do something.
    fn is_shelf(&self, entry: &Entry) -> bool {
        self.section == "top" && entry.value.anchored && nearest(&entry.key, self.names()).is_none()
    }

    /// Reports a key that means nothing here.
    pub(crate) fn unknown(&self, entry: &Entry, reader: &mut Reader<'_>) {
        let severity = if reader.lenient { Severity::Warning } else { Severity::Error };
        let message = format!("unknown key `{}`", entry.key);
        if reader.diagnostics.len() >= FINDINGS {
            // It will only be counted: no suggestion is worth looking for.
            reader.report(severity, "unknown-key", entry.key_mark, message);
            return;
        }
        let near = nearest(&entry.key, self.names());
        let home = known::home_of(self.section, &entry.key);
        let help = match (near, home) {
            (_, Some(home)) => format!("`{}` belongs {home}", entry.key),
            (Some(near), None) => format!("did you mean `{near}`?"),
            (None, None) if self.section == "litellm_params" => {
                "to send it to the provider as it is, put it under `extra_body`".to_owned()
            }
            (None, None) => "remove it; `tollway check --lenient` lets unknown keys pass".to_owned(),
        };
        reader.within(&entry.key, |reader| {
            reader.report(severity, "unknown-key", entry.key_mark, message).help.push(help);
        });
    }
}

/// Reads each item of a list; items that are wrong are reported and left out.
pub(crate) fn list<T: FromNode>(node: &Node, expected: &str, reader: &mut Reader<'_>) -> Option<Vec<T>> {
    let Value::List(items) = &node.value else {
        let single = matches!(&node.value, Value::Scalar(_));
        let diagnostic = reader.wrong(node, expected);
        if single {
            diagnostic.help.push("write a list, even for one: `[value]`".to_owned());
        }
        return None;
    };
    let read = |(index, item): (usize, &Node)| {
        reader.within(&format!("[{index}]"), |reader| {
            if item.is_null() && !T::TAKES_NULL {
                reader.wrong(item, T::EXPECTED);
                return None;
            }
            T::from_node(item, reader)
        })
    };
    Some(items.iter().enumerate().filter_map(read).collect())
}

/// Reads each value of a map; values that are null or wrong are left out.
pub(crate) fn map<T: FromNode>(
    node: &Node,
    expected: &str,
    reader: &mut Reader<'_>,
) -> Option<IndexMap<String, T>> {
    let Value::Map(entries) = &node.value else {
        reader.wrong(node, expected);
        return None;
    };
    let read = |entry: &Entry| {
        let value = reader.within(&entry.key, |reader| {
            if entry.value.is_null() && !T::TAKES_NULL { None } else { T::from_node(&entry.value, reader) }
        });
        Some((entry.key.clone(), value?))
    };
    Some(entries.iter().filter_map(read).collect())
}

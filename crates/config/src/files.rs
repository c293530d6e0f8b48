//! Reads the file and what it includes into one tree.
//!
//! `include` works as in LiteLLM: paths are relative to the file that names them, lists at the top level are added to,
//! anything else is replaced, includes nest, and each file counts once.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::diagnostic::{Diagnostic, Severity};
use crate::mask::{self, is_secret_key};
use crate::source::{File, Files, Mark};
use crate::tree::{Entry, Node, Scalar, Value};
use crate::yaml;

/// Largest file.
const SIZE: u64 = 8 << 20;
/// Most files, included ones counted.
const COUNT: usize = 100;

/// What the bytes of every file amount to: equal for equal files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint of files as they are now.
    ///
    /// Equal to that of a load of the same files, so a watcher can tell whether loading again would change anything.
    pub fn of_files(paths: &[PathBuf]) -> Fingerprint {
        Fingerprint::of(paths.iter().map(|path| bytes(path).map_or(0, |bytes| hash(&bytes))))
    }

    fn of(contents: impl Iterator<Item = u64>) -> Fingerprint {
        let mut hasher = DefaultHasher::new();
        contents.for_each(|content| hasher.write_u64(content));
        Fingerprint(hasher.finish())
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    // Zero stands for a file that cannot be read.
    hasher.finish().max(1)
}

/// The merged tree, and everything read on the way.
#[derive(Default)]
pub(crate) struct Gathered {
    pub files: Files,
    pub root: Option<Node>,
    pub diagnostics: Vec<Diagnostic>,
    /// Every file looked for, as named and as the file system knows it, with the hash of its bytes.
    seen: Vec<(PathBuf, PathBuf, u64)>,
    nodes: usize,
    lenient: bool,
}

impl Gathered {
    pub(crate) fn new(lenient: bool) -> Gathered {
        Gathered { nodes: yaml::NODES, lenient, ..Gathered::default() }
    }

    /// Reads a file and what it includes.
    pub(crate) fn file(&mut self, path: &Path) {
        self.root = self.read(path, None);
    }

    /// Reads text as if it were a file called `name`; it cannot include others.
    pub(crate) fn text(&mut self, name: &str, text: &str) {
        self.seen.push((PathBuf::new(), PathBuf::new(), hash(text.as_bytes())));
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).to_owned();
        self.root = self.parse(File::new(name.to_owned(), None, text));
    }

    /// The files that were looked for, also those that could not be read.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        let paths = self.seen.iter().map(|(path, ..)| path);
        paths.filter(|path| !path.as_os_str().is_empty()).cloned().collect()
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.seen.iter().map(|(_, _, hash)| *hash))
    }

    fn fail(&mut self, mark: Option<Mark>, code: &'static str, message: String) -> &mut Diagnostic {
        let place = mark.and_then(|mark| self.files.place(mark));
        self.diagnostics.push(Diagnostic::new(Severity::Error, code, message).at(place));
        let last = self.diagnostics.len() - 1;
        #[expect(clippy::indexing_slicing, reason = "pushed on the line before")]
        &mut self.diagnostics[last]
    }

    /// Reads `path`, named at `mark` in another file unless it is the first.
    fn read(&mut self, path: &Path, mark: Option<Mark>) -> Option<Node> {
        if self.seen.len() >= COUNT {
            self.fail(mark, "too-large", format!("more than {COUNT} files are included"));
            return None;
        }
        let identity = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if self.seen.iter().any(|(_, seen, _)| *seen == identity) {
            return None;
        }
        let bytes = bytes(path);
        self.seen.push((path.to_owned(), identity, bytes.as_ref().map_or(0, |bytes| hash(bytes))));
        let name = path.display().to_string();
        match bytes.and_then(text_of) {
            Ok(text) => self.parse(File::new(name, Some(path.to_owned()), text)),
            Err(problem) => {
                let diagnostic = self.fail(mark, "unreadable", format!("cannot read `{name}`: {problem}"));
                if mark.is_some() {
                    diagnostic
                        .help
                        .push("paths under `include` are relative to the file that names them".to_owned());
                }
                None
            }
        }
    }

    fn parse(&mut self, file: File) -> Option<Node> {
        let base = file.path.as_ref().map(|path| path.parent().unwrap_or(Path::new("")).to_owned());
        let text = file.text.clone();
        let index = self.files.add(file);
        let (root, faults) = yaml::parse(&text, index, &mut self.nodes);
        let mut found = Vec::new();
        match &root {
            Some(root) => secrets(root, index, &mut found),
            None => found = mask::under_secret_keys(&text),
        }
        self.files.hide(index, found);
        for fault in faults {
            let mut diagnostic = Diagnostic::new(Severity::Error, fault.code, fault.message);
            if self.lenient && fault.code == "duplicate-key" {
                diagnostic.severity = Severity::Warning;
            }
            diagnostic.place = self.files.place(fault.mark);
            diagnostic.also = fault.also.and_then(|mark| self.files.place(mark)).into_iter().collect();
            diagnostic.help = fault.help.map(str::to_owned).into_iter().collect();
            self.diagnostics.push(diagnostic);
        }
        let root = root?;
        if root.is_null() {
            return Some(root);
        }
        if !matches!(root.value, Value::Map(_)) {
            let message = format!("a configuration is a map of sections, not {}", root.kind());
            self.fail(Some(root.mark), "wrong-type", message)
                .help
                .push("begin with `model_list:`".to_owned());
            return None;
        }
        Some(self.include(root, base.as_deref()))
    }

    /// Merges into `root` the files it includes, which are relative to `base`.
    fn include(&mut self, mut root: Node, base: Option<&Path>) -> Node {
        let Value::Map(entries) = &mut root.value else { return root };
        let Some(include) =
            entries.iter().find(|entry| entry.key == "include").map(|entry| entry.value.clone())
        else {
            return root;
        };
        for (path, mark) in self.include_paths(&include) {
            let Some(base) = base else {
                self.fail(
                    Some(mark),
                    "unreadable",
                    "text that is not a file cannot include files".to_owned(),
                );
                continue;
            };
            if let Some(Node { value: Value::Map(included), .. }) = self.read(&base.join(path), Some(mark)) {
                for entry in included.into_iter().filter(|entry| entry.key != "include") {
                    self.merge(entries, entry);
                }
            }
        }
        root
    }

    /// The paths under `include`: a list, or one.
    fn include_paths(&mut self, node: &Node) -> Vec<(String, Mark)> {
        let nodes = match &node.value {
            Value::List(items) => items.as_slice(),
            _ if node.is_null() => &[],
            _ => std::slice::from_ref(node),
        };
        let mut paths = Vec::new();
        for node in nodes {
            match &node.value {
                Value::Scalar(Scalar { text, .. }) if !text.is_empty() => {
                    paths.push((text.clone(), node.mark))
                }
                _ => {
                    self.fail(Some(node.mark), "wrong-type", "`include` must be a list of paths".to_owned());
                }
            }
        }
        paths
    }

    /// Adds a section of an included file: a list to a list, anything else in its place.
    fn merge(&mut self, entries: &mut Vec<Entry>, theirs: Entry) {
        let Some(ours) = entries.iter_mut().find(|entry| entry.key == theirs.key) else {
            entries.push(theirs);
            return;
        };
        match (&mut ours.value.value, theirs.value.value) {
            (Value::List(ours), Value::List(theirs)) => ours.extend(theirs),
            (value, replacement) => {
                if !ours.value.mark.eq(&theirs.value.mark) && matches!(value, Value::Map(_)) {
                    let message = format!("all of `{}` is replaced by an included file", theirs.key);
                    let mut diagnostic = Diagnostic::new(Severity::Warning, "include-replaces", message)
                        .at(self.files.place(ours.key_mark))
                        .help("keep the section in one file: only lists are joined");
                    diagnostic.also.extend(self.files.place(theirs.key_mark));
                    self.diagnostics.push(diagnostic);
                }
                *value = replacement;
                ours.value.mark = theirs.value.mark;
                ours.key_mark = theirs.key_mark;
            }
        }
    }
}

/// The bytes of a file that is not too large.
fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if metadata.is_dir() {
        return Err("it is a directory".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(SIZE + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > SIZE {
        return Err(format!("it is larger than {} MiB", SIZE >> 20));
    }
    Ok(bytes)
}

/// Their text, without a byte order mark.
fn text_of(bytes: Vec<u8>) -> Result<String, String> {
    let text = String::from_utf8(bytes).map_err(|error| format!("{error}; it must be UTF-8"))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Collects where values stand whose keys say that they are secret.
fn secrets(node: &Node, file: usize, found: &mut Vec<(usize, usize)>) {
    match &node.value {
        Value::Scalar(_) => {}
        Value::List(items) => items.iter().for_each(|item| secrets(item, file, found)),
        Value::Map(entries) => {
            for Entry { key, value, .. } in entries {
                match &value.value {
                    Value::Map(inner) if is_secret_key(key) => {
                        inner.iter().for_each(|entry| hide(&entry.value, file, found));
                    }
                    _ if is_secret_key(key) || key == "environment_variables" => hide(value, file, found),
                    _ => secrets(value, file, found),
                }
            }
        }
    }
}

/// Hides every scalar under `node` that may be a secret.
fn hide(node: &Node, file: usize, found: &mut Vec<(usize, usize)>) {
    match &node.value {
        Value::Scalar(scalar) if !scalar.is_null() && mask::may_be_secret(&scalar.text) => {
            if node.mark.file == file {
                found.push(node.mark.bytes);
            }
        }
        Value::Scalar(_) => {}
        Value::List(items) => items.iter().for_each(|item| hide(item, file, found)),
        Value::Map(entries) => entries.iter().for_each(|entry| hide(&entry.value, file, found)),
    }
}

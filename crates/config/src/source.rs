//! Files and places in them.
//!
//! A [`Mark`] is cheap and points into a file by number; [`Files`] turns it into a [`Place`] a person can go to,
//! with the source line, in which whatever may be a secret is masked.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use crate::mask;

/// A stretch of a file, by number of the file in [`Files`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mark {
    /// Index in [`Files`].
    pub file: usize,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Characters to underline on that line, at least 1.
    pub length: usize,
    /// Byte range in the file.
    pub bytes: (usize, usize),
}

/// Where a diagnostic points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file's name as it was given.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// How many characters are meant, at least 1.
    pub length: usize,
    /// The line, or what of a long line surrounds the place; secrets masked.
    pub text: String,
    /// The column at which `text` begins, 1 unless the line is long.
    pub text_column: usize,
}

/// Longest stretch of a line that is shown.
const SHOWN: usize = 120;
/// Characters shown before the place when a long line is cut.
const BEFORE: usize = 40;

/// One file that was read.
#[derive(Debug, Default)]
pub(crate) struct File {
    /// As shown in messages.
    pub name: String,
    /// Where it is; none for text handed in.
    pub path: Option<PathBuf>,
    /// Its text, without a byte order mark.
    pub text: String,
    /// Byte ranges of values that must not be printed, in order.
    pub secrets: Vec<(usize, usize)>,
    /// Where each line begins, in bytes.
    lines: Vec<usize>,
}

impl File {
    pub(crate) fn new(name: String, path: Option<PathBuf>, text: String) -> File {
        // A carriage return alone ends a line too.
        let bytes = text.as_bytes();
        let ends = |at: usize| {
            bytes.get(at) == Some(&b'\n')
                || (bytes.get(at) == Some(&b'\r') && bytes.get(at + 1) != Some(&b'\n'))
        };
        let breaks = (0..bytes.len()).filter(|at| ends(*at)).map(|at| at + 1);
        let lines = std::iter::once(0).chain(breaks).collect();
        File { name, path, text, secrets: Vec::new(), lines }
    }

    /// A line from 1, without its end, and where it begins.
    fn line(&self, line: usize) -> (usize, &str) {
        let start =
            line.checked_sub(1).and_then(|index| self.lines.get(index)).copied().unwrap_or(self.text.len());
        let end = self.lines.get(line).copied().unwrap_or(self.text.len());
        (start, self.text.get(start..end).unwrap_or("").trim_end_matches(['\n', '\r']))
    }

    /// The characters of a line, masked.
    fn masked(&self, line: usize) -> Vec<char> {
        let (start, line) = self.line(line);
        let end = start + line.len();
        let hidden = self.secrets.iter().filter(|(from, to)| *from < end && *to > start);
        let hidden = hidden.map(|&(from, to)| (from.max(start) - start, to.min(end) - start));
        mask::line(line, hidden.collect()).chars().collect()
    }
}

/// The characters of a line, by file and number of the line.
type MaskedLine = (usize, usize, Rc<Vec<char>>);

/// Every file of one load, in the order read.
#[derive(Debug, Default)]
pub(crate) struct Files {
    files: Vec<File>,
    /// The last line masked, by file and number: findings on one long line must not each mask all of it.
    last: RefCell<Option<MaskedLine>>,
}

impl Files {
    pub(crate) fn add(&mut self, file: File) -> usize {
        self.files.push(file);
        self.files.len() - 1
    }

    /// Says which values of a file must not be printed.
    pub(crate) fn hide(&mut self, index: usize, secrets: Vec<(usize, usize)>) {
        if let Some(file) = self.files.get_mut(index) {
            file.secrets = secrets;
        }
        *self.last.borrow_mut() = None;
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &File> {
        self.files.iter()
    }

    /// The place of `mark`, its line masked.
    pub(crate) fn place(&self, mark: Mark) -> Option<Place> {
        let line = self.masked(mark)?;
        let before = mark.column.saturating_sub(1);
        let cut = if line.len() > SHOWN { before.saturating_sub(BEFORE) } else { 0 };
        Some(Place {
            file: self.files.get(mark.file)?.name.clone(),
            line: mark.line,
            column: mark.column,
            length: mark.length.max(1),
            text: line.iter().skip(cut).take(SHOWN).collect(),
            text_column: cut + 1,
        })
    }

    fn masked(&self, mark: Mark) -> Option<Rc<Vec<char>>> {
        let mut last = self.last.borrow_mut();
        match &*last {
            Some((file, line, text)) if (*file, *line) == (mark.file, mark.line) => Some(Rc::clone(text)),
            _ => {
                let text = Rc::new(self.files.get(mark.file)?.masked(mark.line));
                *last = Some((mark.file, mark.line, Rc::clone(&text)));
                Some(text)
            }
        }
    }
}

//! Files and places in them.
//!
//! A [`Mark`] is cheap and points into a file by number; [`Files`] turns it into a [`Place`] a person can go to,
//! with the source line, in which whatever may be a secret is masked.

use std::path::PathBuf;

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
    /// The line itself, secrets masked.
    pub text: String,
}

/// One file that was read.
#[derive(Debug, Default)]
pub(crate) struct File {
    /// As shown in messages.
    pub name: String,
    /// Where it is; none for text handed in.
    pub path: Option<PathBuf>,
    /// Its text, without a byte order mark.
    pub text: String,
    /// Byte ranges of values that must not be printed.
    pub secrets: Vec<(usize, usize)>,
}

/// Every file of one load, in the order read.
#[derive(Debug, Default)]
pub(crate) struct Files(Vec<File>);

impl Files {
    pub(crate) fn add(&mut self, file: File) -> usize {
        self.0.push(file);
        self.0.len() - 1
    }

    pub(crate) fn get(&self, index: usize) -> Option<&File> {
        self.0.get(index)
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut File> {
        self.0.get_mut(index)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &File> {
        self.0.iter()
    }

    /// The place of `mark`, its line masked.
    pub(crate) fn place(&self, mark: Mark) -> Option<Place> {
        let file = self.get(mark.file)?;
        let mut start = 0;
        let line = file.text.split_inclusive('\n').nth(mark.line.checked_sub(1)?).map_or("", |line| {
            start = line.as_ptr() as usize - file.text.as_ptr() as usize;
            line.trim_end_matches(['\n', '\r'])
        });
        let hidden = file.secrets.iter().filter_map(|&(from, to)| {
            let (from, to) = (from.max(start), to.min(start + line.len()));
            (from < to).then(|| (from - start, to - start))
        });
        Some(Place {
            file: file.name.clone(),
            line: mark.line,
            column: mark.column,
            length: mark.length.max(1),
            text: mask::line(line, hidden.collect()),
        })
    }
}

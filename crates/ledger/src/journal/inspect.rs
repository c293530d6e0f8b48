//! Looking at journals without touching them.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Cursor, Kind, Reader, size_of};
use crate::packed::PackedReceipt;

/// What is in one process's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Where.
    pub directory: PathBuf,
    /// A process is using it.
    pub in_use: bool,
    /// Bytes of its segments.
    pub bytes: u64,
    /// Receipts that are not in the store.
    pub unshipped: u64,
    /// When the first of them arrived, milliseconds since 1970.
    pub oldest_at: Option<i64>,
    /// Stretches that cannot be read.
    pub damaged: u64,
    /// Receipts that the store refused, in `refused.jsonl`.
    pub refused: u64,
}

/// The journals under a data directory. Reads all that is not shipped.
pub fn inspect(directory: &Path) -> io::Result<Vec<Left>> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(directory.join("journal")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(look(entry.path())?);
        }
    }
    found.sort_by(|a, b| a.directory.cmp(&b.directory));
    Ok(found)
}

fn look(directory: PathBuf) -> io::Result<Left> {
    let in_use = File::open(directory.join("lock")).is_ok_and(|lock| lock.try_lock_shared().is_err());
    let refused = std::fs::read(directory.join("refused.jsonl")).unwrap_or_default();
    let mut left = Left {
        in_use,
        bytes: size_of(&directory)?,
        unshipped: 0,
        oldest_at: None,
        damaged: 0,
        refused: refused.iter().filter(|byte| **byte == b'\n').count() as u64,
        directory,
    };
    let mut reader = Reader::new(left.directory.clone(), Cursor::load(&left.directory));
    while let Some(entry) = reader.next(None)? {
        if entry.kind == Kind::Settled {
            left.unshipped += 1;
            if left.oldest_at.is_none() {
                left.oldest_at = PackedReceipt(entry.record).at().ok();
            }
        }
    }
    left.damaged = reader.damage().stretches;
    Ok(left)
}

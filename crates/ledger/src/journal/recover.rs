//! What an earlier process left in a directory.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::{Cursor, Damage, Kind, Reader, record, segment};
use crate::opening::Opening;
use crate::packed::PackedReceipt;

/// What is in a directory.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The last sequence given out.
    pub(crate) last: u64,
    /// Receipts behind the cursor.
    pub(crate) unshipped: u64,
    pub(crate) damage: Damage,
}

/// Reads a whole directory. `open` gains the calls that were opened and loses those that were settled.
///
/// A torn end is cut off, so that nobody has to look at it again.
pub(crate) fn scan(
    directory: &Path,
    cursor: Cursor,
    open: &mut BTreeMap<String, Opening>,
) -> io::Result<Found> {
    let segments = segment::list(directory)?;
    // The next segment gets a name of its own even when nothing was written to the newest one.
    let newest = segments.last().map_or(0, |(first, _)| *first);
    let mut found = Found { last: cursor.sequence.max(newest), ..Found::default() };
    let mut reader = Reader::new(directory.to_owned(), Cursor::default());
    while let Some(entry) = reader.next(None)? {
        found.last = found.last.max(entry.sequence);
        match entry.kind {
            Kind::Opened | Kind::StillOpen => {
                if let Ok(opening) = record::read::<Opening>(entry.record) {
                    open.insert(opening.id.to_string(), opening);
                }
            }
            Kind::Settled => {
                if let Ok(id) = PackedReceipt(entry.record).id() {
                    open.remove(id);
                }
                found.unshipped += u64::from(entry.sequence > cursor.sequence);
            }
        }
    }
    found.damage = reader.damage();
    if found.damage.torn > 0 {
        let end = reader.cursor();
        let file = std::fs::OpenOptions::new().write(true).open(segment::path(directory, end.segment))?;
        file.set_len(end.offset)?;
    }
    Ok(found)
}

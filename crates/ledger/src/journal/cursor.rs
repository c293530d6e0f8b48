//! How far a journal has been shipped.

use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

const NAME: &str = "shipped";

/// A place in a journal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// The segment: its first sequence.
    pub(crate) segment: u64,
    /// Bytes of it that are behind.
    pub(crate) offset: u64,
    /// The last sequence that is behind.
    pub(crate) sequence: u64,
}

impl Cursor {
    /// The cursor kept in a directory. A missing or damaged one is the beginning: the store takes no receipt twice.
    pub(super) fn load(directory: &Path) -> Cursor {
        let text = std::fs::read(directory.join(NAME)).unwrap_or_default();
        let kept = text.split_once_last(b'\n').filter(|(json, sum)| sum_of(json).as_bytes() == *sum);
        kept.and_then(|(json, _)| serde_json::from_slice(json).ok()).unwrap_or_default()
    }

    /// Keeps it, whole or not at all.
    pub(super) fn save(self, directory: &Path) -> io::Result<()> {
        let mut text = serde_json::to_vec(&self)?;
        let sum = sum_of(&text);
        text.push(b'\n');
        text.extend_from_slice(sum.as_bytes());
        let (place, temporary) = (directory.join(NAME), directory.join("shipped.new"));
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&temporary)?.write_all(&text)?;
        std::fs::rename(temporary, place)
    }
}

fn sum_of(json: &[u8]) -> String {
    format!("{:08x}", crc32c::crc32c(json))
}

trait SplitLast {
    fn split_once_last(&self, at: u8) -> Option<(&[u8], &[u8])>;
}

impl SplitLast for Vec<u8> {
    fn split_once_last(&self, at: u8) -> Option<(&[u8], &[u8])> {
        let place = self.iter().rposition(|byte| *byte == at)?;
        Some((self.get(..place)?, self.get(place + 1..)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_and_a_damaged_one_is_the_beginning() {
        let directory = tempfile::tempdir().unwrap();
        let cursor = Cursor { segment: 3, offset: 99, sequence: 17 };
        assert_eq!(Cursor::load(directory.path()), Cursor::default());
        cursor.save(directory.path()).unwrap();
        assert_eq!(Cursor::load(directory.path()), cursor);
        let mut bytes = std::fs::read(directory.path().join(NAME)).unwrap();
        bytes[12] ^= 1;
        std::fs::write(directory.path().join(NAME), bytes).unwrap();
        assert_eq!(Cursor::load(directory.path()), Cursor::default());
    }
}

//! Reads a journal's records in order, over its segments, and over what is damaged in them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use super::cursor::Cursor;
use super::frame::{self, Kind, Look};
use super::segment;

/// Bytes read at once.
const CHUNK: usize = 256 << 10;

/// A record, as it lies in the journal.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) kind: Kind,
    pub(crate) sequence: u64,
    pub(crate) record: &'a [u8],
}

/// What could not be read on the way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Stretches of bytes between whole frames that are no frames.
    pub(crate) stretches: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Bytes behind the last whole frame of the last segment: a write that did not finish.
    pub(crate) torn: u64,
}

/// Reads a directory of segments.
#[derive(Debug)]
pub(crate) struct Reader {
    directory: PathBuf,
    /// The segment that is read: its first sequence.
    segment: u64,
    file: Option<File>,
    /// Its length, where nobody writes it any more.
    finished: Option<u64>,
    /// Bytes of the file, from `offset` on; the first `at` of them are read.
    buffer: Vec<u8>,
    at: usize,
    offset: u64,
    last: u64,
    damage: Damage,
}

/// How far a reader may read: nothing is there yet behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frontier {
    /// The segment that is written.
    pub(crate) segment: u64,
    /// Its bytes that are written.
    pub(crate) length: u64,
}

impl Reader {
    /// Reads on from a cursor.
    pub(crate) fn new(directory: PathBuf, from: Cursor) -> Reader {
        Reader {
            directory,
            segment: from.segment,
            file: None,
            finished: None,
            buffer: Vec::new(),
            at: 0,
            offset: from.offset,
            last: from.sequence,
            damage: Damage::default(),
        }
    }

    /// Where the next record will be looked for.
    pub(crate) fn cursor(&self) -> Cursor {
        Cursor { segment: self.segment, offset: self.offset + self.at as u64, sequence: self.last }
    }

    /// Bytes between it and the frontier, where they are in one segment.
    pub(crate) fn ahead(&self, frontier: Option<Frontier>) -> usize {
        let length = frontier.filter(|frontier| frontier.segment == self.segment);
        let ahead = length.map_or(0, |frontier| frontier.length.saturating_sub(self.cursor().offset));
        usize::try_from(ahead).unwrap_or(usize::MAX)
    }

    /// Where its segments are.
    pub(crate) fn directory(&self) -> &std::path::Path {
        &self.directory
    }

    /// What was damaged so far.
    pub(crate) fn damage(&self) -> Damage {
        self.damage
    }

    /// The next record; `None` at the frontier, or without one at the end of the last segment.
    ///
    /// Segments that the reader has left are finished: whoever owns them may delete those before `cursor().segment`.
    pub(crate) fn next(&mut self, frontier: Option<Frontier>) -> io::Result<Option<Entry<'_>>> {
        loop {
            let end = self.end(frontier)?;
            let Some(end) = end else {
                if self.next_segment(frontier)? {
                    continue;
                }
                return Ok(None);
            };
            let open = frontier.is_some_and(|frontier| frontier.segment == self.segment);
            match self.find(end, open)? {
                Some(size) => return Ok(self.take(size)),
                None if open => return Ok(None),
                None if self.next_segment(frontier)? => {}
                None => return Ok(None),
            }
        }
    }

    /// Opens the segment if needed; its readable length. `None`: there is no such segment.
    fn end(&mut self, frontier: Option<Frontier>) -> io::Result<Option<u64>> {
        if self.file.is_none() {
            let opened = match segment::open(&self.directory, self.segment) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                other => other?,
            };
            let (mut file, whole) = opened;
            if self.offset == 0 && whole {
                self.offset = segment::HEADER;
            }
            file.seek(SeekFrom::Start(self.offset))?;
            self.file = Some(file);
            self.buffer.clear();
            self.at = 0;
        }
        if let Some(frontier) = frontier.filter(|frontier| frontier.segment == self.segment) {
            return Ok(Some(frontier.length));
        }
        let length = match (self.finished, &self.file) {
            (Some(length), _) => length,
            (None, Some(file)) => file.metadata()?.len(),
            (None, None) => 0,
        };
        self.finished = Some(length);
        Ok(Some(length))
    }

    /// Goes on to the next segment, if there is one up to the frontier.
    fn next_segment(&mut self, frontier: Option<Frontier>) -> io::Result<bool> {
        let next = segment::list(&self.directory)?
            .into_iter()
            .map(|(first, _)| first)
            .find(|first| *first > self.segment);
        let Some(next) = next.filter(|next| frontier.is_none_or(|frontier| *next <= frontier.segment)) else {
            return Ok(false);
        };
        // What was torn is in the middle now.
        if self.damage.torn > 0 {
            self.damage.stretches += 1;
            self.damage.bytes += std::mem::take(&mut self.damage.torn);
        }
        self.segment = next;
        self.file = None;
        self.finished = None;
        self.buffer.clear();
        self.at = 0;
        self.offset = 0;
        Ok(true)
    }

    /// Finds the next whole frame before `end` and leaves `at` at it; its size. `open`: more may come behind `end`.
    fn find(&mut self, end: u64, open: bool) -> io::Result<Option<usize>> {
        let start = self.offset + self.at as u64;
        let mut skipped = 0_usize;
        loop {
            let rest = self.buffer.get(self.at + skipped..).unwrap_or_default();
            let nothing = rest.is_empty();
            let place = self.offset + (self.at + skipped) as u64;
            match frame::look(rest, self.last) {
                Look::Frame(frame) => {
                    let size = frame.size;
                    if skipped > 0 {
                        self.damage.stretches += 1;
                        self.damage.bytes += skipped as u64;
                        self.at += skipped;
                    }
                    return Ok(Some(size));
                }
                Look::Short(needed) if place + needed as u64 <= end => self.fill(skipped + needed, end)?,
                // A frame that does not fit before the end is damage, unless there is nothing but it.
                Look::Short(_) | Look::No if place < end => {
                    if nothing {
                        self.fill(skipped + 1, end)?;
                    }
                    skipped += 1;
                }
                Look::Short(_) | Look::No => break,
            }
        }
        // A reader at the frontier sees whole frames only; what it cannot read is damage for whoever comes next.
        self.damage.torn = end.saturating_sub(start);
        if open && self.damage.torn > 0 {
            self.at += skipped;
            self.damage.stretches += 1;
            self.damage.bytes += std::mem::take(&mut self.damage.torn);
        }
        Ok(None)
    }

    /// Sees to it that `needed` bytes from `at` on are in the buffer, which `end` allows.
    fn fill(&mut self, needed: usize, end: u64) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        self.buffer.drain(..self.at);
        self.offset += self.at as u64;
        self.at = 0;
        while self.buffer.len() < needed {
            let behind = self.offset + self.buffer.len() as u64;
            let room = usize::try_from(end.saturating_sub(behind)).unwrap_or(CHUNK);
            let wanted = room.min(CHUNK.max(needed - self.buffer.len()));
            let length = self.buffer.len();
            self.buffer.resize(length + wanted, 0);
            let read = self.buffer.get_mut(length..).map_or(Ok(0), |place| file.read(place));
            self.buffer.truncate(length + *read.as_ref().unwrap_or(&0));
            match read {
                // Shorter than it was: somebody else cut it.
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn take(&mut self, size: usize) -> Option<Entry<'_>> {
        let start = self.at;
        self.at += size;
        let Look::Frame(frame) = frame::look(self.buffer.get(start..start + size)?, self.last) else {
            return None;
        };
        self.last = frame.sequence;
        Some(Entry { kind: frame.kind, sequence: frame.sequence, record: frame.record })
    }
}

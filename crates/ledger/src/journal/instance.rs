//! Each process has a directory of its own under `journal/`, held by a lock; what dead ones left is adopted.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::cursor::Cursor;
use super::segment;

const LOCK: &str = "lock";

/// A journal's directory, locked as long as this lives.
#[derive(Debug)]
pub(crate) struct Instance {
    directory: PathBuf,
    _lock: File,
    /// Segments before this one are deleted; 0: nobody has looked yet.
    deleted_before: AtomicU64,
}

impl Instance {
    /// A directory of this process, and those of processes that are gone.
    ///
    /// The first directory that nobody holds is used on, so that a restarted process finds its own again.
    pub(crate) fn claim(journal: &Path) -> io::Result<(Instance, Vec<Instance>)> {
        segment::make_directory(journal)?;
        let mut names = Vec::new();
        for entry in std::fs::read_dir(journal)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                names.push(entry.path());
            }
        }
        names.sort();
        let mut claimed = Vec::new();
        for name in names {
            claimed.extend(Instance::lock(name)?);
        }
        if claimed.is_empty() {
            let fresh = Instance::lock(journal.join(uuid::Uuid::now_v7().simple().to_string()))?;
            claimed.extend(fresh);
        }
        let mut claimed = claimed.into_iter();
        let own = claimed
            .next()
            .ok_or_else(|| io::Error::other("a fresh journal directory is held by someone else"))?;
        Ok((own, claimed.collect()))
    }

    /// `None`: someone else holds it, or has just taken it away.
    fn lock(directory: PathBuf) -> io::Result<Option<Instance>> {
        segment::make_directory(&directory)?;
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let place = directory.join(LOCK);
        let lock = match options.open(&place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Whoever adopted it may have finished between our opening of the file and our lock on it.
        let deleted_before = AtomicU64::new(0);
        Ok(place.exists().then_some(Instance { directory, _lock: lock, deleted_before }))
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// How far it has been shipped.
    pub(crate) fn cursor(&self) -> Cursor {
        Cursor::load(&self.directory)
    }

    /// Keeps how far it has been shipped, and deletes the segments before that. Returns the bytes that became free.
    pub(crate) fn advance(&self, cursor: Cursor) -> io::Result<u64> {
        cursor.save(&self.directory)?;
        let mut freed = 0;
        // Batches are many to a segment.
        if self.deleted_before.load(Ordering::Relaxed) == cursor.segment {
            return Ok(freed);
        }
        for (first, size) in segment::list(&self.directory)? {
            if first < cursor.segment {
                std::fs::remove_file(segment::path(&self.directory, first))?;
                freed += size;
            }
        }
        self.deleted_before.store(cursor.segment, Ordering::Relaxed);
        Ok(freed)
    }

    /// Takes away a directory whose last record is in the store. A file of receipts that the store refused stays.
    pub(crate) fn remove(self) -> io::Result<()> {
        for (first, _) in segment::list(&self.directory)? {
            std::fs::remove_file(segment::path(&self.directory, first))?;
        }
        for name in ["shipped", "shipped.new", LOCK] {
            match std::fs::remove_file(self.directory.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        // Fails when something else is in it, which is then left alone.
        let _ = std::fs::remove_dir(&self.directory);
        Ok(())
    }
}

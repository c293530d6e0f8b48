//! The journal: an append-only file that a call's record is in before its caller has the end of its answer.
//!
//! Two locks, each held briefly. `pending` collects frames and gives out sequences; `writer` puts everything pending
//! into the file with one `write`. Whoever waits for the writer while another one writes usually finds its own frame
//! written. What the disk does not take stays in memory up to a bound, in order, and is tried again.

mod cursor;
mod frame;
mod inspect;
mod instance;
mod reader;
pub(crate) mod record;
mod recover;
mod segment;
mod sync;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

pub(crate) use cursor::Cursor;
pub(crate) use frame::Kind;
pub use inspect::{Left, inspect};
pub(crate) use instance::Instance;
pub(crate) use reader::{Damage, Frontier, Reader};
pub(crate) use recover::scan;
pub(crate) use sync::Flusher;

use crate::opening::Opening;
use crate::options::Options;
use crate::packed;
use crate::receipt::Receipt;

/// A pause after a write that failed.
const RETRY: Duration = Duration::from_millis(100);

/// Frames up to this size are built in a buffer that is kept.
const KEPT_BUFFER: usize = 64 << 10;

thread_local! {
    /// Records become frames outside every lock.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The journal of this process.
#[derive(Debug)]
pub(crate) struct Journal {
    instance: Instance,
    options: Options,
    pending: Mutex<Pending>,
    writer: Mutex<Writer>,
    /// The last sequence given out.
    appended: AtomicU64,
    /// The last sequence that is in the file.
    written: AtomicU64,
    /// Bytes of all segments on disk, those of adopted directories included.
    bytes: AtomicU64,
    /// The file does not take what it is given.
    stuck: AtomicBool,
    /// Someone holds the writer, and the disk has it.
    writing: AtomicBool,
    /// The disk is done with what it was given.
    done: Notify,
    /// Receipts that found no place anywhere.
    dropped: AtomicU64,
    flusher: Arc<Flusher>,
}

/// Why a record was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The file takes nothing, and memory is full.
    NoRoom,
    /// A frame cannot hold it.
    TooLarge,
}

/// An opening that may still wait in memory, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parked(u64);

#[derive(Debug)]
struct Pending {
    buffer: Vec<u8>,
    last: u64,
    /// Openings that wait for the housekeeper, oldest first. A call that is over before it comes needs none.
    parked: VecDeque<(u64, Vec<u8>)>,
    next_parked: u64,
    /// Buffers of openings that are gone.
    spare: Vec<Vec<u8>>,
}

/// Buffers of openings that are kept.
const SPARE: usize = 256;

#[derive(Debug)]
struct Writer {
    file: Arc<File>,
    segment: u64,
    length: u64,
    /// Taken from `pending`, and not in the file yet.
    unwritten: Vec<u8>,
    /// The sequence of the last frame in it.
    last: u64,
    /// Segments that are finished, and not yet on the disk itself.
    unsynced: Vec<Arc<File>>,
    /// Written since the last sync.
    dirty: bool,
    retry_at: Option<Instant>,
    error: Option<String>,
}

impl Journal {
    /// Begins a new segment after sequence `last`. `bytes`: what is on the disk already.
    pub(crate) fn start(instance: Instance, options: Options, last: u64, bytes: u64) -> io::Result<Journal> {
        let segment = last + 1;
        let file = Arc::new(segment::create(instance.directory(), segment)?);
        segment::sync_directory(instance.directory())?;
        let writer = Writer {
            file,
            segment,
            length: segment::HEADER,
            unwritten: Vec::new(),
            last,
            unsynced: Vec::new(),
            dirty: true,
            retry_at: None,
            error: None,
        };
        Ok(Journal {
            instance,
            options,
            pending: Mutex::new(Pending::after(last)),
            appended: AtomicU64::new(last),
            writer: Mutex::new(writer),
            written: AtomicU64::new(last),
            bytes: AtomicU64::new(bytes + segment::HEADER),
            stuck: AtomicBool::new(false),
            writing: AtomicBool::new(false),
            done: Notify::new(),
            dropped: AtomicU64::new(0),
            flusher: Arc::new(Flusher::default()),
        })
    }

    /// Adds an opening; it is in the file after the next write.
    pub(crate) fn append(&self, kind: Kind, opening: &Opening<'_>) -> Result<u64, Refused> {
        let write = |buffer: &mut Vec<u8>| record::write(buffer, opening).is_ok();
        framed(kind, write, |frame| self.enqueue(kind, frame, None))?.ok_or(Refused::NoRoom)
    }

    /// Adds the receipt of a call whose opening was parked. An opening that is still there is of no use any more.
    pub(crate) fn append_settled(&self, receipt: &Receipt, opened: Option<Parked>) -> Result<u64, Refused> {
        let write = |buffer: &mut Vec<u8>| packed::pack(buffer, receipt).is_ok();
        framed(Kind::Settled, write, |frame| self.enqueue(Kind::Settled, frame, opened))?
            .ok_or(Refused::NoRoom)
    }

    /// Keeps an opening for the housekeeper, which comes within 10 ms. `None`: there is no room.
    pub(crate) fn park(&self, opening: &Opening<'_>) -> Option<Parked> {
        let write = |buffer: &mut Vec<u8>| record::write(buffer, opening).is_ok();
        let parked = framed(Kind::Opened, write, |frame| {
            let mut pending = lock(&self.pending);
            // Openings are of use after a crash only; receipts are money.
            let full = self.is_stuck() && pending.buffer.len() + frame.len() > self.options.memory_bytes / 2;
            (!full).then(|| pending.park(frame))
        });
        parked.ok().flatten()
    }

    fn enqueue(&self, kind: Kind, frame: &mut [u8], opened: Option<Parked>) -> Option<u64> {
        let mut pending = lock(&self.pending);
        if let Some(opened) = opened {
            pending.forget(opened);
        }
        if self.is_stuck() {
            let bound =
                if kind == Kind::Settled { self.options.memory_bytes } else { self.options.memory_bytes / 2 };
            if pending.buffer.len() + frame.len() > bound {
                return None;
            }
        }
        let sequence = pending.push(frame);
        self.appended.store(sequence, Ordering::Release);
        Some(sequence)
    }

    /// Counts a receipt that found no place; returns how many there are.
    pub(crate) fn drop_one(&self) -> u64 {
        self.dropped.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The last sequence given out, when it is not in the file yet.
    pub(crate) fn unwritten_sequence(&self) -> Option<u64> {
        let appended = self.appended.load(Ordering::Acquire);
        (self.written.load(Ordering::Acquire) < appended).then_some(appended)
    }

    /// Sees to it that everything up to `sequence` is in the file, or that the file is known not to take it.
    pub(crate) fn write_until(&self, sequence: u64) {
        let mut writer = lock(&self.writer);
        if self.written.load(Ordering::Acquire) < sequence {
            self.write(&mut writer);
        }
    }

    /// As [`Journal::write_until`]. While another one writes, it waits without its thread: a disk that takes its time
    /// holds up one thread, and not every one that serves calls.
    pub(crate) async fn written_until(&self, sequence: u64) {
        if !self.try_write_until(sequence) {
            self.await_writer(sequence).await;
        }
    }

    async fn await_writer(&self, sequence: u64) {
        loop {
            let mut done = pin!(self.done.notified());
            // From here on it is heard, so that nobody is done between the question and the wait.
            done.as_mut().enable();
            if self.try_write_until(sequence) {
                return;
            }
            done.await;
            if self.is_stuck() {
                return;
            }
        }
    }

    /// `false`: somebody else is writing.
    fn try_write_until(&self, sequence: u64) -> bool {
        if self.written.load(Ordering::Acquire) >= sequence {
            return true;
        }
        match self.writer.try_lock() {
            Ok(mut writer) => {
                if self.written.load(Ordering::Acquire) < sequence {
                    self.write(&mut writer);
                }
                true
            }
            Err(_) if self.writing.load(Ordering::Acquire) => false,
            // Whoever has it is about to give it back.
            Err(_) => {
                self.write_until(sequence);
                true
            }
        }
    }

    /// Puts everything pending into the file, openings included.
    pub(crate) fn flush(&self) {
        self.unpark();
        self.write(&mut lock(&self.writer));
    }

    /// Openings of calls that are still on their way are for the next write; returns the last sequence given out.
    fn unpark(&self) -> u64 {
        let mut pending = lock(&self.pending);
        pending.unpark();
        self.appended.store(pending.last, Ordering::Release);
        pending.last
    }

    fn write(&self, writer: &mut Writer) {
        if writer.retry_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        {
            let mut pending = lock(&self.pending);
            if writer.unwritten.is_empty() {
                std::mem::swap(&mut writer.unwritten, &mut pending.buffer);
            } else {
                writer.unwritten.append(&mut pending.buffer);
            }
            writer.last = pending.last;
        }
        if writer.unwritten.is_empty() {
            return;
        }
        self.writing.store(true, Ordering::Release);
        let result = self.try_write(writer);
        match result {
            Ok(()) => {
                writer.unwritten.clear();
                if writer.unwritten.capacity() > self.options.segment_bytes.try_into().unwrap_or(usize::MAX) {
                    writer.unwritten = Vec::new();
                }
                self.written.store(writer.last, Ordering::Release);
                if writer.retry_at.take().is_some() {
                    writer.error = None;
                    self.stuck.store(false, Ordering::Relaxed);
                    tracing::info!(target: "tollway::ledger", "the journal takes receipts again");
                }
            }
            Err(error) => {
                if writer.error.is_none() {
                    tracing::error!(target: "tollway::ledger", %error, "the journal takes no receipts; they are kept in memory");
                }
                writer.error = Some(error.to_string());
                writer.retry_at = Some(Instant::now() + RETRY);
                self.stuck.store(true, Ordering::Relaxed);
                self.flusher.wake();
            }
        }
        self.writing.store(false, Ordering::Release);
        self.done.notify_waiters();
    }

    fn try_write(&self, writer: &mut Writer) -> io::Result<()> {
        let size = writer.unwritten.len() as u64;
        let used = self.bytes.load(Ordering::Relaxed);
        if used >= self.options.total_bytes {
            return Err(io::Error::other(format!(
                "the journal has reached its bound: {used} of {} bytes wait for the store",
                self.options.total_bytes
            )));
        }
        if writer.length >= self.options.segment_bytes {
            self.begin_segment(writer)?;
        }
        if let Err(error) = (&*writer.file).write_all(&writer.unwritten) {
            // A part of it may be there. When it cannot be cut off, readers pass over it.
            if writer.file.set_len(writer.length).is_err()
                && let Ok(metadata) = writer.file.metadata()
            {
                writer.length = metadata.len();
            }
            return Err(error);
        }
        writer.length += size;
        self.bytes.fetch_add(size, Ordering::Relaxed);
        writer.dirty = true;
        if self.options.sync_every.is_zero() {
            writer.file.sync_data()?;
            writer.dirty = false;
        }
        Ok(())
    }

    fn begin_segment(&self, writer: &mut Writer) -> io::Result<()> {
        // Everything written so far has a smaller sequence than the first unwritten frame.
        let first = self.written.load(Ordering::Acquire) + 1;
        let file = Arc::new(segment::create(self.instance.directory(), first)?);
        let finished = std::mem::replace(&mut writer.file, file);
        writer.unsynced.push(finished);
        writer.segment = first;
        writer.length = segment::HEADER;
        self.bytes.fetch_add(segment::HEADER, Ordering::Relaxed);
        Ok(())
    }

    /// Puts what is written on the disk itself. Nobody waits for it.
    pub(crate) fn sync(&self) {
        let (files, finished) = {
            let mut writer = lock(&self.writer);
            let finished = !writer.unsynced.is_empty();
            let mut files = std::mem::take(&mut writer.unsynced);
            if std::mem::take(&mut writer.dirty) {
                files.push(writer.file.clone());
            }
            (files, finished)
        };
        let synced = files.iter().try_for_each(|file| file.sync_data());
        let synced = synced.and_then(|()| {
            if finished { segment::sync_directory(self.instance.directory()) } else { Ok(()) }
        });
        if let Err(error) = synced {
            tracing::error!(target: "tollway::ledger", %error, "the journal cannot be synced to the disk");
            lock(&self.writer).dirty = true;
        }
    }

    /// How far the file is written.
    pub(crate) fn frontier(&self) -> Frontier {
        let writer = lock(&self.writer);
        Frontier { segment: writer.segment, length: writer.length }
    }

    pub(crate) fn instance(&self) -> &Instance {
        &self.instance
    }

    pub(crate) fn flusher(&self) -> &Arc<Flusher> {
        &self.flusher
    }

    pub(crate) fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Relaxed)
    }

    pub(crate) fn error(&self) -> Option<String> {
        lock(&self.writer).error.clone()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes that are in memory only.
    pub(crate) fn unwritten(&self) -> u64 {
        let taken = lock(&self.writer).unwritten.len();
        (taken + lock(&self.pending).buffer.len()) as u64
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Segments are gone.
    pub(crate) fn freed(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes.min(self.bytes()), Ordering::Relaxed);
    }
}

impl Pending {
    const fn after(last: u64) -> Pending {
        Pending { buffer: Vec::new(), last, parked: VecDeque::new(), next_parked: 0, spare: Vec::new() }
    }

    fn push(&mut self, frame: &mut [u8]) -> u64 {
        self.last += 1;
        frame::seal(frame, self.last);
        self.buffer.extend_from_slice(frame);
        self.last
    }

    fn park(&mut self, frame: &[u8]) -> Parked {
        let mut kept = self.spare.pop().unwrap_or_default();
        kept.clear();
        kept.extend_from_slice(frame);
        self.next_parked += 1;
        self.parked.push_back((self.next_parked, kept));
        Parked(self.next_parked)
    }

    /// An opening is of no use any more.
    fn forget(&mut self, Parked(number): Parked) {
        let Ok(place) = self.parked.binary_search_by_key(&number, |(number, _)| *number) else { return };
        if let Some((_, frame)) = self.parked.remove(place)
            && self.spare.len() < SPARE
            && frame.capacity() <= KEPT_BUFFER
        {
            self.spare.push(frame);
        }
    }

    /// Openings of calls that are still on their way go to the file.
    fn unpark(&mut self) {
        for (_, mut frame) in std::mem::take(&mut self.parked) {
            self.push(&mut frame);
        }
    }
}

/// Makes a frame without its sequence, and lends it out.
fn framed<T>(
    kind: Kind,
    write: impl FnOnce(&mut Vec<u8>) -> bool,
    lend: impl FnOnce(&mut [u8]) -> T,
) -> Result<T, Refused> {
    SCRATCH.with_borrow_mut(|scratch| {
        frame::begin(scratch, kind);
        let written = write(scratch) && scratch.len() <= frame::MAX_BODY;
        let result = if written { Ok(lend(scratch)) } else { Err(Refused::TooLarge) };
        if scratch.capacity() > KEPT_BUFFER {
            *scratch = Vec::new();
        }
        result
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes of the segments in a directory.
pub(crate) fn size_of(directory: &Path) -> io::Result<u64> {
    Ok(segment::list(directory)?.into_iter().map(|(_, size)| size).sum())
}

#[cfg(test)]
mod tests;

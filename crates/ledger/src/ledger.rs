//! The ledger a gateway writes to.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tollway_meters::Scope;

use crate::journal::{self, Damage, Flusher, Instance, Journal, Parked, Refused};
use crate::opening::Opening;
use crate::options::{OnFull, Options};
use crate::receipt::Receipt;
use crate::touched::Touched;

/// Where calls are recorded. Copies are the same ledger.
#[derive(Debug, Clone)]
pub struct Ledger {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) journal: Arc<Journal>,
    pub(crate) options: Options,
    /// Directories of processes that are gone, to be shipped and taken away.
    pub(crate) adopted: Mutex<Vec<Instance>>,
    pub(crate) progress: Progress,
    touched: Touched,
}

/// A call that was opened, for [`Ledger::closed`].
#[derive(Debug, Clone, Copy, Default)]
#[must_use]
pub struct Opened(Option<Parked>);

/// What is on its way to the store.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Everything of this process up to here is in the store.
    shipped: AtomicU64,
    /// Receipts that are not in the store.
    waiting: AtomicU64,
    /// When the oldest of them arrived, about; 0: there is none.
    oldest_at: AtomicI64,
    /// Receipts the store will not take, set aside in a file.
    set_aside: AtomicU64,
    /// Stretches of the journal that could not be read.
    damaged: AtomicU64,
    error: Mutex<Option<String>>,
    /// Receipts that were ever taken, those of earlier processes included.
    taken: AtomicU64,
    /// Someone waits for the shipper.
    hurry: tokio::sync::Notify,
    /// How many do.
    impatient: AtomicU64,
    /// Nothing of other processes waits any more.
    adopted: AtomicBool,
}

/// Someone waits for the shipper as long as this lives.
struct Impatient<'a>(&'a Progress);

impl<'a> Impatient<'a> {
    fn new(progress: &'a Progress) -> Impatient<'a> {
        progress.impatient.fetch_add(1, Ordering::AcqRel);
        Impatient(progress)
    }
}

impl Drop for Impatient<'_> {
    fn drop(&mut self) {
        self.0.impatient.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Why a journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The directory or a file in it cannot be read or written.
    #[error("the journal in {directory} cannot be used: {error}")]
    Io {
        /// The directory.
        directory: String,
        /// What happened.
        error: std::io::Error,
    },
}

/// What an earlier process left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Receipts that are still to be shipped.
    pub unshipped: u64,
    /// Calls that were in flight: they have a receipt now, with unknown cost.
    pub interrupted: u64,
    /// Stretches of bytes that are no records any more.
    pub damaged: u64,
    /// Their bytes.
    pub damaged_bytes: u64,
    /// Bytes of a last record that was not written to its end, cut off.
    pub torn_bytes: u64,
    /// Directories of other processes that are gone.
    pub adopted: usize,
}

/// How the ledger is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Status {
    /// Receipts that are not in the store yet.
    pub waiting: u64,
    /// Bytes of the journal on disk; segments that are being shipped included.
    pub journal_bytes: u64,
    /// Bytes that are in memory only, because the disk does not take them.
    pub memory_bytes: u64,
    /// When the oldest receipt that is not in the store arrived, milliseconds since 1970.
    pub oldest_at: Option<i64>,
    /// The journal takes no receipts.
    pub full: bool,
    /// Why the journal takes none.
    pub journal_error: Option<String>,
    /// Why the store takes none.
    pub store_error: Option<String>,
    /// Receipts that are lost, because neither disk nor memory had room.
    pub dropped: u64,
    /// Receipts the store refused, set aside in `refused.jsonl` beside the journal.
    pub set_aside: u64,
    /// Stretches of the journal that could not be read.
    pub damaged: u64,
}

impl Ledger {
    /// Opens the journal under `directory`, and takes over what dead processes left: what is not in the store is
    /// shipped, and calls that were opened and never settled become receipts with
    /// [`Outcome::Interrupted`](crate::Outcome::Interrupted) and unknown cost.
    ///
    /// # Errors
    ///
    /// When the directory cannot be read, written and locked, or was written by a newer version.
    pub fn open(directory: &Path, options: Options) -> Result<(Ledger, Recovered), LedgerError> {
        let failed = |error| LedgerError::Io { directory: directory.display().to_string(), error };
        let (own, adopted) = Instance::claim(&directory.join("journal")).map_err(failed)?;
        let mut recovered = Recovered { adopted: adopted.len(), ..Recovered::default() };
        let mut open = BTreeMap::new();
        let (mut last, mut bytes, mut own_unshipped) = (0, 0, 0);
        // Ours is last: it may hold the receipts of calls that were opened in the others.
        for instance in adopted.iter().chain([&own]) {
            let found = journal::scan(instance.directory(), instance.cursor(), &mut open).map_err(failed)?;
            bytes += journal::size_of(instance.directory()).map_err(failed)?;
            recovered.add(found.unshipped, found.damage);
            (last, own_unshipped) = (found.last, found.unshipped);
        }
        let journal = Arc::new(Journal::start(own, options.clone(), last, bytes).map_err(failed)?);
        Flusher::start(&journal).map_err(failed)?;
        let progress = Progress::default();
        progress.waiting.store(recovered.unshipped, Ordering::Relaxed);
        progress.taken.store(recovered.unshipped, Ordering::Relaxed);
        progress.damaged.store(recovered.damaged, Ordering::Relaxed);
        progress.adopted.store(adopted.is_empty(), Ordering::Relaxed);
        // What an earlier process left may concern anybody.
        let touched = Touched::new(if own_unshipped > 0 { last } else { 0 });
        let shared = Shared { journal, options, adopted: Mutex::new(adopted), progress, touched };
        let ledger = Ledger { shared: Arc::new(shared) };
        for opening in open.into_values() {
            recovered.interrupted += 1;
            ledger.settled(&opening.interrupted());
        }
        recovered.log();
        Ok((ledger, recovered))
    }

    /// A call is about to be sent. Reaches the file within 10 ms, unless the call is over by then.
    pub fn opened(&self, opening: &Opening<'_>) -> Opened {
        // Without room it only means that a crash forgets this call.
        let parked = self.shared.journal.park(opening);
        if parked.is_some() {
            self.shared.journal.flusher().wake();
        }
        Opened(parked)
    }

    /// A call is over that was never opened. Otherwise as [`Ledger::closed`], and in the file when this returns.
    pub fn settled(&self, receipt: &Receipt) -> u64 {
        let sequence = self.closed(receipt, Opened::default());
        self.shared.journal.write_until(sequence);
        sequence
    }

    /// A call is over. Reaches the file within 10 ms. Whoever is to see the end of the call must wait for
    /// [`Ledger::written`] or [`Ledger::write`] first, so that a killed process loses nothing whose end was seen.
    ///
    /// Returns the record's sequence; 0 when it is lost, which [`Status::dropped`] counts.
    pub fn closed(&self, receipt: &Receipt, opened: Opened) -> u64 {
        let shared = &self.shared;
        let appended = match shared.journal.append_settled(receipt, opened.0) {
            Err(Refused::TooLarge) => shared.journal.append_settled(&receipt.shortened(), None),
            appended => appended,
        };
        let Ok(sequence) = appended else {
            let lost = shared.journal.drop_one();
            if lost.is_power_of_two() {
                tracing::error!(
                    target: "tollway::ledger",
                    receipt = receipt.id,
                    cost = receipt.cost.usd.as_deref().unwrap_or("unknown"),
                    lost,
                    "a receipt is lost: neither disk nor memory has room for it"
                );
            }
            return 0;
        };
        shared.progress.added(receipt.at);
        shared.touched.note(receipt, sequence);
        shared.journal.flusher().wake();
        sequence
    }

    /// Returns when every record of a finished call is in the operating system's hands, or when the disk does not take
    /// it, and it is kept in memory.
    pub fn write(&self) {
        if let Some(sequence) = self.shared.journal.unwritten_sequence() {
            self.shared.journal.write_until(sequence);
        }
    }

    /// As [`Ledger::write`]. Calls that end at the same time are written together.
    pub async fn written(&self) {
        let Some(sequence) = self.shared.journal.unwritten_sequence() else { return };
        // Whoever is ready, too, adds its record first.
        tokio::task::yield_now().await;
        self.shared.journal.written_until(sequence).await;
    }

    /// Everything of this process up to this sequence is in the store.
    pub fn shipped(&self) -> u64 {
        self.shared.progress.shipped.load(Ordering::Acquire)
    }

    /// When the oldest receipt that is not in the store arrived, milliseconds since 1970; `None`: all are there.
    pub fn oldest_waiting(&self) -> Option<i64> {
        let progress = &self.shared.progress;
        let oldest = progress.oldest_at.load(Ordering::Relaxed);
        (progress.waiting.load(Ordering::Relaxed) > 0 && oldest > 0).then_some(oldest)
    }

    /// Waits until everything that was settled before this moment is in the store, by this or an earlier process. Waits
    /// for ever while the store takes nothing: bound it.
    pub async fn caught_up(&self) {
        let progress = &self.shared.progress;
        let target = progress.taken.load(Ordering::Acquire);
        let _waiting = Impatient::new(progress);
        while progress.taken.load(Ordering::Acquire).saturating_sub(progress.waiting.load(Ordering::Acquire))
            < target
        {
            progress.hurry.notify_one();
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }

    /// As [`Ledger::caught_up`], for receipts that count for one scope. A scope that nothing was settled for lately need not
    /// wait for the others.
    pub async fn caught_up_with(&self, scope: &Scope) {
        let Some(target) = self.shared.touched.latest(scope) else { return self.caught_up().await };
        let progress = &self.shared.progress;
        if progress.has_shipped(target) {
            return;
        }
        let _waiting = Impatient::new(progress);
        while !progress.has_shipped(target) {
            progress.hurry.notify_one();
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }

    /// As [`Ledger::caught_up_with`], for those who have time: shipping goes on at its own pace.
    pub async fn ships(&self, scope: &Scope) {
        let Some(target) = self.shared.touched.latest(scope) else { return };
        while !self.shared.progress.has_shipped(target) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// The journal takes no receipts: the disk is full, or too much waits for the store.
    pub fn is_full(&self) -> bool {
        self.shared.journal.is_stuck()
    }

    /// New calls are to be refused, because they could not be recorded.
    pub fn refuses(&self) -> bool {
        self.is_full() && self.shared.options.on_full == OnFull::Refuse
    }

    /// How the ledger is doing.
    pub fn status(&self) -> Status {
        let (journal, progress) = (&self.shared.journal, &self.shared.progress);
        let waiting = progress.waiting.load(Ordering::Relaxed);
        Status {
            waiting,
            journal_bytes: journal.bytes(),
            memory_bytes: journal.unwritten(),
            oldest_at: self.oldest_waiting(),
            full: journal.is_stuck(),
            journal_error: journal.error(),
            store_error: progress.error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            dropped: journal.dropped(),
            set_aside: progress.set_aside.load(Ordering::Relaxed),
            damaged: progress.damaged.load(Ordering::Relaxed),
        }
    }

    /// Puts everything on the disk itself; for the end of a process.
    pub fn sync(&self) {
        self.shared.journal.flush();
        self.shared.journal.sync();
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.journal.flush();
        self.journal.sync();
        self.journal.flusher().stop();
        // The task that writes has it for the length of a write.
        while Arc::strong_count(&self.journal) > 1 {
            std::thread::yield_now();
        }
    }
}

impl Progress {
    /// Is everything of this process up to `sequence`, and of those before it, in the store?
    fn has_shipped(&self, sequence: u64) -> bool {
        self.adopted.load(Ordering::Acquire) && self.shipped.load(Ordering::Acquire) >= sequence
    }

    fn added(&self, at: i64) {
        self.taken.fetch_add(1, Ordering::Relaxed);
        if self.waiting.fetch_add(1, Ordering::Relaxed) == 0 {
            self.oldest_at.store(at, Ordering::Relaxed);
        }
    }

    /// Receipts went to the store, the youngest of which arrived at `at`.
    pub(crate) fn gone(&self, receipts: u64, at: i64) {
        let less = |waiting: u64| Some(waiting.saturating_sub(receipts));
        let before = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).unwrap_or(0);
        self.oldest_at.store(if before > receipts { at } else { 0 }, Ordering::Relaxed);
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The oldest receipt that waits arrived at `at`.
    pub(crate) fn oldest(&self, at: i64) {
        self.oldest_at.store(at, Ordering::Relaxed);
    }

    /// Everything that dead processes left is in the store.
    pub(crate) fn adopted_all(&self) {
        self.adopted.store(true, Ordering::Release);
    }

    pub(crate) fn reached(&self, sequence: u64) {
        self.shipped.store(sequence, Ordering::Release);
    }

    /// Does someone wait for the shipper?
    pub(crate) fn is_waited_for(&self) -> bool {
        self.impatient.load(Ordering::Acquire) > 0
    }

    /// Returns when someone waits for the shipper.
    pub(crate) async fn hurried(&self) {
        self.hurry.notified().await;
    }

    /// The store took nothing.
    pub(crate) fn failed(&self, error: String) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    pub(crate) fn set_aside(&self) {
        self.set_aside.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn damaged(&self, stretches: u64) {
        self.damaged.fetch_add(stretches, Ordering::Relaxed);
    }
}

impl Recovered {
    fn add(&mut self, unshipped: u64, damage: Damage) {
        self.unshipped += unshipped;
        self.damaged += damage.stretches;
        self.damaged_bytes += damage.bytes;
        self.torn_bytes += damage.torn;
    }

    fn log(&self) {
        if self.damaged > 0 {
            tracing::error!(
                target: "tollway::ledger",
                stretches = self.damaged,
                bytes = self.damaged_bytes,
                "the journal is damaged; what could not be read was passed over"
            );
        }
        if self.torn_bytes > 0 {
            tracing::warn!(target: "tollway::ledger", bytes = self.torn_bytes, "an unfinished record was cut off the journal");
        }
        if self.unshipped > 0 || self.interrupted > 0 {
            tracing::info!(
                target: "tollway::ledger",
                receipts = self.unshipped,
                interrupted = self.interrupted,
                "the journal of an earlier process was taken over"
            );
        }
    }
}

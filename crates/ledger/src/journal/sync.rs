//! The journal's housekeepers: one writes what nobody waits for within 10 ms and tries again after failures, the other
//! one syncs.
//!
//! The first is a task of the runtime that serves calls, so that neither a call nor what it leaves behind wakes a thread. The
//! second has a thread of its own, for it waits for the disk. Without a runtime the thread does both.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::Journal;

/// Longest a buffered record waits for a write.
const BUFFERED: Duration = Duration::from_millis(10);

/// Wakes the housekeepers, cheaply when they are awake.
#[derive(Debug, Default)]
pub(crate) struct Flusher {
    /// There is something to write, and the one who writes knows.
    busy: AtomicBool,
    stopped: AtomicBool,
    /// Who writes is a task.
    has_task: AtomicBool,
    task: Notify,
    /// There is something for the thread, and it knows.
    rung: Mutex<bool>,
    bell: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Flusher {
    /// There is something to write or to sync.
    pub(crate) fn wake(&self) {
        if self.busy.load(Ordering::Relaxed) || self.busy.swap(true, Ordering::AcqRel) {
            return;
        }
        if self.has_task.load(Ordering::Relaxed) {
            self.task.notify_one();
        } else {
            self.ring();
        }
    }

    /// Ends both, and waits for the thread's end: after it nobody has the journal's directory any more.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.task.notify_one();
        self.ring();
        self.bell.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(target: "tollway::ledger", "the journal's housekeeper ended with a panic");
        }
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// There is something for the thread.
    fn ring(&self) {
        let known = std::mem::replace(&mut *self.rung.lock().unwrap_or_else(PoisonError::into_inner), true);
        // After the lock, which the thread would otherwise wake up to wait for.
        if !known {
            self.bell.notify_one();
        }
    }

    /// Waits for the bell.
    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        while !std::mem::take(&mut *rung) {
            rung = self.bell.wait(rung).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for some time, or for the end.
    fn pause(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if self.is_stopped() || left.is_zero() {
                return;
            }
            rung = self.bell.wait_timeout(rung, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Starts the housekeepers of a journal; they end with the journal.
    pub(crate) fn start(journal: &Arc<Journal>) -> std::io::Result<()> {
        let flusher = journal.flusher().clone();
        let runtime = Handle::try_current().ok();
        flusher.has_task.store(runtime.is_some(), Ordering::Relaxed);
        let (weak, keeper, every) = (Arc::downgrade(journal), flusher.clone(), journal.options.sync_every);
        let writes_too = runtime.is_none();
        let thread = std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || run(&weak, &keeper, every, writes_too))?;
        *flusher.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        if let Some(runtime) = runtime {
            runtime.spawn(write(Arc::downgrade(journal), flusher));
        }
        Ok(())
    }
}

/// Writes what is left in memory.
async fn write(journal: Weak<Journal>, flusher: Arc<Flusher>) {
    loop {
        flusher.task.notified().await;
        tokio::time::sleep(BUFFERED).await;
        // Not kept while it waits: whoever drops the ledger gets the directory back.
        let Some(journal) = journal.upgrade() else { return };
        // Before looking: what comes after this wakes the task again.
        flusher.busy.store(false, Ordering::Release);
        let last = journal.unpark();
        if !journal.try_write_until(last) || journal.is_stuck() {
            flusher.wake();
        }
        flusher.ring();
    }
}

/// Syncs what is written, and without a task writes it first.
fn run(journal: &Weak<Journal>, flusher: &Flusher, every: Duration, writes_too: bool) {
    let mut synced = Instant::now();
    loop {
        flusher.wait();
        flusher.pause(if writes_too { BUFFERED } else { every.saturating_sub(synced.elapsed()) });
        let Some(journal) = journal.upgrade() else { return };
        if writes_too {
            flusher.busy.store(false, Ordering::Release);
            journal.flush();
            if journal.is_stuck() {
                flusher.wake();
            }
        }
        if !every.is_zero() {
            if synced.elapsed() >= every {
                journal.sync();
                synced = Instant::now();
            } else {
                flusher.ring();
            }
        }
        if flusher.is_stopped() {
            return;
        }
    }
}

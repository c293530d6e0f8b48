//! The journal's housekeeper: writes what nobody waits for within 10 ms, syncs, and tries again after failures.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Journal;

/// Longest a buffered record waits for a write.
const BUFFERED: Duration = Duration::from_millis(10);

/// Wakes the housekeeper, cheaply when it is awake.
#[derive(Debug, Default)]
pub(crate) struct Flusher {
    /// There is something to do, and it knows.
    busy: AtomicBool,
    stopped: AtomicBool,
    mutex: Mutex<()>,
    bell: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Flusher {
    /// There is something to write or to sync.
    pub(crate) fn wake(&self) {
        if !self.busy.load(Ordering::Relaxed) && !self.busy.swap(true, Ordering::AcqRel) {
            let _guard = self.mutex.lock().unwrap_or_else(PoisonError::into_inner);
            self.bell.notify_one();
        }
    }

    /// Ends the thread, and waits for its end: after it nobody has the journal's directory any more.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        {
            let _guard = self.mutex.lock().unwrap_or_else(PoisonError::into_inner);
            self.bell.notify_one();
        }
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(target: "tollway::ledger", "the journal's housekeeper ended with a panic");
        }
    }

    fn wait(&self) {
        let mut guard = self.mutex.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.busy.load(Ordering::Acquire) && !self.stopped.load(Ordering::Acquire) {
            guard = self.bell.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn pause(&self) {
        let guard = self.mutex.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.stopped.load(Ordering::Acquire) {
            drop(self.bell.wait_timeout(guard, BUFFERED));
        }
    }

    /// Starts the housekeeper of a journal; it ends with the journal.
    pub(crate) fn start(journal: &Arc<Journal>) -> std::io::Result<()> {
        let (weak, flusher) = (Arc::downgrade(journal), journal.flusher().clone());
        let every = journal.options.sync_every;
        let keeper = flusher.clone();
        let thread =
            std::thread::Builder::new().name("ledger".into()).spawn(move || run(&weak, &keeper, every))?;
        *flusher.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }
}

fn run(journal: &Weak<Journal>, flusher: &Flusher, every: Duration) {
    let mut synced = Instant::now();
    loop {
        flusher.wait();
        flusher.pause();
        let Some(journal) = journal.upgrade() else { return };
        // Before looking: what comes after this wakes the thread again.
        flusher.busy.store(false, Ordering::Release);
        journal.flush();
        let mut more = journal.is_stuck();
        if !every.is_zero() {
            if synced.elapsed() >= every {
                journal.sync();
                synced = Instant::now();
            } else {
                more = true;
            }
        }
        if more {
            flusher.busy.store(true, Ordering::Release);
        }
        if flusher.stopped.load(Ordering::Acquire) {
            return;
        }
    }
}

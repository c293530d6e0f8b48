//! Threads that yield to those that serve calls: receipts go to the database on them.

use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};
use tollway_ledger::SqlBooks;
use tollway_store::Store;

/// The nice value of the threads: where calls leave nothing of a core they get about a thirtieth of it, and a call that
/// arrives interrupts them.
#[cfg(target_os = "linux")]
const NICE: i32 = 15;

/// A runtime whose threads have a low priority. It ends when this is dropped; what it was doing then is not waited for.
#[derive(Debug)]
pub(crate) struct Calm(Option<Runtime>);

impl Calm {
    pub(crate) fn start() -> std::io::Result<Calm> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(2)
            .thread_name("tollway-calm")
            .on_thread_start(yield_to_calls)
            .enable_all()
            .build()?;
        Ok(Calm(Some(runtime)))
    }

    /// Where the shipper works while nothing presses. `None` only when this has ended.
    pub(crate) fn lane(&self, store: &Store) -> Option<tollway_ledger::Calm> {
        let runtime = self.0.as_ref()?.handle().clone();
        let books = {
            let _within = runtime.enter();
            Arc::new(SqlBooks::new(store.sql().aside()))
        };
        Some(tollway_ledger::Calm { runtime, books })
    }
}

impl Drop for Calm {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Lowers the priority of this thread, and of those it starts: SQLite's connections run on threads of their own.
#[cfg(target_os = "linux")]
fn yield_to_calls() {
    // Without it receipts only cost the calls a little more.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(target: "tollway::ledger", %error, "the priority of a thread stays as it is");
    }
}

/// Elsewhere a priority is the whole process's.
#[cfg(not(target_os = "linux"))]
const fn yield_to_calls() {}

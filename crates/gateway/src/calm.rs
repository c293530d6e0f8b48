//! Threads that yield to those that serve calls: receipts go to the database on them.

use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};
use tollway_ledger::SqlBooks;
use tollway_store::Store;

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

/// Gives this thread only what calls leave of the processors: a thread that serves calls and wakes takes its place at
/// once, where one of a mere lower nice value would finish its turn first, a millisecond or more.
#[cfg(target_os = "linux")]
fn yield_to_calls() {
    use thread_priority::{
        NormalThreadSchedulePolicy::Idle, ThreadPriority::Min, ThreadSchedulePolicy::Normal,
        set_thread_priority_and_policy, thread_native_id,
    };
    // Without it receipts only cost the calls a little more.
    if let Err(error) = set_thread_priority_and_policy(thread_native_id(), Min, Normal(Idle)) {
        tracing::debug!(target: "tollway::ledger", %error, "the priority of a thread stays as it is");
    }
}

/// Elsewhere a priority is the whole process's.
#[cfg(not(target_os = "linux"))]
const fn yield_to_calls() {}

//! Answers on their way to the database: found here at once, written in the background.
//!
//! An answer leaves when it is stored, so what a process finds here is never older than the database.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tollway_store::records::StoredResponse;
use tollway_store::{Shelf, Store, StoreError, StoreResult};

/// Most text that waits. It only collects while the database is away or slower than the calls.
const MOST_BYTES: usize = 64 << 20;

/// Most answers that wait.
const MOST_ANSWERS: usize = 20_000;

/// Answers written in one transaction.
const BATCH: usize = 64;

/// Pauses between attempts to reach the database double from the first of these to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The answers that wait, oldest first.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    queue: Mutex<Queue>,
    /// There is something to write.
    news: Notify,
    /// Nothing waits any more.
    idle: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    /// `None`: deleted since.
    answers: HashMap<String, Option<Arc<StoredResponse>>>,
    order: VecDeque<(String, usize)>,
    bytes: usize,
}

/// What is known of an id.
pub(super) enum Found {
    Waiting(Arc<StoredResponse>),
    Deleted,
    Unknown,
}

impl Waiting {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an answer in; `false` when there is no room. Where nothing is ever written, the oldest make room.
    pub(super) fn add(&self, answer: Arc<StoredResponse>, written: bool) -> bool {
        let size = size(&answer);
        let mut queue = self.queue();
        while queue.bytes + size > MOST_BYTES || queue.order.len() >= MOST_ANSWERS {
            if written || !queue.drop_oldest() {
                return false;
            }
        }
        queue.bytes += size;
        queue.order.push_back((answer.id.clone(), size));
        queue.answers.insert(answer.id.clone(), Some(answer));
        drop(queue);
        self.news.notify_one();
        true
    }

    pub(super) fn find(&self, id: &str) -> Found {
        match self.queue().answers.get(id) {
            Some(Some(answer)) => Found::Waiting(answer.clone()),
            Some(None) => Found::Deleted,
            None => Found::Unknown,
        }
    }

    /// Deletes an answer that waits: it is not written, or if it is being written now, deleted afterwards.
    pub(super) fn delete(&self, id: &str) {
        if let Some(answer) = self.queue().answers.get_mut(id) {
            *answer = None;
        }
    }

    /// Waits until everything is written.
    pub(super) async fn empty(&self) {
        loop {
            let idle = self.idle.notified();
            if self.queue().order.is_empty() {
                return;
            }
            idle.await;
        }
    }

    /// Waits for answers to write.
    async fn next(&self) -> Vec<(String, Option<Arc<StoredResponse>>)> {
        loop {
            let news = self.news.notified();
            let batch = self.queue().batch();
            if !batch.is_empty() {
                return batch;
            }
            news.await;
        }
    }

    /// The oldest `count` are done with; returns those that were deleted meanwhile.
    fn done(&self, count: usize) -> Vec<String> {
        let mut queue = self.queue();
        let mut deleted = Vec::new();
        for _ in 0..count {
            let Some((id, size)) = queue.order.pop_front() else { break };
            queue.bytes = queue.bytes.saturating_sub(size);
            if matches!(queue.answers.get(&id), Some(None)) {
                deleted.push(id);
            } else {
                queue.answers.remove(&id);
            }
        }
        if queue.order.is_empty() {
            self.idle.notify_waiters();
        }
        deleted
    }

    /// Their deletion has reached the database.
    fn forget(&self, ids: &[String]) {
        let mut queue = self.queue();
        for id in ids {
            queue.answers.remove(id);
        }
    }
}

impl Queue {
    fn batch(&self) -> Vec<(String, Option<Arc<StoredResponse>>)> {
        let ids = self.order.iter().take(BATCH).map(|(id, _)| id.clone());
        ids.map(|id| {
            let answer = self.answers.get(&id).cloned().flatten();
            (id, answer)
        })
        .collect()
    }

    fn drop_oldest(&mut self) -> bool {
        let Some((id, size)) = self.order.pop_front() else { return false };
        self.bytes = self.bytes.saturating_sub(size);
        self.answers.remove(&id);
        true
    }
}

fn size(answer: &StoredResponse) -> usize {
    answer.response.len() + answer.input.iter().map(String::len).sum::<usize>() + 512
}

/// Writes what waits, for as long as the process lives.
pub(super) async fn write_behind(store: Store, waiting: Arc<Waiting>) {
    let shelf = store.shelf::<StoredResponse>();
    let mut pause = PAUSES.0;
    loop {
        let batch = waiting.next().await;
        let written = until_written(&store, &shelf, &batch, &mut pause).await;
        let deleted = waiting.done(batch.len());
        let written: Vec<&str> =
            deleted.iter().map(String::as_str).filter(|id| written.contains(id)).collect();
        while let Err(StoreError::Unavailable(_)) = delete(&shelf, &written).await {
            rest(&mut pause).await;
        }
        waiting.forget(&deleted);
        pause = PAUSES.0;
    }
}

async fn delete(shelf: &Shelf<StoredResponse>, ids: &[&str]) -> StoreResult<()> {
    if !ids.is_empty() {
        shelf.delete(ids).await?;
    }
    Ok(())
}

/// Writes the batch, however often that takes; the ids of those written.
async fn until_written<'b>(
    store: &Store,
    shelf: &Shelf<StoredResponse>,
    batch: &'b [(String, Option<Arc<StoredResponse>>)],
    pause: &mut Duration,
) -> Vec<&'b str> {
    let answers: Vec<&Arc<StoredResponse>> = batch.iter().filter_map(|(_, answer)| answer.as_ref()).collect();
    let mut away = false;
    while let Err(error) = write(store, shelf, &answers).await {
        // One line when it begins and one when it is over.
        if !away {
            tracing::warn!(target: "tollway::responses", error = %error, "answers cannot be stored now; they wait in memory");
        }
        away = true;
        rest(pause).await;
    }
    if away {
        tracing::info!(target: "tollway::responses", "answers are stored again");
    }
    answers.iter().map(|answer| answer.id.as_str()).collect()
}

async fn rest(pause: &mut Duration) {
    tokio::time::sleep(*pause).await;
    *pause = (*pause * 2).min(PAUSES.1);
}

/// All in one transaction; one by one where the database refuses that. An error: it cannot be reached.
async fn write(
    store: &Store,
    shelf: &Shelf<StoredResponse>,
    answers: &[&Arc<StoredResponse>],
) -> StoreResult<()> {
    if let [_, _, ..] = answers {
        let all = store.write(|writer| async move {
            for answer in answers {
                writer.insert(StoredResponse::clone(answer)).await?;
            }
            Ok(())
        });
        match all.await {
            Ok(()) => return Ok(()),
            Err(error @ StoreError::Unavailable(_)) => return Err(error),
            Err(_) => {}
        }
    }
    for answer in answers {
        match shelf.insert(StoredResponse::clone(answer)).await {
            // Taken: an earlier attempt arrived although it was not heard of.
            Ok(_) | Err(StoreError::Taken { .. }) => {}
            Err(error @ StoreError::Unavailable(_)) => return Err(error),
            Err(error) => {
                tracing::warn!(target: "tollway::responses", id = answer.id, error = %error, "an answer could not be stored");
            }
        }
    }
    Ok(())
}

//! Ships receipts from the journal to the store.
//!
//! Reads segments from the disk, so memory stays flat however much waits; records a batch in one transaction; then
//! advances the cursor and deletes what is finished. A crash between the two ships a batch twice, which the store
//! notices.

use std::collections::HashMap;
use std::future::Future;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tollway_store::StoreError;

use crate::books::{Batch, Books};
use crate::journal::{Cursor, Instance, Kind, Reader, record};
use crate::ledger::Ledger;
use crate::opening::Opening;
use crate::packed::{PackedReceipt, PackedReceipts};
use crate::receipt::Receipt;

/// Bytes of records after which a batch is full.
const BATCH_BYTES: usize = 4 << 20;

/// First pause after a failure of the store; it doubles up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_millis(50);

/// Longest pause after a failure.
const LONGEST: Duration = Duration::from_secs(5);

/// Most receipts in one transaction while nothing presses. SQLite's other writers do not wait for a slow thread: the rest
/// of a transaction is done by a normal one when somebody waits. But they wait for the rest.
const CALM_BATCH: usize = 1000;

/// Where receipts are read and recorded while nothing presses: on threads that yield to those that serve calls.
///
/// Something presses when a quarter of the journal's bound waits, when somebody waits for the books, and at the end.
/// Then the work is done in the shipper's own runtime and with its own books.
#[derive(Clone)]
pub struct Calm {
    /// A runtime whose threads have a low priority.
    pub runtime: Handle,
    /// The same books, through connections that this runtime opens.
    pub books: Arc<dyn Books>,
}

impl std::fmt::Debug for Calm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Calm").finish_non_exhaustive()
    }
}

/// Ships until `stop` becomes true, and what there is then once more. Journals of dead processes go first.
///
/// One shipper a ledger. Cancelling it loses nothing.
pub async fn ship(ledger: Ledger, books: Arc<dyn Books>, calm: Option<Calm>, stop: watch::Receiver<bool>) {
    let adopted =
        std::mem::take(&mut *ledger.shared().adopted.lock().unwrap_or_else(PoisonError::into_inner));
    let mut shipper = Shipper { ledger, books, calm, stop, open: HashMap::new() };
    for instance in adopted {
        if !shipper.adopted(instance).await {
            return;
        }
    }
    shipper.ledger.shared().progress.adopted_all();
    shipper.own().await;
}

struct Shipper {
    ledger: Ledger,
    books: Arc<dyn Books>,
    calm: Option<Calm>,
    stop: watch::Receiver<bool>,
    /// Calls of this process that are in flight, as far as the journal is read: their segment and opening.
    open: HashMap<String, (u64, Opening<'static>)>,
}

/// Some records from a journal.
#[derive(Default)]
struct Taken {
    batch: Option<Batch>,
    /// Receipts, duplicates and unreadable ones included.
    receipts: u64,
    /// There are no more for now.
    ended: bool,
    opened: Vec<(u64, bool, Opening<'static>)>,
    unreadable: u64,
}

impl Shipper {
    /// Ships the journal of a process that is gone. `false`: told to stop before it was done.
    async fn adopted(&mut self, instance: Instance) -> bool {
        let mut reader = Reader::new(instance.directory().to_owned(), instance.cursor());
        loop {
            let directory = instance.directory().to_owned();
            let Some(taken) = self.take(&mut reader, false).await else { return false };
            let done = taken.ended;
            if !self.deliver(&directory, taken).await {
                return false;
            }
            self.advance(&instance, reader.cursor());
            if done {
                break;
            }
        }
        let size = crate::journal::size_of(instance.directory()).unwrap_or(0);
        self.ledger.shared().journal.freed(size);
        if let Err(error) = instance.remove() {
            tracing::warn!(target: "tollway::ledger", %error, "the journal of an earlier process is shipped, but cannot be taken away");
        }
        true
    }

    async fn own(&mut self) {
        let shared = self.ledger.clone();
        let instance = shared.shared().journal.instance();
        let pause = shared.shared().options.ship_every;
        let mut reader = Reader::new(instance.directory().to_owned(), instance.cursor());
        loop {
            let stopping = *self.stop.borrow();
            let Some(taken) = self.take(&mut reader, true).await else { return };
            let (ended, moved) = (taken.ended, !taken.opened.is_empty() || taken.receipts > 0);
            self.follow(&taken);
            if !self.deliver(instance.directory(), taken).await {
                return;
            }
            if moved {
                let cursor = reader.cursor();
                self.carry_on(cursor);
                self.advance(instance, cursor);
                self.ledger.shared().progress.reached(cursor.sequence);
            }
            match (ended, stopping) {
                (true, true) if !moved => return,
                // Batches grow while it waits, and cost less a receipt.
                (true, false) => {
                    let ledger = self.ledger.clone();
                    tokio::select! {
                        () = self.sleep(pause) => {}
                        () = ledger.shared().progress.hurried() => {}
                    }
                }
                _ => {}
            }
        }
    }

    /// Where the next piece of work is done, by which books, and how much at once.
    fn lane(&self) -> (Handle, Arc<dyn Books>, usize) {
        let shared = self.ledger.shared();
        let presses = *self.stop.borrow()
            || shared.progress.is_waited_for()
            || shared.journal.bytes() >= shared.options.total_bytes / 4;
        match &self.calm {
            Some(calm) if !presses => {
                (calm.runtime.clone(), calm.books.clone(), CALM_BATCH.min(shared.options.batch))
            }
            _ => (Handle::current(), self.books.clone(), shared.options.batch),
        }
    }

    /// Reads the next records, away from the runtime's workers. `None`: told to stop while the disk did not answer.
    async fn take(&mut self, reader: &mut Reader, own: bool) -> Option<Taken> {
        let mut pause = SHORTEST;
        loop {
            // Asked here: a slow thread must not hold the lock that calls write under.
            let frontier = own.then(|| self.ledger.shared().journal.frontier());
            let (lane, _, most) = self.lane();
            let at = reader.cursor();
            let directory = reader.directory().to_owned();
            let mut moved = std::mem::replace(reader, Reader::new(directory, at));
            let before = moved.damage().stretches;
            let read = lane.spawn_blocking(move || {
                let taken = read(&mut moved, frontier, most);
                (moved, taken)
            });
            let error = match read.await {
                Ok((back, Ok(taken))) => {
                    let damage = back.damage().stretches - before + taken.unreadable;
                    if damage > 0 {
                        self.ledger.shared().progress.damaged(damage);
                        tracing::error!(target: "tollway::ledger", stretches = damage, "a part of the journal cannot be read");
                    }
                    *reader = back;
                    return Some(taken);
                }
                Ok((_, Err(error))) => error.to_string(),
                Err(error) => error.to_string(),
            };
            tracing::error!(target: "tollway::ledger", error, "the journal cannot be read");
            self.ledger.shared().progress.failed(error);
            self.sleep(pause).await;
            if *self.stop.borrow() {
                return None;
            }
            pause = (pause * 2).min(LONGEST);
        }
    }

    /// Brings a batch to the store, however long that takes. `false`: told to stop before it was there.
    async fn deliver(&mut self, directory: &Path, taken: Taken) -> bool {
        let ledger = self.ledger.clone();
        let progress = &ledger.shared().progress;
        let Some(batch) = taken.batch.map(Arc::new) else {
            if taken.receipts > 0 {
                progress.gone(taken.receipts, 0);
            }
            return true;
        };
        let mut pause = SHORTEST;
        let (oldest, youngest) = batch.between;
        progress.oldest(oldest);
        loop {
            let (lane, books, _) = self.lane();
            let (ledger, place, some) = (self.ledger.clone(), directory.to_owned(), batch.clone());
            let recorded = lane.spawn(async move { record(&ledger, books.as_ref(), &place, &some).await });
            let recorded = recorded.await.unwrap_or_else(|error| Err(StoreError::Broken(error.to_string())));
            let error = match recorded {
                Ok(()) => {
                    progress.gone(taken.receipts, youngest);
                    return true;
                }
                Err(error) => error.to_string(),
            };
            if pause == SHORTEST {
                tracing::warn!(target: "tollway::ledger", error, "the store takes no receipts; the journal keeps them");
            }
            progress.failed(error);
            if *self.stop.borrow() {
                return false;
            }
            self.sleep(pause).await;
            pause = (pause * 2).min(LONGEST);
        }
    }

    /// Keeps track of calls in flight.
    fn follow(&mut self, taken: &Taken) {
        for (segment, again, opening) in &taken.opened {
            // One that was carried on may be settled by now.
            if !again || self.open.contains_key(opening.id.as_ref()) {
                self.open.insert(opening.id.to_string(), (*segment, opening.clone()));
            }
        }
        if self.open.is_empty() {
            return;
        }
        for id in taken.batch.iter().flat_map(Batch::ids) {
            self.open.remove(id);
        }
    }

    /// Writes the openings of calls in flight anew that lie in segments that are about to go.
    fn carry_on(&mut self, cursor: Cursor) {
        let journal = &self.ledger.shared().journal;
        let mut carried = false;
        for (segment, opening) in self.open.values_mut() {
            if *segment < cursor.segment && journal.append(Kind::StillOpen, opening).is_ok() {
                *segment = u64::MAX;
                carried = true;
            }
        }
        if carried {
            journal.flush();
        }
    }

    fn advance(&self, instance: &Instance, cursor: Cursor) {
        match instance.advance(cursor) {
            Ok(freed) => self.ledger.shared().journal.freed(freed),
            // The next time it works, or a restart ships again what the store then knows.
            Err(error) => {
                tracing::warn!(target: "tollway::ledger", %error, "the journal's cursor cannot be kept")
            }
        }
    }

    /// Waits; less long when `stop` changes.
    async fn sleep(&mut self, pause: Duration) {
        let changed = async {
            // Without anyone who could say stop, only time passes.
            if self.stop.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = changed => {}
        }
    }
}

/// Records a batch. When the store refuses it for what is in it, the receipts at fault are found and set aside.
async fn record(
    ledger: &Ledger,
    books: &dyn Books,
    directory: &Path,
    batch: &Batch,
) -> Result<(), StoreError> {
    let first = match books.record(batch).await {
        Ok(_) => return Ok(()),
        Err(error @ StoreError::Unavailable(_)) => return Err(error),
        Err(error) => error,
    };
    let mut refused = Vec::new();
    let taken = halves(books, batch, &mut refused).await?;
    // A store that refuses everything is at fault itself.
    if taken == 0 && !refused.is_empty() {
        return Err(first);
    }
    for (receipt, error) in refused {
        set_aside(directory, &receipt).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        ledger.shared().progress.set_aside();
        tracing::error!(target: "tollway::ledger", receipt = receipt.id, %error, "the store refuses a receipt; it was set aside in refused.jsonl");
    }
    Ok(())
}

/// Records what can be recorded of a batch that was refused as a whole; returns how many receipts that were.
fn halves<'a>(
    books: &'a dyn Books,
    batch: &'a Batch,
    refused: &'a mut Vec<(Receipt, StoreError)>,
) -> std::pin::Pin<Box<dyn Future<Output = Result<usize, StoreError>> + Send + 'a>> {
    Box::pin(async move {
        let error = match books.record(batch).await {
            Ok(_) => return Ok(batch.len()),
            Err(error @ StoreError::Unavailable(_)) => return Err(error),
            Err(error) => error,
        };
        if batch.len() < 2 {
            refused.extend(batch.receipts()?.pop().map(|receipt| (receipt, error)));
            return Ok(0);
        }
        let (left, right) = batch.halves();
        Ok(halves(books, &left, refused).await? + halves(books, &right, refused).await?)
    })
}

/// Reads up to a batch of receipts, and the openings between them.
fn read(reader: &mut Reader, frontier: Option<crate::journal::Frontier>, most: usize) -> io::Result<Taken> {
    let mut taken = Taken::default();
    let mut receipts = PackedReceipts::with_capacity(reader.ahead(frontier).min(BATCH_BYTES));
    let (mut bytes, mut records) = (0, 0);
    while receipts.len() < most && bytes < BATCH_BYTES && records < 4 * most {
        let segment = reader.cursor().segment;
        let Some(entry) = reader.next(frontier)? else {
            taken.ended = true;
            break;
        };
        records += 1;
        bytes += entry.record.len();
        match entry.kind {
            Kind::Opened | Kind::StillOpen => match record::read::<Opening<'_>>(entry.record) {
                // The segment before the step to the next one is too early, which only carries it on sooner.
                Ok(opening) => taken.opened.push((segment, entry.kind == Kind::StillOpen, opening)),
                Err(_) => taken.unreadable += 1,
            },
            Kind::Settled => {
                taken.receipts += 1;
                receipts.push(PackedReceipt(entry.record));
            }
        }
    }
    let (batch, unreadable) = Batch::new(receipts);
    taken.unreadable += unreadable as u64;
    taken.batch = Some(batch).filter(|batch| !batch.is_empty());
    Ok(taken)
}

/// Keeps a receipt that the store refuses, for people.
fn set_aside(directory: &Path, receipt: &Receipt) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut line = serde_json::to_vec(receipt)?;
    line.push(b'\n');
    let mut file = options.open(directory.join("refused.jsonl"))?;
    file.write_all(&line)?;
    file.sync_all()
}

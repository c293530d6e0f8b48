//! The driver for SQLite.
//!
//! Statements run on the blocking threads of the runtime that asks, with the priority these have: nobody keeps a thread
//! for a connection, and many rows go in without leaving the thread.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, Statement as Prepared, ToSql};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use super::fault::Fault;
use super::rows::{CHUNK, Cells, Load, Rows, TOGETHER, clean};
use super::{Answer, Row, Statement, Value};
use crate::{StoreError, StoreResult};

/// How long a writer waits for another process's.
const BUSY: Duration = Duration::from_secs(5);
/// How long a statement waits for a free connection.
const ACQUIRE: Duration = Duration::from_secs(10);
const READERS: u32 = 4;
/// Statements that a connection keeps prepared.
const PREPARED: usize = 64;

/// What every connection begins with. A commit survives the end of the process and of the machine's power: the journal
/// forgets what was committed.
const SETTINGS: &str = "PRAGMA foreign_keys = on; PRAGMA journal_mode = wal; PRAGMA synchronous = full";
/// The cache holds the indexes' pages that a batch of receipts touches; it grows as it is used. The file is not mapped: a
/// process that only writes would grow with it.
const WRITER: &str = "PRAGMA cache_size = -8192; PRAGMA wal_autocheckpoint = 4000";
const READER: &str = "PRAGMA query_only = on; PRAGMA mmap_size = 268435456";

/// One connection that writes and a few that read beside it. In memory it is one for everything. Copies are the same.
#[derive(Clone)]
pub(super) struct Pools {
    pub(super) writer: Pool,
    pub(super) readers: Pool,
    /// The runtime whose threads do it when somebody waits for work of a lower priority; `None`: this is no such work.
    hurry: Option<Handle>,
    /// The runtime they were made in.
    home: Option<Handle>,
}

/// A private database in memory.
pub(super) fn memory() -> Pools {
    let pool = Pool::new(1, None, "PRAGMA foreign_keys = on");
    Pools { writer: pool.clone(), readers: pool, hurry: None, home: Handle::try_current().ok() }
}

/// The database in the file `path`.
pub(super) fn file(path: &Path) -> StoreResult<Pools> {
    make_private(path)
        .map_err(|error| StoreError::Unavailable(format!("{} cannot be opened: {error}", path.display())))?;
    Ok(Pools {
        writer: Pool::new(1, Some(path), WRITER),
        readers: Pool::new(READERS, Some(path), READER),
        hurry: None,
        home: Handle::try_current().ok(),
    })
}

impl Pools {
    /// The same for work of a lower priority. Where somebody waits for what it holds, the rest is done with theirs.
    pub(super) fn aside(&self) -> Pools {
        Pools { hurry: self.home.clone(), ..self.clone() }
    }

    /// The one that writes.
    pub(super) async fn writing(&self) -> Result<Taken, Fault> {
        let mut taken = self.writer.take().await?;
        taken.hurry.clone_from(&self.hurry);
        Ok(taken)
    }
}

/// Connections of one kind, opened when they are needed.
#[derive(Clone)]
pub(super) struct Pool(Arc<Shared>);

struct Shared {
    /// `None`: in memory.
    path: Option<PathBuf>,
    settings: &'static str,
    most: u32,
    permits: Arc<Semaphore>,
    /// The last one used is used next.
    idle: Mutex<Vec<Connection>>,
    waiting: AtomicUsize,
}

impl Pool {
    fn new(most: u32, path: Option<&Path>, settings: &'static str) -> Pool {
        Pool(Arc::new(Shared {
            path: path.map(Path::to_owned),
            settings,
            most,
            permits: Arc::new(Semaphore::new(most as usize)),
            idle: Mutex::default(),
            waiting: AtomicUsize::new(0),
        }))
    }

    /// A connection of one's own for a while.
    pub(super) async fn take(&self) -> Result<Taken, Fault> {
        let permit = match self.0.permits.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.wait().await?,
        };
        let connection = self.0.idle().pop();
        Ok(Taken { connection, pool: self.0.clone(), _permit: permit, hurry: None })
    }

    async fn wait(&self) -> Result<OwnedSemaphorePermit, Fault> {
        let _waits = Waits::new(&self.0.waiting);
        let unreachable = |reason: &str| Fault::Unreachable(reason.to_owned());
        match tokio::time::timeout(ACQUIRE, self.0.permits.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(unreachable("the database was closed")),
            Err(_) => Err(unreachable("no connection was to be had in time")),
        }
    }

    /// Closes all, and waits for those in use.
    pub(super) async fn close(&self) {
        let all = self.0.permits.acquire_many(self.0.most).await;
        self.0.permits.close();
        drop(all);
        self.0.idle().clear();
    }
}

/// Counts who waits.
struct Waits<'a>(&'a AtomicUsize);

impl Waits<'_> {
    fn new(count: &AtomicUsize) -> Waits<'_> {
        count.fetch_add(1, Ordering::Relaxed);
        Waits(count)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = match &self.path {
            Some(path) => Connection::open_with_flags(path, flags)?,
            None => Connection::open_in_memory()?,
        };
        connection.busy_timeout(BUSY)?;
        connection.set_prepared_statement_cache_capacity(PREPARED);
        if self.path.is_some() {
            connection.execute_batch(SETTINGS)?;
        }
        connection.execute_batch(self.settings)?;
        Ok(connection)
    }
}

/// A connection that is used. Dropped, it goes back, and a transaction it is in is taken back.
pub(super) struct Taken {
    /// `None` until it is opened.
    connection: Option<Connection>,
    pool: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
    hurry: Option<Handle>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        let clean = connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok();
        if clean && !self.pool.permits.is_closed() {
            self.pool.idle().push(connection);
        }
    }
}

impl Taken {
    /// Does some work with the connection on a thread that may block. What was begun goes on to its end when nobody
    /// waits for it any more.
    async fn with<T: Send + 'static>(
        mut self,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> (Option<Taken>, Result<T, Fault>) {
        let hurry = self.hurry.clone().filter(|_| self.pool.waiting.load(Ordering::Relaxed) > 0);
        let piece = move || {
            let result = self.now(work);
            (self, result)
        };
        let done = match hurry {
            // From within that runtime: a thread that it starts for this has the priority of the one that starts it.
            Some(runtime) => runtime.spawn(async { spawn_blocking(piece).await }).await.and_then(|done| done),
            None => spawn_blocking(piece).await,
        };
        match done {
            Ok((taken, result)) => (Some(taken), result),
            Err(error) => (None, Err(Fault::Lost(error.to_string()))),
        }
    }

    fn now<T>(&mut self, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Fault> {
        if let Some(connection) = &self.connection {
            return work(connection);
        }
        work(self.connection.insert(self.pool.open()?))
    }
}

/// Runs one statement.
pub(super) async fn run(
    connection: Taken,
    statement: &Statement,
    values: Vec<Value>,
    rows: bool,
) -> (Option<Taken>, Result<Answer, Fault>) {
    let statement = statement.clone();
    connection.with(move |connection| answer(connection, &statement, &values, rows)).await
}

/// Begins a transaction. Not a deferred one: that fails at once when it begins to write after another one has.
pub(super) async fn begin(connection: Taken) -> Result<Taken, Fault> {
    let (connection, begun) = connection.with(|connection| plain(connection, "BEGIN IMMEDIATE")).await;
    begun?;
    connection.ok_or_else(|| Fault::Lost("the connection is gone".to_owned()))
}

/// Ends a transaction in a good way.
pub(super) async fn commit(connection: Taken) -> Result<(), Fault> {
    connection.with(|connection| plain(connection, "COMMIT")).await.1
}

/// Ends it in the other one.
pub(super) async fn roll_back(connection: Taken) {
    // Going back to the pool takes back what is open.
    drop(connection.with(|_| Ok(())).await);
}

fn plain(connection: &Connection, text: &str) -> Result<(), Fault> {
    connection.prepare_cached(text)?.raw_execute()?;
    Ok(())
}

/// Puts the rows from `first` on in, up to [`CHUNK`] of them; how many rows that changed.
pub(super) async fn load(
    connection: Taken,
    load: &Load,
    rows: Arc<dyn Rows>,
    first: usize,
) -> (Option<Taken>, Result<u64, Fault>) {
    let (together, single) = (load.sqlite_together.clone(), load.sqlite.clone());
    let work = move |connection: &Connection| {
        let end = rows.count().min(first + CHUNK);
        let middle = end - (end - first) % TOGETHER;
        let some = put(connection, &together, rows.as_ref(), first..middle, TOGETHER)?;
        Ok(some + put(connection, &single, rows.as_ref(), middle..end, 1)?)
    };
    connection.with(work).await
}

/// Runs a statement for every `together` rows.
fn put(
    connection: &Connection,
    text: &str,
    rows: &dyn Rows,
    range: Range<usize>,
    together: usize,
) -> Result<u64, Fault> {
    if range.is_empty() {
        return Ok(0);
    }
    let mut prepared = connection.prepare_cached(text)?;
    let mut bound = vec![Bound::Nothing; prepared.parameter_count()];
    let mut changed = 0;
    for start in range.step_by(together) {
        let mut binding = Binding { prepared: &mut prepared, bound: &mut bound, column: 0, failed: None };
        for index in start..start + together {
            rows.row(index, &mut binding).map_err(|error| Fault::Refused(error.to_string()))?;
        }
        if let Some(error) = binding.failed {
            return Err(error.into());
        }
        changed += prepared.raw_execute()? as u64;
    }
    Ok(changed)
}

/// What a parameter holds from the run before: most rows differ in a few columns, and a parameter keeps its value.
#[derive(Debug, Clone, PartialEq)]
enum Bound {
    Nothing,
    Null,
    Int(i64),
    Text(String),
}

/// Rows on their way into a statement.
struct Binding<'a, 'c> {
    prepared: &'a mut Prepared<'c>,
    /// Of each column.
    bound: &'a mut [Bound],
    column: usize,
    failed: Option<rusqlite::Error>,
}

impl Binding<'_, '_> {
    fn bind(&mut self, value: impl ToSql) {
        // Parameters count from 1.
        if let Err(error) = self.prepared.raw_bind_parameter(self.column + 1, value) {
            self.failed.get_or_insert(error);
        }
    }

    fn plain(&mut self, value: Option<i64>) {
        let now = value.map_or(Bound::Null, Bound::Int);
        match self.bound.get_mut(self.column) {
            Some(bound) if *bound == now => {}
            Some(bound) => {
                *bound = now;
                self.bind(value);
            }
            None => self.bind(value),
        }
        self.column += 1;
    }
}

impl Cells for Binding<'_, '_> {
    fn int(&mut self, value: Option<i64>) {
        self.plain(value);
    }

    fn text(&mut self, value: Option<&str>) {
        let Some(value) = value else { return self.plain(None) };
        match self.bound.get_mut(self.column) {
            Some(Bound::Text(before)) if before == value => {}
            bound => {
                match bound {
                    Some(Bound::Text(before)) => {
                        before.clear();
                        before.push_str(value);
                    }
                    Some(bound) => *bound = Bound::Text(value.to_owned()),
                    None => {}
                }
                self.bind(clean(value).as_ref());
            }
        }
        self.column += 1;
    }

    fn bytes(&mut self, value: &[u8]) {
        if let Some(bound) = self.bound.get_mut(self.column) {
            *bound = Bound::Nothing;
        }
        self.bind(value);
        self.column += 1;
    }
}

/// Makes the file before SQLite does: SQLite gives its journal files the rights of the database.
fn make_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(|_| ())
}

fn answer(
    connection: &Connection,
    statement: &Statement,
    values: &[Value],
    rows: bool,
) -> Result<Answer, Fault> {
    let mut prepared = connection.prepare_cached(statement.text())?;
    for index in 1..=prepared.parameter_count() {
        let number = prepared.parameter_name(index).and_then(|name| name.get(1..)?.parse().ok());
        let number: usize = number.unwrap_or(index);
        let value = number.checked_sub(1).and_then(|number| values.get(number));
        let value = value.ok_or_else(|| Fault::Refused(format!("parameter {number} has no value")))?;
        prepared.raw_bind_parameter(index, value)?;
    }
    let columns = prepared.column_count();
    if columns == 0 {
        return Ok(Answer::Count(prepared.raw_execute()? as u64));
    }
    let mut answer = Vec::new();
    let mut found = prepared.raw_query();
    while let Some(row) = found.next()? {
        if rows {
            answer.push(Row::new(
                (0..columns).map(|index| value(row.get_ref(index)?)).collect::<Result<_, _>>()?,
            ));
        }
    }
    drop(found);
    Ok(if rows { Answer::Rows(answer) } else { Answer::Count(connection.changes()) })
}

fn value(value: ValueRef<'_>) -> Result<Value, Fault> {
    Ok(match value {
        ValueRef::Null => Value::Text(None),
        ValueRef::Integer(value) => Value::Int(Some(value)),
        ValueRef::Real(value) => Value::Real(Some(value)),
        ValueRef::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => Value::Text(Some(text.to_owned())),
            Err(error) => return Err(Fault::Refused(error.to_string())),
        },
        ValueRef::Blob(bytes) => Value::Bytes(Some(bytes.to_vec())),
    })
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = match self {
            Value::Int(Some(value)) => ValueRef::Integer(*value),
            Value::Real(Some(value)) => ValueRef::Real(*value),
            Value::Text(Some(text)) => ValueRef::Text(text.as_bytes()),
            Value::Bytes(Some(bytes)) => ValueRef::Blob(bytes),
            _ => ValueRef::Null,
        };
        Ok(ToSqlOutput::Borrowed(value))
    }
}

//! What a fake provider received, and what became of each call.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Map, Value, json};

/// One request and its fate. Times count from the start of the server.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Received {
    /// Counts the requests of this server, from 0.
    pub id: u64,
    /// HTTP method.
    pub method: String,
    /// Path without query.
    pub path: String,
    /// Query without `?`.
    pub query: String,
    /// Headers in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body as it came.
    pub body: Bytes,
    /// When the body had arrived.
    pub at: Duration,
    /// Chunks of the reply handed to the connection.
    pub chunks_sent: usize,
    /// When the last chunk was handed over, if it was.
    pub finished: Option<Duration>,
    /// When the server noticed that the caller had hung up before the end.
    ///
    /// Not set for replies that the server itself cut or reset.
    pub closed_early: Option<Duration>,
}

impl Received {
    /// The value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; `Null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Everything as JSON; times in milliseconds.
    pub fn to_json(&self) -> Value {
        let mut headers = Map::new();
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.as_str().into());
        }
        json!({
            "id": self.id, "method": self.method, "path": self.path, "query": self.query, "headers": headers,
            "body": String::from_utf8_lossy(&self.body), "json": self.json(), "at_ms": millis(self.at),
            "chunks_sent": self.chunks_sent, "finished_ms": self.finished.map(millis),
            "closed_early_ms": self.closed_early.map(millis),
        })
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The requests of one server, the oldest forgotten first.
#[derive(Debug)]
pub(crate) struct Log {
    start: Instant,
    keep: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    calls: VecDeque<Received>,
}

impl Log {
    pub(crate) fn new(keep: usize) -> Log {
        Log { start: Instant::now(), keep, inner: Mutex::default() }
    }

    pub(crate) fn calls(&self) -> Vec<Received> {
        self.lock().calls.iter().cloned().collect()
    }

    pub(crate) fn clear(&self) {
        self.lock().calls.clear();
    }

    /// Notes a request; the ticket notes what becomes of it.
    pub(crate) fn add(self: &Arc<Self>, mut call: Received) -> Ticket {
        call.at = self.start.elapsed();
        let mut inner = self.lock();
        call.id = inner.next;
        inner.next += 1;
        let id = call.id;
        if self.keep > 0 {
            while inner.calls.len() >= self.keep {
                inner.calls.pop_front();
            }
            inner.calls.push_back(call);
        }
        Ticket { log: Arc::clone(self), id, open: self.keep > 0 }
    }

    /// A ticket for a call that is not noted.
    pub(crate) fn ignore(self: &Arc<Self>) -> Ticket {
        Ticket { log: Arc::clone(self), id: 0, open: false }
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut Received, Duration)) {
        let now = self.start.elapsed();
        if let Some(call) = self.lock().calls.iter_mut().find(|call| call.id == id) {
            change(call, now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows one call; dropped while open, the caller has hung up.
#[derive(Debug)]
pub(crate) struct Ticket {
    log: Arc<Log>,
    /// Number of the request.
    pub(crate) id: u64,
    open: bool,
}

impl Ticket {
    /// A chunk went out.
    pub(crate) fn sent(&self) {
        if self.open {
            self.log.change(self.id, |call, _| call.chunks_sent += 1);
        }
    }

    /// The reply is complete.
    pub(crate) fn finish(&mut self) {
        if std::mem::take(&mut self.open) {
            self.log.change(self.id, |call, now| call.finished = Some(now));
        }
    }

    /// The server ends the call on purpose.
    pub(crate) fn abandon(&mut self) {
        self.open = false;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.open {
            self.log.change(self.id, |call, now| call.closed_early = Some(now));
        }
    }
}

//! Bounds on what a client can make the gateway hold or wait for.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::listen::Protocols;

/// Bounds on requests and connections. Every one of them can be configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpLimits {
    /// All headers of a request, and its request line. Default: 16 KiB.
    pub header_bytes: usize,
    /// Number of headers. Default: 100.
    pub headers: usize,
    /// The path and query. Default: 8 KiB.
    pub url_bytes: usize,
    /// The body. Default: 32 MiB.
    pub body_bytes: usize,
    /// For a request's headers to arrive. Default: 10 s.
    pub header_time: Duration,
    /// How long a connection may stay open between two calls. Default: 11 min, longer than what balancers keep.
    pub idle_time: Duration,
    /// Slowest body: bytes a second, after the first ten seconds. Default: 1 KiB.
    pub body_rate: u32,
    /// For a whole body to arrive. Default: 5 min.
    pub body_time: Duration,
    /// How long a client may take no byte of an answer that waits for it. Default: 60 s.
    pub write_stall: Duration,
    /// Open connections; more wait in the kernel's queue. Default: 16 384.
    pub connections: usize,
    /// Open connections of one address (of one /64 of IPv6); more are closed. Default: 8 192.
    pub connections_per_address: usize,
    /// How long running calls may go on after shutdown was asked for. Default: 30 s.
    pub drain: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        HttpLimits {
            header_bytes: 16 << 10,
            headers: 100,
            url_bytes: 8 << 10,
            body_bytes: 32 << 20,
            header_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(660),
            body_rate: 1 << 10,
            body_time: Duration::from_secs(300),
            write_stall: Duration::from_secs(60),
            connections: 16_384,
            connections_per_address: 8_192,
            drain: Duration::from_secs(30),
        }
    }
}

/// Bounds of a request's body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    pub(crate) bytes: usize,
    pub(crate) rate: u32,
    pub(crate) time: Duration,
}

/// The limits that hold now. Those of requests count from the next request, those of connections from the next
/// connection; the number of connections is that of the start.
pub struct LiveLimits {
    url_bytes: AtomicUsize,
    body_bytes: AtomicUsize,
    body_rate: AtomicU32,
    body_millis: AtomicU64,
    protocols: Mutex<Arc<Protocols>>,
}

impl std::fmt::Debug for LiveLimits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LiveLimits").field(&self.protocols().limits).finish()
    }
}

impl LiveLimits {
    /// Begins with `limits`.
    pub fn new(limits: HttpLimits) -> Arc<LiveLimits> {
        let live = LiveLimits {
            url_bytes: AtomicUsize::default(),
            body_bytes: AtomicUsize::default(),
            body_rate: AtomicU32::default(),
            body_millis: AtomicU64::default(),
            protocols: Mutex::new(Arc::new(Protocols::new(limits))),
        };
        live.set(limits);
        Arc::new(live)
    }

    /// From now on these.
    pub fn set(&self, limits: HttpLimits) {
        let millis = u64::try_from(limits.body_time.as_millis()).unwrap_or(u64::MAX);
        self.url_bytes.store(limits.url_bytes, Ordering::Relaxed);
        self.body_bytes.store(limits.body_bytes, Ordering::Relaxed);
        self.body_rate.store(limits.body_rate, Ordering::Relaxed);
        self.body_millis.store(millis, Ordering::Relaxed);
        *self.protocols.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(Protocols::new(limits));
    }

    pub(crate) fn url_bytes(&self) -> usize {
        self.url_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn body(&self) -> BodyLimits {
        BodyLimits {
            bytes: self.body_bytes.load(Ordering::Relaxed),
            rate: self.body_rate.load(Ordering::Relaxed),
            time: Duration::from_millis(self.body_millis.load(Ordering::Relaxed)),
        }
    }

    /// For the next connection.
    pub(crate) fn protocols(&self) -> Arc<Protocols> {
        self.protocols.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

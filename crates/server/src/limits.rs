//! Bounds on what a client can make the gateway hold or wait for.

use std::time::Duration;

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
    /// Slowest body: bytes a second, after the first ten seconds. Default: 1 KiB.
    pub body_rate: u32,
    /// For a whole body to arrive. Default: 5 min.
    pub body_time: Duration,
    /// How long a client may take no byte of an answer that waits for it. Default: 60 s.
    pub write_stall: Duration,
    /// Open connections; more wait in the kernel's queue. Default: 16 384.
    pub connections: usize,
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
            body_rate: 1 << 10,
            body_time: Duration::from_secs(300),
            write_stall: Duration::from_secs(60),
            connections: 16_384,
            drain: Duration::from_secs(30),
        }
    }
}

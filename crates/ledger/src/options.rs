//! How the journal is kept.

use std::time::Duration;

/// How the journal is kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// A segment is finished when it is this long. Default: 16 MiB.
    pub segment_bytes: u64,
    /// Most bytes of all segments together: what may wait for a store that is away. Reached, nothing more is
    /// written; a single write may go over it. Default: 1 GiB.
    pub total_bytes: u64,
    /// Most bytes of receipts kept in memory while the disk takes none. Default: 32 MiB.
    pub memory_bytes: usize,
    /// How often what is written goes to the disk itself; zero: with each write. A process that is killed loses nothing
    /// either way; a machine that loses power loses at most this much. Default: 1 s.
    pub sync_every: Duration,
    /// What happens to calls while the journal takes no receipts. Default: [`OnFull::Refuse`].
    pub on_full: OnFull,
    /// How long the shipper waits when there is nothing to ship and nobody waits for the books. Default: 1 s. Each
    /// transaction makes the file system commit, too, and a call that writes its record meanwhile may have to wait for
    /// that: few large ones delay fewer calls.
    pub ship_every: Duration,
    /// Most receipts in one transaction. Default: 2000.
    pub batch: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            segment_bytes: 16 << 20,
            total_bytes: 1 << 30,
            memory_bytes: 32 << 20,
            sync_every: Duration::from_secs(1),
            on_full: OnFull::Refuse,
            ship_every: Duration::from_secs(1),
            batch: 2000,
        }
    }
}

/// What happens to calls while the journal takes no receipts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFull {
    /// They are refused with a 503: what cannot be recorded is not spent.
    Refuse,
    /// They go on; when memory is full too, their receipts are lost, and counted.
    Serve,
}

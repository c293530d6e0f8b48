//! The other end of a connection.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The other end of a connection, and what it keeps us busy with.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Its address.
    pub(crate) address: IpAddr,
    trusted: AtomicBool,
    /// Calls that have begun.
    calls: AtomicUsize,
    /// Calls being answered, and answers that wait to be taken.
    busy: AtomicUsize,
}

impl Peer {
    pub(crate) fn at(address: IpAddr) -> Arc<Peer> {
        let (calls, busy) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Peer { address, trusted: AtomicBool::new(false), calls, busy })
    }

    /// Has it shown a right key?
    pub(crate) fn is_trusted(&self) -> bool {
        self.trusted.load(Ordering::Relaxed)
    }

    /// It has shown a right key.
    pub(crate) fn trust(&self) {
        self.trusted.store(true, Ordering::Relaxed);
    }

    /// How many calls have begun?
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// Is a call being answered, or an answer waiting to be taken?
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed) != 0
    }
}

/// Keeps a peer busy until it is dropped.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Peer>);

impl Busy {
    /// With a call that begins.
    pub(crate) fn with_call(peer: &Arc<Peer>) -> Busy {
        peer.calls.fetch_add(1, Ordering::Relaxed);
        Busy::with(peer)
    }

    pub(crate) fn with(peer: &Arc<Peer>) -> Busy {
        peer.busy.fetch_add(1, Ordering::Relaxed);
        Busy(peer.clone())
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.0
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Who has one IPv6 address has the other 2^64 of its network, too.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

//! How many connections each client address has open: nobody alone can take every place.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::peer::network;

/// Open connections by client network.
#[derive(Debug, Default)]
pub(crate) struct Crowd(Mutex<HashMap<IpAddr, usize>>);

/// A connection that is counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Member {
    crowd: Arc<Crowd>,
    network: IpAddr,
}

impl Crowd {
    /// Counts a connection from `address`; `None` when it has `most` already.
    pub(crate) fn join(self: &Arc<Crowd>, address: IpAddr, most: usize) -> Option<Member> {
        let network = network(address);
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(network).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Member { crowd: self.clone(), network })
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut open = self.crowd.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_connections_and_places_come_back() {
        let crowd = Arc::new(Crowd::default());
        let join = |address: &str| crowd.join(address.parse().unwrap(), 2);
        let first = join("192.0.2.1").unwrap();
        let second = join("::ffff:192.0.2.1").unwrap();
        assert!(join("192.0.2.1").is_none() && join("192.0.2.2").is_some());
        drop(first);
        assert!(join("192.0.2.1").is_some());
        drop(second);
        let (_one, _other) = (join("2001:db8::1").unwrap(), join("2001:db8::2").unwrap());
        assert!(join("2001:db8::3").is_none() && join("2001:db8:0:1::1").is_some());
        drop((_one, _other));
        assert!(crowd.0.lock().unwrap().is_empty());
    }
}

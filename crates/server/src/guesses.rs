//! Wrong keys, counted by client address: keys cannot be guessed at the speed of the network.
//!
//! An address that has lately shown a right key is never made to wait, so that a wrong key behind a shared address (a
//! reverse proxy, an office) does not lock out those who have the right one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tollway_model::{Error, Kind, Origin, Result, Retry};

use crate::peer::network;

/// Wrong keys of one address within [`WINDOW`] before it has to wait.
const MOST_WRONG: u32 = 100;

/// How long wrong keys count.
const WINDOW: Duration = Duration::from_secs(60);

/// How long a right key vouches for its address.
const TRUSTED: Duration = Duration::from_secs(3600);

/// Addresses that are remembered.
const MOST_CLIENTS: usize = 16_384;

/// Wrong keys by client address.
#[derive(Debug, Default)]
pub(crate) struct Guesses {
    clients: Mutex<HashMap<IpAddr, Client>>,
}

#[derive(Debug)]
struct Client {
    /// When the first of the counted wrong keys came.
    since: Instant,
    wrong: u32,
    right: Option<Instant>,
}

impl Guesses {
    /// May a client at `address` present a key now? [`Kind::RateLimit`] says how long to wait.
    pub(crate) fn admit(&self, address: IpAddr, now: Instant) -> Result<()> {
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(client) = clients.get(&network(address)) else { return Ok(()) };
        let wait = (client.since + WINDOW).saturating_duration_since(now);
        if client.wrong < MOST_WRONG || wait.is_zero() || client.is_trusted(now) {
            return Ok(());
        }
        let message = format!("{MOST_WRONG} wrong API keys came from this address; wait before the next");
        let error = Error::new(Kind::RateLimit, message).with_origin(Origin::Caller);
        Err(error.with_retry(Retry::Later(Some(wait))))
    }

    /// A client at `address` presented a wrong key.
    pub(crate) fn wrong(&self, address: IpAddr, now: Instant) {
        self.change(address, now, |client| {
            if now.saturating_duration_since(client.since) >= WINDOW {
                (client.since, client.wrong) = (now, 0);
            }
            client.wrong = client.wrong.saturating_add(1);
        });
    }

    /// A client at `address` presented a right key.
    pub(crate) fn right(&self, address: IpAddr, now: Instant) {
        self.change(address, now, |client| client.right = Some(now));
    }

    fn change(&self, address: IpAddr, now: Instant, change: impl FnOnce(&mut Client)) {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.len() >= MOST_CLIENTS && !clients.contains_key(&network(address)) {
            clients.retain(|_, client| client.matters(now));
            // So many at once are one attacker's: remembering none of them costs the least.
            if clients.len() >= MOST_CLIENTS {
                clients.clear();
            }
        }
        let new = Client { since: now, wrong: 0, right: None };
        change(clients.entry(network(address)).or_insert(new));
    }
}

impl Client {
    fn is_trusted(&self, now: Instant) -> bool {
        self.right.is_some_and(|right| now.saturating_duration_since(right) < TRUSTED)
    }

    fn matters(&self, now: Instant) -> bool {
        self.is_trusted(now) || now.saturating_duration_since(self.since) < WINDOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn guess(guesses: &Guesses, from: &str, count: u32, now: Instant) {
        (0..count).for_each(|_| guesses.wrong(address(from), now));
    }

    #[test]
    fn who_guesses_too_often_waits_until_the_window_is_over_and_nobody_else_does() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        guess(&guesses, "192.0.2.1", MOST_WRONG - 1, now);
        assert!(guesses.admit(address("192.0.2.1"), now).is_ok());
        guess(&guesses, "192.0.2.1", 1, now);
        let later = now + Duration::from_secs(20);
        let error = guesses.admit(address("192.0.2.1"), later).unwrap_err();
        assert_eq!((error.status(), error.retry()), (429, Retry::Later(Some(Duration::from_secs(40)))));
        assert!(guesses.admit(address("::ffff:192.0.2.1"), later).is_err());
        assert!(guesses.admit(address("192.0.2.2"), later).is_ok());
        assert!(guesses.admit(address("192.0.2.1"), now + WINDOW).is_ok());
        guess(&guesses, "192.0.2.1", 1, now + WINDOW);
        assert!(guesses.admit(address("192.0.2.1"), now + WINDOW).is_ok());
    }

    #[test]
    fn the_addresses_of_an_ipv6_network_count_together() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        (0..MOST_WRONG).for_each(|host| guess(&guesses, &format!("2001:db8:1:2::{host:x}"), 1, now));
        assert!(guesses.admit(address("2001:db8:1:2:ffff::"), now).is_err());
        assert!(guesses.admit(address("2001:db8:1:3::1"), now).is_ok());
    }

    #[test]
    fn a_right_key_vouches_for_its_address_for_a_while() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        guesses.right(address("192.0.2.1"), now);
        guess(&guesses, "192.0.2.1", 10 * MOST_WRONG, now);
        assert!(guesses.admit(address("192.0.2.1"), now).is_ok());
        let later = now + TRUSTED;
        guess(&guesses, "192.0.2.1", MOST_WRONG, later);
        assert!(guesses.admit(address("192.0.2.1"), later).is_err());
    }

    #[test]
    fn ever_new_addresses_take_bounded_memory() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        for number in 0..200_000_u32 {
            guesses.wrong(IpAddr::from(number.to_be_bytes()), now);
        }
        assert!(guesses.clients.lock().unwrap().len() <= MOST_CLIENTS);
    }
}

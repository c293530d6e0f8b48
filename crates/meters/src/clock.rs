//! The time, passed in.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Instant;

/// What time it is. Rates go by the steady clock, budget windows by the one on the wall.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Milliseconds since 1970.
    fn wall(&self) -> i64;
    /// Milliseconds since some moment before the process made its first decision; never goes back.
    fn steady(&self) -> u64;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    wall: fn() -> i64,
    begun: Instant,
}

impl SystemClock {
    /// `wall` gives the milliseconds since 1970.
    pub fn new(wall: fn() -> i64) -> SystemClock {
        SystemClock { wall, begun: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> i64 {
        (self.wall)()
    }

    fn steady(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A clock that stands still until it is moved, for tests.
#[derive(Debug)]
pub struct ManualClock {
    wall: AtomicI64,
    steady: AtomicU64,
}

impl ManualClock {
    /// It shows this many milliseconds since 1970.
    pub fn at(wall: i64) -> ManualClock {
        ManualClock { wall: AtomicI64::new(wall), steady: AtomicU64::new(0) }
    }

    /// Time passes: both clocks go on by so many milliseconds.
    pub fn advance(&self, millis: u64) {
        self.wall.fetch_add(i64::try_from(millis).unwrap_or(i64::MAX), Ordering::Relaxed);
        self.steady.fetch_add(millis, Ordering::Relaxed);
    }

    /// Somebody sets the clock on the wall; the steady one goes on undisturbed.
    pub fn set_wall(&self, wall: i64) {
        self.wall.store(wall, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> i64 {
        self.wall.load(Ordering::Relaxed)
    }

    fn steady(&self) -> u64 {
        self.steady.load(Ordering::Relaxed)
    }
}

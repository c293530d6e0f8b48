//! How calls are made.

use std::time::Duration;

use crate::transport::Timeouts;

/// How calls are made: set for a [`Client`](crate::Client), or given with a call.
///
/// ```
/// use std::time::Duration;
/// use tollway::CallOptions;
///
/// let patient = CallOptions::default().retries(5).first_byte(Duration::from_secs(30)).drop_params(true);
/// # assert_eq!((patient.retries, patient.timeouts.first_byte.as_secs(), patient.drop_params), (5, 30, true));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallOptions {
    /// Waits. `total` bounds the call with all of its tries and pauses, the stream it returns included.
    pub timeouts: Timeouts,
    /// Further tries of a call that failed in a way that may pass: no connection, 408, 429, 5xx, timeouts, streams
    /// that break before their first event. Default: 2.
    pub retries: u32,
    /// The first pause between tries; it doubles with each, and is shortened at random by up to a half so that callers
    /// do not come back all at once. A provider's `Retry-After` counts more. Default: 500 ms.
    pub pause: Duration,
    /// The longest pause: a provider that asks for more fails the call at once. Default: 60 s.
    pub longest_pause: Duration,
    /// Leave out what the provider cannot do, with a notice, instead of failing. Default: false.
    pub drop_params: bool,
}

impl Default for CallOptions {
    fn default() -> Self {
        CallOptions {
            timeouts: Timeouts::default(),
            retries: 2,
            pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(60),
            drop_params: false,
        }
    }
}

impl CallOptions {
    /// Sets how many further tries a failed call gets.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// Sets how long to wait for a connection, where none is open.
    #[must_use]
    pub fn connect(mut self, wait: Duration) -> Self {
        self.timeouts.connect = Some(wait);
        self
    }

    /// Sets how long to wait for an answer's headers, connecting included.
    #[must_use]
    pub fn first_byte(mut self, wait: Duration) -> Self {
        self.timeouts.first_byte = wait;
        self
    }

    /// Sets how long a provider may be silent inside its answer.
    #[must_use]
    pub fn idle(mut self, wait: Duration) -> Self {
        self.timeouts.idle = wait;
        self
    }

    /// Sets how long the call may take with all of its tries.
    #[must_use]
    pub fn total(mut self, wait: Duration) -> Self {
        self.timeouts.total = wait;
        self
    }

    /// Sets the first pause between tries, which doubles with each.
    #[must_use]
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Sets the longest pause that a provider may ask for.
    #[must_use]
    pub fn longest_pause(mut self, pause: Duration) -> Self {
        self.longest_pause = pause;
        self
    }

    /// Sets whether to leave out what the provider cannot do instead of failing.
    #[must_use]
    pub fn drop_params(mut self, drop: bool) -> Self {
        self.drop_params = drop;
        self
    }
}

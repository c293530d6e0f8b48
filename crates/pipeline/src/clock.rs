//! The one clock of the gateway.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use tollway_route::Now;

/// The zero of the clock that the board of deployments goes by.
static ZERO: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Now, for the board of deployments: milliseconds since the first call of this function.
pub fn board_now() -> Now {
    Now(u64::try_from(ZERO.elapsed().as_millis()).unwrap_or(u64::MAX))
}

/// Milliseconds since 1970, UTC.
#[expect(clippy::disallowed_methods, reason = "this is the one clock the rule asks for")]
pub fn unix_millis() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A duration in milliseconds with three decimals, as headers show it.
pub(crate) fn millis_text(duration: Duration) -> String {
    let micros = duration.as_micros();
    format!("{}.{:03}", micros / 1000, micros % 1000)
}

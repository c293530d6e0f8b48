//! The one clock of the gateway.

use std::time::Duration;

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

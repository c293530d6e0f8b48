//! The one clock of the gateway.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use tollway_route::Now;

/// The zero of the clock that the board of deployments goes by.
static ZERO: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Now, for the board of deployments: milliseconds since the first call of this function.
pub fn board_now() -> Now {
    board_at(Instant::now())
}

/// The same for a moment that was read before.
pub(crate) fn board_at(moment: Instant) -> Now {
    Now(u64::try_from(moment.saturating_duration_since(*ZERO).as_millis()).unwrap_or(u64::MAX))
}

/// Milliseconds since 1970, UTC.
#[expect(clippy::disallowed_methods, reason = "this is the one clock the rule asks for")]
pub fn unix_millis() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A duration in milliseconds with three decimals, as headers show it.
pub(crate) fn millis_text(duration: Duration) -> String {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let mut text = String::with_capacity(16);
    text.push_str(itoa::Buffer::new().format(micros / 1000));
    text.push('.');
    let rest = micros % 1000;
    if rest < 100 {
        text.push('0');
    }
    if rest < 10 {
        text.push('0');
    }
    text.push_str(itoa::Buffer::new().format(rest));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_have_three_decimals() {
        for (micros, expected) in [(0, "0.000"), (7, "0.007"), (70, "0.070"), (1_234_567, "1234.567")] {
            assert_eq!(millis_text(Duration::from_micros(micros)), expected);
        }
    }
}

//! Exact money.
//!
//! Prices are whole picodollars (1e-12 USD) a unit, costs whole nano-dollars
//! (1e-9 USD). There is no float anywhere between a price and the ledger, and a
//! cost is rounded exactly once. Overflow saturates: a wrong huge number is seen,
//! a wrapped small one is not.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub};

use serde::{Deserialize, Serialize};

/// An amount of US dollars, in whole nano-dollars (1e-9 USD).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Money(i64);

const NANOS_PER_DOLLAR: i64 = 1_000_000_000;

impl Money {
    /// No money.
    pub const ZERO: Money = Money(0);
    /// The largest amount, about nine billion dollars.
    pub const MAX: Money = Money(i64::MAX);

    /// From nano-dollars.
    pub const fn from_nanos(nanos: i64) -> Money {
        Money(nanos)
    }

    /// In nano-dollars.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// Rounds an exact sum of picodollars to nano-dollars, half to even.
    pub fn from_picos_rounded(picos: i128) -> Money {
        Money(round_half_even(picos, 1000))
    }

    /// From whole dollars; saturates.
    pub const fn from_dollars(dollars: i64) -> Money {
        Money(dollars.saturating_mul(NANOS_PER_DOLLAR))
    }

    /// Parses a decimal amount of dollars such as `12`, `0.0000015`, `1e-7` or `-3.50`.
    ///
    /// Digits beyond 1e-9 are rounded half to even. `None` when the text is not a number or is out of range.
    pub fn parse_dollars(text: &str) -> Option<Money> {
        parse_scaled(text, 9).map(Money)
    }

    /// In dollars, for display in JSON answers that promise a number. Never for arithmetic.
    #[expect(clippy::cast_precision_loss, reason = "display only; JSON numbers are doubles to most clients")]
    pub fn to_dollars_lossy(self) -> f64 {
        self.0 as f64 / NANOS_PER_DOLLAR as f64
    }

    /// Adds, staying at the largest amount instead of wrapping.
    pub const fn saturating_add(self, other: Money) -> Money {
        Money(self.0.saturating_add(other.0))
    }
}

/// Dollars with as many digits as needed, at least two: `0.00`, `1.50`, `0.0000015`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        let (mut dollars, mut fraction) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
        // Every call prints some: from the last digit to the first, and written at once.
        let mut text = [0; 24];
        let mut start = text.len();
        let mut put = |byte: u8| {
            start -= 1;
            if let Some(place) = text.get_mut(start) {
                *place = byte;
            }
        };
        let digit = |number: u64| b'0' + u8::try_from(number % 10).unwrap_or_default();
        let mut shown = 9;
        while shown > 2 && fraction % 10 == 0 {
            fraction /= 10;
            shown -= 1;
        }
        for _ in 0..shown {
            put(digit(fraction));
            fraction /= 10;
        }
        put(b'.');
        loop {
            put(digit(dollars));
            dollars /= 10;
            if dollars == 0 {
                break;
            }
        }
        if self.0 < 0 {
            put(b'-');
        }
        f.write_str(text.get(start..).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default())
    }
}

impl Add for Money {
    type Output = Money;
    fn add(self, other: Money) -> Money {
        self.saturating_add(other)
    }
}

impl Sub for Money {
    type Output = Money;
    fn sub(self, other: Money) -> Money {
        Money(self.0.saturating_sub(other.0))
    }
}

impl Neg for Money {
    type Output = Money;
    fn neg(self) -> Money {
        Money(self.0.saturating_neg())
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Money) {
        *self = *self + other;
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Money>>(iter: I) -> Money {
        iter.fold(Money::ZERO, Add::add)
    }
}

/// The price of one unit (a token, a second, a request), in whole picodollars (1e-12 USD).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Price(i64);

impl Price {
    /// Free.
    pub const ZERO: Price = Price(0);

    /// From picodollars a unit.
    pub const fn from_picos(picos: i64) -> Price {
        Price(picos)
    }

    /// In picodollars a unit.
    pub const fn picos(self) -> i64 {
        self.0
    }

    /// Parses decimal dollars a unit; digits beyond 1e-12 are rounded half to even.
    pub fn parse_dollars(text: &str) -> Option<Price> {
        parse_scaled(text, 12).map(Price)
    }

    /// Parses decimal dollars per million units, as price lists quote tokens.
    pub fn parse_dollars_per_million(text: &str) -> Option<Price> {
        parse_scaled(text, 6).map(Price)
    }

    /// The exact price of `count` units, in picodollars.
    pub const fn times(self, count: u64) -> i128 {
        (self.0 as i128).saturating_mul(count as i128)
    }
}

/// What a call cost. An unknown price is not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cost {
    /// The exact cost, rounded once.
    Known(Money),
    /// The price table has no price for something the call used.
    Unknown,
}

impl Cost {
    /// The amount, when it is known.
    pub const fn known(self) -> Option<Money> {
        match self {
            Cost::Known(money) => Some(money),
            Cost::Unknown => None,
        }
    }
}

/// `numerator / divisor` rounded half to even and clamped to 64 bits. `divisor` is positive.
fn round_half_even(numerator: i128, divisor: i128) -> i64 {
    let quotient = numerator.div_euclid(divisor);
    let twice_rest = numerator.rem_euclid(divisor) * 2;
    let up = twice_rest > divisor || (twice_rest == divisor && quotient % 2 != 0);
    let rounded = quotient.saturating_add(i128::from(up));
    i64::try_from(rounded).unwrap_or(if rounded < 0 { i64::MIN } else { i64::MAX })
}

/// Parses a decimal number, optionally with an exponent, into whole units of 10^-scale, half to even.
fn parse_scaled(text: &str, scale: i32) -> Option<i64> {
    let text = text.trim();
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    if !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut digits: i128 = 0;
    for byte in whole.bytes().chain(fraction.bytes()) {
        digits = digits.checked_mul(10)?.checked_add(i128::from(byte - b'0'))?;
    }
    if negative {
        digits = -digits;
    }
    // The value is digits × 10^shift in units of 10^-scale.
    let shift = scale.checked_add(exponent)?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    if digits == 0 {
        return Some(0);
    }
    if shift >= 0 {
        let factor = 10_i128.checked_pow(u32::try_from(shift).ok()?)?;
        return i64::try_from(digits.checked_mul(factor)?).ok();
    }
    match 10_i128.checked_pow(shift.unsigned_abs()) {
        Some(divisor) => Some(round_half_even(digits, divisor)),
        None => Some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_display(nanos: i64, expected: &str) {
        assert_eq!(Money::from_nanos(nanos).to_string(), expected);
        assert_eq!(Money::parse_dollars(expected), Some(Money::from_nanos(nanos)));
    }

    #[test]
    fn money_prints_and_parses_exactly() {
        check_display(0, "0.00");
        check_display(1_500_000_000, "1.50");
        check_display(1_500, "0.0000015");
        check_display(-20_000_000, "-0.02");
        check_display(i64::MAX, "9223372036.854775807");
    }

    #[test]
    fn prices_of_tokens_are_whole_picodollars() {
        assert_eq!(Price::parse_dollars_per_million("0.15"), Some(Price::from_picos(150_000)));
        assert_eq!(Price::parse_dollars("1.5e-07"), Some(Price::from_picos(150_000)));
        assert_eq!(Price::parse_dollars_per_million("1e30"), None);
        assert_eq!(Price::parse_dollars("abc"), None);
        assert_eq!(Price::parse_dollars("1e-90"), Some(Price::ZERO));
    }

    #[test]
    fn rounding_is_half_to_even_in_both_directions() {
        for (picos, nanos) in [(500, 0), (1500, 2), (2500, 2), (2501, 3), (-500, 0), (-1500, -2), (-2500, -2)]
        {
            assert_eq!(Money::from_picos_rounded(picos), Money::from_nanos(nanos), "{picos}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_amount_survives_printing(nanos: i64) {
            let money = Money::from_nanos(nanos);
            proptest::prop_assert_eq!(Money::parse_dollars(&money.to_string()), Some(money));
        }

        #[test]
        fn parsing_never_panics(text: String) {
            let _ = Money::parse_dollars(&text);
        }
    }
}

//! What the text of a scalar means.
//!
//! LiteLLM reads its file with PyYAML, a YAML 1.1 reader: `yes` and `off` are booleans to it. Here the setting decides:
//! where a boolean belongs all spellings are read, where text belongs it stays exactly as written (so the model name
//! `no` and the API version `2024-10-21` are what they look like). Free-form values follow PyYAML, except that `1e-6`
//! is a number and `1:30` and dates stay text.

use std::time::Duration;

use serde_json::{Number, Value};
use tollway_model::Price;

/// `true`, `yes`, `on` and their opposites, in any case.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// A whole number: `1000`, `1_000`, `0x3e8`, `1e3`. Not `010`, which is 8 to some readers and 10 to others.
pub(crate) fn integer(text: &str) -> Option<i64> {
    let digits = text.replace('_', "");
    let unsigned = digits.trim_start_matches(['+', '-']);
    if let Some(hex) = unsigned.strip_prefix("0x") {
        let value = i64::from_str_radix(hex, 16).ok()?;
        return Some(if digits.starts_with('-') { -value } else { value });
    }
    if unsigned.len() > 1 && unsigned.starts_with('0') && unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if let Ok(value) = digits.parse::<i64>() {
        return Some(value);
    }
    let value = float(&digits)?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole and within the range that doubles hold exactly"
    )]
    let whole = value as i64;
    (value.fract() == 0.0 && value.abs() < 9e15).then_some(whole)
}

/// A finite number.
pub(crate) fn float(text: &str) -> Option<f64> {
    let digits = text.replace('_', "");
    let starts = digits.trim_start_matches(['+', '-']).bytes().next()?;
    if !(starts.is_ascii_digit() || starts == b'.') {
        return None;
    }
    digits.parse::<f64>().ok().filter(|value| value.is_finite())
}

/// Seconds (`30`, `2.5`) or numbers with units (`500ms`, `30s`, `5m`, `2h`, `1h30m`, `1d`, `1w`).
pub(crate) fn duration(text: &str) -> Option<Duration> {
    if let Some(seconds) = float(text) {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let unit_at = rest.find(|character: char| !(character.is_ascii_digit() || character == '.'))?;
        let (number, tail) = rest.split_at_checked(unit_at)?;
        let next = tail.find(|character: char| character.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(next)?;
        let seconds = match unit.trim() {
            "ms" => 0.001,
            "s" | "sec" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            "w" => 604_800.0,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(float(number)? * seconds).ok()?)?;
        rest = tail;
    }
    Some(total)
}

/// Bytes (`1048576`) or a number with a unit (`32MiB`, `16KiB`, `10MB`).
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let unit_at = text.find(|character: char| character.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(unit_at)?;
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "kib" | "k" => 1 << 10,
        "mb" => 1_000_000,
        "mib" | "m" => 1 << 20,
        "gb" => 1_000_000_000,
        "gib" | "g" => 1 << 30,
        _ => return None,
    };
    u64::try_from(integer(number.trim())?).ok()?.checked_mul(factor)
}

/// Is this a price: a decimal number of dollars, not negative?
pub(crate) fn is_price(text: &str) -> bool {
    !text.starts_with('-') && Price::parse_dollars(text).is_some()
}

/// The JSON value of unquoted text.
pub(crate) fn json(text: &str) -> Value {
    if matches!(text, "" | "~" | "null" | "Null" | "NULL") {
        return Value::Null;
    }
    if let Some(value) = boolean(text) {
        return Value::Bool(value);
    }
    let looks_whole = !text.contains(['.', 'e', 'E']) || text.starts_with("0x");
    if looks_whole {
        return integer(text)
            .map_or_else(|| Value::String(text.to_owned()), |value| Value::Number(value.into()));
    }
    let number = float(text).and_then(Number::from_f64);
    number.map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn booleans_are_read_as_yaml_1_1_writes_them() {
        for (text, expected) in [
            ("yes", Some(true)),
            ("On", Some(true)),
            ("FALSE", Some(false)),
            ("off", Some(false)),
            ("y", None),
            ("1", None),
        ] {
            assert_eq!(boolean(text), expected, "{text}");
        }
    }

    #[test]
    fn whole_numbers_in_every_spelling() {
        for (text, expected) in [
            ("1_000", Some(1000)),
            ("0x10", Some(16)),
            ("-5", Some(-5)),
            ("1e6", Some(1_000_000)),
            ("2.0", Some(2)),
            ("2.5", None),
            ("010", None),
            ("0", Some(0)),
            ("ten", None),
            ("inf", None),
            ("1e300", None),
        ] {
            assert_eq!(integer(text), expected, "{text}");
        }
    }

    #[test]
    fn durations_are_seconds_or_carry_units() {
        for (text, expected) in [
            ("30", Some(30_000)),
            ("0.5", Some(500)),
            ("500ms", Some(500)),
            ("5m", Some(300_000)),
            ("1h30m", Some(5_400_000)),
            ("1d", Some(86_400_000)),
            ("-1", None),
            ("soon", None),
            ("", None),
            ("5 parsecs", None),
            ("9999999999999999999w", None),
        ] {
            assert_eq!(duration(text), expected.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn sizes_take_decimal_and_binary_units() {
        for (text, expected) in [
            ("32MiB", Some(33_554_432)),
            ("10 MB", Some(10_000_000)),
            ("512", Some(512)),
            ("-1", None),
            ("1 PB", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn free_form_values_follow_pyyaml_where_that_helps() {
        for (text, expected) in [
            ("yes", json!(true)),
            ("~", json!(null)),
            ("12", json!(12)),
            ("1e-6", json!(1e-6)),
            ("0.7", json!(0.7)),
            ("1:30", json!("1:30")),
            ("2024-10-21", json!("2024-10-21")),
            ("0123", json!("0123")),
            (".nan", json!(".nan")),
            ("gpt-4", json!("gpt-4")),
        ] {
            assert_eq!(json(text), expected, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_a_reading_panic(text: String) {
            let _ = (boolean(&text), integer(&text), duration(&text), bytes(&text), json(&text), is_price(&text));
        }
    }
}

//! Small conveniences over `serde_json::Value`, and the signatures the fakes hand out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// The string member `key`.
pub(crate) fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

/// The items of the array member `key`; none when it is absent or something else.
pub(crate) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The boolean member `key`, false when absent.
pub(crate) fn flag(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_bool).unwrap_or(false)
}

/// The member `key` as a count.
pub(crate) fn count(value: &Value, key: &str) -> Option<usize> {
    value.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok())
}

/// The names of the members of an object.
pub(crate) fn keys(value: &Value) -> impl Iterator<Item = &str> {
    value.as_object().into_iter().flat_map(|object| object.keys().map(String::as_str))
}

/// The first member of `value` that is not in `known`.
pub(crate) fn stranger<'a>(value: &'a Value, known: &[&str]) -> Option<&'a str> {
    keys(value).find(|key| !known.contains(key))
}

/// JSON text with sorted keys, equal for equal values.
pub(crate) fn canonical(value: &Value) -> String {
    match value {
        Value::Object(object) => {
            let mut members: Vec<_> = object.iter().collect();
            members.sort_by(|a, b| a.0.cmp(b.0));
            let members: Vec<_> = members
                .iter()
                .map(|(k, v)| format!("{}:{}", Value::from(k.as_str()), canonical(v)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

/// 64-bit FNV-1a: stable across builds, which `std`'s hasher does not promise.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A signature over `what`, valid base64, that only this fake can have made.
pub(crate) fn sign(what: &str) -> String {
    STANDARD.encode(format!("tollway-fake-signature:{:016x}", hash(what.as_bytes())))
}

/// Whether `data` is standard base64 with padding.
pub(crate) fn is_base64(data: &str) -> bool {
    !data.is_empty() && STANDARD.decode(data).is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn canonical_text_ignores_member_order() {
        assert_eq!(canonical(&json!({"b":[1,{"d":2,"c":3}],"a":"x"})), r#"{"a":"x","b":[1,{"c":3,"d":2}]}"#);
    }

    #[test]
    fn signatures_differ_by_what_they_sign() {
        assert_eq!(sign("a"), sign("a"));
        assert_ne!(sign("a"), sign("b"));
        assert!(is_base64(&sign("a")));
    }
}

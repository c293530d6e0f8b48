//! Tool names and ids that fit the target's rules, made without randomness so that every turn gets the same ones.

use std::borrow::Cow;
use std::collections::HashMap;

/// Longest tool name OpenAI takes.
const MAX_NAME: usize = 64;

/// `name` if it fits `^[a-zA-Z0-9_-]{1,64}$`, otherwise a name that does and is different for different names.
pub(crate) fn tool_name<'a>(name: &'a str, renamed: &mut HashMap<String, String>) -> Cow<'a, str> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(fits) {
        return Cow::Borrowed(name);
    }
    let stem: String = name
        .chars()
        .map(|c| if u8::try_from(c).is_ok_and(fits) { c } else { '_' })
        .take(MAX_NAME - 9)
        .collect();
    let sent = format!("{stem}_{:08x}", hash(name) & 0xffff_ffff);
    renamed.insert(sent.clone(), name.to_owned());
    Cow::Owned(sent)
}

/// `id` if it is nine letters or digits, otherwise nine that stand for it.
pub(crate) fn nine_chars(id: &str) -> Cow<'_, str> {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    if id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Cow::Borrowed(id);
    }
    let mut rest = hash(id);
    let digits = (0..9).map(|_| {
        let digit = usize::try_from(rest % 62).unwrap_or_default();
        rest /= 62;
        char::from(DIGITS.get(digit).copied().unwrap_or(b'0'))
    });
    Cow::Owned(digits.collect())
}

/// `id` if it has at most forty bytes, otherwise a shorter one that stands for it.
pub(crate) fn forty_chars(id: &str) -> Cow<'_, str> {
    if id.len() <= 40 { Cow::Borrowed(id) } else { Cow::Owned(format!("call_{:016x}", hash(id))) }
}

/// FNV-1a, 64 bits: short, stable across versions and machines. Nothing here is a secret.
pub(crate) fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: Option<&str>) {
        let mut renamed = HashMap::new();
        let sent = tool_name(name, &mut renamed).into_owned();
        assert!(sent.len() <= 64 && sent.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)));
        assert_eq!(renamed.get(&sent).map(String::as_str), expected, "{name} → {sent}");
    }

    #[test]
    fn only_names_that_do_not_fit_change_and_they_can_be_mapped_back() {
        check("get_weather-2", None);
        check("mcp.server/tool", Some("mcp.server/tool"));
        check("", Some(""));
        check(&"x".repeat(65), Some(&"x".repeat(65)));
        check("wetter_ü", Some("wetter_ü"));
    }

    #[test]
    fn different_ids_stay_different_and_fitting_ones_stay() {
        assert_eq!(nine_chars("abc123XYZ"), "abc123XYZ");
        assert_eq!(nine_chars("call_1"), nine_chars("call_1"));
        assert_ne!(nine_chars("call_1"), nine_chars("call_2"));
        assert_eq!(nine_chars("call_1").len(), 9);
        assert_eq!(forty_chars("call_1"), "call_1");
        assert_eq!(forty_chars(&"x".repeat(41)).len(), 21);
    }
}

//! Writing JSON straight into bytes, so that values kept verbatim stay verbatim.

use tollway_model::RawJson;

use crate::json::write_str;

/// An open object.
pub(crate) struct Map<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

/// An open list.
pub(crate) struct List<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

/// Writes an object.
pub(crate) fn object<T>(out: &mut Vec<u8>, fill: impl FnOnce(&mut Map<'_>) -> T) -> T {
    out.push(b'{');
    let mut map = Map { out, first: true };
    let result = fill(&mut map);
    map.out.push(b'}');
    result
}

/// Goes on with an object that has a member already, and closes it.
pub(crate) fn resume<T>(out: &mut Vec<u8>, fill: impl FnOnce(&mut Map<'_>) -> T) -> T {
    let mut map = Map { out, first: false };
    let result = fill(&mut map);
    map.out.push(b'}');
    result
}

/// Writes a list.
pub(crate) fn list<T>(out: &mut Vec<u8>, fill: impl FnOnce(&mut List<'_>) -> T) -> T {
    out.push(b'[');
    let mut list = List { out, first: true };
    let result = fill(&mut list);
    list.out.push(b']');
    result
}

/// Writes a number as short as it goes: `1`, not `1.0`.
pub(crate) fn number(value: f64, out: &mut Vec<u8>) {
    #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
    if value.fract() == 0.0 && value.abs() < 1.0e15 {
        out.extend_from_slice((value as i64).to_string().as_bytes());
    } else {
        // Writing into a Vec cannot fail; infinities never get here and would be written as null.
        let _ = serde_json::to_writer(out, &value);
    }
}

impl Map<'_> {
    /// Writes the key; the value must follow.
    pub(crate) fn key(&mut self, key: &str) -> &mut Vec<u8> {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        write_str(key, self.out);
        self.out.push(b':');
        self.out
    }

    pub(crate) fn str(&mut self, key: &str, value: &str) {
        write_str(value, self.key(key));
    }

    pub(crate) fn literal(&mut self, key: &str, json: &str) {
        self.key(key).extend_from_slice(json.as_bytes());
    }

    pub(crate) fn raw(&mut self, key: &str, value: &RawJson) {
        self.literal(key, value.get());
    }

    pub(crate) fn int(&mut self, key: &str, value: impl Into<i128>) {
        self.literal(key, &value.into().to_string());
    }

    pub(crate) fn f64(&mut self, key: &str, value: f64) {
        number(value, self.key(key));
    }

    pub(crate) fn bool(&mut self, key: &str, value: bool) {
        self.literal(key, if value { "true" } else { "false" });
    }

    pub(crate) fn null(&mut self, key: &str) {
        self.literal(key, "null");
    }

    pub(crate) fn map<T>(&mut self, key: &str, fill: impl FnOnce(&mut Map<'_>) -> T) -> T {
        object(self.key(key), fill)
    }

    pub(crate) fn list<T>(&mut self, key: &str, fill: impl FnOnce(&mut List<'_>) -> T) -> T {
        list(self.key(key), fill)
    }
}

impl List<'_> {
    /// Starts an element; its value must follow.
    pub(crate) fn item(&mut self) -> &mut Vec<u8> {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        self.out
    }

    pub(crate) fn str(&mut self, value: &str) {
        write_str(value, self.item());
    }

    pub(crate) fn literal(&mut self, json: &str) {
        self.item().extend_from_slice(json.as_bytes());
    }

    pub(crate) fn map<T>(&mut self, fill: impl FnOnce(&mut Map<'_>) -> T) -> T {
        object(self.item(), fill)
    }
}

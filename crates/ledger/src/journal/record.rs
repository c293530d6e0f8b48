//! Records: what lies in a frame.
//!
//! MessagePack with field names. A third of the work of JSON, and as forgiving: a version that knows more fields reads what
//! an older one left behind. Addresses are text, as people read them.

use serde::{Deserialize, Serialize};

/// Writes a record behind what is in `buffer`.
pub(crate) fn write(buffer: &mut Vec<u8>, record: &impl Serialize) -> Result<(), rmp_serde::encode::Error> {
    record.serialize(&mut rmp_serde::Serializer::new(buffer).with_struct_map().with_human_readable())
}

/// Reads a record.
pub(crate) fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, rmp_serde::decode::Error> {
    T::deserialize(&mut rmp_serde::Deserializer::from_read_ref(bytes).with_human_readable())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opening::Opening;
    use crate::sample;

    #[test]
    fn an_opening_reads_back() {
        for seed in 0..64 {
            let receipt = sample::receipt(seed);
            let opening = Opening::of(&receipt);
            let mut bytes = Vec::new();
            write(&mut bytes, &opening).unwrap();
            let back: Opening<'_> = read(&bytes).unwrap();
            let shown = |opening: &Opening<'_>| serde_json::to_value(opening).unwrap();
            assert_eq!(shown(&back), shown(&opening));
        }
    }

    #[test]
    fn fields_may_come_and_go() {
        #[derive(Serialize)]
        struct Later<'a> {
            id: &'a str,
            unheard_of: [u8; 3],
        }
        #[derive(Debug, PartialEq, Eq, Deserialize)]
        struct Earlier {
            id: String,
            #[serde(default)]
            given_up: Option<u64>,
        }
        let mut bytes = Vec::new();
        write(&mut bytes, &Later { id: "a", unheard_of: [1, 2, 3] }).unwrap();
        assert_eq!(read::<Earlier>(&bytes).unwrap(), Earlier { id: "a".to_owned(), given_up: None });
    }
}

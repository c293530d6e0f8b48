//! Frames: how records lie in a segment.
//!
//! A frame is `length u32 · CRC-32C u32 · body`, a body `mark u8 · kind u8 · sequence u64 · record`; numbers are
//! little-endian, the length and the checksum are the body's. A reader that lost its place looks for the next frame, so
//! nothing inside a record may look like one, whatever a caller writes into a name: the mark is a byte that neither UTF-8
//! nor the columns of a [packed receipt](crate::packed) nor the kinds of [MessagePack](super::record) know. Inside a number
//! of MessagePack it has letters of a field's name before it, which make a length that no frame has.

/// Bytes before the body.
pub(super) const PREFIX: usize = 8;

/// Bytes of the body before its record.
pub(super) const BODY: usize = 10;

/// What every body begins with.
const MARK: u8 = 0xc1;

/// Longest body. Receipts are bounded far below it.
pub(super) const MAX_BODY: usize = 4 << 20;

/// Largest sequence: its highest byte stays zero.
const MAX_SEQUENCE: u64 = (1 << 56) - 1;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A call is about to be sent.
    Opened,
    /// A call is over.
    Settled,
    /// A call that was opened in a segment that is about to go is still on its way.
    StillOpen,
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Kind::Opened => 1,
            Kind::Settled => 2,
            Kind::StillOpen => 3,
        }
    }

    const fn from_byte(byte: u8) -> Option<Kind> {
        match byte {
            1 => Some(Kind::Opened),
            2 => Some(Kind::Settled),
            3 => Some(Kind::StillOpen),
            _ => None,
        }
    }
}

/// Begins a frame in an empty buffer; the record is written behind it.
pub(super) fn begin(buffer: &mut Vec<u8>, kind: Kind) {
    buffer.clear();
    buffer.extend_from_slice(&[0; PREFIX]);
    buffer.extend_from_slice(&[MARK, kind.byte()]);
    buffer.extend_from_slice(&[0; 8]);
}

/// Completes the frame in `buffer`: sequence, length and checksum.
pub(super) fn seal(buffer: &mut [u8], sequence: u64) {
    let length = u32::try_from(buffer.len().saturating_sub(PREFIX)).unwrap_or(u32::MAX);
    if let Some(place) = buffer.get_mut(PREFIX + 2..PREFIX + BODY) {
        place.copy_from_slice(&sequence.to_le_bytes());
    }
    let checksum = crc32c::crc32c(buffer.get(PREFIX..).unwrap_or_default());
    if let Some(place) = buffer.get_mut(..4) {
        place.copy_from_slice(&length.to_le_bytes());
    }
    if let Some(place) = buffer.get_mut(4..PREFIX) {
        place.copy_from_slice(&checksum.to_le_bytes());
    }
}

/// A whole frame at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) kind: Kind,
    pub(super) sequence: u64,
    pub(super) record: &'a [u8],
    /// Bytes it takes.
    pub(super) size: usize,
}

/// What the beginning of some bytes is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look<'a> {
    /// A whole frame.
    Frame(Frame<'a>),
    /// It may be a frame of this many bytes; there are fewer.
    Short(usize),
    /// No frame.
    No,
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(four.try_into().ok()?))
}

/// Looks at the beginning of `bytes`. Sequences must be larger than `after`.
pub(super) fn look(bytes: &[u8], after: u64) -> Look<'_> {
    let (Some(length), Some(checksum)) = (word(bytes, 0), word(bytes, 4)) else {
        return Look::Short(PREFIX + BODY);
    };
    let length = length as usize;
    if !(BODY..=MAX_BODY).contains(&length) {
        return Look::No;
    }
    let Some(head) = bytes.get(PREFIX..PREFIX + BODY) else { return Look::Short(PREFIX + length) };
    let Some((kind, sequence)) = head_of(head) else { return Look::No };
    if sequence <= after || sequence > MAX_SEQUENCE {
        return Look::No;
    }
    let Some(body) = bytes.get(PREFIX..PREFIX + length) else { return Look::Short(PREFIX + length) };
    if crc32c::crc32c(body) != checksum {
        return Look::No;
    }
    let record = body.get(BODY..).unwrap_or_default();
    Look::Frame(Frame { kind, sequence, record, size: PREFIX + length })
}

fn head_of(head: &[u8]) -> Option<(Kind, u64)> {
    let (mark, rest) = head.split_first()?;
    let (kind, sequence) = rest.split_first()?;
    let kind = Kind::from_byte(*kind).filter(|_| *mark == MARK)?;
    Some((kind, u64::from_le_bytes(sequence.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: Kind, sequence: u64, record: &[u8]) -> Vec<u8> {
        let mut buffer = Vec::new();
        begin(&mut buffer, kind);
        buffer.extend_from_slice(record);
        seal(&mut buffer, sequence);
        buffer
    }

    #[test]
    fn a_frame_reads_back() {
        let bytes = frame(Kind::Settled, 7, b"{}");
        let expected = Frame { kind: Kind::Settled, sequence: 7, record: b"{}", size: bytes.len() };
        assert_eq!(look(&bytes, 6), Look::Frame(expected));
        assert_eq!(look(&bytes, 7), Look::No, "sequences only grow");
    }

    #[test]
    fn the_beginning_of_a_frame_is_short() {
        let bytes = frame(Kind::Opened, 1, b"{\"id\":1}");
        for cut in 0..bytes.len() {
            assert!(matches!(look(&bytes[..cut], 0), Look::Short(_)), "{cut}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_flipped_bit_is_no_frame(record in "\\{[a-z]{0,40}\\}", bit: usize) {
            let mut bytes = frame(Kind::Settled, 3, record.as_bytes());
            let bit = bit % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            proptest::prop_assert!(!matches!(look(&bytes, 0), Look::Frame(_)));
        }
    }
}

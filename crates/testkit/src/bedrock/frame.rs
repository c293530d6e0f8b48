//! Messages of an event stream, written bit by bit so that a reader has something independent to agree with.

use bytes::Bytes;

/// One message whose headers are all text.
pub(super) fn write(headers: &[(&str, &str)], payload: &[u8]) -> Bytes {
    let mut head = Vec::new();
    for (name, value) in headers {
        head.push(u8::try_from(name.len()).unwrap_or_default());
        head.extend(name.bytes());
        head.push(7);
        head.extend(u16::try_from(value.len()).unwrap_or_default().to_be_bytes());
        head.extend(value.bytes());
    }
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or_default().to_be_bytes();
    let mut message = [length(16 + head.len() + payload.len()), length(head.len())].concat();
    message.extend(checksum(&message).to_be_bytes());
    message.extend(head);
    message.extend(payload);
    message.extend(checksum(&message).to_be_bytes());
    Bytes::from(message)
}

/// CRC-32, one bit at a time.
fn checksum(bytes: &[u8]) -> u32 {
    let step = |sum: u32, _: i32| if sum & 1 == 1 { (sum >> 1) ^ 0xEDB8_8320 } else { sum >> 1 };
    !bytes.iter().fold(u32::MAX, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(super::checksum(b"123456789"), 0xCBF4_3926);
    }
}

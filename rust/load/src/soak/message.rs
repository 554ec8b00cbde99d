//! Receives payloads · hands out what they say they are, and whether every byte is right · owns the format that
//! the server's side of a soak and this side share.
//!
//! ```text
//! sort, 1 letter │ channel, 2 hexadecimal digits │ number, 13 hexadecimal digits │ body
//! ```
//!
//! The body is a piece of a fixed pattern whose place depends on channel and number, so a byte that changed, or a
//! body under another's label, is noticed by comparing memory.

/// Bytes before the body.
pub(crate) const LABEL: usize = 16;

const PATTERN: usize = 8192;
/// Where bodies begin at most; they are no longer than the rest of the pattern.
const PLACES: u64 = 4096;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    /// One of a channel's numbered publications.
    Publication,
    /// The first message of a subscription: the number of the first publication that belongs to it.
    Joined,
    /// The end of a subscription: the number of the first publication that does not belong to it.
    Left,
    /// How many messages the server says that it dropped on this connection.
    Dropped,
    /// What this side has sent and the server sends back.
    Echo,
}

/// What stands before the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) sort: Sort,
    pub(crate) channel: u8,
    pub(crate) number: u64,
}

impl Label {
    /// Reads it; `None`: it is none.
    #[inline]
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let (label, _) = payload.split_first_chunk::<LABEL>()?;
        let (sort, digits) = label.split_first()?;
        let sort = match sort {
            b'P' => Sort::Publication,
            b'J' => Sort::Joined,
            b'L' => Sort::Left,
            b'D' => Sort::Dropped,
            b'E' => Sort::Echo,
            _ => return None,
        };
        let mut value = 0_u64;
        for digit in digits {
            let digit = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            value = value << 4 | u64::from(digit);
        }
        Some(Self { sort, channel: (value >> 52) as u8, number: value & ((1 << 52) - 1) })
    }
}

/// The pattern of which every body is a piece.
#[derive(Debug)]
pub(crate) struct Pattern(Vec<u8>);

impl Pattern {
    pub(crate) fn new() -> Self {
        // Printable, and of a period longer than itself.
        let letter = |place: usize| b'!' + ((place * place * 7 + place * 13) % 89) as u8 + (place % 5) as u8;
        Self((0..PATTERN).map(letter).collect())
    }

    /// The body of that length under that label.
    #[inline]
    pub(crate) fn body(&self, channel: u8, number: u64, length: usize) -> &[u8] {
        let place = ((number.wrapping_mul(31).wrapping_add(u64::from(channel) * 17)) % PLACES) as usize;
        self.0.get(place..place + length).unwrap_or_default()
    }

    /// Whether `payload` is exactly what its label demands, of `size` bytes.
    #[inline]
    pub(crate) fn is_right(&self, label: Label, payload: &[u8], size: usize) -> bool {
        let body = payload.get(LABEL..).unwrap_or_default();
        payload.len() == size && body == self.body(label.channel, label.number, size - LABEL)
    }

    /// Writes the payload of an echo.
    pub(crate) fn echo(&self, out: &mut Vec<u8>, number: u64, size: usize) {
        out.extend_from_slice(format!("E00{number:013x}").as_bytes());
        out.extend_from_slice(self.body(0, number, size.saturating_sub(LABEL)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_and_nothing_else() {
        let label = Label { sort: Sort::Publication, channel: 0xA3, number: 0x12 };
        assert_eq!(Label::read(b"Pa30000000000012"), Some(label));
        assert_eq!(Label::read(b"Lffffffffffffffftail").map(|label| label.number), Some((1 << 52) - 1));
        assert_eq!(Label::read(b"Pa3000000000001"), None, "too short");
        assert_eq!(Label::read(b"Xa30000000000012"), None);
        assert_eq!(Label::read(b"PA30000000000012"), None);
    }

    #[test]
    fn a_changed_byte_and_a_body_under_another_label_are_noticed() {
        let pattern = Pattern::new();
        let mut payload = Vec::new();
        pattern.echo(&mut payload, 77, 64);
        let label = Label::read(&payload).unwrap();
        assert!(pattern.is_right(label, &payload, 64));
        assert!(!pattern.is_right(label, &payload, 65));
        assert!(!pattern.is_right(Label { number: 78, ..label }, &payload, 64));
        assert!(!pattern.is_right(Label { channel: 1, ..label }, &payload, 64));
        payload[40] ^= 1;
        assert!(!pattern.is_right(label, &payload, 64));
        assert!(pattern.body(255, u64::MAX, PATTERN - PLACES as usize).len() == PATTERN - PLACES as usize);
    }
}

//! Receives what a client sent · hands out whole frames, unmasked where they lie, and a server's frames · owns the
//! layout of a frame (RFC 6455 §5.2) and none of its rules.

/// Bits of a frame's first byte.
pub const OPCODE: u8 = 0x0F;
/// The final frame of a message.
pub const FINAL: u8 = 0x80;
/// Opcodes.
pub const CLOSE: u8 = 8;
/// Opcodes.
pub const PING: u8 = 9;
/// Opcodes.
pub const PONG: u8 = 10;

const MASKED: u8 = 0x80;
const KEY: usize = 4;

/// A frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its first byte: the final bit and the opcode.
    pub first: u8,
    /// Its payload, unmasked.
    pub payload: &'a mut [u8],
}

/// The first frame of what came, and what is behind it; `None`: it is not whole, or is no client's frame.
pub fn take(input: &mut [u8]) -> (Option<Frame<'_>>, &mut [u8]) {
    let Some((key, start, end)) = layout(input) else { return (None, input) };
    let (frame, rest) = input.split_at_mut(end);
    let first = frame.first().copied().unwrap_or_default();
    let payload = frame.get_mut(start..).unwrap_or_default();
    unmask(payload, key);
    (Some(Frame { first, payload }), rest)
}

/// The key of a frame, and where its payload begins and ends.
fn layout(input: &[u8]) -> Option<([u8; KEY], usize, usize)> {
    let second = *input.get(1)?;
    let (length, start) = match second & !MASKED {
        126 => (usize::from(u16::from_be_bytes(*input.get(2..)?.first_chunk()?)), 4),
        127 => (usize::try_from(u64::from_be_bytes(*input.get(2..)?.first_chunk()?)).ok()?, 10),
        length => (usize::from(length), 2),
    };
    let key = *input.get(start..)?.first_chunk()?;
    let start = start + KEY;
    let end = start.checked_add(length)?;
    (second & MASKED != 0 && input.len() >= end).then_some((key, start, end))
}

/// Eight bytes at a time, which the compiler makes wider.
fn unmask(payload: &mut [u8], key: [u8; KEY]) {
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = payload.as_chunks_mut();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// Appends a server's frame.
pub fn put(out: &mut Vec<u8>, first: u8, payload: &[u8]) {
    out.push(first);
    let length = payload.len();
    if length < 126 {
        out.push(length as u8);
    } else if let Ok(length) = u16::try_from(length) {
        out.push(126);
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        out.push(127);
        out.extend_from_slice(&(length as u64).to_be_bytes());
    }
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let key = [1, 2, 3, 4];
        let mut frame = Vec::new();
        put(&mut frame, first, payload);
        let header = frame.len() - payload.len();
        frame[1] |= MASKED;
        for (byte, key) in frame[header..].iter_mut().zip(key.iter().cycle()) {
            *byte ^= key;
        }
        frame.splice(header..header, key);
        frame
    }

    #[test]
    fn frames_of_every_length_come_out_as_they_went_in() {
        for length in [0, 1, 7, 8, 125, 126, 1000, 65_535, 65_536, 100_000] {
            let payload: Vec<u8> = (0..=u8::MAX).cycle().take(length).collect();
            let mut bytes = masked(0x81, &payload);
            bytes.extend(masked(0x82, b"next"));
            let (frame, rest) = take(&mut bytes);
            assert_eq!(frame.unwrap(), Frame { first: 0x81, payload: &mut payload.clone() });
            let (frame, rest) = take(rest);
            assert_eq!(frame.unwrap().payload, b"next");
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn what_is_not_whole_or_not_masked_stays() {
        let whole = masked(0x81, &[7; 300]);
        for length in 0..whole.len() {
            let mut cut = whole[..length].to_vec();
            let (frame, rest) = take(&mut cut);
            assert!(frame.is_none());
            assert_eq!(rest, &whole[..length]);
        }
        let mut unmasked = [0x81, 1, b'x', b'x', b'x', b'x', b'x'];
        assert!(take(&mut unmasked).0.is_none());
    }
}

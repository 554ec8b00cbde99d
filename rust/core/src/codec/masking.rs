//! Receives frames on their way to a server · hands them out masked with a key of their own · owns how a frame gets its
//! key where it was made without one (RFC 6455 §5.3).

use bytes::{BufMut, Bytes, BytesMut};

use super::header::{MAX_HEADER, Opcode, encode_header};
use super::mask::Mask;
use super::{Kind, Role};

/// Bytes of a masking key.
const KEY: usize = 4;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7F;

/// Bytes of one frame with that many bytes of payload, as `role` sends it.
pub const fn frame_size(role: Role, payload: usize) -> usize {
    let header = match payload {
        0..=125 => 2,
        126..=65_535 => 4,
        _ => 10,
    };
    let key = match role {
        Role::Server => 0,
        Role::Client => KEY,
    };
    header + key + payload
}

/// A message as one frame, as `role` sends it. A client's has room for its key and is not masked yet: that is done where
/// it is sent, by [`masked`], without another copy, so that callers need no keys.
pub fn message_frame(role: Role, kind: Kind, payload: &[u8]) -> Bytes {
    let mask = match role {
        Role::Server => None,
        Role::Client => Some([0; KEY]),
    };
    let mut header = [0; MAX_HEADER];
    let size = encode_header(&mut header, Opcode::Data(kind), true, false, payload.len(), mask);
    let mut frame = Vec::with_capacity(size + payload.len());
    frame.extend_from_slice(header.get(..size).unwrap_or_default());
    frame.extend_from_slice(payload);
    frame.into()
}

/// One whole frame, masked with `key`: in place where the frame has room for a key and nobody else holds it, else as a
/// copy, which a frame without that room makes four bytes longer. What is no frame stays as it is.
pub fn masked(frame: Bytes, key: [u8; KEY]) -> Bytes {
    let Some([_, second]) = frame.first_chunk::<2>().copied() else { return frame };
    let length = match second & LENGTH {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let place = 2 + length;
    if second & MASKED == 0 {
        return with_key(&frame, place, key);
    }
    let mut frame = frame.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&*shared));
    if let Some((before, payload)) =
        frame.get_mut(place..).and_then(|rest| rest.split_first_chunk_mut::<KEY>())
    {
        // What it was masked with comes off in the same pass: the key it was made with is of zeros.
        let mut both = key;
        for (byte, old) in both.iter_mut().zip(&*before) {
            *byte ^= old;
        }
        *before = key;
        Mask::new(both).apply(payload);
    }
    frame.freeze()
}

fn with_key(frame: &[u8], place: usize, key: [u8; KEY]) -> Bytes {
    let Some((header, payload)) = frame.split_at_checked(place) else { return Bytes::copy_from_slice(frame) };
    let mut out = BytesMut::with_capacity(frame.len() + KEY);
    out.put_slice(header);
    if let Some(second) = out.get_mut(1) {
        *second |= MASKED;
    }
    out.put_slice(&key);
    let start = out.len();
    out.put_slice(payload);
    Mask::new(key).apply(out.get_mut(start..).unwrap_or_default());
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Codec, CodecLimits, Item, encode_message};

    const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

    fn heard(frame: &[u8]) -> Vec<u8> {
        let limits = CodecLimits { max_message_size: 1 << 20, max_frame_size: 1 << 20, max_fragments: 1 };
        let mut input = frame.to_vec();
        let mut codec = Codec::new(Role::Server);
        let (item, rest) = codec.decode(&limits, &mut input).unwrap();
        let Some(Item::Message { kind: Kind::Binary, payload }) = item else { panic!("{item:?}") };
        assert!(rest.is_empty());
        payload.into_vec()
    }

    #[test]
    fn a_frame_of_either_side_says_the_same_at_every_width_of_the_length() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let payload: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
            let mut server = Vec::new();
            encode_message(&mut server, Kind::Binary, &payload);
            assert_eq!(server.len(), frame_size(Role::Server, length));
            assert_eq!(message_frame(Role::Server, Kind::Binary, &payload), server);
            let client = message_frame(Role::Client, Kind::Binary, &payload);
            assert_eq!(client.len(), frame_size(Role::Client, length));
            let (one, other) = (masked(server.into(), KEY), masked(client, KEY));
            assert_eq!(one, other);
            assert_eq!(heard(&one), payload);
            // Masked anew, as a frame would be that is sent twice.
            assert_eq!(heard(&masked(one, [1, 2, 3, 4])), payload);
        }
        assert_eq!(&*masked(message_frame(Role::Client, Kind::Text, b"Hello"), KEY), {
            // RFC 6455 §5.7.
            b"\x81\x85\x37\xFA\x21\x3D\x7F\x9F\x4D\x51\x58"
        });
    }

    #[test]
    fn a_frame_that_nobody_else_holds_is_masked_where_it_lies_and_no_other_is_touched() {
        let frame = message_frame(Role::Client, Kind::Text, b"Hello");
        let address = frame.as_ptr();
        assert_eq!(masked(frame, KEY).as_ptr(), address);
        let frame = message_frame(Role::Client, Kind::Text, b"Hello");
        let held = frame.clone();
        assert_ne!(masked(frame, KEY), held);
        assert_eq!(&held[6..], b"Hello");
    }

    #[test]
    fn what_is_no_frame_stays_as_it_is() {
        for bytes in [&b""[..], b"\x81", b"\x81\x7E\0", b"\x81\xFE\0"] {
            assert_eq!(masked(Bytes::copy_from_slice(bytes), KEY), bytes);
        }
    }
}

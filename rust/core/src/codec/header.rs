//! Receives the first bytes of a frame · hands out what they declare, or writes them · owns the layout of
//! the frame header (RFC 6455 §5.2) and every rule that a header alone can break.

use super::mask::Mask;
use super::{Kind, Role, Violation};

/// The longest header: two bytes, a 64-bit length, a masking key.
pub const MAX_HEADER: usize = 14;
/// The longest payload of a control frame (RFC 6455 §5.5).
pub const MAX_CONTROL: usize = 125;

const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const RESERVED_1: u8 = 0x40;
const OPCODE: u8 = 0x0F;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7F;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opcode {
    /// A further frame of the message begun.
    Continuation,
    /// The first frame of a message.
    Data(Kind),
    /// A frame of its own, allowed between the frames of a message.
    Control(Control),
}

/// The three control frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Control {
    /// The last frame that its sender sends.
    Close,
    /// Asks for a pong with the same payload.
    Ping,
    /// Answers a ping, or comes on its own.
    Pong,
}

impl Opcode {
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Data(Kind::Text),
            2 => Self::Data(Kind::Binary),
            8 => Self::Control(Control::Close),
            9 => Self::Control(Control::Ping),
            10 => Self::Control(Control::Pong),
            _ => return None,
        })
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Data(Kind::Text) => 1,
            Self::Data(Kind::Binary) => 2,
            Self::Control(Control::Close) => 8,
            Self::Control(Control::Ping) => 9,
            Self::Control(Control::Pong) => 10,
        }
    }
}

/// What a header declares.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) opcode: Opcode,
    pub(super) is_final: bool,
    /// RSV1: the first frame of a compressed message (RFC 7692 §6).
    pub(super) is_compressed: bool,
    pub(super) length: u64,
    pub(super) mask: Mask,
    /// Bytes of the header itself.
    pub(super) size: usize,
}

impl Header {
    /// Reads the header at the start of `bytes`; `None`: it is not complete, which needs fewer than
    /// [`MAX_HEADER`] bytes. A rule is broken as soon as the bytes that break it are here.
    /// `may_be_compressed`: permessage-deflate was negotiated.
    #[inline]
    pub(super) fn parse(
        role: Role,
        may_be_compressed: bool,
        bytes: &[u8],
    ) -> Result<Option<Self>, Violation> {
        let &[first, second, ref tail @ ..] = bytes else { return Ok(None) };
        let reserved = first & RESERVED;
        if reserved != 0 {
            check_reserved(reserved, may_be_compressed, first & OPCODE)?;
        }
        let Some(opcode) = Opcode::from_bits(first & OPCODE) else {
            return Err(Violation::protocol(format!("opcode {} is reserved", first & OPCODE)));
        };
        let is_final = first & FINAL != 0;
        let is_masked = second & MASKED != 0;
        match (role, is_masked) {
            (Role::Server, true) | (Role::Client, false) => {}
            (Role::Server, false) => return Err(Violation::protocol("client frame is not masked")),
            (Role::Client, true) => return Err(Violation::protocol("server frame is masked")),
        }
        let short = second & LENGTH;
        if let Opcode::Control(_) = opcode {
            if !is_final {
                return Err(Violation::protocol("control frame is fragmented"));
            }
            if usize::from(short) > MAX_CONTROL {
                return Err(Violation::protocol("control frame of more than 125 bytes"));
            }
        }
        let (length, tail) = match short {
            LENGTH_16 => {
                let Some((length, tail)) = tail.split_first_chunk() else { return Ok(None) };
                (at_least(LENGTH_16.into(), u16::from_be_bytes(*length).into())?, tail)
            }
            LENGTH_64 => {
                let Some((length, tail)) = tail.split_first_chunk() else { return Ok(None) };
                let length = u64::from_be_bytes(*length);
                if length > i64::MAX as u64 {
                    return Err(Violation::protocol("64-bit length has its top bit set"));
                }
                (at_least(1 << 16, length)?, tail)
            }
            short => (short.into(), tail),
        };
        let (mask, tail) = if is_masked {
            let Some((key, tail)) = tail.split_first_chunk() else { return Ok(None) };
            (Mask::new(*key), tail)
        } else {
            (Mask::NONE, tail)
        };
        let size = bytes.len() - tail.len();
        Ok(Some(Self { opcode, is_final, is_compressed: reserved != 0, length, mask, size }))
    }
}

/// RFC 6455 §5.2: a reserved bit has the meaning that an extension gives it. RSV1 says of the first frame of a message
/// that it is compressed, and nothing anywhere else (RFC 7692 §6).
#[cold]
fn check_reserved(reserved: u8, may_be_compressed: bool, opcode: u8) -> Result<(), Violation> {
    let bits = reserved >> 4;
    if !may_be_compressed {
        return Err(Violation::protocol(format!("reserved bits {bits:03b} set, no extension negotiated")));
    }
    if reserved != RESERVED_1 {
        return Err(Violation::protocol(format!("reserved bits {bits:03b} set, only RSV1 has a meaning")));
    }
    match Opcode::from_bits(opcode) {
        Some(Opcode::Data(_)) | None => Ok(()),
        Some(_) => Err(Violation::protocol("RSV1 set in a frame that does not begin a message")),
    }
}

/// RFC 6455 §5.2: the minimal number of bytes must be used to encode the length.
#[inline]
fn at_least(minimum: u64, length: u64) -> Result<u64, Violation> {
    if length < minimum {
        return Err(Violation::protocol(format!("length {length} is not encoded in the fewest bytes")));
    }
    Ok(length)
}

/// Writes the header of a frame with a payload of `length` bytes to the start of `out`, in the fewest bytes,
/// and returns how many those are. `compressed` sets RSV1, which only permessage-deflate gives a meaning
/// (RFC 7692 §6); `mask` is the key of a client's frame, whose payload the caller masks.
#[inline]
pub fn encode_header(
    out: &mut [u8; MAX_HEADER],
    opcode: Opcode,
    is_final: bool,
    compressed: bool,
    length: usize,
    mask: Option<[u8; 4]>,
) -> usize {
    let final_bit = if is_final { FINAL } else { 0 };
    let compressed_bit = if compressed { RESERVED_1 } else { 0 };
    let mask_bit = if mask.is_some() { MASKED } else { 0 };
    out[0] = final_bit | compressed_bit | opcode.bits();
    let size = if let Ok(length) = u16::try_from(length) {
        if length < LENGTH_16.into() {
            out[1] = mask_bit | length as u8;
            2
        } else {
            out[1] = mask_bit | LENGTH_16;
            out[2..4].copy_from_slice(&length.to_be_bytes());
            4
        }
    } else {
        out[1] = mask_bit | LENGTH_64;
        out[2..10].copy_from_slice(&(length as u64).to_be_bytes());
        10
    };
    let Some(key) = mask else { return size };
    if let Some(place) = out.get_mut(size..size + key.len()) {
        place.copy_from_slice(&key);
    }
    size + key.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_at_every_width_of_the_length() {
        let kinds = [
            Opcode::Continuation,
            Opcode::Data(Kind::Text),
            Opcode::Data(Kind::Binary),
            Opcode::Control(Control::Close),
            Opcode::Control(Control::Ping),
            Opcode::Control(Control::Pong),
        ];
        for opcode in kinds {
            for (length, size) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10), (1 << 40, 10)] {
                if matches!(opcode, Opcode::Control(_)) && length > MAX_CONTROL {
                    continue;
                }
                for (role, key) in [(Role::Server, Some([1, 2, 3, 4])), (Role::Client, None)] {
                    let mut out = [0xEE; MAX_HEADER];
                    let written = encode_header(&mut out, opcode, true, false, length, key);
                    let size = size + key.map_or(0, |key| key.len());
                    assert_eq!(written, size);
                    let mask = key.map_or(Mask::NONE, Mask::new);
                    let header = Header {
                        opcode,
                        is_final: true,
                        is_compressed: false,
                        length: length as u64,
                        mask,
                        size,
                    };
                    assert_eq!(Header::parse(role, true, &out), Ok(Some(header)));
                    for end in 0..size {
                        assert_eq!(Header::parse(role, true, &out[..end]), Ok(None), "{end} of {size} bytes");
                    }
                }
            }
        }
    }

    #[test]
    fn a_compressed_message_is_told_by_the_first_reserved_bit() {
        let mut out = [0; MAX_HEADER];
        assert_eq!(encode_header(&mut out, Opcode::Data(Kind::Text), false, true, 5, None), 2);
        assert_eq!(out[..2], [0x41, 5]);
        let header = Header::parse(Role::Client, true, &out).unwrap().unwrap();
        assert!(header.is_compressed);
    }
}

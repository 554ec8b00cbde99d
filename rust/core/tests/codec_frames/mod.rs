//! Frames as a peer would send them, and what a codec makes of them, for the tests of the codec.
#![allow(dead_code)] // each test target uses a part

use streamconductor_core::close::CloseCode;
use streamconductor_core::codec::{
    Codec, CodecLimits, Control, Item, Kind, Opcode, Role, Violation, encode_frame,
};

pub const TEXT: Opcode = Opcode::Data(Kind::Text);
pub const BINARY: Opcode = Opcode::Data(Kind::Binary);
pub const MORE: Opcode = Opcode::Continuation;
pub const CLOSE: Opcode = Opcode::Control(Control::Close);
pub const PING: Opcode = Opcode::Control(Control::Ping);
pub const PONG: Opcode = Opcode::Control(Control::Pong);

pub const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

pub const LIMITS: CodecLimits =
    CodecLimits { max_message_size: 1 << 20, max_frame_size: 1 << 20, max_fragments: 1_024 };

/// An item with its bytes owned, so that runs can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Message(Kind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<CloseCode>, String),
}

impl From<Item<'_>> for Seen {
    fn from(item: Item<'_>) -> Self {
        match item {
            Item::Message { kind, payload } => Self::Message(kind, payload.into_vec()),
            Item::Ping(payload) => Self::Ping(payload.into_vec()),
            Item::Pong(payload) => Self::Pong(payload.into_vec()),
            Item::Close { code, reason } => Self::Close(code, reason),
        }
    }
}

/// The mask with which a peer of `role` sends.
pub fn key_towards(role: Role) -> Option<[u8; 4]> {
    (role == Role::Server).then_some(KEY)
}

/// A frame as the peer of a codec of `role` sends it.
pub fn frame_towards(role: Role, opcode: Opcode, is_final: bool, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    encode_frame(&mut out, opcode, is_final, payload.as_ref(), key_towards(role));
    out
}

/// A client's frame.
pub fn frame(opcode: Opcode, is_final: bool, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame_towards(Role::Server, opcode, is_final, payload)
}

/// A client's header that declares `length` in the form that `short` says: itself, 126 or 127.
pub fn header(first: u8, short: u8, length: u64) -> Vec<u8> {
    let mut out = vec![first, 0x80 | short];
    match short {
        126 => out.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()),
        127 => out.extend_from_slice(&length.to_be_bytes()),
        _ => {}
    }
    out.extend_from_slice(&KEY);
    out
}

/// Gives `codec` one piece of input and collects its items up to a violation.
pub fn feed(
    codec: &mut Codec,
    limits: &CodecLimits,
    piece: &[u8],
    seen: &mut Vec<Seen>,
) -> Result<(), Violation> {
    let mut input = piece.to_vec();
    let mut rest = &mut input[..];
    loop {
        let (item, after) = codec.decode(limits, rest)?;
        let Some(item) = item else {
            assert!(after.is_empty(), "without an item all is consumed");
            return Ok(());
        };
        seen.push(item.into());
        rest = after;
    }
}

/// Everything a fresh codec makes of pieces of input.
pub fn decode_pieces<'p>(
    role: Role,
    limits: &CodecLimits,
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> (Vec<Seen>, Option<Violation>) {
    let (mut codec, mut seen) = (Codec::new(role), Vec::new());
    for piece in pieces {
        if let Err(violation) = feed(&mut codec, limits, piece, &mut seen) {
            return (seen, Some(violation));
        }
    }
    (seen, None)
}

/// The code with which a server fails on `bytes`, given whole; `None`: it does not.
pub fn refused(bytes: &[u8]) -> Option<u16> {
    decode_pieces(Role::Server, &LIMITS, [bytes]).1.map(|violation| violation.code.0)
}

//! Receives what a peer may send once it is connected · fails when the split of the reads changes what is decoded, when
//! a limit is passed, or when what was decoded does not survive being sent · owns what must hold for every byte stream.

use streamconductor_core::close::CloseCode;
use streamconductor_core::codec::{Codec, CodecLimits, Kind, Opcode, Role, Violation, encode_frame};

use super::splits;
use crate::codec_frames::{CLOSE, LIMITS, PING, PONG, Seen, decode_pieces, feed, key_towards};

/// Small, so that short inputs reach them.
const TIGHT: CodecLimits = CodecLimits { max_message_size: 300, max_frame_size: 200, max_fragments: 6 };
/// The longest payload that a frame may add to a message begun: that of a control frame.
const MAX_CONTROL: usize = 125;

pub fn codec_server(input: &[u8]) {
    codec(Role::Server, input);
}

pub fn codec_client(input: &[u8]) {
    codec(Role::Client, input);
}

fn codec(role: Role, input: &[u8]) {
    for (limits, is_deflated) in [(TIGHT, false), (LIMITS, false), (TIGHT, true)] {
        let mut runs = splits(input).into_iter().map(|pieces| decode(role, &limits, is_deflated, &pieces));
        let whole = runs.next().unwrap();
        for run in runs {
            assert_eq!(run, whole);
        }
        let (seen, violation) = whole;
        for item in &seen {
            within(&limits, item);
        }
        if let Some(violation) = violation {
            assert!(violation.code.is_sendable(), "{violation:?}");
            assert!(violation.reason.len() <= 123, "{violation:?} does not fit a Close frame");
        }
        come_back(role, &seen);
    }
}

/// Decodes, and holds the codec to its memory: the limit, and no more than twice what really came.
fn decode(
    role: Role,
    limits: &CodecLimits,
    is_deflated: bool,
    pieces: &[&[u8]],
) -> (Vec<Seen>, Option<Violation>) {
    let (mut codec, mut seen, mut fed) = (Codec::new(role), Vec::new(), 0);
    if is_deflated {
        codec.accept_compressed();
    }
    for piece in pieces {
        let step = feed(&mut codec, limits, piece, &mut seen);
        fed += piece.len();
        assert!(codec.buffered() <= limits.max_message_size + MAX_CONTROL);
        assert!(codec.buffered() <= 512 + 2 * fed, "{} bytes held for {fed}", codec.buffered());
        assert!(codec.is_mid_message() || codec.buffered() == 0, "an idle connection holds memory");
        if let Err(violation) = step {
            assert_eq!((codec.buffered(), codec.is_mid_message()), (0, false));
            let again = feed(&mut codec, limits, b"more", &mut Vec::new());
            assert_eq!(again, Err(violation.clone()), "once dead it stays dead");
            return (seen, Some(violation));
        }
    }
    (seen, None)
}

fn within(limits: &CodecLimits, item: &Seen) {
    match item {
        Seen::Message(kind, payload) => {
            assert!(payload.len() <= limits.max_message_size);
            assert!(*kind == Kind::Binary || std::str::from_utf8(payload).is_ok());
        }
        Seen::Ping(payload) | Seen::Pong(payload) => assert!(payload.len() <= MAX_CONTROL),
        Seen::Close(code, reason) => {
            assert!(code.is_none_or(CloseCode::is_sendable));
            assert!(reason.len() <= MAX_CONTROL - 2 && (code.is_some() || reason.is_empty()));
        }
    }
}

/// What was decoded, sent by our own encoder, is decoded again.
fn come_back(role: Role, seen: &[Seen]) {
    let mut bytes = Vec::new();
    for item in seen {
        let (opcode, payload) = match item {
            Seen::Message(kind, payload) => (Opcode::Data(*kind), payload.clone()),
            Seen::Ping(payload) => (PING, payload.clone()),
            Seen::Pong(payload) => (PONG, payload.clone()),
            Seen::Close(code, reason) => {
                let code = code.map(|code| code.0.to_be_bytes().to_vec()).unwrap_or_default();
                (CLOSE, [&code, reason.as_bytes()].concat())
            }
        };
        encode_frame(&mut bytes, opcode, true, &payload, key_towards(role));
    }
    assert_eq!(decode_pieces(role, &LIMITS, [&bytes[..]]), (seen.to_vec(), None));
}

//! Receives what a peer calls a compressed message, or a message to compress · fails when inflating passes its limit, when
//! one message leaves something for the next, or when a message does not come back · owns what must hold of contexts.

use streamconductor_core::codec::{Codec, Item, Kind, Role};
use streamconductor_core::deflate::{Compressor, InflateError, Inflater, WindowBits, negotiate};

use crate::codec_frames::LIMITS;

/// RFC 7692 §7.2.3.1: "Hello".
const HELLO: [u8; 7] = [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
/// Of inflated bytes; the first is the one that every message is asked for.
const LIMITS_OF_SIZE: [usize; 4] = [100_000, 1_000, 100, 0];
/// What a context holds: the window, the tables, the shared output.
const MAX_HEAP: usize = 256 * 1024;

pub fn inflate(input: &[u8]) {
    let mut inflater = Inflater::new();
    let whole = inflater.inflate(input, LIMITS_OF_SIZE[0]);
    for limit in LIMITS_OF_SIZE {
        match (&whole, inflater.inflate(input, limit)) {
            (Ok(message), Ok(again)) => assert!(*message == again && again.len() <= limit),
            (Ok(message), Err(error)) => assert!(error == InflateError::TooBig && message.len() > limit),
            (Err(_), Ok(_)) => panic!("less room, and it fits"),
            // A stream that is too long may be corrupt further on.
            (Err(InflateError::Corrupt), Err(_)) | (Err(InflateError::TooBig), Err(InflateError::TooBig)) => {
            }
            (Err(InflateError::TooBig), Err(InflateError::Corrupt)) => {
                panic!("less was read, and it is worse")
            }
        }
        assert!(inflater.real_bytes() <= MAX_HEAP);
        // Whatever it was, the next message begins anew.
        assert_eq!(inflater.inflate(&HELLO, 5).as_deref(), Ok(&b"Hello"[..]));
    }
    for bits in [9, 15] {
        comes_back(WindowBits::new(bits).unwrap(), input);
    }
    offer(input);
}

/// The input as a message of ours: what it becomes is smaller, and read as what it was.
fn comes_back(bits: WindowBits, message: &[u8]) {
    let mut frame = Vec::new();
    if !Compressor::new(bits).encode_message(&mut frame, Kind::Binary, message) {
        return assert!(frame.is_empty());
    }
    assert!(frame.len() < message.len() + 10);
    let mut codec = Codec::new(Role::Client);
    codec.accept_compressed();
    let (item, rest) = codec.decode(&LIMITS, &mut frame).unwrap();
    let Some(Item::Message { kind: Kind::Binary, payload }) = item else { panic!("no message") };
    assert!(*payload == *message && rest.is_empty());
}

/// The input as the client's offer: what is agreed can be read as an offer, and agrees to the same.
fn offer(line: &[u8]) {
    let Some(agreed) = negotiate([line]) else { return };
    let again = negotiate([agreed.to_string().as_bytes()]);
    assert_eq!(again, Some(agreed));
}

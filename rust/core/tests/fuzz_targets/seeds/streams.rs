//! Receives nothing · hands out deflate streams, and offers of permessage-deflate · owns the ways in which a stream may be
//! good, corrupt or a bomb.

use streamconductor_core::codec::Kind;
use streamconductor_core::deflate::{Compressor, WindowBits};

pub fn streams() -> Vec<(&'static str, Vec<u8>)> {
    let compressed = |payload: &[u8]| {
        let mut frame = Vec::new();
        assert!(Compressor::new(WindowBits::MAX).encode_message(&mut frame, Kind::Binary, payload));
        // Without its header of two or four bytes.
        frame.split_off(if frame[1] < 126 { 2 } else { 4 })
    };
    vec![
        ("good-hello", b"\xF2\x48\xCD\xC9\xC9\x07\x00".to_vec()),
        ("good-hello-stored", b"\x00\x05\x00\xFA\xFF\x48\x65\x6C\x6C\x6F\x00".to_vec()),
        ("good-hello-last-block", b"\xF3\x48\xCD\xC9\xC9\x07\x00\x00".to_vec()),
        ("good-hello-two-blocks", b"\xF2\x48\x05\x00\x00\x00\xFF\xFF\xCA\xC9\xC9\x07\x00".to_vec()),
        ("good-empty", vec![0]),
        ("good-json", compressed(&b"{\"bid\": 1.0871, \"ask\": 1.0873} ".repeat(20))),
        ("good-message", b"to be compressed, and to be compressed again, as it is a message".to_vec()),
        ("h09-offer", b"permessage-deflate; client_max_window_bits; server_max_window_bits=\"10\"".to_vec()),
        (
            "h09-offer-twice",
            b"permessage-deflate; server_no_context_takeover; server_no_context_takeover".to_vec(),
        ),
        (
            "h09-offer-declined",
            b"x, permessage-deflate; client_max_window_bits=99, permessage-deflate".to_vec(),
        ),
        ("f23-bomb", compressed(&vec![0; 200_000])),
        ("f23-bomb-of-ends", [0x03, 0x00].repeat(80)),
        ("f24-corrupt", vec![0xFF; 8]),
        ("f24-ends-within", b"\xF2\x48\xCD".to_vec()),
        ("f24-distance-too-far", b"\x63\x00\x82\x00\x00".to_vec()),
        ("f24-code-without-symbols", b"\x04\x00\xFE\xFF".to_vec()),
    ]
}

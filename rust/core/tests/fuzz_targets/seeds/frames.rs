//! Receives nothing · hands out byte streams of connected peers · owns the rows of the frame stage, and the good streams
//! beside them.

use streamconductor_core::codec::{Opcode, Role};

use crate::codec_frames::{BINARY, CLOSE, MORE, PING, PONG, TEXT, frame, frame_towards, header};

fn unmasked(opcode: Opcode, is_final: bool, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame_towards(Role::Client, opcode, is_final, payload)
}

fn close(code: u16) -> Vec<u8> {
    frame(CLOSE, true, code.to_be_bytes())
}

/// Of a frame with this first byte and no payload, masked.
fn empty(first: u8) -> Vec<u8> {
    header(first, 0, 0)
}

pub fn from_clients() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("good-text", frame(TEXT, true, "hello, é €")),
        ("good-binary-of-16-bits", frame(BINARY, true, [7; 180])),
        (
            "good-fragments",
            [frame(TEXT, false, "a"), frame(PING, true, "p"), frame(MORE, false, ""), frame(MORE, true, "é")]
                .concat(),
        ),
        ("good-close", frame(CLOSE, true, b"\x0F\xA0bye")),
        ("good-empty-close", frame(CLOSE, true, "")),
        ("f01-unmasked", unmasked(TEXT, true, "hello")),
        ("f02-rsv1", empty(0xC1)),
        ("f02-rsv2", empty(0xA1)),
        ("f02-rsv3", empty(0x91)),
        ("f02-rsv1-on-continuation", [frame(TEXT, false, "a"), empty(0xC0)].concat()),
        ("f03-opcode-3", empty(0x83)),
        ("f03-opcode-11", empty(0x8B)),
        ("f04-ping-of-126", header(0x89, 126, 126)),
        ("f04-close-of-1-mib", header(0x88, 127, 1 << 20)),
        ("f05-ping-in-fragments", frame(PING, false, "p")),
        ("f05-close-in-fragments", frame(CLOSE, false, b"\x03\xE8")),
        ("f06-nothing-to-continue", frame(MORE, true, "x")),
        ("f06-message-inside-message", [frame(TEXT, false, "a"), frame(TEXT, true, "b")].concat()),
        ("f07-length-with-top-bit", header(0x82, 127, (1 << 63) + 1)),
        ("f07-length-of-2-63", header(0x82, 127, (1 << 63) - 1)),
        ("f08-length-too-wide-16", header(0x82, 126, 125)),
        ("f08-length-too-wide-64", header(0x82, 127, 65_535)),
        ("f09-one-above-the-frame-limit", header(0x82, 126, 201)),
        ("f10-declared-and-not-sent", [header(0x82, 126, 200), vec![0; 3]].concat()),
        (
            "f11-sum-above-the-message-limit",
            [frame(BINARY, false, [1; 200]), header(0x80, 126, 200)].concat(),
        ),
        ("f12-many-continuations", [frame(TEXT, false, "a"), frame(MORE, false, "b").repeat(9)].concat()),
        ("f13-empty-continuations", [frame(TEXT, false, ""), frame(MORE, false, "").repeat(9)].concat()),
        ("f13-empty-texts", frame(TEXT, true, "").repeat(9)),
        ("f15-not-utf8", frame(TEXT, true, b"\xFF")),
        ("f15-split-in-a-character", [frame(TEXT, false, b"\xE2\x82"), frame(MORE, true, b"\xAC")].concat()),
        ("f15-split-and-wrong", [frame(TEXT, false, b"\xE2\x82"), frame(MORE, true, b"x")].concat()),
        ("f15-surrogate", frame(TEXT, true, b"\xED\xA0\x80")),
        ("f15-close-reason", frame(CLOSE, true, b"\x03\xE8\xFF")),
        ("f17-close-0", close(0)),
        ("f17-close-999", close(999)),
        ("f17-close-1005", close(1_005)),
        ("f17-close-1015", close(1_015)),
        ("f17-close-2999", close(2_999)),
        ("f17-close-5000", close(5_000)),
        ("f17-close-of-one-byte", frame(CLOSE, true, [3])),
        ("f18-data-behind-close", [close(1_000), frame(TEXT, true, "late"), close(1_001)].concat()),
        ("f20-pings", frame(PING, true, [1; 125]).repeat(4)),
        ("f22-pongs", frame(PONG, true, "unasked").repeat(9)),
        // RFC 7692 §7.2.3.1: "Hello", and 1,000 zeros, both compressed.
        (
            "f23-compressed",
            [header(0xC1, 7, 7), masked(&[0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00])].concat(),
        ),
        ("f24-compressed-and-corrupt", [header(0xC1, 4, 4), masked(&[0xFF; 4])].concat()),
    ]
}

/// The payload as `header` says that it is masked.
fn masked(payload: &[u8]) -> Vec<u8> {
    let key = crate::codec_frames::KEY.iter().cycle();
    payload.iter().zip(key).map(|(byte, key)| byte ^ key).collect()
}

pub fn from_servers() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("good-text", unmasked(TEXT, true, "hello, é €")),
        ("good-binary-of-16-bits", unmasked(BINARY, true, [7; 180])),
        (
            "good-fragments",
            [unmasked(TEXT, false, "a"), unmasked(PING, true, ""), unmasked(MORE, true, "b")].concat(),
        ),
        ("good-close", unmasked(CLOSE, true, b"\x0F\xB4token expired")),
        ("c03-masked", frame(TEXT, true, "hello")),
        ("f02-rsv1", vec![0xC1, 0]),
        ("f03-opcode-7", vec![0x87, 0]),
        ("f04-ping-of-126", vec![0x89, 126, 0, 126]),
        ("f05-ping-in-fragments", unmasked(PING, false, "p")),
        ("f06-nothing-to-continue", unmasked(MORE, true, "x")),
        ("f07-length-of-2-63", vec![0x82, 127, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]),
        ("f08-length-too-wide", vec![0x82, 126, 0, 5]),
        ("f09-one-above-the-frame-limit", vec![0x82, 126, 0, 201]),
        (
            "f12-many-continuations",
            [unmasked(TEXT, false, "a"), unmasked(MORE, false, "b").repeat(9)].concat(),
        ),
        (
            "f15-split-in-a-character",
            [unmasked(TEXT, false, b"\xE2\x82"), unmasked(MORE, true, b"\xAC")].concat(),
        ),
        ("f15-not-utf8", unmasked(TEXT, true, b"\xC0\x80")),
        ("f17-close-1006", unmasked(CLOSE, true, [3, 0xEE])),
    ]
}

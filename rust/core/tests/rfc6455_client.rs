//! RFC 6455 §5 to §10, the codec in the client's role: each MUST by its number. What only a whole client keeps or breaks
//! is in `rust/load/tests/rfc6455_client.rs`.
#![allow(clippy::indexing_slicing, reason = "functions that only tests call may fail as a test does")]

mod codec_frames;

use codec_frames::{BINARY, CLOSE, LIMITS, MORE, PING, PONG, Seen, TEXT};
use streamconductor_core::close::CloseCode;
use streamconductor_core::codec::{
    Codec, CodecLimits, Control, Kind, MAX_HEADER, Opcode, Role, close_frame, control_frame, encode_frame,
    encode_header,
};

const SIZES: [usize; 8] = [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20];
const ALL: [Opcode; 5] = [TEXT, BINARY, CLOSE, PING, PONG];

/// A server's frame.
fn frame(opcode: Opcode, is_final: bool, payload: impl AsRef<[u8]>) -> Vec<u8> {
    codec_frames::frame_towards(Role::Client, opcode, is_final, payload)
}

/// What the client makes of what a server sends, and the code with which it fails, if it does.
fn received(bytes: &[u8]) -> (Vec<Seen>, Option<u16>) {
    let (seen, violation) = codec_frames::decode_pieces(Role::Client, &LIMITS, [bytes]);
    (seen, violation.map(|violation| violation.code.0))
}

fn code(bytes: &[u8]) -> Option<u16> {
    received(bytes).1
}

fn text(payload: &str) -> Seen {
    Seen::Message(Kind::Text, payload.as_bytes().to_vec())
}

/// A client's frame and what a server makes of it.
fn sent(opcode: Opcode, is_final: bool, payload: &[u8]) -> (Vec<u8>, Vec<Seen>) {
    let mut bytes = Vec::new();
    encode_frame(&mut bytes, opcode, is_final, payload, Some([9, 8, 7, 6]));
    let (seen, violation) = codec_frames::decode_pieces(Role::Server, &LIMITS, [&bytes[..]]);
    assert_eq!(violation, None);
    (bytes, seen)
}

/// Every sort of frame that a client sends.
fn all_sent() -> Vec<Vec<u8>> {
    let mut frames: Vec<_> = SIZES
        .iter()
        .flat_map(|size| [TEXT, BINARY].map(|opcode| sent(opcode, true, &vec![b'x'; *size]).0))
        .collect();
    for control in [Control::Ping, Control::Pong] {
        frames.push(control_frame(control, b"payload", Some([1, 2, 3, 4])).to_vec());
    }
    frames.push(close_frame(Some(CloseCode::NORMAL), "reason", Some([1, 2, 3, 4])).to_vec());
    frames
}

#[test]
fn rfc6455_5_1_1_a_client_masks_every_frame() {
    for frame in all_sent() {
        assert_eq!(frame[1] & 0x80, 0x80);
    }
    assert!(sent(TEXT, true, b"Hello").0[6..] != *b"Hello", "and not only says so");
}

#[test]
fn rfc6455_5_1_4_a_client_closes_on_a_frame_that_is_masked() {
    for opcode in ALL {
        let masked = codec_frames::frame(opcode, true, "");
        assert_eq!(code(&masked), Some(1002), "{opcode:?}");
    }
    let second = [frame(TEXT, false, "a"), codec_frames::frame(MORE, true, "b")].concat();
    assert_eq!(code(&second), Some(1002));
}

#[test]
fn rfc6455_5_2_1_no_frame_of_a_client_has_a_reserved_bit() {
    for frame in all_sent() {
        assert_eq!(frame[0] & 0x70, 0);
    }
}

#[test]
fn rfc6455_5_2_2_a_reserved_bit_fails_the_connection() {
    for bits in 1..8 {
        for opcode in [0x81, 0x82, 0x88, 0x89, 0x8A] {
            assert_eq!(code(&[opcode | bits << 4, 0]), Some(1002), "{opcode:x} {bits:b}");
        }
        assert_eq!(code(&[frame(TEXT, false, "a"), vec![0x80 | bits << 4, 0]].concat()), Some(1002));
    }
}

#[test]
fn rfc6455_5_2_3_an_opcode_that_is_not_known_fails_the_connection() {
    for opcode in (3..8).chain(11..16) {
        assert_eq!(code(&[0x80 | opcode, 0]), Some(1002), "opcode {opcode}");
    }
}

#[test]
fn rfc6455_5_2_4_a_length_with_its_top_bit_set_fails_the_connection() {
    for length in [1 << 63, (1 << 63) + 5, u64::MAX] {
        assert_eq!(code(&[&[0x82, 127][..], &length.to_be_bytes()].concat()), Some(1002));
    }
    // Nor is one sent: no payload is that long.
    let mut header = [0; MAX_HEADER];
    encode_header(&mut header, BINARY, true, false, isize::MAX as usize, Some([0; 4]));
    assert_eq!(header[2] & 0x80, 0);
}

#[test]
fn rfc6455_5_2_5_a_length_in_more_bytes_than_needed_fails_the_connection() {
    for (short, length) in [(126, 0_u64), (126, 125), (127, 0), (127, 125), (127, 126), (127, 65_535)] {
        let bytes = length.to_be_bytes();
        let bytes = if short == 126 { &bytes[6..] } else { &bytes[..] };
        assert_eq!(code(&[&[0x82, short][..], bytes].concat()), Some(1002), "{length} as {short}");
    }
    for size in SIZES {
        let width = sent(BINARY, true, &vec![0; size]).0.len() - size - 4;
        assert_eq!(
            width,
            if size < 126 {
                2
            } else if size < 65_536 {
                4
            } else {
                10
            }
        );
    }
}

#[test]
fn rfc6455_5_3_1_a_masked_frame_says_so_and_carries_its_key() {
    let (bytes, seen) = sent(TEXT, true, b"Hello");
    assert_eq!(bytes[..6], [0x81, 0x85, 9, 8, 7, 6]);
    assert_eq!(seen, [text("Hello")]);
    // The example of §5.7.
    let mut example = Vec::new();
    encode_frame(&mut example, TEXT, true, b"Hello", Some([0x37, 0xFA, 0x21, 0x3D]));
    assert_eq!(example, [0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58]);
}

#[test]
fn rfc6455_5_4_1_a_control_frame_in_fragments_fails_the_connection() {
    for opcode in [CLOSE, PING, PONG] {
        assert_eq!(code(&frame(opcode, false, "")), Some(1002));
    }
}

#[test]
fn rfc6455_5_4_2_fragments_are_put_together_in_the_order_sent() {
    let pieces: Vec<_> = (0..500).map(|number| number.to_string()).collect();
    let frames: Vec<_> = pieces
        .iter()
        .enumerate()
        .flat_map(|(place, piece)| {
            frame(if place == 0 { TEXT } else { MORE }, place == pieces.len() - 1, piece)
        })
        .collect();
    assert_eq!(received(&frames), (vec![text(&pieces.concat())], None));
}

#[test]
fn rfc6455_5_4_3_a_message_inside_a_message_fails_the_connection() {
    for opcode in [TEXT, BINARY] {
        for is_final in [true, false] {
            let bytes = [frame(TEXT, false, "a"), frame(opcode, is_final, "b")].concat();
            assert_eq!(code(&bytes), Some(1002));
        }
    }
    assert_eq!(code(&frame(MORE, true, "a")), Some(1002), "a continuation of nothing");
}

#[test]
fn rfc6455_5_4_4_control_frames_are_handled_in_the_middle_of_a_message() {
    let bytes = [
        frame(TEXT, false, "a"),
        frame(PING, true, "1"),
        frame(MORE, false, "b"),
        frame(PONG, true, "2"),
        frame(MORE, true, "c"),
    ];
    let expected = vec![Seen::Ping(b"1".to_vec()), Seen::Pong(b"2".to_vec()), text("abc")];
    assert_eq!(received(&bytes.concat()), (expected, None));
    let closed = [frame(TEXT, false, "a"), frame(CLOSE, true, [3, 232])].concat();
    assert_eq!(received(&closed), (vec![Seen::Close(Some(CloseCode::NORMAL), String::new())], None));
}

#[test]
fn rfc6455_5_4_5_fragmented_and_unfragmented_messages_are_received() {
    for opcode in [TEXT, BINARY] {
        let Opcode::Data(kind) = opcode else { unreachable!() };
        let whole = frame(opcode, true, "xyz");
        let pieces = [frame(opcode, false, "x"), frame(MORE, false, ""), frame(MORE, true, "yz")].concat();
        for bytes in [whole, pieces] {
            assert_eq!(received(&bytes), (vec![Seen::Message(kind, b"xyz".to_vec())], None));
        }
    }
}

#[test]
fn rfc6455_5_4_10_fragments_are_of_the_type_that_the_first_one_names() {
    for (kind, opcode) in [(Kind::Text, TEXT), (Kind::Binary, BINARY)] {
        let bytes = [frame(opcode, false, "a"), frame(MORE, true, "b")].concat();
        assert_eq!(received(&bytes).0, [Seen::Message(kind, b"ab".to_vec())]);
    }
}

#[test]
fn rfc6455_5_5_1_a_control_frame_above_125_bytes_fails_the_connection_and_none_is_sent() {
    for first in [0x88, 0x89, 0x8A] {
        assert_eq!(code(&[first, 126, 0, 126]), Some(1002));
        assert_eq!(code(&[first, 127]), Some(1002), "seen before the length");
    }
    for control in [Control::Ping, Control::Pong, Control::Close] {
        assert_eq!(control_frame(control, &[b'x'; 126], Some([0; 4])).len(), 2 + 4 + 125);
    }
    let wordy = close_frame(Some(CloseCode::NORMAL), &"\u{fc}".repeat(62), Some([0; 4]));
    assert_eq!(wordy.len(), 2 + 4 + 2 + 122, "cut between characters");
}

#[test]
fn rfc6455_5_5_2_no_control_frame_of_a_client_is_fragmented() {
    for control in [Control::Ping, Control::Pong, Control::Close] {
        assert_eq!(control_frame(control, b"x", Some([0; 4]))[0] & 0x80, 0x80);
    }
    for opcode in [CLOSE, PING, PONG] {
        assert_eq!(code(&frame(opcode, false, "")[..2]), Some(1002), "{opcode:?}");
    }
}

#[test]
fn rfc6455_5_5_1_1_the_body_of_a_close_begins_with_its_code() {
    assert_eq!(code(&frame(CLOSE, true, [3])), Some(1002));
    let closed = received(&frame(CLOSE, true, b"\x0B\xB8reason"));
    assert_eq!(closed, (vec![Seen::Close(Some(CloseCode(3000)), "reason".into())], None));
    let bytes = close_frame(Some(CloseCode(3000)), "reason", Some([0; 4]));
    assert_eq!(bytes[6..], *b"\x0B\xB8reason");
}

#[test]
fn rfc6455_5_5_1_3_a_clients_close_is_masked() {
    let bytes = close_frame(Some(CloseCode::NORMAL), "", Some([0x55, 0xAA, 1, 2]));
    assert_eq!(bytes[..], [0x88, 0x82, 0x55, 0xAA, 1, 2, 0x03 ^ 0x55, 0xE8 ^ 0xAA]);
    assert_eq!(close_frame(None, "", Some([1; 4]))[..2], [0x88, 0x80], "an empty one, too");
}

#[test]
fn rfc6455_5_6_1_the_whole_of_a_text_message_is_utf8() {
    let good = "\u{fc}\u{20ac}\u{1d11e}";
    for cut in 0..=good.len() {
        let bytes = [frame(TEXT, false, &good.as_bytes()[..cut]), frame(MORE, true, &good.as_bytes()[cut..])];
        assert_eq!(
            received(&bytes.concat()),
            (vec![text(good)], None),
            "a fragment may hold half a character"
        );
    }
    for bad in [&b"\xFF"[..], b"a\xC3", b"\xED\xA0\x80", b"\xC0\x80", b"\xF4\x90\x80\x80"] {
        assert_eq!(code(&frame(TEXT, true, bad)), Some(1007));
        assert_eq!(code(&[frame(TEXT, false, bad), frame(MORE, true, "")].concat()), Some(1007));
    }
}

#[test]
fn rfc6455_6_1_2_a_message_is_encapsulated_in_a_frame() {
    for size in SIZES {
        let payload: Vec<u8> = (0..size).map(|byte| (byte % 251) as u8).collect();
        assert_eq!(sent(BINARY, true, &payload).1, [Seen::Message(Kind::Binary, payload)]);
    }
}

#[test]
fn rfc6455_6_1_3_the_opcode_says_whether_it_is_text_or_binary() {
    assert_eq!(sent(TEXT, true, b"x").0[0] & 15, 1);
    assert_eq!(sent(BINARY, true, b"x").0[0] & 15, 2);
}

#[test]
fn rfc6455_6_1_4_the_last_frame_is_final() {
    assert_eq!(sent(TEXT, true, b"x").0[0] & 0x80, 0x80);
    assert_eq!(sent(TEXT, false, b"x").0[0] & 0x80, 0, "and no other");
}

#[test]
fn rfc6455_6_1_5_the_frames_of_a_client_are_masked() {
    let mut frames = Vec::new();
    for (opcode, is_final, key) in [(TEXT, false, [1; 4]), (MORE, false, [2; 4]), (MORE, true, [3; 4])] {
        encode_frame(&mut frames, opcode, is_final, b"part", Some(key));
    }
    let (seen, violation) = codec_frames::decode_pieces(Role::Server, &LIMITS, [&frames[..]]);
    assert_eq!((seen, violation), (vec![text("partpartpart")], None));
}

#[test]
fn rfc6455_6_2_1_what_comes_is_frames_however_it_is_split() {
    let stream = [frame(TEXT, true, "one"), frame(BINARY, true, [7; 200]), frame(PING, true, "?")].concat();
    let expected = received(&stream);
    assert_eq!(expected.0.len(), 3);
    for step in [1, 2, 3, 7] {
        let pieces = stream.chunks(step);
        assert_eq!(codec_frames::decode_pieces(Role::Client, &LIMITS, pieces), (expected.0.clone(), None));
    }
}

#[test]
fn rfc6455_6_2_2_control_frames_are_told_from_messages() {
    let bytes = [frame(PING, true, "1"), frame(PONG, true, "2"), frame(CLOSE, true, "")].concat();
    let expected =
        vec![Seen::Ping(b"1".to_vec()), Seen::Pong(b"2".to_vec()), Seen::Close(None, String::new())];
    assert_eq!(received(&bytes), (expected, None));
}

#[test]
fn rfc6455_6_2_3_the_type_of_a_message_is_told() {
    for (kind, opcode) in [(Kind::Text, TEXT), (Kind::Binary, BINARY)] {
        assert_eq!(received(&frame(opcode, true, "x")).0, [Seen::Message(kind, b"x".to_vec())]);
    }
}

#[test]
fn rfc6455_6_2_4_data_behind_a_message_begins_a_new_one() {
    let bytes = [frame(TEXT, false, "a"), frame(MORE, true, "b"), frame(BINARY, true, "c")].concat();
    assert_eq!(received(&bytes), (vec![text("ab"), Seen::Message(Kind::Binary, b"c".to_vec())], None));
}

#[test]
fn rfc6455_7_1_7_3_nothing_is_processed_after_a_failure() {
    let mut codec = Codec::new(Role::Client);
    let mut seen = Vec::new();
    assert!(codec_frames::feed(&mut codec, &LIMITS, &[0xF1, 0], &mut seen).is_err());
    for late in [frame(TEXT, true, "late"), frame(CLOSE, true, "")] {
        let again = codec_frames::feed(&mut codec, &LIMITS, &late, &mut seen).unwrap_err();
        assert_eq!(again.code, CloseCode::PROTOCOL_ERROR);
    }
    assert!(seen.is_empty());
    assert_eq!(codec.buffered(), 0);
}

/// A code that may not be sent fails who sends it, and is left out of our own Close.
fn reserved(reserved: u16) {
    assert_eq!(code(&frame(CLOSE, true, reserved.to_be_bytes())), Some(1002));
    assert_eq!(close_frame(Some(CloseCode(reserved)), "reason", Some([0; 4]))[..], [0x88, 0x80, 0, 0, 0, 0]);
}

#[test]
fn rfc6455_7_4_1_1_code_1005_is_not_sent() {
    reserved(1005);
}

#[test]
fn rfc6455_7_4_1_2_code_1006_is_not_sent() {
    reserved(1006);
}

#[test]
fn rfc6455_7_4_1_3_code_1015_is_not_sent() {
    reserved(1015);
}

#[test]
fn rfc6455_8_1_1_text_that_is_no_utf8_fails_the_connection_as_soon_as_it_shows() {
    // The header of a frame of 1,000 bytes, and the first of them.
    assert_eq!(code(b"\x01\x7E\x03\xE8good \xFF"), Some(1007));
    assert_eq!(code(&frame(CLOSE, true, b"\x03\xE8\xFF")), Some(1007), "a reason is text, too");
}

#[test]
fn rfc6455_10_4_1_the_size_of_frames_and_messages_is_bounded() {
    let limits = CodecLimits { max_message_size: 1_000, max_frame_size: 600, max_fragments: 3 };
    let too_big = |bytes: &[u8]| {
        let (_, violation) = codec_frames::decode_pieces(Role::Client, &limits, [bytes]);
        violation.map(|violation| violation.code.0)
    };
    assert_eq!(too_big(&[&[0x82, 127][..], &(1_u64 << 60).to_be_bytes()].concat()), Some(1009));
    assert_eq!(too_big(&frame(BINARY, true, [0; 601])[..4]), Some(1009));
    let sum = [frame(BINARY, false, [0; 600]), frame(MORE, true, [0; 401])].concat();
    assert_eq!(too_big(&sum), Some(1009));
    let many = [frame(BINARY, false, ""), frame(MORE, false, "").repeat(3)].concat();
    assert_eq!(too_big(&many), Some(1008));
    assert_eq!(too_big(&[frame(BINARY, false, [0; 600]), frame(MORE, true, [0; 400])].concat()), None);
}

proptest::proptest! {
    #[test]
    fn rfc6455_10_7_1_whatever_comes_is_validated(
        noise in proptest::collection::vec(proptest::num::u8::ANY, 0..2_000),
        step in 1_usize..50,
    ) {
        let (seen, violation) = codec_frames::decode_pieces(Role::Client, &LIMITS, noise.chunks(step));
        if let Some(violation) = violation {
            assert!([1002, 1007, 1008, 1009].contains(&violation.code.0));
        }
        for one in seen {
            if let Seen::Message(Kind::Text, payload) = one {
                assert!(std::str::from_utf8(&payload).is_ok());
            }
        }
    }
}

//! What is compressed is inflated again, whatever is in it and however it is cut; what is no stream of its own is
//! refused, and nothing grows beyond its limit.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)] // a test may fail

mod codec_frames;

use codec_frames::*;
use proptest::prelude::*;
use streamconductor_core::codec::{Codec, CodecLimits, Kind, Role, encode_message};
use streamconductor_core::deflate::{Compressor, InflateError, Inflater, WindowBits};

const MANY: usize = 1 << 24;

fn windows() -> impl Iterator<Item = WindowBits> {
    (9..=15).filter_map(WindowBits::new)
}

/// What a compressor makes of `payload`, without the header; `None`: it does not shrink.
fn deflated(bits: WindowBits, payload: &[u8]) -> Option<Vec<u8>> {
    let mut out = b"before".to_vec();
    let is_smaller = Compressor::new(bits).encode_message(&mut out, Kind::Binary, payload);
    assert!(out.starts_with(b"before"));
    if !is_smaller {
        assert_eq!(out, b"before", "nothing is left of what was tried");
        return None;
    }
    let frame = &out[6..];
    assert_eq!(frame[0], 0xC2, "FIN, RSV1, binary");
    let (length, start) = match frame[1] {
        126 => (usize::from(u16::from_be_bytes([frame[2], frame[3]])), 4),
        127 => (u64::from_be_bytes(frame[2..10].try_into().unwrap()) as usize, 10),
        short => (usize::from(short), 2),
    };
    assert_eq!(frame.len(), start + length);
    Some(frame[start..].to_vec())
}

fn inflate(compressed: &[u8]) -> Result<Vec<u8>, InflateError> {
    Inflater::new().inflate(compressed, MANY)
}

/// Bytes that no compressor makes smaller.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
    .take(count)
    .collect()
}

#[test]
fn section_7_2_3_the_examples_byte_by_byte() {
    let mut inflater = Inflater::new();
    let mut says = |compressed: &[u8], message: &[u8]| {
        assert_eq!(inflater.inflate(compressed, MANY).as_deref(), Ok(message), "{compressed:x?}");
    };
    // 7.2.3.1: one compressed block.
    let hello = [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
    says(&hello, b"Hello");
    // 7.2.3.3: a block without compression.
    says(&[0x00, 0x05, 0x00, 0xFA, 0xFF, 0x48, 0x65, 0x6C, 0x6C, 0x6F, 0x00], b"Hello");
    // 7.2.3.4: a block with BFINAL set.
    says(&[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00], b"Hello");
    // 7.2.3.5: two blocks in one message.
    says(&[0xF2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xCA, 0xC9, 0xC9, 0x07, 0x00], b"Hello");
    // 7.2.3.6: an empty message.
    says(&[0x00], b"");
    // 7.2.3.2: the second message shares the window of the first, which we never agree to (F24).
    assert_eq!(inflater.inflate(&[0xF2, 0x00, 0x11, 0x00, 0x00], MANY), Err(InflateError::Corrupt));
    assert_eq!(inflater.inflate(&hello, MANY).as_deref(), Ok(&b"Hello"[..]), "a bad message spoils no other");
}

#[test]
fn section_7_2_3_1_the_frames_of_the_examples() {
    let decode = |bytes: &[u8]| {
        let mut codec = Codec::new(Role::Client);
        codec.accept_compressed();
        let mut seen = Vec::new();
        feed(&mut codec, &LIMITS, bytes, &mut seen).map(|()| seen)
    };
    let hello = vec![Seen::Message(Kind::Text, b"Hello".to_vec())];
    let whole = [0xC1, 0x07, 0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
    assert_eq!(decode(&whole), Ok(hello.clone()));
    let fragments = [0x41, 0x03, 0xF2, 0x48, 0xCD, 0x80, 0x04, 0xC9, 0xC9, 0x07, 0x00];
    assert_eq!(decode(&fragments), Ok(hello));
}

#[test]
fn blocks_that_call_themselves_the_last_may_end_a_message_or_not() {
    let last = [0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
    assert_eq!(inflate(&last).as_deref(), Ok(&b"Hello"[..]), "without the empty block that should follow");
    assert_eq!(inflate(&[last, last].concat()).as_deref(), Ok(&b"HelloHello"[..]));
    assert_eq!(
        inflate(&[&last[..], &[0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00]].concat()).unwrap(),
        b"HelloHello"
    );
    // What follows has the same window: five bytes from five back, a match of length 5 in fixed codes.
    let mut bits = Bits::default();
    bits.put(0b011, 3); // BFINAL, fixed codes
    bits.code(0b000_0011, 7); // length 5
    bits.code(4, 5); // distance 5 or 6,
    bits.put(0, 1); // of which 5
    bits.code(0, 7); // the end
    assert_eq!(inflate(&[&last[..], &bits.bytes()].concat()).as_deref(), Ok(&b"HelloHello"[..]));
    assert_eq!(inflate(&bits.bytes()), Err(InflateError::Corrupt), "alone it refers to nothing");
    // Each costs as much as a window, so there is an end of them.
    assert_eq!(inflate(&last.repeat(60)).unwrap(), b"Hello".repeat(60));
    assert_eq!(inflate(&[3, 0].repeat(500_000)), Err(InflateError::Corrupt));
}

/// Writes a deflate stream bit by bit.
#[derive(Default)]
struct Bits(Vec<bool>);

impl Bits {
    /// A number, its lowest bit first.
    fn put(&mut self, value: u32, count: u32) {
        self.0.extend((0..count).map(|bit| value >> bit & 1 == 1));
    }

    /// A Huffman code, its highest bit first.
    fn code(&mut self, value: u32, count: u32) {
        self.0.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
    }

    fn bytes(&self) -> Vec<u8> {
        let byte = |bits: &[bool]| bits.iter().enumerate().map(|(bit, one)| u8::from(*one) << bit).sum();
        self.0.chunks(8).map(byte).collect()
    }
}

#[test]
fn f24_what_is_no_whole_stream_of_its_own_is_corrupt() {
    assert_eq!(inflate(b""), Err(InflateError::Corrupt), "even an empty message has a byte");
    assert_eq!(inflate(&[0x06]), Err(InflateError::Corrupt), "a reserved kind of block");
    assert_eq!(inflate(&noise(100)), Err(InflateError::Corrupt));
    let payload = noise(200).repeat(5);
    let whole = deflated(WindowBits::MAX, &payload).unwrap();
    for end in 0..whole.len() {
        assert_eq!(inflate(&whole[..end]), Err(InflateError::Corrupt), "{end} of {} bytes", whole.len());
    }
    let mut changed = whole.clone();
    changed[0] ^= 0x06;
    assert_eq!(inflate(&changed), Err(InflateError::Corrupt));
}

#[test]
fn f23_a_message_is_as_long_as_the_limit_or_refused() {
    for size in [1, 1_000, 65_535, 65_536, 65_537, 200_000, 1 << 20] {
        let payload = vec![b'x'; size];
        let compressed = deflated(WindowBits::MAX, &payload)
            .unwrap_or_else(|| vec![0x00, 0x01, 0x00, 0xFE, 0xFF, b'x', 0x00]);
        let mut inflater = Inflater::new();
        assert_eq!(inflater.inflate(&compressed, size).as_ref(), Ok(&payload), "{size}");
        assert_eq!(inflater.inflate(&compressed, size - 1), Err(InflateError::TooBig), "{size}");
        assert_eq!(inflater.inflate(&compressed, 0), Err(InflateError::TooBig));
        assert_eq!(inflater.inflate(&compressed, usize::MAX).as_ref(), Ok(&payload), "{size}");
        assert_eq!((inflater.uses(), inflater.inflated().messages), (4, 2));
    }
}

#[test]
fn what_does_not_shrink_is_left_to_the_raw_frame() {
    for bits in windows() {
        for size in [0, 1, 2, 100, 125, 126, 127, 65_535, 65_536, 70_000] {
            assert_eq!(deflated(bits, &noise(size)), None);
            let compressed = deflated(bits, &vec![b'x'; size]);
            assert_eq!(compressed.is_some(), size > 8, "{size}");
        }
    }
}

/// A codec of a connection that negotiated permessage-deflate.
fn accepting(role: Role) -> Codec {
    let mut codec = Codec::new(role);
    codec.accept_compressed();
    codec
}

/// The client's frame with RSV1 set.
fn reserved(mut frame: Vec<u8>) -> Vec<u8> {
    frame[0] |= 0x40;
    frame
}

fn fails_with(bytes: &[u8], limits: &CodecLimits) -> Option<u16> {
    let mut codec = accepting(Role::Server);
    let violation = feed(&mut codec, limits, bytes, &mut Vec::new()).err();
    if violation.is_some() {
        assert_eq!(codec.buffered(), 0);
    }
    violation.map(|violation| violation.code.0)
}

#[test]
fn f2_rsv1_begins_compressed_messages_and_nothing_else() {
    let hello = [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
    assert_eq!(fails_with(&reserved(frame(TEXT, true, hello)), &LIMITS), None);
    assert_eq!(refused(&reserved(frame(TEXT, true, hello))), Some(1002), "unless it was negotiated");
    let begun = reserved(frame(TEXT, false, &hello[..3]));
    for opcode in [PING, PONG, CLOSE, MORE] {
        let bad = reserved(frame(opcode, true, ""));
        assert_eq!(fails_with(&bad, &LIMITS), Some(1002), "{opcode:?}");
        assert_eq!(fails_with(&[&begun[..], &bad].concat(), &LIMITS), Some(1002), "{opcode:?}");
    }
    assert_eq!(fails_with(&[&begun[..], &reserved(frame(TEXT, true, ""))].concat(), &LIMITS), Some(1002));
    for bits in [0x20, 0x10, 0x60, 0x50, 0x30] {
        assert_eq!(fails_with(&[0x81 | bits, 0x85], &LIMITS), Some(1002));
    }
    for opcode in (3..=7).chain(11..=15) {
        assert_eq!(fails_with(&[0xC0 | opcode, 0x80], &LIMITS), Some(1002), "opcode {opcode}");
    }
}

#[test]
fn f24_codes_of_what_cannot_be_inflated() {
    let limits = CodecLimits { max_message_size: 1_000, ..LIMITS };
    let bomb = deflated(WindowBits::MAX, &vec![0; 1_001]).unwrap();
    let fits = deflated(WindowBits::MAX, &vec![0; 1_000]).unwrap();
    let not_text = deflated(WindowBits::MAX, &[0xFF; 100]).unwrap();
    for (payload, code) in [
        (bomb, Some(1009)),
        (fits, None),
        (not_text, Some(1007)),
        (vec![0x06], Some(1007)),
        (vec![], Some(1007)),
        (vec![0xF2, 0x00, 0x11, 0x00, 0x00], Some(1007)),
    ] {
        assert_eq!(fails_with(&reserved(frame(TEXT, true, &payload)), &limits), code, "{payload:x?}");
        let (first, second) = payload.split_at(payload.len() / 2);
        let pieces = [reserved(frame(TEXT, false, first)), frame(MORE, true, second)].concat();
        assert_eq!(fails_with(&pieces, &limits), code, "{payload:x?}");
    }
    // What is compressed obeys the limits of frames and messages as it comes, before anything is inflated.
    assert_eq!(fails_with(&reserved(frame(TEXT, true, [0; 1_001]))[..8], &limits), Some(1009));
    let first = reserved(frame(TEXT, false, [0; 600]));
    assert_eq!(fails_with(&[first, frame(MORE, true, [0; 600])].concat(), &limits), Some(1009));
}

#[test]
fn nobody_inflates_for_nobody() {
    let mut codec = accepting(Role::Server);
    let mut input = reserved(frame(TEXT, true, [0x06]));
    let (item, _) = codec.decode_with(&LIMITS, None, &mut input).unwrap();
    assert_eq!(item.map(Seen::from), Some(Seen::Message(Kind::Text, Vec::new())));
}

#[derive(Clone, Debug)]
struct Sent {
    payload: Vec<u8>,
    kind: Kind,
    window: u8,
    is_compressed: bool,
    cuts: Vec<prop::sample::Index>,
}

fn sent() -> impl Strategy<Value = Sent> {
    let json = (1_usize..400, any::<u16>()).prop_map(|(count, start)| {
        let item =
            |number: usize| format!("{{\"id\":{},\"price\":{}}},", number * 7, usize::from(start) ^ number);
        (Kind::Text, (0..count).map(item).collect::<String>().into_bytes())
    });
    let text = "[a-e€𝄞ü ]{0,300}".prop_map(|text| (Kind::Text, text.into_bytes()));
    let bytes = prop::collection::vec(0_u8..4, 0..3_000).prop_map(|bytes| (Kind::Binary, bytes));
    let large =
        (any::<u8>(), 60_000_usize..150_000).prop_map(|(byte, size)| (Kind::Binary, vec![byte; size]));
    (
        prop_oneof![6 => json, 6 => text, 4 => bytes, 1 => large],
        9_u8..=15,
        any::<bool>(),
        prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    )
        .prop_map(|((kind, payload), window, is_compressed, cuts)| Sent {
            payload,
            kind,
            window,
            is_compressed,
            cuts,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn messages_in_any_fragments_and_any_pieces_come_out_as_they_were(
        messages in prop::collection::vec(sent(), 1..6),
        sizes in prop::collection::vec(prop_oneof![3 => 1_usize..20, 2 => 1_usize..2_000, 1 => Just(65_536)], 1..20),
        role in prop_oneof![Just(Role::Server), Just(Role::Client)],
    ) {
        let (mut bytes, mut expected, mut compressed) = (Vec::new(), Vec::new(), 0);
        for Sent { payload, kind, window, is_compressed, cuts } in &messages {
            expected.push(Seen::Message(*kind, payload.clone()));
            let opcode = if *kind == Kind::Text { TEXT } else { BINARY };
            let deflated = deflated(WindowBits::new(*window).unwrap(), payload).filter(|_| *is_compressed);
            compressed += u64::from(deflated.is_some());
            let on_the_wire = deflated.as_ref().unwrap_or(payload);
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(on_the_wire.len() + 1)).collect();
            ends.sort_unstable();
            ends.push(on_the_wire.len());
            let mut start = 0;
            for (number, end) in ends.iter().enumerate() {
                let (opcode, is_final) = (if number == 0 { opcode } else { MORE }, number + 1 == ends.len());
                let mut frame = frame_towards(role, opcode, is_final, &on_the_wire[start..*end]);
                if number == 0 && deflated.is_some() {
                    frame = reserved(frame);
                }
                bytes.extend(frame);
                start = *end;
            }
        }
        let (mut codec, mut inflater, mut seen) = (accepting(role), Inflater::new(), Vec::new());
        let mut left = &bytes[..];
        for size in sizes.iter().cycle() {
            if left.is_empty() {
                break;
            }
            let (piece, after) = left.split_at((*size).min(left.len()));
            let mut input = piece.to_vec();
            let mut rest = &mut input[..];
            while !rest.is_empty() {
                let (item, after) = codec.decode_with(&LIMITS, Some(&mut inflater), rest).unwrap();
                rest = after;
                seen.extend(item.map(Seen::from));
            }
            left = after;
        }
        prop_assert_eq!(seen, expected);
        prop_assert_eq!(inflater.inflated().messages, compressed);
        prop_assert_eq!((codec.is_mid_message(), codec.buffered()), (false, 0));
    }

    #[test]
    fn any_bytes_are_inflated_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        limit in 0_usize..3_000,
    ) {
        let mut inflater = Inflater::new();
        let first = inflater.inflate(&bytes, limit);
        if let Ok(message) = &first {
            prop_assert!(message.len() <= limit);
        }
        prop_assert_eq!(inflater.inflate(&bytes, limit), first, "nothing is remembered");
    }

    #[test]
    fn a_compressed_frame_is_shorter_than_the_raw_one(
        payload in prop::collection::vec(0_u8..8, 0..2_000), window in 9_u8..=15,
    ) {
        let (mut raw, mut out) = (Vec::new(), Vec::new());
        encode_message(&mut raw, Kind::Binary, &payload);
        if Compressor::new(WindowBits::new(window).unwrap()).encode_message(&mut out, Kind::Binary, &payload) {
            prop_assert!(out.len() < raw.len());
        }
    }
}

//! The same bytes mean the same, however the network cuts them.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)] // a test may fail

mod codec_frames;

use codec_frames::*;
use proptest::prelude::*;
use streamconductor_core::close::CloseCode;
use streamconductor_core::codec::{Codec, CodecLimits, Kind, Opcode, Role, close_frame, encode_message};

/// Streams that reach every rule and every kind of item, at every width of the length.
fn streams() -> Vec<Vec<u8>> {
    let start = [frame(TEXT, true, "first"), frame(TEXT, false, "é")].concat();
    let endings = [
        [frame(PING, true, "p"), frame(MORE, false, [b'x'; 126]), frame(MORE, true, "é")].concat(),
        [frame(MORE, true, ""), frame(BINARY, true, [3; 300]), frame(CLOSE, true, b"\x0F\xA0bye")].concat(),
        [frame(MORE, true, [b'y'; 1_000])].concat(),
        frame(MORE, true, "é".repeat(40).as_bytes().split_last().unwrap().1),
        frame(MORE, false, b"zz\xED\xA0zz"),
        frame(TEXT, true, "inside"),
        [frame(PONG, true, [1; 125]), frame(PING, false, "")].concat(),
        frame(CLOSE, true, [3]),
        frame(CLOSE, true, b"\x03\xED"),
        frame(CLOSE, true, b"\x03\xE8\xFF"),
        header(0x80, 127, 1 << 63),
        header(0x80, 127, 1 << 40),
        header(0x80, 126, 125),
        header(0x80, 126, 1_999),
        header(0x83, 5, 5),
        header(0xC0, 5, 5),
        vec![0x80, 0x05],
        frame(MORE, false, "").repeat(12),
    ];
    endings.into_iter().map(|ending| [start.clone(), ending].concat()).collect()
}

const TIGHT: CodecLimits = CodecLimits { max_message_size: 1_200, max_frame_size: 1_998, max_fragments: 10 };

#[test]
fn every_stream_split_at_any_byte_or_into_equal_pieces_gives_what_it_gives_unsplit() {
    for bytes in streams() {
        let expected = decode_pieces(Role::Server, &TIGHT, [&bytes[..]]);
        for cut in 0..=bytes.len() {
            let (first, second) = bytes.split_at(cut);
            assert_eq!(decode_pieces(Role::Server, &TIGHT, [first, second]), expected, "cut at {cut}");
        }
        for size in 1..40 {
            assert_eq!(decode_pieces(Role::Server, &TIGHT, bytes.chunks(size)), expected, "pieces of {size}");
        }
    }
}

#[derive(Clone, Debug)]
struct Sent {
    kind: Kind,
    payload: Vec<u8>,
    /// Where the payload is cut into frames.
    cuts: Vec<prop::sample::Index>,
    /// Pings between those frames.
    pings: Vec<Vec<u8>>,
}

fn sent() -> impl Strategy<Value = Sent> {
    let text = "[a-z€𝄞ü ]{0,200}".prop_map(|text| (Kind::Text, text.into_bytes()));
    let small = prop::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| (Kind::Binary, bytes));
    let large = (any::<u8>(), 65_000_usize..70_000).prop_map(|(byte, size)| (Kind::Binary, vec![byte; size]));
    (
        prop_oneof![8 => text, 4 => small, 1 => large],
        prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..126), 0..3),
    )
        .prop_map(|((kind, payload), cuts, pings)| Sent { kind, payload, cuts, pings })
}

/// The bytes that a peer of `role` gets, and what it must see.
fn on_the_wire(role: Role, messages: &[Sent]) -> (Vec<u8>, Vec<Seen>) {
    let (mut bytes, mut expected) = (Vec::new(), Vec::new());
    for Sent { kind, payload, cuts, pings } in messages {
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(payload.len() + 1)).collect();
        ends.sort_unstable();
        ends.push(payload.len());
        let (mut start, mut pings) = (0, pings.iter());
        for (number, end) in ends.iter().enumerate() {
            let opcode = if number == 0 { Opcode::Data(*kind) } else { MORE };
            let is_final = number + 1 == ends.len();
            bytes.extend(frame_towards(role, opcode, is_final, &payload[start..*end]));
            start = *end;
            if let Some(ping) = pings.next().filter(|_| !is_final) {
                bytes.extend(frame_towards(role, PING, true, ping));
                expected.push(Seen::Ping(ping.clone()));
            }
        }
        expected.push(Seen::Message(*kind, payload.clone()));
    }
    (bytes, expected)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_one_role_sends_the_other_receives_in_any_pieces(
        messages in prop::collection::vec(sent(), 0..6),
        sizes in prop::collection::vec(prop_oneof![3 => 1_usize..20, 2 => 1_usize..2_000, 1 => Just(65_536)], 1..20),
        role in prop_oneof![Just(Role::Server), Just(Role::Client)],
    ) {
        let (bytes, expected) = on_the_wire(role, &messages);
        let (mut codec, mut seen, mut rest) = (Codec::new(role), Vec::new(), &bytes[..]);
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            feed(&mut codec, &LIMITS, piece, &mut seen).unwrap();
            rest = after;
        }
        prop_assert_eq!(seen, expected);
        prop_assert!(!codec.is_mid_message());
        prop_assert_eq!(codec.buffered(), 0);
    }

    #[test]
    fn what_the_server_encodes_the_client_decodes(
        messages in prop::collection::vec(sent(), 0..6),
        code in prop_oneof![1000_u16..1020, 2990_u16..3010, any::<u16>()],
        reason in "[a-z€ü]{0,60}",
    ) {
        let mut bytes = Vec::new();
        for Sent { kind, payload, .. } in &messages {
            encode_message(&mut bytes, *kind, payload);
        }
        bytes.extend_from_slice(&close_frame(Some(CloseCode(code)), &reason, None));
        let (seen, violation) = decode_pieces(Role::Client, &LIMITS, [&bytes[..]]);
        prop_assert_eq!(violation, None, "a Close of ours never breaks a rule");
        let (close, received) = seen.split_last().unwrap();
        let sent: Vec<Seen> = messages.iter().map(|s| Seen::Message(s.kind, s.payload.clone())).collect();
        prop_assert_eq!(received, &sent[..]);
        let Seen::Close(received, kept) = close else { panic!("{close:?}") };
        let sendable = Some(CloseCode(code)).filter(|code| code.is_sendable());
        prop_assert_eq!(*received, sendable);
        prop_assert!(reason.starts_with(kept.as_str()));
        prop_assert!(sendable.is_none() || kept.len() == reason.len().min(kept.len()) && kept.len() + 3 > reason.len().min(123));
    }

    #[test]
    fn any_bytes_in_any_pieces_end_alike_and_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        role in prop_oneof![Just(Role::Server), Just(Role::Client)],
    ) {
        let whole = decode_pieces(role, &TIGHT, [&bytes[..]]);
        prop_assert_eq!(decode_pieces(role, &TIGHT, bytes.chunks(1)), whole.clone());
        prop_assert_eq!(decode_pieces(role, &TIGHT, bytes.chunks(7)), whole);
    }
}

//! Every rule that a peer can break, with the code it earns; names cite the rows of the reliability table.

mod codec_frames;

use codec_frames::*;
use streamconductor_core::close::CloseCode;
use streamconductor_core::codec::{Codec, CodecLimits, Item, Kind, Payload, Role};

#[test]
fn f1_an_unmasked_client_frame_and_a_masked_server_frame_are_1002() {
    assert_eq!(refused(b"\x81\x05Hello"), Some(1002));
    assert_eq!(refused(b"\x81\x05"), Some(1002), "seen before the payload");
    let (_, violation) = decode_pieces(Role::Client, &LIMITS, [&frame(TEXT, true, "Hello")[..]]);
    assert_eq!(violation.unwrap().code.0, 1002);
}

#[test]
fn f2_reserved_bits_are_1002() {
    for bit in [0x40, 0x20, 0x10] {
        assert_eq!(refused(&[0x81 | bit, 0x85]), Some(1002));
    }
}

#[test]
fn f3_reserved_opcodes_are_1002() {
    for opcode in (3..=7).chain(11..=15) {
        assert_eq!(refused(&[0x80 | opcode, 0x80]), Some(1002), "opcode {opcode}");
    }
}

#[test]
fn f4_a_control_frame_above_125_bytes_is_1002_at_its_header_without_memory() {
    for opcode in [8, 9, 10] {
        for header in [header(0x80 | opcode, 126, 126), header(0x80 | opcode, 127, 1 << 20)] {
            let mut codec = Codec::new(Role::Server);
            let violation = feed(&mut codec, &LIMITS, &header[..2], &mut Vec::new()).unwrap_err();
            assert_eq!((violation.code.0, codec.buffered()), (1002, 0));
        }
    }
    assert_eq!(refused(&frame(PING, true, [7; 125])), None);
}

#[test]
fn f5_a_fragmented_control_frame_is_1002() {
    for opcode in [CLOSE, PING, PONG] {
        assert_eq!(refused(&frame(opcode, false, "")[..2]), Some(1002));
    }
}

#[test]
fn f6_a_continuation_of_nothing_and_a_message_inside_a_message_are_1002() {
    assert_eq!(refused(&frame(MORE, true, "")), Some(1002));
    assert_eq!(refused(&[frame(TEXT, true, "a"), frame(MORE, true, "b")].concat()), Some(1002));
    for opcode in [TEXT, BINARY] {
        for is_final in [false, true] {
            assert_eq!(
                refused(&[frame(TEXT, false, "a"), frame(opcode, is_final, "b")].concat()),
                Some(1002)
            );
        }
    }
}

#[test]
fn f7_absurd_lengths_are_refused_without_memory() {
    for (length, code) in [(1 << 63 | 1, 1002), (u64::MAX, 1002), (i64::MAX as u64, 1009)] {
        let mut codec = Codec::new(Role::Server);
        let violation = feed(&mut codec, &LIMITS, &header(0x82, 127, length), &mut Vec::new()).unwrap_err();
        assert_eq!((violation.code.0, codec.buffered()), (code, 0));
    }
}

#[test]
fn f8_a_length_in_more_bytes_than_needed_is_1002() {
    for (short, length) in [(126, 0), (126, 125), (127, 0), (127, 125), (127, 126), (127, 65_535)] {
        assert_eq!(refused(&header(0x82, short, length)), Some(1002), "{length} as {short}");
    }
    for (short, length) in [(126, 126), (126, 65_535), (127, 65_536)] {
        assert_eq!(refused(&header(0x82, short, length)), None, "{length} as {short}");
    }
}

#[test]
fn f9_one_byte_above_the_limits_is_1009_at_the_header() {
    let limits = CodecLimits { max_frame_size: 1_000, ..LIMITS };
    let decode = |limits, bytes: &[u8]| decode_pieces(Role::Server, limits, [bytes]).1;
    assert_eq!(decode(&limits, &header(0x82, 126, 1_000)), None);
    let violation = decode(&limits, &header(0x82, 126, 1_001)).unwrap();
    assert_eq!((violation.code.0, &*violation.reason), (1009, "frame of 1001 bytes, max_frame_size 1000"));
    let limits = CodecLimits { max_message_size: 1_000, ..LIMITS };
    assert_eq!(decode(&limits, &header(0x82, 126, 1_000)), None);
    let violation = decode(&limits, &header(0x82, 126, 1_001)).unwrap();
    assert_eq!(violation.code.0, 1009);
    assert_eq!(&*violation.reason, "message of at least 1001 bytes, max_message_size 1000");
}

#[test]
fn f11_fragments_above_the_limit_together_are_1009_at_the_header_that_passes_it() {
    let limits = CodecLimits { max_message_size: 1_000, ..LIMITS };
    let start = frame(BINARY, false, [1; 600]);
    let exact = [start.clone(), frame(MORE, true, [2; 400])].concat();
    assert_eq!(decode_pieces(Role::Server, &limits, [&exact[..]]).0.len(), 1);
    let above = [start, header(0x80, 126, 401)].concat();
    assert_eq!(decode_pieces(Role::Server, &limits, [&above[..]]).1.unwrap().code.0, 1009);
}

#[test]
fn f12_more_frames_in_a_message_than_allowed_are_1008_empty_ones_included() {
    for payload in ["x", ""] {
        let mut codec = Codec::new(Role::Server);
        feed(&mut codec, &LIMITS, &frame(TEXT, false, payload), &mut Vec::new()).unwrap();
        let more = frame(MORE, false, payload);
        let failed = (2..=200_000).find_map(|count| {
            feed(&mut codec, &LIMITS, &more, &mut Vec::new()).err().map(|violation| (count, violation))
        });
        let (count, violation) = failed.unwrap();
        assert_eq!((count, violation.code.0), (1_025, 1008));
    }
    // The count begins anew with each message.
    let three = [frame(TEXT, false, ""), frame(MORE, false, ""), frame(MORE, true, "")].concat();
    let limits = CodecLimits { max_fragments: 3, ..LIMITS };
    let pieces = [three.repeat(2), frame(TEXT, true, "").repeat(4), three];
    let (seen, violation) = decode_pieces(Role::Server, &limits, pieces.iter().map(Vec::as_slice));
    assert_eq!((seen.len(), violation), (7, None));
}

#[test]
fn f15_text_that_is_not_utf8_is_1007_whole_and_in_fragments() {
    for bad in [&b"a\xFF"[..], b"\xC0\x80", b"\xED\xA0\x80", b"\xF4\x90\x80\x80", b"\xE2\x82", b"\x80"] {
        assert_eq!(refused(&frame(TEXT, true, bad)), Some(1007), "{bad:x?}");
        assert_eq!(refused(&frame(BINARY, true, bad)), None, "{bad:x?}");
        for cut in 0..=bad.len() {
            let parts = [frame(TEXT, false, &bad[..cut]), frame(MORE, true, &bad[cut..])].concat();
            assert_eq!(refused(&parts), Some(1007), "{bad:x?} cut at {cut}");
        }
    }
    assert_eq!(refused(&frame(CLOSE, true, b"\x03\xE8bye\xFF")), Some(1007));
    let euro =
        [frame(TEXT, false, b"\xE2"), frame(MORE, false, b"\x82"), frame(MORE, true, b"\xAC")].concat();
    assert_eq!(decode_pieces(Role::Server, &LIMITS, [&euro[..]]).0, [Seen::Message(Kind::Text, "€".into())]);
}

#[test]
fn f15_bad_utf8_fails_as_soon_as_it_can_not_become_valid_also_inside_a_frame() {
    // A frame of 1,000 bytes of which only the first few have come.
    let payload = [b"ab\xF4\x90".to_vec(), vec![b'x'; 996]].concat();
    let bytes = frame(TEXT, true, payload);
    let start = bytes.len() - 1_000;
    let mut codec = Codec::new(Role::Server);
    feed(&mut codec, &LIMITS, &bytes[..start + 3], &mut Vec::new()).unwrap();
    let violation = feed(&mut codec, &LIMITS, &bytes[start + 3..start + 4], &mut Vec::new()).unwrap_err();
    assert_eq!((violation.code.0, &*violation.reason), (1007, "text is not UTF-8 at byte 2"));
    assert_eq!(codec.buffered(), 0);
    // At the end of a fragment, with more announced.
    assert_eq!(refused(&frame(TEXT, false, b"\xED\xA0")), Some(1007));
    assert_eq!(refused(&frame(TEXT, false, b"\xED\x9F")), None);
}

#[test]
fn f17_close_codes_that_may_not_be_sent_and_half_codes_are_1002_the_others_come_through() {
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
        assert_eq!(refused(&frame(CLOSE, true, code.to_be_bytes())), Some(1002), "{code}");
    }
    assert_eq!(refused(&frame(CLOSE, true, [3])), Some(1002));
    for code in [1000_u16, 1001, 1003, 1007, 1011, 1014, 3000, 4999] {
        let bytes = frame(CLOSE, true, [&code.to_be_bytes()[..], "grüß".as_bytes()].concat());
        let seen = decode_pieces(Role::Server, &LIMITS, [&bytes[..]]).0;
        assert_eq!(seen, [Seen::Close(Some(CloseCode(code)), "grüß".into())]);
    }
    let seen = decode_pieces(Role::Server, &LIMITS, [&frame(CLOSE, true, "")[..]]).0;
    assert_eq!(seen, [Seen::Close(None, String::new())]);
}

#[test]
fn f28_one_byte_per_segment_is_accepted_and_cheap() {
    let text = "€".repeat(100_000);
    let bytes = frame(TEXT, true, &text);
    let (mut codec, mut seen, mut grown, mut before) = (Codec::new(Role::Server), Vec::new(), 0, 0);
    for byte in &bytes {
        feed(&mut codec, &LIMITS, &[*byte], &mut seen).unwrap();
        grown += usize::from(codec.buffered() > before);
        before = codec.buffered();
        assert!(before <= text.len(), "never more than the frame can need");
    }
    assert_eq!(seen, [Seen::Message(Kind::Text, text.into_bytes())]);
    assert!(grown <= 12, "grown {grown} times: copying must stay linear");
    assert_eq!(codec.buffered(), 0);
}

#[test]
fn f28_many_small_fragments_grow_the_assembly_a_few_times_only() {
    let (mut codec, mut grown, mut before) = (Codec::new(Role::Server), 0, 0);
    feed(&mut codec, &LIMITS, &frame(BINARY, false, [0; 1_000]), &mut Vec::new()).unwrap();
    for _ in 0..1_000 {
        feed(&mut codec, &LIMITS, &frame(MORE, false, [0; 1_000]), &mut Vec::new()).unwrap();
        grown += usize::from(codec.buffered() > before);
        before = codec.buffered();
        assert!(before <= LIMITS.max_message_size);
    }
    assert!(grown <= 12, "grown {grown} times");
}

#[test]
fn what_a_peer_declares_costs_nothing_until_it_sends_it() {
    let bytes = frame(BINARY, true, vec![0; 1 << 20]);
    let mut held = 0;
    for _ in 0..1_000 {
        let mut codec = Codec::new(Role::Server);
        feed(&mut codec, &LIMITS, &bytes[..15], &mut Vec::new()).unwrap();
        assert!(codec.is_mid_message());
        held += codec.buffered() + size_of::<Codec>();
    }
    assert!(held <= 1_000 * 576, "{held} bytes");
}

#[test]
fn an_idle_codec_is_small_and_holds_nothing() {
    assert!(size_of::<Codec>() <= 64, "{} bytes", size_of::<Codec>());
    let mut codec = Codec::new(Role::Server);
    assert!(!codec.is_mid_message());
    let bytes =
        [frame(TEXT, false, "a"), frame(PING, true, "b"), frame(MORE, true, "c"), frame(PING, true, "d")];
    for (index, byte) in bytes.concat().into_iter().enumerate() {
        feed(&mut codec, &LIMITS, &[byte], &mut Vec::new()).unwrap();
        let is_between = index + 1 == bytes[..3].concat().len() || index + 1 == bytes.concat().len();
        assert_eq!(codec.is_mid_message(), !is_between, "after byte {index}");
        if is_between {
            assert_eq!(codec.buffered(), 0);
        }
    }
}

#[test]
fn a_frame_complete_in_the_input_is_borrowed_from_it() {
    let mut bytes = [frame(TEXT, true, "Hello"), frame(PING, true, "now"), frame(BINARY, true, "")].concat();
    let range = bytes.as_ptr_range();
    let mut codec = Codec::new(Role::Server);
    let (item, rest) = codec.decode(&LIMITS, &mut bytes).unwrap();
    let Some(Item::Message { kind: Kind::Text, payload: Payload::Whole(text) }) = item else {
        panic!("{item:?}")
    };
    assert!(text == b"Hello" && range.contains(&text.as_ptr()));
    let (item, rest) = codec.decode(&LIMITS, rest).unwrap();
    assert!(matches!(item, Some(Item::Ping(Payload::Whole(b"now")))));
    let (item, rest) = codec.decode(&LIMITS, rest).unwrap();
    assert!(matches!(item, Some(Item::Message { kind: Kind::Binary, payload: Payload::Whole(b"") })));
    assert!(rest.is_empty() && codec.buffered() == 0);
}

#[test]
fn control_frames_come_through_between_and_inside_the_reads_of_a_fragmented_message() {
    let bytes = [
        frame(TEXT, false, b"\xE2\x82"),
        frame(PING, true, [9; 125]),
        frame(MORE, false, ""),
        frame(PONG, true, ""),
        frame(MORE, true, b"\xACuro"),
        frame(TEXT, true, ""),
        frame(CLOSE, true, b"\x03\xE8"),
    ]
    .concat();
    let expected = [
        Seen::Ping(vec![9; 125]),
        Seen::Pong(Vec::new()),
        Seen::Message(Kind::Text, "€uro".into()),
        Seen::Message(Kind::Text, Vec::new()),
        Seen::Close(Some(CloseCode::NORMAL), String::new()),
    ];
    for size in 1..=bytes.len() {
        assert_eq!(
            decode_pieces(Role::Server, &LIMITS, bytes.chunks(size)),
            (expected.to_vec(), None),
            "{size}"
        );
    }
}

#[test]
fn after_a_violation_the_codec_is_dead() {
    let mut codec = Codec::new(Role::Server);
    feed(&mut codec, &LIMITS, &frame(TEXT, false, "Hello"), &mut Vec::new()).unwrap();
    let first = feed(&mut codec, &LIMITS, &frame(TEXT, true, "again"), &mut Vec::new()).unwrap_err();
    let mut seen = Vec::new();
    assert_eq!(feed(&mut codec, &LIMITS, &frame(MORE, true, "fine"), &mut seen), Err(first.clone()));
    assert_eq!(feed(&mut codec, &LIMITS, b"", &mut seen), Err(first));
    assert!(seen.is_empty() && codec.buffered() == 0 && !codec.is_mid_message());
}

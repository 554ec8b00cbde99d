//! Tungstenite as the oracle: both accept the same streams with the same messages and refuse the same,
//! except where ours is stricter or the close codes differ, each exception named here.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)] // a test may fail

mod codec_frames;

use std::io::{self, Cursor, Read, Write};

use codec_frames::*;
use proptest::prelude::*;
use streamconductor_core::close::CloseCode;
use streamconductor_core::codec::{CodecLimits, Kind, Role, Violation};
use tungstenite::error::Error;
use tungstenite::protocol::{Role as OracleRole, WebSocketConfig};
use tungstenite::{Message, WebSocket};

const SMALL: CodecLimits =
    CodecLimits { max_message_size: 900, max_frame_size: 700, max_fragments: u32::MAX };

/// A peer that sent these bytes and then is silent.
struct Peer(Cursor<Vec<u8>>);

impl Read for Peer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            read => Ok(read),
        }
    }
}

impl Write for Peer {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the oracle saw up to the peer's Close, and the code of its refusal.
fn oracle(role: Role, bytes: &[u8], buffer: usize) -> (Vec<Seen>, Option<u16>) {
    let config = WebSocketConfig::default()
        .read_buffer_size(buffer)
        .max_message_size(Some(SMALL.max_message_size))
        .max_frame_size(Some(SMALL.max_frame_size));
    let role = match role {
        Role::Server => OracleRole::Server,
        Role::Client => OracleRole::Client,
    };
    let mut socket = WebSocket::from_raw_socket(Peer(Cursor::new(bytes.to_vec())), role, Some(config));
    let mut seen = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => seen.push(Seen::Message(Kind::Text, text.as_bytes().to_vec())),
            Ok(Message::Binary(bytes)) => seen.push(Seen::Message(Kind::Binary, bytes.to_vec())),
            Ok(Message::Ping(bytes)) => seen.push(Seen::Ping(bytes.to_vec())),
            Ok(Message::Pong(bytes)) => seen.push(Seen::Pong(bytes.to_vec())),
            // How it reports a code that may not be sent; its reason is longer than any generated one.
            Ok(Message::Close(Some(close))) if &*close.reason == "Protocol violation" => {
                return (seen, Some(1002));
            }
            Ok(Message::Close(close)) => {
                let code = close.as_ref().map(|close| CloseCode(close.code.into()));
                let reason = close.map(|close| close.reason.to_string()).unwrap_or_default();
                seen.push(Seen::Close(code, reason));
                return (seen, None);
            }
            Ok(Message::Frame(_)) => unreachable!("never read"),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return (seen, None),
            Err(Error::Protocol(_)) => return (seen, Some(1002)),
            Err(Error::Utf8(_)) => return (seen, Some(1007)),
            Err(Error::Capacity(_)) => return (seen, Some(1009)),
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// What ours saw up to the peer's Close.
fn ours(role: Role, bytes: &[u8], buffer: usize) -> (Vec<Seen>, Option<Violation>) {
    let (mut seen, violation) = decode_pieces(role, &SMALL, bytes.chunks(buffer));
    match seen.iter().position(|seen| matches!(seen, Seen::Close(..))) {
        Some(end) => {
            seen.truncate(end + 1);
            (seen, None)
        }
        None => (seen, violation),
    }
}

fn compare(role: Role, bytes: &[u8], buffer: usize) -> Result<(), TestCaseError> {
    let (seen, violation) = ours(role, bytes, buffer);
    let Some(violation) = violation else {
        let (expected, code) = oracle(role, bytes, buffer);
        if let (Some(Seen::Close(Some(CloseCode(1014)), _)), Some(1002)) = (seen.last(), code) {
            // Registered after the oracle's list was written.
            prop_assert_eq!(&seen[..seen.len() - 1], &expected[..]);
            return Ok(());
        }
        prop_assert_eq!(code, None, "the oracle refuses what we accept");
        prop_assert_eq!(seen, expected);
        return Ok(());
    };
    // We may refuse before the frame is complete. Complete it with zeros: the oracle must then refuse too,
    // without having delivered anything more.
    let mut completed = bytes.to_vec();
    completed.resize(bytes.len() + 2_000, 0);
    let (expected, code) = oracle(role, &completed, buffer);
    if ["fewest bytes", "more than 125 bytes"].iter().any(|strict| violation.reason.contains(strict)) {
        // The oracle takes lengths in any width, in control frames too, and goes on.
        prop_assert!(expected.starts_with(&seen));
        return Ok(());
    }
    prop_assert_eq!(seen, expected, "after {}", violation);
    let is_agreed = code == Some(violation.code.0)
        // It looks at the size of a frame before anything else, and at the reason before the code.
        || (violation.code.0 == 1002 && code == Some(1009))
        || (violation.reason.starts_with("close code") && code == Some(1007));
    prop_assert!(is_agreed, "{} ({:?}), the oracle {:?}", violation, violation.code, code);
    Ok(())
}

/// One frame, most often a good one.
fn raw_frame(masked: bool) -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop_oneof![4 => Just(0_u8), 6 => Just(1), 3 => Just(2), 1 => Just(8), 2 => Just(9), 1 => Just(10), 1 => 0_u8..16];
    let payload = prop_oneof![
        6 => "[a-z€𝄞ü]{0,12}".prop_map(String::into_bytes),
        2 => ("[€𝄞ü]{1,4}", any::<prop::sample::Index>(), any::<bool>()).prop_map(|(text, cut, is_head)| {
            let (head, tail) = text.as_bytes().split_at(cut.index(text.len()));
            if is_head { head.to_vec() } else { tail.to_vec() }
        }),
        2 => prop::collection::vec(any::<u8>(), 0..8),
        1 => (990_u16..1020, "[a-zü]{0,5}").prop_map(|(code, reason)| [&code.to_be_bytes()[..], reason.as_bytes()].concat()),
        1 => (prop_oneof![2995_u16..3005, 4995_u16..5005, any::<u16>()]).prop_map(|code| code.to_be_bytes().to_vec()),
        2 => (100_usize..800).prop_map(|size| vec![b'x'; size]),
    ];
    let reserved = prop_oneof![60 => Just(0_u8), 1 => 1_u8..8];
    let width = prop_oneof![60 => Just(0_u8), 1 => Just(126), 1 => Just(127)];
    let right_mask = prop::bool::weighted(0.99);
    (prop::bool::weighted(0.7), reserved, opcode, right_mask, width, any::<[u8; 4]>(), payload).prop_map(
        move |(is_final, reserved, opcode, right_mask, width, key, payload)| {
            let masked = masked == right_mask;
            let mask_bit = if masked { 0x80 } else { 0 };
            let length = payload.len();
            let mut out = vec![u8::from(is_final) << 7 | reserved << 4 | opcode];
            if width == 127 {
                out.push(mask_bit + 127);
                out.extend_from_slice(&(length as u64).to_be_bytes());
            } else if width == 126 || length > 125 {
                out.push(mask_bit + 126);
                out.extend_from_slice(&(length as u16).to_be_bytes());
            } else {
                out.push(mask_bit + length as u8);
            }
            if masked {
                out.extend_from_slice(&key);
            }
            out.extend(
                payload
                    .iter()
                    .zip(key.iter().cycle())
                    .map(|(byte, key)| if masked { byte ^ key } else { *byte }),
            );
            out
        },
    )
}

fn streams(masked: bool) -> impl Strategy<Value = Vec<u8>> {
    let damage = prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>()));
    let cut = prop::option::weighted(0.3, any::<prop::sample::Index>());
    (prop::collection::vec(raw_frame(masked), 1..10), damage, cut).prop_map(|(frames, damage, cut)| {
        let mut bytes = frames.concat();
        if let Some((place, byte)) = damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_server_agrees_with_the_oracle(bytes in streams(true), buffer in 16_usize..600) {
        compare(Role::Server, &bytes, buffer)?;
    }

    #[test]
    fn a_client_agrees_with_the_oracle(bytes in streams(false), buffer in 16_usize..600) {
        compare(Role::Client, &bytes, buffer)?;
    }
}

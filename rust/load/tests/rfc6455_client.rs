//! RFC 6455 §5 to §7, a whole client, the one that plays the cases of fuzzing servers: each MUST by its number, against
//! a server that says exactly what a test wants.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "functions that only tests call may fail as a test does"
)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use streamconductor_core::codec::{Codec, CodecLimits, Item, Role};
use streamconductor_load::conformance::{Conformance, run};

const HEAD: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const LIMITS: CodecLimits =
    CodecLimits { max_message_size: 1 << 20, max_frame_size: 1 << 20, max_fragments: 10 };
const CLOSE: &[u8] = b"\x88\x02\x03\xE8";

/// What a client said.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Message(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

/// Takes a connection and shakes hands.
fn accept(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    stream.write_all(HEAD).unwrap();
    stream
}

/// Plays one case that consists of what the server says, and hands out what the client said to it.
fn play(says: &[u8]) -> Vec<Said> {
    play_with(says, true)
}

/// The same. `ends`: the server ends its direction, as it should; else it leaves that to the client, for ever.
fn play_with(says: &[u8], ends: bool) -> Vec<Said> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = thread::spawn(move || run(&Conformance { address, agent: "tested".into() }));
    accept(&listener).write_all(&[b"\x81\x011", CLOSE].concat()).unwrap();
    let mut stream = accept(&listener);
    stream.write_all(says).unwrap();
    if ends {
        stream.shutdown(Shutdown::Write).unwrap();
    }
    let mut bytes = Vec::new();
    // Up to the end of the connection, so that nothing is missed behind a Close.
    stream.read_to_end(&mut bytes).unwrap();
    drop(stream);
    accept(&listener).write_all(CLOSE).unwrap();
    assert_eq!(client.join().unwrap().unwrap().cases, 1);
    said(&mut bytes)
}

fn said(bytes: &mut [u8]) -> Vec<Said> {
    let (mut codec, mut rest, mut found) = (Codec::new(Role::Server), bytes, Vec::new());
    while !rest.is_empty() {
        let (item, after) = codec.decode(&LIMITS, rest).unwrap();
        rest = after;
        found.push(match item.unwrap() {
            Item::Message { payload, .. } => Said::Message(payload.into_vec()),
            Item::Pong(payload) => Said::Pong(payload.into_vec()),
            Item::Close { code, reason } => Said::Close(code.map(|code| code.0), reason),
            Item::Ping(_) => unreachable!("this client sends no pings"),
        });
    }
    found
}

fn closed(code: u16) -> Said {
    Said::Close(Some(code), String::new())
}

#[test]
fn rfc6455_5_5_1_4_no_data_frame_follows_a_close() {
    let found = play(&[b"\x81\x01a", CLOSE, b"\x81\x01b"].concat());
    assert_eq!(found, [Said::Message(b"a".to_vec()), closed(1000)]);
}

#[test]
fn rfc6455_5_5_1_5_a_close_is_answered_with_a_close() {
    assert_eq!(play(CLOSE), [closed(1000)]);
    assert_eq!(play(b"\x88\x02\x0B\xB8"), [closed(3000)]);
    assert_eq!(play(b"\x88\x00"), [Said::Close(None, String::new())]);
}

#[test]
fn rfc6455_5_5_1_6_after_both_closes_the_tcp_connection_is_closed() {
    assert_eq!(play(CLOSE), [closed(1000)]);
    // The client leaves it to the server, but not for ever: else this would not return.
    assert_eq!(play_with(CLOSE, false), [closed(1000)]);
}

#[test]
fn rfc6455_5_5_2_1_a_ping_is_answered_unless_a_close_came_before() {
    let found = play(&[b"\x89\x00", CLOSE, b"\x89\x00"].concat());
    assert_eq!(found, [Said::Pong(Vec::new()), closed(1000)]);
}

#[test]
fn rfc6455_5_5_3_1_a_pong_has_the_data_of_its_ping() {
    let long = [&[0x89, 125][..], &[b'x'; 125]].concat();
    let found = play(&[b"\x89\x05Hello", &long[..], b"\x8A\x07unasked", CLOSE].concat());
    assert_eq!(found, [Said::Pong(b"Hello".to_vec()), Said::Pong(vec![b'x'; 125]), closed(1000)]);
}

#[test]
fn rfc6455_7_1_2_1_the_closing_handshake_starts_with_code_and_reason() {
    let found = play(b"\xC1\x00");
    assert_eq!(found, [Said::Close(Some(1002), "reserved bits 100 set, no extension negotiated".into())]);
}

#[test]
fn rfc6455_7_1_7_1_a_client_that_fails_the_connection_closes_it() {
    // Else this would not return.
    assert_eq!(play_with(b"\x81\x81\0\0\0\0a", false).len(), 1);
    for (says, code) in [(&b"\x81\x81\0\0\0\0a"[..], 1002), (b"\x81\x01\xFF", 1007), (b"\x88\x01\x03", 1002)]
    {
        let found = play(says);
        assert!(matches!(&found[..], [Said::Close(Some(found), _)] if *found == code), "{found:?}");
    }
}

//! Compression under a real driver: a shard that compresses looks at everybody else in between, and loses no order.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)] // a panic is a failed test
#![allow(dead_code)] // the support of the admin tests is shared

mod admin_support;

use std::io::{Read, Write};
use std::net::TcpStream;

use admin_support::{Stand, connect, read_head};
use streamconductor_core::codec::{Codec, CodecLimits, Item, Kind, Role};
use streamconductor_core::deflate::{BYTES_PER_TURN, Encoding, WindowBits};
use streamconductor_core::shard::command::{Command, Filter, Publication};
use streamconductor_net::driver_weight;
use streamconductor_net::mailbox::Class;

/// A connection that takes deflated messages and is subscribed to "room".
fn subscriber(stand: &Stand) -> TcpStream {
    let mut socket = connect(stand.server.addresses()[0]);
    let head = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    socket.write_all(head.as_bytes()).unwrap();
    assert_eq!(read_head(&mut socket).0, 101);
    let connection = stand.server.list(&Filter::default())[0].connection;
    let channel = stand.server.registry().join("room");
    let (home, encoding) = (channel.home(), Encoding::Deflate(WindowBits::MAX));
    stand.server.tell(home, Command::Subscribe { connection, channel, encoding, first: None });
    socket
}

#[test]
fn a_batch_of_publications_is_compressed_over_many_turns_and_keeps_its_order() {
    let stand = Stand::start(None);
    let mut socket = subscriber(&stand);
    let channel = stand.server.registry().find("room").cloned().unwrap();
    let text = |number: usize| format!("{number} {}", "x".repeat(1_000));
    let mut batch: Vec<Command> = (0..1_000)
        .map(|number| {
            let (kind, payload) = (Kind::Text, text(number).into());
            let publication = Publication { kind, payload, key: 0, prepared: None };
            Command::Publish { channel: channel.clone(), publication }
        })
        .collect();
    let before = stand.server.stats().stats.turns;
    let bytes = batch.iter().map(driver_weight).sum();
    stand.server.append(channel.home(), &mut batch, bytes, Class::Ordinary).unwrap();

    let limits = CodecLimits { max_message_size: 4_096, max_frame_size: 4_096, max_fragments: 1 };
    let (mut codec, mut piece, mut count) = (Codec::new(Role::Client), [0; 4_096], 0);
    codec.accept_compressed();
    while count < 1_000 {
        let read = socket.read(&mut piece).unwrap();
        assert!(read > 0, "the server ended");
        let mut rest = &mut piece[..read];
        while !rest.is_empty() {
            let (item, after) = codec.decode(&limits, rest).unwrap();
            rest = after;
            if let Some(Item::Message { payload, .. }) = item {
                assert_eq!(*payload, *text(count).as_bytes());
                count += 1;
            }
        }
    }
    let stats = stand.server.stats().stats;
    assert_eq!(stats.compressed.messages, 1_000);
    let least = 1_000 * 1_000 / (BYTES_PER_TURN + 1_000 + 4);
    assert!(stats.turns - before >= least as u64, "{} turns for {least} parts", stats.turns - before);
}

//! Receives clients of several encodings · looks at what each gets and at what it cost · owns the promises of
//! compression: once per publication and window, one order for everybody, and nothing for those who did not ask.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "functions that only tests call may fail as a test does"
)]

mod simulation;

use std::sync::Arc;

use bytes::Bytes;
use simulation::*;
use streamconductor_core::channel::{Channel, Policy};
use streamconductor_core::codec::{Kind, Opcode};
use streamconductor_core::config::Overflow;
use streamconductor_core::deflate::{Compressor, Encoding, IDLE, INLINE, Prepared, WindowBits, is_inline};
use streamconductor_core::gauge::Gauge;
use streamconductor_core::ledger::Owner;
use streamconductor_core::ring::CHUNK_BYTES;
use streamconductor_core::shard::command::{Audience, Broadcast, Command, Publication};
use streamconductor_core::stats::Deflated;

fn server(change: impl FnOnce(&mut Setup)) -> Server {
    Server::with(|setup| {
        setup.limits.compression = true;
        setup.limits.marks.high_water = 1 << 20;
        setup.limits.marks.max_buffered = 4 << 20;
        setup.limits.max_connections = 2_000;
        setup.limits.max_pending = 2_000;
        change(setup);
    })
}

/// An open connection whose client takes that window; 0: it offers nothing.
fn open(server: &mut Server, shard: usize, window_bits: u8) -> (Client, Arc<Gauge>) {
    if window_bits == 0 {
        return server.open(shard);
    }
    let mut client = server.accept(shard).expect("a pending place is free");
    server.send(&client, &upgrade_deflated("/chat", window_bits));
    assert_eq!(client.status(), 101, "{}", client.head());
    let gauge = server.opened(&client);
    server.events.clear();
    assert_eq!(client.encoding(), Encoding::Deflate(WindowBits::new(window_bits).unwrap()));
    assert_eq!(gauge.encoding(), client.encoding());
    (client, gauge)
}

/// Text that compresses well, and says which it is.
fn payload(number: usize, size: usize) -> String {
    let text = format!("{{\"number\":{number},\"values\":[");
    let more = size.saturating_sub(text.len());
    format!("{text}{}]}}", format!("{number},").repeat(1 + more / (1 + number.to_string().len())))
}

/// Bytes on the wire since the handshake.
fn received(client: &mut Client) -> usize {
    let head = client.head().len() + 4;
    client.socket.borrow().written.len() - head
}

fn compressed(server: &mut Server) -> Deflated {
    server.stats().compressed
}

#[test]
fn nothing_is_agreed_unless_it_is_on_and_offered() {
    let mut off = Server::with(|_| {});
    let mut client = off.accept(0).unwrap();
    off.send(&client, &upgrade_deflated("/chat", 15));
    assert!(client.status() == 101 && !client.head().contains("xtensions"), "{}", client.head());
    off.send(&client, &simulation::compressed(Kind::Text, &[b'x'; 100]));
    assert_eq!(client.close_code(), 1002);

    let mut on = server(|_| {});
    let (mut plain, _) = open(&mut on, 0, 0);
    assert!(!plain.head().contains("xtensions"), "{}", plain.head());
    on.send(&plain, &simulation::compressed(Kind::Text, &[b'x'; 100]));
    assert_eq!((plain.close_code(), on.deflating.connections()), (1002, 0));

    // Newcomers follow the configuration; who is here keeps what was agreed.
    let (deflated, _) = open(&mut on, 0, 15);
    on.reconfigure(|limits| limits.compression = false);
    let mut late = on.accept(0).unwrap();
    on.send(&late, &upgrade_deflated("/chat", 15));
    assert!(late.status() == 101 && late.encoding() == Encoding::Raw);
    on.send(&deflated, &simulation::compressed(Kind::Text, &[b'x'; 100]));
    assert_eq!(on.heard(&deflated), ["x".repeat(100)]);
    assert_eq!(on.deflating.connections(), 1);
    on.end(&deflated);
    assert_eq!(on.deflating.connections(), 0);
}

#[test]
fn a_thousand_subscribers_and_a_hundred_publications_are_a_hundred_compressions() {
    let mut server = server(|setup| setup.shards = 4);
    let mut clients: Vec<Client> = (0..1_000).map(|number| open(&mut server, number % 4, 15).0).collect();
    let mut room = None;
    for client in &clients {
        room = Some(server.subscribe(client, "room"));
    }
    let room = room.unwrap();
    let expected: Vec<String> = (0..100).map(|number| payload(number, 600)).collect();
    for (number, text) in expected.iter().enumerate() {
        server.publish_quietly(&room, text, 0);
        if number % 7 == 0 {
            server.turn();
        }
    }
    server.turn();
    let plain: usize = expected.iter().map(String::len).sum();
    let counted = compressed(&mut server);
    assert_eq!((counted.messages, counted.plain), (100, plain as u64));
    assert!(counted.deflated * 4 < counted.plain, "{counted:?}");
    for client in &mut clients {
        assert_eq!(client.texts(), expected);
        assert_eq!(received(client) as u64, counted.deflated, "what was compressed is what was sent");
    }
    let stats = server.stats();
    assert_eq!((stats.written.messages, stats.written.bytes), (100_000, 1_000 * counted.deflated));
}

#[test]
fn every_encoding_gets_the_same_messages_in_the_same_order() {
    let mut server = server(|setup| setup.shards = 2);
    let windows = [0, 9, 12, 15, 0, 15];
    let mut clients: Vec<Client> =
        windows.iter().enumerate().map(|(number, bits)| open(&mut server, number % 2, *bits).0).collect();
    for client in &clients {
        server.subscribe(client, "room");
    }
    let room = server.subscribe(&clients[0], "room");
    let sizes = [10, 700, 63, 64, 65, 5_000, 3, 16_000, 20_000, 40_000, 100, 30_000];
    let expected: Vec<String> = (0..60).map(|number| payload(number, sizes[number % sizes.len()])).collect();
    for (number, text) in expected.iter().enumerate() {
        server.publish_quietly(&room, text, 0);
        if number % 11 == 0 {
            server.turn();
        }
    }
    server.turn();
    for client in &mut clients {
        assert_eq!(client.texts(), expected);
    }
    // Short ones, and those that their publisher should have compressed, went out as they are.
    let is_compressed = |text: &&String| text.len() >= 64 && is_inline(text.len(), 3);
    let inline = expected.iter().filter(is_compressed).count() as u64;
    assert_eq!((inline, compressed(&mut server).messages), (30, 3 * 30), "once for each window in use");
    let of = |number: usize, clients: &mut [Client]| received(&mut clients[number]);
    assert!(of(3, &mut clients) < of(0, &mut clients));
    assert_eq!(of(3, &mut clients), of(5, &mut clients));
}

#[test]
fn what_its_publisher_compressed_is_sent_as_it_is_and_raw_to_whom_it_does_not_fit() {
    let mut server = server(|_| {});
    let (mut fits, _) = open(&mut server, 0, 15);
    let (mut other, _) = open(&mut server, 0, 10);
    let room = server.subscribe(&fits, "room");
    server.subscribe(&other, "room");
    assert_eq!(room.encodings().windows().map(WindowBits::get).collect::<Vec<_>>(), [10, 15]);
    let text = payload(1, 100_000);
    let (mut prepared, mut frame) = (Prepared::default(), Vec::new());
    assert!(Compressor::new(WindowBits::MAX).encode_message(&mut frame, Kind::Text, text.as_bytes()));
    let length = frame.len();
    prepared.push(WindowBits::MAX, frame.into());
    let payload = Bytes::copy_from_slice(text.as_bytes());
    let publication = Publication { kind: Kind::Text, payload, key: 0, prepared: Some(Box::new(prepared)) };
    server.command(0, Command::Publish { channel: room, publication });
    assert_eq!((fits.texts(), other.texts()), (vec![text.clone()], vec![text.clone()]));
    assert_eq!(
        (received(&mut fits), received(&mut other)),
        (length, server_frame(Kind::Text, text.as_bytes()).len())
    );
    assert_eq!(compressed(&mut server).messages, 0, "the shard compressed nothing");
}

#[test]
fn a_publisher_learns_which_encodings_a_channel_has() {
    let mut server = server(|setup| setup.shards = 2);
    let (first, _) = open(&mut server, 0, 12);
    let (second, _) = open(&mut server, 1, 12);
    let (raw, _) = open(&mut server, 1, 0);
    let windows = |room: &Channel| room.encodings().windows().map(WindowBits::get).collect::<Vec<_>>();
    let room = server.subscribe(&raw, "room");
    assert_eq!((windows(&room), room.encodings().bits()), (vec![], 1));
    server.subscribe(&first, "room");
    server.subscribe(&second, "room");
    server.subscribe(&second, "room");
    assert_eq!(windows(&room), [12]);
    server.unsubscribe(&first, &room);
    assert_eq!(windows(&room), [12]);
    server.end(&second);
    assert_eq!(windows(&room), [], "an ending is a leave");
    server.end(&raw);
    assert_eq!(room.subscribers(), 0);
}

#[test]
fn a_join_seals_for_every_encoding_and_a_leave_does_too() {
    let mut server = server(|_| {});
    let (mut early, _) = open(&mut server, 0, 15);
    let (mut plain, _) = open(&mut server, 0, 0);
    let (mut late, _) = open(&mut server, 0, 15);
    let (mut other, _) = open(&mut server, 0, 9);
    let room = server.subscribe(&early, "room");
    server.subscribe(&plain, "room");
    let join = |server: &mut Server, client: &Client| {
        server.registry.join("room");
        let (connection, encoding, first) = (client.id, client.encoding(), None);
        let command = Command::Subscribe { connection, channel: Arc::clone(&room), encoding, first };
        server.shards[0].command(command, server.now);
    };
    let texts: Vec<String> = (0..6).map(|number| payload(number, 500)).collect();
    server.publish_quietly(&room, &texts[0], 0);
    join(&mut server, &late);
    server.publish_quietly(&room, &texts[1], 0);
    join(&mut server, &other);
    server.publish_quietly(&room, &texts[2], 0);
    let leave = Command::Unsubscribe { connection: early.id, channel: Arc::clone(&room) };
    server.shards[0].command(leave, server.now);
    server.publish_quietly(&room, &texts[3], 0);
    server.turn();
    assert_eq!(early.texts(), texts[..3]);
    assert_eq!(plain.texts(), texts[..4]);
    assert_eq!(late.texts(), texts[1..4]);
    assert_eq!(other.texts(), texts[2..4]);
    // When the last with a window has gone, nothing is compressed for it any more.
    let before = compressed(&mut server).messages;
    server.end(&other);
    server.publish(&room, &texts[4]);
    assert_eq!(compressed(&mut server).messages, before + 1);
    assert_eq!((late.texts(), plain.texts()), (vec![texts[4].clone()], vec![texts[4].clone()]));
}

#[test]
fn a_caller_that_does_not_know_the_encoding_is_served_all_the_same() {
    let mut server = server(|setup| setup.shards = 2);
    let (mut client, _) = open(&mut server, 1, 15);
    let room = server.registry.join("room");
    let (connection, encoding, first) = (client.id, Encoding::Raw, None);
    let command = Command::Subscribe { connection, channel: Arc::clone(&room), encoding, first };
    server.command(room.home(), command);
    let text = payload(1, 500);
    server.publish(&room, &text);
    assert_eq!((client.texts(), compressed(&mut server).messages), (vec![text.clone()], 0));
    // Somebody else brings the encoding into use: then it gets what it can have.
    let (other, _) = open(&mut server, 0, 15);
    server.subscribe(&other, "room");
    let before = received(&mut client);
    server.publish(&room, &text);
    assert_eq!((client.texts(), compressed(&mut server).messages), (vec![text.clone()], 1));
    assert!(received(&mut client) - before < text.len());
    server.unsubscribe(&other, &room);
    server.publish(&room, &text);
    assert_eq!(client.texts(), [text]);
    server.unsubscribe(&client, &room);
    assert_eq!((room.subscribers(), room.encodings().bits()), (0, 0));
}

#[test]
fn drops_and_conflation_count_messages_of_deflated_chunks_as_of_raw_ones() {
    for (overflow, bits) in [Overflow::DropOldest, Overflow::DropNewest, Overflow::Conflate]
        .into_iter()
        .flat_map(|one| [(one, 0), (one, 15)])
    {
        let mut server = server(|setup| {
            setup.limits.marks.high_water = 4_000;
            setup.limits.marks.low_water = 1_000;
            setup.limits.marks.max_buffered = 8_000;
        });
        server.registry.define("room", Policy { overflow, high_water: None });
        let (mut client, gauge) = open(&mut server, 0, bits);
        let room = server.subscribe(&client, "room");
        client.set_room(Room::Blocked);
        for number in 0..2_000 {
            server.publish_quietly(&room, &payload(number, 300), 1 + number as u64 % 5);
            if number % 10 == 9 {
                server.turn();
            }
        }
        let stats = server.stats();
        let dropped = stats.dropped[overflow as usize];
        assert!(dropped.messages > 1_000, "{overflow:?} {bits}: {dropped:?}");
        assert_eq!(gauge.buffered() as u64, stats.pending().bytes);
        assert!(gauge.buffered() <= 8_000 + CHUNK_BYTES);
        server.unblock(&client, Room::All);
        let texts = client.texts();
        let stats = server.stats();
        assert_eq!(texts.len() as u64 + stats.dropped[overflow as usize].messages, 2_000);
        assert_eq!((stats.pending().messages, gauge.buffered()), (0, 0));
        let numbers: Vec<usize> =
            texts.iter().map(|text| text[10..].split(',').next().unwrap().parse().unwrap()).collect();
        assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
        if overflow != Overflow::DropNewest {
            assert_eq!(numbers.last(), Some(&1_999));
        }
        if overflow == Overflow::Conflate {
            let mut keys: Vec<usize> = numbers[numbers.len() - 5..].iter().map(|number| number % 5).collect();
            keys.sort_unstable();
            assert_eq!(keys, [0, 1, 2, 3, 4], "the newest of each key");
        }
    }
}

#[test]
fn a_broadcast_goes_out_compressed_to_those_it_was_compressed_for() {
    let mut server = server(|setup| setup.shards = 2);
    let mut clients =
        [(0, 15), (0, 0), (1, 12), (1, 15)].map(|(shard, bits)| open(&mut server, shard, bits).0);
    assert_eq!(server.deflating.encodings().windows().map(WindowBits::get).collect::<Vec<_>>(), [12, 15]);
    let text = payload(1, 2_000);
    let (mut prepared, mut frame) = (Prepared::default(), Vec::new());
    assert!(Compressor::new(WindowBits::MAX).encode_message(&mut frame, Kind::Text, text.as_bytes()));
    let length = frame.len();
    prepared.push(WindowBits::MAX, frame.into());
    for shard in 0..2 {
        let (kind, payload) = (Kind::Text, Bytes::copy_from_slice(text.as_bytes()));
        let (prepared, to, exclude) = (prepared.clone(), Audience::Everyone, Vec::new());
        server
            .command(shard, Command::Broadcast(Box::new(Broadcast { kind, payload, prepared, to, exclude })));
    }
    let raw = server_frame(Kind::Text, text.as_bytes()).len();
    for (client, expected) in clients.iter_mut().zip([length, raw, raw, length]) {
        assert_eq!(client.texts(), std::slice::from_ref(&text));
        assert_eq!(received(client), expected);
    }
}

#[test]
fn compressed_messages_arrive_and_bombs_do_not() {
    let mut server = server(|setup| setup.limits.max_message_size = 10_000);
    let (client, _) = open(&mut server, 0, 15);
    let whole = simulation::compressed(Kind::Text, &[b'x'; 10_000]);
    server.send(&client, &whole);
    for byte in whole {
        server.send(&client, &[byte]);
    }
    assert_eq!(server.heard(&client), ["x".repeat(10_000), "x".repeat(10_000)]);
    let inflated = server.stats().inflated;
    assert_eq!((inflated.messages, inflated.plain), (2, 20_000));
    assert!(inflated.deflated < 200);
    for (bytes, code) in [
        (simulation::compressed(Kind::Text, &[b'x'; 10_001]), 1009),
        (simulation::compressed(Kind::Text, &[0xFF; 100]), 1007),
        (vec![0xC1, 0x81, 0, 0, 0, 0, 0x06], 1007),
        (vec![0xC9, 0x80, 0, 0, 0, 0], 1002),
    ] {
        let (mut client, _) = open(&mut server, 0, 15);
        server.send(&client, &bytes);
        assert_eq!(client.close_code(), code);
        server.end(&client);
    }
}

#[test]
fn after_a_close_nothing_is_inflated() {
    let mut server = server(|_| {});
    let (client, _) = open(&mut server, 0, 15);
    server.close(&client, streamconductor_core::close::CloseCode::NORMAL, "");
    server.send(&client, &simulation::compressed(Kind::Text, &[b'x'; 1_000]));
    assert_eq!(server.stats().inflated.messages, 0);
    server.send(
        &client,
        &frame(Opcode::Control(streamconductor_core::codec::Control::Close), true, b"\x03\xE8"),
    );
    assert_eq!(server.closed(&client).code.0, 1000);
}

#[test]
fn contexts_are_charged_while_they_exist_and_go_when_nobody_needs_them() {
    let mut server = server(|_| {});
    let (mut client, _) = open(&mut server, 0, 15);
    let room = server.subscribe(&client, "room");
    assert_eq!(server.ledger.held_by(Owner::Compression), 0, "none before the first message");
    server.publish(&room, &payload(1, 500));
    server.send(&client, &simulation::compressed(Kind::Text, &[b'x'; 100]));
    server.tick();
    let held = server.ledger.held_by(Owner::Compression);
    assert!((450_000..550_000).contains(&held), "{held}");
    // Use keeps them.
    server.pass(IDLE.saturating_sub(seconds(1)));
    server.publish(&room, &payload(2, 500));
    server.pass(IDLE.saturating_sub(seconds(1)));
    assert_eq!(server.ledger.held_by(Owner::Compression), held);
    server.pass(seconds(2));
    assert_eq!(server.ledger.held_by(Owner::Compression), 0);
    server.publish(&room, &payload(3, 500));
    assert_eq!(client.texts(), (1..=3).map(|number| payload(number, 500)).collect::<Vec<_>>());
}

#[test]
fn a_turn_says_when_it_has_compressed_enough() {
    let mut server = server(|_| {});
    let (client, _) = open(&mut server, 0, 15);
    let room = server.subscribe(&client, "room");
    let text = payload(1, 1_000);
    let mut count = 0;
    while !server.shards[0].has_compressed_enough() {
        server.publish_quietly(&room, &text, 0);
        count += 1;
    }
    assert_eq!(count, INLINE.div_ceil(text.len()));
    server.turn();
    assert!(!server.shards[0].has_compressed_enough());
    // Whoever compresses nothing never has.
    let (plain, _) = open(&mut server, 0, 0);
    let hall = server.subscribe(&plain, "hall");
    for _ in 0..1_000 {
        server.publish_quietly(&hall, &text, 0);
    }
    assert!(!server.shards[0].has_compressed_enough());
}

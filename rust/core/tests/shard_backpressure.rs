//! Receives slow readers · looks at marks, drops and endings · owns the promise that backpressure acts before memory
//! grows, and that every byte is accounted for.

mod simulation;

use std::sync::Arc;

use simulation::*;
use streamconductor_core::channel::Policy;
use streamconductor_core::config::Overflow;
use streamconductor_core::gauge::Gauge;
use streamconductor_core::ledger::Owner;
use streamconductor_core::lifecycle::{Public, State};
use streamconductor_core::shard::command::Command;
use streamconductor_core::shard::event::Event;

/// High water 1,000, low water 250, at most 4,000; frames of 100 bytes.
fn blocked(overflow: Overflow) -> (Server, Client, Arc<Gauge>) {
    let mut server = Server::with(|setup| setup.limits.overflow = overflow);
    let (client, gauge) = server.open(0);
    client.set_room(Room::Blocked);
    (server, client, gauge)
}

fn payload(number: usize) -> String {
    format!("{number:098}")
}

fn numbers(texts: &[String]) -> Vec<usize> {
    texts.iter().map(|text| text.parse().unwrap_or(usize::MAX)).collect()
}

fn pressure(server: &mut Server) -> Vec<(bool, usize, u64)> {
    let numbers = |event| match event {
        Event::Backpressure { above, buffered, dropped, .. } => (above, buffered, dropped),
        _ => unreachable!(),
    };
    server.take(|event| matches!(event, Event::Backpressure { .. })).into_iter().map(numbers).collect()
}

#[test]
fn the_state_follows_the_marks_and_who_waits_is_woken_once() {
    let (mut server, mut client, gauge) = blocked(Overflow::Disconnect);
    for number in 0..11 {
        assert_eq!(server.view(&client).unwrap().state, State::Flowing, "{number}");
        server.tell(&client, &gauge, &payload(number), true);
    }
    let view = server.view(&client).unwrap();
    assert_eq!((view.state, view.buffered, gauge.state()), (State::Backpressured, 1_100, Public::Open));
    assert!(gauge.must_wait(1_000));
    for (room, state, woken) in [
        (700, State::Backpressured, 0),
        (149, State::Backpressured, 0),
        (1, State::Flowing, 1),
        (200, State::Flowing, 0),
    ] {
        server.unblock(&client, Room::Bytes(room));
        assert_eq!(server.view(&client).unwrap().state, state);
        assert_eq!(server.take(|event| matches!(event, Event::Writable { .. })).len(), woken, "{room}");
    }
    server.unblock(&client, Room::All);
    assert_eq!(numbers(&client.texts()), (0..11).collect::<Vec<_>>());
    assert_eq!(gauge.buffered(), 0);
    server.tick();
    assert_eq!((server.stats().backlogged, server.ledger.held_by(Owner::Rings)), (0, 0));
}

#[test]
fn publications_above_high_water_for_the_dwell_are_4008() {
    let (mut server, mut client, gauge) = blocked(Overflow::Disconnect);
    let room = server.subscribe(&client, "room");
    for number in 0..11 {
        server.publish(&room, &payload(number));
    }
    server.pass(millis(4_900));
    assert!(server.view(&client).is_some());
    server.pass(millis(200));
    assert!(server.view(&client).is_none());
    server.unblock(&client, Room::All);
    let got = client.got();
    assert!(
        matches!(&got[..], [Got::Close(4008, reason)] if reason == "slow consumer: 1100 bytes pending, limit 1000"),
        "{got:?}"
    );
    assert_eq!((gauge.buffered(), room.subscribers()), (0, 0));
    server.end(&client);
    let closed = server.closed(&client);
    assert_eq!((closed.code.0, closed.ending, closed.dropped), (4008, "slow_consumer", 0));
    assert_eq!(server.stats().discarded.messages, 11);
}

#[test]
fn a_dwell_that_ends_in_time_ends_nothing_and_awaited_sends_have_none() {
    let (mut server, client, gauge) = blocked(Overflow::Disconnect);
    for number in 0..30 {
        server.tell(&client, &gauge, &payload(number), true);
    }
    server.pass(seconds(20));
    assert!(server.view(&client).is_some(), "no dwell for those who wait");
    server.unblock(&client, Room::All);
    client.set_room(Room::Blocked);
    for number in 0..11 {
        server.tell(&client, &gauge, &payload(number), false);
    }
    server.pass(seconds(4));
    server.unblock(&client, Room::Bytes(900));
    server.pass(seconds(20));
    assert!(server.view(&client).is_some());
    for number in 0..11 {
        server.tell(&client, &gauge, &payload(number), false);
    }
    server.pass(seconds(6));
    assert!(server.view(&client).is_none(), "send_nowait has one");
}

#[test]
fn at_max_buffered_disconnect_acts_at_once() {
    let (mut server, mut client, gauge) = blocked(Overflow::Disconnect);
    let room = server.subscribe(&client, "room");
    for number in 0..40 {
        server.publish(&room, &payload(number));
        assert!(gauge.buffered() <= 4_000);
    }
    assert!(server.view(&client).is_some());
    server.publish(&room, &payload(40));
    assert!(server.view(&client).is_none());
    assert_eq!(gauge.buffered(), 0);
    server.unblock(&client, Room::All);
    assert_eq!(client.close_code(), 4008);
    let stats = server.stats();
    assert_eq!((stats.sending.messages, stats.discarded.messages), (41, 41));
}

#[test]
fn a_socket_that_takes_nothing_for_write_timeout_is_reset_and_each_byte_taken_starts_it_anew() {
    let mut server = Server::with(|setup| setup.limits.write_timeout = Some(seconds(10)));
    let (client, gauge) = server.open(0);
    server.pass(seconds(60));
    client.set_room(Room::Blocked);
    server.tell(&client, &gauge, &payload(0), true);
    for _ in 0..5 {
        server.pass(seconds(9));
        server.unblock(&client, Room::Bytes(1));
    }
    server.pass(millis(9_900));
    assert_eq!(client.released(), None);
    server.pass(millis(200));
    assert_eq!(client.released(), Some(true));
    let closed = server.closed(&client);
    assert_eq!((closed.code.0, closed.ending, closed.sent), (1006, "write_timeout", (0, 5)));
    let stats = server.stats();
    assert_eq!((stats.written.bytes, stats.discarded.bytes, stats.discarded.messages), (5, 95, 1));
}

#[test]
fn the_oldest_byte_may_not_be_older_than_max_lag() {
    let mut server = Server::with(|setup| setup.limits.max_lag = Some(seconds(60)));
    let (client, gauge) = server.open(0);
    client.set_room(Room::Bytes(50));
    server.tell(&client, &gauge, &payload(0), true);
    for _ in 0..59 {
        server.pass(seconds(1));
        server.tell(&client, &gauge, &payload(1), true);
    }
    assert!(server.view(&client).is_some());
    server.pass(seconds(1) + TICK);
    assert!(server.view(&client).is_none());
    server.end(&client);
    let closed = server.closed(&client);
    assert_eq!((closed.code.0, closed.ending), (4008, "lagging"));
}

#[test]
fn dropping_policies_drop_down_to_high_water_and_count_it_everywhere() {
    for (overflow, expected) in [
        // The 41st takes it past 4,000 bytes: ten remain.
        (Overflow::DropOldest, (31..45).collect::<Vec<_>>()),
        (Overflow::DropNewest, (0..10).chain(41..45).collect()),
    ] {
        let (mut server, mut client, gauge) = blocked(overflow);
        let room = server.subscribe(&client, "room");
        for number in 0..45 {
            server.publish(&room, &payload(number));
            assert!(gauge.buffered() <= 4_000);
        }
        let kept = expected.len() as u64;
        assert_eq!((gauge.buffered() as u64, gauge.dropped()), (kept * 100, 45 - kept));
        let stats = server.stats();
        let dropped = stats.dropped[overflow as usize];
        assert_eq!((dropped.messages, dropped.bytes), (45 - kept, (45 - kept) * 100));
        assert_eq!(server.view(&client).unwrap().dropped, 45 - kept);
        server.pass(millis(100));
        assert_eq!(pressure(&mut server), [(true, kept as usize * 100, 45 - kept)]);
        server.unblock(&client, Room::All);
        assert_eq!(numbers(&client.texts()), expected, "{overflow:?}");
        assert_eq!(gauge.buffered(), 0);
        server.end(&client);
        assert_eq!(server.closed(&client).dropped, 45 - kept);
    }
}

#[test]
fn conflation_keeps_the_newest_of_each_key() {
    let (mut server, mut client, gauge) = blocked(Overflow::Disconnect);
    server.registry.define("prices:*", Policy { overflow: Overflow::Conflate, high_water: Some(500) });
    let prices = server.subscribe(&client, "prices:EUR");
    for number in 0..100 {
        server.publish_quietly(&prices, &payload(number), 1 + number as u64 % 3);
        server.turn();
    }
    assert!(gauge.buffered() <= 600, "{}", gauge.buffered());
    server.pass(seconds(60));
    server.unblock(&client, Room::All);
    assert_eq!(numbers(&client.texts()), [97, 98, 99]);
    let stats = server.stats();
    assert_eq!((stats.dropped[Overflow::Conflate as usize].messages, gauge.dropped()), (97, 97));
}

#[test]
fn backpressure_is_told_at_most_once_a_second() {
    let (mut server, client, gauge) = blocked(Overflow::Disconnect);
    for number in 0..11 {
        server.tell(&client, &gauge, &payload(number), true);
    }
    server.pass(TICK * 2);
    assert_eq!(pressure(&mut server), [(true, 1_100, 0)]);
    // Up and down many times within the second.
    for _ in 0..5 {
        server.unblock(&client, Room::All);
        client.set_room(Room::Blocked);
        for number in 0..11 {
            server.tell(&client, &gauge, &payload(number), true);
        }
        server.pass(TICK);
    }
    server.unblock(&client, Room::All);
    assert_eq!(pressure(&mut server), []);
    server.pass(seconds(1));
    assert_eq!(pressure(&mut server), [(false, 0, 0)]);
    server.pass(seconds(10));
    assert_eq!(pressure(&mut server), []);
}

#[test]
fn drops_within_one_turn_are_told_although_the_socket_then_takes_all() {
    let (mut server, mut client, gauge) = blocked(Overflow::DropOldest);
    client.set_room(Room::All);
    let room = server.subscribe(&client, "room");
    let other = server.subscribe(&client, "other");
    for number in 0..41 {
        // Each of them seals the other's chunk, so that there are many.
        server.publish_quietly(if number % 2 == 0 { &room } else { &other }, &payload(number), 0);
    }
    server.turn();
    assert_eq!(client.texts().len() as u64 + gauge.dropped(), 41);
    assert!(gauge.dropped() > 0);
    server.pass(TICK * 2);
    assert_eq!(pressure(&mut server), [(false, 0, gauge.dropped())]);
}

#[test]
fn one_turn_is_one_write() {
    let mut server = Server::with(|_| {});
    let (mut client, gauge) = server.open(0);
    let room = server.subscribe(&client, "room");
    let before = server.stats().writes;
    for number in 0..5 {
        let frame = bytes::Bytes::from(server_frame(streamconductor_core::codec::Kind::Text, b"private"));
        gauge.sent(frame.len());
        let command = Command::Send { connection: client.id, frame, awaited: true };
        let now = server.now;
        server.shards[0].command(command, now);
        server.publish_quietly(&room, &payload(number), 0);
    }
    server.turn();
    assert_eq!((client.texts().len(), server.stats().writes - before), (10, 1));
}

#[test]
fn a_slot_in_the_table_that_is_given_away_again_is_backlogged_once() {
    let mut server = Server::with(|_| {});
    for _ in 0..3 {
        let (client, gauge) = server.open(0);
        client.set_room(Room::Blocked);
        server.tell(&client, &gauge, "x", true);
        server.end(&client);
    }
    let (client, gauge) = server.open(0);
    client.set_room(Room::Blocked);
    server.tell(&client, &gauge, "x", true);
    server.tick();
    assert_eq!(server.stats().backlogged, 1);
}

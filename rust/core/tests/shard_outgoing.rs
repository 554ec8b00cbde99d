//! Receives two shards, of which one has dialled the other · looks at what each makes of what the other does · owns the
//! proof that a connection we opened is one like any other, but for its masks and its end.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod simulation;

use std::collections::HashSet;

use bytes::Bytes;
use simulation::{Pair, Room, millis, seconds, server_frame};
use streamconductor_core::close::{By, CloseCode, Ending};
use streamconductor_core::codec::{Control, Kind, Opcode, Role, control_frame, encode_frame, frame_size};
use streamconductor_core::config::Eviction;
use streamconductor_core::deflate::{Encoding, Prepared};
use streamconductor_core::lifecycle::{Public, State};
use streamconductor_core::shard::command::{Audience, Broadcast, Command};
use streamconductor_core::shard::event::Event;

fn plain() -> Pair {
    Pair::new(|_| {})
}

#[test]
fn messages_of_every_size_arrive_both_ways_in_pieces_or_whole() {
    for most in [1, 7, usize::MAX] {
        let mut pair = plain();
        let sizes = [0, 1, 125, 126, 700, 3_000];
        let expected: Vec<_> = sizes.iter().map(|size| "x".repeat(*size)).collect();
        for text in &expected {
            pair.tell(Kind::Text, text.as_bytes(), true);
            pair.answer(Kind::Text, text.as_bytes());
            pair.carry(most);
        }
        assert_eq!(pair.far.heard(&pair.theirs), expected);
        assert_eq!(pair.near.heard(&pair.ours), expected);
        let stats = pair.near.stats();
        assert_eq!((stats.connected, stats.accepted, stats.states[State::Flowing as usize]), (1, 0, 1));
        let bytes: usize = sizes.iter().map(|size| frame_size(Role::Client, *size)).sum();
        assert_eq!((stats.written.messages, stats.written.bytes), (6, bytes as u64));
        assert_eq!(pair.our_gauge.buffered(), 0);
    }
}

#[test]
fn every_frame_has_a_masking_key_of_its_own() {
    // RFC 6455 §5.3.
    let mut pair = Pair::new(|setup| setup.limits.ping_interval = Some(seconds(1)));
    let mut keys = HashSet::new();
    let mut frames = 0;
    for _ in 0..20 {
        pair.tell(Kind::Text, b"Hello", true);
        pair.near.send(&pair.ours, &control_frame(Control::Ping, b"?", None));
        pair.near.pass(seconds(1));
        let mut written = std::mem::take(&mut pair.ours.socket.borrow_mut().written);
        pair.far.send(&pair.theirs, &written);
        while !written.is_empty() {
            assert_eq!(written[1] & 0x80, 0x80, "not masked");
            let length = usize::from(written[1] & 0x7F);
            keys.insert(written[2..6].to_vec());
            frames += 1;
            written.drain(..6 + length);
        }
    }
    assert!(frames >= 60, "messages, pings and pongs: {frames}");
    assert_eq!(keys.len(), frames);
    assert!(!keys.contains(&[0, 0, 0, 0][..]));
    assert_eq!(pair.far.heard(&pair.theirs), ["Hello"; 20]);
}

#[test]
fn what_was_read_ahead_comes_first_and_behind_the_opening() {
    let mut pair = Pair::begun_with(
        |_| {},
        |far, theirs, gauge| {
            far.tell(theirs, gauge, "early", true);
            far.tell(theirs, gauge, "bird", true);
        },
    );
    pair.answer(Kind::Text, b"later");
    pair.settle();
    assert_eq!(pair.near.heard(&pair.ours), ["early", "bird", "later"]);
}

#[test]
fn we_close_and_wait_for_the_server_to_end_tcp() {
    let mut pair = plain();
    pair.tell(Kind::Text, b"last words", true);
    pair.close_near(CloseCode::NORMAL, "enough");
    assert_eq!(pair.our_gauge.state(), Public::Closing);
    // The server's answer, and not yet its end.
    let written = std::mem::take(&mut pair.ours.socket.borrow_mut().written);
    pair.far.send(&pair.theirs, &written);
    let answer = std::mem::take(&mut pair.theirs.socket.borrow_mut().written);
    pair.near.send(&pair.ours, &answer);
    let closed = pair.our_end();
    assert_eq!((closed.code, &*closed.reason, closed.by), (CloseCode::NORMAL, "enough", By::Application));
    assert_eq!((closed.ending, closed.sent.0), ("closed", 1));
    assert_eq!(pair.our_gauge.state(), Public::Closed);
    let is_waiting = |pair: &mut Pair| {
        let states = pair.near.stats().states;
        let released = pair.ours.released();
        (states[State::Parting as usize], pair.near.pool.connections().used, released, pair.ours.is_shut())
    };
    assert_eq!(is_waiting(&mut pair), (1, 1, None, false), "the slot is given back with the socket");
    pair.settle();
    assert_eq!(is_waiting(&mut pair), (0, 0, Some(false), false));
    let closed = pair.their_end();
    assert_eq!((closed.code, &*closed.reason, closed.by), (CloseCode::NORMAL, "enough", By::Peer));
    assert_eq!(pair.far.heard(&pair.theirs), ["last words"]);
    pair.check_traces();
}

#[test]
fn the_server_closes_and_ends_tcp() {
    let mut pair = plain();
    pair.answer(Kind::Text, b"last words");
    pair.close_far(CloseCode(4000), "over");
    pair.settle();
    let closed = pair.our_end();
    assert_eq!((closed.code, &*closed.reason, closed.by), (CloseCode(4000), "over", By::Peer));
    assert_eq!(pair.near.heard(&pair.ours), ["last words"]);
    assert_eq!((pair.ours.released(), pair.ours.is_shut()), (Some(false), false));
    let closed = pair.their_end();
    assert_eq!((closed.code, closed.by), (CloseCode(4000), By::Application));
    pair.check_traces();
}

#[test]
fn both_close_at_once() {
    let mut pair = plain();
    pair.close_near(CloseCode::NORMAL, "");
    pair.close_far(CloseCode(4000), "");
    pair.settle();
    assert_eq!(pair.our_end().code, CloseCode::NORMAL);
    assert_eq!(pair.their_end().code, CloseCode(4000));
    assert_eq!(pair.ours.released(), Some(false));
    pair.check_traces();
}

#[test]
fn a_server_that_does_not_end_tcp_or_sends_on_is_reset() {
    for sends_on in [false, true] {
        let mut pair = plain();
        pair.close_near(CloseCode::NORMAL, "");
        let answer = [server_frame(Kind::Text, b"late"), server_close(1000)].concat();
        pair.near.send(&pair.ours, &answer);
        assert_eq!(pair.our_end().code, CloseCode::NORMAL);
        assert_eq!(pair.near.heard(&pair.ours), [""; 0]);
        if sends_on {
            pair.near.send(&pair.ours, &vec![0; 70_000]);
        } else {
            pair.near.pass(millis(4_900));
            assert_eq!(pair.ours.released(), None);
            pair.near.pass(millis(200));
        }
        assert_eq!(pair.ours.released(), Some(true));
        assert_eq!(pair.near.pool.connections().used, 0);
    }
}

#[test]
fn a_close_that_is_not_answered_times_out() {
    let mut pair = plain();
    pair.is_cut = true;
    pair.close_near(CloseCode::NORMAL, "");
    pair.near.pass(millis(4_900));
    assert_eq!(pair.ours.released(), None);
    pair.near.pass(millis(200));
    let closed = pair.our_end();
    assert_eq!((closed.code, closed.ending, closed.by), (CloseCode::ABNORMAL, "close_timeout", By::Server));
    assert_eq!(pair.ours.released(), Some(true));
}

#[test]
fn a_server_that_vanishes_is_noticed() {
    let mut pair = plain();
    let Pair { near, ours, .. } = &mut pair;
    near.end(ours);
    let closed = pair.our_end();
    assert_eq!((closed.code, closed.ending, closed.by), (CloseCode::ABNORMAL, "transport_lost", By::Peer));
    assert_eq!((pair.ours.released(), pair.near.pool.connections().used), (Some(false), 0));
}

#[test]
fn a_link_that_swallows_everything_is_given_up_within_two_intervals_and_its_slot_is_free() {
    let interval = millis(400);
    let mut pair = Pair::new(|setup| {
        setup.limits.ping_interval = Some(interval);
        setup.limits.ping_timeout = interval;
    });
    pair.pass(interval * 10);
    assert!(pair.our_gauge.latency().is_some(), "the server answers our pings");
    assert!(pair.their_gauge.latency().is_some(), "and we answer the server's");
    pair.is_cut = true;
    pair.near.pass(interval * 2 + millis(50));
    let closed = pair.our_end();
    assert_eq!((closed.code, closed.ending), (CloseCode::ABNORMAL, "heartbeat_lost"));
    assert_eq!((pair.ours.released(), pair.near.pool.connections().used), (Some(true), 0));
}

#[test]
fn a_slow_server_makes_senders_wait_and_they_resume() {
    let mut pair = plain();
    pair.ours.set_room(Room::Blocked);
    for _ in 0..3 {
        pair.tell(Kind::Binary, &[7; 500], true);
    }
    let frame = frame_size(Role::Client, 500);
    assert_eq!(pair.our_gauge.buffered(), 3 * frame);
    assert!(pair.our_gauge.must_wait(1_000));
    assert_eq!(pair.near.stats().states[State::Backpressured as usize], 1);
    let Pair { near, ours, .. } = &mut pair;
    near.unblock(ours, Room::Bytes(2 * frame));
    assert!(near.take(|event| matches!(event, Event::Writable { .. })).is_empty());
    near.unblock(ours, Room::All);
    assert_eq!(near.take(|event| matches!(event, Event::Writable { .. })).len(), 1);
    assert_eq!(near.stats().states[State::Flowing as usize], 1);
    pair.settle();
    let came =
        pair.far.take(|event| matches!(event, Event::Message { payload, .. } if **payload == [7; 500]));
    assert_eq!((came.len(), pair.our_gauge.buffered()), (3, 0));
}

#[test]
fn messages_that_nobody_takes_pause_reading() {
    let mut pair = Pair::new(|setup| setup.limits.max_inbound = 300);
    for number in 0..5 {
        pair.answer(Kind::Text, format!("{number}").repeat(100).as_bytes());
    }
    pair.settle();
    assert!(!pair.ours.is_reading());
    assert_eq!(pair.near.heard(&pair.ours).len(), 2);
    for _ in 0..2 {
        if pair.our_gauge.taken(164, 300) {
            let connection = pair.ours.id;
            pair.near.command(0, Command::Resume { connection });
        }
    }
    pair.settle();
    assert_eq!(pair.near.heard(&pair.ours).len(), 2, "two more, and it pauses again");
}

#[test]
fn what_no_server_may_send_is_answered_with_a_masked_close() {
    let mut masked = Vec::new();
    encode_frame(&mut masked, Opcode::Data(Kind::Text), true, b"x", Some([1, 2, 3, 4]));
    let rows = [
        (masked, 1002, "server frame is masked"),
        (b"\xC1\x01x".to_vec(), 1002, "reserved bits 100 set, no extension negotiated"),
        (b"\x83\x00".to_vec(), 1002, "opcode 3 is reserved"),
        (b"\x81\x02\xC3\x28".to_vec(), 1007, ""),
        ([&b"\x82\x7F\0\0\0\0\0\x20\0\0"[..], b"x"].concat(), 1009, ""),
    ];
    for (bytes, code, reason) in rows {
        let mut pair = plain();
        let Pair { near, ours, .. } = &mut pair;
        near.send(ours, &bytes);
        pair.settle();
        // The server decodes what we send: a Close that were not masked would end it with 1002.
        let closed = pair.their_end();
        assert_eq!((closed.code.0, closed.by), (code, By::Peer), "{bytes:?}");
        let closed = pair.our_end();
        assert_eq!((closed.code.0, closed.by, closed.ending), (code, By::Server, "violation"));
        assert!(closed.reason.contains(reason), "{}", closed.reason);
        pair.check_traces();
    }
}

#[test]
fn nothing_that_is_shared_goes_out_to_it() {
    let mut pair = Pair::new(|setup| setup.limits.eviction = Eviction::Idle);
    let channel = pair.near.registry.join("news");
    let (connection, first) = (pair.ours.id, Some(Bytes::from(server_frame(Kind::Text, b"first"))));
    pair.our_gauge.sent(7);
    let join = Command::Subscribe { connection, channel: channel.clone(), encoding: Encoding::Raw, first };
    pair.near.command(0, join);
    pair.near.publish(&channel, "publication");
    for to in [Audience::Everyone, Audience::These(vec![connection])] {
        let (payload, exclude) = (Bytes::from_static(b"broadcast"), Vec::new());
        let broadcast = Broadcast { kind: Kind::Text, payload, prepared: Prepared::default(), to, exclude };
        pair.near.command(0, Command::Broadcast(Box::new(broadcast)));
    }
    assert!(pair.ours.socket.borrow().written.is_empty());
    assert_eq!((channel.subscribers(), pair.our_gauge.buffered()), (0, 0), "the join is taken back");
    // Nor does it make room for somebody who comes in.
    pair.near.reconfigure(|limits| limits.max_connections = 1);
    let mut late = pair.near.ask(0, "/chat");
    pair.near.turn();
    assert_eq!(late.status(), 503);
    assert_eq!(pair.our_gauge.state(), Public::Open);
}

#[test]
fn a_frame_that_was_made_without_room_for_a_key_gets_one_and_is_counted_so() {
    let mut pair = plain();
    pair.ours.set_room(Room::Blocked);
    pair.hand_over(server_frame(Kind::Text, b"Hello").into(), true);
    assert_eq!(pair.our_gauge.buffered(), frame_size(Role::Client, 5));
    let Pair { near, ours, .. } = &mut pair;
    near.unblock(ours, Room::All);
    pair.settle();
    assert_eq!((pair.far.heard(&pair.theirs), pair.our_gauge.buffered()), (vec!["Hello".to_owned()], 0));
}

#[test]
fn what_was_agreed_to_be_compressed_is_both_ways() {
    let mut pair = Pair::new(|setup| setup.limits.compression = true);
    let Encoding::Deflate(bits) = pair.our_gauge.encoding() else {
        panic!("{:?}", pair.our_gauge.encoding())
    };
    let text = "again and again ".repeat(50);
    for _ in 0..3 {
        let mut frame = Vec::new();
        let mut compressor = streamconductor_core::deflate::Compressor::new(bits);
        assert!(compressor.encode_message(&mut frame, Kind::Text, text.as_bytes()));
        pair.hand_over(frame.clone().into(), true);
        let frame = Bytes::from(frame);
        pair.their_gauge.sent(frame.len());
        pair.far.command(0, Command::Send { connection: pair.theirs.id, frame, awaited: true });
        pair.carry(11);
    }
    assert_eq!(pair.far.heard(&pair.theirs), [&*text; 3]);
    assert_eq!(pair.near.heard(&pair.ours), [&*text; 3]);
    assert_eq!(pair.near.deflating.connections(), 0, "nobody broadcasts to it");
    pair.close_near(CloseCode::NORMAL, "");
    pair.settle();
    assert_eq!((pair.our_end().code, pair.their_end().code), (CloseCode::NORMAL, CloseCode::NORMAL));
    pair.check_traces();
}

#[test]
fn whoever_shuts_down_says_that_he_is_going_away_and_dials_no_more() {
    let mut pair = plain();
    let until = pair.near.now + seconds(1);
    pair.near.command(0, Command::Depart { until });
    pair.settle();
    let closed = pair.our_end();
    assert_eq!((closed.code, closed.ending), (CloseCode::GOING_AWAY, "shutdown"));
    let closed = pair.their_end();
    assert_eq!((closed.code, &*closed.reason), (CloseCode::GOING_AWAY, "server is shutting down"));
    // One that was being dialled meanwhile.
    let (mut late, opening) = simulation::dial(&mut pair.near, 6, None, &server_frame(Kind::Text, b"hello"));
    assert_eq!(opening.dial, Some(6));
    assert_eq!(pair.near.heard(&late), [""; 0]);
    pair.near.send(&late, &server_close(1001));
    pair.near.end(&late);
    assert_eq!(pair.near.closed(&late).ending, "shutdown");
    assert_eq!((late.released(), late.close_code()), (Some(false), 0));
    pair.check_traces();
}

#[test]
fn limits_that_concern_every_connection_concern_it() {
    let mut pair = Pair::new(|setup| setup.limits.idle_timeout = Some(seconds(10)));
    pair.pass(seconds(11));
    let closed = pair.our_end();
    assert_eq!((closed.code, closed.ending), (CloseCode::GOING_AWAY, "idle"));

    let mut pair = plain();
    let Pair { near, ours, .. } = &mut pair;
    near.end_with(ours, Ending::MaximumAge { limit: seconds(1) });
    pair.settle();
    assert_eq!(pair.their_end().code, CloseCode::GOING_AWAY);
    // What the server says stays what it is.
    let mut pair = plain();
    let Pair { far, theirs, .. } = &mut pair;
    far.end_with(theirs, Ending::Shutdown);
    pair.settle();
    assert_eq!(pair.our_end().code, CloseCode::SERVICE_RESTART);
}

#[test]
fn it_is_listed_and_abandoned_like_any_other() {
    let mut pair = plain();
    let view = pair.near.view(&pair.ours).unwrap();
    assert_eq!((&*view.path, view.state, view.user, view.address), ("/chat", State::Flowing, None, None));
    pair.near.command(0, Command::Abandon);
    assert_eq!(pair.our_end().ending, "shutdown");
    assert_eq!((pair.ours.released(), pair.near.pool.connections().used), (Some(true), 0));
    // Also while it waits for the server.
    let mut pair = plain();
    pair.close_near(CloseCode::NORMAL, "");
    pair.near.send(&pair.ours, &server_close(1000));
    pair.near.command(0, Command::Abandon);
    assert_eq!(pair.ours.released(), Some(true));
}

/// A server's Close.
fn server_close(code: u16) -> Vec<u8> {
    control_frame(Control::Close, &code.to_be_bytes(), None).to_vec()
}

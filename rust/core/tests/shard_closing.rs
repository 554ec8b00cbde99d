//! Receives Close frames, violations and lost sockets · looks at what each side is told · owns the promise of one
//! ending per connection, with its code, its author and its counts.

mod simulation;

use bytes::Bytes;
use simulation::*;
use streamconductor_core::close::{By, CloseCode, Ending};
use streamconductor_core::codec::{Control, Kind, Opcode};
use streamconductor_core::gauge::Gauge;
use streamconductor_core::lifecycle::{Public, State};
use streamconductor_core::shard::command::Command;
use streamconductor_core::shard::event::Event;

#[test]
fn an_echo_through_events_and_commands() {
    let mut server = Server::with(|_| {});
    let (mut client, gauge) = server.open(0);
    // In pieces, with a ping within the message.
    let message = [
        frame(Opcode::Data(Kind::Text), false, b"hel"),
        control(Control::Ping, b"?"),
        frame(Opcode::Continuation, true, b"lo"),
        text("world"),
    ]
    .concat();
    for byte in message {
        server.send(&client, &[byte]);
    }
    assert_eq!(client.got(), [Got::Pong(b"?".to_vec())]);
    for heard in server.heard(&client) {
        let _ = gauge.taken(Gauge::cost(heard.len()), 256 * 1024);
        server.tell(&client, &gauge, &heard, true);
    }
    assert_eq!(client.texts(), ["hello", "world"]);
    assert_eq!((gauge.buffered(), gauge.inbound(), gauge.state()), (0, 0, Public::Open));
    server.close(&client, CloseCode::NORMAL, "bye");
    assert_eq!(client.got(), [Got::Close(1000, "bye".into())]);
    assert_eq!(gauge.state(), Public::Closing);
    server.pass(millis(500));
    server.send(&client, &close(CloseCode::NORMAL, ""));
    let closed = server.closed(&client);
    assert_eq!((closed.code, closed.by, closed.ending), (CloseCode::NORMAL, By::Application, "closed"));
    assert_eq!((closed.reason.as_str(), closed.duration), ("bye", millis(500)));
    assert_eq!((closed.received, closed.sent, closed.dropped), ((2, 10), (2, 14), 0));
    assert_eq!(gauge.state(), Public::Closed);
    let stats = server.stats();
    assert_eq!((stats.received.messages, stats.written.messages, stats.written.bytes), (2, 2, 14));
}

#[test]
fn the_peers_close_is_echoed_and_the_server_ends_the_socket_first() {
    for (sent, echoed, reported) in [
        (close(CloseCode::NORMAL, "done"), 1000, 1000),
        (close(CloseCode(4321), ""), 4321, 4321),
        (control(Control::Close, b""), 1005, 1005),
    ] {
        let mut server = Server::with(|_| {});
        let (mut client, _) = server.open(0);
        // Nothing counts behind a Close.
        server.send(&client, &[sent, text("late"), b"\xFF\xFF".to_vec()].concat());
        assert_eq!(client.close_code(), echoed);
        assert!(client.is_shut());
        assert!(server.heard(&client).is_empty());
        let closed = server.closed(&client);
        assert_eq!((closed.code.0, closed.by, closed.ending), (reported, By::Peer, "peer_closed"));
        assert_eq!((server.pool.connections().used, server.pool.pending().used), (0, 1));
        server.end(&client);
        assert_eq!((client.released(), server.pool.pending().used), (Some(false), 0));
        assert!(server.events.is_empty());
    }
}

#[test]
fn a_slot_goes_back_only_after_writing_is_shut() {
    let mut server = Server::with(|_| {});
    let (client, _) = server.open(0);
    client.set_room(Room::Blocked);
    server.send(&client, &close(CloseCode::NORMAL, ""));
    assert_eq!((server.pool.connections().used, client.is_shut()), (1, false));
    server.unblock(&client, Room::Bytes(2));
    assert_eq!((server.pool.connections().used, client.is_shut()), (1, false), "half of the Close is out");
    server.unblock(&client, Room::All);
    assert_eq!((server.pool.connections().used, client.is_shut()), (0, true));
    server.closed(&client);
}

#[test]
fn with_all_pending_places_taken_a_closed_socket_does_not_linger() {
    let mut server = Server::with(|setup| setup.limits.max_pending = 1);
    let (client, _) = server.open(0);
    let _other = server.accept(0).unwrap();
    server.send(&client, &close(CloseCode::NORMAL, ""));
    assert_eq!((client.released(), client.is_shut()), (Some(false), true));
    assert_eq!(server.pool.pending().peak, 1);
}

#[test]
fn a_violation_is_told_before_the_socket_is_shut() {
    let too_big = frame(Opcode::Data(Kind::Binary), true, &[0; 1_001]);
    for (bytes, code) in [
        (b"\xC1\x80\0\0\0\0".to_vec(), 1002),
        (b"\x81\x05hello".to_vec(), 1002),
        (frame(Opcode::Data(Kind::Text), true, b"\xFF"), 1007),
        (too_big, 1009),
        (frame(Opcode::Continuation, true, b"?"), 1002),
        (close(CloseCode(1006), ""), 1002),
    ] {
        let mut server = Server::with(|setup| setup.limits.max_message_size = 1_000);
        let (mut client, _) = server.open(0);
        server.send(&client, &[bytes, text("behind")].concat());
        assert!(server.heard(&client).is_empty());
        assert_eq!(client.close_code(), code);
        assert!(client.is_shut(), "nobody waits for a Close that cannot be read");
        let closed = server.closed(&client);
        assert_eq!((closed.code.0, closed.by, closed.ending), (code, By::Server, "violation"));
        server.send(&client, b"more");
        assert_eq!(client.got(), []);
    }
}

#[test]
fn a_route_that_only_sends_closes_with_1003_and_hears_the_answer_in_the_same_read() {
    let mut server = Server::with(|_| {});
    let mut client = server.ask(0, "/feed");
    assert_eq!(client.status(), 101);
    server.send(&client, &[text("hello"), text("again"), close(CloseCode::UNSUPPORTED_DATA, "")].concat());
    assert_eq!(client.close_code(), 1003);
    assert!(client.is_shut());
    assert_eq!(server.closed(&client).code, CloseCode::UNSUPPORTED_DATA);
    assert_eq!(server.stats().received.messages, 0);
}

#[test]
fn a_close_that_crosses_ours_ends_both() {
    let mut server = Server::with(|_| {});
    let (mut client, _) = server.open(0);
    client.set_room(Room::Blocked);
    server.close(&client, CloseCode(3000), "ours");
    server.send(&client, &close(CloseCode(3001), "theirs"));
    assert_eq!(client.released(), None);
    server.unblock(&client, Room::All);
    assert_eq!((client.close_code(), client.is_shut()), (3000, true));
    let closed = server.closed(&client);
    assert_eq!((closed.code.0, closed.by), (3000, By::Application), "the first cause stays");
}

#[test]
fn a_closing_handshake_that_takes_too_long_is_reset() {
    for (room, ending, code, name) in [
        (Room::All, Ending::Closed { code: CloseCode::NORMAL, reason: "bye".into() }, 1006, "close_timeout"),
        (
            Room::Blocked,
            Ending::Closed { code: CloseCode(3000), reason: String::new() },
            1006,
            "close_timeout",
        ),
        (Room::All, Ending::TokenExpired, 4401, "token_expired"),
        (Room::Blocked, Ending::HandlerRaised, 1011, "handler_raised"),
    ] {
        let mut server = Server::with(|_| {});
        let (client, _) = server.open(0);
        client.set_room(room);
        server.end_with(&client, ending);
        server.pass(millis(4_900));
        assert_eq!(client.released(), None);
        server.pass(millis(200));
        assert_eq!(client.released(), Some(true));
        let closed = server.closed(&client);
        assert_eq!((closed.code.0, closed.ending), (code, name));
        assert_eq!(server.pool.connections().used, 0);
    }
}

#[test]
fn a_lost_socket_is_1006_and_what_was_pending_is_discarded() {
    for room in [Room::Blocked, Room::Failed] {
        let mut server = Server::with(|_| {});
        let (client, gauge) = server.open(0);
        client.set_room(room);
        server.tell(&client, &gauge, "one", true);
        if room == Room::Blocked {
            assert_eq!(gauge.buffered(), 5);
            server.end(&client);
        }
        assert_eq!(client.released(), Some(false));
        let closed = server.closed(&client);
        assert_eq!((closed.code.0, closed.by, closed.ending), (1006, By::Peer, "transport_lost"));
        assert_eq!((gauge.buffered(), gauge.state()), (0, Public::Closed));
        let stats = server.stats();
        assert_eq!((stats.discarded.messages, stats.discarded.bytes), (1, 5));
        assert_eq!(stats.pending().messages, 0);
    }
}

#[test]
fn an_ending_in_peace_flushes_and_a_violation_discards_but_for_the_frame_begun() {
    for (ending, texts) in
        [(Ending::Closed { code: CloseCode::NORMAL, reason: String::new() }, 3), (Ending::HandlerRaised, 1)]
    {
        let mut server = Server::with(|_| {});
        let (mut client, gauge) = server.open(0);
        client.set_room(Room::Bytes(3));
        for payload in ["first", "second", "third"] {
            server.tell(&client, &gauge, payload, true);
        }
        server.end_with(&client, ending);
        server.unblock(&client, Room::All);
        let got = client.got();
        assert_eq!(got.len(), texts + 1, "{got:?}");
        assert!(matches!(got.last(), Some(Got::Close(..))));
        assert_eq!(gauge.buffered(), 0);
        let stats = server.stats();
        assert_eq!((stats.written.messages, stats.discarded.messages), (texts as u64, 3 - texts as u64));
    }
}

#[test]
fn who_waits_to_send_is_woken_when_the_connection_closes_and_never_after_its_ending() {
    let mut server = Server::with(|_| {});
    let (client, gauge) = server.open(0);
    client.set_room(Room::Blocked);
    server.tell(&client, &gauge, &"x".repeat(1_500), true);
    assert!(gauge.must_wait(1_000));
    server.end_with(&client, Ending::HandlerRaised);
    assert_eq!(server.take(|event| matches!(event, Event::Writable { .. })).len(), 1);
    // Handed over before the application heard of it.
    server.tell(&client, &gauge, &"x".repeat(1_500), true);
    assert_eq!(gauge.buffered(), 0);
    gauge.sent(1_500);
    assert!(gauge.must_wait(1_000));
    server.unblock(&client, Room::All);
    server.send(&client, &close(CloseCode::NORMAL, ""));
    let frame = Bytes::from(server_frame(Kind::Text, &[b'x'; 1_496]));
    server.command(0, Command::Send { connection: client.id, frame, awaited: true });
    assert_eq!(gauge.buffered(), 0, "counted back although nobody is told");
    server.closed(&client);
    assert!(server.events.is_empty(), "{:?}", server.events);
}

#[test]
fn commands_for_who_has_gone_are_counted_and_reach_nobody_else() {
    let mut server = Server::with(|_| {});
    let (gone, gauge) = server.open(0);
    server.end(&gone);
    let (mut next, _) = server.open(0);
    assert_eq!((gone.id.index(), gone.id == next.id), (next.id.index(), false));
    server.tell(&gone, &gauge, "stale", false);
    server.close(&gone, CloseCode::NORMAL, "");
    server.admit(&gone, |_| {});
    server.refuse(&gone, 403, "");
    let channel = server.subscribe(&gone, "room");
    server.unsubscribe(&gone, &channel);
    server.command(0, Command::Resume { connection: gone.id });
    assert_eq!(next.got(), []);
    assert_eq!(server.view(&next).unwrap().state, State::Flowing);
    let stats = server.stats();
    assert_eq!((stats.stale, stats.sending, stats.discarded), (4, stats.discarded, stats.sending));
    assert_eq!((stats.sending.messages, channel.subscribers()), (1, 0));
}

#[test]
fn a_close_waits_behind_what_the_application_has_not_taken_but_is_heard_once_we_close() {
    let mut server = Server::with(|setup| setup.limits.max_inbound = 4);
    let (mut client, gauge) = server.open(0);
    server.send(&client, &[text("full"), text("next"), close(CloseCode(3003), "")].concat());
    assert_eq!((server.heard(&client), client.is_reading()), (vec!["full".to_owned()], false));
    assert_eq!(gauge.inbound(), Gauge::cost(4));
    server.close(&client, CloseCode::NORMAL, "");
    assert_eq!((client.close_code(), client.is_shut(), client.is_reading()), (1000, true, true));
    assert!(server.heard(&client).is_empty());
    server.closed(&client);
}

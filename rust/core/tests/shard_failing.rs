//! Receives violations that follow messages · looks at what still goes out, when, and what is read meanwhile · owns
//! the promise that answers precede the Close and that waiting for them costs nothing.
#![allow(clippy::indexing_slicing, reason = "functions that only tests call may fail as a test does")]

mod simulation;

use simulation::*;
use streamconductor_core::close::{By, CloseCode, Ending};
use streamconductor_core::codec::{Control, Kind, Opcode};
use streamconductor_core::gauge::Gauge;
use streamconductor_core::ledger::Owner;
use streamconductor_core::lifecycle::{Public, State};
use streamconductor_core::shard::command::Command;

/// Longer than two looks, and shorter than the latest.
const SOON: std::time::Duration = millis(250);

/// A frame with a reserved bit.
fn violation() -> Vec<u8> {
    b"\xC1\x80\0\0\0\0".to_vec()
}

/// The application takes what it has heard, and answers each message with itself.
fn answer_all(server: &mut Server, client: &Client, gauge: &Gauge) -> usize {
    let heard = server.heard(client);
    for payload in &heard {
        if gauge.taken(Gauge::cost(payload.len()), server.shards[0].limits().max_inbound) {
            server.command(0, Command::Resume { connection: client.id });
        }
        server.tell(client, gauge, payload, true);
    }
    heard.len()
}

#[test]
fn answers_to_what_came_before_a_violation_go_out_before_the_close() {
    let unmasked = b"\x81\x05hello".to_vec();
    let not_text = frame(Opcode::Data(Kind::Text), true, b"\xFF");
    let too_big = frame(Opcode::Data(Kind::Binary), true, &[0; 1_001]);
    for (broken, code) in [(violation(), 1002), (unmasked, 1002), (not_text, 1007), (too_big, 1009)] {
        let mut server = Server::with(|setup| setup.limits.max_message_size = 1_000);
        let (mut client, gauge) = server.open(0);
        server.send(&client, &[text("one"), text("two"), broken, text("behind")].concat());
        assert_eq!((client.got(), gauge.state()), (vec![], Public::Open));
        assert_eq!(server.view(&client).unwrap().state, State::Flowing);
        assert_eq!(answer_all(&mut server, &client, &gauge), 2, "what is behind the violation is nothing");
        assert_eq!(client.texts(), ["one", "two"]);
        server.pass(SOON);
        assert_eq!((client.close_code(), client.is_shut()), (code, true));
        let closed = server.closed(&client);
        assert_eq!((closed.code.0, closed.by, closed.ending), (code, By::Server, "violation"));
        assert_eq!((closed.received.0, closed.sent.0), (2, 2));
    }
}

#[test]
fn without_a_message_before_it_a_violation_closes_at_once() {
    let mut server = Server::with(|_| {});
    let (mut client, gauge) = server.open(0);
    server.send(&client, &text("long ago"));
    answer_all(&mut server, &client, &gauge);
    server.pass(millis(100));
    client.got();
    server.send(&client, &violation());
    assert_eq!((client.close_code(), client.is_shut()), (1002, true));
    assert_eq!(server.closed(&client).ending, "violation");
}

#[test]
fn an_answer_that_is_on_its_way_when_the_violation_comes_is_awaited() {
    let mut server = Server::with(|_| {});
    let (mut client, gauge) = server.open(0);
    server.send(&client, &text("one"));
    // Taken, and answered, but the answer has not reached the shard.
    let heard = server.heard(&client);
    let _ = gauge.taken(Gauge::cost(3), 256 * 1024);
    server.send(&client, &violation());
    assert_eq!(client.got(), []);
    server.tell(&client, &gauge, &heard[0], true);
    server.pass(SOON);
    assert_eq!(client.got()[0], Got::Text("one".into()));
    assert!(client.is_shut());
}

#[test]
fn what_is_taken_just_before_a_look_is_answered_before_the_next() {
    let mut server = Server::with(|_| {});
    let (mut client, gauge) = server.open(0);
    server.send(&client, &[text("one"), violation()].concat());
    let heard = server.heard(&client);
    let _ = gauge.taken(Gauge::cost(3), 256 * 1024);
    server.pass(millis(60));
    assert_eq!(client.got(), [], "the first look has passed");
    server.tell(&client, &gauge, &heard[0], true);
    assert_eq!(client.texts(), ["one"]);
    server.pass(SOON);
    assert_eq!(client.close_code(), 1002);
}

#[test]
fn an_application_that_takes_its_time_is_awaited_but_not_for_ever() {
    let mut server = Server::with(|_| {});
    let (mut client, gauge) = server.open(0);
    server.send(&client, &[text("one"), violation()].concat());
    server.pass(millis(600));
    assert_eq!(client.got(), [], "Python is busy: the message is not taken");
    answer_all(&mut server, &client, &gauge);
    server.pass(SOON);
    assert_eq!(client.got().len(), 2);

    let (mut client, _gauge) = server.open(0);
    let began = server.now;
    server.send(&client, &[text("one"), violation()].concat());
    while client.close_code() == 0 {
        assert!(server.now < began + seconds(2), "the deadline does not hold");
        server.pass(TICK);
    }
    assert!(server.now.since(began) <= seconds(1) + 2 * TICK);
    assert!(client.is_shut());
    assert_eq!(server.closed(&client).code, CloseCode::PROTOCOL_ERROR);
}

#[test]
fn nothing_is_read_or_kept_while_answers_are_awaited() {
    let mut server = Server::with(|setup| setup.limits.max_inbound = 1_000);
    let (mut client, gauge) = server.open(0);
    // The violation waits behind a pause, and is met when the application goes on.
    let begun = frame(Opcode::Data(Kind::Text), false, &[b'x'; 900]);
    server.send(&client, &[text(&"x".repeat(950)), text("next"), begun, violation()].concat());
    assert!(!client.is_reading());
    assert_eq!(answer_all(&mut server, &client, &gauge), 1);
    assert!(!client.is_reading(), "broken, and paused for it");
    server.tick();
    // What the application has not taken is all that is left.
    assert_eq!(server.ledger.held_by(Owner::Inbound), Gauge::cost(4));
    // Comes although reading is paused: it was on its way already.
    client.socket.borrow_mut().is_reading = true;
    server.send(&client, &text("late").repeat(10_000));
    client.socket.borrow_mut().is_reading = false;
    assert_eq!(server.ledger.held_by(Owner::Inbound), Gauge::cost(4));
    server.command(0, Command::Resume { connection: client.id });
    assert!(!client.is_reading(), "a resume changes nothing");
    assert_eq!(answer_all(&mut server, &client, &gauge), 1);
    server.pass(SOON);
    assert_eq!(client.close_code(), 1002);
    // What still comes while the socket lingers is discarded.
    assert!(client.is_reading());
    server.send(&client, &text("late"));
    assert!(server.heard(&client).is_empty());
    server.closed(&client);
}

#[test]
fn a_flood_of_such_connections_is_written_to_once_and_forgotten() {
    let mut server = Server::with(|setup| setup.limits.max_connections = 50);
    let before = server.ledger.used();
    let all: Vec<_> = (0..50).map(|_| server.open(0)).collect();
    let writes = server.stats().writes;
    for (client, _) in &all {
        server.send(client, &[text("one"), violation()].concat());
        server.send(client, &text("more").repeat(1_000));
    }
    server.tick();
    assert_eq!(server.stats().writes, writes, "nothing to say before the Close");
    assert_eq!(server.ledger.held_by(Owner::Inbound), 50 * Gauge::cost(3));
    server.pass(seconds(3));
    assert_eq!(server.stats().writes, writes + 50);
    assert_eq!(server.pool.connections().used, 0);
    drop(all);
    server.events.clear();
    server.tick();
    assert_eq!((server.ledger.used(), server.shards[0].sockets()), (before, 0));
}

#[test]
fn the_first_cause_stays_whatever_ends_the_wait() {
    for way in ["application", "lost", "evicted", "abandoned"] {
        let mut server = Server::with(|setup| {
            setup.limits.max_connections = 1;
            setup.limits.eviction = streamconductor_core::config::Eviction::Oldest;
        });
        let (mut client, gauge) = server.open(0);
        server.send(&client, &[text("one"), violation()].concat());
        answer_all(&mut server, &client, &gauge);
        match way {
            // The handler has said all it wanted, so nobody waits any longer.
            "application" => server.end_with(&client, Ending::HandlerRaised),
            "lost" => {
                client.set_room(Room::Failed);
                server.tell(&client, &gauge, "into the void", true);
            }
            "evicted" => drop(server.ask(0, "/chat")),
            _ => server.command(0, Command::Abandon),
        }
        let got = client.got();
        assert_eq!(got[0], Got::Text("one".into()), "{way}");
        let told = matches!(got.get(1), Some(Got::Close(1002, _)));
        assert_eq!(told, way == "application" || way == "evicted", "{way}: {got:?}");
        let closed = server.closed(&client);
        assert_eq!((closed.code.0, closed.ending), (1002, "violation"), "{way}");
    }
}

#[test]
fn a_ping_before_a_violation_or_a_close_is_answered() {
    for (ending, code) in [(violation(), 1002), (close(CloseCode::NORMAL, ""), 1000)] {
        let mut server = Server::with(|_| {});
        let (mut client, _) = server.open(0);
        let pings = [control(Control::Ping, b"1"), control(Control::Ping, b"2")].concat();
        server.send(&client, &[pings, ending].concat());
        let got = client.got();
        assert_eq!(got[..2], [Got::Pong(b"1".to_vec()), Got::Pong(b"2".to_vec())]);
        assert!(matches!(got[2..], [Got::Close(found, _)] if found == code), "{got:?}");
        assert!(client.is_shut());
    }
}

#[test]
fn nobody_is_declared_dead_while_we_do_not_read() {
    let mut server = Server::with(|setup| {
        setup.limits.ping_interval = Some(millis(500));
        setup.limits.ping_timeout = millis(200);
    });
    let (mut client, _gauge) = server.open(0);
    server.send(&client, &[text("one"), violation()].concat());
    server.pass(seconds(3));
    let got = client.got();
    assert!(matches!(got[..], [Got::Ping(_), .., Got::Close(1002, _)]), "pinged, but not judged: {got:?}");
    assert_eq!(server.closed(&client).ending, "violation");
}

//! Receives more messages than the application takes, and faster than it may · looks at what is heard and when
//! reading stops · owns the promise that inbound memory is bounded and nothing is lost by a pause.

mod simulation;

use simulation::*;
use streamconductor_core::codec::{Control, Kind, Opcode};
use streamconductor_core::gauge::Gauge;
use streamconductor_core::ledger::Owner;
use streamconductor_core::shard::command::Command;

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| format!("{number:04}")).collect()
}

fn frames(range: std::ops::Range<u32>) -> Vec<u8> {
    numbers(range).iter().flat_map(|payload| text(payload)).collect()
}

#[test]
fn reading_pauses_at_the_bound_and_goes_on_in_order() {
    const MAX: usize = 5 * Gauge::cost(4);
    let mut server = Server::with(|setup| setup.limits.max_inbound = MAX);
    let (client, gauge) = server.open(0);
    server.send(&client, &frames(0..100));
    // Comes although reading is paused: it was on its way already.
    client.socket.borrow_mut().is_reading = true;
    server.send(&client, &frames(100..103));
    client.socket.borrow_mut().is_reading = false;
    server.send(&client, &frames(103..200));
    let mut heard = Vec::new();
    let mut rounds = 0;
    while heard.len() < 200 {
        assert!(gauge.inbound() <= MAX, "{} bytes that nobody took", gauge.inbound());
        assert_eq!(gauge.inbound() == MAX, !client.is_reading());
        let mut owes_resume = false;
        for payload in server.heard(&client) {
            owes_resume |= gauge.taken(Gauge::cost(payload.len()), MAX);
            heard.push(payload);
        }
        if owes_resume {
            server.command(0, Command::Resume { connection: client.id });
        }
        rounds += 1;
        assert!(rounds < 200, "stuck after {heard:?}");
    }
    assert_eq!(heard, numbers(0..200));
    assert!(client.is_reading());
    drop(client);
    server.tick();
    assert_eq!(server.ledger.held_by(Owner::Inbound), 0);
}

#[test]
fn a_pause_is_between_messages_only() {
    let mut server = Server::with(|setup| setup.limits.max_inbound = 4);
    let (client, gauge) = server.open(0);
    server.send(&client, &frame(Opcode::Data(Kind::Text), false, b"too long"));
    assert!(client.is_reading());
    server.send(&client, &frame(Opcode::Continuation, true, b" for it"));
    assert_eq!((gauge.inbound(), client.is_reading()), (Gauge::cost(15), false));
    assert_eq!(server.heard(&client), ["too long for it"]);
}

#[test]
fn what_waits_inside_is_in_the_ledger_and_leaves_it_with_the_connection() {
    let mut server = Server::with(|setup| setup.limits.max_inbound = 4);
    let (client, gauge) = server.open(0);
    server.send(&client, &[text("full"), text(&"x".repeat(50_000))].concat());
    let (begun, _) = server.open(0);
    server.send(&begun, &text(&"x".repeat(50_000))[..40_000]);
    server.tick();
    assert!(server.ledger.held_by(Owner::Inbound) >= 90_000);
    server.end_with(&client, streamconductor_core::close::Ending::HandlerRaised);
    server.end_with(&begun, streamconductor_core::close::Ending::HandlerRaised);
    server.send(&client, &close(streamconductor_core::close::CloseCode::NORMAL, ""));
    server.end(&begun);
    server.end(&client);
    drop(gauge);
    server.events.clear();
    server.tick();
    assert_eq!(server.ledger.held_by(Owner::Inbound), 0);
}

#[test]
fn a_frame_rate_does_not_keep_a_closing_connection_from_hearing_the_answer() {
    let mut server = Server::with(|setup| setup.limits.max_frame_rate = Some(10));
    let (client, _) = server.open(0);
    server.close(&client, streamconductor_core::close::CloseCode::NORMAL, "");
    server.send(&client, &frames(0..50));
    server.send(&client, &close(streamconductor_core::close::CloseCode::NORMAL, ""));
    assert!(client.is_shut());
    assert_eq!(server.closed(&client).ending, "closed");
}

#[test]
fn a_flood_of_pings_to_a_socket_that_takes_nothing_is_answered_once() {
    let mut server = Server::with(|_| {});
    let (mut client, _) = server.open(0);
    client.set_room(Room::Blocked);
    for number in 0..200_u8 {
        server.send(&client, &control(Control::Ping, &[number]));
    }
    server.unblock(&client, Room::All);
    assert_eq!(client.got(), [Got::Pong(vec![199])], "RFC 6455 §5.5.3: the most recent one");
}

#[test]
fn empty_messages_count_too() {
    let mut server = Server::with(|setup| setup.limits.max_inbound = 1_000);
    let (client, gauge) = server.open(0);
    server.send(&client, &text("").repeat(100));
    assert!(!client.is_reading());
    assert!(gauge.inbound() <= 1_000 + Gauge::cost(0));
    assert!(server.heard(&client).len() <= 16);
}

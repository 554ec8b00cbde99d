//! Receives silence, slow messages and the passing of time · looks at pings and endings · owns the promises about
//! dead peers, idle connections and their exact moments.
#![allow(
    clippy::panic,
    clippy::unchecked_time_subtraction,
    reason = "functions that only tests call may fail as a test does"
)]

mod simulation;

use std::time::Duration;

use simulation::*;
use streamconductor_core::close::By;
use streamconductor_core::codec::{Control, Kind, Opcode};
use streamconductor_core::gauge::Gauge;

const INTERVAL: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(4);

fn with_pings(change: impl FnOnce(&mut Setup)) -> Server {
    Server::with(|setup| {
        setup.limits.ping_interval = Some(INTERVAL);
        setup.limits.ping_timeout = TIMEOUT;
        change(setup);
    })
}

/// Lets time pass tick by tick until something has come.
fn await_something(server: &mut Server, client: &mut Client, limit: Duration) -> Vec<Got> {
    let end = server.now + limit;
    while server.now < end {
        server.pass(TICK);
        let got = client.got();
        if !got.is_empty() {
            return got;
        }
    }
    panic!("nothing within {limit:?}");
}

/// The payload of the ping that comes within `limit`.
fn await_ping(server: &mut Server, client: &mut Client, limit: Duration) -> Vec<u8> {
    let got = await_something(server, client, limit);
    let [Got::Ping(payload)] = &got[..] else { panic!("{got:?}") };
    payload.clone()
}

fn pong(payload: &[u8]) -> Vec<u8> {
    control(Control::Pong, payload)
}

#[test]
fn the_first_ping_comes_within_one_interval_and_the_next_ones_an_interval_apart() {
    let mut server = with_pings(|_| {});
    let mut firsts = Vec::new();
    for _ in 0..20 {
        let opened = server.now;
        let (mut client, gauge) = server.open(0);
        assert_eq!(gauge.latency(), None);
        let payload = await_ping(&mut server, &mut client, INTERVAL + TICK);
        firsts.push(server.now.since(opened));
        // Before a ping was answered a pong that nobody asked for says nothing.
        server.send(&client, &pong(&[0; 8]));
        assert_eq!(gauge.latency(), None);
        server.pass(millis(30));
        server.send(&client, &pong(&payload));
        let latency = gauge.latency();
        assert!(latency.is_some_and(|latency| latency >= millis(30) && latency <= millis(30) + TICK));
        server.pass(seconds(1));
        server.send(&client, &pong(&payload));
        assert_eq!(gauge.latency(), latency, "the same pong again is no round trip");
        let started = server.now;
        await_ping(&mut server, &mut client, INTERVAL);
        let apart = server.now.since(started) + seconds(1) + millis(30);
        assert!(apart <= INTERVAL + TICK && apart >= INTERVAL - TICK, "{apart:?}");
        server.end(&client);
    }
    assert!(firsts.iter().all(|first| *first >= INTERVAL / 2), "{firsts:?}");
    let spread = *firsts.iter().max().unwrap() - *firsts.iter().min().unwrap();
    assert!(spread > seconds(2), "newcomers would ping at once for ever: {firsts:?}");
    assert_eq!(server.stats().round_trip.count(), 20);
}

#[test]
fn a_peer_that_says_nothing_after_a_ping_is_reset() {
    let mut server = with_pings(|_| {});
    let (mut client, gauge) = server.open(0);
    await_ping(&mut server, &mut client, INTERVAL);
    server.pass(TIMEOUT - TICK);
    assert_eq!(client.released(), None);
    server.pass(TICK * 2);
    assert_eq!(client.released(), Some(true));
    let closed = server.closed(&client);
    assert_eq!((closed.code.0, closed.by, closed.ending), (1006, By::Server, "heartbeat_lost"));
    assert_eq!((gauge.buffered(), server.pool.connections().used), (0, 0));
}

#[test]
fn any_byte_is_life() {
    let mut server = with_pings(|setup| setup.limits.message_timeout = seconds(1_000));
    let (mut client, _) = server.open(0);
    for byte in text("no pong") {
        await_ping(&mut server, &mut client, INTERVAL);
        server.pass(TIMEOUT - TICK);
        server.send(&client, &[byte]);
    }
    assert_eq!(server.heard(&client), ["no pong"]);
}

#[test]
fn the_timer_starts_when_the_socket_takes_the_ping_and_a_later_ping_does_not_put_it_off() {
    let mut server = with_pings(|setup| setup.limits.ping_timeout = INTERVAL);
    let (mut client, _) = server.open(0);
    client.set_room(Room::Blocked);
    // Long past the first ping: it waits in the ring, and another one is not queued behind it.
    server.pass(INTERVAL * 2 + seconds(1));
    assert_eq!((client.got(), client.released(), server.stats().pings), (vec![], None, 1));
    server.unblock(&client, Room::All);
    assert!(matches!(client.got()[..], [Got::Ping(_)]));
    server.pass(INTERVAL - TICK);
    assert_eq!(client.released(), None);
    server.pass(TICK * 2);
    assert_eq!(client.released(), Some(true), "although a second ping went out meanwhile");
}

#[test]
fn while_reading_is_paused_nobody_is_judged_and_the_resume_gives_one_whole_timeout() {
    let mut server = with_pings(|setup| setup.limits.max_inbound = 4);
    let (mut client, gauge) = server.open(0);
    server.send(&client, &text("full"));
    assert!(!client.is_reading());
    await_ping(&mut server, &mut client, INTERVAL);
    server.pass(INTERVAL * 5);
    assert_eq!(client.released(), None);
    assert!(gauge.taken(Gauge::cost(4), 4));
    server.command(0, streamconductor_core::shard::command::Command::Resume { connection: client.id });
    assert!(client.is_reading());
    server.pass(TIMEOUT - TICK);
    assert_eq!(client.released(), None);
    server.pass(TICK * 2);
    assert_eq!(client.released(), Some(true));
}

#[test]
fn while_the_ledger_pauses_the_shard_nobody_is_judged_either() {
    let mut server = with_pings(|setup| setup.limits.memory_budget = 1 << 20);
    let (mut client, _) = server.open(0);
    await_ping(&mut server, &mut client, INTERVAL);
    let charge = server.ledger.charge(streamconductor_core::ledger::Owner::History, 970_000);
    server.turn();
    server.pass(INTERVAL * 5);
    assert_eq!(client.released(), None);
    drop(charge);
    server.turn();
    server.pass(TIMEOUT - TICK);
    assert_eq!(client.released(), None);
    server.pass(TICK * 2);
    assert_eq!(client.released(), Some(true));
}

#[test]
fn a_route_with_a_heartbeat_sends_it_with_every_ping_unless_other_bytes_say_the_same() {
    let mut server = with_pings(|setup| setup.limits.idle_timeout = Some(seconds(20)));
    let mut client = server.ask(0, "/beat");
    assert_eq!(client.status(), 101);
    let gauge = server.opened(&client);
    for _ in 0..2 {
        let got = await_something(&mut server, &mut client, INTERVAL + TICK);
        let [Got::Ping(payload), Got::Text(beat)] = &got[..] else { panic!("{got:?}") };
        assert_eq!(beat, "beat");
        server.send(&client, &pong(payload));
    }
    assert_eq!(gauge.buffered(), 0);
    let got = await_something(&mut server, &mut client, INTERVAL + TICK);
    assert!(matches!(got[..], [Got::Close(1001, _)]), "{got:?}");
    assert_eq!(server.view(&client).map(|view| view.state), None, "a heartbeat keeps no idle connection");
}

#[test]
fn idle_ends_with_1001_and_publications_count_but_pings_do_not() {
    let mut server = with_pings(|setup| setup.limits.idle_timeout = Some(seconds(30)));
    let (mut idle, _) = server.open(0);
    let (mut told, _) = server.open(0);
    let (mut telling, _) = server.open(0);
    let room = server.subscribe(&told, "room");
    for _ in 0..31 {
        server.pass(seconds(1));
        server.publish(&room, "news");
        for (client, is_told) in [(&mut idle, false), (&mut told, false), (&mut telling, true)] {
            for got in client.got() {
                if let Got::Ping(payload) = got {
                    server.send(client, &pong(&payload));
                }
            }
            if is_told && client.released().is_none() {
                server.send(client, &text("hello"));
            }
        }
    }
    for (client, is_over) in [(&idle, true), (&told, false), (&telling, false)] {
        assert_eq!(server.view(client).is_none(), is_over);
    }
    server.send(&idle, &close(streamconductor_core::close::CloseCode::GOING_AWAY, ""));
    let closed = server.closed(&idle);
    assert_eq!(
        (closed.code.0, closed.ending, closed.reason.as_str()),
        (1001, "idle", "idle: no message for 30s")
    );
}

#[test]
fn the_maximum_age_ends_with_1012_whatever_goes_on() {
    let mut server = Server::with(|setup| setup.limits.max_connection_age = Some(seconds(60)));
    let (mut client, gauge) = server.open(0);
    for _ in 0..59 {
        server.pass(seconds(1));
        server.tell(&client, &gauge, "news", true);
    }
    assert_eq!(client.close_code(), 0);
    server.pass(seconds(1) + TICK);
    assert_eq!(client.close_code(), 1012);
}

#[test]
fn a_message_that_does_not_end_is_1008_and_messages_that_do_have_each_their_own_time() {
    let mut server = Server::with(|setup| setup.limits.message_timeout = seconds(2));
    let (mut slow, _) = server.open(0);
    let (mut busy, _) = server.open(0);
    server.send(&slow, &frame(Opcode::Data(Kind::Text), false, b"a"));
    // Every read ends one message and begins the next.
    let both = text("whole");
    server.send(&busy, &both[..4]);
    for _ in 0..40 {
        server.pass(millis(100));
        server.send(&busy, &[&both[4..], &both[..4]].concat());
        server.send(&slow, &frame(Opcode::Continuation, false, b"a"));
    }
    assert_eq!((slow.close_code(), busy.close_code()), (1008, 0));
    assert_eq!(server.heard(&busy).len(), 40);
    server.pass(seconds(2) + TICK);
    assert_eq!(busy.close_code(), 1008, "the last one did not end");
}

#[test]
fn pings_can_be_turned_on_and_hastened_while_connections_live() {
    let mut server = Server::with(|setup| setup.limits.ping_timeout = seconds(1_000));
    let (mut client, _) = server.open(0);
    server.pass(seconds(100));
    server.reconfigure(|limits| limits.ping_interval = Some(seconds(50)));
    await_ping(&mut server, &mut client, seconds(51));
    server.reconfigure(|limits| limits.ping_interval = Some(seconds(2)));
    await_ping(&mut server, &mut client, seconds(2) + TICK);
    server.reconfigure(|limits| limits.ping_interval = None);
    server.pass(seconds(100));
    assert_eq!(client.got(), []);
    server.reconfigure(|limits| limits.ping_interval = Some(seconds(50)));
    server.pass(seconds(20));
    assert_eq!(client.got(), [], "not all at once");
    await_ping(&mut server, &mut client, seconds(31));
}

//! Receives sockets of a TLS address · looks at what becomes of them with and without TLS · owns the promises of the
//! state `tls`: the deadline of the handshake, no slot, and a request that knows it is secure.

mod simulation;

use simulation::*;
use streamconductor_core::shard::command::Command;
use streamconductor_core::shard::event::Event;
use streamconductor_core::shard::securing::{Secured, TlsVersion};
use streamconductor_core::stats::Outcome;

fn counted(server: &mut Server, outcome: Outcome) -> u64 {
    server.stats().handshakes.get(outcome as usize).copied().unwrap_or_default()
}

fn secure(server: &mut Server, client: &Client, subject: Option<&str>) {
    let secured = Secured { version: TlsVersion::V1_3, resumed: false, subject: subject.map(Into::into) };
    server.shards.iter_mut().take(1).for_each(|shard| shard.secured(client.id.index(), secured.clone()));
}

#[test]
fn a_request_over_tls_knows_it_and_the_subject_of_its_client() {
    let mut server = Server::with(|setup| setup.asks = true);
    let mut client = server.accept_for_tls(0).unwrap();
    secure(&mut server, &client, Some("CN=alice"));
    server.send(&client, &upgrade("/chat"));
    let arrived = server.take(|event| matches!(event, Event::Arrived(_)));
    let [Event::Arrived(arrival)] = &arrived[..] else { panic!("{arrived:?}") };
    assert!(arrival.request.secure);
    assert_eq!(arrival.client_certificate.as_deref(), Some("CN=alice"));
    server.admit(&client, |_| {});
    assert_eq!(client.status(), 101);
    assert_eq!((server.stats().secured, server.stats().resumed), ([0, 1], 0));
    let mut plain = server.accept(0).unwrap();
    server.send(&plain, &upgrade("/chat"));
    let arrived = server.take(|event| matches!(event, Event::Arrived(_)));
    let [Event::Arrived(arrival)] = &arrived[..] else { panic!("{arrived:?}") };
    assert!(!arrival.request.secure && arrival.client_certificate.is_none());
    assert_eq!(plain.status(), 0);
}

#[test]
fn a_handshake_that_fails_lingers_for_its_alert_and_is_counted() {
    let mut server = Server::with(|_| {});
    let client = server.accept_for_tls(0).unwrap();
    let now = server.now;
    server.shards[0].unsecured(client.id.index(), now);
    assert!(client.is_shut());
    assert_eq!(client.socket.borrow().written, b"", "no HTTP on a socket that speaks none");
    assert_eq!((counted(&mut server, Outcome::Tls), server.pool.connections().used), (1, 0));
    assert_eq!(server.pool.pending().used, 1);
    // Once more is once too often: it lingers, and is no handshake any more.
    server.shards[0].unsecured(client.id.index(), now);
    secure(&mut server, &client, None);
    assert_eq!((counted(&mut server, Outcome::Tls), server.stats().secured), (1, [0, 0]));
    server.pass(millis(1_100));
    assert_eq!((client.released(), server.pool.pending().used), (Some(false), 0));
}

#[test]
fn one_deadline_spans_tls_and_the_head() {
    let mut server = Server::with(|_| {});
    let (silent, mut slow) = (server.accept_for_tls(0).unwrap(), server.accept_for_tls(0).unwrap());
    server.pass(seconds(4));
    secure(&mut server, &slow, None);
    server.send(&slow, b"GET /chat HTTP/1.1\r\n");
    server.pass(millis(900));
    assert_eq!((silent.released(), slow.status()), (None, 0));
    server.pass(millis(200));
    assert_eq!((silent.released(), slow.status()), (Some(true), 408));
    assert_eq!((counted(&mut server, Outcome::TimedOut), server.pool.connections().peak), (2, 0));
}

#[test]
fn a_place_is_reclaimed_from_who_has_not_even_finished_tls() {
    let mut server = Server::with(|_| {});
    let first = server.accept_for_tls(0).unwrap();
    server.pass(millis(10));
    let second = server.accept(0).unwrap();
    let now = server.now;
    server.shards[0].command(Command::Reclaim, now);
    assert_eq!((first.released(), second.released()), (Some(true), None));
    assert_eq!(counted(&mut server, Outcome::Aborted), 1);
}

#[test]
fn half_a_record_is_a_sign_of_life() {
    let mut server = Server::with(|setup| setup.limits.ping_interval = Some(seconds(20)));
    let (mut client, _gauge) = server.open(0);
    while client.got().is_empty() {
        server.pass(millis(100));
    }
    server.pass(seconds(15));
    let now = server.now;
    server.shards[0].heard(client.id.index(), now);
    server.pass(seconds(6));
    assert_eq!(client.released(), None, "20 s after the ping, but bytes have come");
}

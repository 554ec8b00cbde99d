//! Receives heads, verdicts and deadlines · looks at what the client is answered and what the application hears ·
//! owns the promises of the opening handshake: one deadline, hard bounds, an answer for everybody.

mod simulation;

use simulation::*;
use streamconductor_core::shard::command::Command;
use streamconductor_core::shard::event::Event;
use streamconductor_core::stats::Outcome;

fn counted(server: &mut Server, outcome: Outcome) -> u64 {
    server.stats().handshakes.get(outcome as usize).copied().unwrap_or_default()
}

#[test]
fn without_on_connect_the_101_follows_the_head() {
    let mut server = Server::with(|_| {});
    let mut client = server.accept(0).unwrap();
    assert_eq!((server.pool.pending().used, server.pool.connections().used), (1, 0));
    let head = upgrade("/chat");
    for byte in &head[..head.len() - 1] {
        server.send(&client, &[*byte]);
    }
    assert_eq!(client.status(), 0);
    server.send(&client, &head[head.len() - 1..]);
    assert_eq!(client.status(), 101);
    assert!(client.head().contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!((server.pool.pending().used, server.pool.connections().used), (0, 1));
    let events = std::mem::take(&mut server.events);
    let [Event::Arrived(arrival), Event::Opened(opening)] = &events[..] else { panic!("{events:?}") };
    assert!(!arrival.asks && arrival.has_slot && opening.gauge.is_some());
    assert_eq!(counted(&mut server, Outcome::Accepted), 1);
}

#[test]
fn on_connect_decides_with_a_slot_taken_before() {
    let mut server = Server::with(|setup| setup.asks = true);
    let mut client = server.ask(0, "/chat");
    assert_eq!((client.status(), server.pool.connections().used), (0, 1));
    let arrived = server.take(|event| matches!(event, Event::Arrived(_)));
    let [Event::Arrived(arrival)] = &arrived[..] else { panic!("{arrived:?}") };
    assert_eq!((arrival.connection, arrival.request.path(), arrival.route), (client.id, "/chat", 0));
    assert!(arrival.asks && arrival.has_slot);
    server.admit(&client, |admission| admission.user = Some("ada".into()));
    assert_eq!(client.status(), 101);
    assert_eq!(server.view(&client).unwrap().user.as_deref(), Some("ada"));
    // A second verdict comes too late.
    server.refuse(&client, 403, "no");
    assert_eq!(client.got(), []);
    assert_eq!(server.stats().stale, 1);
}

#[test]
fn a_refusal_is_answered_and_gives_the_slot_back() {
    for (status, outcome) in
        [(401, Outcome::Rejected), (500, Outcome::Raised), (503, Outcome::Full), (403, Outcome::Rejected)]
    {
        let mut server = Server::with(|setup| setup.asks = true);
        let mut client = server.ask(0, "/chat");
        server.refuse(&client, status, "not you");
        assert_eq!(client.status(), status);
        assert!(client.head().ends_with("\r\n\r\nnot you\n"), "{}", client.head());
        assert_eq!(client.head().contains("Retry-After: 1"), status == 503);
        assert!(client.is_shut());
        assert_eq!((server.pool.pending().used, server.pool.connections().used), (1, 0), "it lingers");
        assert_eq!(counted(&mut server, outcome), 1);
        let others = |event: &Event| !matches!(event, Event::Arrived(_) | Event::Refused(_));
        assert!(server.take(others).is_empty(), "the verdict is known");
        assert_eq!(server.known.count(), 0);
        server.end(&client);
        assert_eq!(client.released(), Some(false));
        assert_eq!(server.pool.pending().used, 0);
    }
}

#[test]
fn bytes_before_the_101_are_refused_in_the_same_read_and_in_a_later_one() {
    let mut server = Server::with(|setup| setup.asks = true);
    let mut same = server.accept(0).unwrap();
    server.send(&same, &[upgrade("/chat"), text("early")].concat());
    assert_eq!(same.status(), 400);
    let mut later = server.ask(0, "/chat");
    server.send(&later, &text("early"));
    assert_eq!(later.status(), 400);
    assert_eq!(server.pool.connections().used, 0);
    let withdrawn =
        |event: &Event| matches!(event, Event::Withdrawn { connection, .. } if *connection == later.id);
    assert_eq!(server.take(withdrawn).len(), 1);
    server.admit(&later, |_| {});
    assert_eq!(server.stats().stale, 1, "the verdict comes too late");
}

#[test]
fn half_a_head_gets_408_and_silence_is_reset_when_open_timeout_is_over() {
    let mut server = Server::with(|_| {});
    let (mut begun, silent) = (server.accept(0).unwrap(), server.accept(0).unwrap());
    server.send(&begun, b"GET /chat HTTP/1.1\r\n");
    server.pass(millis(4_900));
    // Not per byte: another one does not put it off.
    server.send(&begun, b"Host: example.com\r\n");
    assert_eq!((begun.status(), silent.released()), (0, None));
    server.pass(millis(200));
    assert_eq!((begun.status(), begun.is_shut()), (408, true));
    assert_eq!(silent.released(), Some(true));
    assert_eq!(counted(&mut server, Outcome::TimedOut), 2);
    server.pass(millis(1_100));
    assert_eq!(begun.released(), Some(false));
    assert_eq!(server.pool.pending().used, 0);
}

#[test]
fn a_verdict_that_does_not_come_in_time_is_a_503_and_withdrawn() {
    let mut server = Server::with(|setup| setup.asks = true);
    let mut client = server.accept(0).unwrap();
    server.pass(seconds(3));
    server.send(&client, &upgrade("/chat"));
    server.pass(millis(1_900));
    assert_eq!(client.status(), 0);
    server.pass(millis(200));
    assert_eq!(client.status(), 503);
    assert!(client.head().contains("Retry-After: 1") && client.head().contains("open_timeout"));
    assert_eq!(server.take(|event| matches!(event, Event::Withdrawn { .. })).len(), 1);
    assert_eq!((server.known.count(), server.pool.connections().used), (0, 0));
    assert_eq!(counted(&mut server, Outcome::TimedOut), 1);
    server.admit(&client, |_| {});
    assert_eq!((client.got(), server.stats().stale), (vec![], 1));
}

#[test]
fn who_goes_away_before_the_verdict_is_withdrawn() {
    let mut server = Server::with(|setup| setup.asks = true);
    let client = server.ask(0, "/chat");
    assert_eq!(server.known.count(), 1);
    server.end(&client);
    assert_eq!(server.take(|event| matches!(event, Event::Withdrawn { .. })).len(), 1);
    assert_eq!((server.known.count(), server.pool.connections().used, server.pool.pending().used), (0, 0, 0));
    assert_eq!(counted(&mut server, Outcome::Aborted), 1);
}

#[test]
fn a_full_pool_answers_503_and_probes_and_never_has_one_more() {
    let mut server = Server::with(|setup| setup.limits.max_connections = 2);
    let open = [server.open(0), server.open(0)];
    let mut refused = server.ask(0, "/chat");
    assert_eq!(refused.status(), 503);
    assert!(refused.head().contains("Retry-After: 1") && refused.head().contains("max_connections"));
    let mut probe = server.accept(0).unwrap();
    server.send(&probe, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(probe.status(), 200);
    assert!(probe.head().ends_with("ok"));
    assert_eq!(server.pool.connections().peak, 2);
    server.end(&open[0].0);
    assert_eq!(server.ask(0, "/chat").status(), 101);
    assert_eq!(server.pool.connections().peak, 2);
}

#[test]
fn an_address_has_its_own_bound() {
    let mut server = Server::with(|setup| setup.limits.max_connections_per_address = Some(1));
    let (first, _) = server.open(0);
    let mut second = server.ask(0, "/chat");
    assert_eq!(second.status(), 429);
    assert!(second.head().contains("Retry-After") && second.head().contains("max_connections_per_address"));
    assert_eq!(counted(&mut server, Outcome::Address), 1);
    server.end(&first);
    assert_eq!(server.address.count(), 0);
    server.open(0);
}

#[test]
fn an_application_that_is_behind_is_told_of_no_more() {
    let mut server = Server::with(|setup| setup.limits.max_connections = 2);
    for _ in 0..4 {
        let (client, _) = server.open(0);
        server.end(&client);
    }
    assert_eq!(server.known.count(), 4, "their endings have not been looked at");
    assert_eq!(server.ask(0, "/chat").status(), 503);
    server.events.clear();
    assert_eq!(server.ask(0, "/chat").status(), 101);
}

#[test]
fn a_refused_client_lingers_for_a_second_and_64_kib() {
    let mut server = Server::with(|_| {});
    let (mut patient, mut flooding) = (server.ask(0, "/nowhere"), server.ask(0, "/nowhere"));
    assert_eq!((patient.status(), flooding.status()), (404, 404));
    server.send(&patient, &vec![0; 64 * 1024]);
    assert_eq!(patient.released(), None);
    server.send(&flooding, &vec![0; 64 * 1024]);
    server.send(&flooding, &[0]);
    assert_eq!(flooding.released(), Some(true));
    server.pass(millis(900));
    assert_eq!(patient.released(), None);
    server.pass(millis(200));
    assert_eq!(patient.released(), Some(false));
    assert_eq!((server.pool.pending().used, server.shards[0].sockets()), (0, 0));
}

#[test]
fn reclaim_takes_the_oldest_without_a_head_and_then_the_oldest_that_lingers() {
    let mut server = Server::with(|setup| setup.asks = true);
    let lingering: Vec<_> = (0..2).map(|_| server.ask(0, "/nowhere")).collect();
    let asking = server.ask(0, "/chat");
    let headless: Vec<_> = (0..2).map(|_| server.accept(0).unwrap()).collect();
    server.send(&headless[0], b"GET /cha");
    let oldest = server.now;
    assert_eq!(server.shards[0].oldest_headless_at(), Some(oldest));
    for client in headless.iter().chain(&lingering) {
        assert_eq!(client.released(), None);
        server.command(0, Command::Reclaim);
        assert_eq!(client.released(), Some(true));
    }
    server.command(0, Command::Reclaim);
    assert_eq!(asking.released(), None, "who asks is not reclaimed");
    assert_eq!(counted(&mut server, Outcome::Aborted), 2);
}

#[test]
fn a_socket_that_does_not_take_the_101_is_reset() {
    for room in [Room::Blocked, Room::Bytes(10), Room::Failed] {
        let mut server = Server::with(|_| {});
        let client = server.accept(0).unwrap();
        client.set_room(room);
        server.send(&client, &upgrade("/chat"));
        assert_eq!(client.released(), Some(true), "{room:?}");
        assert_eq!(server.pool.connections().used, 0);
        assert_eq!(server.take(|event| matches!(event, Event::Withdrawn { .. })).len(), 1);
        server.events.clear();
        assert_eq!(server.known.count(), 0);
    }
}

#[test]
fn a_refused_origin_is_told_once() {
    let mut server = Server::with(|setup| {
        setup.limits.origins = streamconductor_core::config::Origins::Same;
    });
    for _ in 0..2 {
        let mut client = server.accept(0).unwrap();
        let head = String::from_utf8(upgrade("/chat")).unwrap();
        let head = head.replace("Host: example.com", "Host: example.com\r\nOrigin: https://evil.example");
        server.send(&client, head.as_bytes());
        assert_eq!(client.status(), 403);
    }
    let told = std::mem::take(&mut server.events);
    assert!(
        matches!(&told[..], [Event::OriginRefused { origin }] if origin == "https://evil.example"),
        "{told:?}"
    );
    assert_eq!(counted(&mut server, Outcome::Origin), 2);
}

#[test]
fn an_answer_that_the_socket_takes_in_parts_is_whole_before_writing_is_shut() {
    let mut server = Server::with(|setup| setup.asks = true);
    let mut client = server.ask(0, "/chat");
    client.set_room(Room::Bytes(10));
    server.refuse(&client, 401, "not you");
    assert_eq!((client.is_shut(), client.released()), (false, None));
    // Neither a second verdict nor a shutdown answers twice, and what comes meanwhile is discarded.
    server.refuse(&client, 403, "again");
    server.send(&client, b"impatient");
    server.command(0, Command::Depart { until: server.now });
    server.unblock(&client, Room::Bytes(10));
    server.unblock(&client, Room::All);
    assert!(client.is_shut());
    assert!(client.head().starts_with("HTTP/1.1 401 ") && client.head().ends_with("\r\n\r\nnot you\n"));
    assert_eq!(server.pool.connections().used, 0);
    assert_eq!(server.stats().handshakes.iter().sum::<u64>(), 1);
}

#[test]
fn an_answer_that_nobody_takes_ends_with_open_timeout() {
    let mut server = Server::with(|setup| setup.asks = true);
    let refused = server.ask(0, "/chat");
    refused.set_room(Room::Blocked);
    server.refuse(&refused, 401, "not you");
    let undecided = server.ask(0, "/chat");
    undecided.set_room(Room::Blocked);
    let begun = server.accept(0).unwrap();
    begun.set_room(Room::Blocked);
    server.send(&begun, b"GET");
    server.pass(millis(5_100));
    for client in [&refused, &undecided, &begun] {
        assert_eq!(client.released(), Some(true));
    }
    assert_eq!((server.pool.connections().used, server.pool.pending().used), (0, 0));
    assert_eq!(server.stats().handshakes.iter().sum::<u64>(), 3);
}

#[test]
fn a_subprotocol_that_was_not_offered_is_a_500() {
    let mut server = Server::with(|setup| setup.asks = true);
    let mut client = server.ask(0, "/chat");
    server.admit(&client, |admission| admission.subprotocol = Some("never-offered".into()));
    assert_eq!((client.status(), client.is_shut()), (500, true));
    assert_eq!((server.pool.connections().used, counted(&mut server, Outcome::Raised)), (0, 1));
    assert_eq!(server.take(|event| matches!(event, Event::Withdrawn { .. })).len(), 1);
}

//! Receives clients behind proxies, many of one address and many of one user · looks at who comes in · owns the promise
//! that each is counted as who it is, on all shards together, and given back when it goes.
#![allow(clippy::unwrap_used, clippy::panic)]

mod simulation;

use simulation::*;
use streamconductor_core::config::{Eviction, Origins};
use streamconductor_core::handshake::TrustedProxies;
use streamconductor_core::shard::event::{Event, RefusalNotice};
use streamconductor_core::stats::Outcome;

/// The peer of every socket here.
const PROXY: &str = "203.0.113.7";

fn ask(server: &mut Server, shard: usize, headers: &str) -> Client {
    let client = server.accept(shard).unwrap();
    let head = String::from_utf8(upgrade("/chat")).unwrap();
    let end = head.len() - 2;
    server.send(&client, format!("{}{headers}\r\n", &head[..end]).as_bytes());
    client
}

/// A client that the proxy says has this address.
fn from(server: &mut Server, shard: usize, address: &str) -> Client {
    ask(server, shard, &format!("X-Forwarded-For: {address}\r\n"))
}

fn behind_a_proxy(change: impl FnOnce(&mut Setup)) -> Server {
    Server::with(|setup| {
        setup.limits.trusted_proxies = TrustedProxies::listed([PROXY]).unwrap();
        change(setup);
    })
}

/// The address that the application is told of.
fn address_told(server: &mut Server, client: &Client) -> String {
    let arrived = server.take(|event| matches!(event, Event::Arrived(one) if one.connection == client.id));
    let [Event::Arrived(arrival)] = &arrived[..] else { panic!("{arrived:?}") };
    arrival.address.unwrap().to_string()
}

fn notices(server: &mut Server) -> Vec<RefusalNotice> {
    let taken = server.take(|event| matches!(event, Event::Refused(_)));
    let notice = |event| if let Event::Refused(notice) = event { *notice } else { unreachable!() };
    taken.into_iter().map(notice).collect()
}

#[test]
fn behind_a_trusted_proxy_each_client_is_counted_as_itself_on_all_shards() {
    let mut server = behind_a_proxy(|setup| {
        setup.shards = 2;
        setup.limits.max_connections_per_address = Some(2);
    });
    let mut first = from(&mut server, 0, "198.51.100.1");
    let mut second = from(&mut server, 1, "198.51.100.1:4711");
    assert_eq!((first.status(), second.status()), (101, 101));
    assert_eq!(address_told(&mut server, &second), "198.51.100.1:4711");
    for shard in 0..2 {
        let mut refused = from(&mut server, shard, "198.51.100.1");
        assert_eq!(refused.status(), 429);
        assert!(refused.head().contains("Retry-After: 1\r\n"), "{}", refused.head());
    }
    assert_eq!(from(&mut server, 0, "198.51.100.2").status(), 101, "another one behind the same proxy");
    assert_eq!(server.address.count(), 0, "nobody is counted as the proxy");
    server.close(&second, streamconductor_core::close::CloseCode::NORMAL, "");
    server.send(&second, &close(streamconductor_core::close::CloseCode::NORMAL, ""));
    assert_eq!(second.close_code(), 1000);
    assert_eq!(from(&mut server, 0, "198.51.100.1").status(), 101, "given back with the connection");
}

#[test]
fn h21_without_trust_the_peer_is_counted_whatever_it_says_and_the_operator_is_told_once() {
    let mut server = Server::with(|setup| setup.limits.max_connections_per_address = Some(3));
    for number in 0..5 {
        let mut client = from(&mut server, 0, &format!("198.51.100.{number}"));
        assert_eq!(client.status(), if number < 3 { 101 } else { 429 });
        if number < 3 {
            assert_eq!(address_told(&mut server, &client), "203.0.113.7:40000");
        }
    }
    assert_eq!(server.address.count(), 3);
    let told = server.take(|event| matches!(event, Event::ForwardingIgnored { .. }));
    let [Event::ForwardingIgnored { address }] = &told[..] else { panic!("{told:?}") };
    assert_eq!(address.unwrap().to_string(), PROXY);
}

#[test]
fn headers_that_contradict_each_other_are_400_from_a_proxy_only() {
    let headers = "Forwarded: for=198.51.100.1\r\nX-Forwarded-For: 198.51.100.2\r\n";
    assert_eq!(ask(&mut behind_a_proxy(|_| {}), 0, headers).status(), 400);
    assert_eq!(ask(&mut Server::with(|_| {}), 0, headers).status(), 101);
}

#[test]
fn the_scheme_that_a_proxy_names_is_compared_with_the_origin() {
    for (headers, expected) in [
        ("X-Forwarded-Proto: https\r\nOrigin: https://example.com\r\n", 101),
        ("X-Forwarded-Proto: https\r\nOrigin: http://example.com\r\n", 403),
        ("X-Forwarded-Proto: http\r\nOrigin: http://example.com\r\n", 101),
        ("Forwarded: proto=wss\r\nOrigin: http://example.com\r\n", 403),
        // A client of this machine through a proxy elsewhere, and the other way round.
        ("X-Forwarded-For: 127.0.0.1\r\nHost-Is: x\r\nOrigin: http://localhost:3000\r\n", 403),
    ] {
        let mut server = behind_a_proxy(|setup| setup.limits.origins = Origins::Same);
        assert_eq!(ask(&mut server, 0, headers).status(), expected, "{headers}");
        let mut server = Server::with(|setup| setup.limits.origins = Origins::Same);
        let expected = if headers.contains("example.com") { 101 } else { 403 };
        assert_eq!(ask(&mut server, 0, headers).status(), expected, "not trusted: {headers}");
    }
}

#[test]
fn handshakes_above_the_rate_are_429_by_address_and_before_anybody_is_asked() {
    let mut server = behind_a_proxy(|setup| {
        setup.shards = 2;
        setup.asks = true;
        setup.limits.max_handshake_rate = Some(4);
    });
    let statuses = |server: &mut Server, address: &str, count: usize| -> Vec<u16> {
        (0..count)
            .map(|number| {
                let mut client = from(server, number % 2, address);
                if client.head().is_empty() {
                    server.refuse(&client, 401, "no");
                }
                client.status()
            })
            .collect()
    };
    assert_eq!(statuses(&mut server, "198.51.100.1", 6), [401, 401, 401, 401, 429, 429]);
    assert_eq!(statuses(&mut server, "198.51.100.2", 1), [401], "another address has a bucket of its own");
    server.pass(millis(500));
    assert_eq!(statuses(&mut server, "198.51.100.1", 3), [401, 401, 429]);
    let mut refused = from(&mut server, 0, "198.51.100.1");
    assert!(refused.head().contains("Retry-After: 1\r\n") && refused.head().contains("max_handshake_rate"));
    let stats = server.stats();
    assert_eq!(stats.handshakes[Outcome::Rate as usize], 4);
    assert_eq!(stats.handshakes[Outcome::Rejected as usize], 7);
}

#[test]
fn probes_and_malformed_requests_are_no_handshakes() {
    let mut server = Server::with(|setup| setup.limits.max_handshake_rate = Some(1));
    for _ in 0..5 {
        let mut client = server.accept(0).unwrap();
        server.send(&client, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(client.status(), 200);
    }
    assert_eq!(server.ask(0, "/chat").status(), 101);
    assert_eq!(server.ask(0, "/chat").status(), 429);
}

fn admit(server: &mut Server, client: &Client, user: &str) {
    server.admit(client, |admission| admission.user = Some(user.into()));
}

#[test]
fn connections_of_one_user_are_counted_on_all_shards_and_the_newcomer_gets_429() {
    let mut server = Server::with(|setup| {
        setup.shards = 2;
        setup.asks = true;
        setup.limits.max_connections_per_user = Some(2);
    });
    let enter = |server: &mut Server, shard: usize, user: &str| {
        let client = server.ask(shard, "/chat");
        admit(server, &client, user);
        client
    };
    let mut first = enter(&mut server, 0, "ann");
    let mut second = enter(&mut server, 1, "ann");
    assert_eq!((first.status(), second.status()), (101, 101));
    let mut third = enter(&mut server, 1, "ann");
    assert_eq!(third.status(), 429);
    assert!(third.head().contains("Retry-After: 1\r\n") && third.head().contains("max_connections_per_user"));
    assert_eq!(server.pool.connections().used, 2, "its slot is free again");
    assert_eq!(enter(&mut server, 0, "bob").status(), 101);
    let mut nobody = server.ask(0, "/chat");
    server.admit(&nobody, |_| {});
    assert_eq!(nobody.status(), 101, "who has no user is not counted");
    // The application is told that its verdict came to nothing.
    let withdrawn = server.take(|event| matches!(event, Event::Withdrawn { .. }));
    assert_eq!(withdrawn.len(), 1);
    assert_eq!(server.stats().handshakes[Outcome::User as usize], 1);

    server.end(&first);
    assert_eq!(enter(&mut server, 1, "ann").status(), 101, "given back with the connection");
    assert_eq!(enter(&mut server, 1, "ann").status(), 429);
}

#[test]
fn a_user_is_counted_while_it_waits_for_a_slot_and_given_back_when_there_is_none() {
    let mut server = Server::with(|setup| {
        setup.asks = true;
        setup.shards = 2;
        setup.limits.max_connections = 2;
        setup.limits.max_connections_per_user = Some(1);
        setup.limits.eviction = Eviction::Priority;
    });
    server.holds_forwards = true;
    for user in ["ann", "eve"] {
        let mut holder = server.ask(0, "/chat");
        admit(&mut server, &holder, user);
        assert_eq!(holder.status(), 101);
    }
    // On the other shard, with the same priority: nobody leaves for it.
    let mut second = server.ask(1, "/chat");
    admit(&mut server, &second, "bob");
    assert_eq!(second.status(), 503);
    // The application has finished with it, or it would be told of nobody else.
    server.take(|_| true);
    let mut third = server.ask(1, "/chat");
    server.admit(&third, |admission| {
        admission.user = Some("bob".into());
        admission.priority = 1;
    });
    // Its victim is asked for and has not answered yet, but bob is counted.
    assert!(third.head().is_empty());
    let mut fourth = server.ask(1, "/chat");
    server.admit(&fourth, |admission| {
        admission.user = Some("bob".into());
        admission.priority = 2;
    });
    assert_eq!(fourth.status(), 429);
    server.end(&third);
    server.holds_forwards = false;
    server.turn();
    server.take(|_| true);
    let mut fifth = server.ask(1, "/chat");
    server.admit(&fifth, |admission| {
        admission.user = Some("bob".into());
        admission.priority = 3;
    });
    assert_eq!(fifth.status(), 101, "bob's place came back with the one that went while it waited");
}

#[test]
fn a_victim_is_counted_no_more_when_its_slot_has_passed() {
    let mut server = Server::with(|setup| {
        setup.asks = true;
        setup.limits.max_connections = 1;
        setup.limits.max_connections_per_user = Some(1);
        setup.limits.eviction = Eviction::Oldest;
    });
    let ann = server.ask(0, "/chat");
    admit(&mut server, &ann, "ann");
    let mut bob = server.ask(0, "/chat");
    admit(&mut server, &bob, "bob");
    assert_eq!(bob.status(), 101);
    server.take(|_| true);
    let mut ann = server.ask(0, "/chat");
    admit(&mut server, &ann, "ann");
    assert_eq!(ann.status(), 101);
}

#[test]
fn the_operator_is_told_of_the_first_refusal_of_each_kind_and_of_how_many_followed() {
    let mut server = Server::with(|setup| {
        setup.limits.max_connections = 1;
        setup.limits.origins = Origins::listed(["https://example.com"]).unwrap();
    });
    let (_held, _) = server.open(0);
    server.take(|_| true);
    for _ in 0..40 {
        let client = server.accept(0).unwrap();
        server.send(&client, b"nonsense\r\n");
    }
    for _ in 0..3 {
        assert_eq!(server.ask(0, "/chat").status(), 503);
    }
    assert_eq!(ask(&mut server, 0, "Cookie: secret\r\n").status(), 403);
    // A refused origin has an event of its own, with the origin in it.
    assert_eq!(ask(&mut server, 0, "Origin: https://evil.example\r\n").status(), 403);
    let told: Vec<_> = notices(&mut server).iter().map(|one| (one.outcome, one.status, one.others)).collect();
    assert_eq!(told, [("malformed", 400, 0), ("full", 503, 0), ("origin", 403, 0)]);
    assert_eq!(server.take(|event| matches!(event, Event::OriginRefused { .. })).len(), 1);

    server.pass(seconds(9));
    assert_eq!(server.ask(0, "/chat").status(), 503);
    assert!(notices(&mut server).is_empty());
    server.pass(seconds(1));
    assert_eq!(server.ask(0, "/chat").status(), 503);
    let [notice] = &notices(&mut server)[..] else { panic!() };
    assert_eq!((notice.outcome, notice.others), ("full", 3));
    assert_eq!(notice.address.unwrap().to_string(), PROXY);
    assert_eq!(notice.reason, "all connections are taken (max_connections)");
}

#[test]
fn what_the_application_says_to_a_client_is_not_repeated_to_the_operator() {
    let mut server = Server::with(|setup| setup.asks = true);
    let mut client = server.ask(0, "/chat");
    server.refuse(&client, 401, "the token abc has expired");
    assert!(client.head().contains("401"));
    let [notice] = &notices(&mut server)[..] else { panic!() };
    assert_eq!((notice.outcome, notice.status, &*notice.reason), ("rejected", 401, ""));
    // A verdict that never came is the server's word.
    let _late = server.ask(0, "/chat");
    server.pass(seconds(6));
    let [notice] = &notices(&mut server)[..] else { panic!() };
    assert_eq!((notice.outcome, notice.status), ("timed_out", 503));
    assert!(notice.reason.contains("on_connect gave no verdict within open_timeout"));
}

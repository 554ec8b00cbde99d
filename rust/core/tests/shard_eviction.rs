//! Receives newcomers to a full pool · looks at who leaves for them and where the slots are · owns the promise that
//! connections never exceed their maximum, and that a victim's slot is the newcomer's at once.

mod simulation;

use std::sync::Arc;

use simulation::*;
use streamconductor_core::config::Eviction;
use streamconductor_core::gauge::Gauge;
use streamconductor_core::shard::event::Event;

/// A server with `max` connections, each opened a second after the one before.
fn full(order: Eviction, max: usize, shards: usize) -> (Server, Vec<(Client, Arc<Gauge>)>) {
    let mut server = Server::with(|setup| {
        setup.limits.eviction = order;
        setup.limits.max_connections = max;
        setup.asks = true;
        setup.shards = shards;
    });
    let mut clients = Vec::new();
    for number in 0..max {
        server.pass(seconds(1));
        clients.push(server.open(number % shards));
    }
    (server, clients)
}

/// Asks, is admitted, and says whether that brought it in.
fn comes_in(server: &mut Server, shard: usize, priority: i64) -> (Client, bool) {
    let mut client = server.ask(shard, "/chat");
    assert_eq!(client.status(), 0, "nobody leaves before the verdict");
    server.admit(&client, |admission| admission.priority = priority);
    let status = client.status();
    assert!(matches!(status, 101 | 503), "{status}");
    assert!(server.pool.connections().peak <= server.pool.connections().maximum);
    (client, status == 101)
}

fn victims(server: &Server, clients: &mut [(Client, Arc<Gauge>)]) -> Vec<usize> {
    assert_eq!(server.pool.connections().used, server.pool.connections().maximum);
    let evicted = |(number, (client, _)): (usize, &mut (Client, Arc<Gauge>))| {
        (client.close_code() == 1013).then(|| {
            assert!(client.is_shut(), "it lingers");
            number
        })
    };
    clients.iter_mut().enumerate().filter_map(evicted).collect()
}

#[test]
fn each_order_takes_its_own_victim() {
    for (order, expected) in
        [(Eviction::Oldest, vec![0, 1]), (Eviction::Idle, vec![1, 3]), (Eviction::Slowest, vec![2, 0])]
    {
        for shards in [1, 2] {
            let (mut server, mut clients) = full(order, 4, shards);
            server.pass(seconds(1));
            server.send(&clients[0].0, &text("awake"));
            server.pass(seconds(1));
            clients[2].0.set_room(Room::Blocked);
            let gauge = Arc::clone(&clients[2].1);
            server.tell(&clients[2].0, &gauge, "pending", true);
            if order == Eviction::Slowest {
                // Its socket takes the Close, but not what waits before it.
                clients[2].0.set_room(Room::All);
            }
            for _ in 0..2 {
                assert!(comes_in(&mut server, 0, 0).1, "{order:?}");
            }
            let mut found = victims(&server, &mut clients);
            found.sort_by_key(|number| expected.iter().position(|one| one == number));
            assert_eq!(found, expected, "{order:?} over {shards} shards");
            let closed = server.closed(&clients[expected[0]].0);
            assert_eq!((closed.code.0, closed.ending), (1013, "evicted"));
            assert!(closed.reason.contains(&format!("{order:?}").to_lowercase()), "{}", closed.reason);
        }
    }
}

#[test]
fn priority_takes_the_smallest_and_only_for_a_greater_one() {
    for shards in [1, 2] {
        let mut server = Server::with(|setup| {
            setup.limits.eviction = Eviction::Priority;
            setup.limits.max_connections = 3;
            setup.asks = true;
            setup.shards = shards;
        });
        let mut clients = Vec::new();
        for (number, priority) in [5, 3, 4].into_iter().enumerate() {
            let (client, is_in) = comes_in(&mut server, number % shards, priority);
            assert!(is_in);
            clients.push((client, Arc::new(Gauge::new(&server.ledger))));
        }
        for (priority, is_in, expected) in
            [(2, false, vec![]), (3, false, vec![]), (4, true, vec![1]), (5, true, vec![2])]
        {
            let (client, came_in) = comes_in(&mut server, 0, priority);
            assert_eq!(came_in, is_in, "{priority}");
            server.events.clear();
            assert_eq!(victims(&server, &mut clients), expected, "{priority}");
            std::mem::forget(client);
        }
    }
}

#[test]
fn a_victim_whose_socket_is_full_is_reset_and_its_slot_passes_all_the_same() {
    for room in [Room::Blocked, Room::Bytes(3), Room::Failed] {
        for shards in [1, 2] {
            let (mut server, clients) = full(Eviction::Oldest, 2, shards);
            let (victim, gauge) = &clients[0];
            victim.set_room(room);
            gauge.sent(0);
            assert!(comes_in(&mut server, shards - 1, 0).1);
            assert_eq!(victim.released(), Some(room != Room::Failed));
            assert_eq!(server.closed(victim).ending, "evicted");
            assert_eq!(server.pool.connections().used, 2);
            assert_eq!(server.pool.pending().used, 0);
        }
    }
}

#[test]
fn the_victim_lingers_on_the_newcomers_place() {
    for shards in [1, 2] {
        let (mut server, clients) = full(Eviction::Oldest, 2, shards);
        server.reconfigure(|limits| limits.max_pending = 1);
        assert!(comes_in(&mut server, shards - 1, 0).1);
        let victim = &clients[0].0;
        assert_eq!((victim.is_shut(), victim.released()), (true, None));
        assert_eq!((server.pool.pending().used, server.pool.pending().maximum), (1, 1));
        server.pass(millis(1_100));
        assert_eq!(victim.released(), Some(false));
        assert_eq!(server.pool.pending().used, 0);
    }
}

#[test]
fn a_slot_on_its_way_is_never_free() {
    for room in [Room::All, Room::Blocked, Room::Failed] {
        let (mut server, mut clients) = full(Eviction::Oldest, 2, 2);
        clients[0].0.set_room(room);
        server.holds_forwards = true;
        let mut newcomer = server.ask(1, "/chat");
        server.admit(&newcomer, |_| {});
        assert!(server.deliver(1, 0), "the victim is on the other shard");
        server.work();
        assert_eq!(clients[0].0.close_code() == 1013, room == Room::All);
        assert_eq!((newcomer.status(), server.pool.connections().used), (0, 2), "{room:?}");
        let mut thief = server.ask(0, "/chat");
        let arrived = server.take(|event| matches!(event, Event::Arrived(one) if one.connection == thief.id));
        assert!(matches!(&arrived[..], [Event::Arrived(one)] if !one.has_slot), "{arrived:?}");
        assert!(server.deliver(0, 1));
        assert_eq!((newcomer.status(), thief.status()), (101, 0));
        assert_eq!(server.pool.connections().peak, 2);
    }
}

#[test]
fn a_newcomer_that_has_gone_meanwhile_leaves_its_slot_free() {
    let (mut server, mut clients) = full(Eviction::Oldest, 2, 2);
    server.holds_forwards = true;
    let newcomer = server.ask(1, "/chat");
    server.admit(&newcomer, |_| {});
    server.end(&newcomer);
    assert_eq!(server.take(|event| matches!(event, Event::Withdrawn { .. })).len(), 1);
    server.holds_forwards = false;
    server.turn();
    assert_eq!((clients[0].0.close_code(), server.pool.connections().used), (1013, 1));
    server.open(1);
}

#[test]
fn a_victim_that_has_gone_meanwhile_leaves_its_own_slot_to_the_newcomer() {
    let (mut server, mut clients) = full(Eviction::Oldest, 1, 2);
    server.holds_forwards = true;
    let mut newcomer = server.ask(1, "/chat");
    server.admit(&newcomer, |_| {});
    server.end(&clients[0].0);
    server.holds_forwards = false;
    server.turn();
    assert_eq!((newcomer.status(), clients[0].0.close_code()), (101, 0));
    assert_eq!((server.pool.connections().used, server.pool.pending().used), (1, 0));
}

#[test]
fn without_an_order_a_policy_names_the_victim_or_nobody_leaves() {
    for shards in [1, 2] {
        let mut server = Server::with(|setup| {
            setup.has_pool_policy = true;
            setup.limits.max_connections = 2;
            setup.asks = true;
            setup.shards = shards;
        });
        let mut clients = [server.open(0), server.open(0)];
        let (mut refused, is_in) = comes_in(&mut server, 0, 0);
        assert!(!is_in && refused.head().contains("Retry-After"));
        let mut named = server.ask(shards - 1, "/chat");
        let victim = clients[1].0.id;
        server.admit(&named, |admission| admission.victim = Some(victim));
        assert_eq!((named.status(), clients[0].0.close_code(), clients[1].0.close_code()), (101, 0, 1013));
        let mut late = server.ask(shards - 1, "/chat");
        server.admit(&late, |admission| admission.victim = Some(victim));
        assert_eq!((late.status(), clients[0].0.close_code()), (503, 0), "nobody in its stead");
        server.end(&refused);
        server.end(&late);
        server.end(&clients[1].0);
        assert_eq!((server.pool.connections().used, server.pool.pending().used), (2, 0));
    }
}

#[test]
fn without_on_connect_somebody_leaves_at_once() {
    let mut server = Server::with(|setup| {
        setup.limits.eviction = Eviction::Oldest;
        setup.limits.max_connections = 1;
    });
    let (mut first, _) = server.open(0);
    server.open(0);
    assert_eq!((first.close_code(), server.pool.connections().peak), (1013, 1));
}

#[test]
fn a_lowered_maximum_evicts_at_a_rate() {
    for order in [Eviction::Reject, Eviction::Idle] {
        let (mut server, mut clients) = full(order, 40, 1);
        let count = |clients: &mut Vec<(Client, Arc<Gauge>)>| {
            clients.iter_mut().map(|(client, _)| usize::from(client.close_code() == 1013)).sum::<usize>()
        };
        server.reconfigure(|limits| limits.max_connections = 10);
        assert_eq!(count(&mut clients), 0);
        let mut gone = 0;
        while server.pool.connections().excess() > 0 {
            server.pass(TICK);
            let now = count(&mut clients);
            assert!(now <= 5 && now > 0, "{now} in one tick");
            gone += now;
        }
        assert_eq!((gone, server.pool.connections().used), (30, 10));
        // Those who came last stay.
        assert!(clients[30..].iter().all(|(client, _)| !client.is_shut()));
    }
}

#[test]
fn the_eviction_order_can_be_changed_while_connections_live() {
    let (mut server, mut clients) = full(Eviction::Reject, 3, 1);
    server.pass(seconds(1));
    server.send(&clients[0].0, &text("awake"));
    server.reconfigure(|limits| limits.eviction = Eviction::Idle);
    assert!(comes_in(&mut server, 0, 0).1);
    assert_eq!(victims(&server, &mut clients), [1]);
}

#[test]
fn who_is_closing_already_can_be_evicted_too_and_keeps_its_ending() {
    let (mut server, clients) = full(Eviction::Oldest, 1, 1);
    let victim = &clients[0].0;
    server.close(victim, streamconductor_core::close::CloseCode(3000), "bye");
    assert!(comes_in(&mut server, 0, 0).1);
    assert!(victim.is_shut());
    let closed = server.closed(victim);
    assert_eq!((closed.code.0, closed.ending), (3000, "closed"));
}

//! Receives a full memory budget and shutdowns · looks at who is refused, paused, shed and closed when · owns the
//! promises about the budget's levels and the pace of a shutdown.

mod simulation;

use simulation::*;
use streamconductor_core::close::CloseCode;
use streamconductor_core::config::Eviction;
use streamconductor_core::ledger::Owner;
use streamconductor_core::shard::command::Command;
use streamconductor_core::shard::event::Event;

const BUDGET: usize = 1 << 20;

fn with_budget() -> Server {
    Server::with(|setup| {
        setup.limits.memory_budget = BUDGET;
        setup.limits.marks.max_buffered = 1 << 20;
        setup.limits.marks.high_water = 1 << 19;
    })
}

#[test]
fn at_80_percent_newcomers_are_refused_and_probes_answered() {
    let mut server = with_budget();
    let charge = server.ledger.charge(Owner::History, BUDGET * 81 / 100);
    let mut client = server.ask(0, "/chat");
    assert_eq!(client.status(), 503);
    assert!(client.head().contains("memory_budget") && client.head().contains("Retry-After"));
    let mut probe = server.accept(0).unwrap();
    server.send(&probe, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(probe.status(), 200);
    drop(charge);
    server.open(0);
}

#[test]
fn at_90_percent_the_shard_wants_to_be_called_again_until_it_is_over() {
    let mut server = with_budget();
    let (client, _) = server.open(0);
    assert_eq!(server.shards[0].next_tick(server.now), None);
    let charge = server.ledger.charge(Owner::History, BUDGET * 91 / 100);
    server.turn();
    server.tick();
    let due = server.now + TICK;
    assert_eq!(server.shards[0].next_tick(server.now), Some(due));
    server.now = server.now + TICK / 2;
    server.turn();
    assert_eq!(server.shards[0].next_tick(server.now), Some(due), "turns in between do not put it off");
    assert_eq!(client.released(), None, "nobody is ended for it");
    drop(charge);
    server.turn();
    assert_eq!(server.shards[0].next_tick(server.now), None);
}

#[test]
fn at_100_percent_who_holds_the_oldest_bytes_above_low_water_goes_first_and_then_who_hoards_most_inbound() {
    let mut server = with_budget();
    let mut clients: Vec<_> = (0..5).map(|_| server.open(0)).collect();
    for (number, bytes) in [(0, 100), (1, 5_000), (2, 90_000)] {
        let (client, gauge) = &clients[number];
        client.set_room(Room::Blocked);
        server.tell(client, gauge, &"x".repeat(bytes), true);
        server.pass(millis(10));
    }
    server.send(&clients[3].0, &text(&"x".repeat(2_000)));
    server.send(&clients[4].0, &text(&"x".repeat(3_000))[..2_500]);
    let mut charge = server.ledger.charge(Owner::History, 0);
    let now = server.now;
    for expected in [1, 2, 4, 3] {
        charge.resize(BUDGET * 2);
        server.shards[0].work(now, &mut || true);
        charge.resize(0);
        server.turn();
        server.unblock(&clients[expected].0, Room::All);
        let shed: Vec<_> = clients
            .iter_mut()
            .enumerate()
            .filter_map(|(number, (client, _))| (client.close_code() == 1013).then_some(number))
            .collect();
        assert_eq!(shed, [expected], "one a turn");
        server.end(&clients[expected].0);
        let closed = server.closed(&clients[expected].0);
        assert_eq!((closed.code.0, closed.ending), (1013, "over_budget"));
        server.events.retain(|event| !matches!(event, Event::Message { .. }) || expected != 3);
    }
    charge.resize(BUDGET * 2);
    server.shards[0].work(now, &mut || true);
    charge.resize(0);
    server.turn();
    assert_eq!(clients[0].0.released(), None, "below low water");
}

#[test]
fn rings_are_in_the_ledger_and_leave_it_with_the_bytes() {
    let mut server = with_budget();
    let (client, gauge) = server.open(0);
    client.set_room(Room::Bytes(10_000));
    server.tell(&client, &gauge, &"x".repeat(100_000), true);
    server.tell(&client, &gauge, &"x".repeat(100_000), true);
    server.tick();
    assert!((200_000..201_000).contains(&server.ledger.held_by(Owner::Rings)));
    server.unblock(&client, Room::Bytes(100_000));
    server.close(&client, CloseCode::NORMAL, "");
    server.tick();
    assert!((100_000..101_000).contains(&server.ledger.held_by(Owner::Rings)));
    server.unblock(&client, Room::All);
    server.tick();
    assert_eq!(server.ledger.held_by(Owner::Rings), 0, "while the peer's Close is awaited");
}

/// Departs with `count` connections over `time` and says when each was told, in milliseconds.
fn departures(count: usize, shards: usize, time: std::time::Duration) -> Vec<u64> {
    let mut server = Server::with(|setup| setup.shards = shards);
    let mut clients: Vec<_> = (0..count).map(|number| server.open(number % shards).0).collect();
    let (started, until) = (server.now, server.now + time);
    for shard in 0..shards {
        server.command(shard, Command::Depart { until });
    }
    let mut told = Vec::new();
    while told.len() < count {
        for client in &mut clients {
            if client.close_code() == 1012 {
                told.push(server.now.since(started).as_millis() as u64);
                server.send(client, &close(CloseCode::SERVICE_RESTART, ""));
            }
        }
        assert!(server.now <= until + TICK * 2, "{} of {count} told", told.len());
        server.pass(TICK);
    }
    assert_eq!(server.pool.connections().used, 0);
    assert_eq!(server.take(|event| matches!(event, Event::Departed)).len(), shards);
    server.pass(seconds(2));
    assert_eq!(server.take(|event| matches!(event, Event::Departed)).len(), 0);
    told
}

#[test]
fn the_kth_of_n_is_told_at_k_nths_of_the_time_and_the_first_at_once() {
    let told = departures(100, 1, millis(500));
    assert_eq!(told[0], 0);
    for (number, at) in told.iter().enumerate() {
        let due = number as u64 * 5;
        assert!((due..=due + 60).contains(at), "{number} at {at} ms");
    }
}

#[test]
fn a_shutdown_is_never_slower_than_a_hundred_a_second() {
    for shards in [1, 2] {
        let told = departures(60, shards, seconds(14));
        assert!(*told.last().unwrap() <= 700, "{told:?}");
        assert!(*told.last().unwrap() >= 500, "{told:?}");
    }
}

#[test]
fn while_it_departs_nobody_comes_in_and_probes_are_answered() {
    let mut server = Server::with(|setup| setup.asks = true);
    let mut asking = server.ask(0, "/chat");
    let until = server.now + seconds(1);
    server.command(0, Command::Depart { until });
    assert_eq!(asking.status(), 503, "no verdict is awaited any more");
    assert_eq!(server.take(|event| matches!(event, Event::Departed)).len(), 1);
    assert_eq!(server.ask(0, "/chat").status(), 503);
    let mut probe = server.accept(0).unwrap();
    server.send(&probe, b"HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(probe.status(), 200);
}

#[test]
fn abandon_resets_whatever_is_left_and_tells_each_ending_once() {
    let mut server = Server::with(|setup| {
        setup.asks = true;
        setup.limits.eviction = Eviction::Oldest;
    });
    let (open, gauge) = server.open(0);
    let (closing, _) = server.open(0);
    server.close(&closing, CloseCode::NORMAL, "");
    let (blocked, blocked_gauge) = server.open(0);
    blocked.set_room(Room::Blocked);
    server.tell(&blocked, &blocked_gauge, "never", true);
    let asking = server.ask(0, "/chat");
    let headless = server.accept(0).unwrap();
    let lingering = server.ask(0, "/nowhere");
    server.command(0, Command::Abandon);
    for client in [&open, &closing, &blocked, &asking, &headless, &lingering] {
        assert_eq!(client.released(), Some(true));
    }
    for (client, ending) in [(&open, "shutdown"), (&closing, "closed"), (&blocked, "shutdown")] {
        assert_eq!(server.closed(client).ending, ending);
    }
    assert_eq!(server.take(|event| matches!(event, Event::Withdrawn { .. })).len(), 1);
    server.events.clear();
    drop((gauge, blocked_gauge));
    server.tick();
    server.tick();
    assert!(server.events.is_empty());
    let (connections, pending) = (server.pool.connections().used, server.pool.pending().used);
    assert_eq!((connections, pending, server.known.count(), server.shards[0].sockets()), (0, 0, 0, 0));
    assert_eq!((server.ledger.used(), server.stats().pending().messages), (0, 0));
}

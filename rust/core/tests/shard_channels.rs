//! Receives publications, joins and leaves in every interleaving · looks at what each subscriber gets · owns the
//! promise of one order per channel, from the join to the leave.
#![allow(clippy::indexing_slicing, reason = "functions that only tests call may fail as a test does")]

mod simulation;

use std::sync::Arc;

use bytes::Bytes;
use simulation::*;
use streamconductor_core::channel::Channel;
use streamconductor_core::close::Ending;
use streamconductor_core::codec::Kind;
use streamconductor_core::deflate::Prepared;
use streamconductor_core::shard::command::{Audience, Broadcast, Command, Filter};

fn joins(server: &mut Server, client: &Client, name: &str, first: Option<&str>) -> Arc<Channel> {
    let channel = server.registry.join(name);
    let first = first.map(|text| Bytes::from(server_frame(Kind::Text, text.as_bytes())));
    let (home, now) = (channel.home(), server.now);
    let (connection, encoding) = (client.id, client.encoding());
    let command = Command::Subscribe { connection, channel: Arc::clone(&channel), encoding, first };
    server.shards[home].command(command, now);
    channel
}

fn leaves(server: &mut Server, client: &Client, channel: &Arc<Channel>) {
    let (home, now) = (channel.home(), server.now);
    let command = Command::Unsubscribe { connection: client.id, channel: Arc::clone(channel) };
    server.shards[home].command(command, now);
}

#[test]
fn a_newcomer_gets_nothing_from_before_and_everything_after_within_one_turn() {
    let mut server = Server::with(|_| {});
    let (mut early, _) = server.open(0);
    let (mut late, gauge) = server.open(0);
    let room = joins(&mut server, &early, "room", None);
    server.publish_quietly(&room, "1", 0);
    gauge.sent(7);
    joins(&mut server, &late, "room", Some("first"));
    server.publish_quietly(&room, "2", 0);
    leaves(&mut server, &early, &room);
    server.publish_quietly(&room, "3", 0);
    server.turn();
    assert_eq!(early.texts(), ["1", "2"]);
    assert_eq!(late.texts(), ["first", "2", "3"]);
    assert_eq!((room.subscribers(), gauge.buffered()), (1, 0));
}

#[test]
fn a_second_subscription_is_none_and_a_second_leave_neither() {
    let mut server = Server::with(|_| {});
    let (mut client, _) = server.open(0);
    let room = server.subscribe(&client, "room");
    server.subscribe(&client, "room");
    server.publish(&room, "once");
    assert_eq!((client.texts(), room.subscribers()), (vec!["once".to_owned()], 1));
    server.unsubscribe(&client, &room);
    server.unsubscribe(&client, &room);
    server.publish(&room, "never");
    assert_eq!((client.texts(), room.subscribers()), (vec![], 0));
    server.subscribe(&client, "room");
    server.publish(&room, "again");
    assert_eq!(client.texts(), ["again"]);
}

#[test]
fn a_first_frame_for_who_has_gone_is_counted_back() {
    let mut server = Server::with(|_| {});
    let (client, gauge) = server.open(0);
    server.end_with(&client, Ending::HandlerRaised);
    gauge.sent(7);
    let room = joins(&mut server, &client, "room", Some("first"));
    server.turn();
    assert_eq!((gauge.buffered(), room.subscribers()), (0, 0));
    server.end(&client);
    joins(&mut server, &client, "room", Some("first"));
    server.turn();
    assert_eq!((server.stats().pending().messages, room.subscribers()), (0, 0));
}

#[test]
fn a_fan_out_over_several_turns_misses_nobody_whoever_comes_and_goes_meanwhile() {
    let mut server = Server::with(|setup| setup.limits.max_connections = 2_000);
    let mut clients: Vec<Client> = (0..1_000).map(|_| server.open(0).0).collect();
    let room = server.registry.join("room");
    room.leave();
    for client in &clients {
        joins(&mut server, client, "room", None);
    }
    server.turn();
    server.publish_quietly(&room, "1", 0);
    let now = server.now;
    // The turn's time is over at the first look at the clock.
    assert!(server.shards[0].work(now, &mut || false));
    server.publish_quietly(&room, "2", 0);
    leaves(&mut server, &clients[999], &room);
    leaves(&mut server, &clients[0], &room);
    server.shards[0].ended(clients[998].id.index(), now);
    server.shards[0].ended(clients[1].id.index(), now);
    let newcomer = server.accept(0).unwrap();
    server.shards[0].bytes(newcomer.id.index(), &mut upgrade("/chat"), now);
    clients.push(newcomer);
    joins(&mut server, &clients[1_000], "room", None);
    joins(&mut server, &clients[0], "room", None);
    server.publish_quietly(&room, "3", 0);
    for _ in 0..3 {
        assert!(server.shards[0].work(now, &mut || false));
    }
    server.publish_quietly(&room, "4", 0);
    server.turn();
    assert_eq!(room.subscribers(), 998);
    for (number, client) in clients.iter_mut().enumerate() {
        let texts = client.texts().concat();
        match number {
            0 | 2..=997 => assert_eq!(texts, "1234", "{number}"),
            // Lost in the middle of it.
            1 | 998 => assert!("12".starts_with(&texts)),
            999 => assert_eq!(texts, "12"),
            _ => assert_eq!(texts, "34"),
        }
    }
    // Everybody still stands where the table says: leaving by place removes the right one.
    for client in clients.iter().step_by(3) {
        leaves(&mut server, client, &room);
    }
    server.publish(&room, "5");
    let told: Vec<usize> = (0..=1_000).filter(|number| !clients[*number].texts().is_empty()).collect();
    let expected = (0..=1_000).filter(|number| number % 3 != 0 && ![1, 998, 999].contains(number));
    assert_eq!(told, expected.collect::<Vec<_>>());
}

/// From the publication that followed a join to the one that followed the leave, if there was one.
type Span = (u32, Option<u32>);

#[test]
fn all_shards_see_one_order_however_forwards_are_interleaved() {
    for seed in 0..60 {
        let count = 2 + seed % 3;
        let mut random = Random::new(seed as u64);
        let mut server = Server::with(|setup| setup.shards = count);
        let mut clients: Vec<Client> = (0..8).map(|number| server.open(number % count).0).collect();
        server.holds_forwards = true;
        let names = ["a", "b", "c"];
        let mut published = [0_u32; 3];
        // What each client may get of each channel: joined after `from`, left before `until`.
        let mut spans: Vec<[Vec<Span>; 3]> = (0..8).map(|_| Default::default()).collect();
        let channels: Vec<_> = names.iter().map(|name| server.registry.join(name)).collect();
        for _ in 0..300 {
            let (who, which) = (random.below(8), random.below(3));
            match random.below(12) {
                0..5 => {
                    let payload = format!("{} {}", names[which], published[which]);
                    server.publish_quietly(&channels[which], &payload, 0);
                    published[which] += 1;
                }
                5 => {
                    if spans[who][which].last().is_none_or(|span| span.1.is_some()) {
                        joins(&mut server, &clients[who], names[which], None);
                        spans[who][which].push((published[which], None));
                    }
                }
                6 => {
                    if let Some(span) = spans[who][which].last_mut().filter(|span| span.1.is_none()) {
                        span.1 = Some(published[which]);
                        leaves(&mut server, &clients[who], &channels[which]);
                    }
                }
                7 => server.work(),
                _ => {
                    server.deliver(random.below(count), random.below(count));
                }
            }
            for shard in 0..count {
                server.collect(shard);
            }
        }
        server.holds_forwards = false;
        server.turn();
        for (client, spans) in clients.iter_mut().zip(&spans) {
            let texts = client.texts();
            for (which, name) in names.iter().enumerate() {
                let got: Vec<u32> = texts
                    .iter()
                    .filter_map(|text| text.strip_prefix(&format!("{name} ")))
                    .map(|number| number.parse().unwrap())
                    .collect();
                let end = |span: &(u32, Option<u32>)| span.1.unwrap_or(published[which]);
                let expected: Vec<u32> = spans[which].iter().flat_map(|span| span.0..end(span)).collect();
                assert_eq!(got, expected, "seed {seed}, channel {name}");
            }
        }
        for (which, channel) in channels.iter().enumerate() {
            let subscribed =
                spans.iter().filter(|spans| spans[which].last().is_some_and(|span| span.1.is_none()));
            assert_eq!(channel.subscribers(), 1 + subscribed.count());
        }
        // Whoever goes takes its subscriptions along, also those that are on their way.
        server.holds_forwards = true;
        for client in &clients {
            joins(&mut server, client, "a", None);
            server.shards[client.id.shard()].ended(client.id.index(), server.now);
        }
        server.holds_forwards = false;
        server.turn();
        assert!(channels.iter().all(|channel| channel.subscribers() == 1), "only this test's own");
    }
}

#[test]
fn a_chunk_is_encoded_once_and_charged_until_its_last_holder_lets_go() {
    use streamconductor_core::ledger::Owner;
    let mut server = Server::with(|setup| setup.shards = 2);
    let clients: Vec<_> = (0..6).map(|number| server.open(number % 2)).collect();
    let mut room = None;
    for (client, _) in &clients {
        client.set_room(Room::Blocked);
        room = Some(server.subscribe(client, "room"));
    }
    server.publish(&room.unwrap(), &"x".repeat(900));
    let held = server.ledger.held_by(Owner::Chunks);
    assert!((900..1_200).contains(&held), "{held}");
    for (client, _) in &clients {
        assert!(server.ledger.held_by(Owner::Chunks) > 0);
        server.unblock(client, Room::All);
    }
    assert_eq!(server.ledger.held_by(Owner::Chunks), 0);
}

#[test]
fn a_large_turn_is_several_chunks_in_order() {
    let mut server = Server::with(|setup| setup.limits.marks.max_buffered = 1 << 20);
    let (mut client, _) = server.open(0);
    let room = joins(&mut server, &client, "room", None);
    let payloads: Vec<String> = (0..40).map(|number| format!("{number}{}", "x".repeat(9_000))).collect();
    for payload in &payloads {
        server.publish_quietly(&room, payload, 0);
    }
    server.turn();
    assert_eq!(client.texts(), payloads);
}

fn broadcast(server: &mut Server, payload: &str, to: Audience, exclude: &[&Client]) {
    let exclude = exclude.iter().map(|client| client.id).collect();
    let payload = Bytes::copy_from_slice(payload.as_bytes());
    let broadcast = Broadcast { kind: Kind::Text, payload, prepared: Prepared::default(), to, exclude };
    server.command(0, Command::Broadcast(Box::new(broadcast)));
}

#[test]
fn broadcasts_and_lists_find_exactly_who_is_meant_under_churn() {
    let mut server = Server::with(|setup| setup.asks = true);
    let mut random = Random::new(7);
    let mut clients: Vec<(Client, usize, usize)> = Vec::new();
    let (users, paths) = (["ada", "bob", "eve"], ["/chat", "/beat"]);
    for _ in 0..300 {
        let (user, path) = (random.below(3), random.below(2));
        let mut client = server.ask(0, paths[path]);
        server.admit(&client, |admission| admission.user = Some(users[user].into()));
        assert_eq!(client.status(), 101);
        clients.push((client, user, path));
        while clients.len() > 12 {
            let (client, ..) = clients.swap_remove(random.below(clients.len()));
            match random.below(3) {
                0 => server.end(&client),
                1 => {
                    server.end_with(&client, Ending::HandlerRaised);
                    server.send(&client, &close(streamconductor_core::close::CloseCode::NORMAL, ""));
                    server.end(&client);
                }
                _ => {
                    server.send(&client, &close(streamconductor_core::close::CloseCode::NORMAL, ""));
                    server.end(&client);
                }
            }
        }
        server.events.clear();
    }
    broadcast(&mut server, "all", Audience::Everyone, &[&clients[3].0]);
    broadcast(&mut server, "ada", Audience::User("ada".into()), &[]);
    let these =
        vec![clients[5].0.id, clients[6].0.id, streamconductor_core::id::ConnectionId::new(0, 0, 999)];
    broadcast(&mut server, "these", Audience::These(these), &[&clients[6].0]);
    for (number, (client, user, _)) in clients.iter_mut().enumerate() {
        let mut expected = Vec::new();
        expected.extend((number != 3).then_some("all"));
        expected.extend((*user == 0).then_some("ada"));
        expected.extend((number == 5).then_some("these"));
        assert_eq!(client.texts(), expected, "{number}");
    }
    for (user, name) in users.iter().enumerate() {
        for (path, pattern) in paths.iter().enumerate() {
            let filter =
                Filter { user: Some((*name).into()), path: Some((*pattern).into()), ..Filter::default() };
            let (sender, answer) = std::sync::mpsc::channel();
            let command = Command::List { filter, answer: Box::new(move |views| drop(sender.send(views))) };
            server.command(0, command);
            let mut found: Vec<_> = answer.recv().unwrap().iter().map(|view| view.connection).collect();
            let mut expected: Vec<_> =
                clients.iter().filter(|one| one.1 == user && one.2 == path).map(|one| one.0.id).collect();
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected);
        }
    }
    server.command(0, Command::Disconnect { user: "bob".into(), reason: "banned".into() });
    for (client, user, _) in &mut clients {
        assert_eq!(client.close_code(), if *user == 1 { 4403 } else { 0 });
    }
}

#[test]
fn admission_may_bring_subscriptions() {
    let mut server = Server::with(|setup| {
        setup.shards = 2;
        setup.asks = true;
    });
    for name in ["a", "b", "c", "d"] {
        let mut client = server.ask(0, "/chat");
        let channel = server.registry.join(name);
        server.admit(&client, |admission| admission.subscribe = vec![Arc::clone(&channel)]);
        assert_eq!(client.status(), 101);
        server.publish(&channel, name);
        assert_eq!(client.texts(), [name]);
        let gone = server.ask(0, "/chat");
        server.end(&gone);
        server.registry.join(name);
        server.admit(&gone, |admission| admission.subscribe = vec![Arc::clone(&channel)]);
        assert_eq!(channel.subscribers(), 1, "counted back");
    }
}

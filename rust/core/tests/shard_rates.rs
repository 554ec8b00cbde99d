//! Receives more than the rates of a connection allow · looks at what is heard, and when · owns the promise that reading
//! pauses, that nothing is lost by it, and that control frames have no such patience.

mod simulation;

use simulation::*;
use streamconductor_core::close::CloseCode;
use streamconductor_core::codec::{Control, Kind, Opcode};
use streamconductor_core::config::Limits;
use streamconductor_core::shard::command::Command;

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| format!("{number:04}")).collect()
}

fn frames(range: std::ops::Range<u32>) -> Vec<u8> {
    numbers(range).iter().flat_map(|payload| text(payload)).collect()
}

fn open(change: impl FnOnce(&mut Limits)) -> (Server, Client) {
    let mut server = Server::with(|setup| change(&mut setup.limits));
    let (client, _) = server.open(0);
    (server, client)
}

/// What is heard in each of the next tenths of a second.
fn heard_by_tenths(server: &mut Server, client: &Client, tenths: usize) -> Vec<usize> {
    let mut counts = Vec::new();
    for _ in 0..tenths {
        server.pass(millis(100));
        counts.push(server.heard(client).len());
    }
    counts
}

#[test]
fn f13_too_many_frames_pause_reading_and_lose_nothing() {
    let (mut server, client) = open(|limits| limits.max_frame_rate = Some(10));
    server.pass(seconds(5));
    server.send(&client, &frames(0..35));
    let mut heard = server.heard(&client);
    assert_eq!((heard.len(), client.is_reading()), (10, false), "one second's worth comes at once");
    server.pass(seconds(2));
    heard.extend(server.heard(&client));
    assert!((29..=30).contains(&heard.len()), "{} after two seconds", heard.len());
    server.pass(seconds(1));
    heard.extend(server.heard(&client));
    assert_eq!(heard, numbers(0..35));
    assert!(client.is_reading());
}

#[test]
fn the_rate_is_spread_and_not_a_burst_a_second() {
    let (mut server, client) = open(|limits| limits.max_message_rate = Some(10));
    server.send(&client, &frames(0..100));
    assert_eq!(server.heard(&client).len(), 10);
    let counts = heard_by_tenths(&mut server, &client, 30);
    assert!(counts.iter().all(|count| *count <= 2), "{counts:?}");
    assert!((29..=30).contains(&counts.iter().sum::<usize>()), "{counts:?}");
}

#[test]
fn a_rate_faster_than_the_wheel_is_kept_too() {
    let (mut server, client) = open(|limits| limits.max_message_rate = Some(1_000));
    server.send(&client, &frames(0..4_000));
    let mut heard = server.heard(&client).len();
    assert_eq!(heard, 1_000);
    server.pass(seconds(2));
    heard += server.heard(&client).len();
    // A tick is 50 ms, in which 50 come together.
    assert!((2_900..=3_000).contains(&heard), "{heard}");
}

#[test]
fn frames_of_a_fragmented_message_count_each() {
    let (mut server, client) = open(|limits| limits.max_frame_rate = Some(10));
    let fragments = |count: usize| {
        let mut message = frame(Opcode::Data(Kind::Text), false, b"a");
        for _ in 0..count - 2 {
            message.extend(frame(Opcode::Continuation, false, b""));
        }
        message.extend(frame(Opcode::Continuation, true, b"z"));
        message
    };
    server.send(&client, &[fragments(30), text("next")].concat());
    // Between messages only: the message is whole first, and its frames are owed then.
    assert_eq!(server.heard(&client), ["az"]);
    assert!(!client.is_reading());
    server.pass(millis(2_000));
    assert!(
        server.heard(&client).is_empty(),
        "20 above the burst take two seconds, and the next one more tenth"
    );
    server.pass(millis(200));
    assert_eq!(server.heard(&client), ["next"]);
}

#[test]
fn messages_are_counted_however_many_frames_they_have_and_control_frames_are_none() {
    let (mut server, mut client) = open(|limits| limits.max_message_rate = Some(3));
    server.send(&client, &control(Control::Ping, b"x").repeat(50));
    assert_eq!(client.got().len(), 50);
    let message =
        [frame(Opcode::Data(Kind::Text), false, b"a"), frame(Opcode::Continuation, true, b"b")].concat();
    server.send(&client, &message.repeat(5));
    assert_eq!(server.heard(&client).len(), 3);
    server.pass(millis(800));
    assert_eq!(server.heard(&client).len(), 2);
}

#[test]
fn bytes_above_the_rate_are_owed_and_paid_off_before_the_next_message() {
    let (mut server, client) = open(|limits| limits.max_byte_rate = Some(1_000));
    server.send(&client, &[text(&"x".repeat(5_000)), text("next"), text("last")].concat());
    assert_eq!(server.heard(&client).len(), 1, "a message larger than the bucket passes, whole");
    assert!(!client.is_reading());
    server.pass(millis(3_900));
    assert!(server.heard(&client).is_empty());
    server.pass(millis(200));
    assert_eq!(server.heard(&client), ["next", "last"]);
    assert!(client.is_reading());
}

#[test]
fn the_slowest_of_several_rates_decides() {
    let (mut server, client) = open(|limits| {
        limits.max_frame_rate = Some(100);
        limits.max_message_rate = Some(50);
        limits.max_byte_rate = Some(40);
    });
    server.send(&client, &frames(0..60));
    assert_eq!(server.heard(&client).len(), 10, "40 bytes of four each");
    server.pass(seconds(2));
    assert!((19..=20).contains(&server.heard(&client).len()));

    let (mut server, client) = open(|limits| {
        limits.max_message_rate = Some(2);
        limits.max_byte_rate = Some(8);
    });
    server.send(&client, &frames(0..5));
    assert_eq!(server.heard(&client).len(), 2, "both are used up");
    server.pass(millis(400));
    assert!(server.heard(&client).is_empty(), "a byte is there, but no message");
    server.pass(millis(150));
    assert_eq!(server.heard(&client).len(), 1);
}

#[test]
fn who_is_held_back_is_not_declared_dead_for_it() {
    let (mut server, mut client) = open(|limits| {
        limits.max_message_rate = Some(1);
        limits.ping_interval = Some(seconds(1));
        limits.ping_timeout = seconds(1);
    });
    server.send(&client, &frames(0..8));
    for _ in 0..6 {
        server.pass(seconds(1));
        assert_eq!(client.released(), None);
        client.got();
    }
    server.pass(millis(100));
    assert_eq!(server.heard(&client).len(), 7);
}

#[test]
fn a_frame_rate_does_not_keep_a_closing_connection_from_hearing_the_answer() {
    let (mut server, client) = open(|limits| {
        limits.max_frame_rate = Some(10);
        limits.max_message_rate = Some(10);
        limits.max_byte_rate = Some(10);
    });
    server.close(&client, CloseCode::NORMAL, "");
    server.send(&client, &frames(0..50));
    server.send(&client, &close(CloseCode::NORMAL, ""));
    assert!(client.is_shut());
    assert_eq!(server.closed(&client).ending, "closed");
}

#[test]
fn another_rate_is_kept_at_once_also_by_who_waits() {
    let (mut server, client) = open(|limits| limits.max_byte_rate = Some(1));
    server.send(&client, &[text(&"x".repeat(10_000)), text("next")].concat());
    assert_eq!(server.heard(&client).len(), 1);
    server.pass(seconds(60));
    assert!(server.heard(&client).is_empty(), "it owes hours");
    let reconfigure = |server: &mut Server, rate| {
        let mut limits = server.shards[0].limits().as_ref().clone();
        limits.max_byte_rate = rate;
        server.command(0, Command::Reconfigure { limits: limits.into(), tick: TICK });
    };
    reconfigure(&mut server, Some(20));
    server.pass(seconds(60));
    assert!(server.heard(&client).is_empty(), "it still owes minutes");
    reconfigure(&mut server, None);
    server.pass(millis(100));
    assert_eq!(server.heard(&client), ["next"]);
    assert!(client.is_reading());
}

#[test]
fn f20_too_many_control_frames_are_1008() {
    let (mut server, mut client) = open(|limits| limits.max_control_rate = Some(10));
    for _ in 0..3 {
        server.pass(millis(1_000));
        for _ in 0..10 {
            server.send(&client, &control(Control::Ping, b""));
        }
        assert_eq!(client.got().len(), 10, "ten are allowed, and answered");
    }
    server.pass(millis(200));
    server.send(&client, &control(Control::Ping, b"").repeat(2));
    assert_eq!(client.got().len(), 2, "two more after a fifth of a second");
    server.send(&client, &[control(Control::Pong, b""), text("behind")].concat());
    assert_eq!(client.close_code(), 1008);
    assert!(server.heard(&client).is_empty());
    server.end(&client);
    assert!(server.closed(&client).reason.contains("10 control frames in a second (max_control_rate)"));
}

#[test]
fn f21_a_flood_of_pings_that_is_never_read_ends_in_1008_and_leaves_nothing_behind() {
    let (mut server, mut client) = open(|limits| limits.max_control_rate = Some(100));
    client.set_room(Room::Blocked);
    for number in 0..200_u8 {
        server.send(&client, &control(Control::Ping, &[number]));
    }
    server.unblock(&client, Room::All);
    let got = client.got();
    assert!(matches!(&got[..], [Got::Close(1008, reason)] if reason.contains("max_control_rate")), "{got:?}");
}

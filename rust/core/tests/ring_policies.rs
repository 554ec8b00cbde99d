//! Receives one situation a test · states what a slow reader's ring does in it · owns the examples of the promise
//! "Backpressure before memory limits", with numbers that can be checked by hand.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)] // a panic is a failed test

#[path = "ring_support/mod.rs"]
mod support;

use bytes::Bytes;
use streamconductor_core::config::{Marks, Overflow};
use streamconductor_core::ring::{ChunkBuilder, Ring, Tally, Verdict};
use support::{MARKS, PING, at, chunk, frame, gathered, keyed, push, send, tally, waiting};

#[test]
fn disconnect_dwells_from_above_high_water_to_low_water_and_acts_at_once_at_max_buffered() {
    let mut ring = Ring::new();
    push(&mut ring, &chunk(1, Overflow::Disconnect, "abcde"));
    assert!(ring.dwell_since().is_none() && !ring.is_above(), "at high water is not above it");
    ring.push_frame(Bytes::from(frame('f')), false, at(2), &MARKS);
    ring.push_frame(Bytes::from(frame('g')), false, at(3), &MARKS);
    assert_eq!(ring.dwell_since(), Some(at(2)));
    let pushed = ring.push_chunk(&chunk(1, Overflow::Disconnect, "1234"), at(4), &MARKS);
    assert_eq!(pushed.verdict, Verdict::SlowConsumer { buffered: 110, limit: 100 });
    assert_eq!((waiting(&ring).as_str(), ring.totals().discarded), ("abcdefg", tally(4)));
    ring.took(49, at(5), &MARKS);
    assert!(ring.dwell_since().is_some() && ring.is_above());
    ring.took(1, at(6), &MARKS);
    assert!(ring.dwell_since().is_none() && !ring.is_above());
}

#[test]
fn awaited_bytes_and_dropping_channels_start_no_dwell() {
    let mut ring = Ring::new();
    send(&mut ring, "abcdef", true);
    assert!(ring.is_above() && ring.unawaited() == 0);
    push(&mut ring, &chunk(1, Overflow::Disconnect, "g"));
    assert!(ring.dwell_since().is_none());
    let mut ring = Ring::new();
    push(&mut ring, &chunk(1, Overflow::DropOldest, "abcdef"));
    assert!(ring.is_above() && ring.dwell_since().is_none());
}

#[test]
fn a_channel_with_a_mark_of_its_own_dwells_by_its_own_bytes() {
    let mut ring = Ring::new();
    send(&mut ring, "abc", false);
    push(&mut ring, &keyed(1, Overflow::Disconnect, Some(20), "de", false));
    assert!(ring.dwell_since().is_none());
    push(&mut ring, &keyed(1, Overflow::Disconnect, Some(20), "f", false));
    assert!(ring.dwell_since().is_some());
    ring.took(52, at(2), &MARKS);
    assert!(ring.dwell_since().is_none(), "at 8 of 20 bytes: its low water, as 20 is to 50");
}

#[test]
fn drop_oldest_drops_to_high_water_in_one_pass_and_spares_what_may_not_go() {
    let mut ring = Ring::new();
    push(&mut ring, &chunk(1, Overflow::DropOldest, "abc"));
    send(&mut ring, "S", false);
    push(&mut ring, &chunk(2, Overflow::Disconnect, "D"));
    push(&mut ring, &chunk(3, Overflow::DropNewest, "defg"));
    ring.took(5, at(2), &MARKS);
    assert_eq!(push(&mut ring, &chunk(1, Overflow::DropOldest, "h")), Tally::ZERO);
    // 105 bytes; 50 may stay, the begun `a` among them.
    assert_eq!(push(&mut ring, &chunk(1, Overflow::DropOldest, "i")), tally(6));
    ring.push_ping(PING, at(2));
    assert_eq!(gathered(&ring)[0], frame('a')[5..]);
    ring.took(5, at(2), &MARKS);
    assert_eq!(waiting(&ring), "!SDhi");
    assert_eq!(gathered(&ring).len(), 1 + 2 + 2);
}

#[test]
fn drop_newest_drops_the_newcomer_first() {
    let mut ring = Ring::new();
    push(&mut ring, &chunk(1, Overflow::DropNewest, "abcdef"));
    send(&mut ring, "S", true);
    push(&mut ring, &chunk(1, Overflow::DropOldest, "gh"));
    assert_eq!(push(&mut ring, &chunk(1, Overflow::DropNewest, "ij")), tally(6));
    assert_eq!(waiting(&ring), "abcdS");
}

#[test]
fn a_newcomer_for_which_undroppable_bytes_leave_no_room_is_dropped() {
    for overflow in [Overflow::DropOldest, Overflow::DropNewest, Overflow::Conflate] {
        let mut ring = Ring::new();
        send(&mut ring, "abcdefghij", false);
        assert_eq!(push(&mut ring, &chunk(1, overflow, "k")), tally(1));
        assert_eq!((waiting(&ring).as_str(), ring.totals().dropped), ("abcdefghij", tally(1)));
    }
    let mut ring = Ring::new();
    send(&mut ring, "abcdefghi", false);
    assert_eq!(push(&mut ring, &chunk(1, Overflow::DropOldest, "klm")), tally(2));
    assert_eq!(waiting(&ring), "abcdefghim", "the newest is kept where there is room");
}

#[test]
fn a_channel_above_its_own_mark_pays_before_the_others() {
    let mut ring = Ring::new();
    push(&mut ring, &chunk(1, Overflow::DropOldest, "abc"));
    push(&mut ring, &keyed(2, Overflow::DropOldest, Some(20), "1234567", false));
    assert_eq!(push(&mut ring, &keyed(2, Overflow::DropOldest, Some(20), "8", false)), tally(6));
    assert_eq!(waiting(&ring), "abc78");
}

#[test]
fn conflation_starts_above_high_water_with_what_waits_and_ends_at_low_water() {
    let mut ring = Ring::new();
    push(&mut ring, &keyed(1, Overflow::Conflate, None, "abab", true));
    push(&mut ring, &chunk(2, Overflow::DropOldest, "x"));
    assert_eq!(waiting(&ring), "ababx");
    ring.took(5, at(2), &MARKS);
    // 55 bytes: the begun `a` stays, though superseded; the first `b` goes.
    assert_eq!(push(&mut ring, &keyed(1, Overflow::Conflate, None, "c", true)), tally(1));
    ring.took(5, at(2), &MARKS);
    assert_eq!(waiting(&ring), "abxc");
    // Still conflating below high water, and the newest goes to the tail.
    assert_eq!(push(&mut ring, &keyed(1, Overflow::Conflate, None, "aa", true)), tally(2));
    assert_eq!(waiting(&ring), "bxca");
    ring.took(20, at(3), &MARKS);
    assert_eq!(push(&mut ring, &keyed(1, Overflow::Conflate, None, "aa", true)), Tally::ZERO);
    assert_eq!(waiting(&ring), "caaa");
}

#[test]
fn without_keys_the_newest_of_each_channel_stays() {
    let mut ring = Ring::new();
    send(&mut ring, "STU", true);
    for channel in [1, 2, 1, 2] {
        push(&mut ring, &chunk(channel, Overflow::Conflate, if channel == 1 { "ab" } else { "yz" }));
    }
    assert_eq!((waiting(&ring).as_str(), ring.totals().dropped), ("STUbz", tally(6)));
}

#[test]
fn conflation_over_many_keys_keeps_its_storage_in_proportion_to_what_waits() {
    let marks = Marks { high_water: 50, low_water: 5, max_buffered: 100_000 };
    let mut ring = Ring::new();
    // It stays at the front, so that nothing behind it is freed by being taken.
    ring.push_frame(Bytes::from(frame('S')), true, at(1), &marks);
    for round in 0..5_000_u64 {
        let mut builder = ChunkBuilder::new();
        for key in 0..8 {
            builder.push(1 + key, &frame('k'));
        }
        let chunk = builder.seal(1, Overflow::Conflate, None, at(1), None);
        ring.push_chunk(&chunk, at(1), &marks);
        assert!(ring.storage() < 20_000, "{} in round {round}", ring.storage());
    }
    assert_eq!(ring.pending(), tally(9));
    // New keys all the time, and a reader that takes as much as is published.
    for key in 100..10_000 {
        let mut builder = ChunkBuilder::new();
        builder.push(key, &frame('n'));
        ring.push_chunk(&builder.seal(1, Overflow::Conflate, None, at(1), None), at(1), &marks);
        ring.took(10, at(1), &marks);
        assert!(ring.storage() < 20_000, "{} at key {key}", ring.storage());
    }
    assert_eq!(ring.pending(), tally(9));
}

//! Receives one situation a test · states what a slow reader's ring does in it · owns the examples of DESIGN §7,
//! "Backpressure before memory limits", with numbers that can be checked by hand: each message is 10 bytes.

use std::io::IoSlice;
use std::mem::size_of;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use streamconductor_core::config::{Marks, Overflow};
use streamconductor_core::ring::{CHUNK_BYTES, Chunk, ChunkBuilder, Ring, Tally, Verdict};
use streamconductor_core::time::Timestamp;

const MARKS: Marks = Marks { high_water: 50, low_water: 20, max_buffered: 100 };
const PING: &[u8] = b"\x89\x01!";
const CLOSE: &[u8] = b"\x88\x02\x03\xE8";

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn tally(messages: u64) -> Tally {
    Tally { messages, bytes: messages * 10 }
}

/// A frame of 10 bytes that carries `name`, of one letter or digit each.
fn frame(name: char) -> Vec<u8> {
    format!("\u{2}\u{8}{name}.......").into_bytes()
}

/// A chunk with a message for each character of `names`, which is also its key when `keyed`.
fn keyed(channel: u64, overflow: Overflow, own: Option<usize>, names: &str, keyed: bool) -> Arc<Chunk> {
    let mut builder = ChunkBuilder::new();
    for name in names.chars() {
        assert!(builder.push(if keyed { name.into() } else { 0 }, &frame(name)));
    }
    builder.seal(channel, overflow, own, at(0), None)
}

fn chunk(channel: u64, overflow: Overflow, names: &str) -> Arc<Chunk> {
    keyed(channel, overflow, None, names, false)
}

fn gathered(ring: &Ring) -> Vec<Vec<u8>> {
    let mut slices = [IoSlice::new(&[]); 32];
    let used = ring.gather(&mut slices);
    slices[..used].iter().map(|slice| slice.to_vec()).collect()
}

/// The names of what waits, in order; control frames as `!` and `#`.
fn waiting(ring: &Ring) -> String {
    let bytes = gathered(ring).concat();
    let mut names = String::new();
    let mut rest = bytes.as_slice();
    while let [opcode, length, payload @ ..] = rest {
        names.push(match opcode {
            0x88 => '#',
            0x89 | 0x8A => '!',
            _ => payload[0].into(),
        });
        rest = &payload[usize::from(*length)..];
    }
    names
}

fn push(ring: &mut Ring, chunk: &Arc<Chunk>) -> Tally {
    let pushed = ring.push_chunk(chunk, at(1), &MARKS);
    assert_eq!(pushed.verdict, Verdict::Kept);
    pushed.dropped
}

fn send(ring: &mut Ring, names: &str, awaited: bool) {
    for name in names.chars() {
        ring.push_frame(Bytes::from(frame(name)), awaited, at(1), &MARKS);
    }
}

#[test]
fn a_reader_that_keeps_up_costs_no_heap_and_one_slice_a_chunk() {
    assert!(size_of::<Ring>() <= 192, "{}", size_of::<Ring>());
    let mut ring = Ring::new();
    for own in [None, Some(1_000)] {
        let chunk = keyed(1, Overflow::Disconnect, own, "abcde", false);
        push(&mut ring, &chunk);
        assert_eq!(ring.storage(), 0);
        assert_eq!(gathered(&ring), [chunk.bytes()]);
        let taken = ring.took(50, at(2), &MARKS);
        assert_eq!((taken.messages, taken.bytes), (5, 50));
        assert!(!ring.wants_write() && ring.storage() == 0);
        assert_eq!(Arc::strong_count(&chunk), 1);
    }
    assert_eq!(ring.totals().written, tally(10));
}

#[test]
fn storage_that_grew_is_freed_when_the_ring_is_empty() {
    let mut ring = Ring::new();
    send(&mut ring, "ab", true);
    push(&mut ring, &keyed(1, Overflow::Conflate, Some(15), "xyxy", true));
    assert_eq!(waiting(&ring), "abxy");
    assert!(ring.storage() > 20, "two frames, a deque, an index and a count by channel");
    ring.took(40, at(2), &MARKS);
    assert_eq!(ring.storage(), 0);
}

#[test]
fn a_partly_taken_frame_is_finished_before_a_ping_and_the_ping_goes_before_the_rest() {
    let mut ring = Ring::new();
    push(&mut ring, &chunk(1, Overflow::Disconnect, "abc"));
    assert_eq!(ring.took(4, at(2), &MARKS).messages, 0);
    assert!(ring.push_ping(b"\x89\x01?", at(2)) && ring.push_ping(PING, at(2)));
    assert_eq!(gathered(&ring), [&frame('a')[4..], PING, &[frame('b'), frame('c')].concat()]);
    let taken = ring.took(6 + 2, at(3), &MARKS);
    assert_eq!((taken.messages, taken.bytes, taken.ping), (1, 6, false));
    // A ping that is begun stays; the newer one goes behind it.
    assert!(ring.push_ping(b"\x89\x01.", at(3)));
    assert_eq!(gathered(&ring)[..2], [&b"!"[..], b"\x89\x01."]);
    assert!(ring.took(1, at(4), &MARKS).ping);
    assert_eq!(ring.pending(), tally(2));
}

#[test]
fn a_flood_of_pings_leaves_one_pong() {
    let mut ring = Ring::new();
    for _ in 0..1000 {
        ring.push_pong(b"\x8A\x01?", at(1));
    }
    ring.push_pong(b"\x8A\x01!", at(1));
    assert_eq!(gathered(&ring), [b"\x8A\x01!"]);
    assert!(ring.is_empty() && ring.wants_write() && ring.oldest().is_none());
    assert_eq!(ring.stalled_since(), Some(at(1)));
}

#[test]
fn close_goes_out_behind_what_waits_or_instead_of_it() {
    for flush in [true, false] {
        let mut ring = Ring::new();
        push(&mut ring, &chunk(1, Overflow::Disconnect, "abc"));
        ring.took(1, at(2), &MARKS);
        assert_eq!(ring.close(CLOSE, flush, at(2)), tally(if flush { 0 } else { 2 }));
        assert_eq!(ring.push_ping(PING, at(2)), flush, "between data and Close, never behind Close");
        let refused = ring.push_chunk(&chunk(1, Overflow::Disconnect, "x"), at(2), &MARKS);
        assert_eq!(refused.verdict, Verdict::Closed);
        let bytes = gathered(&ring).concat();
        let rest = if flush { [PING, &frame('b'), &frame('c')].concat() } else { Vec::new() };
        assert_eq!(bytes, [&frame('a')[1..], &rest, CLOSE].concat());
        assert!(ring.took(bytes.len(), at(3), &MARKS).close);
        assert!(!ring.push_pong(PING, at(3)) && !ring.wants_write());
        assert_eq!(ring.totals().discarded, tally(if flush { 1 } else { 3 }));
        assert_eq!(ring.totals().accepted, tally(4));
    }
}

#[test]
fn a_flush_can_be_cut_short_and_the_first_close_stays() {
    let mut ring = Ring::new();
    push(&mut ring, &chunk(1, Overflow::Disconnect, "abc"));
    ring.close(CLOSE, true, at(1));
    assert_eq!(ring.close(b"\x88\x02\x03\xF5", false, at(2)), tally(3));
    assert_eq!(gathered(&ring), [CLOSE]);
}

#[test]
fn a_reset_discards_the_rest_of_a_begun_frame_as_well() {
    let mut ring = Ring::new();
    push(&mut ring, &chunk(1, Overflow::Disconnect, "ab"));
    ring.push_ping(PING, at(1));
    ring.took(3 + 4, at(2), &MARKS);
    assert_eq!(ring.discard_all(), Tally { messages: 2, bytes: 16 });
    assert_eq!(ring.totals().written, Tally { messages: 0, bytes: 4 });
    assert!(!ring.wants_write() && ring.storage() == 0);
}

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

#[test]
fn timeouts_run_from_the_first_byte_that_waits_and_from_the_last_that_is_taken() {
    let mut ring = Ring::new();
    assert_eq!((ring.stalled_since(), ring.oldest()), (None, None));
    ring.push_frame(Bytes::from(frame('a')), true, at(5), &MARKS);
    ring.push_frame(Bytes::from(frame('b')), true, at(6), &MARKS);
    assert_eq!((ring.stalled_since(), ring.oldest()), (Some(at(5)), Some(at(5))));
    ring.took(10, at(9), &MARKS);
    ring.took(0, at(10), &MARKS);
    assert_eq!((ring.stalled_since(), ring.oldest()), (Some(at(9)), Some(at(6))));
    ring.took(10, at(11), &MARKS);
    ring.push_ping(PING, at(20));
    assert_eq!((ring.stalled_since(), ring.oldest()), (Some(at(20)), None));
}

/// Counts how many charges are alive.
struct Guard(Arc<AtomicUsize>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn a_shared_chunk_is_charged_until_the_last_ring_lets_go() {
    let alive = Arc::new(AtomicUsize::new(1));
    let mut builder = ChunkBuilder::new();
    builder.push(0, &frame('a'));
    builder.push(0, &frame('b'));
    assert!(builder.real_bytes() > 20);
    let chunk = builder.seal(1, Overflow::DropOldest, None, at(1), Some(Box::new(Guard(Arc::clone(&alive)))));
    assert!(builder.is_empty() && builder.len() == 0);
    let mut rings: Vec<Ring> = (0..3).map(|_| Ring::new()).collect();
    for ring in &mut rings {
        push(ring, &chunk);
    }
    assert_eq!(Arc::strong_count(&chunk), 4);
    drop(chunk);
    rings[0].took(20, at(2), &MARKS);
    rings[1].discard_all();
    rings[2].took(11, at(2), &MARKS);
    assert_eq!(alive.load(Ordering::Relaxed), 1);
    rings[2].took(9, at(2), &MARKS);
    assert_eq!(alive.load(Ordering::Relaxed), 0);
}

#[test]
fn a_chunk_is_full_at_its_bound_but_takes_one_larger_message() {
    let mut builder = ChunkBuilder::new();
    assert!(!builder.push(0, &[]), "no frame is empty");
    assert!(builder.is_empty() && builder.has_room_for(10 * CHUNK_BYTES));
    assert!(builder.push_with(0, |bytes| bytes.resize(CHUNK_BYTES - 1, 0)));
    assert!(builder.has_room_for(1) && !builder.has_room_for(2));
    assert!(builder.push(7, &[1]));
    let chunk = builder.seal(9, Overflow::Conflate, Some(3), at(4), None);
    assert_eq!(chunk.size(), Tally { messages: 2, bytes: CHUNK_BYTES as u64 });
    assert_eq!((chunk.key(0), chunk.key(1)), (0, 7), "the messages before the first key have none");
    assert_eq!((chunk.channel(), chunk.high_water(), chunk.at()), (9, Some(3), at(4)));
}

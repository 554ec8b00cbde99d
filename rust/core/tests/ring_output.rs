//! Receives one situation a test · states what the ring writes in it, keeps and frees · owns the examples of order,
//! control frames, endings, timeouts and storage.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)] // a panic is a failed test

#[path = "ring_support/mod.rs"]
mod support;

use std::mem::size_of;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use streamconductor_core::config::Overflow;
use streamconductor_core::ring::{CHUNK_BYTES, ChunkBuilder, Ring, Tally, Verdict};
use support::{CLOSE, MARKS, PING, at, chunk, frame, gathered, keyed, push, send, tally, waiting};

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
    assert_eq!(gathered(&ring).len(), 3, "neighbours of a chunk are one slice again");
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
    assert!(builder.is_empty());
    assert_eq!(builder.real_bytes(), ChunkBuilder::new().real_bytes());
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

//! Receives nothing · hands out the workloads of a connection's outbound queue · owns how fast its reader reads.

use std::hint::black_box;
use std::io::IoSlice;
use std::sync::Arc;

use bytes::Bytes;
use streamconductor_core::codec::{Kind, encode_message};
use streamconductor_core::config::{Marks, Overflow};
use streamconductor_core::ring::{Chunk, ChunkBuilder, Ring};
use streamconductor_core::time::Timestamp;

use super::text;
use crate::workload::{Work, Workload, work};

const MARKS: Marks = Marks { high_water: 64 << 10, low_water: 16 << 10, max_buffered: 200 << 10 };
const NOW: Timestamp = Timestamp::from_millis(1);

/// Private messages that wait at once.
const FRAMES: u64 = 64;
/// Times that a chunk enters an empty ring and leaves it.
const CHUNKS: u64 = 1_000;
/// Messages of a chunk that just has room for them.
const FULL: u32 = 490;
/// What a socket takes at a time when it takes a chunk in parts: never where a message ends.
const PART: usize = 5_000;
/// Publications for a reader that reads nothing, in chunks of four.
const PUBLICATIONS: u64 = 4_096;
const KEYS: u64 = 64;

/// The workloads of the ring.
pub const WORKLOADS: &[Workload] = &[
    Workload { name: "ring/frames", unit: "messages", units: FRAMES, prepare: frames },
    Workload { name: "ring/chunk", unit: "chunks", units: CHUNKS, prepare: chunks },
    Workload { name: "ring/chunk-in-parts", unit: "messages", units: FULL as u64, prepare: parts },
    Workload {
        name: "ring/disconnect",
        unit: "messages",
        units: PUBLICATIONS,
        prepare: || stuck(Overflow::Disconnect),
    },
    Workload {
        name: "ring/drop-oldest",
        unit: "messages",
        units: PUBLICATIONS,
        prepare: || stuck(Overflow::DropOldest),
    },
    Workload {
        name: "ring/drop-newest",
        unit: "messages",
        units: PUBLICATIONS,
        prepare: || stuck(Overflow::DropNewest),
    },
    Workload {
        name: "ring/conflate",
        unit: "messages",
        units: PUBLICATIONS,
        prepare: || stuck(Overflow::Conflate),
    },
];

fn frame() -> Vec<u8> {
    let mut frame = Vec::new();
    encode_message(&mut frame, Kind::Text, text("0123456789", 128).as_bytes());
    frame
}

/// A chunk of so many messages; the first has the key `first`, the next the one after it. Key 0 is none.
fn chunk(overflow: Overflow, messages: u32, keys: impl Fn(u32) -> u64) -> Arc<Chunk> {
    let frame = frame();
    let mut builder = ChunkBuilder::new();
    for message in 0..messages {
        builder.push(keys(message), &frame);
    }
    builder.seal(1, overflow, None, NOW, None)
}

/// Writes as a shard does until the ring is empty, at most `limit` bytes at a time; how many messages that were.
fn write_all(ring: &mut Ring, limit: usize) -> u64 {
    let mut messages = 0;
    while ring.wants_write() {
        let offered = if let Some(range) = ring.only_range() {
            black_box(range).len()
        } else {
            let mut slices = [IoSlice::new(&[]); 32];
            let used = ring.gather(&mut slices);
            black_box(&slices).iter().take(used).map(|slice| slice.len()).sum()
        };
        messages += ring.took(offered.min(limit), NOW, &MARKS).messages;
    }
    messages
}

fn frames() -> Box<dyn Work> {
    let frame = Bytes::from(frame());
    work(
        Ring::new(),
        |_| {},
        move |ring| {
            for _ in 0..FRAMES {
                ring.push_frame(frame.clone(), true, NOW, &MARKS);
            }
            write_all(ring, usize::MAX)
        },
    )
}

/// The way of a publication to a reader that keeps up.
fn chunks() -> Box<dyn Work> {
    let chunk = chunk(Overflow::Disconnect, 16, |_| 0);
    work(
        Ring::new(),
        |_| {},
        move |ring| {
            let mut messages = 0;
            for _ in 0..CHUNKS {
                ring.push_chunk(black_box(&chunk), NOW, &MARKS);
                messages += write_all(ring, usize::MAX);
            }
            messages / 16
        },
    )
}

fn parts() -> Box<dyn Work> {
    let chunk = chunk(Overflow::Disconnect, FULL, |_| 0);
    work(
        Ring::new(),
        |_| {},
        move |ring| {
            ring.push_chunk(&chunk, NOW, &MARKS);
            write_all(ring, PART)
        },
    )
}

/// Publications for a reader that takes nothing.
fn stuck(overflow: Overflow) -> Box<dyn Work> {
    let number = |chunk: u64, message: u32| (chunk * 4 + u64::from(message)) * 7 % KEYS + 1;
    let chunks: Vec<_> =
        (0..PUBLICATIONS / 4).map(|place| chunk(overflow, 4, |message| number(place, message))).collect();
    work(
        Ring::new(),
        |ring| *ring = Ring::new(),
        move |ring| {
            for chunk in &chunks {
                black_box(ring.push_chunk(chunk, NOW, &MARKS));
            }
            ring.totals().accepted.messages
        },
    )
}

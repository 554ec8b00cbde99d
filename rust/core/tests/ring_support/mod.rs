//! Receives names of one character · hands out frames, chunks and what a ring holds of them · owns the numbers of the
//! examples: each message is a frame of 10 bytes.
#![allow(dead_code)] // each test crate uses its part

use std::io::IoSlice;
use std::sync::Arc;

use bytes::Bytes;
use streamconductor_core::config::{Marks, Overflow};
use streamconductor_core::ring::{Chunk, ChunkBuilder, Ring, Tally, Verdict};
use streamconductor_core::time::Timestamp;

pub const MARKS: Marks = Marks { high_water: 50, low_water: 20, max_buffered: 100 };
pub const PING: &[u8] = b"\x89\x01!";
pub const CLOSE: &[u8] = b"\x88\x02\x03\xE8";

pub fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub fn tally(messages: u64) -> Tally {
    Tally { messages, bytes: messages * 10 }
}

/// A frame of 10 bytes that carries `name`, of one letter or digit each.
pub fn frame(name: char) -> Vec<u8> {
    format!("\u{2}\u{8}{name}.......").into_bytes()
}

/// A chunk with a message for each character of `names`, which is also its key when `keyed`.
pub fn keyed(channel: u64, overflow: Overflow, own: Option<usize>, names: &str, keyed: bool) -> Arc<Chunk> {
    let mut builder = ChunkBuilder::new();
    for name in names.chars() {
        assert!(builder.push(if keyed { name.into() } else { 0 }, &frame(name)));
    }
    builder.seal(channel, overflow, own, at(0), None)
}

pub fn chunk(channel: u64, overflow: Overflow, names: &str) -> Arc<Chunk> {
    keyed(channel, overflow, None, names, false)
}

pub fn gathered(ring: &Ring) -> Vec<Vec<u8>> {
    let mut slices = [IoSlice::new(&[]); 32];
    let used = ring.gather(&mut slices);
    slices[..used].iter().map(|slice| slice.to_vec()).collect()
}

/// The names of what waits, in order; control frames as `!` and `#`.
pub fn waiting(ring: &Ring) -> String {
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

pub fn push(ring: &mut Ring, chunk: &Arc<Chunk>) -> Tally {
    let pushed = ring.push_chunk(chunk, at(1), &MARKS);
    assert_eq!(pushed.verdict, Verdict::Kept);
    pushed.dropped
}

pub fn send(ring: &mut Ring, names: &str, awaited: bool) {
    for name in names.chars() {
        ring.push_frame(Bytes::from(frame(name)), awaited, at(1), &MARKS);
    }
}

//! Receives random pushes, writes and closes · gives them to the ring and to a naive model · owns the comparison after
//! every step, and of every byte.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)] // a panic is a failed test

#[path = "ring_model/naive.rs"]
mod naive;

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::sync::Arc;

use bytes::Bytes;
use naive::{CHANNELS, Model};
use proptest::prelude::*;
use streamconductor_core::config::Marks;
use streamconductor_core::ring::{Chunk, ChunkBuilder, Ring, Tally, Verdict};
use streamconductor_core::time::Timestamp;

const PRIVATE: usize = 200;

#[derive(Clone, Debug)]
enum Op {
    Publish {
        channel: usize,
        messages: Vec<(u64, usize)>,
        keyed: bool,
    },
    Send {
        size: usize,
        awaited: bool,
    },
    Ping,
    Pong,
    /// How many slices to offer, and how much of what they hold the socket takes, in thousandths.
    Write {
        slices: usize,
        share: usize,
    },
    Close {
        flush: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let messages = prop::collection::vec((0..3_u64, 0..60_usize), 1..6);
    prop_oneof![
        30 => (0..CHANNELS.len(), messages, any::<bool>())
            .prop_map(|(channel, messages, keyed)| Op::Publish { channel, messages, keyed }),
        8 => (0..80_usize, any::<bool>()).prop_map(|(size, awaited)| Op::Send { size, awaited }),
        3 => Just(Op::Ping),
        3 => Just(Op::Pong),
        16 => (1..12_usize, 0..=1000_usize).prop_map(|(slices, share)| Op::Write { slices, share }),
        1 => prop::bool::weighted(0.7).prop_map(|flush| Op::Close { flush }),
    ]
}

fn marks() -> impl Strategy<Value = Marks> {
    (40..400_usize, 0..=100_usize, 0..1200_usize).prop_map(|(high_water, low, more)| Marks {
        high_water,
        low_water: high_water * low / 100,
        max_buffered: high_water + more,
    })
}

/// A server frame whose payload names its channel and number.
fn frame(channel: usize, number: u32, padding: usize) -> Vec<u8> {
    let mut frame = vec![0x82, (5 + padding) as u8, channel as u8];
    frame.extend_from_slice(&number.to_be_bytes());
    frame.resize(frame.len() + padding, 0xEE);
    frame
}

/// Both, and what they have been through.
struct Pair {
    ring: Ring,
    model: Model,
    marks: Marks,
    chunks: Vec<Arc<Chunk>>,
    number: u32,
    now: Timestamp,
    out: Vec<u8>,
}

impl Pair {
    fn step(&mut self, op: &Op) {
        self.now = Timestamp::from_micros(self.now.as_micros() + 1);
        let (now, marks) = (self.now, self.marks);
        let before = self.ring.totals();
        match op {
            Op::Publish { channel, messages, keyed } => self.publish(*channel, messages, *keyed),
            Op::Send { size, awaited } => {
                self.number += 1;
                let frame = frame(PRIVATE, self.number, *size);
                self.model.send(frame.clone(), *awaited, now, &marks);
                let pushed = self.ring.push_frame(Bytes::from(frame), *awaited, now, &marks);
                assert_eq!(pushed.dropped, Tally::ZERO);
            }
            Op::Ping | Op::Pong => {
                let is_ping = matches!(op, Op::Ping);
                self.number += 1;
                let mut frame = vec![if is_ping { 0x89 } else { 0x8A }, 4];
                frame.extend_from_slice(&self.number.to_be_bytes());
                let may = self.model.may_control();
                if may {
                    self.model.wait(now);
                    let place = if is_ping { &mut self.model.ping } else { &mut self.model.pong };
                    *place = Some(frame.clone());
                }
                let pushed =
                    if is_ping { self.ring.push_ping(&frame, now) } else { self.ring.push_pong(&frame, now) };
                assert_eq!(pushed, may);
            }
            Op::Write { slices, share } => self.write(*slices, *share),
            Op::Close { flush } => {
                let close = [0x88, 2, 0x03, 0xE8];
                self.model.end(close.to_vec(), *flush, now);
                let discarded = self.ring.close(&close, *flush, now);
                assert_eq!(before.discarded + discarded, self.model.totals.discarded);
            }
        }
        self.compare();
    }

    fn publish(&mut self, channel: usize, messages: &[(u64, usize)], keyed: bool) {
        let mut builder = ChunkBuilder::new();
        let mut frames = Vec::new();
        for (key, size) in messages {
            self.number += 1;
            let (key, frame) = (if keyed { *key } else { 0 }, frame(channel, self.number, *size));
            assert!(builder.push(key, &frame));
            frames.push((key, frame));
        }
        let (overflow, own) = CHANNELS[channel];
        let chunk = builder.seal(channel as u64, overflow, own, self.now, None);
        let (before, pending) = (self.ring.totals().dropped, self.ring.pending().bytes);
        self.model.publish(channel, frames, self.now, &self.marks);
        let pushed = self.ring.push_chunk(&chunk, self.now, &self.marks);
        assert_eq!(before + pushed.dropped, self.ring.totals().dropped);
        if let Verdict::SlowConsumer { buffered, limit } = pushed.verdict {
            assert_eq!((buffered as u64, limit), (pending + chunk.size().bytes, self.marks.max_buffered));
        }
        let bound = pending.max(self.marks.max_buffered as u64);
        assert!(self.ring.pending().bytes <= bound, "a publication passed max_buffered");
        self.chunks.push(chunk);
    }

    fn write(&mut self, slices: usize, share: usize) {
        let mut places = vec![IoSlice::new(&[]); slices];
        let used = self.ring.gather(&mut places);
        assert!(places[..used].iter().all(|slice| !slice.is_empty()));
        assert!(used == slices || self.ring.wants_write() == (used > 0));
        let gathered: Vec<u8> = places[..used].iter().flat_map(|slice| slice.iter().copied()).collect();
        let count = (gathered.len() * share).div_ceil(1000);
        let before = self.model.totals.written;
        let expected: Vec<u8> = (0..count).map(|_| self.model.take_byte()).collect();
        assert_eq!(&gathered[..count], &expected);
        let taken = self.ring.took(count, self.now, &self.marks);
        if count > 0 {
            self.model.progress = self.now;
            self.model.settle(&self.marks);
        }
        let after = self.model.totals.written;
        assert_eq!(before + Tally { messages: taken.messages, bytes: taken.bytes }, after);
        assert!(!taken.close || !self.ring.wants_write());
        self.out.extend(expected);
    }

    fn compare(&self) {
        let (ring, model) = (&self.ring, &self.model);
        assert_eq!(ring.totals(), model.totals);
        let pending = Tally { messages: model.queue.len() as u64, bytes: model.all() as u64 };
        assert_eq!(ring.pending(), pending);
        let totals = model.totals;
        assert_eq!(totals.accepted, totals.written + totals.dropped + totals.discarded + pending);
        assert_eq!(ring.unawaited(), model.unawaited() as u64);
        assert_eq!(ring.is_empty(), model.queue.is_empty());
        assert_eq!(ring.wants_write(), model.wants_write());
        assert_eq!(ring.oldest(), model.queue.front().map(|front| front.at));
        assert_eq!(ring.stalled_since(), model.wants_write().then_some(model.progress));
        assert_eq!(ring.dwell_since(), model.dwell());
        assert_eq!(ring.is_above(), model.above);
        assert!(ring.wants_write() || ring.storage() == 0, "an idle ring has no heap");
    }
}

/// What went out is whole frames, and each channel's numbers rise: a subsequence of what it published.
fn check_frames(mut out: &[u8], may_be_cut: bool) {
    let mut last = BTreeMap::new();
    while out.len() >= 2 && out.len() >= 2 + usize::from(out[1]) {
        let (frame, rest) = out.split_at(2 + usize::from(out[1]));
        if frame[0] == 0x82 {
            let number = u32::from_be_bytes(frame[3..7].try_into().unwrap());
            assert!(last.insert(frame[2], number).is_none_or(|before| before < number));
        } else {
            assert!((0x88..=0x8A).contains(&frame[0]), "not the start of a frame: {:#x}", frame[0]);
        }
        out = rest;
    }
    assert!(may_be_cut || out.is_empty(), "half a frame at the end");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_ring_does_what_the_model_does(
        marks in marks(),
        ops in prop::collection::vec(op(), 1..120),
        reset in any::<bool>(),
    ) {
        let mut pair = Pair {
            ring: Ring::new(),
            model: Model::default(),
            marks,
            chunks: Vec::new(),
            number: 0,
            now: Timestamp::ZERO,
            out: Vec::new(),
        };
        for op in &ops {
            pair.step(op);
        }
        if reset {
            pair.model.discard(true);
            (pair.model.begun, pair.model.ping, pair.model.pong, pair.model.close) = (None, None, None, None);
            pair.ring.discard_all();
            pair.compare();
        }
        while pair.ring.wants_write() {
            pair.step(&Op::Write { slices: 64, share: 1000 });
        }
        check_frames(&pair.out, reset);
        for chunk in &pair.chunks {
            prop_assert_eq!(Arc::strong_count(chunk), 1, "a ring holds a chunk of which it holds no message");
        }
    }
}

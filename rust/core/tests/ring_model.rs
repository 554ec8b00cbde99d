//! Receives random pushes, writes and closes · compares the ring with a queue of single messages that knows nothing
//! of chunks, entries or indexes · owns that model: one message at a time, one byte at a time, everything by search.

use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use streamconductor_core::config::{Marks, Overflow};
use streamconductor_core::ring::{Chunk, ChunkBuilder, Ring, Tally, Totals, Verdict};
use streamconductor_core::time::Timestamp;

/// Policy and own high water mark of each channel.
const CHANNELS: [(Overflow, Option<usize>); 9] = [
    (Overflow::Disconnect, None),
    (Overflow::DropOldest, None),
    (Overflow::DropNewest, None),
    (Overflow::Conflate, None),
    (Overflow::Conflate, None),
    (Overflow::Disconnect, Some(120)),
    (Overflow::DropOldest, Some(90)),
    (Overflow::DropNewest, Some(90)),
    (Overflow::Conflate, Some(100)),
];

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

#[derive(Clone, Debug)]
struct Message {
    frame: Vec<u8>,
    taken: usize,
    channel: Option<usize>,
    key: u64,
    awaited: bool,
    at: Timestamp,
}

impl Message {
    fn left(&self) -> usize {
        self.frame.len() - self.taken
    }

    fn is_droppable(&self) -> bool {
        self.taken == 0 && self.channel.is_some_and(|channel| CHANNELS[channel].0 != Overflow::Disconnect)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Closing {
    #[default]
    Open,
    Flush,
    Next,
    Sent,
}

#[derive(Clone, Copy, Debug)]
struct Scope {
    low: usize,
    conflating: bool,
    dwell: Option<Timestamp>,
}

#[derive(Debug, Default)]
struct Model {
    queue: VecDeque<Message>,
    /// Kind (opcode), frame, bytes taken.
    begun: Option<(Vec<u8>, usize)>,
    pong: Option<Vec<u8>>,
    ping: Option<Vec<u8>>,
    close: Option<Vec<u8>>,
    closing: Closing,
    totals: Totals,
    progress: Timestamp,
    above: bool,
    /// `None` is the connection, else the channel with a mark of its own.
    scopes: BTreeMap<Option<usize>, Scope>,
}

fn count(tally: &mut Tally, bytes: usize) {
    tally.messages += 1;
    tally.bytes += bytes as u64;
}

impl Model {
    fn pending(&self, of: impl Fn(&Message) -> bool) -> usize {
        self.queue.iter().filter(|message| of(message)).map(Message::left).sum()
    }

    fn all(&self) -> usize {
        self.pending(|_| true)
    }

    fn unawaited(&self) -> usize {
        self.pending(|message| !message.awaited)
    }

    fn of(&self, channel: usize) -> usize {
        self.pending(|message| message.channel == Some(channel))
    }

    fn wants_write(&self) -> bool {
        !self.queue.is_empty() || self.has_control()
    }

    fn has_control(&self) -> bool {
        self.begun.is_some() || self.pong.is_some() || self.ping.is_some() || self.close.is_some()
    }

    fn wait(&mut self, now: Timestamp) {
        if !self.wants_write() {
            self.progress = now;
        }
    }

    fn scope(&mut self, own: Option<usize>, marks: &Marks) -> &mut Scope {
        let low = own.map_or(marks.low_water, |channel| {
            CHANNELS[channel].1.unwrap() * marks.low_water / marks.high_water
        });
        self.scopes.entry(own).or_insert(Scope { low, conflating: false, dwell: None })
    }

    fn drop_at(&mut self, position: usize) {
        let message = self.queue.remove(position).unwrap();
        count(&mut self.totals.dropped, message.frame.len());
    }

    fn publish(&mut self, channel: usize, messages: Vec<(u64, Vec<u8>)>, now: Timestamp, marks: &Marks) {
        let (overflow, own) = CHANNELS[channel];
        let size: usize = messages.iter().map(|(_, frame)| frame.len()).sum();
        let too_slow = overflow == Overflow::Disconnect && self.all() + size > marks.max_buffered;
        for (_, frame) in &messages {
            count(&mut self.totals.accepted, frame.len());
            if too_slow || self.closing != Closing::Open {
                count(&mut self.totals.discarded, frame.len());
            }
        }
        if too_slow || self.closing != Closing::Open {
            return;
        }
        self.wait(now);
        for (key, frame) in messages {
            let channel = Some(channel);
            self.queue.push_back(Message { frame, taken: 0, channel, key, awaited: false, at: now });
        }
        let scope = own.map(|_| channel);
        match overflow {
            Overflow::Disconnect => {
                let (bytes, mark) =
                    own.map_or((self.unawaited(), marks.high_water), |own| (self.of(channel), own));
                if bytes > mark {
                    self.scope(scope, marks).dwell.get_or_insert(now);
                }
            }
            Overflow::Conflate => {
                let (bytes, mark) = own.map_or((self.all(), marks.high_water), |own| (self.of(channel), own));
                if bytes > mark {
                    self.scope(scope, marks).conflating = true;
                }
                self.conflate();
            }
            Overflow::DropOldest | Overflow::DropNewest => {}
        }
        if self.all() > marks.max_buffered {
            self.make_room(channel, marks);
        }
        self.settle(marks);
    }

    fn conflate(&mut self) {
        for position in (0..self.queue.len()).rev() {
            let message = &self.queue[position];
            let Some(channel) = message.channel else { continue };
            let (overflow, own) = CHANNELS[channel];
            let conflating = self.scopes.get(&own.map(|_| channel)).is_some_and(|scope| scope.conflating);
            let is_superseded = self
                .queue
                .iter()
                .skip(position + 1)
                .any(|later| later.channel == Some(channel) && later.key == message.key);
            if overflow == Overflow::Conflate && conflating && is_superseded && message.taken == 0 {
                self.drop_at(position);
            }
        }
    }

    fn make_room(&mut self, channel: usize, marks: &Marks) {
        let (overflow, own) = CHANNELS[channel];
        let newest_first = overflow == Overflow::DropNewest;
        let pick = |model: &Self, only: Option<usize>| {
            let fits = |message: &Message| {
                message.is_droppable() && only.is_none_or(|only| message.channel == Some(only))
            };
            if newest_first {
                model.queue.iter().rposition(fits)
            } else {
                model.queue.iter().take(model.queue.len() - 1).position(fits)
            }
        };
        while own.is_some_and(|own| self.of(channel) > own)
            && let Some(position) = pick(self, Some(channel))
        {
            self.drop_at(position);
        }
        while self.all() > marks.high_water
            && let Some(position) = pick(self, None)
        {
            self.drop_at(position);
        }
        while self.all() > marks.max_buffered
            && let Some(position) = self.queue.iter().rposition(Message::is_droppable)
        {
            self.drop_at(position);
        }
    }

    fn settle(&mut self, marks: &Marks) {
        let mark = if self.above { marks.low_water } else { marks.high_water };
        self.above = self.all() > mark && (self.above || self.closing == Closing::Open);
        let (all, unawaited) = (self.all(), self.unawaited());
        let channels: Vec<usize> = (0..CHANNELS.len()).map(|channel| self.of(channel)).collect();
        for (own, scope) in &mut self.scopes {
            if own.map_or(all, |channel| channels[channel]) <= scope.low {
                scope.conflating = false;
            }
            if own.map_or(unawaited, |channel| channels[channel]) <= scope.low {
                scope.dwell = None;
            }
        }
    }

    fn send(&mut self, frame: Vec<u8>, awaited: bool, now: Timestamp, marks: &Marks) {
        count(&mut self.totals.accepted, frame.len());
        if self.closing != Closing::Open {
            return count(&mut self.totals.discarded, frame.len());
        }
        self.wait(now);
        self.queue.push_back(Message { frame, taken: 0, channel: None, key: 0, awaited, at: now });
        if !awaited && self.unawaited() > marks.high_water {
            self.scope(None, marks).dwell.get_or_insert(now);
        }
        self.settle(marks);
    }

    fn may_control(&self) -> bool {
        let close_begun = self.begun.as_ref().is_some_and(|(frame, _)| frame[0] == 0x88);
        !close_begun && matches!(self.closing, Closing::Open | Closing::Flush)
    }

    fn discard(&mut self, all: bool) {
        for message in std::mem::take(&mut self.queue) {
            if message.taken > 0 && !all {
                self.queue.push_back(message);
            } else {
                count(&mut self.totals.discarded, message.left());
            }
        }
        self.above = false;
        self.scopes.clear();
    }

    fn end(&mut self, frame: Vec<u8>, flush: bool, now: Timestamp) {
        if self.closing == Closing::Sent {
            return;
        }
        self.wait(now);
        if self.closing == Closing::Open {
            self.close = Some(frame);
            self.closing = Closing::Flush;
        }
        if !flush {
            (self.pong, self.ping, self.closing) = (None, None, Closing::Next);
            self.discard(false);
        }
    }

    /// The next byte that goes out; the whole order of frames is here.
    fn take_byte(&mut self) -> u8 {
        if self.begun.is_none() && self.queue.front().is_none_or(|front| front.taken == 0) {
            let next = self.pong.take().or_else(|| self.ping.take());
            let next = next.or_else(|| if self.queue.is_empty() { self.close.take() } else { None });
            self.begun = next.map(|frame| (frame, 0));
        }
        if let Some((frame, taken)) = &mut self.begun {
            let byte = frame[*taken];
            *taken += 1;
            if *taken == frame.len() {
                if frame[0] == 0x88 {
                    self.closing = Closing::Sent;
                }
                self.begun = None;
            }
            return byte;
        }
        let front = self.queue.front_mut().unwrap();
        let byte = front.frame[front.taken];
        front.taken += 1;
        self.totals.written.bytes += 1;
        if front.left() == 0 {
            self.totals.written.messages += 1;
            self.queue.pop_front();
        }
        byte
    }

    fn dwell(&self) -> Option<Timestamp> {
        self.scopes.values().filter_map(|scope| scope.dwell).min()
    }
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

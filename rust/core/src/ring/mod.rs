//! Receives chunks, private frames and control frames from the shard · hands slices to the wire and verdicts to
//! the shard · owns one connection's outbound queue and its counts.
//!
//! Every limit of a slow reader is applied here, and nothing here is wider than it must be: an idle ring has no
//! heap, a chunk in it is one entry, and what one push costs does not depend on what waits.

mod accounting;

mod channels;

mod chunk;

mod closing;

mod conflation;

mod control;

mod entry;

mod marks;

mod output;

mod overflow;

use std::mem;
use std::sync::Arc;

use bytes::Bytes;

pub use accounting::{Tally, Totals};
pub use chunk::{CHUNK_BYTES, Charge, Chunk, ChunkBuilder};
pub use output::Taken;

use crate::config::{Marks, Overflow};
use crate::time::Timestamp;
use accounting::Books;
use closing::Closing;
use conflation::Index;
use control::Control;
use entry::{Entry, Queue};

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the policy's business now, and the connection may go on.
    Kept,
    /// A publication whose policy is `disconnect` would have passed `max_buffered`. It was accepted and discarded,
    /// and the caller closes the connection.
    SlowConsumer {
        /// Bytes that would have been pending.
        buffered: usize,
        /// `max_buffered`.
        limit: usize,
    },
    /// The ring is closed: accepted and discarded.
    Closed,
}

/// The answer to a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// What became of it.
    pub verdict: Verdict,
    /// What the push made a policy drop, of it or of what waited.
    pub dropped: Tally,
}

impl Pushed {
    const fn without_drops(verdict: Verdict) -> Self {
        Self { verdict, dropped: Tally::ZERO }
    }
}

/// One connection's outbound queue. At all times and for messages as for bytes:
/// accepted = written + dropped + discarded + pending. Control frames are in none of these.
#[derive(Debug)]
pub struct Ring {
    queue: Queue,
    /// Bytes of the first message that the socket has taken already.
    begun: usize,
    control: Option<Box<Control>>,
    index: Option<Box<Index>>,
    books: Books,
    /// When the socket last took a byte, or the first one began to wait.
    progress: Timestamp,
    dwell_since: Timestamp,
    is_above: bool,
    closing: Closing,
}

/// There is one ring for each of tens of thousands of connections, most of them idle.
const _: () = assert!(mem::size_of::<Ring>() <= 192);

impl Default for Ring {
    fn default() -> Self {
        Self::new()
    }
}

impl Ring {
    /// An empty ring; takes no heap.
    pub const fn new() -> Self {
        Self {
            queue: Queue::Empty,
            begun: 0,
            control: None,
            index: None,
            books: Books::new(),
            progress: Timestamp::ZERO,
            dwell_since: Timestamp::NEVER,
            is_above: false,
            closing: Closing::Open,
        }
    }

    /// Queues publications. Above high water their channel's policy acts; pending bytes never pass `max_buffered`
    /// because of them.
    pub fn push_chunk(&mut self, chunk: &Arc<Chunk>, now: Timestamp, marks: &Marks) -> Pushed {
        let size = chunk.size();
        if size.messages == 0 {
            return Pushed::without_drops(Verdict::Kept);
        }
        if self.closing != Closing::Open {
            self.books.refuse(size);
            return Pushed::without_drops(Verdict::Closed);
        }
        let buffered = (self.books.pending.bytes + size.bytes) as usize;
        if chunk.overflow() == Overflow::Disconnect && buffered > marks.max_buffered {
            self.books.refuse(size);
            let limit = marks.max_buffered;
            return Pushed::without_drops(Verdict::SlowConsumer { buffered, limit });
        }
        self.begin_to_wait(now);
        let mut dropped = Tally::ZERO;
        if self.is_conflating(chunk) {
            dropped += self.push_latest(chunk, now);
        } else {
            // Its age counts from the publication, not from when its turn came here.
            self.append(Entry::publications(chunk, 0, chunk.messages(), chunk.at().min(now)), size);
            dropped += self.cross(chunk, now, marks);
        }
        if self.books.pending.bytes as usize > marks.max_buffered {
            dropped += self.overflow(chunk, marks);
        }
        self.settle(marks);
        Pushed { verdict: Verdict::Kept, dropped }
    }

    /// Queues one private message, already a frame; no policy drops it. `awaited`: its sender waits above high
    /// water, so it does not count for the dwell. The caller refuses what would pass `max_buffered`.
    pub fn push_frame(&mut self, frame: Bytes, awaited: bool, now: Timestamp, marks: &Marks) -> Pushed {
        if frame.is_empty() {
            return Pushed::without_drops(Verdict::Kept);
        }
        if self.closing != Closing::Open {
            self.books.refuse(Tally { messages: 1, bytes: frame.len() as u64 });
            return Pushed::without_drops(Verdict::Closed);
        }
        self.begin_to_wait(now);
        let size = Tally { messages: 1, bytes: frame.len() as u64 };
        self.append(Entry::frame(frame, awaited, now), size);
        if !awaited {
            self.start_dwell(now, marks);
        }
        self.settle(marks);
        Pushed::without_drops(Verdict::Kept)
    }

    /// What waits: messages not wholly taken, and their bytes not taken.
    pub fn pending(&self) -> Tally {
        self.books.pending
    }

    /// Pending bytes of publications and of senders that do not wait.
    pub fn unawaited(&self) -> u64 {
        self.books.unawaited
    }

    /// Whether no message is pending; a control frame may be.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether anything is to be written, control frames included.
    pub fn wants_write(&self) -> bool {
        !self.queue.is_empty() || self.control.is_some()
    }

    /// When the oldest pending byte was pushed, for `max_lag`.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.queue.front().map(|front| front.at)
    }

    /// Since when bytes, control frames included, are pending and none was taken, for `write_timeout`.
    pub fn stalled_since(&self) -> Option<Timestamp> {
        self.wants_write().then_some(self.progress)
    }

    /// What has become of everything that was pushed.
    pub fn totals(&self) -> Totals {
        self.books.totals()
    }

    /// Heap bytes that this ring alone holds: its queue, private frames (in full until they are taken in full)
    /// and control frames. Chunks charge themselves, once for all rings.
    pub fn storage(&self) -> usize {
        self.queue.storage()
            + self.books.private as usize
            + self.control.as_ref().map_or(0, |control| control.storage())
            + self.index.as_ref().map_or(0, |index| index.storage())
            + self.books.channels.as_ref().map_or(0, |channels| channels.storage())
    }

    /// Appends an entry, of which the caller knows how much it holds.
    fn append(&mut self, entry: Entry, size: Tally) {
        self.books.accept(&entry, size);
        self.queue.push_back(entry);
    }

    /// The write timeout runs from here when nothing waited before.
    fn begin_to_wait(&mut self, now: Timestamp) {
        if !self.wants_write() {
            self.progress = now;
        }
    }
}

//! Receives what enters and leaves a ring, message by message · hands out totals that always balance ·
//! owns the counts: accepted = written + dropped + discarded + pending.

use std::mem;
use std::ops::{Add, AddAssign, SubAssign};

use super::channels::Channels;
use super::entry::{Body, Entry};

/// A number of messages and their bytes as frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Whole messages.
    pub messages: u64,
    /// Bytes of frames.
    pub bytes: u64,
}

impl Tally {
    /// Nothing.
    pub const ZERO: Self = Self { messages: 0, bytes: 0 };
}

impl Add for Tally {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
    }
}

impl SubAssign for Tally {
    fn sub_assign(&mut self, other: Self) {
        self.messages -= other.messages;
        self.bytes -= other.bytes;
    }
}

/// Everything that happened to one connection's outbound messages since it opened. Bytes of a message that is
/// partly taken are already written; the message is pending until its last byte is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Given to the ring.
    pub accepted: Tally,
    /// Taken by the socket.
    pub written: Tally,
    /// Dropped by an overflow policy.
    pub dropped: Tally,
    /// Lost to an ending: pending when the connection closed, or given to the ring after that, or the
    /// publication that made it a slow consumer.
    pub discarded: Tally,
}

/// How messages leave a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Written,
    Dropped,
    Discarded,
}

/// The counts of one ring. Accepted is not stored: it is the sum of the others.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) pending: Tally,
    written: Tally,
    dropped: Tally,
    discarded: Tally,
    /// Pending bytes of publications and of senders that do not wait.
    pub(super) unawaited: u64,
    /// Heap bytes of the private frames: a frame that is partly taken still holds all of its buffer.
    pub(super) private: u64,
    /// `None`: no channel's bytes are followed.
    pub(super) channels: Option<Box<Channels>>,
}

impl Books {
    pub(super) const fn new() -> Self {
        Self {
            pending: Tally::ZERO,
            written: Tally::ZERO,
            dropped: Tally::ZERO,
            discarded: Tally::ZERO,
            unawaited: 0,
            private: 0,
            channels: None,
        }
    }

    pub(super) fn totals(&self) -> Totals {
        Totals {
            accepted: self.pending + self.written + self.dropped + self.discarded,
            written: self.written,
            dropped: self.dropped,
            discarded: self.discarded,
        }
    }

    /// Counts an entry that enters the ring, and what it holds.
    pub(super) fn accept(&mut self, entry: &Entry, size: Tally) {
        debug_assert_eq!(entry.tally(entry.first, entry.last), size);
        self.pending += size;
        if !entry.awaited {
            self.unawaited += size.bytes;
        }
        match &entry.body {
            Body::Frame(frame) => self.private += frame.len() as u64,
            Body::Chunk(chunk) => {
                if let Some(channels) = &mut self.channels {
                    channels.add(chunk, size.bytes);
                }
            }
        }
    }

    /// Counts messages that never enter the ring: accepted and discarded at once.
    pub(super) fn refuse(&mut self, size: Tally) {
        self.discarded += size;
    }

    /// Counts messages that are dropped before they enter the ring.
    pub(super) fn pass_over(&mut self, size: Tally) {
        self.dropped += size;
    }

    /// Counts everything that is pending as written, and says how much that is. The counts by channel are the
    /// caller's to forget.
    pub(super) fn write_all(&mut self) -> Tally {
        let all = mem::take(&mut self.pending);
        self.written += all;
        self.unawaited = 0;
        self.private = 0;
        all
    }

    /// Counts a part of `entry` that leaves the ring.
    pub(super) fn remove(&mut self, entry: &Entry, part: Tally, fate: Fate) {
        self.pending -= part;
        match fate {
            Fate::Written => self.written += part,
            Fate::Dropped => self.dropped += part,
            Fate::Discarded => self.discarded += part,
        }
        if !entry.awaited {
            self.unawaited -= part.bytes;
        }
        match &entry.body {
            Body::Frame(frame) if part.messages > 0 => self.private -= frame.len() as u64,
            Body::Frame(_) => {}
            Body::Chunk(chunk) => {
                if let Some(channels) = &mut self.channels {
                    channels.subtract(chunk, part.bytes);
                }
            }
        }
    }
}

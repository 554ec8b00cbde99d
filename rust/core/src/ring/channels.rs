//! Receives the bytes of channels that have a high water mark of their own · hands out which of them are
//! above it · owns their counts, made only when one of them waits behind something else.

use std::mem::size_of;

use super::chunk::Chunk;
use super::entry::Queue;
use crate::config::Marks;
use crate::time::Timestamp;

/// One such channel, while it has bytes pending.
#[derive(Debug)]
struct Channel {
    id: u64,
    bytes: u64,
    /// Where dwell and conflation end: its mark in the proportion of the connection's two marks.
    low_water: u64,
    conflating: bool,
    dwell_since: Timestamp,
}

/// All such channels of one ring. A list, not a map: a connection has at most a few of them pending.
#[derive(Debug, Default)]
pub(super) struct Channels {
    list: Vec<Channel>,
}

impl Channels {
    /// Counts what waits, of whose first message `begun` bytes are already written.
    pub(super) fn count(queue: &Queue, begun: usize) -> Self {
        let mut channels = Self::default();
        let mut written = begun as u64;
        for entry in queue.iter() {
            if let Some(chunk) = entry.chunk() {
                channels.add(chunk, entry.tally(entry.first, entry.last).bytes - written);
            }
            written = 0;
        }
        channels
    }

    fn find(&mut self, channel: u64) -> Option<&mut Channel> {
        self.list.iter_mut().find(|known| known.id == channel)
    }

    /// Adds pending bytes of the chunk's channel, if it has a mark.
    pub(super) fn add(&mut self, chunk: &Chunk, bytes: u64) {
        if chunk.high_water().is_none() {
            return;
        }
        if let Some(known) = self.find(chunk.channel()) {
            known.bytes += bytes;
        } else {
            let id = chunk.channel();
            let dwell_since = Timestamp::NEVER;
            self.list.push(Channel { id, bytes, low_water: 0, conflating: false, dwell_since });
        }
    }

    /// Takes pending bytes of the chunk's channel off again.
    pub(super) fn subtract(&mut self, chunk: &Chunk, bytes: u64) {
        if chunk.high_water().is_some()
            && let Some(known) = self.find(chunk.channel())
        {
            known.bytes -= bytes;
        }
    }

    /// Pending bytes of a channel.
    pub(super) fn bytes(&self, channel: u64) -> u64 {
        self.list.iter().find(|known| known.id == channel).map_or(0, |known| known.bytes)
    }

    pub(super) fn is_conflating(&self, channel: u64) -> bool {
        self.list.iter().any(|known| known.id == channel && known.conflating)
    }

    pub(super) fn is_any_conflating(&self) -> bool {
        self.list.iter().any(|known| known.conflating)
    }

    pub(super) fn start_conflating(&mut self, chunk: &Chunk, marks: &Marks) {
        if let Some(known) = self.find(chunk.channel()) {
            known.low_water = low_water(chunk, marks);
            known.conflating = true;
        }
    }

    pub(super) fn start_dwell(&mut self, chunk: &Chunk, marks: &Marks, now: Timestamp) {
        if let Some(known) = self.find(chunk.channel()) {
            known.low_water = low_water(chunk, marks);
            // The earlier of the two: a dwell that runs already goes on.
            known.dwell_since = known.dwell_since.min(now);
        }
    }

    /// When the longest dwell of these channels began; never when none runs.
    pub(super) fn dwell_since(&self) -> Timestamp {
        self.list.iter().map(|known| known.dwell_since).min().unwrap_or(Timestamp::NEVER)
    }

    /// Ends what ends at low water, and forgets channels of which nothing is pending.
    pub(super) fn settle(&mut self) {
        self.list.retain_mut(|known| {
            if known.bytes <= known.low_water {
                known.conflating = false;
                known.dwell_since = Timestamp::NEVER;
            }
            known.bytes > 0
        });
    }

    pub(super) fn storage(&self) -> usize {
        size_of::<Self>() + self.list.capacity() * size_of::<Channel>()
    }
}

fn low_water(chunk: &Chunk, marks: &Marks) -> u64 {
    let own = chunk.high_water().unwrap_or(marks.high_water) as u128;
    let low = own * marks.low_water as u128 / marks.high_water.max(1) as u128;
    // Not above the mark itself, whatever the marks are.
    low.min(own) as u64
}

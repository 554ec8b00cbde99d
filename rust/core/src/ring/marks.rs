//! Receives the counts after each change · hands out what the marks make of them: above high water, dwell,
//! conflation · owns the rule that all of these start above high water and end at low water.

use super::Ring;
use super::accounting::Tally;
use super::channels::Channels;
use super::chunk::Chunk;
use super::closing::Closing;
use crate::config::{Marks, Overflow};
use crate::time::Timestamp;

impl Ring {
    /// Whether awaiting senders wait: from above high water until pending bytes are at or below low water.
    pub fn is_above(&self) -> bool {
        self.is_above
    }

    /// Since when unawaited bytes, or a channel's against its own mark, are too many for the policy `disconnect`.
    /// Starts when such a publication or an unawaited frame finds them above high water, ends at low water.
    pub fn dwell_since(&self) -> Option<Timestamp> {
        let channels = self.books.channels.as_ref().map_or(Timestamp::NEVER, |known| known.dwell_since());
        Some(self.dwell_since.min(channels)).filter(|since| *since != Timestamp::NEVER)
    }

    /// Starts what the chunk's policy starts above high water; the chunk is the last entry.
    pub(super) fn cross(&mut self, chunk: &Chunk, now: Timestamp, marks: &Marks) -> Tally {
        let high_water = marks.high_water as u64;
        match (chunk.overflow(), chunk.high_water()) {
            (Overflow::DropOldest | Overflow::DropNewest, _) => {}
            (Overflow::Disconnect, None) => self.start_dwell(now, marks),
            (Overflow::Disconnect, Some(mark)) => {
                if self.channel_bytes(chunk) > mark as u64 {
                    self.channels().start_dwell(chunk, marks, now);
                }
            }
            (Overflow::Conflate, mark) => {
                let is_above = match mark {
                    None => self.books.pending.bytes > high_water,
                    Some(mark) => self.channel_bytes(chunk) > mark as u64,
                };
                if is_above {
                    return self.start_conflating(chunk, marks);
                }
            }
        }
        Tally::ZERO
    }

    /// Starts the connection's dwell if unawaited bytes are above high water and it does not run.
    pub(super) fn start_dwell(&mut self, now: Timestamp, marks: &Marks) {
        if self.books.unawaited > marks.high_water as u64 {
            self.dwell_since = self.dwell_since.min(now);
        }
    }

    /// Pending bytes of the chunk's channel, the chunk being the last entry.
    fn channel_bytes(&mut self, chunk: &Chunk) -> u64 {
        if self.books.channels.is_none() && self.queue.len() == 1 {
            // Alone in the ring: a reader that keeps up never makes the ring count by channel.
            return self.books.pending.bytes;
        }
        self.channels().bytes(chunk.channel())
    }

    /// The counts by channel, made from what waits when there are none.
    pub(super) fn channels(&mut self) -> &mut Channels {
        let (queue, begun) = (&self.queue, self.begun);
        self.books.channels.get_or_insert_with(|| Box::new(Channels::count(queue, begun)))
    }

    /// Ends what ends at low water, after bytes have come or gone.
    pub(super) fn settle(&mut self, marks: &Marks) {
        if self.queue.is_empty() {
            return self.forget_pressure();
        }
        let pending = self.books.pending.bytes;
        let low_water = marks.low_water as u64;
        let mark = if self.is_above { low_water } else { marks.high_water as u64 };
        // Nobody is told to wait for a ring that is closing.
        self.is_above = pending > mark && (self.is_above || self.closing == Closing::Open);
        if self.books.unawaited <= low_water {
            self.dwell_since = Timestamp::NEVER;
        }
        if let Some(channels) = &mut self.books.channels {
            channels.settle();
        }
        if let Some(index) = &mut self.index {
            index.is_connection &= pending > low_water;
            let channels = self.books.channels.as_ref();
            if !index.is_connection && !channels.is_some_and(|known| known.is_any_conflating()) {
                self.index = None;
            }
        }
    }

    /// Ends all of it, and frees what it took.
    pub(super) fn forget_pressure(&mut self) {
        self.index = None;
        self.books.channels = None;
        self.is_above = false;
        self.dwell_since = Timestamp::NEVER;
    }
}

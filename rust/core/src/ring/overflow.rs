//! Receives a publication that took a ring past `max_buffered` · drops publications down to high water in one
//! pass · owns the order in which they go and what may not go.

use super::Ring;
use super::accounting::{Fate, Tally};
use super::chunk::Chunk;
use crate::config::{Marks, Overflow};

/// One pass over the queue.
#[derive(Clone, Copy)]
struct Sweep {
    /// Only this channel; `None`: every dropping or conflating one.
    channel: Option<u64>,
    newest_first: bool,
    /// Spares the last message of the queue.
    spare_newest: bool,
    /// Bytes that have to go.
    excess: u64,
}

impl Ring {
    /// Makes room after the chunk at the tail went past `max_buffered`: first its channel down to the channel's
    /// own mark, if it has one, then all down to high water.
    pub(super) fn overflow(&mut self, chunk: &Chunk, marks: &Marks) -> Tally {
        let newest_first = chunk.overflow() == Overflow::DropNewest;
        let mut sweep = Sweep { channel: None, newest_first, spare_newest: !newest_first, excess: 0 };
        let mut dropped = Tally::ZERO;
        if let Some(mark) = chunk.high_water() {
            let excess = self.channels().bytes(chunk.channel()).saturating_sub(mark as u64);
            dropped += self.sweep(Sweep { channel: Some(chunk.channel()), excess, ..sweep });
        }
        sweep.excess = self.books.pending.bytes.saturating_sub(marks.high_water as u64);
        dropped += self.sweep(sweep);
        // What no policy may drop can leave no room even for the newest publication, which is last in the queue.
        let excess = self.books.pending.bytes.saturating_sub(marks.max_buffered as u64);
        dropped += self.sweep(Sweep { newest_first: true, spare_newest: false, excess, ..sweep });
        self.queue.compact();
        // The entries have moved, so an index has to name their places anew.
        dropped + self.conflate_pending()
    }

    fn sweep(&mut self, sweep: Sweep) -> Tally {
        let mut dropped = Tally::ZERO;
        if sweep.excess > 0 && self.begun > 0 {
            // A frame once begun stays, so what goes behind it leaves a hole in its entry.
            self.queue.split_first();
        }
        let waiting = self.queue.len();
        for step in 0..waiting {
            if dropped.bytes >= sweep.excess {
                break;
            }
            let position = if sweep.newest_first { waiting - 1 - step } else { step };
            let Some(entry) = self.queue.get_mut(position) else { break };
            if !entry.is_droppable(sweep.channel) || (self.begun > 0 && position == 0) {
                continue;
            }
            let excess = sweep.excess - dropped.bytes;
            let (first, last) = if sweep.newest_first {
                (entry.newest_worth(excess), entry.last)
            } else {
                let spared = u32::from(sweep.spare_newest && position + 1 == waiting);
                (entry.first, entry.oldest_worth(excess).min(entry.last - spared))
            };
            let part = entry.tally(first, last);
            self.books.remove(entry, part, Fate::Dropped);
            dropped += part;
            if sweep.newest_first {
                entry.last = first;
            } else {
                entry.first = last;
            }
        }
        dropped
    }
}

//! Receives publications of conflating channels while a reader is slow · keeps the newest per channel and key,
//! at the tail · owns the index that finds the superseded one in constant time.

use std::collections::{HashMap, VecDeque};
use std::mem::size_of;
use std::sync::Arc;

use super::Ring;
use super::accounting::{Books, Fate, Tally};
use super::chunk::Chunk;
use super::entry::Entry;
use crate::config::{Marks, Overflow};
use crate::time::Timestamp;

/// Where the numbering of entries starts: it grows both ways.
const MIDDLE: u64 = 1 << 63;

/// Exists while something conflates. Entries that it names hold one message each and are numbered: the front of
/// the queue is `front`, the one behind it `front + 1`. A number before the front has left.
#[derive(Debug)]
pub(super) struct Index {
    places: HashMap<(u64, u64), u64>,
    front: u64,
    /// Superseded entries that still lie in the queue.
    spent: usize,
    /// Whether the channels without a mark of their own conflate.
    pub(super) is_connection: bool,
}

impl Index {
    fn new() -> Self {
        Self { places: HashMap::new(), front: MIDDLE, spent: 0, is_connection: false }
    }

    pub(super) fn storage(&self) -> usize {
        // One control byte a bucket, and an eighth of the buckets stays free.
        let bucket = size_of::<((u64, u64), u64)>() + 1;
        size_of::<Self>() + self.places.capacity() * bucket * 8 / 7
    }
}

/// Whether publications of the chunk's channel are conflated now. That starts above high water and, like
/// everything that does, ends at low water: around one mark alone each push could mean a pass.
fn is_conflating(index: &Index, books: &Books, chunk: &Chunk) -> bool {
    chunk.overflow() == Overflow::Conflate
        && match chunk.high_water() {
            None => index.is_connection,
            Some(_) => books.channels.as_ref().is_some_and(|known| known.is_conflating(chunk.channel())),
        }
}

impl Ring {
    pub(super) fn is_conflating(&self, chunk: &Chunk) -> bool {
        self.index.as_ref().is_some_and(|index| is_conflating(index, &self.books, chunk))
    }

    /// Starts to conflate the chunk's channel, or all without a mark of their own, with what already waits.
    pub(super) fn start_conflating(&mut self, chunk: &Chunk, marks: &Marks) -> Tally {
        let index = self.index.get_or_insert_with(|| Box::new(Index::new()));
        match chunk.high_water() {
            None => index.is_connection = true,
            Some(_) => self.channels().start_conflating(chunk, marks),
        }
        self.conflate_pending()
    }

    /// Appends each message of a conflating chunk and drops what it supersedes.
    pub(super) fn push_latest(&mut self, chunk: &Arc<Chunk>, now: Timestamp) -> Tally {
        let mut dropped = Tally::ZERO;
        let last = chunk.messages();
        // Without keys only the last can stay, so the others need not even enter.
        let first = if chunk.is_keyed() { 0 } else { last - 1 };
        if first > 0 {
            dropped = Entry::publications(chunk, 0, first, now).tally(0, first);
            self.books.pass_over(dropped);
        }
        for message in first..last {
            dropped += self.supersede((chunk.channel(), chunk.key(message)));
            let entry = Entry::publications(chunk, message, message + 1, now);
            let size = entry.tally(message, message + 1);
            self.append(entry, size);
        }
        self.discharge_superseded();
        if self.index.as_ref().is_some_and(|index| {
            let waiting = self.queue.len();
            // Both bounds are multiples of what waits, so the pass is paid for by the pushes before it.
            index.spent > 32 + waiting / 2 || index.places.len() > 64 + 2 * waiting
        }) {
            dropped += self.conflate_pending();
        }
        dropped
    }

    /// Names the entry that is appended next as the newest of its key, and drops the one before it.
    fn supersede(&mut self, key: (u64, u64)) -> Tally {
        let Some(index) = &mut self.index else { return Tally::ZERO };
        let next = index.front + self.queue.len() as u64;
        let Some(position) = index.places.insert(key, next).and_then(|old| old.checked_sub(index.front))
        else {
            return Tally::ZERO;
        };
        // The peer has a part of it already: a frame once begun is never dropped.
        if position == 0 && self.begun > 0 {
            return Tally::ZERO;
        }
        let Some(entry) = self.queue.get_mut(position as usize) else { return Tally::ZERO };
        let part = entry.tally(entry.first, entry.last);
        self.books.remove(entry, part, Fate::Dropped);
        entry.first = entry.last;
        index.spent += 1;
        part
    }

    /// Takes the first entry out, and superseded ones behind it: what is gathered and aged at the front is real.
    pub(super) fn pop_front(&mut self) {
        self.queue.pop_front();
        if let Some(index) = &mut self.index {
            index.front += 1;
        }
        self.discharge_superseded();
    }

    fn discharge_superseded(&mut self) {
        while self.queue.front().is_some_and(Entry::is_spent) {
            self.queue.pop_front();
            if let Some(index) = &mut self.index {
                index.front += 1;
                index.spent = index.spent.saturating_sub(1);
            }
        }
    }

    /// One pass over the queue, newest first: keeps the newest per channel and key where that conflates, takes
    /// spent entries out and numbers the rest anew.
    pub(super) fn conflate_pending(&mut self) -> Tally {
        let Self { index: Some(index), queue, books, begun, .. } = self else { return Tally::ZERO };
        index.front = MIDDLE;
        index.spent = 0;
        index.places.clear();
        let mut dropped = Tally::ZERO;
        let mut kept = VecDeque::new();
        for (position, entry) in queue.take().into_iter().enumerate().rev() {
            let Some(chunk) = entry.chunk().filter(|chunk| is_conflating(index, books, chunk)) else {
                if !entry.is_spent() {
                    index.front -= 1;
                    kept.push_front(entry);
                }
                continue;
            };
            for message in (entry.first..entry.last).rev() {
                let key = (chunk.channel(), chunk.key(message));
                let is_begun = *begun > 0 && position == 0 && message == entry.first;
                if !index.places.contains_key(&key) {
                    index.places.insert(key, index.front - 1);
                } else if !is_begun {
                    let part = entry.tally(message, message + 1);
                    books.remove(&entry, part, Fate::Dropped);
                    dropped += part;
                    continue;
                }
                index.front -= 1;
                kept.push_front(Entry::publications(chunk, message, message + 1, entry.at));
            }
        }
        *queue = kept.into();
        dropped
    }
}

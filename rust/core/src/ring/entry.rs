//! Receives ranges of chunks and private frames from the ring · hands them back in order · owns the queue:
//! nothing on the heap for one entry, a deque only while there are more.

use std::collections::VecDeque;
use std::mem::{self, size_of};
use std::sync::Arc;

use bytes::Bytes;

use super::accounting::Tally;
use super::chunk::Chunk;
use crate::config::Overflow;
use crate::time::Timestamp;

#[derive(Debug)]
pub(super) enum Body {
    Chunk(Arc<Chunk>),
    /// A private message: one frame that no policy may drop.
    Frame(Bytes),
}

/// Neighbouring messages that entered the ring together: `first` up to, not including, `last`.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) body: Body,
    /// When it was pushed.
    pub(super) at: Timestamp,
    pub(super) first: u32,
    pub(super) last: u32,
    /// Whether its sender waits above high water; such bytes do not count for the dwell.
    pub(super) awaited: bool,
}

impl Entry {
    pub(super) fn publications(chunk: &Arc<Chunk>, first: u32, last: u32, at: Timestamp) -> Self {
        Self { body: Body::Chunk(Arc::clone(chunk)), at, first, last, awaited: false }
    }

    pub(super) fn frame(frame: Bytes, awaited: bool, at: Timestamp) -> Self {
        Self { body: Body::Frame(frame), at, first: 0, last: 1, awaited }
    }

    pub(super) fn chunk(&self) -> Option<&Arc<Chunk>> {
        match &self.body {
            Body::Chunk(chunk) => Some(chunk),
            Body::Frame(_) => None,
        }
    }

    /// Whether all of its messages have left; such an entry may stay in the middle of the queue for a while.
    pub(super) fn is_spent(&self) -> bool {
        self.first == self.last
    }

    /// Whether a policy may drop its messages: publications of dropping or conflating channels, of one
    /// channel when that is named.
    pub(super) fn is_droppable(&self, channel: Option<u64>) -> bool {
        self.chunk().is_some_and(|chunk| {
            chunk.overflow() != Overflow::Disconnect
                && channel.is_none_or(|channel| channel == chunk.channel())
        })
    }

    pub(super) fn start_of(&self, message: u32) -> usize {
        match &self.body {
            Body::Chunk(chunk) => chunk.start_of(message),
            Body::Frame(frame) if message > 0 => frame.len(),
            Body::Frame(_) => 0,
        }
    }

    /// The first message that does not lie wholly before `offset`.
    pub(super) fn message_at(&self, offset: usize) -> u32 {
        match &self.body {
            Body::Chunk(chunk) => chunk.messages_before(offset),
            Body::Frame(frame) => u32::from(offset >= frame.len()),
        }
    }

    pub(super) fn tally(&self, first: u32, last: u32) -> Tally {
        let bytes = self.start_of(last) - self.start_of(first);
        Tally { messages: u64::from(last - first), bytes: bytes as u64 }
    }

    /// Where the shortest run of oldest messages ends that has this many bytes, or the entry.
    pub(super) fn oldest_worth(&self, bytes: u64) -> u32 {
        let reached = self.start_of(self.first) as u64 + bytes;
        // The message in which the last of those bytes lies goes whole.
        self.message_at(reached.saturating_sub(1) as usize).saturating_add(1).clamp(self.first, self.last)
    }

    /// Where the shortest run of newest messages begins that has this many bytes, or the entry.
    pub(super) fn newest_worth(&self, bytes: u64) -> u32 {
        let reached = (self.start_of(self.last) as u64).saturating_sub(bytes);
        self.message_at(reached as usize).clamp(self.first, self.last)
    }

    pub(super) fn slice(&self, start: usize, end: usize) -> &[u8] {
        let bytes = match &self.body {
            Body::Chunk(chunk) => chunk.bytes(),
            Body::Frame(frame) => frame,
        };
        bytes.get(start..end).unwrap_or_default()
    }

    /// Whether `next` continues this entry's bytes without a hole.
    pub(super) fn is_continued_by(&self, next: &Self) -> bool {
        match (&self.body, &next.body) {
            (Body::Chunk(this), Body::Chunk(other)) => self.last == next.first && Arc::ptr_eq(this, other),
            _ => false,
        }
    }
}

/// The entries of a ring, oldest first. One lives in place; the deque of more is freed when the queue is empty.
#[derive(Debug, Default)]
pub(super) enum Queue {
    #[default]
    Empty,
    One(Entry),
    Many(VecDeque<Entry>),
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::One(_) => 1,
            Self::Many(entries) => entries.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        debug_assert_eq!(matches!(self, Self::Empty), self.len() == 0, "a deque that is empty is given back");
        matches!(self, Self::Empty)
    }

    pub(super) fn front(&self) -> Option<&Entry> {
        match self {
            Self::Empty => None,
            Self::One(entry) => Some(entry),
            Self::Many(entries) => entries.front(),
        }
    }

    pub(super) fn get_mut(&mut self, position: usize) -> Option<&mut Entry> {
        match self {
            Self::One(entry) if position == 0 => Some(entry),
            Self::Empty | Self::One(_) => None,
            Self::Many(entries) => entries.get_mut(position),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        let (front, back) = match self {
            Self::Empty => (&[][..], &[][..]),
            Self::One(entry) => (std::slice::from_ref(entry), &[][..]),
            Self::Many(entries) => entries.as_slices(),
        };
        front.iter().chain(back)
    }

    pub(super) fn push_back(&mut self, entry: Entry) {
        match self {
            Self::Empty => *self = Self::One(entry),
            Self::Many(entries) => entries.push_back(entry),
            Self::One(_) => {
                let mut entries = self.take();
                entries.push_back(entry);
                *self = entries.into();
            }
        }
    }

    pub(super) fn pop_front(&mut self) {
        match self {
            Self::Empty | Self::One(_) => *self = Self::Empty,
            Self::Many(entries) => {
                entries.pop_front();
                if entries.is_empty() {
                    *self = Self::Empty;
                }
            }
        }
    }

    /// Leaves the first message in an entry of its own.
    pub(super) fn split_first(&mut self) {
        let Some(front) = self.get_mut(0).filter(|front| front.last - front.first > 1) else { return };
        let Some(chunk) = front.chunk() else { return };
        let rest = Entry::publications(chunk, front.first + 1, front.last, front.at);
        front.last = front.first + 1;
        let mut entries = self.take();
        entries.insert(1, rest);
        *self = entries.into();
    }

    /// Takes all entries out.
    pub(super) fn take(&mut self) -> VecDeque<Entry> {
        match mem::take(self) {
            Self::Empty => VecDeque::new(),
            Self::One(entry) => VecDeque::from([entry]),
            Self::Many(entries) => entries,
        }
    }

    /// Takes spent entries out, and gives back the storage that most of the queue has left.
    pub(super) fn compact(&mut self) {
        if let Self::Many(entries) = self {
            entries.retain(|entry| !entry.is_spent());
            if entries.is_empty() {
                *self = Self::Empty;
            } else if entries.capacity() > 64 && entries.capacity() / 4 > entries.len() {
                entries.shrink_to_fit();
            }
        } else if self.front().is_some_and(Entry::is_spent) {
            *self = Self::Empty;
        }
    }

    /// Heap bytes of the queue itself.
    pub(super) fn storage(&self) -> usize {
        match self {
            Self::Empty | Self::One(_) => 0,
            Self::Many(entries) => entries.capacity() * size_of::<Entry>(),
        }
    }
}

impl From<VecDeque<Entry>> for Queue {
    fn from(entries: VecDeque<Entry>) -> Self {
        if entries.is_empty() { Self::Empty } else { Self::Many(entries) }
    }
}

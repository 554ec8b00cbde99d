//! Receives how much the socket took · hands out what to write next, as slices · owns the place in the frame
//! that is begun, so that frames never interleave.

use std::io::IoSlice;

use super::Ring;
use super::accounting::{Fate, Tally};
use super::closing::Closing;
use super::control::Kind;
use super::entry::Queue;
use crate::config::Marks;
use crate::time::Timestamp;

/// What the socket has taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Messages of which the last byte was taken.
    pub messages: u64,
    /// Bytes of messages; control frames are not among them.
    pub bytes: u64,
    /// A ping was taken whole: from now on its pong is due.
    pub ping: bool,
    /// Our Close was taken whole: nothing follows it.
    pub close: bool,
}

impl Ring {
    /// All that is to be written, where that is one range: what waits for a reader that keeps up.
    pub fn only_range(&self) -> Option<&[u8]> {
        match (&self.queue, &self.control) {
            (Queue::One(entry), None) => {
                let start = entry.start_of(entry.first) + self.begun;
                Some(entry.slice(start, entry.start_of(entry.last)))
            }
            _ => None,
        }
    }

    /// Fills `slices` with what is to be written next, in order, and says how many it used. Neighbouring messages
    /// of a chunk are one slice. Nothing may be pushed before [`Ring::took`] has heard what came of the write.
    pub fn gather<'r>(&'r self, slices: &mut [IoSlice<'r>]) -> usize {
        let mut places = slices.iter_mut();
        let mut used = 0;
        // True while there is room.
        let mut put = |bytes: &'r [u8]| {
            if bytes.is_empty() {
                return true;
            }
            let Some(place) = places.next() else { return false };
            *place = IoSlice::new(bytes);
            used += 1;
            true
        };
        let mut skip = self.begun;
        let mut has_room = true;
        if let Some(control) = &self.control {
            has_room = put(control.begun());
            if skip > 0 && control.has_urgent() {
                // The boundary that a ping or pong waits for is the end of the first message.
                if let Some(front) = self.queue.front() {
                    let end = front.start_of(front.first + 1);
                    has_room = has_room && put(front.slice(front.start_of(front.first) + skip, end));
                    skip = end - front.start_of(front.first);
                }
            }
            has_room = has_room && control.urgent().into_iter().all(&mut put);
        }
        if has_room
            && self.each_range(skip, &mut put)
            && let Some(control) = &self.control
        {
            put(control.close());
        }
        used
    }

    /// Calls `put` with each contiguous range of pending data behind the first `skip` bytes, until it says false.
    fn each_range<'r>(&'r self, skip: usize, mut put: impl FnMut(&'r [u8]) -> bool) -> bool {
        let Some(front) = self.queue.front() else { return true };
        let (mut last, mut start) = (front, front.start_of(front.first) + skip);
        for entry in self.queue.iter().skip(1).filter(|entry| !entry.is_spent()) {
            if !last.is_continued_by(entry) {
                if !put(last.slice(start, last.start_of(last.last))) {
                    return false;
                }
                start = entry.start_of(entry.first);
            }
            last = entry;
        }
        put(last.slice(start, last.start_of(last.last)))
    }

    /// Tells that the socket took the first `bytes` of what was gathered.
    pub fn took(&mut self, bytes: usize, now: Timestamp, marks: &Marks) -> Taken {
        let mut taken = Taken::default();
        if bytes == 0 {
            return taken;
        }
        self.progress = now;
        if self.control.is_none() && bytes as u64 == self.books.pending.bytes {
            return self.took_all();
        }
        let mut left = bytes;
        while left > 0 {
            let count = self.take_next(left, &mut taken);
            debug_assert!(count > 0, "the socket cannot take more than was gathered");
            if count == 0 {
                break;
            }
            left -= count;
        }
        if self.control.as_ref().is_some_and(|control| control.is_empty()) {
            self.control = None;
        }
        self.settle(marks);
        taken
    }

    /// The socket took all that waits, as it does where a reader keeps up: what is pending is written, and nothing
    /// need be looked at entry by entry.
    fn took_all(&mut self) -> Taken {
        let Tally { messages, bytes } = self.books.write_all();
        self.queue = Queue::Empty;
        self.begun = 0;
        self.forget_pressure();
        Taken { messages, bytes, ..Taken::default() }
    }

    /// Takes up to `limit` bytes of what is next; the same order as in [`Ring::gather`].
    fn take_next(&mut self, limit: usize, taken: &mut Taken) -> usize {
        if let Some(control) = &mut self.control {
            let is_boundary = self.begun == 0;
            if !control.has_begun() && is_boundary && (control.has_urgent() || self.queue.is_empty()) {
                control.begin();
            }
            if control.has_begun() {
                let (count, whole) = control.took(limit);
                match whole {
                    Some(Kind::Ping) => taken.ping = true,
                    Some(Kind::Close) => {
                        taken.close = true;
                        self.closing = Closing::Sent;
                    }
                    Some(Kind::Pong) | None => {}
                }
                return count;
            }
        }
        let is_interrupted = self.control.as_ref().is_some_and(|control| control.has_urgent());
        self.take_data(limit, is_interrupted, taken)
    }

    /// Takes up to `limit` bytes of the first entry; of its first message only when a control frame waits.
    fn take_data(&mut self, limit: usize, is_interrupted: bool, taken: &mut Taken) -> usize {
        let Some(front) = self.queue.get_mut(0) else { return 0 };
        let start = front.start_of(front.first) + self.begun;
        let end = if is_interrupted { front.start_of(front.first + 1) } else { front.start_of(front.last) };
        let count = limit.min(end - start);
        let reached = start + count;
        let next = if reached < end || is_interrupted { front.message_at(reached) } else { front.last };
        let part = Tally { messages: u64::from(next - front.first), bytes: count as u64 };
        self.books.remove(front, part, Fate::Written);
        taken.messages += part.messages;
        taken.bytes += part.bytes;
        front.first = next;
        self.begun = reached - front.start_of(next);
        if front.is_spent() {
            self.pop_front();
        }
        count
    }
}

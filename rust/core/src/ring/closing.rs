//! Receives the end of a connection, and the pings and pongs of its life · hands out what was discarded ·
//! owns the state that says what may still be pushed.

use std::mem;

use super::Ring;
use super::accounting::{Fate, Tally};
use super::control::Kind;
use super::entry::Queue;
use crate::time::Timestamp;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Closing {
    #[default]
    Open,
    /// Close goes out behind what waits.
    Flushing,
    /// Close is next, behind a frame that is begun at most.
    Next,
    /// Close has been taken, or the transport has ended.
    Sent,
}

impl Ring {
    /// Queues a ping, an encoded frame, for the next frame boundary, in place of one that is not begun.
    /// False when the ring is closing and no frame may follow.
    pub fn push_ping(&mut self, frame: &[u8], now: Timestamp) -> bool {
        self.push_control(Kind::Ping, frame, now)
    }

    /// Queues a pong; as [`Ring::push_ping`].
    pub fn push_pong(&mut self, frame: &[u8], now: Timestamp) -> bool {
        self.push_control(Kind::Pong, frame, now)
    }

    /// Whether a pong waits that a newer one would replace.
    pub fn has_pong(&self) -> bool {
        self.control.as_ref().is_some_and(|control| {
            let [pong, _] = control.urgent();
            !pong.is_empty()
        })
    }

    fn push_control(&mut self, kind: Kind, frame: &[u8], now: Timestamp) -> bool {
        // RFC 6455 §5.5.1: nothing follows a Close, so nothing may come between its bytes either.
        let is_closing = self.control.as_ref().is_some_and(|control| control.has_begun_close());
        if is_closing || matches!(self.closing, Closing::Next | Closing::Sent) {
            return false;
        }
        self.begin_to_wait(now);
        self.control.get_or_insert_default().put(kind, frame);
        true
    }

    /// Queues our Close, an encoded frame, and refuses what is pushed from now on. With `flush` it goes out behind
    /// all that waits; without, it is next and only a frame already begun goes before it. A second call does not
    /// replace the first Close, but may end a flush. Returns what was discarded.
    pub fn close(&mut self, frame: &[u8], flush: bool, now: Timestamp) -> Tally {
        if self.closing == Closing::Sent {
            return Tally::ZERO;
        }
        self.begin_to_wait(now);
        let control = self.control.get_or_insert_default();
        if self.closing == Closing::Open {
            control.put(Kind::Close, frame);
            self.closing = Closing::Flushing;
        }
        if flush {
            return Tally::ZERO;
        }
        control.clear_urgent();
        self.closing = Closing::Next;
        self.discard(true)
    }

    /// Discards everything, a begun frame and control frames too, and refuses what is pushed from now on: the
    /// transport has ended. Returns the messages and bytes among it.
    pub fn discard_all(&mut self) -> Tally {
        self.control = None;
        self.closing = Closing::Sent;
        self.discard(false)
    }

    fn discard(&mut self, keep_begun: bool) -> Tally {
        let mut discarded = Tally::ZERO;
        let mut kept = Queue::Empty;
        let mut begun = mem::take(&mut self.begun) as u64;
        for mut entry in self.queue.take() {
            if begun > 0 && keep_begun {
                self.begun = mem::take(&mut begun) as usize;
                let part = entry.tally(entry.first + 1, entry.last);
                self.books.remove(&entry, part, Fate::Discarded);
                discarded += part;
                entry.last = entry.first + 1;
                kept.push_back(entry);
            } else {
                let mut part = entry.tally(entry.first, entry.last);
                part.bytes -= mem::take(&mut begun);
                self.books.remove(&entry, part, Fate::Discarded);
                discarded += part;
            }
        }
        self.queue = kept;
        self.forget_pressure();
        discarded
    }
}

//! Receives a whole HTTP response · hands it to the socket, in several writes if need be, and then shuts writing ·
//! owns what is left of it.

use bytes::Bytes;

use crate::lifecycle::Event as Happened;
use crate::shard::Shard;
use crate::time::Timestamp;
use crate::wire::{Wire, Wrote};

/// A response that the socket has not taken whole. Bounded by the largest asset, and in time by
/// `open_timeout`: the socket is still on its pending place and counts as one that has not got anywhere.
pub struct Answer {
    bytes: Bytes,
    /// What the lifecycle is told once it is out.
    event: Happened,
}

impl<W: Wire> Shard<W> {
    /// Writes a response; when all of it is out, writing is shut.
    pub(super) fn answer(&mut self, index: u32, bytes: Bytes, event: Happened, now: Timestamp) {
        let Some(opening) = self.places.get_mut(index).and_then(|connection| connection.opening.as_mut())
        else {
            return;
        };
        opening.answer = Some(Answer { bytes, event });
        self.go_on_answering(index, now);
    }

    /// Offers the socket what is left of its response. False: there is none.
    pub(super) fn go_on_answering(&mut self, index: u32, now: Timestamp) -> bool {
        let opening = self.places.get_mut(index).and_then(|connection| connection.opening.as_mut());
        let Some(answer) = opening.and_then(|opening| opening.answer.as_mut()) else { return false };
        match self.wire.write(index, &[std::io::IoSlice::new(&answer.bytes)]) {
            Wrote::Took(count) if count >= answer.bytes.len() => {
                let event = answer.event;
                self.apply(index, event);
                self.start_linger(index, now);
            }
            Wrote::Took(count) => drop(answer.bytes.split_to(count)),
            Wrote::Blocked => {}
            Wrote::Failed => self.lost(index, now),
        }
        true
    }

    /// Whether the verdict is spoken and only its bytes are still on their way.
    pub(super) fn is_answering(&self, index: u32) -> bool {
        let opening = self.places.get(index).and_then(|connection| connection.opening.as_ref());
        opening.is_some_and(|opening| opening.answer.is_some())
    }
}

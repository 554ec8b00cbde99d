//! Receives a socket and its encryption · hands plain bytes to the driver and takes them from the shard · owns how much is
//! encrypted ahead of the socket: one record, never more.

use std::io::IoSlice;
use std::task::{Context, Poll};

use streamconductor_core::shard::securing::Secured;
use streamconductor_core::wire::Wrote;
use tokio::io::ReadBuf;

use super::encryption::{Absorbed, Encryption, OVERHEAD, RECORD};
use crate::stream::Stream;

/// Bytes of records taken in at once, what was unfinished included. The plain bytes are fewer, so that they fit into a
/// buffer of this size, and none has to wait inside.
pub const INCOMING: usize = 64 * 1024;
/// Records written in a row, so that a reader of a huge backlog does not take the turn.
const RECORDS_IN_A_ROW: usize = 4;

/// Buffers that all connections of a shard share.
pub struct Scratch {
    incoming: Box<[u8]>,
    plain: Box<[u8]>,
    records: Box<[u8]>,
}

impl Default for Scratch {
    fn default() -> Self {
        let buffer = |size| vec![0; size].into_boxed_slice();
        Self { incoming: buffer(INCOMING), plain: buffer(RECORD), records: buffer(RECORD + OVERHEAD) }
    }
}

/// What reading brought.
pub enum Incoming {
    /// Nothing.
    Nothing,
    /// So many plain bytes, perhaps none although something came; and whether there may be more at once.
    Plain(usize, bool),
    /// The handshake is complete; otherwise as `Plain`.
    Secured(Secured, usize, bool),
    /// No TLS will come of it.
    Refused,
    /// Nothing more will come.
    Ended,
}

/// An encrypted socket for the time of one call.
pub struct Tls<'a> {
    pub stream: &'a mut Stream,
    pub encryption: &'a mut Encryption,
    pub scratch: &'a mut Scratch,
}

impl Tls<'_> {
    /// Reads once, at most `most` bytes. `plain` has room for [`INCOMING`].
    pub fn read(&mut self, context: &mut Context<'_>, plain: &mut [u8], most: usize) -> Incoming {
        if self.encryption.is_over() {
            return self.drain(context, plain);
        }
        let begun = self.encryption.unfinished();
        let Some(room) = self.scratch.incoming.get_mut(..begun.len()) else { return Incoming::Ended };
        room.copy_from_slice(begun);
        let begun = begun.len();
        let end = (begun + most).min(self.scratch.incoming.len());
        let Some(room) = self.scratch.incoming.get_mut(begun..end) else { return Incoming::Ended };
        let mut buffer = ReadBuf::new(room);
        let read = match self.stream.poll_read(context, &mut buffer) {
            Poll::Pending => return Incoming::Nothing,
            Poll::Ready(Err(_)) => return Incoming::Ended,
            Poll::Ready(Ok(())) => buffer.filled().len(),
        };
        if read == 0 {
            // Without a close_notify: whether it is the end of what was meant, WebSocket's own Close tells.
            return Incoming::Ended;
        }
        let is_more = begun + read == end;
        let input = self.scratch.incoming.get_mut(..begun + read).unwrap_or_default();
        let absorbed = self.encryption.absorb(input, plain);
        // Handshake messages, new keys and alerts go out at once; who takes none of them is found by the shard's deadlines.
        let is_broken = self.flush(context) == Wrote::Failed;
        match absorbed {
            Absorbed::Refused => Incoming::Refused,
            _ if is_broken => Incoming::Ended,
            Absorbed::Plain(count) => Incoming::Plain(count, is_more),
            Absorbed::Secured(secured, count) => {
                Incoming::Secured(secured, count, is_more || self.encryption.is_over())
            }
            Absorbed::Over(0) => Incoming::Ended,
            // The end is told by the next reading, behind the bytes that came before it.
            Absorbed::Over(count) => Incoming::Plain(count, true),
        }
    }

    /// Where nothing can be made of what comes, it is read all the same: unread bytes would turn our end into a reset,
    /// and a reset may overtake the alert.
    fn drain(&mut self, context: &mut Context<'_>, into: &mut [u8]) -> Incoming {
        if !self.encryption.is_refused() {
            return Incoming::Ended;
        }
        let mut buffer = ReadBuf::new(into);
        match self.stream.poll_read(context, &mut buffer) {
            Poll::Pending => Incoming::Nothing,
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                Incoming::Plain(buffer.filled().len(), buffer.remaining() == 0)
            }
            Poll::Ready(_) => Incoming::Ended,
        }
    }

    /// Encrypts and writes until the socket or the slices have enough. What was encrypted is taken, whether or not the
    /// socket has it already; nothing more is, until it has.
    pub fn write(&mut self, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Wrote {
        match self.flush(context) {
            Wrote::Took(_) => {}
            other => return other,
        }
        let mut taken = 0;
        for _ in 0..RECORDS_IN_A_ROW {
            let gathered = gather(slices, taken, &mut self.scratch.plain);
            let plain = self.scratch.plain.get(..gathered).unwrap_or_default();
            if plain.is_empty() {
                break;
            }
            let Some(size) = self.encryption.encrypt(plain, &mut self.scratch.records) else {
                return Wrote::Failed;
            };
            taken += gathered;
            match self.send(context, size) {
                Wrote::Took(_) => {}
                Wrote::Blocked => break,
                Wrote::Failed => return Wrote::Failed,
            }
        }
        Wrote::Took(taken)
    }

    /// Offers the first `size` bytes of the shared records to the socket, and keeps what it does not take.
    fn send(&mut self, context: &mut Context<'_>, size: usize) -> Wrote {
        let mut records = self.scratch.records.get(..size).unwrap_or_default();
        // New keys may have been announced before these records.
        while self.encryption.unsent().is_empty() && !records.is_empty() {
            match self.stream.poll_write(context, records) {
                Poll::Pending => break,
                Poll::Ready(Ok(count)) if count > 0 => records = records.get(count..).unwrap_or_default(),
                Poll::Ready(_) => return Wrote::Failed,
            }
        }
        if records.is_empty() {
            return Wrote::Took(size);
        }
        self.encryption.hold(records);
        self.flush(context)
    }

    /// Offers the socket what is unsent. `Took`: it has everything.
    pub fn flush(&mut self, context: &mut Context<'_>) -> Wrote {
        while !self.encryption.unsent().is_empty() {
            match self.stream.poll_write(context, self.encryption.unsent()) {
                Poll::Pending => return Wrote::Blocked,
                Poll::Ready(Ok(count)) if count > 0 => self.encryption.sent(count),
                Poll::Ready(_) => return Wrote::Failed,
            }
        }
        Wrote::Took(0)
    }

    /// Says that nothing will follow. True: the socket has it, and its direction may be ended.
    pub fn end(&mut self, context: &mut Context<'_>) -> bool {
        self.encryption.end();
        self.flush(context) != Wrote::Blocked
    }
}

/// Copies what the slices have from byte `from` on, as much as fits.
fn gather(slices: &[IoSlice<'_>], from: usize, into: &mut [u8]) -> usize {
    let (mut skip, mut filled) = (from, 0);
    for slice in slices {
        let Some(rest) = slice.get(skip..) else {
            skip -= slice.len();
            continue;
        };
        skip = 0;
        let size = rest.len().min(into.len() - filled);
        if let (Some(room), Some(part)) = (into.get_mut(filled..filled + size), rest.get(..size)) {
            room.copy_from_slice(part);
            filled += size;
        }
    }
    filled
}

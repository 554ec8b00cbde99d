//! Receives what the shard wants written · hands back what the socket took · owns the only door between the core and bytes on a network.

use std::io::IoSlice;

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrote {
    /// The socket took this many bytes; fewer than offered means that it is full for now.
    Took(usize),
    /// The socket takes nothing now; the driver says `writable` when it does again.
    Blocked,
    /// The socket is broken.
    Failed,
}

/// The sockets of one shard, by the connection's index. Implemented over plain TCP, Unix sockets and TLS
/// by the network crate, and in memory by simulations.
pub trait Wire {
    /// Writes the slices in order, as far as the socket takes them.
    fn write(&mut self, index: u32, slices: &[IoSlice<'_>]) -> Wrote;

    /// Ends our direction (FIN, after `close_notify` on TLS). Nothing is written afterwards.
    fn shut_down(&mut self, index: u32);

    /// Starts or stops reading. While stopped the driver calls neither `bytes` nor `ended`.
    fn set_reading(&mut self, index: u32, reading: bool);

    /// Lets the socket go; `reset` sends RST instead of an orderly end.
    fn release(&mut self, index: u32, reset: bool);
}

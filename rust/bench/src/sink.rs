//! Receives what a shard writes · hands back that all of it was taken, or nothing of it · owns the counts by which a
//! workload knows that it was done.

use std::io::IoSlice;

use streamconductor_core::wire::{Wire, Wrote};

/// Sockets that cost nothing: each takes all that is offered at once, except those that are stuck.
#[derive(Default)]
pub struct Sink {
    /// Bytes taken.
    pub bytes: u64,
    /// Writes that took something.
    pub writes: u64,
    /// Sockets let go.
    pub released: u64,
    /// Connections below this index take nothing.
    pub stuck: u32,
}

impl Wire for Sink {
    fn write(&mut self, index: u32, slices: &[IoSlice<'_>]) -> Wrote {
        if index < self.stuck {
            return Wrote::Blocked;
        }
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        self.bytes += offered as u64;
        self.writes += 1;
        Wrote::Took(offered)
    }

    fn shut_down(&mut self, _: u32) {}

    fn set_reading(&mut self, _: u32, _: bool) {}

    fn release(&mut self, _: u32, _: bool) {
        self.released += 1;
    }
}

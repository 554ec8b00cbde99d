//! Receives turns and ticks · hands the ledger what the shared contexts take · owns when they are let go, and how much
//! a shard compresses in one turn.

use crate::deflate::{BYTES_PER_TURN, Contexts, IDLE};
use crate::ledger::Owner;
use crate::shard::Shard;
use crate::time::Timestamp;
use crate::wire::Wire;

/// The contexts that all connections of a shard share, and what must be remembered of their use.
#[derive(Debug, Default)]
pub(super) struct Compression {
    pub contexts: Contexts,
    /// As of the last look.
    uses: u64,
    used_at: Timestamp,
    charged: usize,
    /// Payload bytes compressed when the turn began.
    before_turn: u64,
}

impl<W: Wire> Shard<W> {
    /// Whether this turn has compressed enough: further publications should wait for the next, so that everybody is
    /// looked at between them.
    pub fn has_compressed_enough(&self) -> bool {
        let Compression { contexts, before_turn, .. } = &self.compression;
        contexts.compressed().plain - before_turn >= BYTES_PER_TURN as u64
    }

    /// Charges contexts that were made, and lets them go when nobody needed them for a while.
    pub(super) fn settle_compression(&mut self, now: Timestamp) {
        let compression = &mut self.compression;
        compression.before_turn = compression.contexts.compressed().plain;
        let uses = compression.contexts.uses();
        if uses != compression.uses {
            compression.uses = uses;
            compression.used_at = now;
        } else if compression.charged > 0 && compression.used_at + IDLE <= now {
            compression.contexts.let_go();
        }
        let (before, real) = (compression.charged, compression.contexts.real_bytes());
        if real != before {
            compression.charged = real;
            self.charge(Owner::Compression, before, real);
        }
    }

    /// When contexts are let go, if there are any and they stay unused.
    pub(super) fn compression_deadline(&self) -> Option<Timestamp> {
        (self.compression.charged > 0).then(|| self.compression.used_at + IDLE)
    }
}

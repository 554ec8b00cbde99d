//! Receives one shard's charges and releases · hands the ledger whole leases and, once a tick, the owners'
//! counts · owns the shard's plain integers.

use super::{Ledger, OWNERS, Owner};

/// One shard's account: plain integers, refilled from the ledger a lease (256 KiB, or 1/256 of a smaller
/// budget) at a time. Dropping it gives everything back.
pub struct Lease {
    ledger: Ledger,
    unit: usize,
    held: [usize; OWNERS],
    /// What the ledger's counters have been told of `held`.
    told: [usize; OWNERS],
    total: usize,
    /// The highest `total` since the last [`Lease::settle`].
    peak: usize,
    leased: usize,
}

impl Lease {
    pub(super) fn new(ledger: Ledger) -> Self {
        let unit = ledger.unit();
        Self { ledger, unit, held: [0; OWNERS], told: [0; OWNERS], total: 0, peak: 0, leased: 0 }
    }

    /// Counts `bytes` for `owner`.
    pub fn charge(&mut self, owner: Owner, bytes: usize) {
        if let Some(held) = self.held.get_mut(owner as usize) {
            *held += bytes;
            self.total += bytes;
        }
        self.peak = self.peak.max(self.total);
        if self.total > self.leased {
            self.lease(self.total.next_multiple_of(self.unit));
        }
    }

    /// Takes `bytes` off what `owner` holds, never more than that.
    pub fn release(&mut self, owner: Owner, bytes: usize) {
        if let Some(held) = self.held.get_mut(owner as usize) {
            debug_assert!(bytes <= *held, "{} releases {bytes} of {held} bytes", owner.name());
            let bytes = bytes.min(*held);
            *held -= bytes;
            self.total -= bytes;
        }
        // Two spare leases before any goes back, and then one stays: a level that swings within a lease
        // never touches the shared counter, and one that falls far is seen by the other shards at once.
        if self.leased - self.total > 2 * self.unit {
            self.lease((self.total + self.unit).next_multiple_of(self.unit));
        }
    }

    /// Bytes charged and not released.
    pub const fn charged(&self) -> usize {
        self.total
    }

    /// Once per tick: publishes the owners' counts, and returns the leases that were not needed since the
    /// last call; after two calls without a charge an empty account holds none.
    pub fn settle(&mut self) {
        self.unit = self.ledger.unit();
        for (owner, (held, told)) in self.held.iter().zip(&mut self.told).enumerate() {
            self.ledger.move_owner(owner, *told, *held);
            *told = *held;
        }
        let needed = self.peak.next_multiple_of(self.unit);
        if needed < self.leased {
            self.lease(needed);
        }
        self.peak = self.total;
    }

    fn lease(&mut self, bytes: usize) {
        self.ledger.move_used(self.leased, bytes);
        self.leased = bytes;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.lease(0);
        for (owner, told) in self.told.iter().enumerate() {
            self.ledger.move_owner(owner, *told, 0);
        }
    }
}

//! Receives the real bytes of every buffer from shards and shared chunks · hands out the level that decides
//! who is refused, paused or shed · owns the one memory budget.

mod lease;
#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;

pub use lease::Lease;

use crate::sync::Arc;
use crate::sync::atomic::AtomicUsize;
// Relaxed throughout: the counters are conserved because every change is one read-modify-write, and no other
// memory is read on the strength of what they say.
use crate::sync::atomic::Ordering::Relaxed;

/// The most that a shard leases at a time.
const LEASE: usize = 256 * 1024;

/// Under a small budget a lease is this part of it, so that idle leases alone never raise the level.
const LEASES_PER_BUDGET: usize = 256;

const OWNERS: usize = 7;

/// Who holds the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// Commands and events on their way between Python and the shards.
    Mailboxes,
    /// Sealed publications that subscribers share, each once until its last holder lets go.
    Chunks,
    /// The outbound rings' own storage and the messages that only one connection gets.
    Rings,
    /// Unfinished frames, and messages that the application has not taken.
    Inbound,
    /// TLS state and ciphertext that the socket has not taken.
    Tls,
    /// Compression windows.
    Compression,
    /// Publications kept for those who come back.
    History,
}

impl Owner {
    /// Every owner, in the order of metrics and `/status`.
    pub const ALL: [Self; OWNERS] = [
        Self::Mailboxes,
        Self::Chunks,
        Self::Rings,
        Self::Inbound,
        Self::Tls,
        Self::Compression,
        Self::History,
    ];

    /// The name that metrics and `/status` use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mailboxes => "mailboxes",
            Self::Chunks => "chunks",
            Self::Rings => "rings",
            Self::Inbound => "inbound",
            Self::Tls => "tls",
            Self::Compression => "compression",
            Self::History => "history",
        }
    }
}

/// How much of the budget is used, and so what must be done. Each includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Below 80 %.
    Normal,
    /// From 80 %: new connections are refused.
    Refusing,
    /// From 90 %: shards pause reads and take no publications.
    Pausing,
    /// From 100 %: each shard sheds one connection a turn.
    Shedding,
}

struct Shared {
    budget: AtomicUsize,
    used: AtomicUsize,
    owners: [AtomicUsize; OWNERS],
}

/// The memory budget, shared by all threads; clones are the same ledger. Charging never fails: memory that is
/// in use is counted, and the [`Level`] tells what to do about it.
#[derive(Clone)]
pub struct Ledger(Arc<Shared>);

impl Ledger {
    /// A ledger of `budget` bytes, nothing used.
    pub fn new(budget: usize) -> Self {
        let owners = std::array::from_fn(|_| AtomicUsize::new(0));
        Self(Arc::new(Shared { budget: AtomicUsize::new(budget), used: AtomicUsize::new(0), owners }))
    }

    /// Bytes that all buffers together may take.
    pub fn budget(&self) -> usize {
        self.0.budget.load(Relaxed)
    }

    /// Changes the budget at once; the level follows with the next look.
    pub fn set_budget(&self, budget: usize) {
        self.0.budget.store(budget, Relaxed);
    }

    /// Bytes charged directly, plus bytes leased to shards: above the truth by at most two leases a shard.
    pub fn used(&self) -> usize {
        self.0.used.load(Relaxed)
    }

    /// Bytes that `owner` holds; a shard's part as of its last [`Lease::settle`].
    pub fn held_by(&self, owner: Owner) -> usize {
        self.0.owners.get(owner as usize).map_or(0, |counter| counter.load(Relaxed))
    }

    /// Where use stands against the budget.
    pub fn level(&self) -> Level {
        let used = self.used() as u64;
        let budget = self.budget() as u64;
        let reached = |percent: u64| used.saturating_mul(100) >= budget.saturating_mul(percent);
        match () {
            () if reached(100) => Level::Shedding,
            () if reached(90) => Level::Pausing,
            () if reached(80) => Level::Refusing,
            () => Level::Normal,
        }
    }

    /// Charges `bytes` to `owner` until the guard is dropped, on whatever thread that is.
    pub fn charge(&self, owner: Owner, bytes: usize) -> Charge {
        let mut charge = Charge { ledger: self.clone(), owner, bytes: 0 };
        charge.resize(bytes);
        charge
    }

    /// A local account for one shard.
    pub fn lease(&self) -> Lease {
        Lease::new(self.clone())
    }

    fn unit(&self) -> usize {
        (self.budget() / LEASES_PER_BUDGET).clamp(1, LEASE)
    }

    /// Replaces the part `from` of what `owner` holds by `to`, without a guard: for whoever keeps count itself.
    pub(crate) fn shift(&self, owner: Owner, from: usize, to: usize) {
        self.move_used(from, to);
        self.move_owner(owner as usize, from, to);
    }

    fn move_owner(&self, owner: usize, from: usize, to: usize) {
        if let Some(counter) = self.0.owners.get(owner) {
            shift(counter, from, to);
        }
    }

    fn move_used(&self, from: usize, to: usize) {
        shift(&self.0.used, from, to);
    }
}

/// Replaces the part `from` of a shared sum by `to`.
fn shift(counter: &AtomicUsize, from: usize, to: usize) {
    if to > from {
        counter.fetch_add(to - from, Relaxed);
    } else if from > to {
        counter.fetch_sub(from - to, Relaxed);
    }
}

/// Bytes charged directly to the ledger, for memory that several threads share. Given back on drop.
pub struct Charge {
    ledger: Ledger,
    owner: Owner,
    bytes: usize,
}

impl Charge {
    /// Bytes charged now.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Charges `bytes` instead of what was charged.
    pub fn resize(&mut self, bytes: usize) {
        self.ledger.move_used(self.bytes, bytes);
        self.ledger.move_owner(self.owner as usize, self.bytes, bytes);
        self.bytes = bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.resize(0);
    }
}

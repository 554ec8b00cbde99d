//! Receives requests for places from acceptor and shards · hands out guards that are the places ·
//! owns the two bounds, and is the only code that can change how many are occupied.

mod candidates;

pub use candidates::{Candidate, CandidatePublisher, Candidates};

use crate::sync::Arc;
use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use crate::sync::atomic::{AtomicU32, AtomicU64};

/// `maximum << 32 | used` in one word, so that a place is taken against the maximum of that very instant:
/// with two words a place could be given after the maximum was lowered below what is used.
struct Places {
    word: AtomicU64,
    peak: AtomicU32,
}

impl Places {
    fn new(maximum: usize) -> Self {
        let places = Self { word: AtomicU64::new(0), peak: AtomicU32::new(0) };
        places.set_maximum(maximum);
        places
    }

    const fn split(word: u64) -> (u32, u32) {
        ((word >> 32) as u32, word as u32)
    }

    fn set_maximum(&self, maximum: usize) {
        let maximum = u64::from(u32::try_from(maximum).unwrap_or(u32::MAX)) << 32;
        let replace = |word: u64| Some(maximum | u64::from(word as u32));
        // The closure never declines, so there is nothing to handle.
        let _ = self.word.fetch_update(AcqRel, Acquire, replace);
    }

    fn try_take(&self) -> bool {
        let take = |word: u64| {
            let (maximum, used) = Self::split(word);
            (used < maximum).then_some(word + 1)
        };
        let Ok(before) = self.word.fetch_update(AcqRel, Acquire, take) else { return false };
        self.peak.fetch_max(Self::split(before).1 + 1, Relaxed);
        true
    }

    /// Only from the drop of a guard, so that no place is given back twice and the count never wraps.
    fn give_back(&self) {
        self.word.fetch_sub(1, AcqRel);
    }

    fn usage(&self) -> Usage {
        let (maximum, used) = Self::split(self.word.load(Acquire));
        Usage { used: used as usize, maximum: maximum as usize, peak: self.peak.load(Relaxed) as usize }
    }
}

/// One of the two bounds, as it stood at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Places taken. More than `maximum` only while a lowered maximum has not been reached yet.
    pub used: usize,
    /// The bound.
    pub maximum: usize,
    /// The most that were ever taken at once.
    pub peak: usize,
}

impl Usage {
    /// The part taken: 1 when full, above 1 after the maximum was lowered; 1 when the maximum is zero.
    #[allow(clippy::cast_precision_loss)] // both are below 2^32, which f64 holds exactly
    pub fn utilisation(self) -> f64 {
        if self.maximum == 0 { 1.0 } else { self.used as f64 / self.maximum as f64 }
    }

    /// How many must leave before a lowered maximum is kept.
    pub const fn excess(self) -> usize {
        self.used.saturating_sub(self.maximum)
    }
}

struct Shared {
    slots: Places,
    pending: Places,
}

/// The pool of one server, shared by all shards; clones are the same pool. Connections never exceed
/// `max_connections`, sockets that are not connections never exceed `max_pending`, not for an instant.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

impl Pool {
    /// An empty pool.
    pub fn new(max_connections: usize, max_pending: usize) -> Self {
        Self(Arc::new(Shared { slots: Places::new(max_connections), pending: Places::new(max_pending) }))
    }

    /// Takes a slot, or `None` when `max_connections` are taken.
    pub fn take_slot(&self) -> Option<Slot> {
        self.0.slots.try_take().then(|| Slot(self.clone()))
    }

    /// Takes a pending place, or `None` when `max_pending` are taken.
    pub fn take_pending(&self) -> Option<PendingPlace> {
        self.0.pending.try_take().then(|| PendingPlace(self.clone()))
    }

    /// Changes both bounds, each at once. Who has a place keeps it; none is given until enough have left.
    pub fn set_maxima(&self, max_connections: usize, max_pending: usize) {
        self.0.slots.set_maximum(max_connections);
        self.0.pending.set_maximum(max_pending);
    }

    /// Slots: the connections.
    pub fn connections(&self) -> Usage {
        self.0.slots.usage()
    }

    /// Pending places: handshakes under way, probes and lingering refusals.
    pub fn pending(&self) -> Usage {
        self.0.pending.usage()
    }
}

/// The right to be a connection. Moving it from a victim to a newcomer passes the slot directly: it is not
/// free in between, and nobody else can take it. Dropping it gives it back.
#[must_use = "dropping the slot gives it back"]
pub struct Slot(Pool);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.0.slots.give_back();
    }
}

/// The right to be an accepted socket that is not, or no longer, a connection. Dropping it gives it back.
#[must_use = "dropping the place gives it back"]
pub struct PendingPlace(Pool);

impl Drop for PendingPlace {
    fn drop(&mut self) {
        self.0.0.pending.give_back();
    }
}

/// The connections of one address, on all shards; clones count together. The acceptor keeps one per address
/// and forgets it once it is not [in use](AddressCount::is_in_use).
#[derive(Clone)]
pub struct AddressCount(Arc<AtomicU32>);

impl Default for AddressCount {
    fn default() -> Self {
        Self(Arc::new(AtomicU32::new(0)))
    }
}

impl AddressCount {
    /// Counts one more, or `None` when `limit` are counted. `None` as a limit: no limit.
    pub fn take(&self, limit: Option<usize>) -> Option<AddressPlace> {
        let limit = limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(u32::MAX);
        let take = |count: u32| (count < limit).then_some(count + 1);
        self.0.fetch_update(AcqRel, Acquire, take).ok().map(|_| AddressPlace(self.clone()))
    }

    /// Whether anybody but the acceptor still holds it, and so may count on it.
    pub fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// How many are counted now.
    pub fn count(&self) -> usize {
        self.0.load(Acquire) as usize
    }
}

/// The connections of one user, counted as those of an address are.
pub type UserCount = AddressCount;

/// One connection's part in a [`UserCount`].
pub type UserPlace = AddressPlace;

/// One connection's part in an [`AddressCount`]. Dropping it counts one less.
#[must_use = "dropping the place counts one less"]
pub struct AddressPlace(AddressCount);

impl Drop for AddressPlace {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, AcqRel);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::sync::explore;

    #[test]
    fn two_takers_never_exceed_the_maximum_and_a_slot_passes_without_being_free() {
        explore(|| {
            let pool = Pool::new(1, 0);
            let victim = pool.take_slot();
            let taker = {
                let pool = pool.clone();
                loom::thread::spawn(move || {
                    let slot = pool.take_slot();
                    assert!(pool.connections().used <= 1);
                    slot
                })
            };
            // The newcomer gets the victim's slot while another one tries to snatch it.
            let newcomer = victim;
            assert!(newcomer.is_some());
            assert!(taker.join().unwrap().is_none());
            drop(newcomer);
            assert_eq!((pool.connections().used, pool.connections().peak), (0, 1));
        });
    }

    #[test]
    fn no_slot_is_given_after_the_maximum_was_lowered() {
        explore(|| {
            let pool = Pool::new(2, 0);
            let first = pool.take_slot();
            let taker = {
                let pool = pool.clone();
                loom::thread::spawn(move || pool.take_slot())
            };
            pool.set_maxima(1, 0);
            let used = pool.connections().used;
            let second = taker.join().unwrap();
            assert_eq!(pool.connections().used, used, "given after the bound fell");
            assert_eq!(used, 1 + usize::from(second.is_some()));
            assert_eq!(pool.connections().excess(), used - 1);
            drop((first, second));
            assert_eq!(pool.connections().used, 0);
        });
    }
}

//! Receives the real bytes of every buffer from shards and shared chunks · hands out the level that decides
//! who is refused, paused or shed · owns the one memory budget.

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
        let unit = self.unit();
        Lease {
            ledger: self.clone(),
            unit,
            held: [0; OWNERS],
            told: [0; OWNERS],
            total: 0,
            peak: 0,
            leased: 0,
        }
    }

    fn unit(&self) -> usize {
        (self.budget() / LEASES_PER_BUDGET).clamp(1, LEASE)
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const BUDGET: usize = 256 * LEASE;

    fn sum(ledger: &Ledger) -> usize {
        Owner::ALL.into_iter().map(|owner| ledger.held_by(owner)).sum()
    }

    #[test]
    fn levels_begin_at_their_percentages_and_follow_the_budget() {
        let ledger = Ledger::new(1_000);
        let mut charge = ledger.charge(Owner::Chunks, 0);
        for (bytes, level) in [
            (799, Level::Normal),
            (800, Level::Refusing),
            (899, Level::Refusing),
            (900, Level::Pausing),
            (999, Level::Pausing),
            (1_000, Level::Shedding),
            (5_000, Level::Shedding),
        ] {
            charge.resize(bytes);
            assert_eq!(ledger.level(), level, "{bytes}");
        }
        ledger.set_budget(10_000);
        assert_eq!(ledger.level(), Level::Normal);
        drop(charge);
        assert_eq!((ledger.used(), sum(&ledger)), (0, 0));
    }

    #[test]
    fn a_swing_within_a_lease_never_touches_the_ledger_and_a_fall_is_seen_at_once() {
        let ledger = Ledger::new(BUDGET);
        let mut lease = ledger.lease();
        lease.charge(Owner::Rings, 1);
        assert_eq!(ledger.used(), LEASE);
        lease.charge(Owner::Inbound, 10 * LEASE);
        assert_eq!(ledger.used(), 11 * LEASE);
        for _ in 0..3 {
            lease.release(Owner::Inbound, LEASE);
            assert_eq!(ledger.used(), 11 * LEASE);
            lease.charge(Owner::Inbound, LEASE);
        }
        lease.release(Owner::Inbound, 8 * LEASE);
        assert_eq!(ledger.used(), 4 * LEASE, "three leases and a byte are needed or kept spare");
    }

    #[test]
    fn idle_leases_go_back_after_a_whole_interval_without_need() {
        let ledger = Ledger::new(BUDGET);
        let mut lease = ledger.lease();
        lease.charge(Owner::Tls, 5);
        lease.settle();
        assert_eq!(ledger.held_by(Owner::Tls), 5);
        lease.release(Owner::Tls, 5);
        lease.settle();
        assert_eq!((ledger.used(), sum(&ledger)), (LEASE, 0), "needed within the last interval");
        lease.settle();
        assert_eq!(ledger.used(), 0);
    }

    #[test]
    fn under_a_small_budget_idle_leases_leave_the_level_normal() {
        let ledger = Ledger::new(1 << 20);
        let mut leases: Vec<Lease> = (0..8).map(|_| ledger.lease()).collect();
        for lease in &mut leases {
            lease.charge(Owner::Inbound, 1);
        }
        assert_eq!((ledger.level(), ledger.used()), (Level::Normal, 8 * 4_096));
        drop(leases);
        assert_eq!((ledger.used(), sum(&ledger)), (0, 0));
    }

    proptest::proptest! {
        #[test]
        fn the_owners_sum_to_what_is_used_and_spare_is_bounded(
            steps in proptest::collection::vec((0..4_u8, 0..OWNERS, 0..3 * LEASE), 0..200),
        ) {
            let ledger = Ledger::new(BUDGET);
            let mut lease = ledger.lease();
            let mut charges = Vec::new();
            let mut held = [0_usize; OWNERS];
            for (step, owner, bytes) in steps {
                let name = Owner::ALL[owner];
                match step {
                    0 => { lease.charge(name, bytes); held[owner] += bytes; }
                    1 => {
                        let bytes = bytes.min(held[owner]);
                        lease.release(name, bytes);
                        held[owner] -= bytes;
                    }
                    2 => charges.push(ledger.charge(name, bytes)),
                    _ => drop(charges.pop()),
                }
                let direct: usize = charges.iter().map(Charge::bytes).sum();
                let total: usize = held.iter().sum();
                proptest::prop_assert_eq!(lease.charged(), total);
                let spare = ledger.used() - direct - total;
                proptest::prop_assert!(spare <= 2 * LEASE, "{} bytes leased and unused", spare);
            }
            lease.settle();
            let direct: usize = charges.iter().map(Charge::bytes).sum();
            proptest::prop_assert_eq!(sum(&ledger), direct + lease.charged());
            drop((lease, charges));
            proptest::prop_assert_eq!((ledger.used(), sum(&ledger)), (0, 0));
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::sync::explore;

    #[test]
    fn two_leases_and_a_charge_conserve_the_total() {
        explore(|| {
            let ledger = Ledger::new(1_024);
            let charge = ledger.charge(Owner::Chunks, 3);
            let shard = {
                let ledger = ledger.clone();
                loom::thread::spawn(move || {
                    let mut lease = ledger.lease();
                    lease.charge(Owner::Rings, 5);
                    lease.settle();
                    lease
                })
            };
            let mut lease = ledger.lease();
            lease.charge(Owner::Rings, 7);
            lease.settle();
            drop(charge);
            let other = shard.join().unwrap();
            assert_eq!((ledger.used(), ledger.held_by(Owner::Rings)), (16, 12));
            drop((lease, other));
            assert_eq!(
                (ledger.used(), ledger.held_by(Owner::Rings), ledger.held_by(Owner::Chunks)),
                (0, 0, 0)
            );
        });
    }
}

//! The levels, the hysteresis of leases, and the conservation of bytes.

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

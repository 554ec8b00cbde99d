//! The conservation of bytes under every interleaving.

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
        assert_eq!((ledger.used(), ledger.held_by(Owner::Rings), ledger.held_by(Owner::Chunks)), (0, 0, 0));
    });
}

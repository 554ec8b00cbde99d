//! The pool never exceeds its maximum, and a slot passes from hand to hand without being free.

use proptest::prelude::*;
use streamconductor_core::config::Eviction;
use streamconductor_core::eviction::{Key, Standing};
use streamconductor_core::id::ConnectionId;
use streamconductor_core::pool::{AddressCount, Candidate, Candidates, Pool, Usage};
use streamconductor_core::time::Timestamp;

proptest! {
    #[test]
    fn occupied_follows_a_model_while_the_maximum_moves(
        steps in proptest::collection::vec((0..4_u8, 0..6_usize), 0..200),
    ) {
        let pool = Pool::new(3, 2);
        let (mut slots, mut maximum, mut peak) = (Vec::new(), 3, 0);
        for (step, number) in steps {
            match step {
                0 | 1 => {
                    let slot = pool.take_slot();
                    prop_assert_eq!(slot.is_some(), slots.len() < maximum);
                    slots.extend(slot);
                }
                2 => drop(slots.pop()),
                _ => {
                    maximum = number;
                    pool.set_maxima(maximum, 2);
                }
            }
            peak = peak.max(slots.len());
            let usage = pool.connections();
            prop_assert_eq!(usage, Usage { used: slots.len(), maximum, peak });
            prop_assert_eq!(usage.excess(), slots.len().saturating_sub(maximum));
        }
        drop(slots);
        prop_assert_eq!(pool.connections().used, 0);
    }
}

#[test]
fn slots_and_pending_places_are_counted_apart() {
    let pool = Pool::new(1, 1);
    let place = pool.take_pending().unwrap();
    let slot = pool.take_slot().unwrap();
    assert!(pool.take_pending().is_none() && pool.take_slot().is_none());
    drop(place);
    assert_eq!((pool.pending().used, pool.connections().used), (0, 1));
    drop(slot);
    assert_eq!((pool.pending().peak, pool.connections().peak), (1, 1));
}

#[test]
#[allow(clippy::float_cmp)] // the quotients are exact
fn utilisation_is_the_part_taken() {
    let pool = Pool::new(4, 0);
    let _slots = [pool.take_slot(), pool.take_slot()];
    assert_eq!(pool.connections().utilisation(), 0.5);
    pool.set_maxima(1, 0);
    assert_eq!((pool.connections().utilisation(), pool.connections().excess()), (2.0, 1));
    assert_eq!(pool.pending().utilisation(), 1.0);
}

#[test]
fn threads_that_race_for_slots_never_exceed_the_maximum() {
    let pool = Pool::new(3, 0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    let slot = pool.take_slot();
                    assert!(pool.connections().used <= 3);
                    drop(slot);
                }
            });
        }
    });
    let usage = pool.connections();
    assert_eq!(usage.used, 0);
    assert!((1..=3).contains(&usage.peak));
}

#[test]
fn one_address_is_counted_on_all_shards_up_to_its_limit() {
    let address = AddressCount::default();
    let other_shard = address.clone();
    let first = address.take(Some(2)).unwrap();
    let second = other_shard.take(Some(2));
    assert!(second.is_some() && address.take(Some(2)).is_none());
    assert!(address.take(None).is_some(), "without a limit there is room");
    drop(first);
    assert_eq!(other_shard.count(), 1);
    assert!(address.take(Some(1)).is_none() && address.take(Some(2)).is_some());
}

#[test]
fn the_best_candidate_is_the_smallest_over_all_shards() {
    let candidate = |shard: u8, accepted: u64| {
        let accepted = Timestamp::from_millis(accepted);
        let standing = Standing { accepted, last_message: accepted, pending: 0, priority: -1 };
        let key = Key::new(Eviction::Priority, &standing);
        Candidate { key, connection: ConnectionId::new(shard, 1, 1) }
    };
    let (candidates, mut publishers) = Candidates::new(3);
    assert_eq!(candidates.best(), None);
    publishers[0].publish(Some(candidate(0, 20)));
    publishers[2].publish(Some(candidate(2, 10)));
    assert_eq!(candidates.best(), Some(candidate(2, 10)));
    assert_eq!((candidates.of(0), candidates.of(1)), (Some(candidate(0, 20)), None));
    publishers[2].publish(None);
    assert_eq!(candidates.best(), Some(candidate(0, 20)));
}

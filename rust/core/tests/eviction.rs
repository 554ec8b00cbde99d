//! The eviction order against a full scan of the living, under each order.

use std::cell::Cell;
use std::collections::BTreeMap;

use proptest::prelude::*;
use streamconductor_core::config::Eviction;
use streamconductor_core::eviction::{EvictionOrder, Key, Standing, Victim};
use streamconductor_core::time::Timestamp;

const ORDERS: [Eviction; 4] = [Eviction::Idle, Eviction::Oldest, Eviction::Slowest, Eviction::Priority];

/// The connections of a shard, as the shard would answer for them.
#[derive(Default)]
struct Living(BTreeMap<(u32, u32), Standing>);

impl Living {
    fn key(&self, order: Eviction, index: u32, generation: u32) -> Option<Key> {
        self.0.get(&(index, generation)).map(|standing| Key::new(order, standing))
    }

    fn scan(&self, order: Eviction) -> Vec<Victim> {
        let keys = self
            .0
            .iter()
            .map(|((index, generation), standing)| (Key::new(order, standing), *index, *generation));
        let mut victims: Vec<Victim> = keys.collect();
        victims.sort_unstable();
        victims
    }

    fn pending(&self, order: Eviction) -> impl Iterator<Item = Victim> {
        let pending = self.0.iter().filter(|(_, standing)| standing.pending > 0);
        pending.map(move |((index, generation), standing)| (Key::new(order, standing), *index, *generation))
    }
}

#[derive(Clone, Debug)]
enum Step {
    Open { index: u32, priority: i64 },
    Message { index: u32 },
    Pending { index: u32, bytes: usize },
    Close { index: u32 },
    Best,
    Top(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let index = 0..12_u32;
    prop_oneof![
        3 => (index.clone(), -2..2_i64).prop_map(|(index, priority)| Step::Open { index, priority }),
        3 => index.clone().prop_map(|index| Step::Message { index }),
        2 => (index.clone(), 0..3_usize).prop_map(|(index, bytes)| Step::Pending { index, bytes }),
        2 => index.prop_map(|index| Step::Close { index }),
        1 => Just(Step::Best),
        1 => (0..6_usize).prop_map(Step::Top),
    ]
}

proptest! {
    #[test]
    fn equals_a_full_scan(order in 0..4_usize, steps in proptest::collection::vec(step(), 0..400)) {
        let order = ORDERS[order];
        let mut eviction = EvictionOrder::new(order);
        let mut living = Living::default();
        let mut generations = [0_u32; 12];
        let mut now = 0;
        for step in steps {
            // Half as fast as the steps, so that ties occur.
            now += 1;
            let time = Timestamp::from_micros(now / 2);
            match step {
                Step::Open { index, priority } => {
                    let place = (index, generations[index as usize]);
                    living.0.entry(place).or_insert_with(|| {
                        let standing = Standing { accepted: time, last_message: time, pending: 0, priority };
                        eviction.insert(place.0, place.1, Key::new(order, &standing));
                        standing
                    });
                }
                Step::Message { index } => {
                    if let Some(standing) = living.0.get_mut(&(index, generations[index as usize])) {
                        standing.last_message = time;
                    }
                }
                Step::Pending { index, bytes } => {
                    if let Some(standing) = living.0.get_mut(&(index, generations[index as usize])) {
                        standing.pending = bytes;
                    }
                }
                Step::Close { index } => {
                    if living.0.remove(&(index, generations[index as usize])).is_some() {
                        generations[index as usize] += 1;
                        eviction.removed(|index, generation| living.key(order, index, generation));
                    }
                }
                Step::Best => {
                    let current = |index, generation| living.key(order, index, generation);
                    let best = eviction.best(current, living.pending(order));
                    prop_assert_eq!(best, living.scan(order).first().copied());
                }
                Step::Top(count) => {
                    let current = |index, generation| living.key(order, index, generation);
                    let top = eviction.top(count, current, living.pending(order));
                    let mut expected = living.scan(order);
                    expected.truncate(count);
                    prop_assert_eq!(top, expected);
                }
            }
        }
    }
}

#[test]
fn under_reject_nobody_leaves() {
    let standing =
        Standing { accepted: Timestamp::ZERO, last_message: Timestamp::ZERO, pending: 9, priority: 0 };
    let key = Key::new(Eviction::Reject, &standing);
    let mut eviction = EvictionOrder::new(Eviction::Reject);
    eviction.insert(0, 0, key);
    assert_eq!(eviction.best(|_, _| Some(key), [(key, 0, 0)]), None);
    assert_eq!(eviction.top(16, |_, _| Some(key), [(key, 0, 0)]), []);
}

#[test]
fn only_a_smaller_priority_yields() {
    let standing =
        Standing { accepted: Timestamp::ZERO, last_message: Timestamp::ZERO, pending: 0, priority: 1 };
    let key = Key::new(Eviction::Priority, &standing);
    assert!(key.yields_to(2) && !key.yields_to(1) && !key.yields_to(0));
}

#[test]
fn churn_without_a_look_keeps_the_dead_bounded() {
    let standing = |at| Standing {
        accepted: Timestamp::from_micros(at),
        last_message: Timestamp::from_micros(at),
        pending: 0,
        priority: 0,
    };
    let mut eviction = EvictionOrder::new(Eviction::Oldest);
    let mut entries = 0_u64;
    // Place 0 stays, place 1 is given away ten thousand times; compacting asks once for every entry it has.
    let asked = Cell::new(0_u64);
    eviction.insert(0, 0, Key::new(Eviction::Oldest, &standing(0)));
    let alive = |index: u32, _: u32| {
        asked.set(asked.get() + 1);
        (index == 0).then(|| Key::new(Eviction::Oldest, &standing(0)))
    };
    for generation in 0..10_000 {
        eviction.insert(1, generation, Key::new(Eviction::Oldest, &standing(u64::from(generation) + 1)));
        eviction.removed(alive);
        entries += 1;
    }
    assert!(asked.get() <= 2 * entries, "compacting is amortised: {} looks", asked.get());
    let before = asked.get();
    assert_eq!(eviction.best(alive, []).map(|victim| victim.1), Some(0));
    let _ = eviction.top(2, alive, []);
    assert!(asked.get() - before < 200, "{} dead were left to meet", asked.get() - before);
}

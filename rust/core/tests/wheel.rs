//! The wheel against a sorted list: never early, late by at most one tick, nothing lost.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use streamconductor_core::time::Timestamp;
use streamconductor_core::wheel::Wheel;

const TICK: u64 = 50_000;
const REVOLUTION: u64 = 1_024 * TICK;

fn wheel() -> Wheel {
    Wheel::new(Duration::from_micros(TICK))
}

fn at(micros: u64) -> Timestamp {
    Timestamp::from_micros(micros)
}

#[derive(Clone, Debug)]
enum Step {
    Arm(u32, u64),
    Disarm(u32),
    Advance(u64),
}

fn step() -> impl Strategy<Value = Step> {
    // Deadlines behind now, within the revolution, on tick boundaries and beyond it.
    let distance = prop_oneof![0..4 * TICK, (0..8_u64).prop_map(|ticks| ticks * TICK), 0..3 * REVOLUTION];
    let pause = prop_oneof![4 => 0..3 * TICK, 1 => 0..2 * REVOLUTION];
    prop_oneof![
        4 => (0..40_u32, distance).prop_map(|(index, distance)| Step::Arm(index, distance)),
        1 => (0..40_u32).prop_map(Step::Disarm),
        3 => pause.prop_map(Step::Advance),
    ]
}

proptest! {
    #[test]
    fn equals_a_sorted_list(steps in proptest::collection::vec(step(), 0..300)) {
        let mut wheel = wheel();
        // The deadline, and the first moment from which it could have been reported.
        let mut expected = BTreeMap::<u32, (u64, u64)>::new();
        let mut now = 0;
        let mut due = Vec::new();
        for step in steps {
            match step {
                Step::Arm(index, distance) => {
                    let deadline = (now + distance).saturating_sub(2 * TICK);
                    wheel.arm(index, at(deadline));
                    expected.insert(index, (deadline, deadline.max(now)));
                }
                Step::Disarm(index) => {
                    wheel.disarm(index);
                    expected.remove(&index);
                }
                Step::Advance(pause) => {
                    now += pause;
                    wheel.advance(at(now), &mut due);
                    for index in due.drain(..) {
                        let (deadline, _) = expected.remove(&index).expect("reported without a deadline");
                        prop_assert!(deadline <= now, "{} early", deadline - now);
                    }
                    for (index, (_, since)) in &expected {
                        prop_assert!(since + TICK > now, "{index} is late by more than a tick");
                    }
                }
            }
            prop_assert_eq!(wheel.is_empty(), expected.is_empty());
            prop_assert_eq!(wheel.next_tick(at(now)).is_some(), !expected.is_empty());
            for index in 0..40 {
                prop_assert_eq!(
                    wheel.armed_at(index),
                    expected.get(&index).map(|(deadline, _)| at(*deadline))
                );
            }
        }
        now += 4 * REVOLUTION;
        wheel.advance(at(now), &mut due);
        due.sort_unstable();
        prop_assert_eq!(due, expected.into_keys().collect::<Vec<_>>());
    }
}

#[test]
fn a_deadline_is_met_at_the_first_tick_that_is_not_early() {
    let mut wheel = wheel();
    let mut due = Vec::new();
    wheel.arm(7, at(TICK + 1));
    wheel.advance(at(2 * TICK - 1), &mut due);
    assert_eq!(due, []);
    assert_eq!(wheel.next_tick(at(2 * TICK - 1)), Some(at(2 * TICK)));
    wheel.advance(at(2 * TICK), &mut due);
    assert_eq!(due, [7]);
    assert!(wheel.is_empty());
    assert_eq!(wheel.next_tick(at(2 * TICK)), None);
}

#[test]
fn a_missed_tick_is_due_now() {
    let mut wheel = wheel();
    wheel.arm(0, at(TICK));
    assert_eq!(wheel.next_tick(at(9 * TICK)), Some(at(9 * TICK)));
}

#[test]
fn a_pause_of_ages_costs_one_revolution() {
    let mut wheel = Wheel::new(Duration::from_micros(1));
    let mut due = Vec::new();
    wheel.arm(1, at(3));
    wheel.arm(2, at(u64::MAX - 2));
    // Walked tick by tick this would not end within a lifetime.
    wheel.advance(at(u64::MAX / 2), &mut due);
    assert_eq!(due, [1]);
    wheel.advance(at(u64::MAX - 2), &mut due);
    assert_eq!(due, [1, 2]);
}

#[test]
fn never_disarms_and_later_revolutions_keep_their_slot() {
    let mut wheel = wheel();
    let mut due = Vec::new();
    wheel.arm(1, at(TICK));
    wheel.arm(1, Timestamp::NEVER);
    assert!(wheel.is_empty());
    for revolution in [3, 1, 2] {
        wheel.arm(revolution, at(TICK + u64::from(revolution) * REVOLUTION));
    }
    for revolution in [1, 2, 3] {
        wheel.advance(at(u64::from(revolution) * REVOLUTION), &mut due);
        assert_eq!(due, []);
        wheel.advance(at(TICK + u64::from(revolution) * REVOLUTION), &mut due);
        assert_eq!(due, [revolution]);
        due.clear();
    }
}

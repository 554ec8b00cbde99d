//! Receives rates, takings and times, chosen and random · compares the bucket with a sum over all that was ever taken ·
//! owns the promise that a rate is kept to the token, for ever.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use proptest::prelude::*;
use streamconductor_core::bucket::{Rate, TokenBucket};
use streamconductor_core::time::Timestamp;

fn at(micros: u64) -> Timestamp {
    Timestamp::from_micros(micros)
}

#[test]
fn a_new_bucket_holds_one_seconds_worth_and_then_one_token_at_a_time() {
    let rate = Rate::per_second(4_u32);
    let mut bucket = TokenBucket::default();
    assert_eq!((0..10).filter(|_| bucket.take(rate, 1, at(5))).count(), 4);
    assert_eq!(bucket.ready_at(rate), Some(at(250_005)));
    assert!(!bucket.take(rate, 1, at(250_004)), "a microsecond too early");
    assert!(bucket.take(rate, 1, at(250_005)));
    assert!(!bucket.take(rate, 1, at(250_005)));
    assert!(bucket.take(rate, 4, at(1_250_005)), "full again after a second");
    assert!(!bucket.is_full(rate, at(2_250_004)));
    assert!(bucket.is_full(rate, at(2_250_005)));
}

#[test]
fn what_was_refused_costs_nothing() {
    let rate = Rate::per_second(2_u32);
    let mut bucket = TokenBucket::default();
    assert!(!bucket.take(rate, 3, at(0)), "more than it ever holds");
    assert!(bucket.take(rate, 2, at(0)));
    for micros in 0..500_000 {
        if micros % 1_000 == 0 {
            assert!(!bucket.take(rate, 1, at(micros)));
        }
    }
    assert!(bucket.take(rate, 1, at(500_000)));
}

#[test]
fn what_is_charged_is_owed_and_paid_off_at_the_rate() {
    let rate = Rate::per_second(1_000_u32);
    let mut bucket = TokenBucket::default();
    bucket.charge(rate, 5_000, at(0));
    assert_eq!(bucket.ready_at(rate), Some(at(4_001_000)), "4,000 are owed, and one must be there");
    assert!(!bucket.take(rate, 1, at(4_000_999)));
    assert!(bucket.take(rate, 1, at(4_001_000)));
}

#[test]
fn a_third_of_a_token_is_not_lost() {
    // 3 a second is no whole number of microseconds a token: a million of them take that many seconds and no more.
    let rate = Rate::per_second(3_u32);
    let mut bucket = TokenBucket::default();
    bucket.charge(rate, 3, at(0));
    for number in 1..=999_999_u64 {
        let due = (number * 1_000_000).div_ceil(3);
        assert!(bucket.take(rate, 1, at(due)), "{number}");
        assert_eq!(bucket.ready_at(rate), Some(at(((number + 1) * 1_000_000).div_ceil(3))));
    }
    assert!(bucket.take(rate, 1, at(333_333_333_334)));
}

#[test]
fn a_clock_that_stands_or_runs_back_gives_nothing() {
    let rate = Rate::per_second(1_u32);
    let mut bucket = TokenBucket::default();
    assert!(bucket.take(rate, 1, at(10_000_000)));
    for micros in [10_000_000, 0, 9_999_999] {
        assert!(!bucket.take(rate, 1, at(micros)));
    }
    assert!(bucket.take(rate, 1, at(11_000_000)), "counted from the latest time, not from the earlier ones");
}

#[test]
fn another_rate_holds_from_then_on() {
    let (slow, fast) = (Rate::per_second(1_u32), Rate::per_second(100_u32));
    let mut bucket = TokenBucket::default();
    assert!(bucket.take(slow, 1, at(0)));
    assert!(bucket.take(fast, 99, at(0)), "one is missing of a hundred");
    assert!(!bucket.take(fast, 1, at(9_999)));
    assert!(bucket.take(fast, 1, at(10_000)));
}

#[test]
fn the_greatest_numbers_do_not_wrap() {
    let rate = Rate::per_second(u64::MAX);
    let mut bucket = TokenBucket::default();
    bucket.charge(rate, u64::MAX, at(0));
    bucket.charge(rate, u64::MAX, at(u64::MAX));
    let slow = Rate::per_second(1_u32);
    assert!(!bucket.take(slow, 1, at(u64::MAX)));
    assert_eq!(bucket.ready_at(slow), Some(Timestamp::NEVER));
    assert_eq!(Rate::per_second(0_u32), Rate::per_second(1_u32), "a bucket that never fills is none");
    assert_eq!(Rate::per_second(5_u32).filling(), Duration::from_secs(1));
}

/// The rule itself, in exact fractions and with all of history: in millionths of a token, what a bucket that was
/// full at the beginning holds after everything that was taken.
struct Reference {
    per_second: i128,
    burst: i128,
    holds: i128,
    at: i128,
}

impl Reference {
    fn fill(&mut self, micros: i128) {
        if micros > self.at {
            self.holds = (self.holds + (micros - self.at) * self.per_second).min(self.burst * 1_000_000);
            self.at = micros;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_bucket_is_the_rule(
        per_second in prop_oneof![1_u32..20, 1_u32..100_000],
        burst in 1_u32..1_000,
        steps in proptest::collection::vec((0_u64..3_000_000, 0_u64..30, any::<bool>()), 1..200),
    ) {
        let rate = Rate::per_second(per_second).with_burst(burst);
        let mut bucket = TokenBucket::default();
        let (per_second, burst) = (i128::from(per_second), i128::from(burst));
        let mut reference = Reference { per_second, burst, holds: burst * 1_000_000, at: 0 };
        let mut now = 0;
        for (pause, tokens, is_charged) in steps {
            // Most pauses are short against a second.
            now += if pause % 3 == 0 { pause } else { pause / 1_000 };
            reference.fill(now.into());
            let cost = i128::from(tokens) * 1_000_000;
            if is_charged {
                bucket.charge(rate, tokens, at(now));
                reference.holds -= cost;
            } else {
                let may = reference.holds >= cost;
                prop_assert_eq!(bucket.take(rate, tokens, at(now)), may);
                reference.holds -= if may { cost } else { 0 };
            }
            let wait = (1_000_000 - reference.holds).max(0);
            let ready = now + u64::try_from((wait + per_second - 1) / per_second).unwrap();
            prop_assert_eq!(bucket.ready_at(rate), (wait > 0).then(|| at(ready)));
            prop_assert_eq!(bucket.is_full(rate, at(now)), reference.holds == burst * 1_000_000);
        }
    }

    /// However the takings are spread, no stretch of time sees more than its share and one burst.
    #[test]
    fn no_stretch_passes_more_than_a_burst_and_its_share(
        per_second in 1_u32..50,
        pauses in proptest::collection::vec(0_u64..200_000, 1..300),
    ) {
        let rate = Rate::per_second(per_second);
        let mut bucket = TokenBucket::default();
        let (mut now, mut passed) = (0, Vec::new());
        for pause in pauses {
            now += pause;
            if bucket.take(rate, 1, at(now)) {
                passed.push(now);
            }
        }
        for (first, from) in passed.iter().enumerate() {
            for (last, to) in passed.iter().enumerate().skip(first) {
                let share = (to - from) * u64::from(per_second) / 1_000_000 + u64::from(per_second);
                prop_assert!((last - first) as u64 <= share);
            }
        }
    }
}

//! Receives how often a link has failed · hands out how long to wait · owns the arithmetic of coming back: exponential,
//! capped, with full jitter.

use std::time::Duration;

use super::Chance;
use crate::close::{Advice, CloseCode, advice_for};

/// The longest first wait, whatever the interval.
const FIRST: Duration = Duration::from_secs(1);
/// Half of the interval, where there is one: a connection that has outlived this is not one that fails at once.
const STABLE: Duration = Duration::from_secs(10);

/// How a link comes back.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The longest wait before the first retry.
    pub first: Duration,
    /// The longest wait before the n-th further one is this, doubled n times.
    pub base: Duration,
    /// No wait is longer, but where a server asks for it.
    pub cap: Duration,
    /// A connection that has lasted this long makes the next retry a first one.
    pub stable_after: Duration,
    /// What a server asks for with `Retry-After` counts up to this.
    pub longest_retry_after: Duration,
    /// Failures in a row after which an endpoint is left alone.
    pub failures: u32,
    /// For how long it is; then one attempt is made, alone.
    pub pause: Duration,
    /// Close codes that are to be taken otherwise than [`advice_for`] has it, such as 1000 of a server that restarts.
    pub overrides: Vec<(CloseCode, Advice)>,
}

impl Policy {
    /// The policy that keeps the promise of a `ping_interval`: a dead peer is noticed, and a new connection being opened,
    /// within three of them. `None`: no pings, and no promise.
    ///
    /// A connection that dies of silence has lasted for more than half an interval (the first ping is not sent earlier),
    /// so its retry is always a first one.
    pub fn for_interval(ping_interval: Option<Duration>) -> Self {
        Self {
            first: ping_interval.map_or(FIRST, |interval| FIRST.min(interval / 2)),
            base: FIRST,
            cap: Duration::from_mins(1),
            stable_after: ping_interval.map_or(STABLE, |interval| STABLE.min(interval / 2)),
            longest_retry_after: Duration::from_hours(1),
            failures: 5,
            pause: Duration::from_secs(30),
            overrides: Vec::new(),
        }
    }

    /// The longest wait before a retry that follows `failures` failures in a row.
    pub fn longest(&self, failures: u32) -> Duration {
        match failures.checked_sub(1) {
            None | Some(0) => self.first.min(self.cap),
            Some(further) => {
                let factor = 1_u32.checked_shl(further).unwrap_or(u32::MAX);
                self.base.saturating_mul(factor).min(self.cap)
            }
        }
    }

    /// How long to wait after that many failures in a row.
    pub fn wait(&self, failures: u32, chance: &mut Chance) -> Duration {
        chance.within(self.longest(failures))
    }

    /// How long to wait where the server said when to come: not earlier, and not all at the same moment.
    pub fn asked_for(&self, retry_after: Duration, chance: &mut Chance) -> Duration {
        retry_after.min(self.longest_retry_after) + chance.within(self.first)
    }

    /// What to make of a close code.
    pub fn advice(&self, code: CloseCode) -> Advice {
        let own = self.overrides.iter().find(|(other, _)| *other == code);
        own.map_or_else(|| advice_for(code), |(_, advice)| *advice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn a_dead_peer_is_found_and_left_within_three_intervals() {
        for interval in [10, 200, 1_000, 5_000, 20_000, 120_000].map(millis) {
            let policy = Policy::for_interval(Some(interval));
            let (ping_timeout, tick) = (interval, millis(50).min(interval / 10));
            let longest = interval + ping_timeout + tick + policy.longest(1);
            assert!(longest <= 3 * interval, "{longest:?} of {interval:?}");
            // The first ping goes out in the second half of the first interval, and its judgement follows.
            assert!(policy.stable_after <= interval / 2);
        }
    }

    #[test]
    fn waits_double_up_to_the_cap() {
        let policy = Policy::for_interval(Some(millis(400)));
        let longest: Vec<_> = (0..10).map(|failures| policy.longest(failures).as_millis()).collect();
        assert_eq!(longest, [200, 200, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
        assert_eq!(policy.longest(u32::MAX), policy.cap);
        assert_eq!(Policy::for_interval(None).longest(1), FIRST);
    }

    #[test]
    fn whoever_is_asked_to_wait_does_not_come_earlier_and_not_in_a_hundred_years() {
        let (policy, mut chance) = (Policy::for_interval(None), Chance::new(1));
        for _ in 0..100 {
            let wait = policy.asked_for(millis(7_000), &mut chance);
            assert!((millis(7_000)..=millis(8_000)).contains(&wait), "{wait:?}");
        }
        assert!(policy.asked_for(Duration::MAX, &mut chance) <= policy.longest_retry_after + policy.first);
    }
}

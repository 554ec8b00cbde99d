//! Receives a seed · hands out numbers that look random and are the same for the same seed · owns its state.

use std::time::Duration;

/// `SplitMix64`: what a soak needs is variety that can be repeated, not secrets.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// One of `0..count`; 0 where there is none.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        // The bias towards small numbers is count / 2^64.
        self.next().checked_rem(count as u64).unwrap_or_default() as usize
    }

    /// A duration from `least` to `most` milliseconds.
    pub(crate) fn millis(&mut self, least: u64, most: u64) -> Duration {
        let range = most.saturating_sub(least) as usize + 1;
        Duration::from_millis(least + self.below(range) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_sequence_within_the_bounds() {
        let drawn = |seed| {
            let mut random = Random::new(seed);
            (0..100).map(|_| random.below(7)).collect::<Vec<_>>()
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        assert!((0..7).all(|value| drawn(1).contains(&value)));
        assert!((5..=9).contains(&Random::new(3).millis(5, 9).as_millis()));
        assert_eq!(Random::new(3).below(0), 0);
    }
}

//! Receives a seed · hands out numbers · owns the one source of chance of a link: where it was seeded alike, it decides
//! alike. Nothing secret hangs on it, so a small generator does (splitmix64).

use std::time::Duration;

/// Chance, from a seed.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The chance of that seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From zero up to, not including, `bound`; zero for a bound of zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The high half of the product: even, but for one part in 2^64 / bound.
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// From nothing up to and including `longest`: full jitter.
    pub fn within(&mut self, longest: Duration) -> Duration {
        let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.below(micros.saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_may_come_comes_and_nothing_else() {
        let mut chance = Chance::new(7);
        let mut counts = [0; 5];
        for _ in 0..5_000 {
            counts[chance.below(5) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
        assert_eq!((chance.below(0), chance.below(1)), (0, 0));
        let longest = Duration::from_micros(3);
        let all: std::collections::BTreeSet<_> = (0..100).map(|_| chance.within(longest)).collect();
        assert_eq!(all.len(), 4);
        assert_eq!(all.last(), Some(&longest));
    }
}

//! Receives a seed, or the bytes that a fuzzer made up · hands out numbers · owns the one source of chance, so that a
//! failed run can be run again.

use std::collections::VecDeque;

/// Where a run's choices come from.
pub enum Random {
    /// A small generator (splitmix64): the tests need the same numbers on every run.
    Seeded(u64),
    /// The bytes of a fuzzer, one or two a choice, so that changing one changes one choice; then only zeros.
    Read(VecDeque<u8>),
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Self::Seeded(seed)
    }

    pub fn reading(choices: &[u8]) -> Self {
        Self::Read(choices.iter().copied().collect())
    }

    /// Whether all that is left to choose is zero.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Read(rest) if rest.is_empty())
    }

    pub fn below(&mut self, bound: usize) -> usize {
        match self {
            Self::Seeded(state) => {
                *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
                let mut mixed = *state;
                mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
                ((mixed ^ (mixed >> 31)) >> 33) as usize % bound
            }
            Self::Read(rest) => {
                let mut next = || usize::from(rest.pop_front().unwrap_or(0));
                let drawn = if bound > 256 { next() << 8 | next() } else { next() };
                drawn % bound
            }
        }
    }

    pub fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(256) as u8).collect()
    }
}

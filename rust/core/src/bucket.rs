//! Receives what passes and the time · hands out whether it may, or when the next may · owns the arithmetic of every
//! rate: a token bucket in integers, so that nothing drifts however long it runs.

use std::time::Duration;

use crate::time::Timestamp;

/// Parts of a token that are counted: at one token a second, one comes in each microsecond.
const PARTS: u64 = 1_000_000;

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    per_second: u64,
    burst: u64,
}

impl Rate {
    /// `per_second` tokens a second, and a bucket that holds as many: one second's worth may come at once. At least
    /// one, since a bucket that never fills would hold its connection back for ever.
    pub fn per_second(per_second: impl Into<u64>) -> Self {
        let per_second = per_second.into().max(1);
        Self { per_second, burst: per_second }
    }

    /// The same rate with a bucket of another size, at least one token.
    pub fn with_burst(self, burst: impl Into<u64>) -> Self {
        Self { burst: burst.into().max(1), ..self }
    }

    /// How long an empty bucket takes to fill.
    pub fn filling(self) -> Duration {
        Duration::from_micros(self.micros_for(self.burst.saturating_mul(PARTS)))
    }

    /// Parts that come in a time.
    fn parts_in(self, time: Duration) -> u64 {
        // One part comes in each microsecond at one token a second.
        u64::try_from(time.as_micros() * u128::from(self.per_second)).unwrap_or(u64::MAX)
    }

    /// Microseconds until that many parts have come, rounded up.
    const fn micros_for(self, parts: u64) -> u64 {
        parts.div_ceil(self.per_second)
    }
}

/// A token bucket. A new one is full.
///
/// What it keeps is what is missing, so that [`TokenBucket::default`] is full at any rate, and that a change of the
/// rate needs no conversion. Time never runs backwards in it: an earlier time counts as the last one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenBucket {
    /// Parts of tokens that are missing to a full bucket; more than it holds after a [`TokenBucket::charge`].
    missing: u64,
    at: Timestamp,
}

impl TokenBucket {
    /// Takes `tokens`, or none of them and says false.
    pub fn take(&mut self, rate: Rate, tokens: u64, now: Timestamp) -> bool {
        self.fill(rate, now);
        let missing = self.missing.saturating_add(tokens.saturating_mul(PARTS));
        let is_enough = missing <= rate.burst.saturating_mul(PARTS);
        if is_enough {
            self.missing = missing;
        }
        is_enough
    }

    /// Takes `tokens` whether they are there or not: what has passed already. What is owed delays the next.
    pub fn charge(&mut self, rate: Rate, tokens: u64, now: Timestamp) {
        self.fill(rate, now);
        self.missing = self.missing.saturating_add(tokens.saturating_mul(PARTS));
    }

    /// When a whole token will be there; `None`: there is one at the time of the last call.
    pub fn ready_at(&self, rate: Rate) -> Option<Timestamp> {
        let allowed = (rate.burst - 1).saturating_mul(PARTS);
        let excess = self.missing.checked_sub(allowed).filter(|excess| *excess > 0)?;
        Some(self.at + Duration::from_micros(rate.micros_for(excess)))
    }

    /// Whether nothing is missing: a bucket of which nothing need be remembered.
    pub fn is_full(&self, rate: Rate, now: Timestamp) -> bool {
        self.missing <= rate.parts_in(now.since(self.at))
    }

    fn fill(&mut self, rate: Rate, now: Timestamp) {
        self.missing = self.missing.saturating_sub(rate.parts_in(now.since(self.at)));
        self.at = self.at.max(now);
    }
}

//! Receives the time from whoever drives the core · hands out [`Timestamp`]s to compare · owns no clock.
//!
//! The core never reads a clock: every input carries `now`. That is what lets a simulation run a
//! minute of heartbeats in a microsecond, and what makes a jump of the wall clock harmless.

use std::num::NonZeroU64;
use std::ops::Add;
use std::time::Duration;

/// A point on the monotonic clock: microseconds since the server started.
// Microseconds and one more, so that an `Option` of it takes no more room: there are several in each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(NonZeroU64);

impl Default for Timestamp {
    fn default() -> Self {
        Self::ZERO
    }
}

impl Timestamp {
    /// The start of the server's clock.
    pub const ZERO: Self = Self(NonZeroU64::MIN);
    /// A point that is never reached; a deadline that is off.
    pub const NEVER: Self = Self(NonZeroU64::MAX);

    /// The point this many microseconds after the start; from `u64::MAX - 1` on, [`Timestamp::NEVER`].
    pub const fn from_micros(micros: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(micros))
    }

    /// The point this many milliseconds after the start.
    pub const fn from_millis(millis: u64) -> Self {
        Self::from_micros(millis.saturating_mul(1_000))
    }

    /// Microseconds since the start.
    pub const fn as_micros(self) -> u64 {
        self.0.get() - 1
    }

    /// How long `earlier` lies back; zero when it lies ahead.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.get().saturating_sub(earlier.0.get()))
    }

    /// This point moved by `duration`, or [`Timestamp::NEVER`] when there is none (a limit that is off).
    pub fn after(self, duration: Option<Duration>) -> Self {
        duration.map_or(Self::NEVER, |duration| self + duration)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

//! Receives nothing · hands the monotonic time to every thread of a server · owns the moment it counts from.

use std::time::Instant;

use streamconductor_core::time::Timestamp;

/// The monotonic clock of one server. Jumps of the wall clock do not touch it.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since the start.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.elapsed().as_micros() as u64)
    }

    /// The instant that a timestamp stands for.
    pub fn instant(&self, at: Timestamp) -> Instant {
        self.0 + at.since(Timestamp::ZERO)
    }
}

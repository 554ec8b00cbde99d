//! Receives latencies from a scenario · hands counts and percentiles to the report · owns what is counted in the
//! measured window.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::failure::Failure;

const LONGEST: u64 = 60_000_000_000;
const DIGITS: u8 = 3;

/// Messages received and how long each took.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Nanoseconds.
    latencies: Histogram<u64>,
}

impl Tally {
    pub(crate) fn new() -> Result<Self, Failure> {
        let latencies = Histogram::new_with_bounds(1, LONGEST, DIGITS);
        latencies.map(|latencies| Self { latencies }).map_err(|error| Failure::Usage(error.to_string()))
    }

    /// One message came.
    #[inline]
    pub(crate) fn count(&mut self, latency: Duration) {
        self.latencies.saturating_record(latency.as_nanos() as u64);
    }

    /// Forgets everything: the window begins.
    pub(crate) fn reset(&mut self) {
        self.latencies.reset();
    }

    pub(crate) fn messages(&self) -> u64 {
        self.latencies.len()
    }

    /// Microseconds that `percent` of the messages took at most.
    pub(crate) fn percentile(&self, percent: f64) -> f64 {
        Duration::from_nanos(self.latencies.value_at_percentile(percent)).as_secs_f64() * 1e6
    }
}

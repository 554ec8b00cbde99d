//! Receives latencies from a scenario · hands counts and percentiles to samples and report · owns what is counted, of
//! this second and of the window.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::failure::Failure;

const LONGEST: u64 = 600_000_000_000;
const DIGITS: u8 = 3;

/// Latencies in microseconds; all are `None` where none was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half took at most so long.
    pub p50_us: Option<f64>,
    /// Nine in ten.
    pub p90_us: Option<f64>,
    /// 99 in a hundred.
    pub p99_us: Option<f64>,
    /// 999 in a thousand.
    pub p999_us: Option<f64>,
    /// All.
    pub max_us: Option<f64>,
    /// On average.
    pub mean_us: Option<f64>,
}

/// Messages received and how long each took.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Of the second that passes, in nanoseconds. It is small enough for the caches, and added to the other once a
    /// second.
    second: Histogram<u64>,
    window: Histogram<u64>,
    received: u64,
}

impl Tally {
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self { second: histogram()?, window: histogram()?, received: 0 })
    }

    /// One message came.
    #[inline]
    pub(crate) fn count(&mut self, latency: Duration) {
        self.received += 1;
        self.second.saturating_record(latency.as_nanos() as u64);
    }

    /// One came, and nobody knows how long it took.
    #[inline]
    pub(crate) fn count_only(&mut self) {
        self.received += 1;
    }

    /// Messages since the beginning of the window.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Ends a second: its percentiles.
    pub(crate) fn end_second(&mut self) -> Percentiles {
        let percentiles = percentiles(&self.second);
        if self.window.add(&self.second).is_ok() {
            self.second.reset();
        }
        percentiles
    }

    /// Forgets everything: the window begins.
    pub(crate) fn reset(&mut self) {
        self.second.reset();
        self.window.reset();
        self.received = 0;
    }

    /// Latencies of the whole window.
    pub(crate) fn latencies(&mut self) -> &Histogram<u64> {
        self.end_second();
        &self.window
    }
}

pub(crate) fn histogram() -> Result<Histogram<u64>, Failure> {
    Histogram::new_with_bounds(1, LONGEST, DIGITS).map_err(|error| Failure::Usage(error.to_string()))
}

pub(crate) fn percentiles(latencies: &Histogram<u64>) -> Percentiles {
    if latencies.is_empty() {
        return Percentiles::default();
    }
    let at = |percent: f64| Some(micros(latencies.value_at_percentile(percent)));
    Percentiles {
        p50_us: at(50.0),
        p90_us: at(90.0),
        p99_us: at(99.0),
        p999_us: at(99.9),
        max_us: Some(micros(latencies.max())),
        mean_us: Some(latencies.mean() / 1e3),
    }
}

/// The whole distribution: percent and the microseconds that so many took at most, denser towards 100.
pub(crate) fn curve(latencies: &Histogram<u64>) -> Vec<(f64, f64)> {
    let mut curve: Vec<(f64, f64)> = Vec::new();
    if latencies.is_empty() {
        return curve;
    }
    for step in latencies.iter_quantiles(STEPS) {
        let point = (step.percentile(), micros(step.value_iterated_to()));
        if curve.last().is_none_or(|last| *last != point) {
            curve.push(point);
        }
    }
    curve
}

/// Points of the curve for each halving of what remains to 100 %.
const STEPS: u32 = 5;

/// Three digits behind the point, which is all there is.
#[expect(clippy::cast_precision_loss, reason = "nothing takes 2^52 ns, which is 52 days")]
fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_counted_within_three_digits() {
        let mut tally = Tally::new().unwrap();
        tally.count(Duration::from_secs(5));
        tally.reset();
        for millis in 1..=1_000 {
            tally.count(Duration::from_millis(millis));
            if millis % 100 == 0 {
                tally.end_second();
            }
        }
        tally.count_only();
        assert_eq!(tally.received(), 1_001);
        let found = percentiles(tally.latencies());
        let near = |value: Option<f64>, millis: f64| (value.unwrap() / 1e3 / millis - 1.0).abs() < 0.002;
        assert!(near(found.p50_us, 500.0) && near(found.p90_us, 900.0) && near(found.p99_us, 990.0));
        assert!(near(found.p999_us, 999.0) && near(found.max_us, 1_000.0) && near(found.mean_us, 500.5));
        let curve = curve(tally.latencies());
        assert!(curve.is_sorted() && curve.len() > 20);
        assert!(near(curve.last().map(|point| point.1), 1_000.0));
    }

    #[test]
    fn a_second_has_its_own_and_nothing_measured_is_nothing() {
        let mut tally = Tally::new().unwrap();
        tally.count(Duration::from_millis(1));
        assert!(tally.end_second().max_us.unwrap() < 1_002.0);
        assert_eq!(tally.end_second(), Percentiles::default());
        assert_eq!(tally.latencies().len(), 1);
    }
}

//! Receives a rate · hands out when each message is due · owns the schedule of an open loop.

use std::time::{Duration, Instant};

/// Points in time at a fixed rate. Each follows from its number and not from the one before it, so nothing that comes
/// late delays the others: latency that counts from these times cannot hide a stall.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    start: Instant,
    rate: f64,
    taken: u64,
}

impl Schedule {
    /// `rate` a second, the first at `start`.
    pub(crate) fn new(rate: f64, start: Instant) -> Self {
        Self { start, rate, taken: 0 }
    }

    /// When the next one is due.
    #[expect(clippy::cast_precision_loss, reason = "nobody sends 2^52 messages")]
    pub(crate) fn next(&self) -> Instant {
        let after = Duration::try_from_secs_f64(self.taken as f64 / self.rate);
        self.start + after.unwrap_or(Duration::MAX / 4)
    }

    /// Takes the next one if it is due; returns when it was.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Instant> {
        let due = self.next();
        (due <= now).then(|| {
            self.taken += 1;
            due
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_not_drift_and_a_stall_leaves_everything_due_at_its_time() {
        let start = Instant::now();
        let mut schedule = Schedule::new(3.0, start);
        let millis = |count| Duration::from_millis(count);
        assert_eq!(schedule.take(start), Some(start));
        assert_eq!(schedule.take(start + millis(300)), None);
        // Looked at a second late: three were due, each at its own time.
        let late = start + millis(1_001);
        let due: Vec<_> = std::iter::from_fn(|| schedule.take(late)).map(|due| due - start).collect();
        assert_eq!(due.iter().map(Duration::as_millis).collect::<Vec<_>>(), [333, 666, 1_000]);
        for _ in 4..3_000 {
            schedule.take(start + millis(2_000_000));
        }
        assert_eq!(schedule.next(), start + millis(1_000_000));
    }

    #[test]
    fn any_rate_has_a_next_point() {
        let start = Instant::now();
        for rate in [0.001, 1e9] {
            let mut schedule = Schedule::new(rate, start);
            schedule.take(start);
            assert!(schedule.next() > start);
        }
    }
}

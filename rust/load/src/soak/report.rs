//! Receives what a soak noticed · hands out one document · owns its layout, and the verdict on memory.

use std::collections::BTreeMap;

use serde::Serialize;

use super::ledger::Ledger;
use super::trend::slope;

/// The part of the run in which memory may grow as it likes: allocators and tables reach their size.
const WARM_UP: f64 = 0.25;

/// Below this, in seconds, a slope says nothing: one page of an allocator would be a steep one.
const SHORTEST: f64 = 220.0;

/// Seconds of which only the least memory counts: what is buffered for readers who stall comes and goes, a leak stays.
const PIECE: f64 = 10.0;

/// Parts of the time whose slopes are compared: an allocator grows in steps, a leak in every part.
const PARTS: usize = 5;

/// One second or so.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sample {
    /// Seconds since every connection was open.
    pub seconds: f64,
    /// Connections open.
    pub connections: usize,
    /// Publications and echoes received, a second.
    pub deliveries_per_second: f64,
    /// The server's processor seconds per second.
    pub server_load: f64,
    /// This side's.
    pub client_load: f64,
    /// The server's resident memory.
    pub resident_mib: f64,
    /// The server's descriptors.
    pub descriptors: usize,
    /// Publications a second on each channel whose rate follows the load.
    pub rate: f64,
    /// Bytes waiting in the server.
    pub pending: u64,
}

/// Memory over time.
#[derive(Clone, Debug, Serialize)]
pub struct Memory {
    /// Before the first connection.
    pub before_mib: f64,
    /// The most of any sample.
    pub peak_mib: f64,
    /// After the last connection.
    pub after_mib: f64,
    /// The median of the slopes of five parts of the time behind the first quarter: least squares over the least of
    /// every ten seconds.
    pub slope_mib_per_hour: f64,
    /// What it may be.
    pub bound_mib_per_hour: f64,
    /// False: the run was too short for a slope to say anything, and it was not judged.
    pub is_judged: bool,
    /// The server's ledger before the first connection and after the last, its owners added up.
    pub ledger_before: u64,
    /// After the last.
    pub ledger_after: u64,
}

/// Conservation, from the status of every server after the last connection.
#[derive(Clone, Debug, Serialize)]
pub struct Books {
    /// Messages accepted for sending.
    pub accepted: u64,
    /// Written to sockets.
    pub written: u64,
    /// Dropped, by policy.
    pub dropped: BTreeMap<String, u64>,
    /// Discarded because their connection ended.
    pub discarded: u64,
    /// Neither: must be none at the end.
    pub pending: u64,
    /// Messages received from clients.
    pub received: u64,
    /// Publications taken by channels.
    pub published: u64,
    /// Pings sent.
    pub pings: u64,
    /// Connections by ending.
    pub endings: BTreeMap<String, u64>,
}

/// What a soak says.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Seconds under load.
    pub seconds: f64,
    /// Connections held, and how many of them under TLS.
    pub connections: usize,
    /// Those under TLS.
    pub tls: usize,
    /// The random choices' seed.
    pub seed: u64,
    /// Medians behind the first quarter.
    pub deliveries_per_second: f64,
    /// Server's processor seconds per second.
    pub server_load: f64,
    /// This side's.
    pub client_load: f64,
    /// The most that the publisher was late.
    pub late_seconds: f64,
    /// The longest turn of this side. Seconds of it look to the server like readers who stall.
    pub client_late_seconds: f64,
    /// Memory.
    pub memory: Memory,
    /// Descriptors before the first connection.
    pub descriptors_before: usize,
    /// After the last.
    pub descriptors_after: usize,
    /// The most, beyond one for each connection, of any sample.
    pub descriptors_beyond: usize,
    /// The server's own count of messages.
    pub books: Books,
    /// Every message.
    pub ledger: Ledger,
    /// The course of it.
    pub samples: Vec<Sample>,
}

impl Report {
    /// Whether nothing was wrong.
    pub fn is_flawless(&self) -> bool {
        self.ledger.violations == 0
    }
}

/// The samples that count.
pub(crate) fn settled(samples: &[Sample]) -> &[Sample] {
    let end = samples.last().map_or(0.0, |sample| sample.seconds);
    let first = samples.iter().position(|sample| sample.seconds >= end * WARM_UP).unwrap_or_default();
    samples.get(first..).unwrap_or_default()
}

/// MiB an hour, and whether the time was long enough to judge by it.
pub(crate) fn growth(samples: &[Sample]) -> (f64, bool) {
    let settled = settled(samples);
    let pieces =
        settled.chunk_by(|one, next| (one.seconds / PIECE).floor() >= (next.seconds / PIECE).floor());
    let least = |piece: &[Sample]| {
        let least = piece.iter().min_by(|one, other| one.resident_mib.total_cmp(&other.resident_mib));
        least.map(|sample| (sample.seconds / 3600.0, sample.resident_mib))
    };
    let points: Vec<_> = pieces.filter_map(least).collect();
    let part = |part: usize| points.get(points.len() * part / PARTS..points.len() * (part + 1) / PARTS);
    let mut slopes: Vec<_> =
        (0..PARTS).filter_map(part).map(|points| slope(points.iter().copied())).collect();
    slopes.sort_by(f64::total_cmp);
    let median = slopes.get(PARTS / 2).copied().unwrap_or_default();
    let times = settled.first().zip(settled.last());
    let length = times.map_or(0.0, |(first, last)| last.seconds - first.seconds);
    (median, length >= SHORTEST)
}

/// The median of what a sample says.
pub(crate) fn median(samples: &[Sample], figure: impl Fn(&Sample) -> f64) -> f64 {
    let mut figures: Vec<_> = samples.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(count: u32, resident: impl Fn(f64) -> f64) -> Vec<Sample> {
        let sample = |second: u32| Sample {
            seconds: f64::from(second),
            connections: 0,
            deliveries_per_second: f64::from(second),
            server_load: 0.5,
            client_load: 0.5,
            resident_mib: resident(f64::from(second)),
            descriptors: 0,
            rate: 0.0,
            pending: 0,
        };
        (0..=count).map(sample).collect()
    }

    #[test]
    fn memory_may_grow_at_first_and_not_later() {
        let (slope, is_judged) = growth(&samples(400, |second| second.min(90.0)));
        assert!(slope.abs() < 1e-6 && is_judged);
        let (slope, is_judged) = growth(&samples(400, |second| second / 60.0));
        assert!((slope - 60.0).abs() < 1e-6 && is_judged, "{slope}");
        assert!(!growth(&samples(100, |_| 1.0)).1);
        // An allocator's step.
        let (slope, _) = growth(&samples(400, |second| if second < 250.0 { 50.0 } else { 60.0 }));
        assert!(slope.abs() < 1e-6, "{slope}");
        // Buffers that come and go, and more of them towards the end.
        let (slope, _) = growth(&samples(400, |second| 50.0 + (second % 10.0) * second / 400.0));
        assert!(slope.abs() < 1e-6, "{slope}");
        assert!(!growth(&[]).1);
    }

    #[test]
    fn medians_are_of_what_is_settled() {
        let samples = samples(100, |_| 1.0);
        assert_eq!(settled(&samples).len(), 76);
        let median = median(settled(&samples), |sample| sample.deliveries_per_second);
        assert!((median - 63.0).abs() < 1e-9, "{median}");
    }
}

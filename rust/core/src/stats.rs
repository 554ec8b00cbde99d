//! Receives counts from the shard · hands plain numbers to whoever reports them · owns what is counted.

use std::time::Duration;

use crate::close::Ending;
use crate::lifecycle::State;
use crate::shard::securing::TlsVersion;

/// How an opening handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Outcome {
    /// 101.
    Accepted,
    /// A plain request was answered.
    Plain,
    /// Refused by a rule of the front: 4xx or 505.
    Malformed,
    /// Refused because of its origin: 403.
    Origin,
    /// No bearer token, or one that breaks a rule: 401.
    Token,
    /// Refused by `on_connect`.
    Rejected,
    /// `on_connect` raised: 500.
    Raised,
    /// No room: 503.
    Full,
    /// Too many from one address: 429.
    Address,
    /// Not complete within `open_timeout`.
    TimedOut,
    /// The peer went away, or its place was reclaimed.
    Aborted,
    /// No TLS came of it: another protocol, an old version, an alert.
    Tls,
    /// Too many of one user: 429.
    User,
    /// Too many handshakes of one address within a second: 429.
    Rate,
}

impl Outcome {
    /// The names of all outcomes, in order.
    pub const NAMES: [&'static str; 14] = [
        "accepted",
        "plain",
        "malformed",
        "origin",
        "token",
        "rejected",
        "raised",
        "full",
        "address",
        "timed_out",
        "aborted",
        "tls",
        "user",
        "rate",
    ];
}

/// Everything one shard counts. Plain numbers: the shard alone writes them and publishes copies.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Sockets accepted.
    pub accepted: u64,
    /// Connections that were opened by us.
    pub connected: u64,
    /// Handshakes by [`Outcome`].
    pub handshakes: [u64; Outcome::NAMES.len()],
    /// TLS handshakes that were completed, by [`TlsVersion`].
    pub secured: [u64; TlsVersion::NAMES.len()],
    /// Of those, the ones that took up an earlier connection.
    pub resumed: u64,
    /// Connections by finer state, in the order of [`State`].
    pub states: [u64; State::COUNT],
    /// Endings by name, in the order of [`Ending::NAMES`].
    pub endings: [u64; Ending::NAMES.len()],
    /// Close codes as reported, with their counts.
    pub codes: std::collections::BTreeMap<u16, u64>,
    /// Complete messages received, and their payload bytes.
    pub received: Flow,
    /// Messages accepted for sending, and their frame bytes.
    pub sending: Flow,
    /// Of those, written to sockets.
    pub written: Flow,
    /// Dropped by policy, in the order of [`Overflow`](crate::config::Overflow).
    pub dropped: [Flow; 4],
    /// Discarded because the connection ended.
    pub discarded: Flow,
    /// Publications taken by home shards here.
    pub published: u64,
    /// Messages compressed for sending, each once however many get it. One that did not shrink counts, with its own
    /// size.
    pub compressed: Deflated,
    /// Messages received compressed.
    pub inflated: Deflated,
    /// Frames of messages for a connection that had ended already.
    pub stale: u64,
    /// Writes to sockets.
    pub writes: u64,
    /// Pings sent.
    pub pings: u64,
    /// Connections with pending bytes now.
    pub backlogged: u64,
    /// Round trips of pings.
    pub round_trip: Histogram,
    /// How long the oldest byte waited, when the socket took it.
    pub lag: Histogram,
    /// Turns of the shards' loops.
    pub turns: u64,
    /// The longest turn.
    pub longest_turn: Duration,
}

/// Messages and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// How many messages.
    pub messages: u64,
    /// How many bytes.
    pub bytes: u64,
}

impl Flow {
    /// Adds to both.
    pub fn add(&mut self, messages: u64, bytes: u64) {
        self.messages += messages;
        self.bytes += bytes;
    }
}

/// Messages and their bytes on both sides of permessage-deflate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deflated {
    /// How many messages.
    pub messages: u64,
    /// Bytes as the application has them.
    pub plain: u64,
    /// Bytes as they are on the network.
    pub deflated: u64,
}

impl Deflated {
    /// Nothing counted.
    pub const NONE: Self = Self { messages: 0, plain: 0, deflated: 0 };

    /// Counts one message.
    pub fn add(&mut self, plain: usize, deflated: usize) {
        self.merge(Self { messages: 1, plain: plain as u64, deflated: deflated as u64 });
    }

    /// Adds other counts.
    pub fn merge(&mut self, other: Self) {
        self.messages += other.messages;
        self.plain += other.plain;
        self.deflated += other.deflated;
    }
}

/// Durations in buckets that double from 64 µs.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    buckets: [u64; Self::BUCKETS],
    sum_micros: u64,
}

impl Histogram {
    /// How many buckets there are: the last one holds everything above about 16 s.
    pub const BUCKETS: usize = 20;

    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        let micros = duration.as_micros() as u64;
        let bucket = (64 - (micros >> 6).leading_zeros() as usize).min(Self::BUCKETS - 1);
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count += 1;
        }
        self.sum_micros += micros;
    }

    /// Upper bound in seconds (`None`: no bound) and count of each bucket.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<f64>, u64)> + '_ {
        self.buckets.iter().enumerate().map(|(bucket, count)| {
            let bound = (bucket + 1 < Self::BUCKETS).then(|| f64::from(64_u32 << bucket) / 1e6);
            (bound, *count)
        })
    }

    /// Sum of all durations.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_micros)
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Adds another histogram's counts.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += theirs;
        }
        self.sum_micros += other.sum_micros;
    }
}

impl Stats {
    /// Adds another shard's counts.
    pub fn merge(&mut self, other: &Self) {
        let add = |mine: &mut [u64], theirs: &[u64]| {
            for (mine, theirs) in mine.iter_mut().zip(theirs) {
                *mine += theirs;
            }
        };
        add(&mut self.handshakes, &other.handshakes);
        add(&mut self.secured, &other.secured);
        self.connected += other.connected;
        self.resumed += other.resumed;
        add(&mut self.states, &other.states);
        add(&mut self.endings, &other.endings);
        for (code, count) in &other.codes {
            *self.codes.entry(*code).or_default() += count;
        }
        for (mine, theirs) in [
            (&mut self.received, other.received),
            (&mut self.sending, other.sending),
            (&mut self.written, other.written),
            (&mut self.discarded, other.discarded),
        ] {
            mine.add(theirs.messages, theirs.bytes);
        }
        for (mine, theirs) in self.dropped.iter_mut().zip(other.dropped) {
            mine.add(theirs.messages, theirs.bytes);
        }
        self.compressed.merge(other.compressed);
        self.inflated.merge(other.inflated);
        self.accepted += other.accepted;
        self.published += other.published;
        self.stale += other.stale;
        self.writes += other.writes;
        self.pings += other.pings;
        self.turns += other.turns;
        self.backlogged += other.backlogged;
        self.round_trip.merge(&other.round_trip);
        self.lag.merge(&other.lag);
        self.longest_turn = self.longest_turn.max(other.longest_turn);
    }

    /// Pending messages and bytes: what was accepted and has come to no end yet.
    pub fn pending(&self) -> Flow {
        let gone = self.dropped.iter().fold(self.written, |mut sum, flow| {
            sum.add(flow.messages, flow.bytes);
            sum
        });
        Flow {
            messages: self.sending.messages.saturating_sub(gone.messages + self.discarded.messages),
            bytes: self.sending.bytes.saturating_sub(gone.bytes + self.discarded.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_the_bucket_that_bounds_them() {
        let mut histogram = Histogram::default();
        for micros in [0, 63, 64, 127, 128, 1_000_000, 3_600_000_000] {
            histogram.record(Duration::from_micros(micros));
        }
        let filled: Vec<_> = histogram.buckets().filter(|(_, count)| *count > 0).collect();
        assert_eq!(
            filled,
            [(Some(64e-6), 2), (Some(128e-6), 2), (Some(256e-6), 1), (Some(1.048_576), 1), (None, 1)]
        );
        assert_eq!(histogram.count(), 7);
    }

    #[test]
    fn pending_is_what_came_to_no_end() {
        let mut stats = Stats::default();
        stats.sending.add(10, 1_000);
        stats.written.add(4, 400);
        stats.dropped[1].add(1, 100);
        stats.discarded.add(2, 200);
        assert_eq!(stats.pending(), Flow { messages: 3, bytes: 300 });
    }
}

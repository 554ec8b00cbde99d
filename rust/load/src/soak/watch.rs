//! Receives the time and the field · hands samples to the report, progress to whoever looks on and the rate to the
//! server program · owns what is measured while the load lasts.

use std::time::{Duration, Instant};

use super::Soak;
use super::field::Field;
use super::pace::{Busy, Pace};
use super::report::Sample;
use crate::cpu::processor_time;
use crate::failure::Failure;
use crate::process::{descriptors, resident};

const SAMPLE: Duration = Duration::from_secs(1);
/// Samples between two lines of progress.
const TELL: usize = 5;

/// What a sample is the difference of.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Instant,
    server: Duration,
    client: Duration,
    messages: u64,
}

impl Mark {
    fn take(process: u32, field: &Field) -> Result<Self, Failure> {
        Ok(Self {
            at: Instant::now(),
            server: processor_time(process)?,
            client: processor_time(std::process::id())?,
            messages: field.ledger.delivered + field.ledger.echoed,
        })
    }
}

/// The measuring of one run.
#[derive(Debug)]
pub(crate) struct Watch {
    process: u32,
    connections: usize,
    pub(crate) began: Instant,
    length: Duration,
    last: Mark,
    pace: Pace,
    late: f64,
    pending: u64,
    /// The most of either, all the time.
    pub(crate) longest_turn: f64,
    pub(crate) latest: f64,
    pub(crate) samples: Vec<Sample>,
}

impl Watch {
    pub(crate) fn begin(soak: &Soak, field: &Field) -> Result<Self, Failure> {
        let last = Mark::take(soak.process, field)?;
        Ok(Self {
            process: soak.process,
            connections: soak.connections,
            began: last.at,
            length: soak.length,
            last,
            pace: Pace::new(soak.load),
            late: 0.0,
            pending: 0,
            longest_turn: 0.0,
            latest: 0.0,
            samples: Vec::new(),
        })
    }

    /// Whether the time is not over.
    pub(crate) fn is_on(&self) -> bool {
        self.began.elapsed() < self.length
    }

    /// Takes a sample when it is time for one.
    pub(crate) fn look(&mut self, field: &mut Field) -> Result<(), Failure> {
        if self.last.at.elapsed() < SAMPLE {
            return Ok(());
        }
        if let Some(pulse) = field.control.pulse.take() {
            self.late = pulse.late;
            self.latest = self.latest.max(pulse.late);
            field.held_up(Duration::try_from_secs_f64(pulse.late).unwrap_or_default(), Instant::now());
            self.pending = pulse.servers.iter().map(|server| server.traffic.pending.bytes).sum();
            for server in &pulse.servers {
                if !server.traffic.is_conserved() {
                    field.ledger.violation(|| format!("conservation: {:?}", server.traffic));
                }
            }
        }
        let sample = self.sample(field)?;
        self.samples.push(sample);
        let Sample { server_load: server, client_load: client, .. } = sample;
        let turn = std::mem::take(&mut field.longest_turn).as_secs_f64();
        self.longest_turn = self.longest_turn.max(turn);
        let late = self.late.max(turn);
        if self.pace.adapt(Busy { server, client, late, pending: self.pending }) {
            field.control.tell(&format!("rate {}", self.pace.rate))?;
        }
        if self.samples.len().is_multiple_of(TELL) {
            self.tell(&sample, field);
        }
        Ok(())
    }

    fn sample(&mut self, field: &Field) -> Result<Sample, Failure> {
        let (before, now) = (self.last, Mark::take(self.process, field)?);
        self.last = now;
        let seconds = (now.at - before.at).as_secs_f64();
        let part = |now: Duration, before: Duration| now.saturating_sub(before).as_secs_f64() / seconds;
        #[expect(clippy::cast_precision_loss, reason = "nobody receives 2^52 messages in a second")]
        let messages = (now.messages - before.messages) as f64;
        Ok(Sample {
            seconds: (now.at - self.began).as_secs_f64(),
            connections: field.open,
            deliveries_per_second: messages / seconds,
            server_load: part(now.server, before.server),
            client_load: part(now.client, before.client),
            resident_mib: resident(self.process)?,
            descriptors: descriptors(self.process)?,
            rate: self.pace.rate,
            pending: self.pending,
        })
    }

    fn tell(&self, sample: &Sample, field: &Field) {
        let ledger = &field.ledger;
        eprintln!(
            "{:>5.0} s  {} of {} connections  {:>9.0} deliveries/s at {:.0}/s a channel  cpu {:.2} + {:.2}  \
             {:.1} MiB  {} descriptors  {} opened, {} cut  lost {}, duplicated {}, reordered {}, other {}",
            sample.seconds,
            sample.connections,
            self.connections,
            sample.deliveries_per_second,
            sample.rate,
            sample.server_load,
            sample.client_load,
            sample.resident_mib,
            sample.descriptors,
            ledger.opened,
            ledger.cut,
            ledger.lost,
            ledger.duplicated,
            ledger.reordered,
            ledger.corrupted + ledger.misdirected,
        );
    }
}

//! Receives the time and how a run stands · hands out a sample a second, and how it stands to whoever looks on · owns
//! what is measured beside the messages: processor time and memory.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cpu::{processor_time, thread_time};
use crate::failure::Failure;
use crate::process::{kernel_socket_bytes, resident_bytes};
use crate::scenario::Scenario;
use crate::tally::Percentiles;
use crate::world::World;

/// Where a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Connections open.
    #[default]
    Opening,
    /// There is load, which is not counted.
    WarmUp,
    /// What happens is counted.
    Window,
    /// What is in flight comes.
    Drain,
    /// Connections close.
    Closing,
    /// The report is there.
    Done,
}

/// One second of a run.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Sample {
    /// Since the first connection, at its end.
    pub at_seconds: f64,
    /// Where the run was.
    pub phase: Phase,
    /// Messages a second.
    pub messages_per_second: f64,
    /// Latencies of this second.
    #[serde(flatten)]
    pub latency: Percentiles,
    /// Connections open.
    pub connections: usize,
    /// Messages sent of which something has not come.
    pub in_flight: usize,
    /// Everything that went wrong so far.
    pub errors: u64,
    /// Open loop: the most that a message was sent later than it was due.
    pub late_us: Option<f64>,
    /// The server's processor seconds per second.
    pub server_load: Option<f64>,
    /// The client thread's own.
    pub client_load: Option<f64>,
    /// Resident memory of the server's processes.
    pub rss_bytes: Option<u64>,
    /// What the kernel holds in TCP sockets.
    pub kernel_socket_bytes: Option<u64>,
}

/// Processor time and messages at one instant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) at: Instant,
    server: Option<Duration>,
    client: Option<Duration>,
}

impl Mark {
    pub(crate) fn take(processes: &[u32]) -> Self {
        let at = Instant::now();
        Self { at, server: spent(processes), client: thread_time().ok() }
    }

    /// Seconds from `self` to `later`.
    pub(crate) fn seconds_to(&self, later: &Self) -> f64 {
        (later.at - self.at).as_secs_f64().max(1e-9)
    }

    /// Processor seconds that the server spent from `self` to `later`.
    pub(crate) fn server_to(&self, later: &Self) -> Option<f64> {
        Some(later.server?.saturating_sub(self.server?).as_secs_f64())
    }

    /// Processor seconds that this thread spent from `self` to `later`.
    pub(crate) fn client_to(&self, later: &Self) -> Option<f64> {
        Some(later.client?.saturating_sub(self.client?).as_secs_f64())
    }
}

/// Bytes of the server's processes and of the kernel's sockets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) resident: Option<u64>,
    pub(crate) sockets: Option<u64>,
}

impl Memory {
    pub(crate) fn take(processes: &[u32]) -> Self {
        let sum = || processes.iter().map(|process| resident_bytes(*process).ok()).sum();
        Self {
            resident: if processes.is_empty() { None } else { sum() },
            sockets: kernel_socket_bytes().ok(),
        }
    }
}

/// Processes that are there when a run begins must be.
pub(crate) fn check(processes: &[u32]) -> Result<(), Failure> {
    for process in processes {
        processor_time(*process).map_err(|error| Failure::Usage(format!("pid {process}: {error}")))?;
    }
    Ok(())
}

/// `None`: no process was named, or one is gone.
fn spent(processes: &[u32]) -> Option<Duration> {
    if processes.is_empty() {
        return None;
    }
    processes.iter().map(|process| processor_time(*process).ok()).sum()
}

/// What takes samples.
#[derive(Debug)]
pub(crate) struct Watch {
    processes: Vec<u32>,
    began: Instant,
    last: Mark,
    received: u64,
    pub(crate) phase: Phase,
    pub(crate) samples: Vec<Sample>,
    /// The most of all the window's seconds.
    pub(crate) latest: Option<Duration>,
}

const SECOND: Duration = Duration::from_secs(1);

impl Watch {
    pub(crate) fn new(processes: &[u32]) -> Self {
        let last = Mark::take(processes);
        Self {
            processes: processes.to_vec(),
            began: last.at,
            last,
            received: 0,
            phase: Phase::Opening,
            samples: Vec::new(),
            latest: None,
        }
    }

    /// A phase begins: what was counted before is not part of it.
    pub(crate) fn enter(&mut self, phase: Phase, scenario: &mut impl Scenario) {
        self.phase = phase;
        if phase == Phase::Window {
            scenario.tally().reset();
            scenario.take_lateness();
            scenario.window_begins();
            self.latest = None;
        }
        scenario.tally().end_second();
        self.last = Mark::take(&self.processes);
        self.received = scenario.tally().received();
    }

    /// Takes a sample when a second is over; returns whether it was.
    pub(crate) fn look(&mut self, now: Instant, scenario: &mut impl Scenario, world: &World) -> bool {
        let is_over = now.saturating_duration_since(self.last.at) >= SECOND;
        if is_over {
            self.sample(scenario, world);
        }
        is_over
    }

    /// Takes a sample of the time since the last one.
    pub(crate) fn sample(&mut self, scenario: &mut impl Scenario, world: &World) {
        let now = Mark::take(&self.processes);
        let memory = Memory::take(&self.processes);
        let late = scenario.take_lateness();
        if self.phase == Phase::Window {
            self.latest = self.latest.max(late);
        }
        let seconds = self.last.seconds_to(&now);
        let received = scenario.tally().received();
        #[expect(clippy::cast_precision_loss, reason = "nobody receives 2^52 messages in a second")]
        let messages = received.saturating_sub(self.received) as f64;
        self.samples.push(Sample {
            at_seconds: (now.at - self.began).as_secs_f64(),
            phase: self.phase,
            messages_per_second: messages / seconds,
            latency: scenario.tally().end_second(),
            connections: world.open,
            in_flight: scenario.in_flight(),
            errors: world.faults.total(),
            late_us: late.map(|late| late.as_secs_f64() * 1e6),
            server_load: self.last.server_to(&now).map(|spent| spent / seconds),
            client_load: self.last.client_to(&now).map(|spent| spent / seconds),
            rss_bytes: memory.resident,
            kernel_socket_bytes: memory.sockets,
        });
        self.last = now;
        self.received = received;
    }
}

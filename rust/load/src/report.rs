//! Receives what a run counted · hands it out for people and programs · owns the form of a report.

use serde::Serialize;

use crate::faults::Faults;
use crate::plan::{Plan, ScenarioName};
use crate::scenarios::idle::PingReport;
use crate::scenarios::slow::SlowReport;
use crate::scenarios::storm::StormReport;
use crate::tally::Percentiles;
use crate::watch::Sample;

/// What one run says. Messages are those that the clients received in the window: round trips, deliveries, pongs,
/// opening handshakes, connections that came back.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What the connections did.
    pub scenario: ScenarioName,
    /// Messages in the window; of `slow` those to the others.
    pub messages: u64,
    /// Length of the window as it was.
    pub seconds: f64,
    /// Messages a second.
    pub messages_per_second: f64,
    /// From when a message was sent, or due in an open loop, to when it was read.
    #[serde(flatten)]
    pub latency: Percentiles,
    /// User and system time of the server's processes per message; `None`: no process was named, or no message came.
    pub cpu_us_per_message: Option<f64>,
    /// The server's processor seconds per second: near 1 per core, the server is saturated.
    pub server_load: Option<f64>,
    /// The client thread's own: near 1, the client is the bottleneck.
    pub client_load: Option<f64>,
    /// Resident memory of the server's processes at the end of the window.
    pub rss_bytes: Option<u64>,
    /// The same before the first connection.
    pub rss_before_bytes: Option<u64>,
    /// What the kernel held in TCP sockets of this network namespace at the end of the window, both ends of each.
    pub kernel_socket_bytes: Option<u64>,
    /// The same before the first connection.
    pub kernel_socket_before_bytes: Option<u64>,
    /// Connections open at the end of the window.
    pub connections: usize,
    /// Everything that went wrong, from the first connection to the last.
    pub errors: u64,
    /// Of these, messages whose answer or delivery never came.
    pub lost: u64,
    /// Errors by sort, and the first texts.
    pub faults: Faults,
    /// The opening handshakes, all of them.
    pub opening: Opening,
    /// Open loop: the most that a message was sent later than it was due, in microseconds. What the client is late
    /// itself is part of the latencies.
    pub late_us: Option<f64>,
    /// Whether it was stopped before its time.
    pub is_interrupted: bool,
    /// What only one scenario has to say.
    #[serde(flatten)]
    pub details: Details,
    /// Percent, and the microseconds that so many messages took at most.
    pub distribution: Vec<(f64, f64)>,
    /// One for each second, from the first connection on.
    pub samples: Vec<Sample>,
    /// What was run.
    pub plan: Plan,
}

/// Opening handshakes: from the first packet to the 101, TLS included.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Opening {
    /// Connections that opened.
    pub opened: u64,
    /// Seconds until all that the run began with were open.
    pub seconds: f64,
    /// How long one took.
    #[serde(flatten)]
    pub latency: Percentiles,
}

/// What only one scenario has to say.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Details {
    /// `slow`: what became of the slow ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow: Option<SlowReport>,
    /// `idle`: pings that the server sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_pings: Option<PingReport>,
    /// `reconnect-storm`: how the storms went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storm: Option<StormReport>,
}

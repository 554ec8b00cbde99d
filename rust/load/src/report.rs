//! Receives a scenario that is under way · hands out what the measured window held · owns warm-up, window and the
//! processor time spent in it.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cpu::processor_time;
use crate::driver::{Driver, Scenario};
use crate::failure::Failure;

/// When and whom to measure.
#[derive(Clone, Debug)]
pub struct Window {
    /// Load before the window, in which nothing is counted.
    pub warm_up: Duration,
    /// The window.
    pub length: Duration,
    /// The server's processes; empty: no processor time is reported.
    pub processes: Vec<u32>,
}

/// What one run says. Messages are those that the clients received in the window.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Deliveries or round trips.
    pub messages: u64,
    /// Length of the window as it was.
    pub seconds: f64,
    /// Messages a second.
    pub messages_per_second: f64,
    /// From sending to receiving, median.
    pub p50_us: f64,
    /// From sending to receiving, 99th percentile.
    pub p99_us: f64,
    /// User and system time of the server's processes per message; `None`: no process was named.
    pub cpu_us_per_message: Option<f64>,
    /// The server's processor seconds per second: near 1 per core, the server is saturated.
    pub server_load: Option<f64>,
    /// The client's own: near 1, the client is the bottleneck.
    pub client_load: Option<f64>,
}

/// Warms up, then measures.
pub(crate) fn measure(
    driver: &mut Driver,
    scenario: &mut impl Scenario,
    window: &Window,
) -> Result<Report, Failure> {
    driver.run(scenario, Instant::now() + window.warm_up)?;
    scenario.tally().reset();
    let own = [std::process::id()];
    let (start, server, client) = (Instant::now(), spent(&window.processes)?, spent(&own).ok());

    driver.run(scenario, start + window.length)?;
    let seconds = start.elapsed().as_secs_f64();
    let server = spent(&window.processes)?.saturating_sub(server).as_secs_f64();
    let client = client.and_then(|before| Some(spent(&own).ok()?.saturating_sub(before).as_secs_f64()));

    let tally = scenario.tally();
    let messages = tally.messages();
    if messages == 0 {
        return Err(Failure::Silence(format!("no message came in {seconds:.1} s")));
    }
    #[expect(clippy::cast_precision_loss, reason = "nobody receives 2^52 messages in a window")]
    let count = messages as f64;
    let server = (!window.processes.is_empty()).then_some(server);
    Ok(Report {
        messages,
        seconds,
        messages_per_second: count / seconds,
        p50_us: tally.percentile(50.0),
        p99_us: tally.percentile(99.0),
        cpu_us_per_message: server.map(|spent| spent * 1e6 / count),
        server_load: server.map(|spent| spent / seconds),
        client_load: client.map(|spent| spent / seconds),
    })
}

fn spent(processes: &[u32]) -> Result<Duration, Failure> {
    let mut sum = Duration::ZERO;
    for process in processes {
        sum += processor_time(*process)?;
    }
    Ok(sum)
}

//! Receives a server's address · hands out what a delivery costs it · owns the closed loop: so many publications in
//! flight, the next one as soon as the last subscriber has the oldest.
//!
//! The server publishes what comes on the control connection to every subscriber, so each server uses its own
//! fastest way to publish and the loop closes over it.

use std::mem;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::connection::text_frame;
use crate::driver::{Connections, Driver, Scenario};
use crate::failure::Failure;
use crate::publications::{LABEL, Publications};
use crate::report::{Report, Window, measure};
use crate::tally::Tally;

/// What to run.
#[derive(Clone, Debug)]
pub struct Fanout {
    /// The server.
    pub address: SocketAddr,
    /// A path whose connections receive every publication.
    pub path: String,
    /// A path whose messages are published as they are.
    pub control_path: String,
    /// Subscribers.
    pub subscribers: usize,
    /// Bytes of a publication, at least 16.
    pub size: usize,
    /// Publications sent that some subscriber has not received.
    pub in_flight: usize,
}

/// The label of what is published until every subscriber is known to receive.
const PROBE: [u8; LABEL] = *b"is anyone there?";
const PROBE_INTERVAL: Duration = Duration::from_millis(20);
const PROBES: usize = 500;

/// Runs it.
///
/// # Errors
/// [`Failure`]: a connection could not be opened or ended early, or a subscriber did not receive exactly what
/// was published, in order.
pub fn run(fanout: &Fanout, window: &Window) -> Result<Report, Failure> {
    if fanout.size < LABEL || fanout.in_flight == 0 {
        return Err(Failure::Usage(format!("a fan-out needs 1 publication in flight and {LABEL} bytes")));
    }
    let mut driver = Driver::new()?;
    for _ in 0..fanout.subscribers {
        driver.open(fanout.address, &fanout.path)?;
    }
    let control = driver.open(fanout.address, &fanout.control_path)?;
    let mut deliveries = Deliveries::new(fanout, control)?;
    deliveries.await_subscribers(&mut driver)?;
    deliveries.limit = fanout.in_flight;
    deliveries.fill(Instant::now(), &mut driver.connections)?;
    let report = measure(&mut driver, &mut deliveries, window)?;
    driver.finish(&mut deliveries)?;
    Ok(report)
}

struct Deliveries {
    control: usize,
    /// Publications that may be in flight: none until every subscriber is there.
    limit: usize,
    publications: Publications,
    /// The last publication; only its label changes.
    payload: Vec<u8>,
    frames: Vec<u8>,
    has_joined: Vec<bool>,
    missing: usize,
    tally: Tally,
}

impl Deliveries {
    fn new(fanout: &Fanout, control: usize) -> Result<Self, Failure> {
        Ok(Self {
            control,
            limit: 0,
            publications: Publications::new(fanout.subscribers),
            payload: vec![b'x'; fanout.size],
            frames: Vec::new(),
            has_joined: vec![false; fanout.subscribers],
            missing: fanout.subscribers,
            tally: Tally::new()?,
        })
    }

    /// A server may subscribe a connection some time after its 101, and a publication before that is nobody's
    /// fault: probes go out until each subscriber has received one.
    fn await_subscribers(&mut self, driver: &mut Driver) -> Result<(), Failure> {
        for _ in 0..PROBES {
            if self.missing == 0 {
                return Ok(());
            }
            self.publish(PROBE);
            driver.connections.send(self.control, &self.frames)?;
            self.frames.clear();
            driver.run(self, Instant::now() + PROBE_INTERVAL)?;
        }
        Err(Failure::Silence(format!("{} subscribers receive nothing that is published", self.missing)))
    }

    /// Sends as many publications as may be in flight, all in one write.
    fn fill(&mut self, now: Instant, connections: &mut Connections) -> Result<(), Failure> {
        while self.publications.in_flight() < self.limit {
            let label = self.publications.send(now);
            self.publish(label);
        }
        if self.frames.is_empty() {
            return Ok(());
        }
        connections.send(self.control, &self.frames)?;
        self.frames.clear();
        Ok(())
    }

    fn publish(&mut self, label: [u8; LABEL]) {
        if let Some(place) = self.payload.get_mut(..LABEL) {
            place.copy_from_slice(&label);
        }
        text_frame(&mut self.frames, &self.payload);
    }

    fn probed(&mut self, connection: usize) {
        let joined = self.has_joined.get_mut(connection).map(|joined| mem::replace(joined, true));
        if joined == Some(false) {
            self.missing -= 1;
        }
    }
}

impl Scenario for Deliveries {
    fn message(&mut self, connection: usize, payload: &[u8], now: Instant) -> Result<(), Failure> {
        if payload.starts_with(&PROBE) {
            self.probed(connection);
            return Ok(());
        }
        let unexpected = |reason: String| Err(Failure::Unexpected { connection, reason });
        if payload.len() != self.payload.len() {
            return unexpected(format!("{} bytes, {} were published", payload.len(), self.payload.len()));
        }
        match self.publications.receive(connection, payload) {
            Ok(sent) => self.tally.count(now.duration_since(sent)),
            Err(gap) => {
                return unexpected(format!("something else than publication {}, which is due", gap.due));
            }
        }
        Ok(())
    }

    fn after_read(
        &mut self,
        _connection: usize,
        now: Instant,
        connections: &mut Connections,
    ) -> Result<(), Failure> {
        self.fill(now, connections)
    }

    fn stop(&mut self) {
        self.limit = 0;
    }

    fn in_flight(&self) -> usize {
        self.publications.in_flight()
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

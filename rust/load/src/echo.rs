//! Receives a server's address · hands out what a round trip costs it · owns the closed loop: one message in
//! flight on each connection, the next as soon as it is back.

use std::mem;
use std::net::SocketAddr;
use std::time::Instant;

use crate::connection::text_frame;
use crate::driver::{Connections, Driver, Scenario};
use crate::failure::Failure;
use crate::report::{Report, Window, measure};
use crate::tally::Tally;

/// What to run.
#[derive(Clone, Debug)]
pub struct Echo {
    /// The server.
    pub address: SocketAddr,
    /// A path whose messages come back.
    pub path: String,
    /// Connections, each with one message in flight.
    pub connections: usize,
    /// Bytes of a message.
    pub size: usize,
}

/// Runs it.
///
/// # Errors
/// [`Failure`]: a connection could not be opened or ended early, or an answer was not what was sent.
pub fn run(echo: &Echo, window: &Window) -> Result<Report, Failure> {
    let mut driver = Driver::new()?;
    for _ in 0..echo.connections {
        driver.open(echo.address, &echo.path)?;
    }
    let mut loops = Loops::new(echo)?;
    for connection in 0..echo.connections {
        loops.send(connection, Instant::now(), &mut driver.connections)?;
    }
    let report = measure(&mut driver, &mut loops, window)?;
    driver.finish(&mut loops)?;
    Ok(report)
}

struct Loops {
    payload: Vec<u8>,
    /// The payload as a frame; every message is the same.
    frame: Vec<u8>,
    /// When each connection sent last.
    sent: Vec<Instant>,
    /// Whether the read at hand brought the answer.
    is_back: bool,
    is_stopped: bool,
    in_flight: usize,
    tally: Tally,
}

impl Loops {
    fn new(echo: &Echo) -> Result<Self, Failure> {
        let payload: Vec<u8> = b"StreamConductor ".iter().copied().cycle().take(echo.size).collect();
        let mut frame = Vec::new();
        text_frame(&mut frame, &payload);
        let sent = vec![Instant::now(); echo.connections];
        Ok(Self {
            payload,
            frame,
            sent,
            is_back: false,
            is_stopped: false,
            in_flight: 0,
            tally: Tally::new()?,
        })
    }

    fn send(
        &mut self,
        connection: usize,
        now: Instant,
        connections: &mut Connections,
    ) -> Result<(), Failure> {
        if let Some(sent) = self.sent.get_mut(connection) {
            *sent = now;
        }
        self.in_flight += 1;
        connections.send(connection, &self.frame)
    }
}

impl Scenario for Loops {
    fn message(&mut self, connection: usize, payload: &[u8], now: Instant) -> Result<(), Failure> {
        if payload != self.payload || mem::replace(&mut self.is_back, true) {
            let reason = "the answer is not the one message that was sent".to_owned();
            return Err(Failure::Unexpected { connection, reason });
        }
        self.in_flight -= 1;
        if let Some(sent) = self.sent.get(connection) {
            self.tally.count(now.duration_since(*sent));
        }
        Ok(())
    }

    fn after_read(
        &mut self,
        connection: usize,
        now: Instant,
        connections: &mut Connections,
    ) -> Result<(), Failure> {
        // A read may end inside a frame; then there is nothing to answer yet.
        if mem::take(&mut self.is_back) && !self.is_stopped {
            return self.send(connection, now, connections);
        }
        Ok(())
    }

    fn stop(&mut self) {
        self.is_stopped = true;
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

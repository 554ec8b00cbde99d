//! Receives readiness from the system · hands messages to a scenario and lets it answer after each read · owns
//! every connection of a run.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::connection::{Connection, await_end};
use crate::failure::Failure;
use crate::opening;
use crate::tally::Tally;

/// Large enough that a read takes all that a socket holds: fewer reads, less to do per message.
const SCRATCH: usize = 256 * 1024;
const EVENTS: usize = 1024;

/// How long what is in flight at the end may take; ample, for a crowded machine.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the server may then take to end all connections.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a run does with what comes.
pub(crate) trait Scenario {
    /// A message came, read at `now`.
    fn message(&mut self, connection: usize, payload: &[u8], now: Instant) -> Result<(), Failure>;

    /// All that one read brought has been handed over: the moment to send, once for the whole read.
    fn after_read(
        &mut self,
        connection: usize,
        now: Instant,
        connections: &mut Connections,
    ) -> Result<(), Failure>;

    /// Sends nothing from now on.
    fn stop(&mut self);

    /// Messages sent of which something has not come.
    fn in_flight(&self) -> usize;

    /// What was counted.
    fn tally(&mut self) -> &mut Tally;
}

/// The connections of a run, by number in the order of opening.
#[derive(Debug, Default)]
pub(crate) struct Connections(Vec<Connection>);

impl Connections {
    /// Sends frames on one connection.
    pub(crate) fn send(&mut self, connection: usize, frames: &[u8]) -> Result<(), Failure> {
        self.0.get_mut(connection).map_or(Ok(()), |connection| connection.send(frames))
    }

    /// Hands one piece of input to the scenario.
    fn receive(
        &mut self,
        number: usize,
        input: &mut [u8],
        scenario: &mut impl Scenario,
    ) -> Result<(), Failure> {
        let Some(connection) = self.0.get_mut(number) else { return Ok(()) };
        let now = Instant::now();
        connection.receive(input, |payload| scenario.message(number, payload, now))?;
        scenario.after_read(number, now, self)
    }
}

/// The loop of a run.
#[derive(Debug)]
pub(crate) struct Driver {
    poll: Poll,
    events: Events,
    scratch: Vec<u8>,
    /// What came together with a 101.
    early: Vec<(usize, Vec<u8>)>,
    pub(crate) connections: Connections,
}

impl Driver {
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS),
            scratch: vec![0; SCRATCH],
            early: Vec::new(),
            connections: Connections::default(),
        })
    }

    /// Opens a connection and returns its number.
    pub(crate) fn open(&mut self, address: SocketAddr, path: &str) -> Result<usize, Failure> {
        let number = self.connections.0.len();
        let (stream, early) = opening::open(address, path)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(number), interest)?;
        self.connections.0.push(Connection::new(stream, number));
        if !early.is_empty() {
            self.early.push((number, early));
        }
        Ok(number)
    }

    /// Lets the scenario run until `deadline`.
    pub(crate) fn run(&mut self, scenario: &mut impl Scenario, deadline: Instant) -> Result<(), Failure> {
        loop {
            let remaining = deadline.saturating_duration_since(Instant::now());
            if remaining.is_zero() {
                return Ok(());
            }
            self.turn(scenario, remaining)?;
        }
    }

    /// Takes everything that is ready once, and waits for it at most `timeout`.
    fn turn(&mut self, scenario: &mut impl Scenario, timeout: Duration) -> Result<(), Failure> {
        let Self { poll, events, scratch, early, connections } = self;
        for (number, mut input) in early.drain(..) {
            connections.receive(number, &mut input, scenario)?;
        }
        match poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        for event in &*events {
            let Token(number) = event.token();
            while let Some(connection) = connections.0.get_mut(number) {
                let Some(length) = connection.read(scratch)? else { break };
                connections.receive(number, scratch.get_mut(..length).unwrap_or_default(), scenario)?;
                // A read that did not fill the scratch has emptied the socket (epoll(7)); what comes from now
                // on is a new edge, and asking for WouldBlock would double the reads.
                if length < scratch.len() {
                    break;
                }
            }
            if let Some(connection) = connections.0.get_mut(number).filter(|_| event.is_writable()) {
                connection.flush()?;
            }
        }
        Ok(())
    }

    /// Lets what is in flight come, then ends all connections in peace: the server has nothing to log, and the
    /// next run finds it idle.
    pub(crate) fn finish(mut self, scenario: &mut impl Scenario) -> Result<(), Failure> {
        scenario.stop();
        let deadline = Instant::now() + DRAIN_TIMEOUT;
        while scenario.in_flight() > 0 {
            let remaining = deadline.saturating_duration_since(Instant::now());
            if remaining.is_zero() {
                let missing = scenario.in_flight();
                return Err(Failure::Silence(format!(
                    "{missing} messages in flight at the end did not come"
                )));
            }
            self.turn(scenario, remaining)?;
        }

        let deadline = Instant::now() + CLOSE_TIMEOUT;
        // Closes first, all of them, then the waiting. A socket that failed is as closed as it will be.
        let closing: Vec<_> =
            self.connections.0.into_iter().filter_map(|connection| connection.close().ok()).collect();
        for stream in closing {
            await_end(stream, &mut self.scratch, deadline);
        }
        Ok(())
    }
}

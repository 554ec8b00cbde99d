//! Receives answers · sends the next message for each, or whenever one is due · owns what is in flight on every
//! connection.

use std::collections::VecDeque;
use std::mem;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::faults::Fault;
use crate::hello::{Hello, QUIET};
use crate::messages::{Flight, Messages, shown};
use crate::pace::Schedule;
use crate::plan::Plan;
use crate::scenario::Scenario;
use crate::site::Way;
use crate::tally::Tally;
use crate::world::World;

/// Round trips.
#[derive(Debug)]
pub(crate) struct Echo {
    connections: usize,
    /// Of a closed loop, on each connection.
    limit: usize,
    rate: Option<f64>,
    /// Of an open loop, once it runs.
    schedule: Option<Schedule>,
    hello: Hello,
    /// By connection: whether what was said in the beginning may still be answered.
    is_greeting: Vec<bool>,
    last_heard: Instant,
    messages: Messages,
    /// By connection, oldest first.
    flights: Vec<VecDeque<Flight>>,
    in_flight: usize,
    /// Whose turn it is in an open loop.
    turn: usize,
    /// Answers that the read at hand brought.
    back: usize,
    frames: Vec<u8>,
    is_stopped: bool,
    lateness: Duration,
    tally: Tally,
}

impl Echo {
    pub(crate) fn new(plan: &Plan, now: Instant) -> Result<Self, Failure> {
        Ok(Self {
            connections: plan.connections(),
            limit: plan.in_flight(),
            rate: plan.rate,
            schedule: None,
            hello: Hello::new(plan),
            is_greeting: vec![!plan.hello.is_empty(); plan.connections()],
            last_heard: now,
            messages: Messages::new(plan, now),
            flights: (0..plan.connections()).map(|_| VecDeque::new()).collect(),
            in_flight: 0,
            turn: 0,
            back: 0,
            frames: Vec::new(),
            is_stopped: false,
            lateness: Duration::ZERO,
            tally: Tally::new()?,
        })
    }

    /// Sends so many messages on one connection, all in one write.
    #[inline]
    fn send(&mut self, number: usize, count: usize, due: Instant, world: &mut World) {
        let Some(flights) = self.flights.get_mut(number) else { return };
        self.frames.clear();
        for _ in 0..count {
            let flight = self.messages.next(due);
            self.messages.frame(world, number, &flight.stamp, &mut self.frames);
            flights.push_back(flight);
        }
        self.in_flight += count;
        world.send(number, &self.frames);
    }

    /// The next connection that is open.
    fn next_open(&mut self, world: &World) -> Option<usize> {
        for _ in 0..self.connections {
            let number = self.turn;
            self.turn = (self.turn + 1) % self.connections;
            if world.is_open(number) {
                return Some(number);
            }
        }
        None
    }
}

impl Scenario for Echo {
    fn prepare(&mut self, world: &mut World) {
        for _ in 0..self.connections {
            world.want(Way::Main);
        }
    }

    fn opened(&mut self, number: usize, _took: Duration, now: Instant, world: &mut World) {
        self.hello.say(number, world);
        self.last_heard = now;
    }

    #[inline]
    fn message(&mut self, number: usize, payload: &[u8], now: Instant) -> Result<(), String> {
        let flight = self.flights.get(number).and_then(|flights| flights.front().copied());
        let is_due = flight.is_some_and(|flight| self.messages.is(payload, &flight.stamp, number));
        let is_greeting = self.is_greeting.get_mut(number);
        let Some(flight) = flight.filter(|_| is_due) else {
            if is_greeting.is_some_and(|is_greeting| *is_greeting) {
                self.last_heard = now;
                return Ok(());
            }
            let what = if flight.is_some() { "that is not what was sent" } else { "to nothing" };
            return Err(format!("an answer {what}: {}", shown(payload)));
        };
        if let Some(is_greeting) = is_greeting {
            *is_greeting = false;
        }
        self.flights.get_mut(number).and_then(VecDeque::pop_front);
        self.in_flight -= 1;
        self.back += 1;
        self.tally.count(now.saturating_duration_since(flight.due));
        Ok(())
    }

    fn after_read(&mut self, number: usize, now: Instant, world: &mut World) {
        // A read may end inside a frame; then there is nothing to answer yet.
        let back = mem::take(&mut self.back);
        if back > 0 && self.rate.is_none() && !self.is_stopped {
            self.send(number, back, now, world);
        }
    }

    fn ended(&mut self, number: usize, fault: Option<&Fault>, _now: Instant, world: &mut World) {
        let lost = self.flights.get_mut(number).map_or(0, |flights| mem::take(flights).len());
        self.in_flight -= lost;
        self.back = 0;
        // What is missing at the end is counted when the run no longer waits for it.
        if let Some(fault) = fault {
            world.faults.lost += lost as u64;
            world.faults.add(fault);
        }
    }

    fn due(&self) -> Option<Instant> {
        self.schedule.as_ref().map(Schedule::next)
    }

    fn tick(&mut self, now: Instant, world: &mut World) {
        while let Some(due) = self.schedule.as_mut().and_then(|schedule| schedule.take(now)) {
            let Some(number) = self.next_open(world) else { return };
            self.send(number, 1, due, world);
            self.lateness = self.lateness.max(now - due);
        }
    }

    /// What was said in the beginning may be answered, and where nothing is looked at, that would be taken for an answer
    /// to what follows.
    fn is_ready(&mut self, now: Instant, _world: &mut World) -> Result<bool, Failure> {
        Ok(!self.hello.is_said() || now.saturating_duration_since(self.last_heard) > QUIET)
    }

    fn begin(&mut self, now: Instant, world: &mut World) {
        if let Some(rate) = self.rate {
            self.schedule = Some(Schedule::new(rate, now));
            return;
        }
        for number in 0..self.connections {
            if world.is_open(number) {
                self.send(number, self.limit, Instant::now(), world);
            }
        }
    }

    fn stop(&mut self, _now: Instant, _world: &mut World) {
        self.is_stopped = true;
        self.schedule = None;
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    fn take_lateness(&mut self) -> Option<Duration> {
        self.rate.map(|_| mem::take(&mut self.lateness))
    }
}

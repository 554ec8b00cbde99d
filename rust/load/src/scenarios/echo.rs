//! Receives answers · sends the next message for each, or whenever one is due · owns what is in flight on every
//! connection.

use std::collections::VecDeque;
use std::mem;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::faults::Fault;
use crate::hello::Hello;
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
    messages: Messages,
    /// By connection, oldest first.
    flights: Vec<VecDeque<Flight>>,
    in_flight: usize,
    /// Whose turn it is in an open loop.
    turn: usize,
    /// Answers that the read at hand brought.
    back: usize,
    frames: Vec<u8>,
    has_begun: bool,
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
            messages: Messages::new(plan, now),
            flights: (0..plan.connections()).map(|_| VecDeque::new()).collect(),
            in_flight: 0,
            turn: 0,
            back: 0,
            frames: Vec::new(),
            has_begun: false,
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

    fn opened(&mut self, number: usize, _took: Duration, _now: Instant, world: &mut World) {
        self.hello.say(number, world);
    }

    fn message(&mut self, number: usize, payload: &[u8], now: Instant) -> Result<(), String> {
        let flight = self.flights.get_mut(number).and_then(VecDeque::pop_front);
        let Some(flight) = flight else {
            // Answers to what was said in the beginning, if anything was.
            let is_answer = self.hello.is_said() && !self.has_begun;
            return if is_answer { Ok(()) } else { Err(format!("an answer to nothing: {}", shown(payload))) };
        };
        self.in_flight -= 1;
        if !self.messages.is(payload, &flight.stamp, number) {
            return Err(format!("an answer that is not what was sent: {}", shown(payload)));
        }
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
        world.faults.lost += lost as u64;
        self.back = 0;
        if let Some(fault) = fault {
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

    fn begin(&mut self, now: Instant, world: &mut World) {
        self.has_begun = true;
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

//! Receives pings and pongs · sends nothing but pings, if any · owns when each connection was pinged, by us and by the
//! server.

use std::mem;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;
use streamconductor_core::codec::{Control, control_frame};

use crate::failure::Failure;
use crate::faults::Fault;
use crate::frames::KEY;
use crate::hello::Hello;
use crate::link::Heard;
use crate::pace::Schedule;
use crate::plan::Plan;
use crate::report::Details;
use crate::scenario::Scenario;
use crate::site::Way;
use crate::tally::{Percentiles, Tally, histogram, percentiles};
use crate::world::World;

/// Connections that stay open.
#[derive(Debug)]
pub(crate) struct Idle {
    connections: usize,
    /// Pings a second, all connections together.
    rate: Option<f64>,
    schedule: Option<Schedule>,
    turn: usize,
    hello: Hello,
    /// By connection: our ping that was not answered.
    pinged: Vec<Option<Instant>>,
    in_flight: usize,
    /// By connection: the server's last ping.
    heard: Vec<Option<Instant>>,
    server_pings: u64,
    intervals: Histogram<u64>,
    lateness: Duration,
    tally: Tally,
}

/// Pings that the server sent.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PingReport {
    /// How many.
    pub received: u64,
    /// Time between two of them on a connection.
    #[serde(flatten)]
    pub interval: Percentiles,
}

impl Idle {
    #[expect(clippy::cast_precision_loss, reason = "nobody opens 2^52 connections")]
    pub(crate) fn new(plan: &Plan) -> Result<Self, Failure> {
        let connections = plan.connections();
        Ok(Self {
            connections,
            rate: plan.ping_interval.map(|interval| connections as f64 / interval),
            schedule: None,
            turn: 0,
            hello: Hello::new(plan),
            pinged: vec![None; connections],
            in_flight: 0,
            heard: vec![None; connections],
            server_pings: 0,
            intervals: histogram()?,
            lateness: Duration::ZERO,
            tally: Tally::new()?,
        })
    }
}

impl Scenario for Idle {
    fn prepare(&mut self, world: &mut World) {
        for _ in 0..self.connections {
            world.want(Way::Main);
        }
    }

    fn opened(&mut self, number: usize, _took: Duration, _now: Instant, world: &mut World) {
        self.hello.say(number, world);
    }

    fn heard(&mut self, number: usize, heard: Heard, now: Instant) {
        match heard {
            Heard::Pong => {
                if let Some(due) = self.pinged.get_mut(number).and_then(Option::take) {
                    self.in_flight -= 1;
                    self.tally.count(now.saturating_duration_since(due));
                }
            }
            Heard::Ping => {
                self.server_pings += 1;
                if let Some(last) = self.heard.get_mut(number).and_then(|last| last.replace(now)) {
                    let interval = now.saturating_duration_since(last);
                    self.intervals.saturating_record(interval.as_nanos() as u64);
                }
            }
        }
    }

    fn ended(&mut self, number: usize, fault: Option<&Fault>, _now: Instant, world: &mut World) {
        let lost = usize::from(self.pinged.get_mut(number).and_then(Option::take).is_some());
        self.in_flight -= lost;
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
            let number = self.turn;
            self.turn = (self.turn + 1) % self.connections;
            self.lateness = self.lateness.max(now - due);
            // One that is not answered is not followed by another: the first's latency counts.
            let is_free = self.pinged.get(number).is_some_and(Option::is_none);
            if world.is_open(number) && is_free {
                world.send(number, &control_frame(Control::Ping, b"idle", Some(KEY)));
                if let Some(place) = self.pinged.get_mut(number) {
                    *place = Some(due);
                    self.in_flight += 1;
                }
            }
        }
    }

    fn begin(&mut self, now: Instant, _world: &mut World) {
        self.schedule = self.rate.map(|rate| Schedule::new(rate, now));
    }

    fn window_begins(&mut self) {
        self.server_pings = 0;
        self.intervals.reset();
    }

    fn stop(&mut self, _now: Instant, _world: &mut World) {
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

    fn details(&mut self, details: &mut Details) {
        details.server_pings =
            Some(PingReport { received: self.server_pings, interval: percentiles(&self.intervals) });
    }
}

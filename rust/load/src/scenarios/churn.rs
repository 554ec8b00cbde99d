//! Receives the time · has the oldest connection leave and another come, at a rate · owns the order of age.

use std::collections::VecDeque;
use std::mem;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::faults::Fault;
use crate::hello::Hello;
use crate::pace::Schedule;
use crate::plan::Plan;
use crate::scenario::Scenario;
use crate::site::Way;
use crate::tally::Tally;
use crate::world::World;

/// Changes a second, unless the plan has a rate.
const RATE: f64 = 100.0;

/// Connections that come and go.
#[derive(Debug)]
pub(crate) struct Churn {
    connections: usize,
    rate: f64,
    schedule: Option<Schedule>,
    hello: Hello,
    /// Open ones, oldest first.
    ages: VecDeque<usize>,
    is_running: bool,
    lateness: Duration,
    tally: Tally,
}

impl Churn {
    pub(crate) fn new(plan: &Plan) -> Result<Self, Failure> {
        Ok(Self {
            connections: plan.connections(),
            rate: plan.rate.unwrap_or(RATE),
            schedule: None,
            hello: Hello::new(plan),
            ages: VecDeque::new(),
            is_running: false,
            lateness: Duration::ZERO,
            tally: Tally::new()?,
        })
    }
}

impl Scenario for Churn {
    fn prepare(&mut self, world: &mut World) {
        for _ in 0..self.connections {
            world.want(Way::Main);
        }
    }

    fn opened(&mut self, number: usize, took: Duration, _now: Instant, world: &mut World) {
        if self.is_running {
            self.tally.count(took);
        }
        self.ages.push_back(number);
        self.hello.say(number, world);
    }

    fn ended(&mut self, number: usize, fault: Option<&Fault>, _now: Instant, world: &mut World) {
        let Some(fault) = fault else { return };
        self.ages.retain(|other| *other != number);
        world.faults.add(fault);
    }

    fn due(&self) -> Option<Instant> {
        self.schedule.as_ref().map(Schedule::next)
    }

    fn tick(&mut self, now: Instant, world: &mut World) {
        while let Some(due) = self.schedule.as_mut().and_then(|schedule| schedule.take(now)) {
            self.lateness = self.lateness.max(now - due);
            // Whoever was lost is replaced before somebody else leaves.
            if world.open + world.coming() >= self.connections
                && let Some(oldest) = self.ages.pop_front()
            {
                world.close(oldest, now);
            }
            world.want(Way::Main);
        }
    }

    fn begin(&mut self, now: Instant, _world: &mut World) {
        self.is_running = true;
        self.schedule = Some(Schedule::new(self.rate, now));
    }

    fn stop(&mut self, _now: Instant, _world: &mut World) {
        self.schedule = None;
    }

    fn is_over(&self, world: &World) -> bool {
        world.is_hopeless()
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    fn take_lateness(&mut self) -> Option<Duration> {
        Some(mem::take(&mut self.lateness))
    }
}

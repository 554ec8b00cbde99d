//! Receives connections that have opened · closes each at once and opens the next · owns how many are opening.

use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::faults::Fault;
use crate::hello::Hello;
use crate::plan::Plan;
use crate::scenario::Scenario;
use crate::site::Way;
use crate::tally::Tally;
use crate::world::World;

/// Opening handshakes, one after another or several at once.
#[derive(Debug)]
pub(crate) struct Handshake {
    at_once: usize,
    hello: Hello,
    is_running: bool,
    tally: Tally,
}

impl Handshake {
    pub(crate) fn new(plan: &Plan) -> Result<Self, Failure> {
        let at_once = plan.connections();
        Ok(Self { at_once, hello: Hello::new(plan), is_running: false, tally: Tally::new()? })
    }

    fn next(&mut self, world: &mut World) {
        if self.is_running {
            world.want(Way::Main);
        }
    }
}

impl Scenario for Handshake {
    /// One connection shows that the server is there.
    fn prepare(&mut self, world: &mut World) {
        world.want(Way::Main);
    }

    fn opened(&mut self, number: usize, took: Duration, now: Instant, world: &mut World) {
        if self.is_running {
            self.tally.count(took);
        }
        self.hello.say(number, world);
        world.close(number, now);
        self.next(world);
    }

    fn ended(&mut self, _number: usize, fault: Option<&Fault>, _now: Instant, world: &mut World) {
        // One that did its closing is followed by another already.
        let Some(fault) = fault else { return };
        world.faults.add(fault);
        self.next(world);
    }

    fn begin(&mut self, _now: Instant, world: &mut World) {
        self.is_running = true;
        for _ in 0..self.at_once {
            world.want(Way::Main);
        }
    }

    fn stop(&mut self, _now: Instant, _world: &mut World) {
        self.is_running = false;
    }

    fn is_over(&self, world: &World) -> bool {
        world.is_hopeless()
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

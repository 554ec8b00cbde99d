//! Receives what happens to connections from the driver · hands it to one scenario, which answers through the world ·
//! owns the interface between them.

use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::faults::Fault;
use crate::link::Heard;
use crate::report::Details;
use crate::tally::Tally;
use crate::world::World;

/// What a run does with its connections.
pub(crate) trait Scenario {
    /// Asks for the connections that it begins with.
    fn prepare(&mut self, world: &mut World);

    /// One is open; `took`: from its first packet to the 101.
    fn opened(&mut self, _number: usize, _took: Duration, _now: Instant, _world: &mut World) {}

    /// A message came, read at `now`. `Err`: it is not what was due, and the connection is given up.
    fn message(&mut self, _number: usize, _payload: &[u8], _now: Instant) -> Result<(), String> {
        Ok(())
    }

    /// A ping came, and was answered, or a pong.
    fn heard(&mut self, _number: usize, _heard: Heard, _now: Instant) {}

    /// All that one read brought has been handed over: the moment to send, once for the whole read.
    fn after_read(&mut self, _number: usize, _now: Instant, _world: &mut World) {}

    /// A connection is gone; its number may be given to another. `None`: it was to go.
    fn ended(&mut self, _number: usize, fault: Option<&Fault>, _now: Instant, world: &mut World) {
        if let Some(fault) = fault {
            world.faults.add(fault);
        }
    }

    /// When `tick` shall be called next; `None`: not at all.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// That time has come.
    fn tick(&mut self, _now: Instant, _world: &mut World) {}

    /// Whether the load can begin, once nobody is opening.
    fn is_ready(&mut self, _now: Instant, _world: &mut World) -> Result<bool, Failure> {
        Ok(true)
    }

    /// The load begins.
    fn begin(&mut self, now: Instant, world: &mut World);

    /// The window begins: what is counted beside the tally begins anew.
    fn window_begins(&mut self) {}

    /// Nothing new from now on; what is in flight may come.
    fn stop(&mut self, now: Instant, world: &mut World);

    /// Messages sent of which something has not come.
    fn in_flight(&self) -> usize {
        0
    }

    /// Whether the run is over because nobody is left who could do anything.
    fn is_over(&self, world: &World) -> bool {
        world.open == 0 && world.coming() == 0
    }

    /// What was counted.
    fn tally(&mut self) -> &mut Tally;

    /// The most that a message was sent later than it was due since somebody asked; `None`: nothing is ever due.
    fn take_lateness(&mut self) -> Option<Duration> {
        None
    }

    /// What only this scenario has to say.
    fn details(&mut self, _details: &mut Details) {}
}

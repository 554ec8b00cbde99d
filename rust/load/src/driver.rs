//! Receives readiness from the system · hands messages, endings and the time to a scenario · owns the loop of a run.

use std::time::{Duration, Instant};

use mio::Events;
use mio::event::Event;

use crate::failure::Failure;
use crate::faults::{Fault, Sort};
use crate::link::{Compressed, Heard, Link, Listener};
use crate::opening::Answer;
use crate::plan::Plan;
use crate::scenario::Scenario;
use crate::timer::Timer;
use crate::transport::Scratch;
use crate::world::{Parts, World};
use streamconductor_core::deflate::Inflater;

const EVENTS: usize = 1024;

/// No turn waits longer, so that a run notices that it shall stop.
const LONGEST_WAIT: Duration = Duration::from_millis(50);

/// The loop of a run.
#[derive(Debug)]
pub(crate) struct Driver {
    events: Events,
    scratch: Scratch,
    timer: Timer,
    pub(crate) world: World,
}

impl Driver {
    pub(crate) fn new(plan: &Plan) -> Result<Self, Failure> {
        let world = World::new(plan, Instant::now())?;
        let timer = Timer::new(world.poll.registry())?;
        Ok(Self { events: Events::with_capacity(EVENTS), scratch: Scratch::new(), timer, world })
    }

    /// Takes everything that is ready once, and what the time brings; waits for it at most until `until`. Returns when
    /// it was done.
    pub(crate) fn turn(&mut self, scenario: &mut impl Scenario, until: Instant) -> Result<Instant, Failure> {
        let began = Instant::now();
        self.world.open_more(began);
        let due = [Some(until), scenario.due(), self.world.due()].into_iter().flatten().min();
        let wait = due.map_or(LONGEST_WAIT, |due| due.saturating_duration_since(began)).min(LONGEST_WAIT);
        let wait = self.timer.arm(wait)?;
        match self.world.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(began),
            result => result?,
        }
        for event in &self.events {
            if event.token() != Timer::TOKEN {
                ready(event, &mut self.world, &mut self.scratch, scenario);
            }
        }
        let now = Instant::now();
        if scenario.due().is_some_and(|due| due <= now) {
            scenario.tick(now, &mut self.world);
        }
        while let Some((number, bytes)) = self.world.sips.pop() {
            read(number, bytes, &mut self.world, &mut self.scratch, scenario);
        }
        while let Some((number, fault)) = self.world.expired(now) {
            end(number, fault, now, &mut self.world, scenario);
        }
        Ok(now)
    }
}

/// A socket is ready.
#[inline]
fn ready(event: &Event, world: &mut World, scratch: &mut Scratch, scenario: &mut impl Scenario) {
    let number = event.token().0;
    if event.is_writable() {
        let Some((link, request)) = world.link_and_request(number) else { return };
        if let Err(fault) = link.writable(request) {
            return end(number, Some(fault), Instant::now(), world, scenario);
        }
    }
    let is_ended = event.is_read_closed() || event.is_error();
    if world.link(number).is_some_and(|link| link.is_paused) {
        if is_ended {
            let fault = Fault::new(Sort::Ended, "the server ended a connection that did not read");
            end(number, Some(fault), Instant::now(), world, scenario);
        }
        return;
    }
    // A read that did not fill the scratch has emptied the socket (epoll(7)); what comes from now on is a new edge, and
    // asking for WouldBlock would double the reads.
    while read(number, usize::MAX, world, scratch, scenario) {}
    // Of the server's end no edge tells once more.
    while is_ended && world.link(number).is_some() {
        if !read(number, usize::MAX, world, scratch, scenario) {
            break;
        }
    }
}

/// Reads a connection once; returns whether there may be more.
#[inline]
fn read(
    number: usize,
    most: usize,
    world: &mut World,
    scratch: &mut Scratch,
    scenario: &mut impl Scenario,
) -> bool {
    let now = Instant::now();
    let Some(parts) = world.parts(number) else { return false };
    let Parts { link, agreement, site, deflating, inflater } = parts;
    let was_open = link.is_open();
    let mut ear = Ear { agreement, site, deflating, inflater, scenario, number, now };
    let result = link.readable(scratch, most, &mut ear);
    let is_open = link.is_open();
    if is_open && !was_open {
        let took = world.has_opened(number, now);
        scenario.opened(number, took, now, world);
    }
    match result {
        Ok(is_more) => {
            if is_open {
                scenario.after_read(number, now, world);
            }
            is_more
        }
        Err(fault) => {
            end(number, Some(fault), now, world, scenario);
            false
        }
    }
}

/// A connection is gone.
fn end(number: usize, fault: Option<Fault>, now: Instant, world: &mut World, scenario: &mut impl Scenario) {
    let link = world.remove(number);
    let was_closing = link.as_ref().is_some_and(Link::is_closing);
    if link.as_ref().is_some_and(Link::is_opening) {
        world.opening_failed();
    }
    let fault = fault.filter(|_| !was_closing);
    match (link, &fault) {
        // Whoever broke a rule, or is too slow, is not waited for.
        (Some(link), Some(Fault { sort: Sort::Wrong | Sort::Violation | Sort::TimedOut, .. })) => link.cut(),
        (Some(link), None) if was_closing => drop(link),
        _ => {}
    }
    scenario.ended(number, fault.as_ref(), now, world);
}

/// What listens to one connection during one read.
struct Ear<'r, S> {
    agreement: &'r mut Option<usize>,
    site: &'r crate::site::Site,
    deflating: &'r mut Vec<(String, crate::deflating::Deflating)>,
    inflater: Option<&'r mut Inflater>,
    scenario: &'r mut S,
    number: usize,
    now: Instant,
}

impl<S: Scenario> Listener for Ear<'_, S> {
    fn opened(&mut self, answer: &Answer) -> Result<Compressed, Fault> {
        *self.agreement = World::agree(self.site, self.deflating, answer)?;
        Ok(if self.agreement.is_some() { Compressed::Yes } else { Compressed::No })
    }

    #[inline]
    fn message(&mut self, payload: &[u8]) -> Result<(), String> {
        self.scenario.message(self.number, payload, self.now)
    }

    fn heard(&mut self, heard: Heard) {
        self.scenario.heard(self.number, heard, self.now);
    }

    fn inflater(&mut self) -> Option<&mut Inflater> {
        self.inflater.as_deref_mut()
    }
}

//! Receives deliveries · publishes the next one when the last subscriber has the oldest, or whenever one is due · owns
//! who subscribes, who is slow, and what each must receive next.
//!
//! The server publishes what comes on the control connection to every subscriber, so each server uses its own fastest
//! way to publish. A server may subscribe a connection some time after its 101, and a publication before that is
//! nobody's fault: probes go out until each subscriber has received one.

use std::mem;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::faults::Fault;
use crate::hello::{Hello, QUIET};
use crate::messages::{Messages, shown};
use crate::pace::Schedule;
use crate::plan::{Plan, Publisher};
use crate::publications::Publications;
use crate::report::Details;
use crate::scenario::Scenario;
use crate::scenarios::slow::Slow;
use crate::site::Way;
use crate::tally::Tally;
use crate::world::World;

/// Between the first two probes; each interval is twice the one before, up to the longest. To some servers a probe costs
/// as much as they can do in a tenth of a second, and what they have not done would be measured in the window.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);
const LONGEST_PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Some ten seconds of them.
const PROBES: u32 = 15;

/// Deliveries.
#[derive(Debug)]
pub(crate) struct Fanout {
    subscribers: usize,
    slow: Slow,
    publisher: Publisher,
    /// The publishing connection, which is the last one.
    control: Option<usize>,
    limit: usize,
    rate: Option<f64>,
    schedule: Option<Schedule>,
    hello: Hello,
    messages: Messages,
    publications: Publications,
    has_joined: Vec<bool>,
    /// Subscribers that have not received a probe.
    missing: usize,
    probes: u32,
    next_probe: Option<Instant>,
    last_heard: Instant,
    frames: Vec<u8>,
    is_running: bool,
    lateness: Duration,
    tally: Tally,
}

impl Fanout {
    pub(crate) fn new(plan: &Plan, now: Instant) -> Result<Self, Failure> {
        let subscribers = plan.connections();
        Ok(Self {
            subscribers,
            slow: Slow::new(plan),
            publisher: plan.publisher,
            control: None,
            limit: plan.in_flight(),
            rate: plan.rate,
            schedule: None,
            hello: Hello::new(plan),
            messages: Messages::new(plan, now),
            publications: Publications::new(subscribers),
            has_joined: vec![false; subscribers],
            missing: subscribers,
            probes: 0,
            next_probe: None,
            last_heard: now,
            frames: Vec::new(),
            is_running: false,
            lateness: Duration::ZERO,
            tally: Tally::new()?,
        })
    }

    /// Sends as many publications as may be in flight, all in one write.
    #[inline]
    fn fill(&mut self, now: Instant, world: &mut World) {
        while self.publications.in_flight() < self.limit && self.publications.subscribers() > 0 {
            self.publish(now, world);
        }
        self.flush(world);
    }

    fn publish(&mut self, due: Instant, world: &mut World) {
        let Some(control) = self.control else { return };
        let flight = self.messages.next(due);
        self.messages.frame(world, control, &flight.stamp, &mut self.frames);
        self.publications.send(flight);
    }

    fn flush(&mut self, world: &mut World) {
        if let Some(control) = self.control.filter(|_| !self.frames.is_empty()) {
            world.send(control, &self.frames);
            self.frames.clear();
        }
    }

    fn probe(&mut self, now: Instant, world: &mut World) {
        let Some(control) = self.control else { return };
        let stamp = self.messages.probe(now);
        self.messages.frame(world, control, &stamp, &mut self.frames);
        self.flush(world);
        self.probes += 1;
        let interval = PROBE_INTERVAL.saturating_mul(1 << (self.probes - 1).min(PROBES));
        self.next_probe = Some(now + interval.min(LONGEST_PROBE_INTERVAL));
    }

    /// Somebody received a first message, or is gone.
    fn join(&mut self, number: usize) {
        if self.has_joined.get_mut(number).is_some_and(|joined| !mem::replace(joined, true)) {
            self.missing -= 1;
        }
    }
}

impl Scenario for Fanout {
    fn prepare(&mut self, world: &mut World) {
        for _ in 0..self.subscribers {
            world.want(Way::Main);
        }
        if self.publisher != Publisher::External {
            self.control = Some(world.want(Way::Control));
        }
    }

    fn opened(&mut self, number: usize, _took: Duration, _now: Instant, world: &mut World) {
        if self.control != Some(number) || self.publisher == Publisher::Same {
            self.hello.say(number, world);
        }
    }

    #[inline]
    fn message(&mut self, number: usize, payload: &[u8], now: Instant) -> Result<(), String> {
        if self.publications.is_subscriber(number) {
            let messages = &mut self.messages;
            let sender = self.control.unwrap_or_default();
            let due = self.publications.receive(number, |due| messages.is(payload, &due.stamp, sender));
            if let Some(flight) = due {
                self.tally.count(now.saturating_duration_since(flight.due));
                return Ok(());
            }
            // Probes are ahead of all publications, so that one behind the first of them is wrong.
            if self.messages.is_probe(payload) {
                return Ok(());
            }
            return Err(format!("not the publication that is due: {}", shown(payload)));
        }
        if self.control == Some(number) {
            return Ok(());
        }
        if self.publisher == Publisher::External {
            if self.is_running && !self.slow.is(number) {
                self.tally.count_only();
            }
            return Ok(());
        }
        if self.slow.is(number) && self.is_running {
            return self.slow.message(number, payload, &self.messages);
        }
        // Before the first probe anything may come: what was said in the beginning may be answered.
        if self.messages.is_probe(payload) || !self.messages.is_checked() {
            self.join(number);
        }
        self.last_heard = now;
        Ok(())
    }

    #[inline]
    fn after_read(&mut self, _number: usize, now: Instant, world: &mut World) {
        if self.is_running && self.rate.is_none() {
            self.fill(now, world);
        }
    }

    fn ended(&mut self, number: usize, fault: Option<&Fault>, _now: Instant, world: &mut World) {
        if self.control == Some(number) {
            self.control = None;
            self.schedule = None;
        }
        self.join(number);
        let lost = self.publications.leave(number);
        let Some(fault) = fault else { return };
        world.faults.lost += lost as u64;
        if self.slow.is(number) && self.is_running {
            self.slow.ended(fault, world);
        } else {
            world.faults.add(fault);
        }
    }

    fn due(&self) -> Option<Instant> {
        let next = self.schedule.as_ref().map(Schedule::next);
        [next, self.next_probe, self.slow.due()].into_iter().flatten().min()
    }

    fn tick(&mut self, now: Instant, world: &mut World) {
        while let Some(due) = self.schedule.as_mut().and_then(|schedule| schedule.take(now)) {
            self.publish(due, world);
            self.lateness = self.lateness.max(now - due);
        }
        self.flush(world);
        if self.next_probe.is_some_and(|due| due <= now) {
            self.probe(now, world);
        }
        self.slow.tick(now, world);
    }

    fn is_ready(&mut self, now: Instant, world: &mut World) -> Result<bool, Failure> {
        if self.publisher == Publisher::External {
            return Ok(true);
        }
        if self.control.is_none() {
            return Err(Failure::Silence("the publishing connection did not open".to_owned()));
        }
        if self.missing == 0 {
            self.next_probe = None;
            // Where nothing is looked at, a probe on its way would be taken for a publication.
            return Ok(self.messages.is_checked() || now.duration_since(self.last_heard) > QUIET);
        }
        if self.probes >= PROBES {
            let missing = self.missing;
            return Err(Failure::Silence(format!("{missing} subscribers receive nothing that is published")));
        }
        if self.next_probe.is_none() {
            self.probe(now, world);
        }
        Ok(false)
    }

    fn begin(&mut self, now: Instant, world: &mut World) {
        self.is_running = true;
        for number in 0..self.subscribers {
            if self.slow.is(number) {
                self.slow.begin(number, now, world);
            } else if self.publisher != Publisher::External && world.is_open(number) {
                self.publications.join(number);
            }
        }
        match self.rate {
            _ if self.control.is_none() => {}
            Some(rate) => self.schedule = Some(Schedule::new(rate, now)),
            None => self.fill(now, world),
        }
    }

    fn stop(&mut self, _now: Instant, _world: &mut World) {
        self.limit = 0;
        self.schedule = None;
        self.slow.stop();
    }

    fn in_flight(&self) -> usize {
        self.publications.missing()
    }

    fn is_over(&self, world: &World) -> bool {
        let has_publisher = self.publisher == Publisher::External || self.control.is_some();
        let others = usize::from(self.control.is_some());
        !has_publisher || world.open <= others + self.slow.open()
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    fn take_lateness(&mut self) -> Option<Duration> {
        self.rate.map(|_| mem::take(&mut self.lateness))
    }

    fn details(&mut self, details: &mut Details) {
        details.slow = self.slow.report();
    }
}

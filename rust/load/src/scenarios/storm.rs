//! Receives connections that are back · cuts all of them when everybody is, and has all come back at once · owns how
//! long that takes, for each and for all.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::failure::Failure;
use crate::faults::Fault;
use crate::hello::Hello;
use crate::plan::Plan;
use crate::report::Details;
use crate::scenario::Scenario;
use crate::site::Way;
use crate::tally::Tally;
use crate::world::World;

/// One that was refused tries again so much later.
const RETRY: Duration = Duration::from_millis(100);

/// Reconnect storms.
#[derive(Debug)]
pub(crate) struct Storm {
    connections: usize,
    pause: Duration,
    hello: Hello,
    /// Open ones.
    here: Vec<usize>,
    /// When the storm at hand began; `None`: everybody is back.
    cut: Option<Instant>,
    next_cut: Option<Instant>,
    retries_due: VecDeque<Instant>,
    is_running: bool,
    report: StormReport,
    tally: Tally,
}

/// How the storms went.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StormReport {
    /// For each, seconds from the cut until the last connection was back.
    pub all_back_seconds: Vec<f64>,
    /// Openings that failed and were tried again.
    pub retries: u64,
    /// Connections that were not back when the run ended.
    pub missing: u64,
}

impl Storm {
    pub(crate) fn new(plan: &Plan) -> Result<Self, Failure> {
        Ok(Self {
            connections: plan.connections(),
            pause: Duration::from_secs_f64(plan.pause),
            hello: Hello::new(plan),
            here: Vec::new(),
            cut: None,
            next_cut: None,
            retries_due: VecDeque::new(),
            is_running: false,
            report: StormReport::default(),
            tally: Tally::new()?,
        })
    }
}

impl Scenario for Storm {
    fn prepare(&mut self, world: &mut World) {
        for _ in 0..self.connections {
            world.want(Way::Main);
        }
    }

    fn opened(&mut self, number: usize, _took: Duration, now: Instant, world: &mut World) {
        self.here.push(number);
        self.hello.say(number, world);
        let Some(cut) = self.cut else { return };
        self.tally.count(now.saturating_duration_since(cut));
        if self.here.len() >= self.connections {
            self.report.all_back_seconds.push(now.saturating_duration_since(cut).as_secs_f64());
            self.cut = None;
            self.next_cut = self.is_running.then(|| now + self.pause);
        }
    }

    fn ended(&mut self, number: usize, fault: Option<&Fault>, now: Instant, world: &mut World) {
        let Some(fault) = fault else { return };
        let was_here = self.here.iter().position(|other| *other == number);
        if let Some(place) = was_here {
            self.here.swap_remove(place);
            world.faults.add(fault);
        } else if self.cut.is_none() {
            // Nobody was ever there to come back.
            world.faults.add(fault);
            return;
        }
        self.report.retries += 1;
        self.retries_due.push_back(now + RETRY);
    }

    fn due(&self) -> Option<Instant> {
        [self.next_cut, self.retries_due.front().copied()].into_iter().flatten().min()
    }

    fn tick(&mut self, now: Instant, world: &mut World) {
        while self.retries_due.front().is_some_and(|due| *due <= now) {
            self.retries_due.pop_front();
            world.want(Way::Main);
        }
        if self.next_cut.is_some_and(|due| due <= now) {
            self.next_cut = None;
            self.cut = Some(now);
            for number in std::mem::take(&mut self.here) {
                world.cut(number);
            }
            for _ in 0..self.connections {
                world.want(Way::Main);
            }
        }
    }

    fn begin(&mut self, _now: Instant, world: &mut World) {
        self.is_running = true;
        // Those that never opened are counted as errors already.
        self.connections = world.open;
    }

    fn window_begins(&mut self) {
        self.next_cut = Some(Instant::now());
    }

    fn stop(&mut self, _now: Instant, _world: &mut World) {
        self.is_running = false;
        self.next_cut = None;
    }

    fn in_flight(&self) -> usize {
        if self.cut.is_some() { self.connections - self.here.len() } else { 0 }
    }

    /// A server that is away may come back, which is what this is about.
    fn is_over(&self, _world: &World) -> bool {
        self.connections == 0
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    fn details(&mut self, details: &mut Details) {
        self.report.missing = self.in_flight() as u64;
        details.storm = Some(self.report.clone());
    }
}

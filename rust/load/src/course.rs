//! Receives a plan and a scenario · takes the run through its phases and hands out the report · owns when each phase is
//! over: opening, warm-up, window, drain, closing.

use std::time::{Duration, Instant};

use crate::driver::Driver;
use crate::failure::Failure;
use crate::plan::{Plan, ScenarioName};
use crate::report::{Details, Opening, Report};
use crate::run::{Look, Stop};
use crate::scenario::Scenario;
use crate::scenarios::churn::Churn;
use crate::scenarios::echo::Echo;
use crate::scenarios::fanout::Fanout;
use crate::scenarios::handshake::Handshake;
use crate::scenarios::idle::Idle;
use crate::scenarios::storm::Storm;
use crate::tally::{curve, percentiles};
use crate::watch::{Mark, Memory, Phase, Watch, check};

/// How long a server may take to end all connections.
const CLOSING: Duration = Duration::from_secs(3);

/// Runs it on this thread.
pub(crate) fn run(plan: &Plan, look: &Look<'_>) -> Result<Report, Failure> {
    let now = Instant::now();
    match plan.scenario {
        ScenarioName::Echo => Course::new(plan, look, Echo::new(plan, now)?)?.run(),
        ScenarioName::Fanout | ScenarioName::Slow => Course::new(plan, look, Fanout::new(plan, now)?)?.run(),
        ScenarioName::Handshake => Course::new(plan, look, Handshake::new(plan)?)?.run(),
        ScenarioName::Idle => Course::new(plan, look, Idle::new(plan)?)?.run(),
        ScenarioName::Churn => Course::new(plan, look, Churn::new(plan)?)?.run(),
        ScenarioName::ReconnectStorm => Course::new(plan, look, Storm::new(plan)?)?.run(),
    }
}

struct Course<'r, S> {
    plan: &'r Plan,
    look: &'r Look<'r>,
    scenario: S,
    driver: Driver,
    watch: Watch,
    before: Memory,
}

/// What the window held.
struct Window {
    begin: Mark,
    end: Mark,
    messages: u64,
    connections: usize,
    memory: Memory,
    is_interrupted: bool,
}

impl<'r, S: Scenario> Course<'r, S> {
    fn new(plan: &'r Plan, look: &'r Look<'r>, scenario: S) -> Result<Self, Failure> {
        check(&plan.pids)?;
        let before = Memory::take(&plan.pids);
        let driver = Driver::new(plan)?;
        Ok(Self { plan, look, scenario, driver, watch: Watch::new(&plan.pids), before })
    }

    fn run(mut self) -> Result<Report, Failure> {
        let began = Instant::now();
        self.scenario.prepare(&mut self.driver.world);
        self.open()?;
        let opened = began.elapsed().as_secs_f64();

        let now = self.enter(Phase::WarmUp);
        self.scenario.begin(now, &mut self.driver.world);
        self.until(now + seconds(self.plan.warm_up), |_| false)?;
        let window = self.window()?;

        let now = self.enter(Phase::Drain);
        self.scenario.stop(now, &mut self.driver.world);
        // In a closed loop the figures are those of the window; in an open one what was sent in it counts, whenever it
        // comes, or a stall at the end would go unseen.
        let is_closed_loop = self.plan.rate.is_none() && self.plan.scenario != ScenarioName::ReconnectStorm;
        let frozen = is_closed_loop.then(|| self.scenario.tally().latencies().clone());
        self.until(now + seconds(self.plan.drain), |scenario| scenario.in_flight() == 0)?;
        self.driver.world.faults.lost += self.scenario.in_flight() as u64;
        let latencies = frozen.unwrap_or_else(|| self.scenario.tally().latencies().clone());

        let mut details = Details::default();
        self.scenario.details(&mut details);
        self.close()?;

        let faults = self.driver.world.faults.clone();
        let openings = &self.driver.world.openings;
        let Window { begin, end, messages, connections, memory, is_interrupted } = window;
        let seconds = begin.seconds_to(&end);
        #[expect(clippy::cast_precision_loss, reason = "nobody receives 2^52 messages in a window")]
        let count = messages as f64;
        let server = begin.server_to(&end);
        Ok(Report {
            scenario: self.plan.scenario,
            messages,
            seconds,
            messages_per_second: count / seconds,
            latency: percentiles(&latencies),
            cpu_us_per_message: server.filter(|_| messages > 0).map(|spent| spent * 1e6 / count),
            server_load: server.map(|spent| spent / seconds),
            client_load: begin.client_to(&end).map(|spent| spent / seconds),
            rss_bytes: memory.resident,
            rss_before_bytes: self.before.resident,
            kernel_socket_bytes: memory.sockets,
            kernel_socket_before_bytes: self.before.sockets,
            connections,
            errors: faults.total(),
            lost: faults.lost,
            faults,
            opening: Opening { opened: openings.len(), seconds: opened, latency: percentiles(openings) },
            late_us: self.watch.latest.map(|late| late.as_secs_f64() * 1e6),
            is_interrupted,
            details,
            distribution: curve(&latencies),
            samples: self.watch.samples,
            plan: self.plan.clone(),
        })
    }

    /// Opens what the scenario begins with; nobody at all is no run.
    fn open(&mut self) -> Result<(), Failure> {
        loop {
            let now = self.turn(Instant::now() + Duration::from_secs(1))?;
            let world = &mut self.driver.world;
            let nobody = world.openings.is_empty() && (world.coming() == 0 || world.is_hopeless());
            if nobody {
                let reason = world.faults.texts.first().cloned().unwrap_or_default();
                return Err(Failure::Opening { path: self.plan.url.clone(), reason });
            }
            let is_ready = world.coming() == 0 && self.scenario.is_ready(now, world)?;
            if is_ready || self.look.stop() != Stop::No {
                return Ok(());
            }
        }
    }

    fn window(&mut self) -> Result<Window, Failure> {
        self.enter(Phase::Window);
        let begin = Mark::take(&self.plan.pids);
        let deadline = begin.at + seconds(self.plan.seconds);
        self.until(deadline, |_| false)?;
        let end = Mark::take(&self.plan.pids);
        let memory = Memory::take(&self.plan.pids);
        let messages = self.scenario.tally().received();
        self.watch.sample(&mut self.scenario, &self.driver.world);
        let connections = self.driver.world.open;
        Ok(Window { begin, end, messages, connections, memory, is_interrupted: self.look.stop() != Stop::No })
    }

    /// Ends all connections in peace: the server has nothing to log, and the next run finds it idle.
    fn close(&mut self) -> Result<(), Failure> {
        let now = self.enter(Phase::Closing);
        self.driver.world.close_all(now);
        while self.driver.world.closing > 0
            && Instant::now() < now + CLOSING
            && self.look.stop() != Stop::AtOnce
        {
            self.turn(now + CLOSING)?;
        }
        Ok(())
    }

    /// Lets the scenario go on until a time, or until something holds, or until there is no point or no wish to go on.
    fn until(&mut self, deadline: Instant, holds: impl Fn(&S) -> bool) -> Result<(), Failure> {
        let least = if self.watch.phase == Phase::Drain { Stop::AtOnce } else { Stop::Soon };
        loop {
            let is_over = self.scenario.is_over(&self.driver.world) || holds(&self.scenario);
            if is_over || self.look.stop() >= least || self.turn(deadline)? >= deadline {
                return Ok(());
            }
        }
    }

    /// One turn, and a look at the clock.
    fn turn(&mut self, until: Instant) -> Result<Instant, Failure> {
        let now = self.driver.turn(&mut self.scenario, until)?;
        if self.watch.look(now, &mut self.scenario, &self.driver.world) || self.look.is_due(now) {
            self.tell(now);
        }
        Ok(now)
    }

    fn enter(&mut self, phase: Phase) -> Instant {
        self.watch.enter(phase, &mut self.scenario);
        let now = Instant::now();
        self.tell(now);
        now
    }

    fn tell(&mut self, now: Instant) {
        let messages = self.scenario.tally().received();
        let world = &self.driver.world;
        self.look.tell(now, &self.watch, world.open, messages, world.faults.total());
    }
}

fn seconds(value: f64) -> Duration {
    Duration::from_secs_f64(value)
}

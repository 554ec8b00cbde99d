//! Receives what became of attempts and connections, and the time · hands out what to do next: dial, wait, hold, close or
//! end · owns the life of one link, which keeps itself connected. The rows are those of [`lifecycle`](crate::lifecycle).
//!
//! ```text
//! failed, closed ─▶ advice ─▶ back-off ─▶ endpoints (weights, circuit breakers) ─▶ Step
//! ```
//!
//! It dials nothing and opens nothing itself. Whoever drives it does what the last [`Step`] says, and reports.

mod backoff;
mod chance;
mod endpoints;

use std::time::Duration;

pub use backoff::Policy;
pub use chance::Chance;
pub use endpoints::{Choice, Circuit, Endpoints};

use crate::close::{Advice, By, CloseCode};
use crate::lifecycle::{Event, State};
use crate::time::Timestamp;

/// How soon a link looks again at endpoints of which none may be tried.
const LOOK: Duration = Duration::from_millis(10);

/// Why an attempt came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No name, no route, no answer, no TLS, no 101 in time: it may be otherwise the next time.
    Unreachable,
    /// The server answered with that instead of 101.
    Status {
        /// The status. Of 4xx only 408, 425 and 429 may be otherwise the next time, and all of 5xx.
        status: u16,
        /// What `Retry-After` says.
        retry_after: Option<Duration>,
    },
    /// What would be the same the next time: a certificate that nobody vouches for, an answer that is no WebSocket's.
    Terminal,
}

impl Failure {
    /// Whether another attempt makes sense, at this endpoint.
    pub const fn may_pass(self) -> bool {
        match self {
            Self::Unreachable => true,
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            Self::Terminal => false,
        }
    }
}

/// What to do until something is to be reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Open a connection to that endpoint, by its number.
    Dial {
        /// Which.
        endpoint: usize,
        /// Whether the token is to be renewed first: the server has closed with 4401.
        refresh: bool,
    },
    /// Nothing, until [`Redial::tick`] is called at that time.
    Wait {
        /// When.
        until: Timestamp,
    },
    /// There is a connection. Report its end.
    Hold,
    /// Close the connection, and report its end.
    Close,
    /// It is over.
    Ended(Why),
}

/// Why a link is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// We wanted it so.
    Stopped,
    /// The last connection was closed with a code that says not to come back.
    Closed(CloseCode),
    /// No endpoint will have us; this was the last answer.
    Refused(Failure),
}

/// One link. Whoever drops one that is connecting calls [`Redial::stop`] first: its attempt may be the only one that an
/// endpoint's circuit allows.
#[derive(Clone, Debug)]
pub struct Redial {
    policy: Policy,
    chance: Chance,
    state: State,
    step: Step,
    /// Attempts, and connections that did not last, since one did.
    failures: u32,
    endpoint: Option<usize>,
    /// Where the last attempt failed.
    avoided: Option<usize>,
    established: Timestamp,
    /// The next attempt needs another token.
    needs_token: bool,
    /// It has been renewed since a connection lasted.
    has_renewed: bool,
}

impl Redial {
    /// A link that has not begun: [`Redial::start`] must follow. Where it is seeded alike, it decides alike.
    pub fn new(policy: Policy, seed: u64) -> Self {
        Self {
            policy,
            chance: Chance::new(seed),
            state: State::Idle,
            step: Step::Wait { until: Timestamp::NEVER },
            failures: 0,
            endpoint: None,
            avoided: None,
            established: Timestamp::ZERO,
            needs_token: false,
            has_renewed: false,
        }
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// What is to be done.
    pub fn step(&self) -> Step {
        self.step
    }

    /// Attempts, and connections that did not last, since one did.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The endpoint of the connection, or of the last attempt.
    pub fn endpoint(&self) -> Option<usize> {
        self.endpoint
    }

    /// Begins. The first attempt waits for nothing but a circuit that is open.
    pub fn start(&mut self, endpoints: &mut Endpoints, now: Timestamp) -> Step {
        if self.state == State::Idle {
            self.dial(Event::Dial, endpoints, now);
        }
        self.step
    }

    /// The attempt came to nothing.
    pub fn failed(&mut self, failure: Failure, endpoints: &mut Endpoints, now: Timestamp) -> Step {
        let Some(endpoint) = self.endpoint.filter(|_| self.state == State::Connecting) else {
            return self.step;
        };
        self.failures = self.failures.saturating_add(1);
        self.avoided = Some(endpoint);
        if !failure.may_pass() {
            endpoints.refused(endpoint);
            if endpoints.are_out() {
                return self.end(Event::Stop, Why::Refused(failure));
            }
        }
        endpoints.failed(endpoint, &self.policy, now);
        if let Failure::Status { retry_after: Some(asked), .. } = failure {
            let wait = self.policy.asked_for(asked, &mut self.chance);
            endpoints.asked(endpoint, wait, now);
        }
        self.wait(now)
    }

    /// The attempt has become a connection, and a shard has it.
    pub fn established(&mut self, endpoints: &mut Endpoints, now: Timestamp) -> Step {
        let Some(endpoint) = self.endpoint.filter(|_| self.state == State::Connecting) else {
            return self.step;
        };
        endpoints.established(endpoint);
        self.apply(Event::Established);
        self.avoided = None;
        self.established = now;
        self.step = Step::Hold;
        self.step
    }

    /// The connection has ended, with this code and by them. What the application closed is over.
    pub fn closed(&mut self, code: CloseCode, by: By, now: Timestamp) -> Step {
        if self.state == State::Ending {
            return self.end(Event::Stopped, Why::Stopped);
        }
        if self.state != State::Open {
            return self.step;
        }
        let was_stable = self.established + self.policy.stable_after <= now;
        let advice = self.policy.advice(code);
        let is_hopeless = match advice {
            Advice::Stay => true,
            // A token that was renewed a moment ago: the next one would do no better.
            Advice::Refresh => self.has_renewed && !was_stable,
            Advice::Return | Advice::BackOff | Advice::Jittered => false,
        };
        if is_hopeless || by == By::Application {
            self.apply(Event::Stop);
            let why = if by == By::Application { Why::Stopped } else { Why::Closed(code) };
            return self.end(Event::Stopped, why);
        }
        if was_stable {
            self.failures = 0;
            self.has_renewed = false;
        }
        self.failures = self.failures.saturating_add(1);
        if matches!(advice, Advice::BackOff | Advice::Jittered) {
            // Whoever is sent away does not come back at once, and many who are sent away together do not come together.
            self.failures = self.failures.max(2);
        }
        self.needs_token = advice == Advice::Refresh;
        self.wait(now)
    }

    /// The application wants it to end. An attempt under way is to be given up, a connection to be closed.
    pub fn stop(&mut self, endpoints: &mut Endpoints, now: Timestamp) -> Step {
        match self.state {
            State::Idle | State::Waiting => self.end(Event::Stop, Why::Stopped),
            State::Connecting => {
                if let Some(endpoint) = self.endpoint {
                    endpoints.abandoned(endpoint, now);
                }
                self.end(Event::Stop, Why::Stopped)
            }
            State::Open => {
                self.apply(Event::Stop);
                self.step = Step::Close;
                self.step
            }
            _ => self.step,
        }
    }

    /// Looks whether a wait is over. Calling it too early, or too often, is no harm.
    pub fn tick(&mut self, endpoints: &mut Endpoints, now: Timestamp) -> Step {
        if let Step::Wait { until } = self.step
            && until <= now
        {
            let event = if self.state == State::Idle { Event::Dial } else { Event::RetryDue };
            self.dial(event, endpoints, now);
        }
        self.step
    }

    fn dial(&mut self, event: Event, endpoints: &mut Endpoints, now: Timestamp) {
        match endpoints.choose(self.avoided, &mut self.chance, now) {
            Choice::Now(endpoint) => {
                self.apply(event);
                self.endpoint = Some(endpoint);
                self.has_renewed |= self.needs_token;
                self.step = Step::Dial { endpoint, refresh: self.needs_token };
                self.needs_token = false;
            }
            Choice::NotBefore(until) => {
                // While another link's attempt is under way it is looked at now and then. All who wait for the same
                // moment would come together.
                let until = if until == Timestamp::NEVER { now } else { until };
                let until = until.max(now + LOOK) + self.chance.within(self.policy.first);
                self.step = Step::Wait { until };
            }
            Choice::None => {
                self.end(Event::Stop, Why::Refused(Failure::Terminal));
            }
        }
    }

    fn wait(&mut self, now: Timestamp) -> Step {
        self.apply(Event::Failed);
        let until = now + self.policy.wait(self.failures, &mut self.chance);
        self.step = Step::Wait { until };
        self.step
    }

    fn end(&mut self, event: Event, why: Why) -> Step {
        self.apply(event);
        self.step = Step::Ended(why);
        self.step
    }

    fn apply(&mut self, event: Event) {
        let next = self.state.next(event);
        debug_assert!(next.is_some(), "{:?} has no row for {event:?}", self.state);
        self.state = next.unwrap_or(self.state);
    }
}

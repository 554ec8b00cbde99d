//! Receives a plan · runs it on a thread of its own and hands out how it stands and what came of it · owns that thread
//! and what is shared with it.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::course;
use crate::failure::Failure;
use crate::plan::Plan;
use crate::report::Report;
use crate::watch::{Phase, Sample, Watch};

/// How a run stands.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Snapshot {
    /// Where it is.
    pub phase: Phase,
    /// Seconds since this phase began.
    pub seconds: f64,
    /// Connections open.
    pub connections: usize,
    /// Messages of the window so far, or of the warm-up.
    pub messages: u64,
    /// Everything that went wrong so far.
    pub errors: u64,
    /// The last whole second; `None`: there was none.
    pub last: Option<Sample>,
}

/// Whether a run shall end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    No,
    /// No more load; what is in flight may come.
    Soon,
    /// Without waiting for anything.
    AtOnce,
}

/// A run under way, or over.
#[derive(Debug)]
pub struct Run {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicU8,
    snapshot: Mutex<Snapshot>,
    outcome: Mutex<Option<Result<Arc<Report>, Arc<Failure>>>>,
    is_done: Condvar,
}

/// Between two times that a run says how it stands.
const TELL: Duration = Duration::from_millis(100);

impl Run {
    /// Starts it.
    ///
    /// # Errors
    /// [`Failure::Usage`]: the plan cannot be run. [`Failure::Io`]: there is no thread for it.
    pub fn start(plan: Plan) -> Result<Self, Failure> {
        plan.validate()?;
        let shared = Arc::new(Shared {
            stop: AtomicU8::new(0),
            snapshot: Mutex::new(Snapshot::default()),
            outcome: Mutex::new(None),
            is_done: Condvar::new(),
        });
        let run = Self { shared: Arc::clone(&shared) };
        thread::Builder::new().name("load".to_owned()).spawn(move || {
            let look = Look {
                shared: &shared,
                told: Cell::new(None),
                entered: Cell::new((Phase::Opening, Instant::now())),
            };
            let outcome = catch_unwind(AssertUnwindSafe(|| course::run(&plan, &look)));
            let outcome =
                outcome.unwrap_or_else(|_| Err(Failure::Silence("the load generator panicked".to_owned())));
            lock(&shared.snapshot).phase = Phase::Done;
            *lock(&shared.outcome) = Some(outcome.map(Arc::new).map_err(Arc::new));
            shared.is_done.notify_all();
        })?;
        Ok(run)
    }

    /// How it stands: at most a tenth of a second old.
    pub fn snapshot(&self) -> Snapshot {
        *lock(&self.shared.snapshot)
    }

    /// Ends it before its time: the load stops, what is in flight may come, and the report is there as ever. Told
    /// again, it waits for nothing.
    pub fn stop(&self) {
        let _ = self
            .shared
            .stop
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |told| Some((told + 1).min(2)));
    }

    /// What came of it; `None`: it is not over.
    pub fn outcome(&self) -> Option<Result<Arc<Report>, Arc<Failure>>> {
        lock(&self.shared.outcome).clone()
    }

    /// Waits for its end, at most so long; returns whether it has ended.
    pub fn wait(&self, most: Duration) -> bool {
        let outcome = lock(&self.shared.outcome);
        let waited = self.shared.is_done.wait_timeout_while(outcome, most, |outcome| outcome.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.is_some()
    }

    /// Waits for what comes of it.
    ///
    /// # Errors
    /// [`Failure`]: there is no report.
    pub fn report(&self) -> Result<Arc<Report>, Arc<Failure>> {
        loop {
            if let Some(outcome) = self.outcome() {
                return outcome;
            }
            self.wait(Duration::from_mins(1));
        }
    }
}

/// A run that nobody holds any more ends.
impl Drop for Run {
    fn drop(&mut self) {
        self.shared.stop.store(2, Ordering::Relaxed);
    }
}

/// The run's side of what is shared.
#[derive(Debug)]
pub(crate) struct Look<'r> {
    shared: &'r Shared,
    told: Cell<Option<Instant>>,
    entered: Cell<(Phase, Instant)>,
}

impl Look<'_> {
    /// Whether the run shall end.
    #[inline]
    pub(crate) fn stop(&self) -> Stop {
        match self.shared.stop.load(Ordering::Relaxed) {
            0 => Stop::No,
            1 => Stop::Soon,
            _ => Stop::AtOnce,
        }
    }

    /// Whether it is time to say how the run stands.
    #[inline]
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.told.get().is_none_or(|told| now.saturating_duration_since(told) >= TELL)
    }

    /// Says how the run stands.
    pub(crate) fn tell(&self, now: Instant, watch: &Watch, connections: usize, messages: u64, errors: u64) {
        self.told.set(Some(now));
        let (phase, _) = self.entered.get();
        if phase != watch.phase {
            self.entered.set((watch.phase, now));
        }
        let seconds = now.saturating_duration_since(self.entered.get().1).as_secs_f64();
        let last = watch.samples.last().copied();
        *lock(&self.shared.snapshot) =
            Snapshot { phase: watch.phase, seconds, connections, messages, errors, last };
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

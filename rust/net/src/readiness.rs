//! Receives verdicts of health checks, beats of the application's loop and the server's own state · hands out
//! whether the server is ready and why not · owns what `/readyz` says.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use streamconductor_core::ledger::{Ledger, Level};
use streamconductor_core::time::Timestamp;

use crate::clock::Clock;

/// The last verdict of one check.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// `ok`, `degraded` or `failed`.
    pub state: String,
    /// Whether a failure makes the server not ready.
    pub required: bool,
    /// Why, for people.
    pub detail: String,
    /// Facts that the check reported, as JSON text.
    pub facts: String,
    /// When it was given.
    pub at: Timestamp,
    /// Age at which it is stale.
    pub stale_after: Duration,
}

/// Everything that readiness depends on. Asked from any shard's turn, so every lock is held for a copy only.
pub struct Readiness {
    clock: Clock,
    ledger: Ledger,
    is_draining: AtomicBool,
    started: Timestamp,
    beat: AtomicU64,
    beat_interval: Duration,
    stall_limit: Mutex<Option<Duration>>,
    checks: Mutex<BTreeMap<String, Verdict>>,
    seen: Mutex<Change>,
}

/// The last change of the degradation level that somebody saw.
struct Change {
    level: &'static str,
    at: Timestamp,
    reason: Option<String>,
}

/// The degradation level, for how long it has stood, and what brought it about.
#[derive(Clone, Debug, Serialize)]
pub struct Degradation {
    /// `normal`, `refusing`, `shedding` or `draining`.
    pub name: &'static str,
    /// For how long; a change is seen by the next beat, report or reading, and counts from there.
    pub since_seconds: f64,
    /// Why, as it stood at the change; `None` when normal.
    pub reason: Option<String>,
}

/// What `/readyz` says.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether the server should get new connections.
    pub ready: bool,
    /// Why not; empty when ready.
    pub reasons: Vec<String>,
    /// `normal`, `refusing`, `shedding` or `draining`.
    pub level: &'static str,
    /// For how long the application's loop has not run.
    pub python_stalled_seconds: f64,
    /// The checks.
    pub checks: BTreeMap<String, CheckReport>,
}

/// One check in a report.
#[derive(Clone, Debug, Serialize)]
pub struct CheckReport {
    /// `ok`, `degraded`, `failed` or `stale`.
    pub state: String,
    /// Whether a failure makes the server not ready.
    pub required: bool,
    /// Why.
    pub detail: String,
    /// What the check reported.
    pub facts: serde_json::Value,
    /// Age of the verdict.
    pub age_seconds: f64,
}

impl Readiness {
    /// Nothing is wrong yet. The loop is expected to beat once per `beat_interval`.
    pub fn new(clock: Clock, ledger: Ledger, beat_interval: Duration, stall_limit: Option<Duration>) -> Self {
        let now = clock.now();
        Self {
            clock,
            ledger,
            is_draining: AtomicBool::new(false),
            started: now,
            beat: AtomicU64::new(now.as_micros()),
            beat_interval,
            stall_limit: Mutex::new(stall_limit),
            checks: Mutex::default(),
            seen: Mutex::new(Change { level: "normal", at: now, reason: None }),
        }
    }

    /// The application's loop runs.
    pub fn beat(&self) {
        self.beat.store(self.clock.now().as_micros(), Ordering::Relaxed);
        drop(self.see());
    }

    /// For how long it has not run, beyond the interval between two beats.
    pub fn stalled(&self) -> Duration {
        let last = Timestamp::from_micros(self.beat.load(Ordering::Relaxed));
        self.clock.now().since(last).saturating_sub(self.beat_interval)
    }

    /// How long a stall may last before the server is not ready; `None`: for ever.
    pub fn set_stall_limit(&self, limit: Option<Duration>) {
        *self.stall_limit.lock().unwrap_or_else(PoisonError::into_inner) = limit;
    }

    /// A check has given its verdict.
    pub fn record(&self, name: String, verdict: Verdict) {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner).insert(name, verdict);
    }

    /// The server shuts down from now on.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Release);
        drop(self.see());
    }

    /// Whether it shuts down.
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }

    /// Since when the server runs.
    pub fn uptime(&self) -> Duration {
        self.clock.now().since(self.started)
    }

    /// The degradation level by name.
    pub fn level(&self) -> &'static str {
        if self.is_draining() {
            return "draining";
        }
        match self.ledger.level() {
            Level::Normal => "normal",
            Level::Refusing | Level::Pausing => "refusing",
            Level::Shedding => "shedding",
        }
    }

    /// The degradation level with its history.
    pub fn degradation(&self) -> Degradation {
        let seen = self.see();
        Degradation {
            name: seen.level,
            since_seconds: self.clock.now().since(seen.at).as_secs_f64(),
            reason: seen.reason.clone(),
        }
    }

    /// Levels are computed, not announced: whoever looks notes a change.
    fn see(&self) -> MutexGuard<'_, Change> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let level = self.level();
        if seen.level != level {
            let reason = if level == "draining" { self.draining() } else { self.over_budget() };
            *seen = Change { level, at: self.clock.now(), reason };
        }
        seen
    }

    fn draining(&self) -> Option<String> {
        self.is_draining().then(|| "the server is shutting down".to_owned())
    }

    fn over_budget(&self) -> Option<String> {
        let (used, budget) = (self.ledger.used(), self.ledger.budget());
        (self.ledger.level() >= Level::Refusing)
            .then(|| format!("memory budget: {used} of {budget} bytes used"))
    }

    /// The whole report.
    pub fn report(&self) -> Report {
        let level = self.see().level;
        let mut reasons: Vec<String> = self.draining().into_iter().chain(self.over_budget()).collect();
        let stalled = self.stalled();
        let limit = *self.stall_limit.lock().unwrap_or_else(PoisonError::into_inner);
        let is_stalled = limit.is_some_and(|limit| stalled > limit);
        if is_stalled {
            reasons.push(format!("python stalled {:.0}s", stalled.as_secs_f64()));
        }
        let now = self.clock.now();
        let checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let checks: BTreeMap<_, _> =
            checks.into_iter().map(|(name, verdict)| (name, report_check(verdict, now))).collect();
        for (name, check) in &checks {
            if check.required && !matches!(check.state.as_str(), "ok" | "degraded") {
                reasons.push(format!("check {name}: {}: {}", check.state, check.detail));
            }
        }
        Report {
            ready: reasons.is_empty(),
            reasons,
            level,
            python_stalled_seconds: stalled.as_secs_f64(),
            checks,
        }
    }
}

fn report_check(verdict: Verdict, now: Timestamp) -> CheckReport {
    let age = now.since(verdict.at);
    let is_stale = age > verdict.stale_after;
    CheckReport {
        state: if is_stale { "stale".to_owned() } else { verdict.state },
        required: verdict.required,
        detail: if is_stale { format!("no verdict for {:.1}s", age.as_secs_f64()) } else { verdict.detail },
        facts: serde_json::from_str(&verdict.facts).unwrap_or(serde_json::Value::Null),
        age_seconds: age.as_secs_f64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readiness(budget: usize) -> (Readiness, Ledger) {
        let ledger = Ledger::new(budget);
        let readiness =
            Readiness::new(Clock::start(), ledger.clone(), Duration::ZERO, Some(Duration::from_hours(1)));
        (readiness, ledger)
    }

    fn verdict(state: &str, required: bool, stale_after: Duration) -> Verdict {
        Verdict {
            state: state.to_owned(),
            required,
            detail: "because".to_owned(),
            facts: "{\"lag_ms\": 3}".to_owned(),
            at: Timestamp::ZERO,
            stale_after,
        }
    }

    #[test]
    fn each_cause_alone_turns_it_red() {
        let hour = Duration::from_hours(1);
        let (ready, _) = readiness(1_000);
        assert!(ready.report().ready);
        ready.record("optional".to_owned(), verdict("failed", false, hour));
        assert!(ready.report().ready, "an optional check only informs");
        ready.record("database".to_owned(), verdict("failed", true, hour));
        assert_eq!(ready.report().reasons, ["check database: failed: because"]);
        assert_eq!(ready.report().checks["database"].facts["lag_ms"], 3);

        let (stale, _) = readiness(1_000);
        stale.record("database".to_owned(), verdict("ok", true, Duration::ZERO));
        while stale.clock.now() == Timestamp::ZERO {}
        assert!(stale.report().reasons[0].starts_with("check database: stale"));

        let (full, ledger) = readiness(1_000);
        let charge = ledger.charge(streamconductor_core::ledger::Owner::Rings, 800);
        assert_eq!((full.report().ready, full.report().level), (false, "refusing"));
        drop(charge);
        assert!(full.report().ready);

        let (stalled, _) = readiness(1_000);
        stalled.set_stall_limit(Some(Duration::ZERO));
        while stalled.stalled() == Duration::ZERO {}
        assert!(stalled.report().reasons[0].starts_with("python stalled"));

        let (draining, _) = readiness(1_000);
        draining.drain();
        assert_eq!((draining.report().ready, draining.report().level), (false, "draining"));
    }

    #[test]
    fn the_level_says_why_it_changed_and_since_when() {
        let (readiness, ledger) = readiness(1_000);
        let normal = readiness.degradation();
        assert_eq!((normal.name, normal.reason), ("normal", None));
        let mut charge = ledger.charge(streamconductor_core::ledger::Owner::Rings, 800);
        readiness.beat();
        while readiness.clock.now().since(readiness.see().at) < Duration::from_millis(1) {}
        charge.resize(850);
        let refusing = readiness.degradation();
        assert_eq!(refusing.name, "refusing");
        assert_eq!(refusing.reason.as_deref(), Some("memory budget: 800 of 1000 bytes used"));
        assert!(refusing.since_seconds >= 0.001, "counted from the beat, as the level stayed the same");
        charge.resize(0);
        assert_eq!(readiness.degradation().reason, None);
        readiness.drain();
        assert_eq!(readiness.degradation().reason.as_deref(), Some("the server is shutting down"));
    }
}

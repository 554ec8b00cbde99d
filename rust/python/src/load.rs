//! Receives plans of the load generator as JSON · hands out how a run stands and its report, as JSON · owns one run.

use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use serde::Serialize;
use streamconductor_load::failure::Failure;
use streamconductor_load::plan::Plan;
use streamconductor_load::run::Run;

/// A run of the load generator, on a thread of its own.
#[pyclass(frozen, module = "streamconductor._core")]
pub struct LoadRun(Run);

#[pymethods]
impl LoadRun {
    /// Starts it; `ValueError`: the plan cannot be run.
    #[new]
    fn new(plan: &str) -> PyResult<Self> {
        let started = Plan::read(plan).and_then(Run::start);
        started.map(Self).map_err(|failure| raised(&failure))
    }

    /// How it stands.
    fn snapshot(&self) -> PyResult<String> {
        json(&self.0.snapshot())
    }

    /// Ends it before its time; told again, at once.
    fn stop(&self) {
        self.0.stop();
    }

    /// Waits, at most so many seconds, without the interpreter; returns whether it has ended.
    fn wait(&self, python: Python<'_>, seconds: f64) -> PyResult<bool> {
        let most = Duration::try_from_secs_f64(seconds);
        let most = most.map_err(|_| PyValueError::new_err(format!("cannot wait for {seconds} seconds")))?;
        Ok(python.detach(|| self.0.wait(most)))
    }

    /// Waits for the report; `RuntimeError`: there is none, and why.
    fn report(&self, python: Python<'_>) -> PyResult<String> {
        match python.detach(|| self.0.report()) {
            Ok(report) => json(&*report),
            Err(failure) => Err(raised(&failure)),
        }
    }
}

fn json(value: &impl Serialize) -> PyResult<String> {
    serde_json::to_string(value).map_err(|error| PyRuntimeError::new_err(error.to_string()))
}

fn raised(failure: &Failure) -> PyErr {
    match failure {
        Failure::Usage(text) => PyValueError::new_err(text.clone()),
        other => PyRuntimeError::new_err(other.to_string()),
    }
}

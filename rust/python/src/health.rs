//! Receives what a Python health check says · hands it to readiness · owns the names of its fields.

use std::time::Duration;

use pyo3::prelude::*;
use streamconductor_core::time::Timestamp;
use streamconductor_net::readiness::Verdict;

/// What a health check says.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct HealthVerdict {
    state: String,
    required: bool,
    detail: String,
    facts: String,
    stale_after: f64,
}

impl HealthVerdict {
    /// The verdict, as of then.
    pub fn given_at(self, at: Timestamp) -> Verdict {
        let Self { state, required, detail, facts, stale_after } = self;
        Verdict { state, required, detail, facts, at, stale_after: Duration::from_secs_f64(stale_after) }
    }
}

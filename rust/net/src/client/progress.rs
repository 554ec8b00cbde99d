//! Receives how far a connection has come · says it when the time is up · owns nothing else.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::Stage;

/// How far a connection has come. Locked to copy a few words, and never contended.
#[derive(Default)]
pub struct Progress(Mutex<(String, Stage)>);

impl Progress {
    /// It is about this host and port from now on.
    pub fn turn_to(&self, host: String) {
        *self.lock() = (host, Stage::Resolving);
    }

    /// The next stage.
    pub fn reach(&self, stage: Stage) {
        self.lock().1 = stage;
    }

    /// Host and port.
    pub fn host(&self) -> String {
        self.lock().0.clone()
    }

    /// What it is about.
    pub fn stage(&self) -> Stage {
        self.lock().1
    }

    fn lock(&self) -> MutexGuard<'_, (String, Stage)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

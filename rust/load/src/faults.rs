//! Receives what went wrong on single connections · hands out how often what did, and the first texts · owns the sorts
//! of errors of a run.

use serde::Serialize;

/// What went wrong with a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) sort: Sort,
    pub(crate) text: String,
}

/// Sorts of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    /// It did not open: refused, or answered otherwise than with a correct 101.
    Refused,
    /// It did not open in time.
    TimedOut,
    /// The server ended it, or the socket broke.
    Ended,
    /// The server broke the protocol.
    Violation,
    /// The server sent something else than it was due to send.
    Wrong,
}

impl Fault {
    pub(crate) fn new(sort: Sort, text: impl Into<String>) -> Self {
        Self { sort, text: text.into() }
    }
}

/// Errors by sort, and what the first ones said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// Openings that were refused or answered wrongly.
    pub refused: u64,
    /// Openings that took too long.
    pub timed_out: u64,
    /// Connections that the server ended, or that broke.
    pub ended: u64,
    /// Connections given up because the server broke the protocol.
    pub violations: u64,
    /// Connections given up because something came that was not due.
    pub wrong: u64,
    /// Messages sent whose answer or delivery never came.
    pub lost: u64,
    /// The first texts.
    pub texts: Vec<String>,
}

/// What is alike is said once; these are for people.
const TEXTS: usize = 10;

impl Faults {
    /// One more.
    pub(crate) fn add(&mut self, fault: &Fault) {
        let count = match fault.sort {
            Sort::Refused => &mut self.refused,
            Sort::TimedOut => &mut self.timed_out,
            Sort::Ended => &mut self.ended,
            Sort::Violation => &mut self.violations,
            Sort::Wrong => &mut self.wrong,
        };
        *count += 1;
        if self.texts.len() < TEXTS && !self.texts.contains(&fault.text) {
            self.texts.push(fault.text.clone());
        }
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.refused + self.timed_out + self.ended + self.violations + self.wrong + self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_and_the_first_are_told_once_each() {
        let mut faults = Faults::default();
        for number in 0..30 {
            faults.add(&Fault::new(Sort::Ended, format!("text {}", number / 2)));
        }
        faults.add(&Fault::new(Sort::Wrong, "wrong"));
        faults.lost += 2;
        assert_eq!((faults.ended, faults.wrong, faults.total()), (30, 1, 33));
        assert_eq!(faults.texts.len(), TEXTS);
        assert_eq!(faults.texts.last().map(String::as_str), Some("text 9"));
    }
}

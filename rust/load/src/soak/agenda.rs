//! Receives what shall happen and when · hands it out when its time has come · owns the order of what is to come.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// What a connection does at a time of its own choosing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// The place opens its next connection.
    Open,
    /// Echoes are sent.
    Send,
    /// Reading ends for a while.
    Stall,
    /// Reading begins again.
    Resume,
    /// The channels are left, and then the server.
    Leave,
    /// The server is asked how much it dropped.
    Ask,
}

/// A step, whose it is, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) at: Instant,
    pub(crate) place: usize,
    /// The connection that is meant: its successor has an agenda of its own. `None`: the place itself.
    pub(crate) identity: Option<u64>,
    pub(crate) step: Step,
}

/// All that is to come.
#[derive(Debug, Default)]
pub(crate) struct Agenda(BinaryHeap<Reverse<Entry>>);

impl Agenda {
    pub(crate) fn add(&mut self, entry: Entry) {
        self.0.push(Reverse(entry));
    }

    /// The next one whose time has come.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Entry> {
        let Reverse(first) = self.0.peek()?;
        if first.at > now {
            return None;
        }
        self.0.pop().map(|Reverse(entry)| entry)
    }
}

//! Receives the order to shut down · hands every connection its Close when its turn comes, and at last a reset ·
//! owns who is left and the pace.

use std::time::Duration;

use crate::close::Ending;
use crate::id::ConnectionId;
use crate::lifecycle::{Event as Happened, State};
use crate::shard::Shard;
use crate::shard::connection::Holds;
use crate::shard::event::Event;
use crate::time::Timestamp;
use crate::wire::Wire;

/// The slowest pace over all shards is a hundred connections a second.
const SLOWEST: Duration = Duration::from_millis(10);

/// A shutdown that is under way: who is left, and by when.
pub(super) struct Departures {
    waiting: Vec<ConnectionId>,
    total: usize,
    started: Timestamp,
    whole: Duration,
    is_told: bool,
}

impl<W: Wire> Shard<W> {
    /// Shutdown: everybody is closed, spread evenly until `until` or faster, the first at once. A second order
    /// changes the pace.
    pub(super) fn depart(&mut self, until: Timestamp, now: Timestamp) {
        let (mut waiting, mut undecided) = (Vec::new(), Vec::new());
        for connection in self.places.iter() {
            match connection.state {
                state if state.is_open() => waiting.push(connection.id),
                State::Admitting => undecided.push(connection.id.index()),
                _ => {}
            }
        }
        waiting.reverse();
        let total = waiting.len();
        let slowest = SLOWEST * (total * self.shared.shards) as u32;
        let whole = until.since(now).min(slowest);
        let is_told = self.departures.as_ref().is_some_and(|departures| departures.is_told);
        self.departures = Some(Departures { waiting, total, started: now, whole, is_told });
        for index in undecided {
            self.refuse_full(index, "the server is shutting down", now);
        }
        self.depart_due(now);
    }

    /// Closes those whose turn has come: the k-th of n at k/n of the time.
    pub(super) fn depart_due(&mut self, now: Timestamp) {
        let Some(departures) = &mut self.departures else { return };
        let passed = now.since(departures.started).as_micros() * departures.total as u128;
        let share = passed
            .checked_div(departures.whole.as_micros())
            .map_or(departures.total, |share| usize::try_from(share).unwrap_or(departures.total));
        let gone = departures.total - departures.waiting.len();
        let count = share.saturating_add(1).min(departures.total).saturating_sub(gone);
        let left = departures.waiting.len() - count;
        for id in departures.waiting.split_off(left).into_iter().rev() {
            if let Some(index) = self.places.find(id) {
                self.close(index, Ending::Shutdown, now);
            }
        }
        self.tell_departed();
    }

    /// Says once that nobody is left: only sockets that linger, or probes.
    fn tell_departed(&mut self) {
        let is_empty = || !self.places.iter().any(|connection| matches!(connection.holds, Holds::Slot(_)));
        if let Some(departures) = &mut self.departures
            && !departures.is_told
            && is_empty()
        {
            departures.is_told = true;
            self.events.push(Event::Departed);
        }
    }

    /// The grace is over: whatever is left is reset.
    pub(super) fn abandon(&mut self, now: Timestamp) {
        let all: Vec<_> = self.places.iter().map(|connection| connection.id.index()).collect();
        for index in all {
            self.abort_handshake(index);
            if let Some(connection) = self.places.get_mut(index)
                && connection.state.is_open()
            {
                let ending = connection.first_cause(Ending::Shutdown);
                connection.ending = Some(Box::new(ending));
            }
            self.vanish(index, Happened::Reset, now);
        }
        self.tell_departed();
    }
}

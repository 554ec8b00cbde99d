//! Receives a violation · hands out the Close, behind the answers that are still on their way from the application ·
//! owns the short time between, in which nothing is read.
//!
//! A peer may send good messages and then break the protocol, all in one read. The messages are delivered, and whoever
//! wrote the application expects its answers to reach the peer; to close at once would discard them before Python had
//! its turn. So the connection stays open, for sends only, until the application has taken every message and had a
//! moment to answer. It costs no more than an idle connection: nothing more is read, decoded or kept.

use std::time::Duration;

use crate::close::Ending;
use crate::lifecycle::State;
use crate::shard::Shard;
use crate::shard::connection::Connection;
use crate::time::Timestamp;
use crate::wire::Wire;

/// How long an answer may be on its way: from the application's taking of a message to the shard. It sends within
/// the same turn of its loop.
const ANSWER: Duration = Duration::from_millis(25);

/// When the Close goes out at the latest, whatever the application has not taken.
const LATEST: Duration = Duration::from_secs(1);

/// A connection that will be closed for a violation as soon as its answers are out.
pub struct Failing {
    ending: Ending,
    latest: Timestamp,
    /// When to look next; the wheel is armed for it.
    look_at: Timestamp,
    /// At the last look the application had taken every message.
    was_taken: bool,
}

impl<W: Wire> Shard<W> {
    /// The peer broke the protocol. Its frames cannot be told apart any more, so nothing more is read, and no Close of
    /// it is waited for: the socket is shut as soon as it has ours (RFC 6455 §7.1.7).
    pub(super) fn undecodable(&mut self, index: u32, ending: Ending, now: Timestamp) {
        let Some(connection) = self.places.get_mut(index) else { return };
        connection.reading.is_over = true;
        if connection.state == State::Closing {
            return self.shut(index, now);
        }
        self.flush_pong(index, now);
        let Some(connection) = self.places.get_mut(index) else { return };
        if !connection.state.is_open() || !may_answer(connection, now) {
            return self.close(index, ending, now);
        }
        connection.clocks.message_began = None;
        let was_taken = has_taken(connection);
        let failing = Failing { ending, latest: now + LATEST, look_at: now + ANSWER, was_taken };
        connection.failing = Some(Box::new(failing));
        self.settle_reading(index, now);
        self.settle_inbound(index);
        self.arm(index);
    }

    /// Sends a pong that waits, before a Close that is not ours to choose would discard it: RFC 6455 §5.5.2 has every
    /// ping answered that came before.
    pub(super) fn flush_pong(&mut self, index: u32, now: Timestamp) {
        if self.places.get(index).is_some_and(|one| one.state.is_open() && one.ring.has_pong()) {
            self.flush(index, now);
        }
    }

    /// Closes a connection that waited for answers if they have had their time. Called when its look is due.
    pub(super) fn look_at_failing(&mut self, index: u32, now: Timestamp) {
        let Some(connection) = self.places.get_mut(index) else { return };
        let is_taken = has_taken(connection);
        let Some(failing) = connection.failing.as_mut().filter(|failing| failing.look_at <= now) else {
            return;
        };
        // Two looks in a row: what was taken just before the first is answered by the second.
        if failing.latest > now && !(is_taken && failing.was_taken) {
            failing.was_taken = is_taken;
            failing.look_at = now + ANSWER;
            return;
        }
        let ending = failing.ending.clone();
        self.close(index, ending, now);
    }
}

impl Failing {
    /// When the wheel must come up.
    pub const fn look_at(&self) -> Timestamp {
        self.look_at
    }
}

impl Connection {
    /// The first cause: that of a violation which has not been told yet, else `ending`.
    pub(super) fn first_cause(&mut self, ending: Ending) -> Ending {
        self.failing.take().map_or(ending, |failing| failing.ending)
    }
}

/// Whether answers may be on their way: a message is not taken, or one came a moment ago.
fn may_answer(connection: &Connection, now: Timestamp) -> bool {
    let is_recent = connection.traffic.messages_in > 0 && connection.clocks.last_message + ANSWER > now;
    is_recent || !has_taken(connection)
}

fn has_taken(connection: &Connection) -> bool {
    connection.gauge.as_ref().is_none_or(|gauge| gauge.inbound() == 0)
}

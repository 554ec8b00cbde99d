//! Receives the cause of an ending · hands out Close frames, resets and the one `Closed` event · owns the way
//! from open to the last trace.

use crate::close::{CloseCode, Ending};
use crate::codec::close_frame;
use crate::ledger::Owner;
use crate::lifecycle::{Event as Happened, State};
use crate::shard::Shard;
use crate::shard::connection::{Connection, Holds};
use crate::shard::event::{Closed, Event};
use crate::stats::Outcome;
use crate::time::Timestamp;
use crate::wire::Wire;

impl<W: Wire> Shard<W> {
    /// Ends a connection for `ending`. One that is ending already keeps its first cause.
    pub(super) fn close(&mut self, index: u32, ending: Ending, now: Timestamp) {
        let Some(connection) = self.places.get_mut(index) else { return };
        if !connection.state.is_open() {
            return;
        }
        let is_reset = ending.is_reset();
        let flush = ending.flushes();
        let reason = ending.reason();
        let frame = close_frame(Some(ending.code()), &reason, None);
        connection.ending = Some(Box::new(ending));
        if is_reset {
            return self.vanish(index, Happened::Reset, now);
        }
        self.start_close(index, &frame, flush, now);
    }

    /// The peer's Close: it is answered, unless ours was first, and then writing is shut.
    pub(super) fn peer_closed(&mut self, index: u32, ending: Ending, now: Timestamp) {
        let Some(connection) = self.places.get_mut(index) else { return };
        if connection.peer_closed {
            return;
        }
        connection.peer_closed = true;
        match connection.state {
            State::Closing => self.shut(index, now),
            state if state.is_open() => {
                let code = Some(ending.code()).filter(|code| *code != CloseCode::NO_STATUS);
                connection.ending = Some(Box::new(ending));
                // RFC 6455 §5.5.1: a Close is answered as soon as practical, with the same code.
                let frame = close_frame(code, "", None);
                self.start_close(index, &frame, false, now);
            }
            // Draining: our Close is on its way; the rest follows when it is out.
            _ => {}
        }
    }

    fn start_close(&mut self, index: u32, frame: &[u8], flush: bool, now: Timestamp) {
        self.apply(index, Happened::CloseQueued);
        self.leave_all(index);
        self.leave_indices(index);
        let Some(connection) = self.places.get_mut(index) else { return };
        connection.clocks.closing = now;
        let discarded = connection.ring.close(frame, flush, now);
        // Whatever waited for the application's room is of no interest any more, but the peer's Close is.
        connection.reading.inbound_full = false;
        connection.reading.rate_until = None;
        connection.unread = Vec::new();
        self.count_discarded(index, discarded);
        self.settle_reading(index, now);
        self.settle_inbound(index);
        self.settle_outbound(index, now);
        self.mark_dirty(index);
        self.arm(index);
    }

    /// The socket has our Close.
    pub(super) fn close_sent(&mut self, index: u32, now: Timestamp) {
        let Some(connection) = self.places.get(index) else { return };
        if connection.state != State::Draining {
            return;
        }
        self.apply(index, Happened::CloseSent);
        if self.places.get(index).is_some_and(|connection| connection.peer_closed) {
            self.shut(index, now);
        }
    }

    /// Both Closes are exchanged: the server ends the TCP connection first (RFC 6455 §7.1.1).
    fn shut(&mut self, index: u32, now: Timestamp) {
        self.settle_end(index, now);
        self.apply(index, Happened::WritingShut);
        self.start_linger(index, now);
    }

    /// The socket ended by itself.
    pub(super) fn lost(&mut self, index: u32, now: Timestamp) {
        let Some(connection) = self.places.get_mut(index) else { return };
        match connection.state {
            State::Head | State::Tls | State::Pending => self.count_handshake(Outcome::Aborted),
            State::Admitting => {
                self.count_handshake(Outcome::Aborted);
                self.withdraw(index);
            }
            state if state.is_open() => connection.ending = Some(Box::new(Ending::TransportLost)),
            _ => {}
        }
        self.vanish(index, Happened::SocketEnded, now);
    }

    /// Chosen to make room: Close goes out if the socket takes it at once, else the socket is reset. Hands
    /// out the slot; in exchange the socket lingers on the newcomer's pending place, if there is one.
    pub(super) fn evict(&mut self, index: u32, ending: Ending, now: Timestamp) -> Option<crate::pool::Slot> {
        let connection = self.places.get_mut(index)?;
        if !matches!(connection.holds, Holds::Slot(_)) {
            return None;
        }
        let frame = close_frame(Some(ending.code()), &ending.reason(), None);
        if connection.ending.is_none() {
            connection.ending = Some(Box::new(ending));
        }
        let discarded = connection.ring.close(&frame, false, now);
        connection.is_blocked = false;
        self.count_discarded(index, discarded);
        self.apply(index, Happened::EvictionChosen);
        self.leave_all(index);
        self.leave_indices(index);
        self.flush(index, now);
        let connection = self.places.get_mut(index)?;
        let took_close = !connection.ring.wants_write();
        let slot = match std::mem::replace(&mut connection.holds, Holds::Nothing) {
            Holds::Slot(slot) => Some(slot),
            other => {
                connection.holds = other;
                None
            }
        };
        self.settle_end(index, now);
        if took_close {
            self.apply(index, Happened::WritingShut);
            self.start_linger(index, now);
        } else {
            self.vanish(index, Happened::Reset, now);
        }
        slot
    }

    /// Removes every trace of a connection and lets its socket go.
    pub(super) fn vanish(&mut self, index: u32, event: Happened, now: Timestamp) {
        self.settle_end(index, now);
        self.apply(index, event);
        self.count_gone(index);
        self.wheel.disarm(index);
        self.wire.release(index, event == Happened::Reset);
        drop(self.places.remove(index));
    }

    /// Settles everything that an open connection holds but its socket, and reports its ending, once.
    fn settle_end(&mut self, index: u32, now: Timestamp) {
        self.leave_all(index);
        self.leave_indices(index);
        let Some(connection) = self.places.get_mut(index) else { return };
        let discarded = connection.ring.discard_all();
        let (ring, inbound) = std::mem::take(&mut connection.charged);
        connection.unread = Vec::new();
        connection.address_place = None;
        self.charge(Owner::Rings, ring, 0);
        self.charge(Owner::Inbound, inbound, 0);
        self.count_discarded(index, discarded);
        let Some(connection) = self.places.get_mut(index) else { return };
        let Some(ending) = connection.ending.take() else { return };
        let closed = report(connection, &ending, now);
        if let Some(count) = Ending::NAMES
            .iter()
            .position(|name| *name == ending.name())
            .and_then(|position| self.stats.endings.get_mut(position))
        {
            *count += 1;
        }
        *self.stats.codes.entry(closed.code.0).or_default() += 1;
        if let Some(gauge) = &connection.gauge {
            gauge.set_state(crate::lifecycle::Public::Closed);
        }
        if closed.known.is_some() {
            self.events.push(Event::Closed(Box::new(closed)));
        }
        let id = connection.id;
        let places = &self.places;
        let limits = &self.limits;
        self.eviction.removed(|index, generation| {
            places
                .get(index)
                .filter(|other| other.id.generation() == generation && other.id != id)
                .map(|other| crate::shard::room::key_of(other, limits.eviction))
        });
    }

    /// Takes a connection out of the indices by user and path.
    fn leave_indices(&mut self, index: u32) {
        let Some(identity) = self.places.get_mut(index).and_then(|connection| connection.identity.as_mut())
        else {
            return;
        };
        if !identity.is_indexed {
            return;
        }
        identity.is_indexed = false;
        let (path, path_place) = (identity.path.clone(), identity.path_place);
        let user = identity.user.clone();
        let user_place = identity.user_place;
        if let Some(members) = self.by_path.get_mut(&path) {
            if let Some(moved) = members.leave(path_place)
                && let Some(other) =
                    self.places.get_mut(moved.connection).and_then(|other| other.identity.as_mut())
            {
                other.path_place = moved.place;
            }
            if members.is_unused() {
                self.by_path.remove(&path);
            }
        }
        let Some(user) = user else { return };
        if let Some(members) = self.by_user.get_mut(&user) {
            if let Some(moved) = members.leave(user_place)
                && let Some(other) =
                    self.places.get_mut(moved.connection).and_then(|other| other.identity.as_mut())
            {
                other.user_place = moved.place;
            }
            if members.is_unused() {
                self.by_user.remove(&user);
            }
        }
    }

    fn count_gone(&mut self, index: u32) {
        if let Some(connection) = self.places.get(index)
            && let Some(count) = self.stats.states.get_mut(connection.state as usize)
        {
            *count -= 1;
        }
    }
}

fn report(connection: &mut Connection, ending: &Ending, now: Timestamp) -> Closed {
    let totals = connection.ring.totals();
    Closed {
        connection: connection.id,
        code: ending.code(),
        reason: ending.reason(),
        ending: ending.name(),
        by: ending.by(),
        duration: now.since(connection.clocks.accepted),
        received: (connection.traffic.messages_in, connection.traffic.bytes_in),
        sent: (totals.written.messages, totals.written.bytes),
        dropped: totals.dropped.messages,
        known: connection.known.take(),
    }
}

//! Receives the cause of an ending · hands out Close frames, resets and the one `Closed` event · owns the way
//! from open to the last trace.

use crate::close::{CloseCode, Ending};
use crate::codec::{Codec, Role, close_frame};
use crate::ledger::Owner;
use crate::lifecycle::{Event as Happened, Public, State};
use crate::pool::{PendingPlace, Slot};
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
        let ending = connection.first_cause(ending);
        let frame = connection.farewell(&ending);
        connection.ending = Some(Box::new(ending));
        if is_reset {
            return self.vanish(index, Happened::Reset, now);
        }
        self.start_close(index, &frame, flush, now);
    }

    /// The peer's Close: it is answered, unless ours was first, and then writing is shut.
    pub(super) fn peer_closed(&mut self, index: u32, ending: Ending, now: Timestamp) {
        self.flush_pong(index, now);
        let Some(connection) = self.places.get_mut(index) else { return };
        connection.reading.is_over = true;
        match connection.state {
            State::Closing => self.shut(index, now),
            state if state.is_open() => {
                let code = Some(ending.code()).filter(|code| *code != CloseCode::NO_STATUS);
                connection.ending = Some(Box::new(ending));
                // RFC 6455 §5.5.1: a Close is answered as soon as practical, with the same code.
                let frame = close_frame(code, "", connection.mask());
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
        let mut unread = std::mem::take(&mut connection.unread);
        self.count_discarded(index, discarded);
        self.frames(index, &mut unread, now);
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
        if self.places.get(index).is_some_and(|connection| connection.reading.is_over) {
            self.shut(index, now);
        }
    }

    /// Our Close is out and nothing more is awaited: the server ends the TCP connection first (RFC 6455 §7.1.1).
    pub(super) fn shut(&mut self, index: u32, now: Timestamp) {
        if self.places.get(index).is_some_and(Connection::is_outgoing) {
            return self.part(index, now);
        }
        self.settle_end(index, now);
        self.apply(index, Happened::WritingShut);
        self.start_linger(index, now);
    }

    /// The socket ended by itself.
    pub(super) fn lost(&mut self, index: u32, now: Timestamp) {
        let Some(connection) = self.places.get_mut(index) else { return };
        let is_unanswered = !connection.reading.is_over
            && connection.ending.as_deref().is_some_and(|ending| matches!(ending, Ending::Closed { .. }));
        if connection.state.is_open() || is_unanswered {
            // Whoever asked for a closing handshake must not take its absence for one (RFC 6455 §7.1.5).
            let ending = connection.first_cause(Ending::TransportLost);
            connection.ending = Some(Box::new(ending));
        }
        self.abort_handshake(index);
        self.vanish(index, Happened::SocketEnded, now);
    }

    /// Counts a handshake that comes to no end, if it is under way.
    pub(super) fn abort_handshake(&mut self, index: u32) {
        let is_under_way = self.places.get(index).is_some_and(|one| one.state.public() == Public::Connecting);
        if is_under_way && !self.is_answering(index) {
            self.count_handshake(Outcome::Aborted);
            self.withdraw(index);
        }
    }

    /// Chosen to make room: Close goes out if the socket takes it at once, else the socket is reset. Hands
    /// out the slot; in exchange the socket lingers on the newcomer's pending place, if there is one.
    pub(super) fn evict(
        &mut self,
        index: u32,
        ending: Ending,
        place: Option<PendingPlace>,
        now: Timestamp,
    ) -> Option<Slot> {
        let connection = self.places.get_mut(index).filter(|one| matches!(one.holds, Holds::Slot(_)))?;
        // Taken out first: whatever the socket does below, the slot is the newcomer's.
        let holds = std::mem::replace(&mut connection.holds, place.map_or(Holds::Nothing, Holds::Place));
        let Holds::Slot(slot) = holds else { return None };
        let ending = connection.first_cause(ending);
        let frame = connection.farewell(&ending);
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
        match self.places.get(index).map(|connection| connection.ring.wants_write()) {
            Some(false) => self.shut(index, now),
            Some(true) => self.vanish(index, Happened::Reset, now),
            // The socket turned out to be broken.
            None => {}
        }
        Some(slot)
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
    pub(super) fn settle_end(&mut self, index: u32, now: Timestamp) {
        self.leave_all(index);
        self.leave_indices(index);
        let Some(connection) = self.places.get_mut(index) else { return };
        let discarded = connection.ring.discard_all();
        // What is left of a message would wait, uncharged, until the socket has lingered.
        connection.codec = Codec::new(Role::Server);
        let (ring, inbound) = std::mem::take(&mut connection.charged);
        connection.unread = Vec::new();
        connection.address_place = None;
        if let Some(identity) = &mut connection.identity {
            identity.counted = None;
        }
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
            gauge.set_state(Public::Closed);
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
        if let Some(connection) = self.places.get(index) {
            self.shared.deflating.ended(connection.encoding);
        }
        let Some(identity) = self.places.get(index).and_then(|connection| connection.identity.as_ref())
        else {
            return;
        };
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
        code: connection.code_of(ending),
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

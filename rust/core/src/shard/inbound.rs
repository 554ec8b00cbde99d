//! Receives bytes of open connections · hands messages to the application and answers control frames ·
//! owns when reading pauses.

use bytes::Bytes;

use crate::close::{CloseCode, Ending};
use crate::codec::{Control, Item, Kind, Payload};
use crate::gauge::Gauge;
use crate::ledger::Owner;
use crate::shard::Shard;
use crate::shard::event::Event;
use crate::shard::pace::Came;
use crate::time::Timestamp;
use crate::wire::Wire;

/// What is to be done after one item, with the borrow of the connection ended.
enum Then {
    GoOn,
    Fail(Ending),
    PeerClosed(Ending),
}

impl<W: Wire> Shard<W> {
    /// Decodes and handles everything in `input`, up to a pause.
    pub(super) fn frames(&mut self, index: u32, input: &mut [u8], now: Timestamp) {
        let mut rest = input;
        loop {
            if rest.is_empty() {
                break;
            }
            let Some(connection) = self.places.get_mut(index) else { return };
            if connection.reading.is_over {
                // RFC 6455 §5.5.1: nothing counts after the peer's Close.
                return;
            }
            if connection.is_paused() && connection.state.is_open() {
                // Between messages only: whatever follows the message that filled the bound waits here.
                connection.unread.extend_from_slice(rest);
                break;
            }
            // After a Close nobody reads messages, so nobody pays for inflating them either.
            let inflater = connection.state.is_open().then(|| self.compression.contexts.inflater());
            let (item, remaining) = match connection.codec.decode_with(&self.codec_limits, inflater, rest) {
                Ok(decoded) => decoded,
                Err(violation) => {
                    let ending = Ending::Violation { code: violation.code, reason: violation.reason };
                    return self.undecodable(index, ending, now);
                }
            };
            rest = remaining;
            let Some(item) = item else { break };
            if !connection.codec.is_mid_message() {
                // The next message has a time of its own, even if it begins in the same read.
                connection.clocks.message_began = None;
            }
            match self.item(index, item, now) {
                Then::GoOn => {}
                // What follows is still decoded: the peer's Close may be among it.
                Then::Fail(ending) => self.close(index, ending, now),
                Then::PeerClosed(ending) => return self.peer_closed(index, ending, now),
            }
        }
        self.after_input(index, now);
    }

    fn item(&mut self, index: u32, item: Item<'_>, now: Timestamp) -> Then {
        let Some(connection) = self.places.get_mut(index) else { return Then::GoOn };
        let came = match &item {
            Item::Message { payload, .. } => {
                Came::Message { frames: connection.codec.fragments(), bytes: payload.len() }
            }
            Item::Ping(_) | Item::Pong(_) => Came::Control,
            Item::Close { .. } => Came::Close,
        };
        match connection.pace.count(came, &self.limits, now) {
            Ok(None) => {}
            Ok(until) => connection.reading.rate_until = until,
            Err(ending) => return Then::Fail(ending),
        }
        match item {
            Item::Message { kind, payload } => self.message(index, kind, payload, now),
            Item::Ping(payload) => {
                if connection.ring.has_pong() {
                    // Only the newest pong may wait, so that a peer that never reads cannot pile them up. One
                    // that does read gets all of them: the one that waits goes out first.
                    self.flush(index, now);
                }
                self.pong(index, &payload, now);
                Then::GoOn
            }
            Item::Pong(payload) => {
                let number = connection.heartbeat.number;
                if *payload == number.to_be_bytes() && connection.heartbeat.queued_at <= now {
                    let latency = now.since(connection.heartbeat.queued_at);
                    // One round trip per ping: the same pong again would only count the peer's idling.
                    connection.heartbeat.queued_at = Timestamp::NEVER;
                    if let Some(gauge) = &connection.gauge {
                        gauge.set_latency(latency);
                    }
                    connection.heartbeat.latency = Some(latency);
                    self.stats.round_trip.record(latency);
                }
                Then::GoOn
            }
            Item::Close { code, reason } => {
                Then::PeerClosed(Ending::PeerClosed { code: code.unwrap_or(CloseCode::NO_STATUS), reason })
            }
        }
    }

    fn pong(&mut self, index: u32, payload: &[u8], now: Timestamp) {
        let Some(connection) = self.places.get_mut(index) else { return };
        let frame = connection.control(Control::Pong, payload);
        if connection.ring.push_pong(&frame, now) {
            self.mark_dirty(index);
        }
    }

    fn message(&mut self, index: u32, kind: Kind, payload: Payload<'_>, now: Timestamp) -> Then {
        let Some(connection) = self.places.get_mut(index) else { return Then::GoOn };
        if !connection.state.is_open() {
            // RFC 6455 §5.5.1: after a Close, data is of no interest.
            return Then::GoOn;
        }
        let receives = connection
            .identity
            .as_ref()
            .and_then(|identity| self.shared.site.routes.get(identity.route))
            .is_some_and(|route| route.receives);
        if !receives {
            let reason = "this address only sends; it takes no messages".into();
            return Then::Fail(Ending::Violation { code: CloseCode::UNSUPPORTED_DATA, reason });
        }
        let payload = match payload {
            Payload::Whole(bytes) => Bytes::copy_from_slice(bytes),
            Payload::Assembled(bytes) => Bytes::from(bytes),
        };
        connection.clocks.last_message = now;
        connection.traffic.messages_in += 1;
        connection.traffic.bytes_in += payload.len() as u64;
        self.stats.received.add(1, payload.len() as u64);
        if let Some(gauge) = &connection.gauge
            && gauge.arrived(Gauge::cost(payload.len()), self.limits.max_inbound)
        {
            connection.reading.inbound_full = true;
        }
        self.events.push(Event::Message { connection: connection.id, kind, payload });
        Then::GoOn
    }

    /// Settles what a batch of input left behind: the pause, the deadline of an unfinished message, the ledger.
    fn after_input(&mut self, index: u32, now: Timestamp) {
        let Some(connection) = self.places.get_mut(index) else { return };
        if !connection.codec.is_mid_message() {
            connection.clocks.message_began = None;
        } else if connection.clocks.message_began.is_none() {
            connection.clocks.message_began = Some(now);
            self.arm_by(index, now + self.limits.message_timeout);
        }
        self.settle_reading(index, now);
        self.settle_inbound(index);
    }

    /// Tells the wire to stop or to go on, as the reasons to pause stand.
    pub(super) fn settle_reading(&mut self, index: u32, now: Timestamp) {
        let Some(connection) = self.places.get_mut(index) else { return };
        let stop = connection.is_paused() && connection.state.is_open();
        if stop == connection.reading.is_stopped {
            return;
        }
        connection.reading.is_stopped = stop;
        if !stop {
            connection.reading.resumed_at = now;
        }
        let deadline = connection.reading.rate_until;
        self.wire.set_reading(index, !stop);
        if let Some(until) = deadline {
            self.arm_by(index, until);
        }
    }

    /// Reading goes on: first what waits here, then what waits in the kernel.
    pub(super) fn resume(&mut self, index: u32, now: Timestamp) {
        let Some(connection) = self.places.get_mut(index) else { return };
        if connection.is_paused() {
            return;
        }
        connection.reading.resumed_at = now;
        let mut unread = std::mem::take(&mut connection.unread);
        if unread.is_empty() {
            self.settle_reading(index, now);
        } else {
            self.frames(index, &mut unread, now);
        }
        // The deadline for a sign of life starts anew with the resume.
        self.arm(index);
    }

    /// Holds the ledger to the real bytes that inbound data takes on this connection.
    pub(super) fn settle_inbound(&mut self, index: u32) {
        let Some(connection) = self.places.get_mut(index) else { return };
        let real = connection.codec.buffered() + connection.unread.capacity();
        let (_, charged) = connection.charged;
        if real != charged {
            connection.charged.1 = real;
            self.charge(Owner::Inbound, charged, real);
        }
    }
}

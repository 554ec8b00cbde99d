//! Receives the time · hands out pings, endings and notices that are due · owns what happens at each deadline.

use std::time::Duration;

use crate::close::{CloseCode, Ending};
use crate::codec::Control;
use crate::handshake::Refusal;
use crate::lifecycle::{Event as Happened, State};
use crate::shard::Shard;
use crate::shard::connection::Connection;
use crate::shard::event::Event;
use crate::stats::Outcome;
use crate::time::Timestamp;
use crate::wire::Wire;

impl<W: Wire> Shard<W> {
    /// Looks at everything that is due. Call it when [`Shard::next_tick`] says so, and after pauses.
    pub fn tick(&mut self, now: Timestamp) {
        self.ticked_at = now;
        let mut due = std::mem::take(&mut self.due);
        self.wheel.advance(now, &mut due);
        for index in due.drain(..) {
            self.expire(index, now);
        }
        self.due = due;
        self.depart_due(now);
        self.evict_excess(now);
        self.sweep_backlogged();
        self.settle_compression(now);
        self.lease.settle();
    }

    fn expire(&mut self, index: u32, now: Timestamp) {
        let Some(connection) = self.places.get_mut(index) else { return };
        if connection.state.is_open() {
            self.expire_open(index, now);
        } else if connection.next_deadline(&self.limits) <= now {
            // There is one deadline in each of these states, and each ends it.
            match connection.state {
                State::Pending | State::Tls | State::Head => self.head_too_late(index, now),
                State::Admitting => {
                    let reason = "on_connect gave no verdict within open_timeout";
                    let refusal = Refusal::new(503, reason).retry_after(self.limits.retry_after);
                    self.refuse(index, &refusal, Outcome::TimedOut, now);
                }
                State::Lingering => self.vanish(index, Happened::SocketEnded, now),
                _ => self.close_too_late(index, now),
            }
            if self.is_answering(index) {
                // A peer that does not even take our answer.
                self.vanish(index, Happened::Reset, now);
            }
            return;
        }
        self.arm(index);
    }

    /// Nothing, or half a head, came in time. Who sent something is told why (408); who did not just ends.
    fn head_too_late(&mut self, index: u32, now: Timestamp) {
        let opening = self.places.get(index).and_then(|connection| connection.opening.as_ref());
        let has_begun = opening.is_some_and(|opening| opening.reader.buffered() > 0);
        if has_begun || self.is_answering(index) {
            let refusal = Refusal::new(408, "no complete request head within open_timeout");
            self.refuse(index, &refusal, Outcome::TimedOut, now);
        } else {
            self.count_handshake(Outcome::TimedOut);
            self.vanish(index, Happened::Reset, now);
        }
    }

    /// The peer did not answer our Close, or its socket did not even take it.
    fn close_too_late(&mut self, index: u32, now: Timestamp) {
        if let Some(connection) = self.places.get_mut(index)
            && let Some(ending) = &mut connection.ending
            && matches!(**ending, Ending::Closed { .. })
        {
            // The application asked for a closing handshake and did not get it. Every other ending says more
            // than that, and stays.
            **ending = Ending::CloseTimeout { limit: self.limits.close_timeout };
        }
        self.vanish(index, Happened::Reset, now);
    }

    fn expire_open(&mut self, index: u32, now: Timestamp) {
        self.look_at_failing(index, now);
        let Some(connection) = self.places.get_mut(index) else { return };
        if connection.reading.rate_until.is_some_and(|until| until <= now) {
            connection.reading.rate_until = None;
            self.resume(index, now);
        }
        let Some(connection) = self.places.get(index).filter(|connection| connection.state.is_open()) else {
            return;
        };
        let reads_paused = self.reads_paused;
        let resumed_at = self.reads_resumed_at;
        if let Some(ending) = overdue(connection, &self.limits, reads_paused, resumed_at, now) {
            return self.close(index, ending, now);
        }
        if connection.heartbeat.next_ping <= now {
            self.ping(index, now);
        }
        self.notify_pressure(index, now);
    }

    fn ping(&mut self, index: u32, now: Timestamp) {
        let Some(interval) = self.limits.ping_interval else { return };
        let Some(connection) = self.places.get_mut(index) else { return };
        // From the due time, not from now: a late tick must not stretch the interval for good.
        let next = connection.heartbeat.next_ping + interval;
        connection.heartbeat.next_ping = if next <= now { now + interval } else { next };
        let heartbeat = connection
            .identity
            .as_ref()
            .and_then(|identity| self.shared.site.routes.get(identity.route))
            .and_then(|route| route.heartbeat.clone());
        if !connection.heartbeat.is_queued {
            connection.heartbeat.is_queued = true;
            connection.heartbeat.queued_at = now;
            connection.heartbeat.number += 1;
            let payload = connection.heartbeat.number.to_be_bytes();
            let frame = connection.control(Control::Ping, &payload);
            connection.ring.push_ping(&frame, now);
            self.stats.pings += 1;
        }
        if let Some(frame) = heartbeat
            && connection.ring.is_empty()
        {
            // Behind pending bytes it would say nothing that those bytes do not say.
            let connection_bytes = frame.len();
            if let Some(gauge) = &connection.gauge {
                gauge.sent(connection_bytes);
            }
            let last_message = connection.clocks.last_message;
            self.push_frame(index, frame, true, now);
            // A heartbeat is no application message: it does not keep an idle connection.
            if let Some(connection) = self.places.get_mut(index) {
                connection.clocks.last_message = last_message;
            }
        }
        self.mark_dirty(index);
    }

    /// `on_backpressure`, at most once a second per connection.
    fn notify_pressure(&mut self, index: u32, now: Timestamp) {
        let Some(connection) = self.places.get_mut(index) else { return };
        let Some(pressure) = &mut connection.pressure else { return };
        if pressure.is_due && pressure.due_at() <= now {
            let event = Event::Backpressure {
                connection: connection.id,
                above: pressure.is_above,
                buffered: connection.ring.pending().bytes as usize,
                dropped: pressure.dropped,
            };
            pressure.is_due = false;
            pressure.dropped = 0;
            pressure.last_event = Some(now);
            self.events.push(event);
        }
    }

    /// Stops or starts reading on the whole shard, as the ledger's level demands. While stopped nobody is
    /// judged for silence; afterwards everybody has one whole timeout.
    pub fn pause_reads(&mut self, paused: bool, now: Timestamp) {
        if self.reads_paused && !paused {
            self.reads_resumed_at = now;
        }
        self.reads_paused = paused;
    }
}

/// Which limit an open connection has passed, if any.
fn overdue(
    connection: &Connection,
    limits: &crate::config::Limits,
    reads_paused: bool,
    reads_resumed_at: Timestamp,
    now: Timestamp,
) -> Option<Ending> {
    let passed = |since: Option<Timestamp>, limit: Option<Duration>| {
        since.zip(limit).filter(|(since, limit)| *since + *limit <= now).map(|(_, limit)| limit)
    };
    if let Some(limit) = passed(connection.ring.stalled_since(), limits.write_timeout) {
        return Some(Ending::WriteTimeout { limit });
    }
    let judged = connection.heartbeat_deadline(limits).max(
        // While the whole shard does not read, silence proves nothing.
        if connection.heartbeat.awaiting_since.is_some() {
            reads_resumed_at + limits.ping_timeout
        } else {
            Timestamp::NEVER
        },
    );
    if !reads_paused && judged <= now {
        return Some(Ending::HeartbeatLost { limit: limits.ping_timeout });
    }
    if connection.clocks.expires_at <= now {
        return Some(Ending::TokenExpired);
    }
    if let Some(limit) = passed(connection.ring.dwell_since(), Some(limits.dwell)) {
        let _ = limit;
        let buffered = connection.ring.pending().bytes as usize;
        return Some(Ending::SlowConsumer { buffered, limit: limits.marks.high_water });
    }
    if let Some(limit) = passed(connection.ring.oldest(), limits.max_lag) {
        let lag = connection.ring.oldest().map_or(limit, |oldest| now.since(oldest));
        return Some(Ending::Lagging { lag, limit });
    }
    if let Some(limit) = passed(connection.clocks.message_began, Some(limits.message_timeout)) {
        let reason = format!("message not complete within {limit:?} (message_timeout)");
        return Some(Ending::Violation { code: CloseCode::POLICY_VIOLATION, reason: reason.into() });
    }
    if let Some(limit) = passed(Some(connection.clocks.last_message), limits.idle_timeout) {
        return Some(Ending::Idle { limit });
    }
    passed(Some(connection.clocks.accepted), limits.max_connection_age)
        .map(|limit| Ending::MaximumAge { limit })
}

//! Receives messages for connections · hands them to their rings and the rings to the wire · owns the order
//! of writes within a turn: what gathered for a connection goes out in one.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

use crate::channel::Chunks;
use crate::close::Ending;
use crate::config::Overflow;
use crate::ledger::Owner;
use crate::lifecycle::{Event as Happened, Public, State};
use crate::ring::{Pushed, Ring, Tally, Verdict};
use crate::shard::Shard;
use crate::shard::connection::{Connection, Pressure};
use crate::shard::event::Event;
use crate::time::Timestamp;
use crate::wire::{Wire, Wrote};

/// Slices in one vectored write; beyond this a further write follows.
const SLICES: usize = 32;
/// Writes in a row for one connection, so that one fast reader of a huge backlog does not take the turn.
const WRITES_IN_A_ROW: usize = 4;

impl<W: Wire> Shard<W> {
    /// A publication's chunk for one subscriber, the one of its encoding.
    pub(super) fn push_chunk(&mut self, index: u32, chunks: &Chunks, now: Timestamp) {
        let Some(connection) = self.places.get_mut(index) else { return };
        if !connection.state.is_open() {
            return;
        }
        debug_assert!(!connection.is_outgoing(), "what is shared is not masked");
        let Some(chunk) = chunks.of(connection.encoding) else { return };
        let size = chunk.size();
        connection.clocks.last_message = now;
        let pushed = connection.ring.push_chunk(chunk, now, &self.limits.marks);
        if let Some(gauge) = &connection.gauge {
            gauge.sent(size.bytes as usize);
        }
        self.stats.sending.add(size.messages, size.bytes);
        if let Verdict::SlowConsumer { buffered, limit } = pushed.verdict {
            self.count_discarded(index, size);
            return self.close(index, Ending::SlowConsumer { buffered, limit }, now);
        }
        if pushed.dropped == Tally::ZERO && !connection.is_blocked {
            return list(connection, &mut self.dirty);
        }
        self.after_push(index, &pushed, chunk.overflow(), now);
    }

    /// A private message. The application's side has counted its bytes in the gauge at the call.
    pub(super) fn push_frame(&mut self, index: u32, frame: Bytes, awaited: bool, now: Timestamp) {
        let Some(connection) = self.places.get_mut(index) else { return };
        connection.clocks.last_message = now;
        let frame = if connection.is_outgoing() { connection.disguise(frame) } else { frame };
        self.stats.sending.add(1, frame.len() as u64);
        let pushed = connection.ring.push_frame(frame, awaited, now, &self.limits.marks);
        self.after_push(index, &pushed, self.limits.overflow, now);
    }

    fn after_push(&mut self, index: u32, pushed: &Pushed, overflow: Overflow, now: Timestamp) {
        if pushed.dropped.messages > 0 {
            self.count_dropped(index, pushed, overflow, now);
        }
        let Some(connection) = self.places.get_mut(index) else { return };
        if !connection.is_blocked {
            return list(connection, &mut self.dirty);
        }
        // The socket is full: nothing will be written soon, so marks, deadlines and the ledger count now.
        self.settle_outbound(index, now);
    }

    fn count_dropped(&mut self, index: u32, pushed: &Pushed, overflow: Overflow, now: Timestamp) {
        let Some(connection) = self.places.get_mut(index) else { return };
        let dropped = pushed.dropped;
        if let Some(flow) = self.stats.dropped.get_mut(overflow as usize) {
            flow.add(dropped.messages, dropped.bytes);
        }
        if let Some(gauge) = &connection.gauge {
            gauge.add_dropped(dropped.messages);
        }
        self.gauge_written(index, dropped.bytes as usize);
        self.note_pressure(index, now, |pressure| pressure.dropped += dropped.messages);
    }

    /// Puts a connection into the list of those that are written at the end of the turn.
    pub(super) fn mark_dirty(&mut self, index: u32) {
        if let Some(connection) = self.places.get_mut(index)
            && !connection.is_blocked
        {
            list(connection, &mut self.dirty);
        }
    }

    /// Writes for at most `writes` connections of the list.
    pub(super) fn flush_dirty(&mut self, writes: usize, now: Timestamp) {
        for _ in 0..writes {
            let Some(index) = self.dirty.pop_front() else { break };
            if let Some(connection) = self.places.get_mut(index) {
                connection.is_dirty = false;
                self.flush(index, now);
            }
        }
    }

    /// Offers the socket what the ring holds, until one of them is empty or full.
    pub(super) fn flush(&mut self, index: u32, now: Timestamp) {
        for _ in 0..WRITES_IN_A_ROW {
            let Some(connection) = self.places.get_mut(index) else { return };
            if connection.is_blocked || !connection.ring.wants_write() {
                break;
            }
            let oldest = connection.ring.oldest();
            self.stats.writes += 1;
            let (offered, wrote) = offer(&connection.ring, &mut self.wire, index);
            match wrote {
                Wrote::Took(bytes) => {
                    connection.is_blocked = bytes < offered;
                    let taken = connection.ring.took(bytes, now, &self.limits.marks);
                    let is_done = connection.is_blocked || !connection.ring.wants_write();
                    if taken.bytes > 0 {
                        self.stats.written.add(taken.messages, taken.bytes);
                        if let Some(oldest) = oldest {
                            self.stats.lag.record(now.since(oldest));
                        }
                        let low_water = self.limits.marks.low_water;
                        settle_gauge(connection, taken.bytes as usize, low_water, &mut self.events);
                    }
                    if taken.ping {
                        self.ping_taken(index, now);
                    }
                    if taken.close {
                        self.settle_outbound(index, now);
                        return self.close_sent(index, now);
                    }
                    if is_done {
                        break;
                    }
                }
                Wrote::Blocked => connection.is_blocked = true,
                Wrote::Failed => return self.lost(index, now),
            }
        }
        let Some(connection) = self.places.get(index) else { return };
        // A control frame that waits has the deadline of `write_timeout`, too.
        let wants_write = connection.ring.wants_write();
        let is_settled = !wants_write
            && !connection.is_backlogged
            && connection.state != State::Backpressured
            && connection.charged.0 == 0;
        if is_settled {
            return;
        }
        self.settle_outbound(index, now);
        if wants_write {
            self.mark_dirty(index);
        }
    }

    /// Lowers the application's number of pending bytes; wakes a sender that waits for low water.
    pub(super) fn gauge_written(&mut self, index: u32, bytes: usize) {
        if let Some(connection) = self.places.get(index) {
            settle_gauge(connection, bytes, self.limits.marks.low_water, &mut self.events);
        }
    }

    fn ping_taken(&mut self, index: u32, now: Timestamp) {
        let Some(connection) = self.places.get_mut(index) else { return };
        connection.heartbeat.is_queued = false;
        // The first unanswered one counts: a later ping must not put the judgement off.
        connection.heartbeat.awaiting_since.get_or_insert(now);
        let deadline = connection.heartbeat_deadline(&self.limits);
        self.arm_by(index, deadline);
    }

    /// Holds marks, deadlines, the list of the backlogged and the ledger to what the ring holds now.
    pub(super) fn settle_outbound(&mut self, index: u32, now: Timestamp) {
        let Some(connection) = self.places.get_mut(index) else { return };
        let real = connection.ring.storage();
        let (charged, _) = connection.charged;
        if real != charged {
            connection.charged.0 = real;
            self.charge(Owner::Rings, charged, real);
        }
        let Some(connection) = self.places.get_mut(index) else { return };
        if !connection.ring.is_empty() && !connection.is_backlogged {
            connection.is_backlogged = true;
            self.backlogged.push(connection.id);
        }
        let is_above = connection.ring.is_above();
        let crossed = match connection.state {
            State::Flowing if is_above => Some(Happened::HighWater),
            State::Backpressured if !is_above => Some(Happened::LowWater),
            _ => None,
        };
        if let Some(event) = crossed {
            self.apply(index, event);
            self.note_pressure(index, now, |pressure| pressure.is_above = is_above);
        }
        let Some(connection) = self.places.get(index) else { return };
        if connection.state.is_open() {
            let deadline = connection.next_deadline(&self.limits);
            self.arm_by(index, deadline.max(now));
        }
    }

    /// Remembers what `on_backpressure` is to be told, and sees to it that it is told at the next tick.
    fn note_pressure(&mut self, index: u32, now: Timestamp, note: impl FnOnce(&mut Pressure)) {
        if !self.shared.site.reports_backpressure {
            return;
        }
        if let Some(connection) = self.places.get_mut(index)
            && connection.gauge.is_some()
        {
            let pressure = connection.pressure.get_or_insert_default();
            note(pressure);
            pressure.is_due = true;
            let at = pressure.due_at().max(now);
            self.arm_by(index, at);
        }
    }

    /// Forgets the connections of the list whose bytes have all gone. Called once a tick.
    pub(super) fn sweep_backlogged(&mut self) {
        let places = &mut self.places;
        self.backlogged.retain(|id| {
            let Some(connection) = places.find(*id).and_then(|index| places.get_mut(index)) else {
                return false;
            };
            connection.is_backlogged = !connection.ring.is_empty();
            connection.is_backlogged
        });
    }

    /// Counts what an ending discards.
    pub(super) fn count_discarded(&mut self, index: u32, discarded: Tally) {
        if discarded != Tally::ZERO {
            self.stats.discarded.add(discarded.messages, discarded.bytes);
            self.gauge_written(index, discarded.bytes as usize);
        }
    }
}

/// Puts a connection whose socket may take something into the list of those that are written, once.
fn list(connection: &mut Connection, dirty: &mut VecDeque<u32>) {
    if !connection.is_dirty {
        connection.is_dirty = true;
        dirty.push_back(connection.id.index());
    }
}

/// Offers a socket what a ring holds: how many bytes, and what became of them.
fn offer<W: Wire>(ring: &Ring, wire: &mut W, index: u32) -> (usize, Wrote) {
    if let Some(range) = ring.only_range() {
        return (range.len(), wire.write(index, &[IoSlice::new(range)]));
    }
    let mut slices = [IoSlice::new(&[]); SLICES];
    let filled = ring.gather(&mut slices);
    let slices = slices.get(..filled).unwrap_or_default();
    (slices.iter().map(|slice| slice.len()).sum(), wire.write(index, slices))
}

/// Lowers the number of pending bytes that the application reads, if it holds the connection.
fn settle_gauge(connection: &Connection, bytes: usize, low_water: usize, events: &mut Vec<Event>) {
    if let Some(gauge) = &connection.gauge
        && gauge.settled(bytes, low_water)
        && connection.state.public() != Public::Closed
    {
        events.push(Event::Writable { connection: connection.id });
    }
}

//! Receives commands and the words of other shards · hands each to the part that does it · owns the dispatch
//! and the answers to `List`.

use std::sync::Arc;

use crate::channel::Members;
use crate::close::Ending;
use crate::config::Limits;
use crate::shard::Shard;
use crate::shard::admission::first_ping;
use crate::shard::command::{Command, Filter, Forward};
use crate::shard::event::{Closed, Event};
use crate::shard::view::ConnectionView;
use crate::time::Timestamp;
use crate::wire::Wire;

impl<W: Wire> Shard<W> {
    /// Does what the application asks.
    pub fn command(&mut self, command: Command, now: Timestamp) {
        match command {
            Command::Send { connection, frame, awaited } => match self.places.find(connection) {
                Some(index) if self.is_open(index) => self.push_frame(index, frame, awaited, now),
                index => self.count_unsent(index, &frame),
            },
            Command::Publish { channel, publication } => self.publish(&channel, &publication, now),
            Command::Resume { connection } => {
                if let Some(index) = self.places.find(connection) {
                    if let Some(connection) = self.places.get_mut(index) {
                        connection.reading.inbound_full = false;
                    }
                    self.resume(index, now);
                }
            }
            Command::Subscribe { connection, channel, encoding, first } => {
                self.subscribe(connection, channel, encoding, first, now);
            }
            Command::Unsubscribe { connection, channel } => self.unsubscribe(connection, channel, now),
            Command::Admit(admission) => self.admit(admission, now),
            Command::Refuse(refused) => self.refuse_admission(*refused, now),
            Command::Broadcast(broadcast) => self.broadcast(*broadcast, now),
            Command::Close { connection, ending } => {
                if let Some(index) = self.places.find(connection) {
                    self.close(index, *ending, now);
                } else {
                    self.stats.stale += 1;
                }
            }
            Command::Extend { connection, until } => self.extend(connection, until),
            Command::Disconnect { user, reason } => {
                let all: Vec<u32> = self.by_user.get(&user).into_iter().flat_map(Members::iter).collect();
                for index in all {
                    self.close(index, Ending::Disconnected { reason: reason.to_string() }, now);
                }
            }
            Command::Hold { connection, gauge } => self.hold(connection, gauge),
            Command::List { filter, answer } => answer(self.list(&filter)),
            Command::Reconfigure { limits, tick } => self.reconfigure(limits, tick, now),
            Command::Depart { until } => self.depart(until, now),
            Command::Abandon => self.abandon(now),
            Command::Reclaim => self.reclaim(now),
            Command::Report(answer) => {
                // A shard that has nothing to do has no ticks either, and its last one may be long past.
                self.lease.settle();
                answer(self.stats().clone());
            }
            Command::Stop => {}
        }
    }

    /// Does what another shard says.
    pub fn forwarded(&mut self, from: usize, forward: Forward, now: Timestamp) {
        match forward {
            Forward::Publications(chunks) => self.fan_out(chunks),
            Forward::Join { connection, channel, encoding, first } => {
                self.join(connection, channel, encoding, first, now);
            }
            Forward::Subscribe { connection, channel, encoding } => {
                self.subscribe(connection, channel, encoding, None, now);
            }
            Forward::Leave { connection, channel } => self.leave(connection, &channel, now),
            Forward::Left { channel, encoding } => self.member_left(from, &channel, encoding),
            Forward::Evict { wanted, place } => self.evict_for(&wanted, place, now),
            Forward::Vacated { newcomer, slot, place } => self.vacated(newcomer, slot, place, now),
        }
    }

    fn is_open(&self, index: u32) -> bool {
        self.places.get(index).is_some_and(|connection| connection.state.is_open())
    }

    /// The application takes hold of a connection that it did not know so far.
    fn hold(&mut self, id: crate::id::ConnectionId, gauge: Arc<crate::gauge::Gauge>) {
        let open = self.places.find(id).filter(|index| self.is_open(*index));
        let Some(connection) = open.and_then(|index| self.places.get_mut(index)) else {
            // It ended on the way here. The application holds it by now and must be told, or it would hold it
            // for ever.
            gauge.set_state(crate::lifecycle::Public::Closed);
            return self.events.push(Event::Closed(Box::new(Closed::unseen(id))));
        };
        gauge.sent(connection.ring.pending().bytes as usize);
        gauge.set_state(connection.state.public());
        gauge.set_encoding(connection.encoding);
        connection.gauge = Some(gauge);
        if connection.known.is_none() {
            // There is no more than one for each connection that lives, so it needs no bound of its own.
            connection.known = self.shared.known.take(usize::MAX);
        }
    }

    fn reconfigure(&mut self, limits: Arc<Limits>, tick: std::time::Duration, now: Timestamp) {
        let reorders = limits.eviction != self.limits.eviction;
        let before = self.limits.ping_interval;
        self.codec_limits = (&*limits).into();
        self.limits = limits;
        if tick != self.tick {
            // A shorter ping_interval needs a finer wheel; everybody is armed anew below.
            self.tick = tick;
            self.wheel = crate::wheel::Wheel::new(tick);
        }
        if reorders {
            self.reorder();
        }
        let all: Vec<u32> = self.places.iter().map(|connection| connection.id.index()).collect();
        for index in all {
            if before != self.limits.ping_interval
                && let Some(connection) = self.places.get_mut(index)
            {
                // A ping that is due sooner stays so; none waits longer than the new interval.
                let first = first_ping(connection.id, now, self.limits.ping_interval);
                let due = before.map_or(Timestamp::NEVER, |_| connection.heartbeat.next_ping);
                connection.heartbeat.next_ping = first.min(due);
            }
            if let Some(connection) = self.places.get_mut(index)
                && connection.reading.rate_until.is_some()
            {
                // Under the new rates the wait may be over, or much shorter.
                let until = connection.pace.ready_at(&self.limits).unwrap_or(now);
                connection.reading.rate_until = Some(until);
            }
            self.arm(index);
        }
    }

    fn list(&mut self, filter: &Filter) -> Vec<ConnectionView> {
        if let Some(count) = filter.first_to_leave {
            let first = self.first_here(count);
            return self.views(first.into_iter(), &Filter::default());
        }
        // The narrowest index leads; the others are compared.
        let indices: Vec<u32> = match (&filter.user, filter.channel, &filter.path) {
            (Some(user), _, _) => self.by_user.get(user).into_iter().flat_map(Members::iter).collect(),
            (_, Some(channel), _) => self.members.get(&channel).into_iter().flat_map(Members::iter).collect(),
            (_, _, Some(path)) => self.by_path.get(path).into_iter().flat_map(Members::iter).collect(),
            _ => self.places.iter().map(|connection| connection.id.index()).collect(),
        };
        self.views(indices.into_iter(), filter)
    }

    fn views(&self, indices: impl Iterator<Item = u32>, filter: &Filter) -> Vec<ConnectionView> {
        indices
            .filter_map(|index| self.places.get(index))
            .filter(|connection| connection.state.is_open())
            .filter_map(|connection| {
                let identity = connection.identity.as_ref()?;
                let is_meant = filter.user.as_ref().is_none_or(|user| identity.user.as_ref() == Some(user))
                    && filter.path.as_ref().is_none_or(|path| identity.path == *path)
                    && filter
                        .channel
                        .is_none_or(|id| connection.channels.iter().any(|one| one.channel.id() == id));
                is_meant.then(|| ConnectionView {
                    connection: connection.id,
                    state: connection.state,
                    user: identity.user.clone(),
                    path: identity.path.clone(),
                    route: identity.route,
                    priority: identity.priority,
                    address: connection.peer.address,
                    accepted: connection.clocks.accepted,
                    last_message: connection.clocks.last_message,
                    buffered: connection.ring.pending().bytes as usize,
                    dropped: connection.ring.totals().dropped.messages,
                    latency: connection.heartbeat.latency,
                    paused: connection.reading.inbound_full,
                    channels: connection.channels.len(),
                })
            })
            .collect()
    }
}

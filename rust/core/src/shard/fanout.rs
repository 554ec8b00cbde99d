//! Receives publications on their home shard and sealed chunks on every other · hands each subscriber its
//! chunk · owns the walk over subscribers, which may take several turns.

use std::sync::Arc;

use bytes::Bytes;

use crate::channel::{Channel, Home};
use crate::codec::{Kind, encode_message};
use crate::config::Overflow;
use crate::id::ConnectionId;
use crate::ledger::Owner;
use crate::ring::{Chunk, ChunkBuilder};
use crate::shard::Shard;
use crate::shard::command::{Audience, Broadcast, Forward};
use crate::shard::connection::Subscription;
use crate::time::Timestamp;
use crate::wire::Wire;

/// Ring operations in one turn.
const PUSHES: usize = 4_096;
/// Connections written in one turn.
const WRITES: usize = 256;
/// Looks at the clock once per so many connections.
const STRIDE: usize = 32;

/// A chunk on its way to a channel's subscribers here.
pub(super) struct FanOut {
    chunk: Arc<Chunk>,
    next: usize,
    end: usize,
}

impl<W: Wire> Shard<W> {
    /// Takes a publication: appends it to its channel's open chunk.
    pub(super) fn publish(
        &mut self,
        channel: &Arc<Channel>,
        kind: Kind,
        payload: &Bytes,
        key: u64,
        now: Timestamp,
    ) {
        self.stats.published += 1;
        let id = channel.id();
        // Nobody has joined yet, or all have left: there is nobody to tell.
        let Some(home) = self.homes.get_mut(&id) else { return };
        if !home.has_room_for(payload) {
            self.seal(id, now);
        }
        let Some(home) = self.homes.get_mut(&id) else { return };
        if home.is_sealed() {
            self.unsealed.push(id);
        }
        home.publish(kind, payload, key);
    }

    /// Seals a channel's open chunk and sends it to every shard that has subscribers.
    fn seal(&mut self, id: u64, now: Timestamp) {
        let Some(home) = self.homes.get_mut(&id) else { return };
        let Some(chunk) = home.seal(&self.shared.ledger, now) else { return };
        for shard in home.destinations() {
            if shard == self.number {
                continue;
            }
            self.forwards.push((shard, Forward::Publications(Arc::clone(&chunk))));
        }
        self.fan_out(chunk);
    }

    /// Starts telling this shard's subscribers.
    pub(super) fn fan_out(&mut self, chunk: Arc<Chunk>) {
        if let Some(members) = self.members.get_mut(&chunk.channel()) {
            let end = members.begin();
            self.fan_outs.push_back(FanOut { chunk, next: 0, end });
        }
    }

    /// Does what is waiting, within the bounds of a turn; `in_time` is asked now and then whether the turn
    /// may go on. Returns true when something is left for the next turn.
    pub fn work(&mut self, now: Timestamp, in_time: &mut dyn FnMut() -> bool) -> bool {
        let mut unsealed = std::mem::take(&mut self.unsealed);
        for id in unsealed.drain(..) {
            self.seal(id, now);
        }
        self.unsealed = unsealed;
        self.push_fan_outs(now, in_time);
        let mut written = 0;
        while written < WRITES && !self.dirty.is_empty() {
            self.flush_dirty(STRIDE, now);
            written += STRIDE;
            if !in_time() {
                break;
            }
        }
        self.shed(now);
        self.publish_notices();
        !self.dirty.is_empty() || !self.fan_outs.is_empty()
    }

    fn push_fan_outs(&mut self, now: Timestamp, in_time: &mut dyn FnMut() -> bool) {
        let mut pushes = 0;
        while let Some(mut fan_out) = self.fan_outs.pop_front() {
            let id = fan_out.chunk.channel();
            while fan_out.next < fan_out.end && pushes < PUSHES {
                let subscriber = self.members.get(&id).and_then(|members| members.at(fan_out.next));
                fan_out.next += 1;
                pushes += 1;
                if let Some(index) = subscriber {
                    self.push_chunk(index, &fan_out.chunk, now);
                }
                if pushes % (STRIDE * 8) == 0 && !in_time() {
                    pushes = PUSHES;
                }
            }
            if fan_out.next < fan_out.end {
                self.fan_outs.push_front(fan_out);
                return;
            }
            self.finish_fan_out(id);
        }
    }

    fn finish_fan_out(&mut self, id: u64) {
        let Some(members) = self.members.get_mut(&id) else { return };
        let places = &mut self.places;
        members.finish(|moved| {
            let subscriptions = places.get_mut(moved.connection).map(|connection| &mut connection.channels);
            if let Some(subscription) =
                subscriptions.and_then(|all| all.iter_mut().find(|one| one.channel.id() == id))
            {
                subscription.place = moved.place;
            }
        });
        if members.is_unused() {
            self.members.remove(&id);
        }
    }

    /// A join at the channel's home: everything published before it is sealed first, so that the newcomer
    /// gets none of it and all that follows.
    pub(super) fn subscribe(
        &mut self,
        connection: ConnectionId,
        channel: Arc<Channel>,
        first: Option<Bytes>,
        now: Timestamp,
    ) {
        let id = channel.id();
        self.seal(id, now);
        let shards = self.shared.shards;
        self.homes
            .entry(id)
            .or_insert_with(|| Home::new(Arc::clone(&channel), shards))
            .joined(connection.shard());
        if connection.shard() == self.number {
            self.join(connection, channel, first, now);
        } else {
            self.forwards.push((connection.shard(), Forward::Join { connection, channel, first }));
        }
    }

    /// A leave at the channel's home: what was published before it still reaches the leaver.
    pub(super) fn unsubscribe(&mut self, connection: ConnectionId, channel: Arc<Channel>, now: Timestamp) {
        self.seal(channel.id(), now);
        if connection.shard() == self.number {
            self.leave(connection, &channel, now);
        } else {
            self.forwards.push((connection.shard(), Forward::Leave { connection, channel }));
        }
    }

    /// A join on the connection's shard.
    pub(super) fn join(
        &mut self,
        connection: ConnectionId,
        channel: Arc<Channel>,
        first: Option<Bytes>,
        now: Timestamp,
    ) {
        let Some(index) = self.places.find(connection) else { return self.left(channel) };
        let Some(subscriber) = self.places.get_mut(index) else { return };
        let is_known = subscriber.channels.iter().any(|one| one.channel.id() == channel.id());
        let is_admissible = subscriber.state.is_open() && !is_known;
        if let Some(frame) = first {
            if subscriber.state.is_open() {
                self.push_frame(index, frame, false, now);
            } else {
                self.count_unsent(&frame);
            }
        }
        if !is_admissible {
            return self.left(channel);
        }
        let place = self.members.entry(channel.id()).or_default().join(index);
        if let Some(subscriber) = self.places.get_mut(index) {
            subscriber.channels.push(Subscription { channel, place });
        }
    }

    /// A leave on the connection's shard. What is on its way to it is pushed first: a leave ends a
    /// subscription after the publications that precede it, not before.
    pub(super) fn leave(&mut self, connection: ConnectionId, channel: &Arc<Channel>, now: Timestamp) {
        let Some(index) = self.places.find(connection) else { return };
        self.catch_up(index, channel.id(), now);
        let Some(subscriber) = self.places.get_mut(index) else { return };
        if let Some(at) = subscriber.channels.iter().position(|one| one.channel.id() == channel.id()) {
            let subscription = subscriber.channels.swap_remove(at);
            self.forget_member(&subscription);
            self.left(subscription.channel);
        }
    }

    /// Pushes the chunks that a fan-out would bring to this subscriber later.
    fn catch_up(&mut self, index: u32, id: u64, now: Timestamp) {
        let Some(place) = self
            .places
            .get(index)
            .and_then(|connection| connection.channels.iter().find(|one| one.channel.id() == id))
            .map(|subscription| subscription.place as usize)
        else {
            return;
        };
        let chunks: Vec<_> = self
            .fan_outs
            .iter()
            .filter(|fan_out| fan_out.chunk.channel() == id && (fan_out.next..fan_out.end).contains(&place))
            .map(|fan_out| Arc::clone(&fan_out.chunk))
            .collect();
        for chunk in chunks {
            self.push_chunk(index, &chunk, now);
        }
    }

    /// Ends all subscriptions of a connection that is leaving.
    pub(super) fn leave_all(&mut self, index: u32) {
        let Some(connection) = self.places.get_mut(index) else { return };
        for subscription in std::mem::take(&mut connection.channels) {
            self.forget_member(&subscription);
            self.left(subscription.channel);
        }
    }

    fn forget_member(&mut self, subscription: &Subscription) {
        let id = subscription.channel.id();
        let Some(members) = self.members.get_mut(&id) else { return };
        let moved = members.leave(subscription.place);
        if members.is_unused() {
            self.members.remove(&id);
        }
        if let Some(moved) = moved
            && let Some(connection) = self.places.get_mut(moved.connection)
            && let Some(other) = connection.channels.iter_mut().find(|one| one.channel.id() == id)
        {
            other.place = moved.place;
        }
    }

    /// Tells the channel's home that a subscription here ended.
    fn left(&mut self, channel: Arc<Channel>) {
        if channel.home() == self.number {
            self.member_left(self.number, &channel);
        } else {
            self.forwards.push((channel.home(), Forward::Left { channel }));
        }
    }

    /// At the home: a subscription on `shard` ended.
    pub(super) fn member_left(&mut self, shard: usize, channel: &Arc<Channel>) {
        if let Some(home) = self.homes.get_mut(&channel.id())
            && home.left(shard)
        {
            self.homes.remove(&channel.id());
        }
    }

    /// One message to many, under the server's own overflow policy.
    pub(super) fn broadcast(&mut self, broadcast: Broadcast, now: Timestamp) {
        let mut builder = ChunkBuilder::new();
        builder.push_with(0, |bytes| encode_message(bytes, broadcast.kind, &broadcast.payload));
        let charge = self.shared.ledger.charge(Owner::Chunks, builder.real_bytes());
        // Two broadcasts need not be about the same thing: the newer does not stand for the older.
        let overflow = match self.limits.overflow {
            Overflow::Conflate => Overflow::DropOldest,
            other => other,
        };
        let chunk = builder.seal(0, overflow, None, now, Some(Box::new(charge)));
        let to: Vec<u32> = match &broadcast.to {
            Audience::Everyone => self.places.iter().map(|connection| connection.id.index()).collect(),
            Audience::User(user) => self.by_user.get(user).into_iter().flat_map(|all| all.iter()).collect(),
            Audience::These(ids) => ids.iter().filter_map(|id| self.places.find(*id)).collect(),
        };
        for index in to {
            let is_meant =
                self.places.get(index).is_some_and(|connection| !broadcast.exclude.contains(&connection.id));
            if is_meant {
                self.push_chunk(index, &chunk, now);
            }
        }
    }

    /// A message that found its connection closed: accepted and discarded in one.
    pub(super) fn count_unsent(&mut self, frame: &Bytes) {
        self.stats.stale += 1;
        self.stats.sending.add(1, frame.len() as u64);
        self.stats.discarded.add(1, frame.len() as u64);
    }
}

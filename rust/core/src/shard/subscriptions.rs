//! Receives joins and leaves, at a channel's home and on the connection's shard · hands publications their
//! audience · owns who is subscribed to what, and its order with what is published.

use std::sync::Arc;

use bytes::Bytes;

use crate::channel::{Channel, Home};
use crate::deflate::Encoding;
use crate::id::ConnectionId;
use crate::shard::Shard;
use crate::shard::command::Forward;
use crate::shard::connection::Subscription;
use crate::time::Timestamp;
use crate::wire::Wire;

impl<W: Wire> Shard<W> {
    /// A join at the channel's home: everything published before it is sealed first, so that the newcomer
    /// gets none of it and all that follows.
    pub(super) fn subscribe(
        &mut self,
        connection: ConnectionId,
        channel: Arc<Channel>,
        encoding: Encoding,
        first: Option<Bytes>,
        now: Timestamp,
    ) {
        let id = channel.id();
        self.seal(id, now);
        let shards = self.shared.shards;
        self.homes
            .entry(id)
            .or_insert_with(|| Home::new(Arc::clone(&channel), shards))
            .joined(connection.shard(), encoding);
        if connection.shard() == self.number {
            self.join(connection, channel, encoding, first, now);
        } else {
            let join = Forward::Join { connection, channel, encoding, first };
            self.forwards.push((connection.shard(), join));
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
        encoding: Encoding,
        first: Option<Bytes>,
        now: Timestamp,
    ) {
        let Some(index) = self.places.find(connection) else {
            if let Some(frame) = first {
                self.count_unsent(None, &frame);
            }
            return self.left(channel, encoding);
        };
        let Some(subscriber) = self.places.get_mut(index) else { return };
        let is_known = subscriber.channels.iter().any(|one| one.channel.id() == channel.id());
        // What is published is not masked. The application refuses such a join before it comes to this.
        let may_join = subscriber.state.is_open() && !subscriber.is_outgoing();
        let is_admissible = may_join && !is_known;
        if let Some(frame) = first {
            if may_join {
                self.push_frame(index, frame, false, now);
            } else {
                self.count_unsent(Some(index), &frame);
            }
        }
        if !is_admissible {
            return self.left(channel, encoding);
        }
        let place = self.members.entry(channel.id()).or_default().join(index);
        if let Some(subscriber) = self.places.get_mut(index) {
            subscriber.channels.push(Subscription { channel, place, encoding });
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
            self.left(subscription.channel, subscription.encoding);
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
        let owed: Vec<_> = self.fan_outs.iter().filter_map(|fan_out| fan_out.owes(id, place)).collect();
        for chunks in owed {
            self.push_chunk(index, &chunks, now);
        }
    }

    /// Ends all subscriptions of a connection that is leaving.
    pub(super) fn leave_all(&mut self, index: u32) {
        let Some(connection) = self.places.get_mut(index) else { return };
        for subscription in std::mem::take(&mut connection.channels) {
            self.forget_member(&subscription);
            self.left(subscription.channel, subscription.encoding);
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
    fn left(&mut self, channel: Arc<Channel>, encoding: Encoding) {
        if channel.home() == self.number {
            self.member_left(self.number, &channel, encoding);
        } else {
            self.forwards.push((channel.home(), Forward::Left { channel, encoding }));
        }
    }

    /// At the home: a subscription on `shard` ended.
    pub(super) fn member_left(&mut self, shard: usize, channel: &Arc<Channel>, encoding: Encoding) {
        if let Some(home) = self.homes.get_mut(&channel.id())
            && home.left(shard, encoding)
        {
            self.homes.remove(&channel.id());
        }
    }
}

//! Receives publications on their home shard and sealed chunks on every other · hands each subscriber its
//! chunk · owns the walk over subscribers, which may take several turns.

use std::sync::Arc;

use bytes::Bytes;

use crate::channel::{Channel, Members};
use crate::codec::{Kind, encode_message};
use crate::config::Overflow;
use crate::ledger::Owner;
use crate::ring::{Chunk, ChunkBuilder};
use crate::shard::Shard;
use crate::shard::command::{Audience, Broadcast, Forward};
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

impl FanOut {
    /// The chunk, if it is of this channel and a subscriber at `place` is still to get it.
    pub(super) fn owes(&self, channel: u64, place: usize) -> Option<Arc<Chunk>> {
        (self.chunk.channel() == channel && (self.next..self.end).contains(&place))
            .then(|| Arc::clone(&self.chunk))
    }
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
    pub(super) fn seal(&mut self, id: u64, now: Timestamp) {
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

    /// One message to many, under the server's own overflow policy.
    pub(super) fn broadcast(&mut self, broadcast: &Broadcast, now: Timestamp) {
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
            Audience::User(user) => self.by_user.get(user).into_iter().flat_map(Members::iter).collect(),
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
    pub(super) fn count_unsent(&mut self, index: Option<u32>, frame: &Bytes) {
        self.stats.stale += 1;
        self.stats.sending.add(1, frame.len() as u64);
        self.stats.discarded.add(1, frame.len() as u64);
        if let Some(index) = index {
            // It is closing: the application counted the bytes when it handed them over.
            self.gauge_written(index, frame.len());
        }
    }
}

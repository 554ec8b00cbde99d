//! Receives publications on their home shard and sealed chunks on every other · hands each subscriber its
//! chunk · owns the walk over subscribers, which may take several turns.

use std::sync::Arc;

use bytes::Bytes;

use crate::channel::{Channel, Chunks, Members};
use crate::codec::encode_message;
use crate::config::Overflow;
use crate::id::ConnectionId;
use crate::ledger::Owner;
use crate::ring::ChunkBuilder;
use crate::shard::Shard;
use crate::shard::command::{Audience, Broadcast, Forward, Publication};
use crate::time::Timestamp;
use crate::wire::Wire;

/// Ring operations in one turn.
const PUSHES: usize = 4_096;
/// Connections written in one turn.
const WRITES: usize = 256;
/// Looks at the clock once per so many connections.
const STRIDE: usize = 32;

/// Pushes that may be owed before the shard counts as behind: two turns' worth.
const BEHIND: usize = 2 * PUSHES;

/// Publications on their way to those who are to get them.
pub(super) struct FanOut {
    chunks: Chunks,
    to: Recipients,
    next: usize,
    end: usize,
}

/// Who is to get them.
enum Recipients {
    /// The subscribers of their channel, by place.
    Subscribers,
    /// Every connection of the shard, by index, but these, which are sorted.
    Everyone { exclude: Box<[ConnectionId]> },
    /// These.
    These(Box<[ConnectionId]>),
}

impl FanOut {
    /// The chunks, if they are of this channel and a subscriber at `place` is still to get one.
    pub(super) fn owes(&self, channel: u64, place: usize) -> Option<Chunks> {
        let is_owed = matches!(self.to, Recipients::Subscribers)
            && self.chunks.channel() == channel
            && (self.next..self.end).contains(&place);
        is_owed.then(|| self.chunks.clone())
    }
}

impl<W: Wire> Shard<W> {
    /// Takes a publication: appends it to its channel's open chunks.
    pub(super) fn publish(&mut self, channel: &Arc<Channel>, publication: &Publication, now: Timestamp) {
        self.stats.published += 1;
        let id = channel.id();
        // Nobody has joined yet, or all have left: there is nobody to tell.
        let Some(home) = self.homes.get_mut(&id) else { return };
        if !home.has_room_for(publication) {
            self.seal(id, now);
        }
        let Some(home) = self.homes.get_mut(&id) else { return };
        if home.is_sealed() {
            self.unsealed.push(id);
        }
        home.publish(publication, &mut self.compression.contexts, self.limits.compression_threshold);
    }

    /// Seals a channel's open chunks and sends them to every shard that has subscribers.
    pub(super) fn seal(&mut self, id: u64, now: Timestamp) {
        let Some(home) = self.homes.get_mut(&id) else { return };
        let Some(chunks) = home.seal(&self.shared.ledger, now) else { return };
        for shard in home.destinations() {
            if shard == self.number {
                continue;
            }
            self.forwards.push((shard, Forward::Publications(chunks.clone())));
        }
        self.fan_out(chunks);
    }

    /// Starts telling this shard's subscribers.
    pub(super) fn fan_out(&mut self, chunks: Chunks) {
        if let Some(members) = self.members.get_mut(&chunks.channel()) {
            let end = members.begin();
            self.start_fan_out(FanOut { chunks, to: Recipients::Subscribers, next: 0, end });
        }
    }

    fn start_fan_out(&mut self, fan_out: FanOut) {
        self.owed += fan_out.end;
        self.fan_outs.push_back(fan_out);
    }

    /// Whether more is to be told than two turns can: nothing further should be published until less is. What
    /// waits here no policy sees, so it must stay short.
    pub fn is_behind(&self) -> bool {
        self.owed > BEHIND
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
        self.settle_compression(now);
        self.shed(now);
        self.publish_notices();
        !self.dirty.is_empty() || !self.fan_outs.is_empty()
    }

    fn push_fan_outs(&mut self, now: Timestamp, in_time: &mut dyn FnMut() -> bool) {
        let mut pushes = 0;
        while let Some(mut fan_out) = self.fan_outs.pop_front() {
            while fan_out.next < fan_out.end && pushes < PUSHES {
                let recipient = self.recipient(&fan_out);
                fan_out.next += 1;
                self.owed -= 1;
                pushes += 1;
                if let Some(index) = recipient {
                    self.push_chunk(index, &fan_out.chunks, now);
                }
                if pushes % (STRIDE * 8) == 0 && !in_time() {
                    pushes = PUSHES;
                }
            }
            if fan_out.next < fan_out.end {
                self.fan_outs.push_front(fan_out);
                return;
            }
            if matches!(fan_out.to, Recipients::Subscribers) {
                self.finish_fan_out(fan_out.chunks.channel());
            }
        }
    }

    /// The connection whose turn it is in a fan-out, if it is there and meant.
    fn recipient(&self, fan_out: &FanOut) -> Option<u32> {
        match &fan_out.to {
            Recipients::Subscribers => self.members.get(&fan_out.chunks.channel())?.at(fan_out.next),
            Recipients::Everyone { exclude } => {
                let connection = self.places.get(fan_out.next as u32).filter(|one| !one.is_outgoing())?;
                exclude.binary_search(&connection.id).is_err().then(|| connection.id.index())
            }
            Recipients::These(ids) => {
                let index = self.places.find(*ids.get(fan_out.next)?)?;
                self.places.get(index).is_some_and(|one| !one.is_outgoing()).then_some(index)
            }
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
    pub(super) fn broadcast(&mut self, broadcast: Broadcast, now: Timestamp) {
        // Two broadcasts need not be about the same thing: the newer does not stand for the older.
        let overflow = match self.limits.overflow {
            Overflow::Conflate => Overflow::DropOldest,
            other => other,
        };
        let sealed = |frame: &dyn Fn(&mut Vec<u8>)| {
            let mut builder = ChunkBuilder::new();
            builder.push_with(0, frame);
            let charge = self.shared.ledger.charge(Owner::Chunks, builder.real_bytes());
            builder.seal(0, overflow, None, now, Some(Box::new(charge)))
        };
        let raw = sealed(&|bytes| encode_message(bytes, broadcast.kind, &broadcast.payload));
        let deflated = broadcast.prepared.iter();
        let deflated = deflated.map(|(bits, frame)| (bits, sealed(&|bytes| bytes.extend_from_slice(frame))));
        let Some(chunks) = Chunks::new(0, Some(raw), deflated.collect()) else { return };
        let mut exclude = broadcast.exclude;
        exclude.sort_unstable();
        let is_meant = |id: &ConnectionId| exclude.binary_search(id).is_err();
        let (to, end) = match broadcast.to {
            Audience::Everyone => (
                Recipients::Everyone { exclude: exclude.into_boxed_slice() },
                self.places.capacity() as usize,
            ),
            Audience::User(user) => {
                let all = self.by_user.get(&user).into_iter().flat_map(Members::iter);
                let ids = all.filter_map(|index| self.places.get(index)).map(|connection| connection.id);
                let ids: Box<[_]> = ids.filter(is_meant).collect();
                let end = ids.len();
                (Recipients::These(ids), end)
            }
            Audience::These(ids) => {
                let ids: Box<[_]> = ids.into_iter().filter(is_meant).collect();
                let end = ids.len();
                (Recipients::These(ids), end)
            }
        };
        self.start_fan_out(FanOut { chunks, to, next: 0, end });
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

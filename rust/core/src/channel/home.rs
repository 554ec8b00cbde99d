//! Receives a channel's publications and joins on its home shard · hands out sealed chunks · owns the channel's one order.

use std::sync::Arc;

use bytes::Bytes;

use super::Channel;
use crate::codec::{Kind, MAX_HEADER, encode_message};
use crate::ledger::{Ledger, Owner};
use crate::ring::{Charge, Chunk, ChunkBuilder};
use crate::time::Timestamp;

/// What the home shard of a channel keeps: who must be told, and the chunk that is still open.
#[derive(Debug)]
pub struct Home {
    channel: Arc<Channel>,
    /// Subscriptions by shard.
    shards: Box<[u32]>,
    open: ChunkBuilder,
}

impl Home {
    /// The home of `channel`, among this many shards.
    pub fn new(channel: Arc<Channel>, shards: usize) -> Self {
        Self { channel, shards: vec![0; shards].into_boxed_slice(), open: ChunkBuilder::new() }
    }

    /// Whether a publication still fits the open chunk; if not, it is sealed first.
    pub fn has_room_for(&self, payload: &Bytes) -> bool {
        self.open.has_room_for(MAX_HEADER + payload.len())
    }

    /// Whether nothing waits to be sealed.
    pub fn is_sealed(&self) -> bool {
        self.open.is_empty()
    }

    /// Appends a publication behind all before it.
    pub fn publish(&mut self, kind: Kind, payload: &Bytes, key: u64) {
        self.open.push_with(key, |bytes| encode_message(bytes, kind, payload));
    }

    /// Closes the open chunk, if anything is in it.
    pub fn seal(&mut self, ledger: &Ledger, now: Timestamp) -> Option<Arc<Chunk>> {
        if self.open.is_empty() {
            return None;
        }
        let policy = self.channel.policy();
        let charge = ledger.charge(Owner::Chunks, self.open.real_bytes());
        let charge: Charge = Box::new(charge);
        Some(self.open.seal(self.channel.id(), policy.overflow, policy.high_water, now, Some(charge)))
    }

    /// One more subscription on `shard`.
    pub fn joined(&mut self, shard: usize) {
        if let Some(count) = self.shards.get_mut(shard) {
            *count += 1;
        }
    }

    /// One subscription less on `shard`. Returns true when nobody is left anywhere.
    pub fn left(&mut self, shard: usize) -> bool {
        if let Some(count) = self.shards.get_mut(shard) {
            *count = count.saturating_sub(1);
        }
        self.channel.leave();
        self.shards.iter().all(|count| *count == 0)
    }

    /// The shards that have subscribers.
    pub fn destinations(&self) -> impl Iterator<Item = usize> + '_ {
        self.shards.iter().enumerate().filter(|(_, count)| **count > 0).map(|(shard, _)| shard)
    }

    /// The channel.
    pub fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }
}

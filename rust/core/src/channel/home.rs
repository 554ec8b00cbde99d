//! Receives a channel's publications and joins on its home shard · hands out sealed chunks · owns the channel's one order.

use std::sync::Arc;

use super::{Channel, Chunks};
use crate::codec::{MAX_HEADER, encode_message};
use crate::deflate::{Contexts, Encoding, Encodings, WindowBits, is_inline};
use crate::ledger::{Ledger, Owner};
use crate::ring::{Charge, Chunk, ChunkBuilder};
use crate::shard::command::Publication;
use crate::time::Timestamp;

/// What the home shard of a channel keeps: who must be told, and the chunks that are still open.
#[derive(Debug)]
pub struct Home {
    channel: Arc<Channel>,
    /// Subscriptions by shard.
    shards: Box<[u32]>,
    /// Subscriptions by encoding.
    encodings: [u32; Encoding::COUNT],
    /// The open chunk of those who get messages as they are.
    open: ChunkBuilder,
    /// An open chunk for each window that has subscribers.
    deflated: Vec<(WindowBits, ChunkBuilder)>,
}

impl Home {
    /// The home of `channel`, among this many shards.
    pub fn new(channel: Arc<Channel>, shards: usize) -> Self {
        Self {
            channel,
            shards: vec![0; shards].into_boxed_slice(),
            encodings: [0; Encoding::COUNT],
            open: ChunkBuilder::new(),
            deflated: Vec::new(),
        }
    }

    /// Whether a publication still fits the open chunks; if not, they are sealed first, all at the same message.
    pub fn has_room_for(&self, publication: &Publication) -> bool {
        // No frame is longer than the raw one.
        let most = MAX_HEADER + publication.payload.len();
        self.open.has_room_for(most) && self.deflated.iter().all(|(_, open)| open.has_room_for(most))
    }

    /// Whether nothing waits to be sealed.
    pub fn is_sealed(&self) -> bool {
        self.open.is_empty() && self.deflated.iter().all(|(_, open)| open.is_empty())
    }

    /// Appends a publication behind all before it, encoded once for each encoding in use. What is short of `threshold`
    /// is not compressed, and neither is here what is so long that its publisher should have done it.
    pub fn publish(&mut self, publication: &Publication, contexts: &mut Contexts, threshold: usize) {
        let Publication { kind, ref payload, key, ref prepared } = *publication;
        if self.deflated.is_empty() || self.count(Encoding::Raw) > 0 {
            self.open.push_with(key, |bytes| encode_message(bytes, kind, payload));
        }
        let is_worth_it = payload.len() >= threshold && is_inline(payload.len(), self.deflated.len());
        for (bits, open) in &mut self.deflated {
            open.push_with(key, |bytes| {
                if let Some(frame) = prepared.as_ref().and_then(|prepared| prepared.frame(*bits)) {
                    return bytes.extend_from_slice(frame);
                }
                if !is_worth_it || !contexts.encode_message(*bits, bytes, kind, payload) {
                    encode_message(bytes, kind, payload);
                }
            });
        }
    }

    /// Closes the open chunks, if anything is in them.
    pub fn seal(&mut self, ledger: &Ledger, now: Timestamp) -> Option<Chunks> {
        let Self { channel, open, deflated, .. } = self;
        let sealed = |open: &mut ChunkBuilder| seal(channel, open, ledger, now);
        let raw = sealed(open);
        let deflated = deflated.iter_mut().filter_map(|(bits, open)| Some((*bits, sealed(open)?)));
        Chunks::new(channel.id(), raw, deflated.collect())
    }

    /// One more subscription on `shard`, of a connection with that encoding. Everything before it is sealed.
    pub fn joined(&mut self, shard: usize, encoding: Encoding) {
        if let Some(count) = self.shards.get_mut(shard) {
            *count += 1;
        }
        if let Some(count) = self.encodings.get_mut(usize::from(encoding.number())) {
            *count += 1;
            if *count == 1 {
                self.settle_encodings();
            }
        }
    }

    /// One subscription less on `shard`, of a connection that joined with that encoding. Returns true when nobody is
    /// left anywhere.
    pub fn left(&mut self, shard: usize, encoding: Encoding) -> bool {
        if let Some(count) = self.shards.get_mut(shard) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = self.encodings.get_mut(usize::from(encoding.number())) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.settle_encodings();
            }
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

    fn count(&self, encoding: Encoding) -> u32 {
        self.encodings.get(usize::from(encoding.number())).copied().unwrap_or(0)
    }

    /// An encoding came into use or went out of it: holds the open chunks to those in use, and lets publishers know.
    fn settle_encodings(&mut self) {
        let mut in_use = Encodings::default();
        for (number, count) in self.encodings.iter().enumerate() {
            if *count > 0 {
                in_use.insert(Encoding::from_number(number as u8));
            }
        }
        self.channel.set_encodings(in_use);
        // What is open for a window that nobody has any more is nobody's.
        self.deflated.retain(|(bits, _)| in_use.windows().any(|window| window == *bits));
        for bits in in_use.windows() {
            if !self.deflated.iter().any(|(window, _)| *window == bits) {
                self.deflated.push((bits, ChunkBuilder::new()));
            }
        }
    }
}

fn seal(channel: &Channel, open: &mut ChunkBuilder, ledger: &Ledger, now: Timestamp) -> Option<Arc<Chunk>> {
    if open.is_empty() {
        return None;
    }
    let policy = channel.policy();
    let charge: Charge = Box::new(ledger.charge(Owner::Chunks, open.real_bytes()));
    Some(open.seal(channel.id(), policy.overflow, policy.high_water, now, Some(charge)))
}

//! Receives the connections of one shard and, when asked, their present keys · hands out who leaves first ·
//! owns the eviction order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use crate::config::Eviction;
use crate::time::Timestamp;

/// Dead entries that are tolerated before their share matters: below it, compacting costs more than it frees.
const TOLERATED: usize = 64;

/// Where a connection stands in the eviction order; the smallest leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    rank: i64,
    since: Timestamp,
}

/// What the eviction orders look at.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// When the connection was accepted.
    pub accepted: Timestamp,
    /// Its last application message, either way; never moves back.
    pub last_message: Timestamp,
    /// Bytes that its socket has not taken.
    pub pending: usize,
    /// What `Accept` gave it; the greater, the longer it stays.
    pub priority: i64,
}

impl Key {
    /// The one key function of each order. Under [`Eviction::Reject`] nobody leaves, so the key is unused.
    pub fn new(order: Eviction, standing: &Standing) -> Self {
        let rank = match order {
            Eviction::Reject | Eviction::Idle | Eviction::Oldest => 0,
            Eviction::Slowest => i64::try_from(standing.pending).map_or(i64::MIN, |pending| -pending),
            Eviction::Priority => standing.priority,
        };
        let since = if order == Eviction::Idle { standing.last_message } else { standing.accepted };
        Self { rank, since }
    }

    /// Under [`Eviction::Priority`]: whether a newcomer of `priority` may evict whoever has this key.
    pub const fn yields_to(self, priority: i64) -> bool {
        self.rank < priority
    }

    pub(crate) const fn to_words(self) -> (u64, u64) {
        (self.rank.cast_unsigned(), self.since.as_micros())
    }

    pub(crate) const fn from_words(rank: u64, since: u64) -> Self {
        Self { rank: rank.cast_signed(), since: Timestamp::from_micros(since) }
    }
}

/// A connection's key, place and generation. Equal keys leave in the order of their places.
pub type Victim = (Key, u32, u32);

/// The eviction order of one shard.
///
/// A lazy heap: a message does not touch it. Keys of `idle` only grow, those of `oldest` and `priority` are
/// fixed, so the smallest stored key is at most the smallest true one; an entry that turns out stale on top
/// sinks to where it belongs, one that turns out dead is dropped. Keys of `slowest` go both ways, so the
/// connections with pending bytes are scanned instead; the heap orders by age those that have none.
pub struct EvictionOrder {
    order: Eviction,
    heap: BinaryHeap<Reverse<Victim>>,
    dead: usize,
}

impl EvictionOrder {
    /// An empty order. To change it at run time, make a new one and insert everybody.
    pub const fn new(order: Eviction) -> Self {
        Self { order, heap: BinaryHeap::new(), dead: 0 }
    }

    /// The order that was chosen.
    pub const fn order(&self) -> Eviction {
        self.order
    }

    /// Adds a connection, once per place and generation.
    pub fn insert(&mut self, index: u32, generation: u32, key: Key) {
        if self.order != Eviction::Reject {
            self.heap.push(Reverse((stored_key(self.order, key), index, generation)));
        }
    }

    /// Notes that one connection is gone, for which `current` now answers `None`. Its entry is dropped when
    /// met; once the dead exceed the living all of them are, so that churn costs O(1) and no memory.
    pub fn removed(&mut self, current: impl Fn(u32, u32) -> Option<Key>) {
        self.dead += 1;
        if self.dead > TOLERATED && self.dead > self.heap.len() / 2 {
            let order = self.order;
            let refresh = |Reverse((_, index, generation)): Reverse<Victim>| {
                let key = stored_key(order, current(index, generation)?);
                Some(Reverse((key, index, generation)))
            };
            let entries = std::mem::take(&mut self.heap).into_vec();
            self.heap = entries.into_iter().filter_map(refresh).collect();
            self.dead = 0;
        }
    }

    /// Who leaves first. `current` gives the present key of a connection, or `None` when it is gone or may
    /// not be chosen any more (it is forgotten then). `pending` lists, under [`Eviction::Slowest`] only, the
    /// connections that have pending bytes; it is not looked at otherwise.
    pub fn best(
        &mut self,
        current: impl Fn(u32, u32) -> Option<Key>,
        pending: impl IntoIterator<Item = Victim>,
    ) -> Option<Victim> {
        let slowest = if self.order == Eviction::Slowest { pending.into_iter().min() } else { None };
        slowest.or_else(|| self.first(&current))
    }

    /// The first `count` to leave, in order; as [`EvictionOrder::best`].
    pub fn top(
        &mut self,
        count: usize,
        current: impl Fn(u32, u32) -> Option<Key>,
        pending: impl IntoIterator<Item = Victim>,
    ) -> Vec<Victim> {
        let mut chosen = BinaryHeap::new();
        if self.order == Eviction::Slowest {
            for victim in pending {
                chosen.push(victim);
                if chosen.len() > count {
                    chosen.pop();
                }
            }
        }
        let mut chosen = chosen.into_sorted_vec();
        let mut met = Vec::new();
        while chosen.len() < count
            && let Some(victim) = self.first(&current)
        {
            met.extend(self.heap.pop());
            let (stored, index, generation) = victim;
            // Under `slowest` the heap also holds those with pending bytes, which are chosen already.
            if current(index, generation) == Some(stored) {
                chosen.push(victim);
            }
        }
        self.heap.extend(met);
        chosen
    }

    /// Brings a living entry with a true key to the top of the heap.
    fn first(&mut self, current: impl Fn(u32, u32) -> Option<Key>) -> Option<Victim> {
        let order = self.order;
        while let Some(mut top) = self.heap.peek_mut() {
            let Reverse((stored, index, generation)) = *top;
            match current(index, generation).map(|key| stored_key(order, key)) {
                Some(key) if key == stored => return Some((key, index, generation)),
                Some(key) => *top = Reverse((key, index, generation)),
                None => {
                    PeekMut::pop(top);
                    self.dead = self.dead.saturating_sub(1);
                }
            }
        }
        None
    }
}

/// Under `slowest` the heap knows ages only: pending bytes come from the scan.
fn stored_key(order: Eviction, key: Key) -> Key {
    if order == Eviction::Slowest { Key { rank: 0, ..key } } else { key }
}

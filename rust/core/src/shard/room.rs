//! Receives newcomers without a slot, lowered limits, a full budget and shutdowns · hands out who leaves for
//! them · owns every decision to end a connection that did nothing wrong.

use crate::close::Ending;
use crate::config::Eviction;
use crate::eviction::{Key, Standing, Victim};
use crate::id::ConnectionId;
use crate::ledger::Level;
use crate::pool::{Candidate, PendingPlace};
use crate::shard::Shard;
use crate::shard::command::{Forward, Wanted};
use crate::shard::connection::{Connection, Holds};
use crate::time::Timestamp;
use crate::wire::Wire;

/// How many connections a shard ends in one tick because `max_connections` was lowered: about a hundred a
/// second at the default tick of 50 ms.
const EXCESS_PER_TICK: usize = 5;

impl<W: Wire> Shard<W> {
    /// Whether somebody may have to leave for a newcomer.
    pub(super) fn may_evict(&self) -> bool {
        self.limits.eviction != Eviction::Reject || self.shared.site.has_pool_policy
    }

    /// Finds a slot for an admitted newcomer: a free one, else the victim's that the policy named, else that
    /// of the first in the eviction order.
    pub(super) fn make_room(
        &mut self,
        newcomer: ConnectionId,
        priority: i64,
        named: Option<ConnectionId>,
        now: Timestamp,
    ) {
        if let Some(slot) = self.shared.pool.take_slot() {
            return self.vacated(newcomer, Some(slot), None, now);
        }
        let victim = named.or_else(|| self.first_to_leave(priority).map(|candidate| candidate.connection));
        let Some(victim) = victim else { return self.vacated(newcomer, None, None, now) };
        let wanted = Wanted { victim, newcomer, priority, is_named: named.is_some() };
        let place = self.lend_place(newcomer);
        if victim.shard() == self.number {
            self.evict_for(&wanted, place, now);
        } else {
            self.forwards.push((victim.shard(), Forward::Evict { wanted, place }));
        }
    }

    /// The newcomer's pending place goes to its victim, whose socket lingers on it.
    fn lend_place(&mut self, newcomer: ConnectionId) -> Option<PendingPlace> {
        let connection = self.places.find(newcomer).and_then(|index| self.places.get_mut(index))?;
        match std::mem::replace(&mut connection.holds, Holds::Nothing) {
            Holds::Place(place) => Some(place),
            other => {
                connection.holds = other;
                None
            }
        }
    }

    /// The first in the order over all shards: exact here, a turn old elsewhere.
    fn first_to_leave(&mut self, priority: i64) -> Option<Candidate> {
        if self.limits.eviction == Eviction::Reject {
            return None;
        }
        let own = self.best_here();
        let elsewhere = (0..self.shared.shards)
            .filter(|shard| *shard != self.number)
            .filter_map(|shard| self.shared.candidates.of(shard))
            .min();
        let best = own.into_iter().chain(elsewhere).min()?;
        self.yields(best.key, priority).then_some(best)
    }

    fn yields(&self, key: Key, priority: i64) -> bool {
        self.limits.eviction != Eviction::Priority || key.yields_to(priority)
    }

    /// Evicts `victim`, or whoever leaves first here if it is gone, and passes the slot on.
    pub(super) fn evict_for(&mut self, wanted: &Wanted, place: Option<PendingPlace>, now: Timestamp) {
        let Wanted { victim, newcomer, priority, is_named } = *wanted;
        let named = self.places.find(victim).filter(|index| self.may_leave(*index));
        let index = match named {
            Some(index) => Some(index),
            None if is_named => None,
            None => self
                .best_here()
                .filter(|candidate| self.yields(candidate.key, priority))
                .and_then(|candidate| self.places.find(candidate.connection)),
        };
        let order = if is_named { "policy" } else { order_name(self.limits.eviction) };
        let (slot, place) = match index {
            Some(index) => (self.evict(index, Ending::Evicted { order }, place, now), None),
            None => (None, place),
        };
        if newcomer.shard() == self.number {
            self.vacated(newcomer, slot, place, now);
        } else {
            self.forwards.push((newcomer.shard(), Forward::Vacated { newcomer, slot, place }));
        }
    }

    fn may_leave(&self, index: u32) -> bool {
        self.places.get(index).is_some_and(|connection| {
            connection.identity.is_some()
                && matches!(connection.holds, Holds::Slot(_))
                && !connection.is_outgoing()
        })
    }

    /// The first to leave on this shard.
    fn best_here(&mut self) -> Option<Candidate> {
        let (places, order) = (&self.places, self.limits.eviction);
        let pending = pending_victims(places, &self.backlogged, order);
        let (key, index, generation) =
            self.eviction.best(|index, generation| current_key(places, order, index, generation), pending)?;
        Some(Candidate { key, connection: ConnectionId::new(self.number as u8, index, generation) })
    }

    /// The first few to leave on this shard, for a pool policy to choose from.
    pub(super) fn first_here(&mut self, count: usize) -> Vec<u32> {
        let (places, order) = (&self.places, self.limits.eviction);
        let pending = pending_victims(places, &self.backlogged, order);
        let chosen = self.eviction.top(
            count,
            |index, generation| current_key(places, order, index, generation),
            pending,
        );
        chosen.into_iter().map(|(_, index, _)| index).collect()
    }

    /// What other shards and the acceptor read of this one, at the end of each turn.
    pub(super) fn publish_notices(&mut self) {
        if self.may_evict() {
            let best = self.best_here();
            self.candidates.publish(best);
        }
    }

    pub(super) fn eviction_key(&self, index: u32) -> Option<Key> {
        self.places.get(index).map(|connection| key_of(connection, self.limits.eviction))
    }

    /// The order changed: everybody is sorted anew.
    pub(super) fn reorder(&mut self) {
        let order = self.limits.eviction;
        self.eviction = crate::eviction::EvictionOrder::new(order);
        let is_candidate = |one: &&Connection| one.identity.is_some() && !one.is_outgoing();
        for connection in self.places.iter().filter(is_candidate) {
            self.eviction.insert(
                connection.id.index(),
                connection.id.generation(),
                key_of(connection, order),
            );
        }
    }

    /// Whether a lowered maximum is still exceeded.
    pub(super) fn pool_is_over(&self) -> bool {
        self.shared.pool.connections().excess() > 0
    }

    /// After `max_connections` was lowered: some leave at each tick, never all at once.
    pub(super) fn evict_excess(&mut self, now: Timestamp) {
        let excess = self.shared.pool.connections().excess();
        let share = excess.div_ceil(self.shared.shards.max(1)).min(EXCESS_PER_TICK);
        for index in if share > 0 { self.first_to_go(share) } else { Vec::new() } {
            drop(self.evict(index, Ending::Evicted { order: "max_connections lowered" }, None, now));
        }
    }

    /// By the eviction order; where there is none, the oldest.
    fn first_to_go(&mut self, count: usize) -> Vec<u32> {
        if self.limits.eviction != Eviction::Reject {
            return self.first_here(count);
        }
        let mut all: Vec<_> = self
            .places
            .iter()
            .filter(|connection| connection.state.is_open())
            .map(|connection| (connection.clocks.accepted, connection.id.index()))
            .collect();
        all.sort_unstable();
        all.into_iter().take(count).map(|(_, index)| index).collect()
    }

    /// At the budget, once a turn: who holds the oldest pending bytes above low water goes, else who has the
    /// most inbound bytes.
    pub(super) fn shed(&mut self, now: Timestamp) {
        let level = self.shared.ledger.level();
        self.pause_reads(level >= Level::Pausing, now);
        if level < Level::Shedding {
            return;
        }
        let low_water = self.limits.marks.low_water as u64;
        // Who is leaving already holds a frame that was begun, perhaps for long, and cannot be made to leave twice.
        let holder = self
            .backlogged
            .iter()
            .filter_map(|id| self.places.get(self.places.find(*id)?))
            .filter(|connection| connection.state.is_open())
            .filter(|connection| connection.ring.pending().bytes > low_water)
            .filter_map(|connection| Some((connection.ring.oldest()?, connection.id.index())))
            .min()
            .map(|(_, index)| index);
        let hoarder = || {
            self.places
                .iter()
                .filter(|connection| connection.state.is_open())
                .map(|connection| (inbound_bytes(connection), connection.id.index()))
                .filter(|(bytes, _)| *bytes > 0)
                .max()
                .map(|(_, index)| index)
        };
        if let Some(index) = holder.or_else(hoarder) {
            self.close(index, Ending::OverBudget { budget: self.shared.ledger.budget() }, now);
        }
    }
}

/// Where a connection stands in the eviction order now.
pub(super) fn key_of(connection: &Connection, order: Eviction) -> Key {
    Key::new(
        order,
        &Standing {
            accepted: connection.clocks.accepted,
            last_message: connection.clocks.last_message,
            pending: connection.ring.pending().bytes as usize,
            priority: connection.identity.as_ref().map_or(0, |identity| identity.priority),
        },
    )
}

type Places = crate::shard::places::Places;

fn current_key(places: &Places, order: Eviction, index: u32, generation: u32) -> Option<Key> {
    places
        .get(index)
        .filter(|connection| {
            connection.id.generation() == generation
                && matches!(connection.holds, Holds::Slot(_))
                && connection.identity.is_some()
        })
        .map(|connection| key_of(connection, order))
}

/// Under `slowest`: the connections with pending bytes.
fn pending_victims(
    places: &Places,
    backlogged: &[ConnectionId],
    order: Eviction,
) -> impl Iterator<Item = Victim> {
    let candidates = if order == Eviction::Slowest { backlogged } else { &[] };
    candidates
        .iter()
        .filter_map(|id| places.get(places.find(*id)?))
        .filter(|connection| {
            matches!(connection.holds, Holds::Slot(_))
                && connection.ring.pending().bytes > 0
                && !connection.is_outgoing()
        })
        .map(move |connection| (key_of(connection, order), connection.id.index(), connection.id.generation()))
}

fn inbound_bytes(connection: &Connection) -> usize {
    connection.charged.1 + connection.gauge.as_ref().map_or(0, |gauge| gauge.inbound())
}

pub(super) const fn order_name(order: Eviction) -> &'static str {
    match order {
        Eviction::Reject => "reject",
        Eviction::Idle => "idle",
        Eviction::Oldest => "oldest",
        Eviction::Slowest => "slowest",
        Eviction::Priority => "priority",
    }
}

//! Receives bytes, readiness, commands and the time · hands bytes to the wire and events to the application ·
//! owns the connections that live and die here.
//!
//! A shard is everything one thread does for its connections, as a pure machine. The driver calls its
//! inputs (`accepted`, `bytes`, `writable`, `ended`, `command`, `forwarded`, `tick`), then `work` until
//! nothing is left for this turn, then takes `events` and `forwards`. Nothing here blocks.

mod admission;
mod answer;
mod closing;
pub mod command;
mod commands;
mod compression;
mod connection;
mod deadlines;
mod departure;
pub mod event;
mod failing;
mod fanout;
mod inbound;
mod opening;
mod outbound;
pub mod outgoing;
mod pace;
mod places;
mod refusals;
mod room;
pub mod securing;
pub mod site;
mod subscriptions;
pub mod tokens;
pub mod view;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::channel::{ById, Home, Members};
use crate::codec::CodecLimits;
use crate::config::Limits;
use crate::deflate::InUse;
use crate::eviction::EvictionOrder;
use crate::id::ConnectionId;
use crate::known::{Known, KnownCount};
use crate::ledger::{Lease, Ledger, Owner};
use crate::lifecycle::State;
use crate::pool::{CandidatePublisher, Candidates, PendingPlace, Pool};
use crate::stats::Stats;
use crate::time::Timestamp;
use crate::wheel::Wheel;
use crate::wire::Wire;

use command::Forward;
use compression::Compression;
use connection::Connection;
pub use connection::Peer;
use departure::Departures;
use event::Event;
use fanout::FanOut;
use places::Places;
use refusals::Refusals;
use site::Site;

/// What all shards of a server share.
#[derive(Clone)]
pub struct Shared {
    /// Routes and hooks.
    pub site: Arc<Site>,
    /// Slots and pending places.
    pub pool: Pool,
    /// The memory budget.
    pub ledger: Ledger,
    /// Open connections that take deflated messages.
    pub deflating: InUse,
    /// Who would leave each shard first.
    pub candidates: Candidates,
    /// Connections that the application was told of and has not finished with.
    pub known: KnownCount,
    /// How many shards there are.
    pub shards: usize,
}

/// One shard.
pub struct Shard<W: Wire> {
    number: usize,
    shared: Shared,
    limits: Arc<Limits>,
    codec_limits: CodecLimits,
    /// The sockets.
    pub wire: W,
    places: Places,
    wheel: Wheel,
    tick: std::time::Duration,
    lease: Lease,
    /// Channels whose home is here.
    homes: ById<Home>,
    /// Those of them with an open chunk.
    unsealed: Vec<u64>,
    /// Subscribers here, by channel.
    members: ById<Members>,
    fan_outs: VecDeque<FanOut>,
    /// Pushes that the fan-outs still owe.
    owed: usize,
    compression: Compression,
    /// Connections with something to write and a socket that may take it.
    dirty: VecDeque<u32>,
    /// Connections whose pending bytes outlived a write; by id, as a place may be given away meanwhile.
    backlogged: Vec<ConnectionId>,
    by_user: HashMap<Arc<str>, Members>,
    by_path: HashMap<Arc<str>, Members>,
    eviction: EvictionOrder,
    candidates: CandidatePublisher,
    departures: Option<Departures>,
    /// Sockets without a complete head, oldest first; checked against the table when used.
    headless: VecDeque<ConnectionId>,
    /// Sockets whose writing is shut, oldest first; likewise.
    lingering: VecDeque<ConnectionId>,
    due: Vec<u32>,
    /// Origins that the operator has been told of.
    refused_origins: Vec<String>,
    /// What the operator has been told of other refusals.
    refusals: Refusals,
    /// The operator has been told of a proxy that is not trusted.
    has_reported_forwarding: bool,
    /// While set, no socket is read (the ledger is at 90 %), and nobody is judged for silence.
    reads_paused: bool,
    reads_resumed_at: Timestamp,
    ticked_at: Timestamp,
    events: Vec<Event>,
    forwards: Vec<(usize, Forward)>,
    stats: Stats,
}

impl<W: Wire> Shard<W> {
    /// An empty shard.
    pub fn new(
        number: usize,
        shared: Shared,
        candidates: CandidatePublisher,
        limits: Arc<Limits>,
        tick: std::time::Duration,
        wire: W,
    ) -> Self {
        Self {
            number,
            lease: shared.ledger.lease(),
            eviction: EvictionOrder::new(limits.eviction),
            codec_limits: CodecLimits::from(&*limits),
            candidates,
            shared,
            limits,
            wire,
            places: Places::default(),
            wheel: Wheel::new(tick),
            tick,
            homes: ById::default(),
            unsealed: Vec::new(),
            members: ById::default(),
            fan_outs: VecDeque::new(),
            owed: 0,
            compression: Compression::default(),
            dirty: VecDeque::new(),
            backlogged: Vec::new(),
            by_user: HashMap::new(),
            by_path: HashMap::new(),
            departures: None,
            headless: VecDeque::new(),
            lingering: VecDeque::new(),
            due: Vec::new(),
            refused_origins: Vec::new(),
            refusals: Refusals::default(),
            has_reported_forwarding: false,
            reads_paused: false,
            reads_resumed_at: Timestamp::ZERO,
            ticked_at: Timestamp::ZERO,
            events: Vec::new(),
            forwards: Vec::new(),
            stats: Stats::default(),
        }
    }

    /// A socket that the acceptor took a pending place for. The driver registers it under the id's index.
    pub fn accepted(&mut self, peer: Peer, place: PendingPlace, now: Timestamp) -> ConnectionId {
        self.take_in(peer, place, crate::lifecycle::Event::HeadExpected, now)
    }

    /// The same on a TLS address: [`Shard::secured`] or [`Shard::unsecured`] must follow, within `open_timeout`.
    pub fn accepted_for_tls(&mut self, peer: Peer, place: PendingPlace, now: Timestamp) -> ConnectionId {
        self.take_in(peer, place, crate::lifecycle::Event::TlsExpected, now)
    }

    fn take_in(
        &mut self,
        peer: Peer,
        place: PendingPlace,
        expected: crate::lifecycle::Event,
        now: Timestamp,
    ) -> ConnectionId {
        let id = self.places.insert(self.number, |id| Connection::accepted(id, peer, place, now));
        self.stats.accepted += 1;
        self.count_state(None, State::Pending);
        self.apply(id.index(), expected);
        self.oldest_headless();
        self.headless.push_back(id);
        self.arm(id.index());
        id
    }

    /// Bytes from a peer. They are decoded, and unmasked, where they lie.
    pub fn bytes(&mut self, index: u32, input: &mut [u8], now: Timestamp) {
        let Some(connection) = self.places.get_mut(index) else { return };
        connection.clocks.last_byte = now;
        connection.heartbeat.awaiting_since = None;
        let state = connection.state;
        if self.is_answering(index) {
            // The verdict is spoken: whatever comes is discarded, up to a bound.
            return self.linger(index, input.len(), now);
        }
        match state {
            State::Head => self.head(index, input, now),
            State::Admitting => self.too_early(index, now),
            state if state.is_open() => self.frames(index, input, now),
            State::Draining | State::Closing | State::Evicting => self.frames(index, input, now),
            _ => self.linger(index, input.len(), now),
        }
    }

    /// Whether bytes from this socket may become messages for the application, which can be held back.
    pub fn delivers(&self, index: u32) -> bool {
        self.places.get(index).is_some_and(|connection| connection.state.is_open())
    }

    /// The peer ended its direction, or the socket failed.
    pub fn ended(&mut self, index: u32, now: Timestamp) {
        self.lost(index, now);
    }

    /// The socket takes bytes again.
    pub fn writable(&mut self, index: u32, now: Timestamp) {
        if let Some(connection) = self.places.get_mut(index) {
            connection.is_blocked = false;
            if !self.go_on_answering(index, now) {
                self.flush(index, now);
            }
        }
    }

    /// What the application is to be told, in order.
    pub fn events(&mut self) -> &mut Vec<Event> {
        &mut self.events
    }

    /// What other shards are to be told, in order for each of them.
    pub fn forwards(&mut self) -> &mut Vec<(usize, Forward)> {
        &mut self.forwards
    }

    /// What has been counted.
    pub fn stats(&mut self) -> &mut Stats {
        self.stats.backlogged = self.backlogged.len() as u64;
        self.stats.compressed = self.compression.contexts.compressed();
        self.stats.inflated = self.compression.contexts.inflated();
        &mut self.stats
    }

    /// When `tick` must be called at the latest; `None` while no deadline is armed.
    pub fn next_tick(&self, now: Timestamp) -> Option<Timestamp> {
        if self.departures.is_some() || self.reads_paused || self.pool_is_over() {
            // From the last one, not from now: turns that come more often must not put it off for ever.
            return Some((self.ticked_at + self.tick).max(now));
        }
        let compression = self.compression_deadline().map(|at| at.max(now));
        self.wheel.next_tick(now).into_iter().chain(compression).min()
    }

    /// Sockets that live here.
    pub fn sockets(&self) -> usize {
        self.places.len()
    }

    /// The limits in force.
    pub fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// Applies a lifecycle event and keeps the count of states. False: the table has no such row.
    fn apply(&mut self, index: u32, event: crate::lifecycle::Event) -> bool {
        let Some(connection) = self.places.get_mut(index) else { return false };
        let before = connection.state;
        let applied = connection.apply(event);
        debug_assert!(applied, "{before:?} has no row for {event:?}");
        let after = connection.state;
        if let Some(gauge) = &connection.gauge {
            gauge.set_state(after.public());
        }
        if before != after {
            self.count_state(Some(before), after);
        }
        applied
    }

    fn count_state(&mut self, before: Option<State>, after: State) {
        if let Some(count) = before.and_then(|state| self.stats.states.get_mut(state as usize)) {
            *count -= 1;
        }
        if let Some(count) = self.stats.states.get_mut(after as usize) {
            *count += 1;
        }
    }

    /// Holds the ledger to `now` real bytes where it had `before`.
    fn charge(&mut self, owner: Owner, before: usize, now: usize) {
        if now > before {
            self.lease.charge(owner, now - before);
        } else {
            self.lease.release(owner, before - now);
        }
    }

    /// A token for a connection that the application will be told of. `None`: it has not finished with as many
    /// as there may be connections, beside those that live.
    fn take_known(&self) -> Option<Known> {
        self.shared.known.take(2 * self.limits.max_connections)
    }

    /// Arms the wheel for the connection's next deadline.
    fn arm(&mut self, index: u32) {
        if let Some(connection) = self.places.get(index) {
            self.wheel.arm(index, connection.next_deadline(&self.limits));
        }
    }

    /// Arms the wheel only if `at` comes before what it is armed for: a deadline that has just come up.
    fn arm_by(&mut self, index: u32, at: Timestamp) {
        if self.wheel.armed_at(index).is_none_or(|armed| at < armed) {
            self.wheel.arm(index, at);
        }
    }
}

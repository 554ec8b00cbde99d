//! Receives bytes, room, time and forwards · hands them to shards, as a driver does, and collects what they say ·
//! owns the fake clock, the forwards on their way and the events that nobody has looked at.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use streamconductor_core::channel::{Policy, Registry};
use streamconductor_core::id::ConnectionId;
use streamconductor_core::known::KnownCount;
use streamconductor_core::ledger::Ledger;
use streamconductor_core::pool::{AddressCount, Candidates, PendingPlace, Pool};
use streamconductor_core::shard::command::Forward;
use streamconductor_core::shard::event::Event;
use streamconductor_core::shard::{Peer, Shard, Shared};
use streamconductor_core::time::Timestamp;

use super::setup::site;
use super::{Client, Memory, Room, Setup, Socket, TICK};

/// One of the two ways in which a shard takes a socket.
type Accepted = fn(&mut Shard<Memory>, Peer, PendingPlace, Timestamp) -> ConnectionId;

/// All shards of a server, and what is between them.
pub struct Server {
    pub shards: Vec<Shard<Memory>>,
    pub now: Timestamp,
    pub pool: Pool,
    pub ledger: Ledger,
    pub known: KnownCount,
    pub registry: Registry,
    pub address: AddressCount,
    /// What the application has not looked at.
    pub events: Vec<Event>,
    /// Forwards on their way, by sender and receiver.
    pub lanes: Vec<Vec<VecDeque<Forward>>>,
    /// While true forwards stay on their way until the test delivers them.
    pub holds_forwards: bool,
}

impl Server {
    pub fn new(setup: Setup) -> Self {
        let count = setup.shards;
        let pool = Pool::new(setup.limits.max_connections, setup.limits.max_pending);
        let ledger = Ledger::new(setup.limits.memory_budget);
        let (candidates, publishers) = Candidates::new(count);
        let known = KnownCount::default();
        let fallback = Policy { overflow: setup.limits.overflow, high_water: None };
        let shared = Shared {
            site: Arc::new(site(&setup)),
            pool: pool.clone(),
            ledger: ledger.clone(),
            candidates,
            known: known.clone(),
            shards: count,
        };
        let limits = Arc::new(setup.limits);
        let shard = |(number, publisher)| {
            Shard::new(number, shared.clone(), publisher, Arc::clone(&limits), TICK, Memory::default())
        };
        Self {
            shards: publishers.into_iter().enumerate().map(shard).collect(),
            now: Timestamp::from_millis(1),
            pool,
            ledger,
            known,
            registry: Registry::new(count, fallback),
            address: AddressCount::default(),
            events: Vec::new(),
            lanes: (0..count).map(|_| (0..count).map(|_| VecDeque::new()).collect()).collect(),
            holds_forwards: false,
        }
    }

    pub fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup::default();
        change(&mut setup);
        Self::new(setup)
    }

    /// A socket that the acceptor found a pending place for; `None` when there was none.
    pub fn accept(&mut self, shard: usize) -> Option<Client> {
        self.accept_as(shard, Shard::accepted)
    }

    /// The same on a TLS address; what TLS comes to is the test's to say.
    pub fn accept_for_tls(&mut self, shard: usize) -> Option<Client> {
        self.accept_as(shard, Shard::accepted_for_tls)
    }

    fn accept_as(&mut self, shard: usize, accepted: Accepted) -> Option<Client> {
        let place = self.pool.take_pending()?;
        let address = Some(SocketAddr::from(([203, 0, 113, 7], 40_000)));
        let peer = Peer { address, count: Some(self.address.clone()) };
        let id = accepted(&mut self.shards[shard], peer, place, self.now);
        let socket = Rc::new(RefCell::new(Socket::default()));
        self.shards[shard].wire.sockets.insert(id.index(), Rc::clone(&socket));
        Some(Client::new(id, socket))
    }

    /// The client's bytes reach the server, unless it does not read.
    pub fn send(&mut self, client: &Client, bytes: &[u8]) {
        client.socket.borrow_mut().unread.extend_from_slice(bytes);
        self.turn_of(client);
    }

    /// The client ends its direction, or its socket breaks.
    pub fn end(&mut self, client: &Client) {
        client.socket.borrow_mut().has_ended = true;
        self.turn_of(client);
    }

    /// The socket has room again.
    pub fn unblock(&mut self, client: &Client, room: Room) {
        client.set_room(room);
        if client.released().is_none() {
            let now = self.now;
            self.shards[client.id.shard()].writable(client.id.index(), now);
        }
        self.turn();
    }

    fn turn_of(&mut self, client: &Client) {
        self.read(client.id.shard(), client.id.index(), &client.socket);
        self.turn();
    }

    /// Lets a shard read what a socket has, if it wants to.
    pub fn read(&mut self, shard: usize, index: u32, socket: &Rc<RefCell<Socket>>) {
        let is_open = |socket: &Socket| socket.is_reading && socket.released.is_none();
        let mut unread = {
            let mut socket = socket.borrow_mut();
            if is_open(&socket) { std::mem::take(&mut socket.unread) } else { Vec::new() }
        };
        if !unread.is_empty() {
            self.shards[shard].bytes(index, &mut unread, self.now);
        }
        let has_ended = {
            let socket = socket.borrow();
            is_open(&socket) && socket.has_ended && socket.unread.is_empty()
        };
        if has_ended {
            self.shards[shard].ended(index, self.now);
        }
    }

    /// Runs all shards until nothing is left to do now.
    pub fn turn(&mut self) {
        loop {
            self.work();
            self.read_all();
            let is_quiet = self.holds_forwards || !self.deliver_all();
            if is_quiet && (0..self.shards.len()).all(|shard| self.is_quiet(shard)) {
                return;
            }
        }
    }

    fn is_quiet(&mut self, shard: usize) -> bool {
        let now = self.now;
        !self.shards[shard].work(now, &mut || true)
            && self.shards[shard].events().is_empty()
            && self.shards[shard].forwards().is_empty()
    }

    /// One turn of each shard: all of its work, then its events and forwards go on their way.
    pub fn work(&mut self) {
        for shard in 0..self.shards.len() {
            while self.shards[shard].work(self.now, &mut || true) {}
            self.collect(shard);
        }
    }

    /// What a shard says goes on its way.
    pub fn collect(&mut self, shard: usize) {
        self.events.append(self.shards[shard].events());
        for (to, forward) in std::mem::take(self.shards[shard].forwards()) {
            assert_ne!(to, shard, "a shard forwards to itself");
            self.lanes[shard][to].push_back(forward);
        }
    }

    fn read_all(&mut self) {
        for shard in 0..self.shards.len() {
            let sockets: Vec<_> =
                self.shards[shard].wire.sockets.iter().map(|(index, one)| (*index, Rc::clone(one))).collect();
            for (index, socket) in sockets {
                self.read(shard, index, &socket);
            }
        }
    }

    fn deliver_all(&mut self) -> bool {
        let mut is_any = false;
        for from in 0..self.shards.len() {
            for to in 0..self.shards.len() {
                while self.deliver(from, to) {
                    is_any = true;
                }
            }
        }
        is_any
    }

    /// Delivers the oldest forward between two shards.
    pub fn deliver(&mut self, from: usize, to: usize) -> bool {
        let forward = self.lanes[from][to].pop_front();
        let is_any = forward.is_some();
        if let Some(forward) = forward {
            self.shards[to].forwarded(from, forward, self.now);
        }
        is_any
    }

    /// Lets time pass, tick by tick where a shard wants to be called.
    pub fn pass(&mut self, time: Duration) {
        let target = self.now + time;
        loop {
            let now = self.now;
            let next = self.shards.iter().filter_map(|shard| shard.next_tick(now)).min();
            let Some(next) = next.filter(|at| *at <= target) else { break };
            self.now = next.max(now + Duration::from_micros(1));
            self.tick();
        }
        self.now = target;
        self.turn();
    }

    pub fn tick(&mut self) {
        let now = self.now;
        for shard in &mut self.shards {
            shard.tick(now);
        }
        self.turn();
    }
}

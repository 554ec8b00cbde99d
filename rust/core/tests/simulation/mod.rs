//! Receives what a test does · hands it to shards and clients in one thread · owns the fake clock, the forwards on
//! their way and the events that nobody has looked at.
#![allow(dead_code, reason = "each test binary compiles this anew and uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod wire;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use streamconductor_core::channel::{Channel, Policy, Registry};
use streamconductor_core::close::{CloseCode, Ending};
use streamconductor_core::codec::{Kind, encode_message};
use streamconductor_core::config::{Eviction, Limits, Marks, Origins, Overflow};
use streamconductor_core::gauge::Gauge;
use streamconductor_core::handshake::{Request, ResponseHeaders, RouteSettings, Router, plain_response};
use streamconductor_core::known::KnownCount;
use streamconductor_core::ledger::Ledger;
use streamconductor_core::pool::{AddressCount, Candidates, Pool};
use streamconductor_core::shard::command::{Admission, Command, Forward, Refused};
use streamconductor_core::shard::event::{Closed, Event};
use streamconductor_core::shard::site::{Plain, Route, Site};
use streamconductor_core::shard::view::ConnectionView;
use streamconductor_core::shard::{Peer, Shard, Shared};
use streamconductor_core::stats::Stats;
use streamconductor_core::time::Timestamp;
#[allow(unused_imports, reason = "as above")]
pub use wire::{Client, Got, Memory, Room, Socket, close, control, frame, text};

pub const TICK: Duration = Duration::from_millis(50);

pub const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// What a test varies.
pub struct Setup {
    pub limits: Limits,
    pub shards: usize,
    pub asks: bool,
    pub reports_closes: bool,
    pub has_pool_policy: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self { limits: limits(), shards: 1, asks: false, reports_closes: true, has_pool_policy: false }
    }
}

/// Limits that are out of the way of most tests.
pub fn limits() -> Limits {
    Limits {
        open_timeout: seconds(5),
        close_timeout: seconds(5),
        idle_timeout: None,
        ping_interval: None,
        ping_timeout: seconds(20),
        write_timeout: None,
        max_lag: None,
        dwell: seconds(5),
        max_connection_age: None,
        message_timeout: seconds(30),
        max_message_size: 1 << 20,
        max_frame_size: 1 << 20,
        max_fragments: 64,
        max_inbound: 256 * 1024,
        max_frame_rate: None,
        max_control_rate: None,
        max_channels: 128,
        marks: Marks { high_water: 1_000, low_water: 250, max_buffered: 4_000 },
        overflow: Overflow::Disconnect,
        max_connections: 100,
        max_connections_per_address: None,
        max_pending: 100,
        eviction: Eviction::Reject,
        memory_budget: 64 << 20,
        origins: Origins::Any,
    }
}

struct Probe;

impl Plain for Probe {
    fn knows(&self, path: &str) -> bool {
        path == "/livez"
    }

    fn answer(&self, _: &Request, head_only: bool) -> Bytes {
        plain_response(200, "text/plain", b"ok", head_only, &ResponseHeaders::default()).into()
    }
}

/// The routes: both ways and held; one way and not held; with a heartbeat.
fn site(setup: &Setup) -> Site {
    let mut router = Router::new();
    let chat = RouteSettings { subprotocols: vec!["chat".into()], origins: None };
    router.add("/chat", chat).unwrap();
    router.add("/feed", RouteSettings::default()).unwrap();
    router.add("/beat", RouteSettings::default()).unwrap();
    let heartbeat = Bytes::from(server_frame(Kind::Text, b"beat"));
    let route = |receives, held, heartbeat| Route { receives, held, heartbeat };
    Site {
        router,
        routes: vec![route(true, true, None), route(false, false, None), route(true, true, Some(heartbeat))],
        asks: setup.asks,
        reports_closes: setup.reports_closes,
        reports_backpressure: true,
        has_pool_policy: setup.has_pool_policy,
        retry_after: seconds(1),
        plain: Arc::new(Probe),
    }
}

pub fn server_frame(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_message(&mut frame, kind, payload);
    frame
}

/// A GET that asks to be upgraded.
pub fn upgrade(path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes()
}

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
        let place = self.pool.take_pending()?;
        let address = Some(SocketAddr::from(([203, 0, 113, 7], 40_000)));
        let peer = Peer { address, count: Some(self.address.clone()) };
        let id = self.shards[shard].accepted(peer, place, self.now);
        let socket = Rc::new(RefCell::new(Socket::default()));
        self.shards[shard].wire.sockets.insert(id.index(), Rc::clone(&socket));
        Some(Client::new(id, socket))
    }

    /// A socket that asks to be upgraded.
    pub fn ask(&mut self, shard: usize, path: &str) -> Client {
        let client = self.accept(shard).expect("a pending place is free");
        self.send(&client, &upgrade(path));
        client
    }

    /// An open connection on the route that is held; its events of opening are looked at already.
    pub fn open(&mut self, shard: usize) -> (Client, Arc<Gauge>) {
        let mut client = self.ask(shard, "/chat");
        let is_asked =
            |event: &Event| matches!(event, Event::Arrived(one) if one.asks && one.connection == client.id);
        if self.take(is_asked).len() == 1 {
            self.admit(&client, |_| {});
        }
        assert_eq!(client.status(), 101, "{}", client.head());
        let gauge = self.opened(&client);
        self.take(|event| matches!(event, Event::Arrived(one) if one.connection == client.id));
        (client, gauge)
    }

    /// The gauge of a connection that has just opened.
    pub fn opened(&mut self, client: &Client) -> Arc<Gauge> {
        let opened = self.take(|event| matches!(event, Event::Opened(one) if one.connection == client.id));
        let [Event::Opened(opening)] = &opened[..] else { panic!("{opened:?}") };
        opening.gauge.clone().expect("the route is held")
    }

    pub fn admit(&mut self, client: &Client, change: impl FnOnce(&mut Admission)) {
        let mut admission = Admission {
            connection: client.id,
            user: None,
            priority: 0,
            subprotocol: None,
            headers: ResponseHeaders::default(),
            victim: None,
            subscribe: Vec::new(),
        };
        change(&mut admission);
        self.command(client.id.shard(), Command::Admit(Box::new(admission)));
    }

    pub fn refuse(&mut self, client: &Client, status: u16, reason: &str) {
        let headers = ResponseHeaders::default();
        let refused = Refused { connection: client.id, status, reason: reason.into(), headers };
        self.command(client.id.shard(), Command::Refuse(Box::new(refused)));
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

    pub fn command(&mut self, shard: usize, command: Command) {
        self.shards[shard].command(command, self.now);
        self.turn();
    }

    /// A private text, as `send` (`awaited`) or `send_nowait` hands it over.
    pub fn tell(&mut self, client: &Client, gauge: &Gauge, payload: &str, awaited: bool) {
        let frame = Bytes::from(server_frame(Kind::Text, payload.as_bytes()));
        gauge.sent(frame.len());
        self.command(client.id.shard(), Command::Send { connection: client.id, frame, awaited });
    }

    pub fn close(&mut self, client: &Client, code: CloseCode, reason: &str) {
        self.end_with(client, Ending::Closed { code, reason: reason.into() });
    }

    pub fn end_with(&mut self, client: &Client, ending: Ending) {
        let command = Command::Close { connection: client.id, ending: Box::new(ending) };
        self.command(client.id.shard(), command);
    }

    pub fn subscribe(&mut self, client: &Client, channel: &str) -> Arc<Channel> {
        let channel = self.registry.join(channel);
        let (connection, first) = (client.id, None);
        let command = Command::Subscribe { connection, channel: Arc::clone(&channel), first };
        self.command(channel.home(), command);
        channel
    }

    pub fn unsubscribe(&mut self, client: &Client, channel: &Arc<Channel>) {
        let command = Command::Unsubscribe { connection: client.id, channel: Arc::clone(channel) };
        self.command(channel.home(), command);
    }

    pub fn publish(&mut self, channel: &Arc<Channel>, payload: &str) {
        self.publish_quietly(channel, payload, 0);
        self.turn();
    }

    /// Publishes within a turn that goes on.
    pub fn publish_quietly(&mut self, channel: &Arc<Channel>, payload: &str, key: u64) {
        let (channel, payload) = (Arc::clone(channel), Bytes::copy_from_slice(payload.as_bytes()));
        let home = channel.home();
        let command = Command::Publish { channel, kind: Kind::Text, payload, key };
        self.shards[home].command(command, self.now);
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

    /// Takes the events that are meant out of those nobody has looked at.
    pub fn take(&mut self, is_meant: impl Fn(&Event) -> bool) -> Vec<Event> {
        self.events.extract_if(.., |event| is_meant(event)).collect()
    }

    /// The one ending of a client, taken; the tokens of others stay.
    pub fn closed(&mut self, client: &Client) -> Closed {
        let mut closed =
            self.take(|event| matches!(event, Event::Closed(closed) if closed.connection == client.id));
        assert_eq!(closed.len(), 1, "exactly one ending: {closed:?}");
        let Some(Event::Closed(closed)) = closed.pop() else { unreachable!() };
        *closed
    }

    /// The messages of a client that the application has not looked at.
    pub fn heard(&mut self, client: &Client) -> Vec<String> {
        let events =
            self.take(|event| matches!(event, Event::Message { connection, .. } if *connection == client.id));
        let payload = |event| match event {
            Event::Message { payload, .. } => String::from_utf8(payload.to_vec()).unwrap(),
            _ => unreachable!(),
        };
        events.into_iter().map(payload).collect()
    }

    pub fn stats(&mut self) -> Stats {
        let mut sum = Stats::default();
        for shard in &mut self.shards {
            sum.merge(shard.stats());
        }
        sum
    }

    pub fn view(&mut self, client: &Client) -> Option<ConnectionView> {
        let (sender, views) = std::sync::mpsc::channel();
        let answer = Box::new(move |views| drop(sender.send(views)));
        self.command(client.id.shard(), Command::List { filter: Default::default(), answer });
        let views: Vec<ConnectionView> = views.recv().unwrap();
        views.into_iter().find(|view| view.connection == client.id)
    }

    pub fn reconfigure(&mut self, change: impl FnOnce(&mut Limits)) {
        let mut limits = Limits::clone(self.shards[0].limits());
        change(&mut limits);
        self.pool.set_maxima(limits.max_connections, limits.max_pending);
        self.ledger.set_budget(limits.memory_budget);
        let limits = Arc::new(limits);
        for shard in 0..self.shards.len() {
            self.command(shard, Command::Reconfigure(Arc::clone(&limits)));
        }
    }
}

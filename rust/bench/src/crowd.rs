//! Receives how many connections there are to be · hands out a shard that has them · owns the site around it: routes,
//! limits as in production, and nobody to ask.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use streamconductor_core::channel::{Channel, Policy, Registry};
use streamconductor_core::codec::Kind;
use streamconductor_core::config::{Eviction, Limits, Marks, Origins, Overflow};
use streamconductor_core::deflate::{Encoding, InUse, WindowBits};
use streamconductor_core::gauge::Gauge;
use streamconductor_core::handshake::{Request, RouteSettings, Router, TrustedProxies};
use streamconductor_core::id::ConnectionId;
use streamconductor_core::known::KnownCount;
use streamconductor_core::ledger::Ledger;
use streamconductor_core::pool::{AddressCount, Candidates, Pool, UserCount};
use streamconductor_core::shard::command::{Command, Publication};
use streamconductor_core::shard::event::Event;
use streamconductor_core::shard::site::{Counts, Plain, Route, Site};
use streamconductor_core::shard::{Peer, Shard, Shared};
use streamconductor_core::time::Timestamp;

use crate::sink::Sink;

/// How often the wheel is looked at, as it is with the default heartbeat.
pub const TICK: Duration = Duration::from_millis(50);

/// The head that a browser sends, as far as a server reads it.
pub const HEAD: &str = "GET /feed?page=1 HTTP/1.1\r\n\
    Host: example.com\r\n\
    Connection: Upgrade\r\n\
    Pragma: no-cache\r\n\
    Cache-Control: no-cache\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36\r\n\
    Upgrade: websocket\r\n\
    Origin: https://example.com\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

/// What a workload varies.
pub struct Terms {
    /// Whether the application holds each connection, as a route with handlers does.
    pub held: bool,
    /// Whether connections take compressed messages.
    pub compressed: bool,
    /// What becomes of publications in the ring of a slow reader.
    pub overflow: Overflow,
}

impl Default for Terms {
    fn default() -> Self {
        Self { held: false, compressed: false, overflow: Overflow::Disconnect }
    }
}

/// A shard with open connections.
pub struct Crowd {
    pub shard: Shard<Sink>,
    pub now: Timestamp,
    pub connections: Vec<ConnectionId>,
    /// What the application reads of each connection, if it holds them.
    pub gauges: Vec<Arc<Gauge>>,
    pool: Pool,
    registry: Registry,
}

impl Crowd {
    /// A shard on which `connections` have been opened.
    pub fn new(connections: usize, terms: &Terms) -> Self {
        let limits = limits(terms);
        let pool = Pool::new(limits.max_connections, limits.max_pending);
        let (candidates, mut publishers) = Candidates::new(1);
        let shared = Shared {
            site: Arc::new(site(terms)),
            pool: pool.clone(),
            ledger: Ledger::new(limits.memory_budget),
            deflating: InUse::default(),
            candidates,
            known: KnownCount::default(),
            shards: 1,
        };
        let registry = Registry::new(1, Policy { overflow: terms.overflow, high_water: None });
        let publisher = publishers.remove(0);
        let shard = Shard::new(0, shared, publisher, Arc::new(limits), TICK, Sink::default());
        let now = Timestamp::from_millis(1);
        let (connections_wanted, connections) = (connections, Vec::new());
        let mut crowd = Self { shard, now, connections, gauges: Vec::new(), pool, registry };
        for _ in 0..connections_wanted {
            crowd.open();
        }
        crowd.work();
        crowd
    }

    /// One connection more, from accept to open; where there is no place for it, none.
    pub fn open(&mut self) -> Option<ConnectionId> {
        let place = self.pool.take_pending()?;
        let address = Some(SocketAddr::from(([203, 0, 113, 7], 40_000)));
        let id = self.shard.accepted(Peer { address, count: None }, place, self.now);
        let mut head = HEAD.as_bytes().to_vec();
        self.shard.bytes(id.index(), &mut head, self.now);
        let opened = self.shard.events().drain(..).find_map(|event| match event {
            Event::Opened(opening) => opening.gauge,
            _ => None,
        });
        self.gauges.extend(opened);
        let is_open = self.shard.delivers(id.index());
        is_open.then(|| self.connections.push(id))?;
        Some(id)
    }

    /// The peers of all connections vanish.
    pub fn vanish(&mut self) {
        for id in self.connections.drain(..) {
            self.shard.ended(id.index(), self.now);
        }
        self.gauges.clear();
        self.shard.events().clear();
    }

    /// A channel to which every connection is subscribed.
    pub fn channel(&mut self, name: &str, encoding: Encoding) -> Option<Arc<Channel>> {
        let mut channel = None;
        for connection in self.connections.clone() {
            let joined = self.registry.join(name);
            let command =
                Command::Subscribe { connection, channel: Arc::clone(&joined), encoding, first: None };
            self.shard.command(command, self.now);
            channel = Some(joined);
        }
        self.work();
        channel
    }

    /// Publishes within a turn that goes on.
    pub fn publish(&mut self, channel: &Arc<Channel>, payload: &Bytes) {
        let publication = Publication { kind: Kind::Text, payload: payload.clone(), key: 0, prepared: None };
        self.shard.command(Command::Publish { channel: Arc::clone(channel), publication }, self.now);
    }

    /// Turns until nothing is left to do now.
    pub fn work(&mut self) {
        while self.shard.work(self.now, &mut || true) {}
    }

    /// A client's compressed encoding, where the terms have one.
    pub const fn deflate() -> Encoding {
        Encoding::Deflate(WindowBits::MAX)
    }
}

fn limits(terms: &Terms) -> Limits {
    const SECOND: Duration = Duration::from_secs(1);
    Limits {
        open_timeout: 5 * SECOND,
        close_timeout: 5 * SECOND,
        idle_timeout: Some(3_600 * SECOND),
        ping_interval: Some(20 * SECOND),
        ping_timeout: 20 * SECOND,
        write_timeout: Some(30 * SECOND),
        max_lag: Some(60 * SECOND),
        dwell: 5 * SECOND,
        max_connection_age: None,
        message_timeout: 30 * SECOND,
        max_message_size: 1 << 20,
        max_frame_size: 1 << 20,
        max_fragments: 1_024,
        max_inbound: 256 << 10,
        max_frame_rate: None,
        max_message_rate: None,
        max_byte_rate: None,
        max_control_rate: Some(100),
        compression: terms.compressed,
        compression_threshold: 512,
        max_channels: 128,
        // A tenth of what production has, so that a run of moderate length goes through a whole cycle of drops.
        marks: Marks { high_water: 64 << 10, low_water: 16 << 10, max_buffered: 200 << 10 },
        overflow: terms.overflow,
        max_connections: 10_000,
        max_connections_per_address: None,
        max_connections_per_user: None,
        max_handshake_rate: None,
        max_pending: 1_024,
        eviction: Eviction::Reject,
        retry_after: SECOND,
        memory_budget: 1 << 30,
        origins: Origins::Same,
        trusted_proxies: TrustedProxies::default(),
    }
}

fn site(terms: &Terms) -> Site {
    let (router, routes) = routes(terms.held);
    Site {
        router,
        routes,
        asks: false,
        reports_closes: false,
        reports_backpressure: false,
        has_pool_policy: false,
        tokens: None,
        plain: Arc::new(Nothing),
        counts: Arc::new(Nothing),
    }
}

/// One route, to which [`HEAD`] leads.
pub fn routes(held: bool) -> (Router, Vec<Route>) {
    let mut router = Router::new();
    let added = router.add("/feed", RouteSettings::default());
    debug_assert!(added.is_ok(), "{added:?}");
    (router, vec![Route { receives: held, held, heartbeat: None }])
}

/// A server without probes, and without limits by address or user.
struct Nothing;

impl Plain for Nothing {
    fn knows(&self, _: &str) -> bool {
        false
    }

    fn answer(&self, _: &Request, _: bool) -> Bytes {
        Bytes::new()
    }
}

impl Counts for Nothing {
    fn of_address(&self, _: IpAddr) -> AddressCount {
        AddressCount::default()
    }

    fn of_user(&self, _: &Arc<str>) -> UserCount {
        UserCount::default()
    }

    fn take_handshake(&self, _: IpAddr, _: u32, _: Timestamp) -> bool {
        true
    }
}

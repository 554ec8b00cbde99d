//! Turns called one by one, over socket pairs: what they take, what they set aside and in which order they do it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net;

use bytes::Bytes;
use streamconductor_core::channel::{Channel, Policy, Registry};
use streamconductor_core::codec::Kind;
use streamconductor_core::config::{Eviction, Limits, Marks, Origins, Overflow};
use streamconductor_core::deflate::{Encoding, InUse};
use streamconductor_core::handshake::{RouteSettings, Router, TrustedProxies};
use streamconductor_core::known::KnownCount;
use streamconductor_core::ledger::{Charge, Owner};
use streamconductor_core::pool::Candidates;
use streamconductor_core::shard::command::Publication;
use streamconductor_core::shard::site::{Route, Site};
use streamconductor_core::shard::{Peer, Shared};

use super::*;
use crate::counts::Counts;
use crate::doorbell::Doorbell;
use crate::front::Front;
use crate::listener::Raw;
use crate::readiness::Readiness;

const BUDGET: usize = 64 << 20;
const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// Text frames of one letter, masked with zeros.
const HELLO: &[u8] = b"\x81\x81\0\0\0\0h";
const WORLD: &[u8] = b"\x81\x81\0\0\0\0w";

fn limits() -> Limits {
    let second = Duration::from_secs(1);
    Limits {
        open_timeout: 5 * second,
        close_timeout: 5 * second,
        idle_timeout: None,
        ping_interval: None,
        ping_timeout: 20 * second,
        write_timeout: None,
        max_lag: None,
        dwell: 5 * second,
        max_connection_age: None,
        message_timeout: 30 * second,
        max_message_size: 1 << 20,
        max_frame_size: 1 << 20,
        max_fragments: 64,
        max_inbound: 256 * 1024,
        max_frame_rate: None,
        max_message_rate: None,
        max_byte_rate: None,
        max_control_rate: None,
        compression: false,
        compression_threshold: 512,
        max_channels: 128,
        marks: Marks { high_water: 1 << 20, low_water: 1 << 18, max_buffered: 4 << 20 },
        overflow: Overflow::Disconnect,
        max_connections: 100,
        max_connections_per_address: None,
        max_connections_per_user: None,
        max_handshake_rate: None,
        max_pending: 100,
        eviction: Eviction::Reject,
        retry_after: second,
        memory_budget: BUDGET,
        origins: Origins::Any,
        trusted_proxies: TrustedProxies::default(),
    }
}

/// A driver whose turns the test takes, and the application's end of it.
struct Stand {
    driver: Driver,
    registry: Registry,
    next_tick: Option<Timestamp>,
}

impl Stand {
    fn new() -> Self {
        let (clock, ledger) = (Clock::start(), Ledger::new(BUDGET));
        let upward = Arc::new(Upward::new(&ledger, Arc::new(Doorbell::new().unwrap())));
        let readiness = Arc::new(Readiness::new(clock, ledger.clone(), Duration::ZERO, None));
        let mut router = Router::new();
        router.add("/", RouteSettings::default()).unwrap();
        let site = Arc::new(Site {
            router,
            routes: vec![Route { receives: true, held: true, heartbeat: None }],
            asks: false,
            reports_closes: false,
            reports_backpressure: false,
            has_pool_policy: false,
            tokens: None,
            plain: Arc::new(Front { readiness, assets: std::collections::HashMap::new() }),
            counts: Arc::new(Counts::default()),
        });
        let inbox = Arc::new(Inbox::new(limits().marks.max_buffered, &ledger));
        let (candidates, mut publishers) = Candidates::new(1);
        let pool = Pool::new(100, 100);
        let known = KnownCount::default();
        let shared = Shared {
            site,
            pool: pool.clone(),
            ledger: ledger.clone(),
            candidates,
            known,
            deflating: InUse::default(),
            shards: 1,
        };
        let sockets = Sockets::new(inbox.alarm.clone());
        let publisher = publishers.pop().unwrap();
        let shard = Shard::new(0, shared, publisher, Arc::new(limits()), Duration::from_millis(50), sockets);
        let inboxes: Arc<[_]> = Arc::from([Arc::clone(&inbox)]);
        let wanted = Arc::default();
        let surroundings =
            Surroundings { number: 0, inboxes, upward, pool, ledger, wanted, clock, tls: None };
        let policy = Policy { overflow: Overflow::Disconnect, high_water: None };
        Self {
            driver: Driver::new(shard, inbox, surroundings),
            registry: Registry::new(1, policy),
            next_tick: None,
        }
    }

    /// A socket pair: the shard's end is accepted, the other returned.
    fn connect(&mut self) -> (net::UnixStream, ConnectionId) {
        let (ours, theirs) = net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let place = self.driver.surroundings.pool.take_pending().unwrap();
        let now = self.driver.surroundings.clock.now();
        let id = self.driver.shard.accepted(Peer { address: None, count: None }, place, now);
        let stream = Raw::Unix(ours).into();
        self.driver.shard.wire.insert(id.index(), stream, None);
        (theirs, id)
    }

    /// An open connection; its 101 has been read.
    async fn open(&mut self) -> (net::UnixStream, ConnectionId) {
        let (mut peer, id) = self.connect();
        peer.write_all(UPGRADE).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            self.turn().await;
            head.extend_from_slice(&received(&mut peer));
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "));
        self.events();
        (peer, id)
    }

    /// What the kernel has to say, then one turn.
    async fn turn(&mut self) -> bool {
        // Tokio asks the kernel when nobody else has anything to do, which is now.
        tokio::task::yield_now().await;
        self.driver.turn(&mut self.next_tick)
    }

    fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        let _ = self.driver.surroundings.upward.drain(&mut events, usize::MAX);
        events
    }

    fn messages(&self) -> Vec<Bytes> {
        let message = |event| if let Event::Message { payload, .. } = event { Some(payload) } else { None };
        self.events().into_iter().filter_map(message).collect()
    }

    fn tell(&self, commands: impl IntoIterator<Item = Command>) {
        let mut batch: Vec<_> = commands.into_iter().collect();
        let bytes = batch.iter().map(weight).sum();
        self.driver.inbox.commands.append(&mut batch, bytes, Class::Ordinary).unwrap();
    }

    /// So much of the budget is used, until the charge is dropped.
    fn use_percent(&self, percent: usize) -> Charge {
        self.driver.surroundings.ledger.charge(Owner::Inbound, BUDGET / 100 * percent)
    }

    fn subscribe(&mut self, connection: ConnectionId) -> Arc<Channel> {
        let channel = self.registry.join("news");
        let encoding = Encoding::Raw;
        self.tell([Command::Subscribe { connection, channel: Arc::clone(&channel), encoding, first: None }]);
        channel
    }
}

fn publication(channel: &Arc<Channel>, number: usize) -> Command {
    let payload = Bytes::from(format!("{number:05}"));
    let publication = Publication { kind: Kind::Text, payload, key: 0, prepared: None };
    Command::Publish { channel: Arc::clone(channel), publication }
}

/// What has come.
fn received(peer: &mut net::UnixStream) -> Vec<u8> {
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        match peer.read(&mut piece) {
            Ok(0) => return all,
            Ok(count) => all.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return all,
            Err(error) => panic!("{error}"),
        }
    }
}

/// The numbers of the publications that have come, each a text frame of five digits.
fn numbers(peer: &mut net::UnixStream) -> Vec<usize> {
    let number = |frame: &[u8]| {
        assert_eq!(frame[..2], [0x81, 5]);
        std::str::from_utf8(&frame[2..]).unwrap().parse().unwrap()
    };
    received(peer).chunks(7).map(number).collect()
}

/// Runs a test on a runtime like a shard's.
fn on_a_shard(test: impl AsyncFnOnce(Stand)) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
    runtime.block_on(async { test(Stand::new()).await });
}

#[test]
fn a_place_stands_in_the_list_once_however_often_it_is_put_there() {
    on_a_shard(async |mut stand| {
        let (mut peer, id) = stand.open().await;
        let index = id.index();
        peer.write_all(HELLO).unwrap();
        // The kernel's waker lists it, too.
        tokio::task::yield_now().await;
        let wire = &mut stand.driver.shard.wire;
        for _ in 0..3 {
            wire.look_again(index);
            wire.watch(index);
        }
        let mut ready = Vec::new();
        wire.take_ready(&mut ready);
        assert_eq!(ready, [index]);

        // Taken, but not yet begun: it waits its turn and is not listed behind itself.
        wire.look_again(index);
        wire.take_ready(&mut ready);
        assert_eq!(ready, [index]);
        wire.begin(index);
        wire.look_again(index);
        wire.take_ready(&mut ready);
        assert_eq!(ready, [index, index]);
    });
}

#[test]
fn at_ninety_percent_bytes_wait_and_nobody_is_forgotten_or_listed_twice() {
    on_a_shard(async |mut stand| {
        let (mut first, one) = stand.open().await;
        let (mut second, _) = stand.open().await;
        let charge = stand.use_percent(95);
        for _ in 0..3 {
            first.write_all(HELLO).unwrap();
            // As a socket does that becomes writable meanwhile.
            stand.driver.shard.wire.look_again(one.index());
            stand.turn().await;
        }
        second.write_all(WORLD).unwrap();
        stand.turn().await;
        assert_eq!(stand.messages(), [] as [Bytes; 0]);
        assert_eq!(stand.driver.unread.len(), 2);
        assert_eq!(stand.driver.unread.first(), Some(&one.index()));

        // A probe is answered all the same.
        let (mut probe, _) = stand.connect();
        probe.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        while answer.is_empty() {
            stand.turn().await;
            answer = received(&mut probe);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "));
        assert_eq!(stand.messages(), [] as [Bytes; 0]);

        drop(charge);
        stand.turn().await;
        assert_eq!(stand.messages(), ["h", "h", "h", "w"]);
        assert!(stand.driver.unread.is_empty());
    });
}

#[test]
fn what_is_set_aside_is_done_in_its_order_and_before_what_comes_later() {
    on_a_shard(async |mut stand| {
        let (mut peer, id) = stand.open().await;
        let channel = stand.subscribe(id);
        stand.turn().await;
        let charge = stand.use_percent(95);
        stand.tell((0..3).map(|number| publication(&channel, number)));
        // Concerns no channel, so it need not wait.
        let frame = Bytes::from_static(b"\x81\x0500003");
        stand.tell([Command::Send { connection: id, frame, awaited: true }]);
        stand.tell([publication(&channel, 4)]);
        stand.turn().await;
        assert_eq!(numbers(&mut peer), [3]);
        assert_eq!(stand.driver.held.len(), 4);
        assert!(stand.driver.inbox.commands.status().held > 0, "held commands count against the mailbox");

        drop(charge);
        stand.tell([publication(&channel, 5)]);
        let mut came = Vec::new();
        while came.len() < 5 {
            stand.turn().await;
            came.extend(numbers(&mut peer));
        }
        assert_eq!(came, [0, 1, 2, 4, 5]);
        assert_eq!((stand.driver.held.len(), stand.driver.inbox.commands.status().held), (0, 0));
    });
}

#[test]
fn a_turn_takes_a_bounded_number_of_commands_new_or_set_aside() {
    const MORE: usize = 1_000;
    on_a_shard(async |mut stand| {
        let (mut peer, id) = stand.open().await;
        let channel = stand.subscribe(id);
        stand.turn().await;
        let charge = stand.use_percent(95);
        stand.tell((0..COMMANDS + MORE).map(|number| publication(&channel, number)));
        assert!(stand.turn().await, "there is more to do");
        assert_eq!((stand.driver.held.len(), stand.driver.inbox.commands.status().items), (COMMANDS, MORE));
        assert!(!stand.turn().await, "what is held up is nothing to do at once");
        assert_eq!(stand.driver.held.len(), COMMANDS + MORE);

        drop(charge);
        // More than a turn takes is set aside, and this one comes while some of it still is.
        stand.tell([publication(&channel, COMMANDS + MORE)]);
        assert!(stand.turn().await);
        assert_eq!(stand.driver.held.len(), MORE + 1);
        let mut came = Vec::new();
        while came.len() <= COMMANDS + MORE {
            stand.turn().await;
            came.extend(numbers(&mut peer));
        }
        assert!(came.into_iter().eq(0..=COMMANDS + MORE), "in one order");
    });
}

//! Receives a source of chance · does one random thing after the other: clients, sockets, time and the operator here, the
//! application in its own file · owns how likely each is.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use streamconductor_core::close::CloseCode;
use streamconductor_core::codec::{Control, Kind, Opcode};
use streamconductor_core::config::{Eviction, Marks, Overflow};
use streamconductor_core::deflate::Encoding;
use streamconductor_core::ledger::{Charge, Owner};
use streamconductor_core::shard::Shard;
use streamconductor_core::shard::command::Command;
use streamconductor_core::shard::securing::{Secured, TlsVersion};

use super::world::World;
use super::{
    Client, Patterned, Random, Room, Setup, TICK, close, compressed, control, frame, limits, seconds, text,
    upgrade, upgrade_deflated,
};

/// Every limit is on, and tight.
fn setup(random: &mut Random) -> Setup {
    let mut limits = limits();
    limits.max_connections = 3 + random.below(6);
    limits.max_pending = 2 + random.below(5);
    limits.max_connections_per_address = random.one_in(4).then_some(3);
    limits.eviction =
        [Eviction::Reject, Eviction::Idle, Eviction::Oldest, Eviction::Slowest, Eviction::Priority]
            [random.below(5)];
    limits.overflow = [Overflow::Disconnect, Overflow::DropOldest, Overflow::DropNewest, Overflow::Conflate]
        [random.below(4)];
    limits.marks = Marks { high_water: 600, low_water: 100, max_buffered: 2_000 };
    limits.max_inbound = 200 + 3 * 64;
    limits.max_message_size = 500;
    limits.max_connections_per_user = random.one_in(3).then_some(2);
    limits.max_handshake_rate = random.one_in(4).then_some(5);
    limits.max_frame_rate = random.one_in(3).then_some(20);
    limits.max_message_rate = random.one_in(4).then_some(15);
    limits.max_byte_rate = random.one_in(4).then_some(2_000);
    limits.max_control_rate = Some(10);
    // Never all off: in the end something must end everybody.
    limits.ping_interval = (!random.one_in(3)).then_some(seconds(2));
    limits.idle_timeout = (limits.ping_interval.is_none() || random.one_in(3)).then_some(seconds(5));
    limits.ping_timeout = seconds(2);
    // The configuration asks for it where there are pings: it ends whose full socket takes none.
    limits.write_timeout = (!random.one_in(3) || limits.ping_interval.is_some()).then_some(seconds(4));
    limits.max_lag = (limits.write_timeout.is_none() || random.one_in(3)).then_some(seconds(6));
    limits.dwell = seconds(2);
    limits.message_timeout = seconds(3);
    limits.max_connection_age = random.one_in(3).then_some(seconds(9));
    limits.memory_budget = 4 << 20;
    limits.compression = !random.one_in(3);
    limits.compression_threshold = 30;
    let (shards, asks) = (1 + random.below(4), !random.one_in(3));
    let has_pool_policy = random.one_in(3);
    let tokens = random.one_in(3).then(|| Arc::new(Patterned::default()) as Arc<_>);
    Setup { limits, shards, asks, reports_closes: true, has_pool_policy, tokens }
}

/// One random run.
pub struct Run {
    pub world: World,
    charge: Charge,
}

impl Run {
    pub fn new(seed: u64) -> Self {
        Self::with(Random::new(seed))
    }

    /// A run in which every choice, the configuration's too, is read from `choices`.
    pub fn reading(choices: &[u8]) -> Self {
        Self::with(Random::reading(choices))
    }

    fn with(mut random: Random) -> Self {
        let setup = setup(&mut random);
        let world = World::new(random, setup);
        let charge = world.server.ledger.charge(Owner::History, 0);
        Self { world, charge }
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.world.random.below(bound)
    }

    pub(super) fn command(&mut self, shard: usize, command: Command) {
        let now = self.world.server.now;
        self.world.server.shards[shard].command(command, now);
    }

    pub fn step(&mut self) {
        match self.below(100) {
            0..8 => self.accept(),
            8..24 => self.client_sends(),
            24..28 => self.room(),
            28 => self.client_ends(),
            29..40 => self.verdict(),
            40..46 => self.tell(),
            46..52 => self.subscribe(),
            52..54 => self.unsubscribe(),
            54..64 => self.publish(),
            64 => self.ending(),
            65..70 => self.take_messages(),
            70..84 => self.turn(),
            84..91 => self.deliver(),
            91..96 => self.time(),
            96 => self.operator(),
            _ => self.world.endings.truncate(1),
        }
        self.world.check();
    }

    fn accept(&mut self) {
        let shard = self.below(self.world.server.shards.len());
        let speaks_tls = self.below(4) == 0;
        let server = &mut self.world.server;
        let accepted = if speaks_tls { server.accept_for_tls(shard) } else { server.accept(shard) };
        match accepted {
            Some(client) if speaks_tls && !self.secures(&client) => {}
            Some(client) => {
                self.world.add(client);
                if self.below(6) > 0 {
                    let who = self.world.peers.len() - 1;
                    self.world.peers[who].outbox.extend(upgrade(if who.is_multiple_of(2) {
                        "/chat"
                    } else {
                        "/beat"
                    }));
                    self.sends(who);
                }
            }
            None if self.below(4) == 0 => self.command(shard, Command::Reclaim),
            None => {}
        }
    }

    /// What comes of TLS. False: nothing that could ever send a head.
    fn secures(&mut self, client: &Client) -> bool {
        let (index, now) = (client.id.index(), self.world.server.now);
        let outcome = self.below(8);
        let shard = &mut self.world.server.shards[client.id.shard()];
        match outcome {
            0 => shard.unsecured(index, now),
            // Half a ClientHello, until the deadline or until its place is wanted.
            1 => shard.heard(index, now),
            _ => {
                let secured = Secured { version: TlsVersion::V1_3, resumed: false, subject: None };
                shard.secured(index, secured);
            }
        }
        outcome > 1
    }

    fn client_sends(&mut self) {
        if self.world.peers.is_empty() {
            return;
        }
        let who = self.below(self.world.peers.len());
        if self.world.peers[who].outbox.is_empty() {
            let is_open = self.world.peers[who].client.status() == 101;
            let is_deflated = self.world.peers[who].client.encoding() != Encoding::Raw;
            let bytes = match (is_open, is_deflated) {
                (false, _) => self.head(),
                (true, true) if self.below(4) > 0 => self.compressed_frames(),
                _ => self.frames(),
            };
            self.world.peers[who].outbox.extend(bytes);
        }
        self.sends(who);
    }

    /// The client sends what it has, or a part of it.
    fn sends(&mut self, who: usize) {
        let all = self.world.peers[who].outbox.len();
        let count = if self.below(3) > 0 { all } else { self.below(all) + 1 };
        let peer = &mut self.world.peers[who];
        let piece: Vec<u8> = peer.outbox.drain(..count).collect();
        peer.client.socket.borrow_mut().unread.extend(piece);
        self.read(who);
    }

    fn read(&mut self, who: usize) {
        let client = &self.world.peers[who].client;
        let (id, socket) = (client.id, Rc::clone(&client.socket));
        self.world.server.read(id.shard(), id.index(), &socket);
    }

    fn head(&mut self) -> Vec<u8> {
        match self.below(12) {
            0 => b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            1 => upgrade("/nowhere"),
            2 => b"\x16\x03\x01nonsense".to_vec(),
            3 => [upgrade("/chat"), text("early")].concat(),
            11 => self.anything(),
            4 | 5 => upgrade("/beat"),
            6..11 => upgrade_deflated("/chat", [9, 12, 15, 15][self.below(4)]),
            _ => upgrade("/chat"),
        }
    }

    fn frames(&mut self) -> Vec<u8> {
        let size = self.below(120);
        match self.below(64) {
            0 => close(CloseCode(3_000), "enough"),
            1 => frame(Opcode::Data(Kind::Text), true, b"\xFF"),
            2 => self.anything(),
            3 => frame(Opcode::Data(Kind::Binary), true, &vec![7; 501]),
            4..20 => [
                frame(Opcode::Data(Kind::Text), false, &vec![b'a'; size]),
                control(Control::Ping, b"within"),
                frame(Opcode::Continuation, true, &vec![b'b'; size]),
            ]
            .concat(),
            20..24 => control(Control::Pong, &1_u64.to_be_bytes()),
            _ => text(&"x".repeat(size)).repeat(1 + size % 4),
        }
    }

    fn compressed_frames(&mut self) -> Vec<u8> {
        let size = 50 + self.below(120);
        match self.below(40) {
            // A bomb, what is no stream, and RSV1 where it has no meaning.
            0 => compressed(Kind::Text, &vec![b'b'; 5_000]),
            1 => vec![0xC1, 0x84, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF],
            2 => vec![0xC9, 0x80, 0, 0, 0, 0],
            3 => compressed(Kind::Text, &[0xFF; 60]),
            _ => [compressed(Kind::Text, &vec![b'c'; size]), text("raw")].concat(),
        }
    }

    fn room(&mut self) {
        if self.world.peers.is_empty() {
            return;
        }
        let who = self.below(self.world.peers.len());
        let room = match self.below(10) {
            0..3 => Room::All,
            3..7 => Room::Bytes(1 + self.below(300)),
            7 | 8 => Room::Blocked,
            _ if self.below(8) == 0 => Room::Failed,
            _ => Room::Blocked,
        };
        let (now, client) = (self.world.server.now, &self.world.peers[who].client);
        client.set_room(room);
        let awaits_write = client.socket.borrow().awaits_write;
        if awaits_write && client.released().is_none() && room != Room::Blocked {
            self.world.server.shards[client.id.shard()].writable(client.id.index(), now);
        }
    }

    /// Bytes that mean nothing, or what a fuzzer wants them to mean.
    fn anything(&mut self) -> Vec<u8> {
        let count = 1 + self.below(40);
        self.world.random.bytes(count)
    }

    fn client_ends(&mut self) {
        if !self.world.peers.is_empty() && self.below(2) == 0 {
            let who = self.below(self.world.peers.len());
            self.world.peers[who].client.socket.borrow_mut().has_ended = true;
            self.read(who);
        }
    }

    /// One turn of one shard, which may be cut short.
    fn turn(&mut self) {
        let shard = self.below(self.world.server.shards.len());
        let mut looks = self.below(3);
        let now = self.world.server.now;
        let shard = &mut self.world.server.shards[shard];
        if shard.next_tick(now).is_some_and(|at| at <= now) {
            shard.tick(now);
        }
        shard.work(now, &mut || {
            looks = looks.saturating_sub(1);
            looks > 0
        });
        for who in 0..self.world.peers.len() {
            self.read(who);
        }
    }

    fn deliver(&mut self) {
        let shards = self.world.server.shards.len();
        let (from, to, count) = (self.below(shards), self.below(shards), 1 + self.below(6));
        self.world.hear();
        for _ in 0..count {
            self.world.server.deliver(from, to);
        }
    }

    fn time(&mut self) {
        let milliseconds = [10, 60, 200, 900][self.below(4)] * (1 + self.below(3) as u64);
        self.world.server.now = self.world.server.now + Duration::from_millis(milliseconds);
    }

    fn operator(&mut self) {
        let budget = 4 << 20;
        match self.below(10) {
            0 => self.charge.resize(budget * 85 / 100),
            1 => self.charge.resize(budget * 95 / 100),
            2 => self.charge.resize(budget * 2),
            3 => {
                let max_connections = 2 + self.below(8);
                let order = [Eviction::Idle, Eviction::Slowest, Eviction::Reject][self.below(3)];
                self.world.server.pool.set_maxima(max_connections, 2 + max_connections / 2);
                let mut limits = self.world.server.shards[0].limits().as_ref().clone();
                (limits.max_connections, limits.eviction) = (max_connections, order);
                let limits = Arc::new(limits);
                for shard in 0..self.world.server.shards.len() {
                    self.command(shard, Command::Reconfigure { limits: Arc::clone(&limits), tick: TICK });
                }
            }
            4 if self.below(8) == 0 => {
                let until = self.world.server.now + seconds(2);
                for shard in 0..self.world.server.shards.len() {
                    self.command(shard, Command::Depart { until });
                }
            }
            _ => self.charge.resize(0),
        }
    }

    /// Nothing more is asked of anybody: all must end within a bounded time, by deadlines alone.
    pub fn let_all_end(&mut self) {
        self.charge.resize(0);
        self.world.server.holds_forwards = false;
        for _ in 0..1_200 {
            let at = self.world.server.now + TICK * 2;
            self.world.server.now = at;
            self.world.server.tick();
            self.world.check();
            self.world.endings.clear();
            while !self.world.inbox.is_empty() {
                self.take_messages();
            }
        }
        let sockets: usize = self.world.server.shards.iter().map(Shard::sockets).sum();
        assert_eq!(sockets, 0, "two minutes later somebody is still here");
    }

    pub fn abandon(&mut self) {
        self.charge.resize(0);
        self.world.server.holds_forwards = false;
        for shard in 0..self.world.server.shards.len() {
            self.command(shard, Command::Abandon);
        }
        self.world.server.turn();
    }
}

//! Receives sockets that somebody has opened · hands them to an engine that listens nowhere · owns the proof that it makes
//! connections of them over real sockets: both ways, to the end, plain and through the system's hands.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)] // a panic is a failed test

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use streamconductor_core::channel::{Policy, Registry};
use streamconductor_core::close::{By, CloseCode, Ending};
use streamconductor_core::codec::{Kind, Role, encode_message, message_frame};
use streamconductor_core::config::{Eviction, Limits, Marks, Origins, Overflow};
use streamconductor_core::handshake::TrustedProxies;
use streamconductor_core::ledger::Ledger;
use streamconductor_core::shard::Peer;
use streamconductor_core::shard::command::Command;
use streamconductor_core::shard::event::{Closed, Event, Opening};
use streamconductor_core::shard::outgoing;
use streamconductor_net::clock::Clock;
use streamconductor_net::doorbell::Doorbell;
use streamconductor_net::listener::{Address, Listener};
use streamconductor_net::outgoing::{Connected, seed, site};
use streamconductor_net::server::{Foundations, Server, Settings};
use streamconductor_net::upward::Upward;

/// Nothing here takes so long, on whatever machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn limits() -> Limits {
    let second = Duration::from_secs(1);
    Limits {
        open_timeout: 5 * second,
        close_timeout: second,
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
        max_connections: 4,
        max_connections_per_address: None,
        max_connections_per_user: None,
        max_handshake_rate: None,
        max_pending: 4,
        eviction: Eviction::Reject,
        retry_after: second,
        memory_budget: 64 << 20,
        origins: Origins::Any,
        trusted_proxies: TrustedProxies::default(),
    }
}

/// An engine for outgoing connections alone, and the sockets to give it.
struct Engine {
    server: Server,
    listener: Listener,
    events: Vec<Event>,
}

impl Engine {
    fn start(change: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = limits();
        change(&mut limits);
        let ledger = Ledger::new(limits.memory_budget);
        let upward = Arc::new(Upward::new(&ledger, Arc::new(Doorbell::new().unwrap())));
        let foundations = Foundations { clock: Clock::start(), ledger, upward };
        let registry = Registry::new(1, Policy { overflow: limits.overflow, high_water: None });
        let tick = Duration::from_millis(20);
        let settings = Settings { addresses: Vec::new(), backlog: 0, threads: 1, tick, limits, tls: None };
        let server = Server::start(settings, Arc::new(site(false)), registry, foundations).unwrap();
        assert!(server.addresses().is_empty());
        let listener = Listener::bind(&Address::Tcp("127.0.0.1:0".parse().unwrap()), 8).unwrap();
        Self { server, listener, events: Vec::new() }
    }

    /// A connection that the test is the server of. Which end has dialled no socket knows.
    fn connect(&mut self, dial: u64, read_ahead: &[u8]) -> (Remote, Opening) {
        let stream = TcpStream::connect(self.listener.local_address().unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let socket = self.accept();
        let connection = outgoing::Connected {
            dial,
            slot: self.server.pool().take_slot().expect("a slot is free"),
            peer: Peer { address: stream.local_addr().ok(), count: None },
            path: "/feed".into(),
            route: 0,
            subprotocol: Some("chat".into()),
            compression: None,
            seed: seed().unwrap(),
        };
        let read_ahead = Bytes::copy_from_slice(read_ahead);
        self.server.take_over(Connected { socket, encryption: None, read_ahead, connection, watcher: None });
        let event = self.next(|event| matches!(event, Event::Opened(_)));
        let Event::Opened(opening) = event else { panic!("{event:?}") };
        (Remote(stream), *opening)
    }

    fn accept(&self) -> streamconductor_net::listener::Raw {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.listener.accept() {
                Ok((raw, _)) => return raw,
                // It has been connected; the kernel may still be about to say so.
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            std::thread::yield_now();
        }
    }

    /// The next event that is meant; the others are kept, in their order.
    fn next(&mut self, is_meant: impl Fn(&Event) -> bool) -> Event {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(position) = self.events.iter().position(&is_meant) {
                return self.events.remove(position);
            }
            let _ = self.server.foundations().upward.drain(&mut self.events, usize::MAX);
            assert!(Instant::now() < deadline, "{:?}", self.events);
            std::thread::yield_now();
        }
    }

    fn message(&mut self) -> Bytes {
        match self.next(|event| matches!(event, Event::Message { .. })) {
            Event::Message { payload, .. } => payload,
            other => panic!("{other:?}"),
        }
    }

    fn closed(&mut self) -> Closed {
        match self.next(|event| matches!(event, Event::Closed(_))) {
            Event::Closed(closed) => *closed,
            other => panic!("{other:?}"),
        }
    }

    fn send(&self, opening: &Opening, payload: &[u8]) {
        let gauge = opening.gauge.as_ref().unwrap();
        let frame = message_frame(gauge.role(), Kind::Binary, payload);
        gauge.sent(frame.len());
        self.server.tell(0, Command::Send { connection: opening.connection, frame, awaited: true });
    }

    fn close(&self, opening: &Opening) {
        let ending = Ending::Closed { code: CloseCode::NORMAL, reason: "enough".into() };
        self.server.tell(0, Command::Close { connection: opening.connection, ending: Box::new(ending) });
    }

    /// Waits until so many slots are taken.
    fn await_slots(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.server.pool().connections().used != count {
            assert!(Instant::now() < deadline, "{:?}", self.server.pool().connections());
            std::thread::yield_now();
        }
    }
}

/// The server's end.
struct Remote(TcpStream);

impl Remote {
    fn send(&mut self, payload: &[u8]) {
        let mut frame = Vec::new();
        encode_message(&mut frame, Kind::Text, payload);
        self.0.write_all(&frame).unwrap();
    }

    /// One frame: its first byte and its payload, which has to be masked.
    fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut header = [0; 2];
        self.0.read_exact(&mut header).unwrap();
        assert_eq!(header[1] & 0x80, 0x80, "not masked");
        let length = match header[1] & 0x7F {
            126 => {
                let mut long = [0; 2];
                self.0.read_exact(&mut long).unwrap();
                u16::from_be_bytes(long).into()
            }
            127 => {
                let mut long = [0; 8];
                self.0.read_exact(&mut long).unwrap();
                u64::from_be_bytes(long) as usize
            }
            short => usize::from(short),
        };
        let (mut key, mut payload) = ([0; 4], vec![0; length]);
        self.0.read_exact(&mut key).unwrap();
        self.0.read_exact(&mut payload).unwrap();
        payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
        (header[0], payload)
    }
}

#[test]
fn messages_go_both_ways_and_what_was_read_ahead_comes_first() {
    let mut engine = Engine::start(|_| {});
    let mut early = Vec::new();
    encode_message(&mut early, Kind::Text, b"early");
    let (mut remote, opening) = engine.connect(7, &early);
    assert_eq!((opening.dial, opening.subprotocol.as_deref(), opening.route), (Some(7), Some("chat"), 0));
    assert_eq!(opening.gauge.as_ref().unwrap().role(), Role::Client);
    remote.send(b"later");
    assert_eq!((engine.message(), engine.message()), (Bytes::from("early"), Bytes::from("later")));
    // More than a socket's buffers take at once, so that some of it waits in the ring.
    let large: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    engine.send(&opening, b"Hello");
    engine.send(&opening, &large);
    assert_eq!(remote.frame(), (0x82, b"Hello".to_vec()));
    assert!(remote.frame() == (0x82, large));
    remote.0.write_all(b"\x89\x01?").unwrap();
    assert_eq!(remote.frame(), (0x8A, b"?".to_vec()));
}

#[test]
fn we_close_the_server_ends_tcp_and_the_slot_comes_back_then() {
    let mut engine = Engine::start(|limits| limits.close_timeout = PATIENCE);
    let (mut remote, opening) = engine.connect(1, b"");
    engine.close(&opening);
    assert_eq!(remote.frame(), (0x88, b"\x03\xE8enough".to_vec()));
    remote.0.write_all(b"\x88\x02\x03\xE8").unwrap();
    let closed = engine.closed();
    assert_eq!((closed.code, closed.by), (CloseCode::NORMAL, By::Application));
    assert_eq!(engine.server.pool().connections().used, 1, "until the server has ended TCP");
    drop(remote);
    engine.await_slots(0);
    drop(closed);
    assert_eq!(engine.server.known().count(), 0);
}

#[test]
fn a_server_that_does_not_end_tcp_is_reset() {
    let mut engine = Engine::start(|limits| limits.close_timeout = Duration::from_millis(100));
    let (mut remote, opening) = engine.connect(1, b"");
    engine.close(&opening);
    assert_eq!(remote.frame().0, 0x88);
    remote.0.write_all(b"\x88\x02\x03\xE8").unwrap();
    let error = remote.0.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(engine.closed().code, CloseCode::NORMAL);
    engine.await_slots(0);
}

#[test]
fn a_server_that_says_nothing_more_is_given_up() {
    let interval = Duration::from_millis(200);
    let mut engine = Engine::start(|limits| {
        limits.ping_interval = Some(interval);
        limits.ping_timeout = interval;
    });
    let (mut remote, _) = engine.connect(1, b"");
    let (first, ping) = remote.frame();
    assert_eq!(first, 0x89);
    // Answered once, and then no more.
    remote.0.write_all(&[&[0x8A, ping.len() as u8], &ping[..]].concat()).unwrap();
    let closed = engine.closed();
    assert_eq!((closed.code, closed.ending), (CloseCode::ABNORMAL, "heartbeat_lost"));
    assert!(closed.duration >= interval, "{:?}", closed.duration);
    engine.await_slots(0);
}

#[test]
fn a_socket_that_is_broken_already_is_told_as_opened_and_ended() {
    let mut engine = Engine::start(|_| {});
    let (remote, _) = engine.connect(1, b"");
    drop(remote);
    assert_eq!(engine.closed().ending, "transport_lost");
    engine.await_slots(0);
}

#[test]
fn the_maximum_counts_connections_and_a_shutdown_says_goodbye_to_all() {
    let mut engine = Engine::start(|_| {});
    let mut all: Vec<_> = (0..4).map(|dial| engine.connect(dial, b"").0).collect();
    assert!(engine.server.pool().take_slot().is_none(), "max_connections");
    engine.server.depart(Duration::from_millis(50));
    for remote in &mut all {
        let (first, payload) = remote.frame();
        assert_eq!((first, &payload[..2]), (0x88, &1001_u16.to_be_bytes()[..]));
        remote.0.write_all(b"\x88\x02\x03\xE9").unwrap();
    }
    for _ in 0..4 {
        assert_eq!(engine.closed().ending, "shutdown");
    }
    drop(all);
    engine.await_slots(0);
    assert!(matches!(engine.next(|event| matches!(event, Event::Departed)), Event::Departed));
    assert!(engine.server.stop(PATIENCE));
}

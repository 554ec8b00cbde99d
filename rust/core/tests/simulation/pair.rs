//! Receives what a test does at either end of a connection · hands what one end writes to the other · owns the link
//! between two shards in memory, one of a server and one that has dialled it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use streamconductor_core::close::CloseCode;
use streamconductor_core::codec::{Kind, Role, message_frame};
use streamconductor_core::deflate::Encoding;
use streamconductor_core::gauge::Gauge;
use streamconductor_core::shard::Peer;
use streamconductor_core::shard::command::Command;
use streamconductor_core::shard::event::{Closed, Event, Opening};
use streamconductor_core::shard::outgoing::Connected;

use super::{Client, Server, Setup, Socket, server_frame, upgrade, upgrade_deflated};

/// Of the masking keys in tests.
pub const SEED: [u8; 32] = [7; 32];

/// Two shards and the connection between them. `near` has dialled, `far` has accepted.
pub struct Pair {
    pub near: Server,
    pub far: Server,
    /// Our end, named as the near shard knows it.
    pub ours: Client,
    /// The server's end, named as the far shard knows it.
    pub theirs: Client,
    pub our_gauge: Arc<Gauge>,
    pub their_gauge: Arc<Gauge>,
    /// Nothing gets through, and nobody is told.
    pub is_cut: bool,
}

impl Pair {
    pub fn new(change: impl Fn(&mut Setup)) -> Self {
        Self::begun_with(change, |_, _, _| {})
    }

    /// `early` may let the server speak before the dialler has handed its connection over.
    pub fn begun_with(
        change: impl Fn(&mut Setup),
        early: impl FnOnce(&mut Server, &Client, &Arc<Gauge>),
    ) -> Self {
        let (mut near, mut far) = (Server::with(&change), Server::with(&change));
        let is_deflated = far.shards[0].limits().compression;
        let mut theirs = far.accept(0).unwrap();
        far.send(&theirs, &if is_deflated { upgrade_deflated("/chat", 15) } else { upgrade("/chat") });
        assert_eq!(theirs.status(), 101, "{}", theirs.head());
        let their_gauge = far.opened(&theirs);
        far.events.clear();
        early(&mut far, &theirs, &their_gauge);
        let written = std::mem::take(&mut theirs.socket.borrow_mut().written);
        let end = written.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let compression = is_deflated.then(|| theirs.encoding());
        let (ours, opening) = dial(&mut near, 5, compression, &written[end..]);
        assert_eq!((opening.dial, opening.connection), (Some(5), ours.id));
        let our_gauge = opening.gauge.unwrap();
        Self { near, far, ours, theirs, our_gauge, their_gauge, is_cut: false }
    }

    /// What either end has written, and its end, reaches the other; in pieces of at most `most` bytes.
    pub fn carry(&mut self, most: usize) {
        while !self.is_cut {
            let to_far = carry(&self.ours, &mut self.far, &self.theirs, most);
            let to_near = carry(&self.theirs, &mut self.near, &self.ours, most);
            if !to_far && !to_near {
                return;
            }
        }
    }

    pub fn settle(&mut self) {
        self.carry(usize::MAX);
    }

    /// Time passes at both ends, and what they say meanwhile gets through.
    pub fn pass(&mut self, time: Duration) {
        let step = Duration::from_millis(5).min(time);
        let mut left = time;
        while !left.is_zero() {
            let next = step.min(left);
            self.near.pass(next);
            self.far.pass(next);
            left -= next;
            self.settle();
        }
    }

    /// We send, as the application does.
    pub fn tell(&mut self, kind: Kind, payload: &[u8], awaited: bool) {
        let frame = message_frame(self.our_gauge.role(), kind, payload);
        self.hand_over(frame, awaited);
    }

    pub fn hand_over(&mut self, frame: Bytes, awaited: bool) {
        self.our_gauge.sent(frame.len());
        self.near.command(0, Command::Send { connection: self.ours.id, frame, awaited });
    }

    /// The server sends.
    pub fn answer(&mut self, kind: Kind, payload: &[u8]) {
        let frame = Bytes::from(server_frame(kind, payload));
        self.their_gauge.sent(frame.len());
        self.far.command(0, Command::Send { connection: self.theirs.id, frame, awaited: true });
    }

    pub fn close_near(&mut self, code: CloseCode, reason: &str) {
        let Self { near, ours, .. } = self;
        near.close(ours, code, reason);
    }

    pub fn close_far(&mut self, code: CloseCode, reason: &str) {
        let Self { far, theirs, .. } = self;
        far.close(theirs, code, reason);
    }

    /// How our end ended, with which the application has finished.
    pub fn our_end(&mut self) -> Closed {
        Closed { known: None, ..self.near.closed(&self.ours) }
    }

    /// The same of the server's.
    pub fn their_end(&mut self) -> Closed {
        Closed { known: None, ..self.far.closed(&self.theirs) }
    }

    /// Neither end has left a trace.
    pub fn check_traces(&mut self) {
        let longest = Duration::from_secs(31);
        self.near.pass(longest);
        self.far.pass(longest);
        for (server, gauge) in [(&mut self.near, &self.our_gauge), (&mut self.far, &self.their_gauge)] {
            server.tick();
            server.tick();
            server.events.clear();
            assert_eq!((server.pool.connections().used, server.pool.pending().used), (0, 0));
            assert_eq!((server.known.count(), server.deflating.connections()), (0, 0));
            assert_eq!(server.ledger.used(), gauge.inbound(), "but for what the application has not taken");
            let stats = server.stats();
            assert_eq!(stats.states.iter().sum::<u64>(), 0, "{:?}", stats.states);
            let gone = |part: fn(&streamconductor_core::stats::Flow) -> u64| {
                let dropped: u64 = stats.dropped.iter().map(part).sum();
                part(&stats.sending) - part(&stats.written) - part(&stats.discarded) - dropped
            };
            assert_eq!((gone(|flow| flow.messages), gone(|flow| flow.bytes)), (0, 0), "the books balance");
        }
        for gauge in [&self.our_gauge, &self.their_gauge] {
            assert_eq!(gauge.buffered(), 0);
        }
    }
}

/// A connection that somebody else has opened, and what was read ahead of it.
pub fn dial(
    near: &mut Server,
    number: u64,
    compression: Option<Encoding>,
    read_ahead: &[u8],
) -> (Client, Opening) {
    let connected = Connected {
        dial: number,
        slot: near.pool.take_slot().expect("a slot is free"),
        peer: Peer::default(),
        path: "/chat".into(),
        route: 0,
        subprotocol: None,
        compression,
        seed: SEED,
    };
    let id = near.shards[0].connected(connected, near.now);
    let socket = Rc::new(RefCell::new(Socket::default()));
    near.shards[0].wire.sockets.insert(id.index(), Rc::clone(&socket));
    let ours = Client::new(id, socket);
    near.send(&ours, read_ahead);
    let mut opened = near.take(|event| matches!(event, Event::Opened(one) if one.connection == id));
    let Some(Event::Opened(opening)) = opened.pop() else { panic!("{opened:?}") };
    assert_eq!(opening.gauge.as_ref().map(|gauge| gauge.role()), Some(Role::Client));
    (ours, *opening)
}

/// Whether anything was to be carried.
fn carry(from: &Client, to: &mut Server, at: &Client, most: usize) -> bool {
    let (bytes, has_ended) = {
        let mut socket = from.socket.borrow_mut();
        let count = socket.written.len().min(most);
        let bytes: Vec<u8> = socket.written.drain(..count).collect();
        let is_over = socket.is_shut || socket.released.is_some();
        (bytes, is_over && socket.written.is_empty())
    };
    let is_gone = at.released().is_some();
    let tells = has_ended && !at.socket.borrow().has_ended && !is_gone;
    if !bytes.is_empty() && !is_gone {
        to.send(at, &bytes);
    }
    if tells {
        to.end(at);
    }
    !bytes.is_empty() || tells
}

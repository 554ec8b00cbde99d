//! Receives the events of a random run · hands out what may be done next, and fails the test where a promise is
//! broken · owns the model: who is open, who subscribed from which publication to which, and who has ended.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use streamconductor_core::channel::{Channel, Policy};
use streamconductor_core::codec::Control;
use streamconductor_core::config::Overflow;
use streamconductor_core::deflate::IDLE;
use streamconductor_core::gauge::Gauge;
use streamconductor_core::id::ConnectionId;
use streamconductor_core::lifecycle::State;
use streamconductor_core::pool::Usage;
use streamconductor_core::shard::command::Forward;
use streamconductor_core::shard::event::Event;
use streamconductor_core::stats::Outcome;

use super::{Client, Got, Random, Server, Setup, TICK, control};

/// One channel per policy, the last with a mark of its own. Broadcasts count as one more.
pub const CHANNELS: [(&str, Overflow, Option<usize>); 5] = [
    ("d", Overflow::Disconnect, None),
    ("e", Overflow::Disconnect, None),
    ("o", Overflow::DropOldest, None),
    ("n", Overflow::DropNewest, Some(400)),
    ("c", Overflow::Conflate, None),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing has been said to the application.
    Fresh,
    Asking,
    Open,
    Over,
}

pub struct Peer {
    pub client: Client,
    pub gauge: Option<Arc<Gauge>>,
    pub stage: Stage,
    /// Bytes that the client will send.
    pub outbox: VecDeque<u8>,
    /// What it may get of each channel: from this publication up to that one.
    pub spans: [Vec<(u32, Option<u32>)>; CHANNELS.len()],
    /// The last publication that it got, by channel and by broadcast.
    last: [Option<u32>; CHANNELS.len() + 1],
}

pub struct World {
    pub server: Server,
    pub random: Random,
    /// Chance for what is no step of the run: it takes none of a fuzzer's choices.
    aside: Random,
    pub peers: Vec<Peer>,
    pub channels: Vec<Arc<Channel>>,
    pub published: [u32; CHANNELS.len() + 1],
    /// Messages that the application has not taken: whose, and how long.
    pub inbox: VecDeque<(ConnectionId, usize)>,
    /// Endings that the application has not finished with.
    pub endings: Vec<Event>,
    ended: HashSet<ConnectionId>,
    /// Messages that clients got which have left the list.
    messages: u64,
    places: [Usage; 2],
}

impl World {
    pub fn new(random: Random, setup: Setup) -> Self {
        let mut server = Server::new(setup);
        server.holds_forwards = true;
        for (name, overflow, high_water) in CHANNELS {
            server.registry.define(name, Policy { overflow, high_water });
        }
        // The test's own subscription keeps each channel in the registry.
        let channels = CHANNELS.iter().map(|(name, ..)| server.registry.join(name)).collect();
        let places = [server.pool.connections(), server.pool.pending()];
        Self {
            server,
            random,
            aside: Random::new(0),
            peers: Vec::new(),
            channels,
            published: Default::default(),
            inbox: VecDeque::new(),
            endings: Vec::new(),
            ended: HashSet::new(),
            messages: 0,
            places,
        }
    }

    pub fn add(&mut self, client: Client) {
        let (outbox, spans) = (VecDeque::new(), Default::default());
        let last = Default::default();
        self.peers.push(Peer { client, gauge: None, stage: Stage::Fresh, outbox, spans, last });
    }

    /// A random peer in that stage.
    pub fn any(&mut self, stage: Stage) -> Option<usize> {
        let found: Vec<_> = (0..self.peers.len()).filter(|one| self.peers[*one].stage == stage).collect();
        (!found.is_empty()).then(|| found[self.random.below(found.len())])
    }

    /// The application has refused it, and hears no more of it.
    pub fn is_over(&mut self, who: usize) {
        let peer = &mut self.peers[who];
        peer.stage = Stage::Over;
        self.ended.insert(peer.client.id);
    }

    fn peer(&mut self, id: ConnectionId) -> &mut Peer {
        assert!(!self.ended.contains(&id), "an event after the ending of {id}");
        self.peers.iter_mut().find(|peer| peer.client.id == id).expect("a connection that was accepted")
    }

    /// Takes in what the shards have said.
    pub fn hear(&mut self) {
        let published = self.published;
        for shard in 0..self.server.shards.len() {
            self.server.collect(shard);
        }
        for event in std::mem::take(&mut self.server.events) {
            match &event {
                Event::Arrived(arrival) => {
                    let peer = self.peer(arrival.connection);
                    assert_eq!(peer.stage, Stage::Fresh);
                    peer.stage = Stage::Asking;
                }
                Event::Opened(opening) => {
                    let peer = self.peer(opening.connection);
                    assert_eq!(peer.stage, Stage::Asking);
                    peer.stage = Stage::Open;
                    peer.gauge.clone_from(&opening.gauge);
                }
                Event::Message { connection, payload, .. } => {
                    assert_eq!(self.peer(*connection).stage, Stage::Open);
                    self.inbox.push_back((*connection, payload.len()));
                }
                Event::Withdrawn { connection, .. } => {
                    let peer = self.peer(*connection);
                    assert_eq!(peer.stage, Stage::Asking);
                    peer.stage = Stage::Over;
                    self.ended.insert(*connection);
                    self.endings.push(event);
                }
                Event::Closed(closed) => {
                    let peer = self.peer(closed.connection);
                    assert_eq!(peer.stage, Stage::Open, "an ending without an opening");
                    peer.stage = Stage::Over;
                    take_in(peer, &published);
                    assert_eq!(closed.sent.0, peer.client.messages, "the ending tells what the client got");
                    self.ended.insert(closed.connection);
                    self.endings.push(event);
                }
                Event::Writable { connection } | Event::Backpressure { connection, .. } => {
                    assert_eq!(self.peer(*connection).stage, Stage::Open);
                }
                Event::Departed
                | Event::OriginRefused { .. }
                | Event::Refused(_)
                | Event::ForwardingIgnored { .. } => {}
            }
        }
    }

    /// Whatever must hold between any two steps.
    pub fn check(&mut self) {
        self.hear();
        self.check_places();
        let mut buffered = 0;
        let on_their_way = self.firsts_on_their_way();
        let max_buffered = self.server.shards[0].limits().marks.max_buffered;
        for peer in &mut self.peers {
            take_in(peer, &self.published);
            if let Some(gauge) = &peer.gauge {
                // Private frames were judged at the call; publications may have filled the ring before they came.
                assert!(gauge.buffered() <= max_buffered + 100, "{} bytes buffered", gauge.buffered());
                // After the end a first frame that arrives too late has nobody to be counted back for.
                let on_its_way = on_their_way.get(&peer.client.id).copied().unwrap_or(0);
                if peer.stage == Stage::Open {
                    buffered += (gauge.buffered() - on_its_way) as u64;
                }
            }
        }
        let stats = self.server.stats();
        let gone = |part: fn(&streamconductor_core::stats::Flow) -> u64| {
            let dropped: u64 = stats.dropped.iter().map(part).sum();
            part(&stats.sending) - part(&stats.written) - part(&stats.discarded) - dropped
        };
        assert_eq!(gone(|flow| flow.bytes), buffered, "accepted = written + dropped + discarded + pending");
        assert!((gone(|flow| flow.messages) == 0) == (buffered == 0));
        let (messages, random) = (&mut self.messages, &mut self.aside);
        let mut total = *messages;
        self.peers.retain(|peer| {
            total += peer.client.messages;
            let is_kept = peer.client.released().is_none() || peer.stage == Stage::Open || !random.one_in(20);
            *messages += if is_kept { 0 } else { peer.client.messages };
            is_kept
        });
        assert_eq!(stats.written.messages, total, "what was written is what clients got");
    }

    /// Bytes of first frames that the application has counted and the connection's shard has not got yet.
    fn firsts_on_their_way(&self) -> HashMap<ConnectionId, usize> {
        let mut bytes = HashMap::new();
        for forward in self.server.lanes.iter().flatten().flatten() {
            if let Forward::Join { connection, first: Some(frame), .. } = forward {
                *bytes.entry(*connection).or_default() += frame.len();
            }
        }
        bytes
    }

    fn check_places(&mut self) {
        let now = [self.server.pool.connections(), self.server.pool.pending()];
        for (now, before) in now.iter().zip(&self.places) {
            assert!(now.used <= now.maximum.max(before.used), "{now:?} after {before:?}");
        }
        self.places = now;
        for shard in &mut self.server.shards {
            let sockets = shard.sockets() as u64;
            let states = &shard.stats().states;
            assert_eq!(states.iter().sum::<u64>(), sockets, "every socket is in one state");
            assert_eq!((states[State::Closed as usize], states[State::Evicting as usize]), (0, 0));
        }
    }

    /// Everybody has gone: no trace is left.
    pub fn check_traces(&mut self) {
        self.check();
        for forward in self.server.lanes.iter_mut().flatten() {
            assert!(forward.is_empty());
        }
        assert!(self.peers.iter().all(|peer| peer.stage == Stage::Over || peer.stage == Stage::Fresh));
        assert!(self.peers.iter().all(|peer| peer.client.released().is_some()));
        self.peers.clear();
        self.endings.clear();
        // What is shared by all is let go when nobody has needed it for a while.
        self.server.pass(IDLE + TICK * 2);
        for _ in 0..2 {
            self.server.tick();
        }
        let server = &mut self.server;
        let is_notice = |event: &Event| matches!(event, Event::Departed | Event::Refused(_));
        assert!(server.events.iter().all(is_notice), "{:?}", server.events);
        assert_eq!((server.pool.connections().used, server.pool.pending().used), (0, 0));
        assert_eq!((server.known.count(), server.address.count(), server.ledger.used()), (0, 0, 0));
        assert_eq!(server.deflating.connections(), 0);
        for channel in &self.channels {
            assert_eq!(channel.subscribers(), 1, "only the test's own");
            assert_eq!(channel.encodings().bits(), 0, "nobody is compressed for");
        }
        let stats = server.stats();
        assert_eq!((stats.pending().messages, stats.pending().bytes, stats.backlogged), (0, 0, 0));
        assert_eq!(stats.handshakes.iter().sum::<u64>(), stats.accepted, "every socket came to one outcome");
        let opened = stats.handshakes[Outcome::Accepted as usize];
        assert_eq!(stats.endings.iter().sum::<u64>(), opened, "every connection came to one ending");
        assert_eq!(stats.codes.values().sum::<u64>(), opened);
    }
}

/// Checks what a client got: one order per channel, nothing twice, and without a dropping policy no gap.
fn take_in(peer: &mut Peer, published: &[u32]) {
    for got in peer.client.got() {
        if let Got::Ping(payload) = &got
            && peer.outbox.is_empty()
        {
            peer.outbox.extend(control(Control::Pong, payload));
        }
        let Got::Text(text) = got else { continue };
        let Some((name, number)) = text.trim_end().split_once(' ') else { continue };
        let number: u32 = number.parse().unwrap();
        let which = CHANNELS.iter().position(|(known, ..)| *known == name).unwrap_or(CHANNELS.len());
        let last = peer.last[which].replace(number);
        assert!(last.is_none_or(|last| last < number), "{name}: {number} after {last:?}");
        assert!(number < published[which]);
        let Some(spans) = peer.spans.get(which) else { continue };
        let is_meant = |number: u32| {
            spans.iter().any(|(from, until)| *from <= number && until.is_none_or(|until| number < until))
        };
        assert!(is_meant(number), "{name} {number} is in none of {spans:?}");
        if CHANNELS[which].1 == Overflow::Disconnect {
            let first = last.map_or(0, |last| last + 1);
            let missed: Vec<u32> = (first..number).filter(|number| is_meant(*number)).collect();
            assert!(missed.is_empty(), "{name}: {missed:?} missing before {number}");
        }
    }
}

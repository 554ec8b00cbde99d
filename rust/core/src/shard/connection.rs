//! Receives its parts from the machines of the core · hands them to the shard by name · owns the state of one connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::channel::Channel;
use crate::close::Ending;
use crate::codec::{Codec, Role};
use crate::config::Limits;
use crate::deflate::Encoding;
use crate::gauge::Gauge;
use crate::handshake::{HeadReader, Request};
use crate::id::ConnectionId;
use crate::known::Known;
use crate::lifecycle::{Event, State};
use crate::pool::{AddressCount, AddressPlace, PendingPlace, Slot, UserPlace};
use crate::ring::Ring;
use crate::shard::answer::Answer;
use crate::shard::failing::Failing;
use crate::shard::outgoing::Outgoing;
use crate::shard::pace::Pace;
use crate::time::Timestamp;

/// How long a socket whose writing is shut may linger for the peer to end, too.
pub const LINGER: Duration = Duration::from_secs(1);
/// How many bytes a lingering socket may still send before it is reset.
pub const LINGER_BYTES: usize = 64 * 1024;

/// Who is at the other end.
#[derive(Clone, Default)]
pub struct Peer {
    /// Its address, after the head that of the client for whom a trusted proxy speaks; `None` on a Unix socket.
    pub address: Option<SocketAddr>,
    /// How many connections its address has, when that is limited.
    pub count: Option<AddressCount>,
}

/// What the connection takes from the pool.
pub enum Holds {
    /// A pending place.
    Place(PendingPlace),
    /// A slot.
    Slot(Slot),
    /// Nothing: all but gone.
    Nothing,
}

/// One connection, from accept to the last trace of its socket.
pub struct Connection {
    pub id: ConnectionId,
    pub state: State,
    pub holds: Holds,
    /// Its part in the count of its address.
    pub address_place: Option<AddressPlace>,
    pub peer: Peer,
    /// What only the opening handshake needs.
    pub opening: Option<Box<Handshaking>>,
    /// What only a connection that we opened has; `None`: it was accepted.
    pub outgoing: Option<Box<Outgoing>>,
    pub codec: Codec,
    /// How its messages are encoded; raw until it is open.
    pub encoding: Encoding,
    pub ring: Ring,
    /// Bytes that came while reading was paused.
    pub unread: Vec<u8>,
    pub reading: Reading,
    pub clocks: Clocks,
    pub heartbeat: Heartbeat,
    pub pace: Pace,
    pub traffic: Traffic,
    /// What is known of it after admission.
    pub identity: Option<Box<Identity>>,
    pub gauge: Option<Arc<Gauge>>,
    pub channels: Vec<Subscription>,
    /// Waits in the shard's list of connections that have something to write.
    pub is_dirty: bool,
    /// The socket is full; `writable` will say when it is not.
    pub is_blocked: bool,
    /// Stands in the shard's list of connections with pending bytes.
    pub is_backlogged: bool,
    /// Why it ends, once that is decided.
    pub ending: Option<Box<Ending>>,
    /// The peer broke the protocol, and the answers to what it said before are awaited.
    pub failing: Option<Box<Failing>>,
    /// Set while the application knows it and must be told of the ending, once.
    pub known: Option<Known>,
    /// Real bytes that the ledger has for this connection: (ring, inbound).
    pub charged: (usize, usize),
    /// Drops and crossings that the application has not heard of.
    pub pressure: Option<Box<Pressure>>,
}

/// There are tens of thousands, and mimalloc rounds the next larger one up to 768 bytes.
#[cfg(not(loom))] // whose atomics are larger
const _: () = assert!(size_of::<Connection>() <= 640);

/// The opening handshake.
pub struct Handshaking {
    pub reader: HeadReader,
    pub request: Option<Request>,
    pub route: usize,
    pub subprotocol: Option<String>,
    /// The user that the token names.
    pub user: Option<Arc<str>>,
    /// When the token's life ends.
    pub expires_at: Option<Timestamp>,
    /// The response, while the socket has not taken all of it.
    pub answer: Option<Answer>,
    /// What TLS has established; `None` on a plain address.
    pub secured: Option<crate::shard::securing::Secured>,
    /// The verdict, while it waits for a slot.
    pub admission: Option<Box<crate::shard::command::Admission>>,
    /// Its part in the count of its user, once there is a verdict.
    pub counted: Option<UserPlace>,
}

/// Why reading is paused, if it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading {
    /// The application does not take its messages.
    pub inbound_full: bool,
    /// Too much has come for a rate; until then.
    pub rate_until: Option<Timestamp>,
    /// What the wire was last told.
    pub is_stopped: bool,
    /// The peer's Close has come, or something that cannot be decoded: nothing counts any more.
    pub is_over: bool,
    /// When reading last resumed: silence before that is our own doing.
    pub resumed_at: Timestamp,
}

/// The moments that deadlines count from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clocks {
    pub accepted: Timestamp,
    /// Any byte from the peer.
    pub last_byte: Timestamp,
    /// Any application message either way.
    pub last_message: Timestamp,
    /// The first frame of a message that is not complete; `None` between messages.
    pub message_began: Option<Timestamp>,
    /// When closing or lingering began.
    pub closing: Timestamp,
    /// When its token, or what the application said of it, ends its life.
    pub expires_at: Timestamp,
}

/// Pings and what they tell.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heartbeat {
    /// When the next ping is due.
    pub next_ping: Timestamp,
    /// The payload of the last ping.
    pub number: u64,
    /// When the last ping was queued; never, once its pong has come.
    pub queued_at: Timestamp,
    /// Queued, but not yet taken by the kernel.
    pub is_queued: bool,
    /// When the kernel took a ping that nothing has come after.
    pub awaiting_since: Option<Timestamp>,
    /// The last round trip.
    pub latency: Option<Duration>,
}

/// What has passed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    pub messages_in: u64,
    pub bytes_in: u64,
    /// Bytes that came after writing was shut.
    pub lingered: usize,
}

/// Who it is, after admission.
pub struct Identity {
    pub user: Option<Arc<str>>,
    /// Its part in the count of its user, on all shards.
    pub counted: Option<UserPlace>,
    /// Its place in the index by user.
    pub user_place: u32,
    pub path: Arc<str>,
    /// Its place in the index by path.
    pub path_place: u32,
    /// Whether it stands in those indices.
    pub is_indexed: bool,
    pub priority: i64,
    pub route: usize,
}

/// One subscription and the connection's place among the channel's members on this shard.
pub struct Subscription {
    pub channel: Arc<Channel>,
    pub place: u32,
    /// As which encoding the channel's home counts it.
    pub encoding: Encoding,
}

/// What `on_backpressure` is to be told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pressure {
    pub last_event: Option<Timestamp>,
    pub dropped: u64,
    pub is_above: bool,
    /// Something changed since the last event.
    pub is_due: bool,
}

impl Pressure {
    /// When the application may be told again: once a second at most.
    pub fn due_at(&self) -> Timestamp {
        self.last_event.map_or(Timestamp::ZERO, |at| at + Duration::from_secs(1))
    }
}

impl Connection {
    /// A socket that has just been accepted and holds a pending place.
    pub fn accepted(id: ConnectionId, peer: Peer, place: PendingPlace, now: Timestamp) -> Self {
        let mut connection = Self::new(id, State::Pending, Holds::Place(place), peer, Role::Server, now);
        connection.opening = Some(Box::new(Handshaking {
            reader: HeadReader::new(),
            request: None,
            route: 0,
            subprotocol: None,
            user: None,
            expires_at: None,
            answer: None,
            secured: None,
            admission: None,
            counted: None,
        }));
        connection
    }

    /// A socket that was opened by us and has a slot.
    pub fn connected(id: ConnectionId, peer: Peer, slot: Slot, now: Timestamp) -> Self {
        Self::new(id, State::Connecting, Holds::Slot(slot), peer, Role::Client, now)
    }

    fn new(id: ConnectionId, state: State, holds: Holds, peer: Peer, role: Role, now: Timestamp) -> Self {
        Self {
            id,
            state,
            holds,
            address_place: None,
            peer,
            opening: None,
            outgoing: None,
            codec: Codec::new(role),
            encoding: Encoding::Raw,
            ring: Ring::new(),
            unread: Vec::new(),
            reading: Reading::default(),
            clocks: Clocks {
                accepted: now,
                last_byte: now,
                last_message: now,
                expires_at: Timestamp::NEVER,
                ..Clocks::default()
            },
            heartbeat: Heartbeat { queued_at: Timestamp::NEVER, ..Heartbeat::default() },
            pace: Pace::default(),
            traffic: Traffic::default(),
            identity: None,
            gauge: None,
            channels: Vec::new(),
            is_dirty: false,
            is_blocked: false,
            is_backlogged: false,
            ending: None,
            failing: None,
            known: None,
            charged: (0, 0),
            pressure: None,
        }
    }

    /// The user that `on_connect` named, or its token.
    pub fn user(&self) -> Option<Arc<str>> {
        self.identity.as_ref().and_then(|identity| identity.user.clone())
    }

    /// Applies a lifecycle event. False: the table has no such row, and nothing changed.
    pub fn apply(&mut self, event: Event) -> bool {
        match self.state.next(event) {
            Some(state) => {
                self.state = state;
                true
            }
            None => false,
        }
    }

    /// Whether the peer's bytes wait in the kernel, by our own will.
    pub fn is_paused(&self) -> bool {
        self.reading.inbound_full || self.reading.rate_until.is_some() || self.failing.is_some()
    }

    /// The next moment at which some deadline of this connection must be looked at.
    pub fn next_deadline(&self, limits: &Limits) -> Timestamp {
        match self.state {
            State::Pending | State::Tls | State::Head | State::Admitting => {
                self.clocks.accepted + limits.open_timeout
            }
            State::Lingering => self.clocks.closing + LINGER,
            State::Draining | State::Closing | State::Evicting | State::Parting => {
                self.clocks.closing + limits.close_timeout
            }
            State::Flowing | State::Backpressured => self.next_open_deadline(limits),
            _ => Timestamp::NEVER,
        }
    }

    fn next_open_deadline(&self, limits: &Limits) -> Timestamp {
        let mut next = self.clocks.last_message.after(limits.idle_timeout);
        let mut consider = |at: Timestamp| next = next.min(at);
        if limits.ping_interval.is_some() {
            consider(self.heartbeat.next_ping);
        }
        consider(self.heartbeat_deadline(limits));
        consider(self.clocks.accepted.after(limits.max_connection_age));
        consider(self.clocks.expires_at);
        if let Some(began) = self.clocks.message_began {
            consider(began + limits.message_timeout);
        }
        if let Some(until) = self.reading.rate_until {
            consider(until);
        }
        if let Some(since) = self.ring.stalled_since() {
            consider(since.after(limits.write_timeout));
        }
        if let Some(oldest) = self.ring.oldest() {
            consider(oldest.after(limits.max_lag));
        }
        if let Some(since) = self.ring.dwell_since() {
            consider(since + limits.dwell);
        }
        if let Some(failing) = &self.failing {
            consider(failing.look_at());
        }
        if let Some(pressure) = &self.pressure
            && pressure.is_due
        {
            consider(pressure.due_at());
        }
        next
    }

    /// When the peer must have given a sign of life. While we read nothing from it, it cannot, so the
    /// judgement waits for the resume plus one whole timeout.
    pub fn heartbeat_deadline(&self, limits: &Limits) -> Timestamp {
        match self.heartbeat.awaiting_since {
            Some(since) if !self.is_paused() => since.max(self.reading.resumed_at) + limits.ping_timeout,
            _ => Timestamp::NEVER,
        }
    }
}

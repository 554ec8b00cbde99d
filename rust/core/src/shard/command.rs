//! Receives nothing itself · names everything that can be asked of a shard, by the application and by other shards · owns that vocabulary.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::channel::{Channel, Chunks};
use crate::close::Ending;
use crate::codec::Kind;
use crate::config::Limits;
use crate::deflate::{Encoding, Prepared};
use crate::gauge::Gauge;
use crate::handshake::ResponseHeaders;
use crate::id::ConnectionId;
use crate::pool::{PendingPlace, Slot};
use crate::shard::view::ConnectionView;
use crate::stats::Stats;
use crate::time::Timestamp;

/// What the application asks of a shard. Every command names its connection by an id with a generation:
/// one that comes too late is discarded and counted.
pub enum Command {
    /// The verdict of `on_connect`: come in.
    Admit(Box<Admission>),
    /// The verdict of `on_connect`: stay out.
    Refuse(Box<Refused>),
    /// A private message, encoded as a frame.
    Send {
        /// To whom.
        connection: ConnectionId,
        /// The whole frame.
        frame: Bytes,
        /// Whether the caller waits above high water (`send`) or not (`send_nowait`).
        awaited: bool,
    },
    /// Publish on a channel; goes to the channel's home shard.
    Publish {
        /// Where.
        channel: Arc<Channel>,
        /// What.
        publication: Publication,
    },
    /// One encoded message to many connections, under the server's overflow policy.
    Broadcast(Box<Broadcast>),
    /// Join a channel; goes to the channel's home shard. `Registry::join` has counted it.
    Subscribe {
        /// Who.
        connection: ConnectionId,
        /// To what.
        channel: Arc<Channel>,
        /// The connection's encoding; raw where the caller does not know it.
        encoding: Encoding,
        /// A frame that precedes every publication.
        first: Option<Bytes>,
    },
    /// Leave a channel; goes to the channel's home shard.
    Unsubscribe {
        /// Who.
        connection: ConnectionId,
        /// From what.
        channel: Arc<Channel>,
    },
    /// End a connection.
    Close {
        /// Which.
        connection: ConnectionId,
        /// Why.
        ending: Box<Ending>,
    },
    /// A connection's life ends then, sooner or later than so far.
    Extend {
        /// Which.
        connection: ConnectionId,
        /// When it is closed with 4401.
        until: Timestamp,
    },
    /// End all connections of a user on this shard.
    Disconnect {
        /// Whose.
        user: Arc<str>,
        /// Said to the peer.
        reason: Box<str>,
    },
    /// The handler took enough: read on.
    Resume {
        /// Which.
        connection: ConnectionId,
    },
    /// The application holds this connection from now on.
    Hold {
        /// Which.
        connection: ConnectionId,
        /// The numbers it reads.
        gauge: Arc<Gauge>,
    },
    /// Report connections; the answer is called on the shard and must only hand the list on.
    List {
        /// Which.
        filter: Filter,
        /// Takes the answer.
        answer: Box<dyn FnOnce(Vec<ConnectionView>) + Send>,
    },
    /// Report what has been counted; called on the shard, as for `List`.
    Report(Box<dyn FnOnce(Stats) + Send>),
    /// Other limits from now on.
    Reconfigure {
        /// All of them.
        limits: Arc<Limits>,
        /// The wheel's tick, which follows `ping_interval`.
        tick: Duration,
    },
    /// Close everything, spread over a time.
    Depart {
        /// When the last one is to be told.
        until: Timestamp,
    },
    /// The grace is over: reset what is left.
    Abandon,
    /// Free one pending place: the oldest without a complete head, else the oldest lingering.
    Reclaim,
    /// End the thread; the driver's business, nothing to the shard.
    Stop,
}

/// One message for a channel's subscribers.
pub struct Publication {
    /// Text or binary.
    pub kind: Kind,
    /// The message, not yet framed.
    pub payload: Bytes,
    /// The conflation key's number; zero for none.
    pub key: u64,
    /// Its compressed frames, when it is too long to be compressed on a shard.
    pub prepared: Option<Box<Prepared>>,
}

/// A positive verdict of `on_connect`.
pub struct Admission {
    /// Who comes in.
    pub connection: ConnectionId,
    /// The user, as the application names it; `None`: the token's, if there is one.
    pub user: Option<Arc<str>>,
    /// When the connection is closed with 4401; `None`: when the token says, if there is one.
    pub expires_at: Option<Timestamp>,
    /// For eviction by priority: greater stays longer.
    pub priority: i64,
    /// The subprotocol, when the application chose it; else the route's choice stands.
    pub subprotocol: Option<String>,
    /// More response headers.
    pub headers: ResponseHeaders,
    /// The victim that a pool policy chose.
    pub victim: Option<ConnectionId>,
    /// Channels to join, each counted by `Registry::join`; counted back if it does not come to that.
    pub subscribe: Vec<Arc<Channel>>,
}

impl Drop for Admission {
    fn drop(&mut self) {
        for channel in &self.subscribe {
            channel.leave();
        }
    }
}

/// A negative verdict of `on_connect`.
pub struct Refused {
    /// Who stays out.
    pub connection: ConnectionId,
    /// HTTP status, 400–599.
    pub status: u16,
    /// The body, for people.
    pub reason: String,
    /// More response headers.
    pub headers: ResponseHeaders,
}

/// One message to many connections.
pub struct Broadcast {
    /// Text or binary.
    pub kind: Kind,
    /// The message, not yet framed.
    pub payload: Bytes,
    /// Its compressed frames: a shard does not compress broadcasts.
    pub prepared: Prepared,
    /// To whom.
    pub to: Audience,
    /// Not to these.
    pub exclude: Vec<ConnectionId>,
}

/// Whom a broadcast is for.
pub enum Audience {
    /// Everybody on the shard.
    Everyone,
    /// All connections of a user.
    User(Arc<str>),
    /// These.
    These(Vec<ConnectionId>),
}

/// Which connections a list is about; empty fields do not restrict.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this user.
    pub user: Option<Arc<str>>,
    /// Subscribed to this channel.
    pub channel: Option<u64>,
    /// Opened with this path.
    pub path: Option<Arc<str>>,
    /// At most this many of those that the eviction order would take first; `None`: all, in no order.
    pub first_to_leave: Option<usize>,
}

/// What shards say to each other. Taken before commands, in one order per pair of shards.
pub enum Forward {
    /// Publications for the subscribers on the receiving shard.
    Publications(Chunks),
    /// A join, ordered by the home.
    Join {
        /// Who.
        connection: ConnectionId,
        /// To what.
        channel: Arc<Channel>,
        /// As which encoding the home counts it.
        encoding: Encoding,
        /// A frame that precedes every publication.
        first: Option<Bytes>,
    },
    /// To the home: a connection of the sending shard joins.
    Subscribe {
        /// Who.
        connection: ConnectionId,
        /// To what.
        channel: Arc<Channel>,
        /// The connection's encoding.
        encoding: Encoding,
    },
    /// A leave, ordered by the home.
    Leave {
        /// Who.
        connection: ConnectionId,
        /// From what.
        channel: Arc<Channel>,
    },
    /// To the home: a subscription on the sending shard ended.
    Left {
        /// Of what.
        channel: Arc<Channel>,
        /// As which encoding the home counted it.
        encoding: Encoding,
    },
    /// Evict this connection and pass its slot to the newcomer.
    Evict {
        /// Who is to leave for whom.
        wanted: Wanted,
        /// The newcomer's pending place, on which the victim's socket lingers.
        place: Option<PendingPlace>,
    },
    /// The answer: the slot is the newcomer's, or there was nobody to evict.
    Vacated {
        /// Who waits for it.
        newcomer: ConnectionId,
        /// The slot, if there is one.
        slot: Option<Slot>,
        /// The newcomer's own pending place, when nobody needed it.
        place: Option<PendingPlace>,
    },
}

/// Who is to leave for whom.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Who leaves.
    pub victim: ConnectionId,
    /// Who waits for the slot.
    pub newcomer: ConnectionId,
    /// The newcomer's priority, for the order `priority`.
    pub priority: i64,
    /// Whether a pool policy named the victim; if that one is gone, nobody leaves in its stead.
    pub is_named: bool,
}

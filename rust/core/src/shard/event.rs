//! Receives nothing itself · names everything that a shard tells the application · owns that vocabulary.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::close::{By, CloseCode, Ending};
use crate::codec::Kind;
use crate::gauge::Gauge;
use crate::handshake::{Parameters, Request};
use crate::id::ConnectionId;
use crate::known::Known;

/// What a shard tells the application, in the order in which it happened on each connection.
#[derive(Debug)]
pub enum Event {
    /// Somebody asks to come in; `Admit` or `Refuse` is due within `open_timeout`.
    Arrived(Box<Arrival>),
    /// Who asked went away, or was refused because no verdict came in time: stop thinking about it.
    Withdrawn {
        /// Who.
        connection: ConnectionId,
        /// Dropped when the application has finished with it.
        known: Known,
    },
    /// The shard shuts down, and the last of its connections has ended.
    Departed,
    /// A browser was refused because of this origin; said once per origin.
    OriginRefused {
        /// What the browser said.
        origin: String,
    },
    /// Handshakes were refused; one notice for many of a kind.
    Refused(Box<RefusalNotice>),
    /// A peer that is not among the trusted proxies named somebody else as the client; said once per shard.
    ForwardingIgnored {
        /// The peer; `None` on a Unix socket.
        address: Option<IpAddr>,
    },
    /// The 101 is on its way; messages may follow.
    Opened(Box<Opening>),
    /// A complete message.
    Message {
        /// From whom.
        connection: ConnectionId,
        /// Text (valid UTF-8) or binary.
        kind: Kind,
        /// The message.
        payload: Bytes,
    },
    /// Somebody waits to send, and pending bytes are at or below low water.
    Writable {
        /// Where.
        connection: ConnectionId,
    },
    /// Marks were crossed or messages dropped; at most one a second per connection.
    Backpressure {
        /// Where.
        connection: ConnectionId,
        /// Whether it is above high water now.
        above: bool,
        /// Bytes pending now.
        buffered: usize,
        /// Messages dropped since the last such event.
        dropped: u64,
    },
    /// The one ending of a connection.
    Closed(Box<Closed>),
}

/// What the operator is told of refusals.
#[derive(Debug)]
pub struct RefusalNotice {
    /// How the handshake ended, a name of [`Outcome`](crate::stats::Outcome).
    pub outcome: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The server's own reason, which repeats nothing that a peer sent; empty where the application gave one.
    pub reason: Cow<'static, str>,
    /// The client's address; `None` on a Unix socket.
    pub address: Option<IpAddr>,
    /// How many more had this outcome since the last notice of it.
    pub others: u64,
}

/// A request that wants to become a connection.
#[derive(Debug)]
pub struct Arrival {
    /// Its id, which it keeps.
    pub connection: ConnectionId,
    /// What was asked.
    pub request: Request,
    /// The route's number.
    pub route: usize,
    /// The route's parameters.
    pub parameters: Parameters,
    /// The client: the peer, or whom a trusted proxy names; `None` on a Unix socket.
    pub address: Option<SocketAddr>,
    /// The subject of the client's TLS certificate, verified, as RFC 4514 writes it; `None`: it showed none.
    pub client_certificate: Option<Arc<str>>,
    /// Whether it has a slot already; otherwise somebody must leave before it can come in.
    pub has_slot: bool,
    /// Whether a verdict is expected; otherwise `Opened` follows at once.
    pub asks: bool,
    /// The claims of its token, as the JSON text of an object; `None`: none was asked for.
    pub claims: Option<Bytes>,
}

/// A connection that is open now.
#[derive(Debug)]
pub struct Opening {
    /// Its id.
    pub connection: ConnectionId,
    /// The subprotocol that was selected.
    pub subprotocol: Option<String>,
    /// The user that `on_connect` named, or the token.
    pub user: Option<Arc<str>>,
    /// The route's number.
    pub route: usize,
    /// The numbers that the application reads; `None` when the route's connections are not held.
    pub gauge: Option<Arc<Gauge>>,
    /// The number of the attempt that opened it; `None`: it was accepted.
    pub dial: Option<u64>,
}

/// How a connection ended.
#[derive(Debug)]
pub struct Closed {
    /// Its id.
    pub connection: ConnectionId,
    /// The close code of whoever ended it: the peer's, ours, or 1006 where a closing handshake was due and
    /// did not come about.
    pub code: CloseCode,
    /// The reason.
    pub reason: String,
    /// The ending's name in the closed list.
    pub ending: &'static str,
    /// Who ended it.
    pub by: By,
    /// From accept to end.
    pub duration: Duration,
    /// Messages received and their payload bytes.
    pub received: (u64, u64),
    /// Messages written to the socket and their frame bytes.
    pub sent: (u64, u64),
    /// Messages dropped by policy.
    pub dropped: u64,
    /// Dropped when the application has finished with it; `None` when it never knew it.
    pub known: Option<Known>,
}

impl Closed {
    /// The ending of a connection that ended before the application could take hold of it: nothing is known of it
    /// any more.
    pub fn unseen(connection: ConnectionId) -> Self {
        let ending = Ending::TransportLost;
        Self {
            connection,
            code: ending.code(),
            reason: ending.reason(),
            ending: ending.name(),
            by: ending.by(),
            duration: Duration::ZERO,
            received: (0, 0),
            sent: (0, 0),
            dropped: 0,
            known: None,
        }
    }
}

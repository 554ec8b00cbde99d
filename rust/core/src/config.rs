//! Receives validated settings from the Python configuration · hands every limit to the machines that
//! enforce it · owns the vocabulary of limits. Defaults live in one place only: the Python `Config`.

use std::time::Duration;

use crate::handshake::{AllowedOrigins, OriginError, TrustedProxies};

/// Every limit a shard enforces. All values are validated before they get here.
#[derive(Clone, Debug)]
pub struct Limits {
    /// One deadline over TLS, the request head and `on_connect`.
    pub open_timeout: Duration,
    /// From the decision to close until the socket must have taken our Close and the peer answered it.
    pub close_timeout: Duration,
    /// Without an application message either way; `None`: never.
    pub idle_timeout: Option<Duration>,
    /// Between two pings to a silent peer; `None`: no pings.
    pub ping_interval: Option<Duration>,
    /// From the ping's hand-over to the kernel until any byte must have come.
    pub ping_timeout: Duration,
    /// Bytes pending and none taken by the socket for this long: the peer is dead.
    pub write_timeout: Option<Duration>,
    /// Age of the oldest pending byte at which a reader counts as slow; `None`: no limit.
    pub max_lag: Option<Duration>,
    /// How long publications may stay above the high water mark before `disconnect` acts.
    pub dwell: Duration,
    /// Age at which a connection is closed with 1012; `None`: never.
    pub max_connection_age: Option<Duration>,
    /// From the first to the last frame of a message.
    pub message_timeout: Duration,

    /// Bytes of one inbound message.
    pub max_message_size: usize,
    /// Bytes of one inbound frame.
    pub max_frame_size: usize,
    /// Frames of one inbound message.
    pub max_fragments: u32,
    /// Bytes of complete inbound messages that the application has not taken.
    pub max_inbound: usize,
    /// Frames a second above which reading pauses; `None`: no limit.
    pub max_frame_rate: Option<u32>,
    /// Messages a second above which reading pauses; `None`: no limit.
    pub max_message_rate: Option<u32>,
    /// Payload bytes of messages a second above which reading pauses; `None`: no limit.
    pub max_byte_rate: Option<u64>,
    /// Control frames a second above which the connection fails with 1008; `None`: no limit.
    pub max_control_rate: Option<u32>,
    /// Whether newcomers may have permessage-deflate.
    pub compression: bool,
    /// Bytes of an outbound message from which it is compressed.
    pub compression_threshold: usize,
    /// Channels one connection may be subscribed to.
    pub max_channels: usize,

    /// When senders wait, and the rest of the outbound bounds.
    pub marks: Marks,
    /// What happens to publications that have no policy of their own.
    pub overflow: Overflow,

    /// Connections at once, a hard bound.
    pub max_connections: usize,
    /// Connections at once from one address; `None`: no limit.
    pub max_connections_per_address: Option<usize>,
    /// Connections at once of one user; `None`: no limit.
    pub max_connections_per_user: Option<usize>,
    /// Upgrades a second from one address; `None`: no limit.
    pub max_handshake_rate: Option<u32>,
    /// Sockets at once that are not (or no longer) connections.
    pub max_pending: usize,
    /// Who leaves when a newcomer finds the pool full.
    pub eviction: Eviction,
    /// How long 503 and 429 tell clients to wait.
    pub retry_after: Duration,

    /// Bytes of real memory that all buffers together may take.
    pub memory_budget: usize,
    /// Origins that browsers may connect from.
    pub origins: Origins,
    /// Peers whose word about the client counts.
    pub trusted_proxies: TrustedProxies,
}

/// The outbound bounds of one connection, in bytes of frames that the socket has not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Above it, awaiting senders wait, `conflate` starts and `disconnect` starts its dwell.
    pub high_water: usize,
    /// At or below it, they resume.
    pub low_water: usize,
    /// The bound that is never passed.
    pub max_buffered: usize,
}

/// What happens to publications when a reader is slow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Overflow {
    /// Close with 4008 after the dwell above high water, at once at `max_buffered`.
    #[default]
    Disconnect,
    /// At `max_buffered`, drop the oldest publications down to high water.
    DropOldest,
    /// At `max_buffered`, drop the newest publications down to high water.
    DropNewest,
    /// Above high water, keep only the newest per key (without a key: per channel).
    Conflate,
}

/// The order in which connections leave to make room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Eviction {
    /// Nobody leaves: the newcomer gets 503.
    #[default]
    Reject,
    /// The connection longest without an application message.
    Idle,
    /// The connection that was accepted first.
    Oldest,
    /// The connection with the most bytes pending.
    Slowest,
    /// The connection with the smallest priority, and only if the newcomer's is greater.
    Priority,
}

/// Which `Origin` headers a browser may send.
#[derive(Clone, Debug, Default)]
pub enum Origins {
    /// Host and port equal to the `Host` header, or loopback to loopback.
    #[default]
    Same,
    /// Any origin.
    Any,
    /// Exactly these (scheme, host and port compared; `null` only when listed).
    Listed(AllowedOrigins),
}

impl Origins {
    /// Exactly these: `scheme://host[:port]`, `scheme://*.domain[:port]`, `null`.
    pub fn listed(entries: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, OriginError> {
        AllowedOrigins::listed(entries).map(Self::Listed)
    }
}

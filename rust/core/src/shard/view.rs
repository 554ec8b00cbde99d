//! Receives one connection's state · hands a copy to whoever asked · owns nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::id::ConnectionId;
use crate::lifecycle::State;
use crate::time::Timestamp;

/// A connection as it stood when somebody asked.
#[derive(Clone, Debug)]
pub struct ConnectionView {
    /// Its id.
    pub connection: ConnectionId,
    /// Its finer state.
    pub state: State,
    /// The user that `on_connect` named.
    pub user: Option<Arc<str>>,
    /// The path it was opened with.
    pub path: Arc<str>,
    /// The route's number.
    pub route: usize,
    /// Its priority.
    pub priority: i64,
    /// The peer; `None` on a Unix socket.
    pub address: Option<SocketAddr>,
    /// When it was accepted. A point in time and not an age: shards answer at different moments, and ages of two
    /// of them could not be compared.
    pub accepted: Timestamp,
    /// When the last application message passed, either way.
    pub last_message: Timestamp,
    /// Bytes pending.
    pub buffered: usize,
    /// Messages dropped by policy.
    pub dropped: u64,
    /// Round trip of the last ping; `None` before the first.
    pub latency: Option<Duration>,
    /// Whether reading is paused because the application does not take its messages.
    pub paused: bool,
    /// Channels it is subscribed to.
    pub channels: usize,
}

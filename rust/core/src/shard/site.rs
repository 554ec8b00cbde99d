//! Receives the server's routes and hooks at start · hands the shard what it must know of each · owns what is the same on every shard.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;

use crate::handshake::{Request, Router};
use crate::pool::{AddressCount, UserCount};
use crate::shard::tokens::Tokens;
use crate::time::Timestamp;

/// What is the same for every shard of a server.
#[allow(clippy::struct_excessive_bools, reason = "each says whether the application has one hook")]
pub struct Site {
    /// Paths and their routes.
    pub router: Router,
    /// What the shard does with each route's connections, by route number.
    pub routes: Vec<Route>,
    /// Whether `on_connect` decides who comes in.
    pub asks: bool,
    /// Whether the application wants to hear of every ending (`on_close`), held or not.
    pub reports_closes: bool,
    /// Whether the application wants to hear of marks and drops (`on_backpressure`).
    pub reports_backpressure: bool,
    /// Whether a pool policy may name victims, so that newcomers wait even when nobody leaves by order.
    pub has_pool_policy: bool,
    /// Checks bearer tokens before anybody gets a slot; `None`: nobody needs one.
    pub tokens: Option<Arc<dyn Tokens>>,
    /// Answers requests that are no upgrades: probes and assets.
    pub plain: Arc<dyn Plain>,
    /// What is counted by address and by user, over all shards.
    pub counts: Arc<dyn Counts>,
}

/// How the shard treats one route.
#[derive(Clone, Debug)]
pub struct Route {
    /// Whether messages go to the application; otherwise a message fails the connection with 1003.
    pub receives: bool,
    /// Whether the application holds each connection from its opening on.
    pub held: bool,
    /// A text frame sent with every ping, for pages, which see no pings.
    pub heartbeat: Option<Bytes>,
}

/// Answers the plain HTTP requests of the main port. Called within a shard's turn: it must not block.
pub trait Plain: Send + Sync {
    /// Whether there is anything at this path.
    fn knows(&self, path: &str) -> bool;

    /// The whole response, head included.
    fn answer(&self, request: &Request, head_only: bool) -> Bytes;
}

/// What is counted by address and by user. Called within a shard's turn, once per handshake at most: a look-up, behind a
/// lock that nobody holds for longer.
pub trait Counts: Send + Sync {
    /// The connections of an address. That of a socket's own peer is known from its acceptance; this is for the others,
    /// for whom a proxy spoke.
    fn of_address(&self, address: IpAddr) -> AddressCount;

    /// The connections of a user.
    fn of_user(&self, user: &Arc<str>) -> UserCount;

    /// Counts one handshake of an address. False: it has had `rate` of them within a second already.
    fn take_handshake(&self, address: IpAddr, rate: u32, now: Timestamp) -> bool;
}

//! Receives a dialler's open socket · hands it to the shard with the fewest · owns what an engine for outgoing connections
//! alone is started with: it listens nowhere, and has one route.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use ring::rand::{SecureRandom, SystemRandom};
use streamconductor_core::handshake::{Request, ResponseHeaders, Router, plain_response};
use streamconductor_core::pool::{AddressCount, UserCount};
use streamconductor_core::shard::outgoing;
use streamconductor_core::shard::site::{Counts, Plain, Route, Site};
use streamconductor_core::time::Timestamp;

use crate::listener::Raw;
use crate::server::Server;
use crate::tls::Encryption;
use crate::upstream::Watcher;

/// A connection on its way from the dialler to a shard.
///
/// Its slot is taken from [`Server::pool`] before the dialling begins, so that attempts are among the maximum, too.
pub struct Connected {
    /// The socket, which no runtime drives.
    pub socket: Raw,
    /// Its encryption, established; `None`: its bytes are plain.
    pub encryption: Option<Box<Encryption>>,
    /// What has been read behind the server's answer, in plain.
    pub read_ahead: Bytes,
    /// What the shard is to know of it.
    pub connection: outgoing::Connected,
    /// Who is told, beside the application and without its doing, that the shard has it and that it has ended.
    pub watcher: Option<Watcher>,
}

impl Server {
    /// Gives a connection to the shard with the fewest sockets. `Opened`, which names its `dial`, and at last `Closed` come
    /// up as for any other; it is never refused, but what is broken, or comes during a shutdown, ends at once.
    pub fn take_over(&self, connected: Connected) {
        if let Some(inbox) = self.least_loaded() {
            inbox.connect(connected);
        }
    }
}

/// The routes and hooks of an engine for outgoing connections alone: one route, number 0, whose messages go to the
/// application. With it, [`Server::start`] needs no address.
pub fn site(reports_backpressure: bool) -> Site {
    Site {
        router: Router::new(),
        routes: vec![Route { receives: true, held: true, heartbeat: None }],
        asks: false,
        reports_closes: true,
        reports_backpressure,
        has_pool_policy: false,
        tokens: None,
        plain: Arc::new(Nobody),
        counts: Arc::new(Nobody),
    }
}

/// The seed of one connection's masking keys, from the system. Fails where the system has no source of chance.
pub fn seed() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    let filled = SystemRandom::new().fill(&mut seed);
    filled.map(|()| seed).map_err(|_| io::Error::other("the system gives no random bytes for masking keys"))
}

/// Answers and counts where nobody ever comes in.
struct Nobody;

impl Plain for Nobody {
    fn knows(&self, _: &str) -> bool {
        false
    }

    fn answer(&self, _: &Request, head_only: bool) -> Bytes {
        plain_response(404, "text/plain", b"", head_only, &ResponseHeaders::default()).into()
    }
}

impl Counts for Nobody {
    fn of_address(&self, _: IpAddr) -> AddressCount {
        AddressCount::default()
    }

    fn of_user(&self, _: &Arc<str>) -> UserCount {
        UserCount::default()
    }

    fn take_handshake(&self, _: IpAddr, _: u32, _: Timestamp) -> bool {
        true
    }
}

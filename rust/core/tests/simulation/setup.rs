//! Receives what a test varies · hands out limits and a site · owns the ordinary server that tests start from.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use streamconductor_core::bucket::{Rate, TokenBucket};
use streamconductor_core::codec::{Kind, encode_message};
use streamconductor_core::config::{Eviction, Limits, Marks, Origins, Overflow};
use streamconductor_core::handshake::{
    Request, ResponseHeaders, RouteSettings, Router, TrustedProxies, plain_response,
};
use streamconductor_core::pool::{AddressCount, UserCount};
use streamconductor_core::shard::site::{Counts, Plain, Route, Site};
use streamconductor_core::shard::tokens::Tokens;
use streamconductor_core::time::Timestamp;

pub const TICK: Duration = Duration::from_millis(50);

pub const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// What a test varies.
pub struct Setup {
    pub limits: Limits,
    pub shards: usize,
    pub asks: bool,
    pub reports_closes: bool,
    pub has_pool_policy: bool,
    pub tokens: Option<Arc<dyn Tokens>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            limits: limits(),
            shards: 1,
            asks: false,
            reports_closes: true,
            has_pool_policy: false,
            tokens: None,
        }
    }
}

/// Limits that are out of the way of most tests.
pub fn limits() -> Limits {
    Limits {
        open_timeout: seconds(5),
        close_timeout: seconds(5),
        idle_timeout: None,
        ping_interval: None,
        ping_timeout: seconds(20),
        write_timeout: None,
        max_lag: None,
        dwell: seconds(5),
        max_connection_age: None,
        message_timeout: seconds(30),
        max_message_size: 1 << 20,
        max_frame_size: 1 << 20,
        max_fragments: 64,
        max_inbound: 256 * 1024,
        max_frame_rate: None,
        max_message_rate: None,
        max_byte_rate: None,
        max_control_rate: None,
        compression: false,
        compression_threshold: 64,
        max_channels: 128,
        marks: Marks { high_water: 1_000, low_water: 250, max_buffered: 4_000 },
        overflow: Overflow::Disconnect,
        max_connections: 100,
        max_connections_per_address: None,
        max_connections_per_user: None,
        max_handshake_rate: None,
        max_pending: 100,
        eviction: Eviction::Reject,
        retry_after: seconds(1),
        memory_budget: 64 << 20,
        origins: Origins::Any,
        trusted_proxies: TrustedProxies::default(),
    }
}

struct Probe;

impl Plain for Probe {
    fn knows(&self, path: &str) -> bool {
        path == "/livez"
    }

    fn answer(&self, _: &Request, head_only: bool) -> Bytes {
        plain_response(200, "text/plain", b"ok", head_only, &ResponseHeaders::default()).into()
    }
}

/// What a server keeps behind locks, here for one thread.
#[derive(Default)]
struct Counted {
    addresses: Mutex<HashMap<IpAddr, AddressCount>>,
    users: Mutex<HashMap<Arc<str>, UserCount>>,
    handshakes: Mutex<HashMap<IpAddr, TokenBucket>>,
}

impl Counts for Counted {
    fn of_address(&self, address: IpAddr) -> AddressCount {
        self.addresses.lock().unwrap().entry(address).or_default().clone()
    }

    fn of_user(&self, user: &Arc<str>) -> UserCount {
        self.users.lock().unwrap().entry(Arc::clone(user)).or_default().clone()
    }

    fn take_handshake(&self, address: IpAddr, rate: u32, now: Timestamp) -> bool {
        let mut handshakes = self.handshakes.lock().unwrap();
        handshakes.entry(address).or_default().take(Rate::per_second(rate), 1, now)
    }
}

/// The routes: both ways and held; one way and not held; with a heartbeat.
pub fn site(setup: &Setup) -> Site {
    let mut router = Router::new();
    let chat = RouteSettings { subprotocols: vec!["chat".into()], origins: None };
    router.add("/chat", chat).unwrap();
    router.add("/feed", RouteSettings::default()).unwrap();
    router.add("/beat", RouteSettings::default()).unwrap();
    let heartbeat = Bytes::from(server_frame(Kind::Text, b"beat"));
    let route = |receives, held, heartbeat| Route { receives, held, heartbeat };
    Site {
        router,
        routes: vec![route(true, true, None), route(false, false, None), route(true, true, Some(heartbeat))],
        asks: setup.asks,
        reports_closes: setup.reports_closes,
        reports_backpressure: true,
        has_pool_policy: setup.has_pool_policy,
        tokens: setup.tokens.clone(),
        plain: Arc::new(Probe),
        counts: Arc::new(Counted::default()),
    }
}

pub fn server_frame(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_message(&mut frame, kind, payload);
    frame
}

/// A GET that asks to be upgraded.
pub fn upgrade(path: &str) -> Vec<u8> {
    upgrade_with(path, "")
}

/// One that offers permessage-deflate with that window.
pub fn upgrade_deflated(path: &str, window_bits: u8) -> Vec<u8> {
    let offer = format!("permessage-deflate; server_max_window_bits={window_bits}");
    upgrade_with(path, &format!("Sec-WebSocket-Extensions: {offer}\r\n"))
}

fn upgrade_with(path: &str, headers: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
    .into_bytes()
}

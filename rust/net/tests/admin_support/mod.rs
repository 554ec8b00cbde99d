//! A real server with one push-only route and its admin address, and a client that speaks raw HTTP.
#![allow(dead_code)] // each test target uses a part

pub mod openmetrics;
pub mod schema;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use streamconductor_core::channel::{Policy, Registry};
use streamconductor_core::config::{Eviction, Limits, Marks, Origins, Overflow};
use streamconductor_core::deflate::Encoding;
use streamconductor_core::handshake::{RouteSettings, Router, TrustedProxies};
use streamconductor_core::ledger::Ledger;
use streamconductor_core::shard::command::{Command, Filter};
use streamconductor_core::shard::site::{Route, Site};
use streamconductor_net::admin::{AdminServer, ServerAdmin, StatusExtra};
use streamconductor_net::clock::Clock;
use streamconductor_net::counts::Counts;
use streamconductor_net::doorbell::Doorbell;
use streamconductor_net::front::Front;
use streamconductor_net::listener::Address;
use streamconductor_net::readiness::Readiness;
use streamconductor_net::server::{Foundations, Server, Settings};
use streamconductor_net::tls::Tls;
use streamconductor_net::upward::Upward;

/// Longest publication.
pub const MAX_PAYLOAD: usize = 1_000;

/// A server, its readiness and its admin address, all on ports that the kernel chose.
pub struct Stand {
    pub admin: AdminServer,
    pub server: Arc<Server>,
    pub readiness: Arc<Readiness>,
    pub ledger: Ledger,
    /// What was posted to `/reconfigure`.
    pub changes: Arc<Mutex<Vec<Value>>>,
}

impl Stand {
    pub fn start(token: Option<&str>) -> Self {
        Self::start_with(token, None)
    }

    pub fn start_with(token: Option<&str>, tls: Option<Arc<Tls>>) -> Self {
        let clock = Clock::start();
        let ledger = Ledger::new(64 << 20);
        let upward = Arc::new(Upward::new(&ledger, Arc::new(Doorbell::new().unwrap())));
        let readiness = Arc::new(Readiness::new(clock, ledger.clone(), Duration::ZERO, None));
        let mut router = Router::new();
        router.add("/", RouteSettings::default()).unwrap();
        let site = Site {
            router,
            routes: vec![Route { receives: false, held: false, heartbeat: None }],
            asks: false,
            reports_closes: false,
            reports_backpressure: false,
            has_pool_policy: false,
            tokens: None,
            plain: Arc::new(Front { readiness: Arc::clone(&readiness), assets: HashMap::new() }),
            counts: Arc::new(Counts::default()),
        };
        let settings = Settings {
            addresses: vec![Address::Tcp("127.0.0.1:0".parse().unwrap())],
            backlog: 64,
            threads: 2,
            tick: Duration::from_millis(50),
            limits: limits(),
            tls,
        };
        let foundations = Foundations { clock, ledger: ledger.clone(), upward };
        let registry = Registry::new(2, Policy::default());
        let server = Arc::new(Server::start(settings, Arc::new(site), registry, foundations).unwrap());
        let changes: Arc<Mutex<Vec<Value>>> = Arc::default();
        let posted = Arc::clone(&changes);
        let service = ServerAdmin::new(
            Arc::clone(&server),
            Arc::clone(&readiness),
            MAX_PAYLOAD,
            Box::new(|| StatusExtra { feeds: json!({"quotes": {"state": "running"}}) }),
            Box::new(move |changes: Value| {
                if changes.get("wrong").is_some() {
                    return Err("wrong is not a field".to_owned());
                }
                posted.lock().unwrap().push(changes);
                Ok(())
            }),
        );
        let any = "127.0.0.1:0".parse().unwrap();
        let admin = AdminServer::start(any, token.map(str::to_owned), Arc::new(service)).unwrap();
        Self { admin, server, readiness, ledger, changes }
    }

    pub fn get(&self, path: &str) -> Response {
        ask(
            self.admin.address(),
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
        )
    }

    pub fn post(&self, path: &str, headers: &str, body: impl AsRef<[u8]>) -> Response {
        let body = body.as_ref();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
            body.len()
        );
        ask(self.admin.address(), [head.as_bytes(), body].concat())
    }

    /// A WebSocket connection that is subscribed to `channel`.
    pub fn subscriber(&self, channel: &str) -> TcpStream {
        let before: Vec<_> =
            self.server.list(&Filter::default()).iter().map(|view| view.connection).collect();
        let mut socket = connect(self.server.addresses()[0]);
        let head = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        socket.write_all(head.as_bytes()).unwrap();
        assert_eq!(read_head(&mut socket).0, 101);
        let views = self.server.list(&Filter::default());
        let connection = views.iter().map(|view| view.connection).find(|id| !before.contains(id)).unwrap();
        let channel = self.server.registry().join(channel);
        let home = channel.home();
        self.server
            .tell(home, Command::Subscribe { connection, channel, encoding: Encoding::Raw, first: None });
        socket
    }
}

/// Reads exactly these bytes.
pub fn expect(socket: &mut TcpStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    socket.read_exact(&mut read).unwrap();
    assert_eq!(read, bytes);
}

pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
    pub body: String,
}

impl Response {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// A socket whose reads fail after ten seconds instead of hanging.
pub fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

/// Sends a request and reads until the server closes.
pub fn ask(address: SocketAddr, request: impl AsRef<[u8]>) -> Response {
    let mut socket = connect(address);
    socket.write_all(request.as_ref()).unwrap();
    let (status, headers) = read_head(&mut socket);
    let mut body = String::new();
    socket.read_to_string(&mut body).unwrap();
    Response { status, headers, body }
}

/// Reads the head of a response and nothing behind it.
pub fn read_head(socket: &mut TcpStream) -> (u16, HashMap<String, String>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    (status, headers)
}

fn limits() -> Limits {
    let second = Duration::from_secs(1);
    Limits {
        open_timeout: 5 * second,
        close_timeout: 5 * second,
        idle_timeout: None,
        ping_interval: None,
        ping_timeout: 20 * second,
        write_timeout: None,
        max_lag: None,
        dwell: 5 * second,
        max_connection_age: None,
        message_timeout: 30 * second,
        max_message_size: 1 << 20,
        max_frame_size: 1 << 20,
        max_fragments: 1_024,
        max_inbound: 256 << 10,
        max_frame_rate: None,
        max_message_rate: None,
        max_byte_rate: None,
        max_control_rate: None,
        compression: true,
        compression_threshold: 64,
        max_channels: 128,
        marks: Marks { high_water: 64 << 10, low_water: 16 << 10, max_buffered: 2 << 20 },
        overflow: Overflow::Disconnect,
        max_connections: 8,
        max_connections_per_address: None,
        max_connections_per_user: None,
        max_handshake_rate: None,
        max_pending: 4,
        retry_after: Duration::from_secs(1),
        eviction: Eviction::Reject,
        memory_budget: 64 << 20,
        origins: Origins::Any,
        trusted_proxies: TrustedProxies::default(),
    }
}

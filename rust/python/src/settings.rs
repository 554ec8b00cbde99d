//! Receives the numbers of a Python `Config` · hands out the limits of the core · owns the spelling of both.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use streamconductor_core::config::{Eviction, Limits, Marks, Origins, Overflow};
use streamconductor_core::handshake::TrustedProxies;
use streamconductor_net::listener::Address;
use streamconductor_net::tls::Files;

/// `Config.limits()`: bytes, seconds, counts and names, validated there.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct LimitNumbers {
    open_timeout: f64,
    close_timeout: f64,
    idle_timeout: Option<f64>,
    ping_interval: Option<f64>,
    ping_timeout: f64,
    write_timeout: Option<f64>,
    max_lag: Option<f64>,
    dwell: f64,
    max_connection_age: Option<f64>,
    message_timeout: f64,
    max_message_size: usize,
    max_frame_size: usize,
    max_fragments: u32,
    max_inbound: usize,
    max_frame_rate: Option<u32>,
    max_message_rate: Option<u32>,
    max_byte_rate: Option<u64>,
    max_control_rate: Option<u32>,
    compression: bool,
    compression_threshold: usize,
    max_channels: usize,
    high_water: usize,
    low_water: usize,
    max_buffered: usize,
    overflow: String,
    max_connections: usize,
    max_connections_per_address: Option<usize>,
    max_connections_per_user: Option<usize>,
    max_handshake_rate: Option<u32>,
    max_pending: usize,
    eviction: String,
    retry_after: f64,
    memory_budget: usize,
    trusted_proxies: Vec<String>,
    tick: f64,
}

impl LimitNumbers {
    /// The wheel's tick.
    pub fn tick(&self) -> Duration {
        Duration::from_secs_f64(self.tick)
    }

    /// The limits of the core; `origins` as in `Config.origins`.
    pub fn limits(&self, origins: Origins) -> PyResult<Limits> {
        let seconds = Duration::from_secs_f64;
        Ok(Limits {
            open_timeout: seconds(self.open_timeout),
            close_timeout: seconds(self.close_timeout),
            idle_timeout: self.idle_timeout.map(seconds),
            ping_interval: self.ping_interval.map(seconds),
            ping_timeout: seconds(self.ping_timeout),
            write_timeout: self.write_timeout.map(seconds),
            max_lag: self.max_lag.map(seconds),
            dwell: seconds(self.dwell),
            max_connection_age: self.max_connection_age.map(seconds),
            message_timeout: seconds(self.message_timeout),
            max_message_size: self.max_message_size,
            max_frame_size: self.max_frame_size,
            max_fragments: self.max_fragments,
            max_inbound: self.max_inbound,
            max_frame_rate: self.max_frame_rate,
            max_message_rate: self.max_message_rate,
            max_byte_rate: self.max_byte_rate,
            max_control_rate: self.max_control_rate,
            compression: self.compression,
            compression_threshold: self.compression_threshold,
            max_channels: self.max_channels,
            marks: Marks {
                high_water: self.high_water,
                low_water: self.low_water,
                max_buffered: self.max_buffered,
            },
            overflow: overflow(&self.overflow)?,
            max_connections: self.max_connections,
            max_connections_per_address: self.max_connections_per_address,
            max_connections_per_user: self.max_connections_per_user,
            max_handshake_rate: self.max_handshake_rate,
            max_pending: self.max_pending,
            eviction: eviction(&self.eviction)?,
            retry_after: seconds(self.retry_after),
            memory_budget: self.memory_budget,
            origins,
            trusted_proxies: TrustedProxies::listed(&self.trusted_proxies)
                .map_err(|error| PyValueError::new_err(format!("trusted_proxies: {error}")))?,
        })
    }
}

/// `"*"` or a list of origins.
#[derive(FromPyObject)]
pub enum OriginNames {
    /// `"*"`.
    Word(String),
    /// Exactly these.
    Listed(Vec<String>),
}

/// The rule for origins; `None`: the same origin.
pub fn origins(names: Option<OriginNames>) -> PyResult<Origins> {
    let listed = match names {
        None => return Ok(Origins::Same),
        Some(OriginNames::Word(word)) if word == "*" => return Ok(Origins::Any),
        Some(OriginNames::Word(one)) => Origins::listed([one]),
        Some(OriginNames::Listed(names)) => Origins::listed(names),
    };
    listed.map_err(|error| PyValueError::new_err(format!("origins: {error}")))
}

/// An overflow policy by name.
pub fn overflow(name: &str) -> PyResult<Overflow> {
    match name {
        "disconnect" => Ok(Overflow::Disconnect),
        "drop_oldest" => Ok(Overflow::DropOldest),
        "drop_newest" => Ok(Overflow::DropNewest),
        "conflate" => Ok(Overflow::Conflate),
        other => Err(PyValueError::new_err(format!(
            "overflow {other:?} is unknown; choose disconnect, drop_oldest, drop_newest or conflate"
        ))),
    }
}

/// An eviction order by name.
pub fn eviction(name: &str) -> PyResult<Eviction> {
    match name {
        "reject" => Ok(Eviction::Reject),
        "idle" => Ok(Eviction::Idle),
        "oldest" => Ok(Eviction::Oldest),
        "slowest" => Ok(Eviction::Slowest),
        "priority" => Ok(Eviction::Priority),
        other => Err(PyValueError::new_err(format!(
            "eviction {other:?} is unknown; choose reject, idle, oldest, slowest or priority"
        ))),
    }
}

/// One route, as the Python server registered it.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
#[expect(clippy::struct_excessive_bools, reason = "each answers another question")]
pub struct RouteSetting {
    pub pattern: String,
    pub subprotocols: Vec<String>,
    pub has_origins: bool,
    pub origins: Option<OriginNames>,
    pub receives: bool,
    /// A coroutine asks for its messages.
    pub is_asked: bool,
    pub held: bool,
    pub heartbeat_message: Option<String>,
}

/// One channel pattern.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct ChannelSetting {
    pub pattern: String,
    pub overflow: Option<String>,
    pub high_water: Option<usize>,
}

/// One asset.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct AssetSetting {
    pub path: String,
    pub content_type: String,
    pub content: Vec<u8>,
}

/// What bearer tokens are checked with.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct TokenSetting {
    pub files: Vec<PathBuf>,
    pub issuer: Option<String>,
    pub audience: Option<String>,
    pub leeway: f64,
    pub user_claim: String,
}

/// The files of a server that speaks TLS.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct TlsFiles {
    certificates: Vec<PathBuf>,
    keys: Vec<PathBuf>,
    authorities: Option<PathBuf>,
    requires_client: bool,
}

impl TlsFiles {
    /// As the native half has them.
    pub fn files(self) -> Files {
        let Self { certificates, keys, authorities, requires_client } = self;
        Files { certificates, keys, authorities, requires_client }
    }
}

/// Everything that a server is started with.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
#[expect(clippy::struct_excessive_bools, reason = "each is a hook that is registered or not")]
pub struct ServerSettings {
    /// Resolved addresses, `ip:port`.
    pub addresses: Vec<String>,
    pub unix_socket: Option<PathBuf>,
    pub backlog: u32,
    pub tls: Option<TlsFiles>,
    pub threads: usize,
    pub limits: LimitNumbers,
    pub origins: Option<OriginNames>,
    pub routes: Vec<RouteSetting>,
    pub channels: Vec<ChannelSetting>,
    pub assets: Vec<AssetSetting>,
    pub tokens: Option<TokenSetting>,
    pub asks: bool,
    pub has_pool_policy: bool,
    pub reports_closes: bool,
    pub reports_backpressure: bool,
    pub beat_interval: f64,
    pub stall_limit: Option<f64>,
}

impl ServerSettings {
    /// Where to listen.
    pub fn listen_on(&self) -> PyResult<Vec<Address>> {
        if let Some(path) = &self.unix_socket {
            return Ok(vec![Address::Unix(path.clone())]);
        }
        self.addresses.iter().map(|text| Ok(Address::Tcp(socket_address(text)?))).collect()
    }
}

/// An address that the Python side has resolved.
pub fn socket_address(text: &str) -> PyResult<SocketAddr> {
    text.parse().map_err(|_| PyValueError::new_err(format!("{text:?} is no ip:port")))
}

//! Receives what a shard knows of a connection · hands it to Python as a dict · owns the names of its fields.

use pyo3::prelude::*;
use streamconductor_core::shard::view::ConnectionView;
use streamconductor_core::time::Timestamp;

/// An open connection, as its shard sees it; a dict in Python.
#[derive(IntoPyObject)]
pub struct View {
    id: String,
    user: Option<String>,
    path: String,
    route: usize,
    priority: i64,
    remote_address: Option<(String, u16)>,
    connected_for: f64,
    idle_for: f64,
    buffered_amount: usize,
    dropped: u64,
    latency: Option<f64>,
    channels: usize,
    state: &'static str,
}

impl View {
    /// A view at one moment, the same for all that are compared.
    pub fn at(now: Timestamp, view: &ConnectionView) -> Self {
        Self {
            id: view.connection.to_string(),
            user: view.user.as_deref().map(str::to_owned),
            path: view.path.to_string(),
            route: view.route,
            priority: view.priority,
            remote_address: view.address.map(|address| (address.ip().to_string(), address.port())),
            connected_for: now.since(view.accepted).as_secs_f64(),
            idle_for: now.since(view.last_message).as_secs_f64(),
            buffered_amount: view.buffered,
            dropped: view.dropped,
            latency: view.latency.map(|latency| latency.as_secs_f64()),
            channels: view.channels,
            state: view.state.name(),
        }
    }
}

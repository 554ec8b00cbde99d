//! How bytes move: sockets, threads and queues around the machines of `streamconductor-core`.
//!
//! ```text
//! sockets   acceptor ── least loaded ──▶ shard ◀── readiness, writes ──▶ sockets
//! events    shard ── mailbox, one wake per batch ──▶ Python loop
//! commands  Python ── mailbox per shard, one wake per turn of the loop ──▶ shard
//! ```
//!
//! Under `--cfg loom` only the modules that loom explores are built: Tokio's sockets do not exist there.

pub mod mailbox;

#[cfg(not(loom))]
mod acceptor;
#[cfg(not(loom))]
pub mod admin;
#[cfg(not(loom))]
pub mod client;
#[cfg(not(loom))]
pub mod clock;
#[cfg(not(loom))]
pub mod compression;
#[cfg(not(loom))]
pub mod counts;
#[cfg(not(loom))]
pub mod doorbell;
#[cfg(not(loom))]
mod driver;
#[cfg(not(loom))]
pub use driver::weight as driver_weight;
#[cfg(not(loom))]
pub mod front;
#[cfg(not(loom))]
mod inbox;
#[cfg(not(loom))]
pub mod listener;
#[cfg(not(loom))]
pub mod metrics;
#[cfg(not(loom))]
pub mod outgoing;
#[cfg(not(loom))]
pub mod readiness;
#[cfg(not(loom))]
pub mod server;
#[cfg(not(loom))]
mod sockets;
#[cfg(not(loom))]
pub mod status;
#[cfg(not(loom))]
pub mod stream;
#[cfg(not(loom))]
pub mod tls;
#[cfg(not(loom))]
pub mod tokens;
#[cfg(not(loom))]
pub mod upstream;
#[cfg(not(loom))]
pub mod upward;

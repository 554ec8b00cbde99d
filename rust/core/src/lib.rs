//! What should happen: the pure machines of StreamConductor.
//!
//! ```text
//! socket → pending place → head → slot → on_connect → 101 → codec → lifecycle → channel → ring → socket
//!          pool            handshake                        codec   lifecycle   channel   ring
//! ```
//!
//! Nothing here knows a socket, a clock, a lock, a runtime or Python. Time is an argument, outputs are
//! values or calls of one trait that the caller hands in, and the whole of it runs in one thread.
#![forbid(unsafe_code)]

pub mod time;

pub mod bucket;

pub mod id;

pub mod config;

pub mod handshake;

pub mod codec;

pub mod deflate;

pub mod lifecycle;

pub mod close;

pub mod ring;

pub mod wheel;

pub mod redial;

pub mod pool;

pub mod eviction;

pub mod ledger;

pub mod gauge;

mod sync;

pub mod known;

pub mod channel;

pub mod stats;

pub mod wire;

pub mod shard;

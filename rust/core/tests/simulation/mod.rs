//! Receives what a test does · hands it to shards and clients in one thread · owns the choice of what tests see: the
//! server with its fake clock, the sockets and clients in memory, and the model of random runs.
#![allow(dead_code, unused_imports, reason = "each test binary compiles this anew and uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod application;
mod client;
mod pair;
mod random;
pub mod run;
mod run_application;
mod server;
mod setup;
mod tokens;
mod wire;
pub mod world;

pub use client::{Client, Got, close, compressed, control, frame, text};
pub use pair::{Pair, dial};
pub use random::Random;
pub use server::Server;
pub use setup::{Setup, TICK, limits, millis, seconds, server_frame, upgrade, upgrade_deflated};
pub use tokens::Patterned;
pub use wire::{Memory, Room, Socket};

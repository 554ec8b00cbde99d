//! What the parts of the core cost: workloads over the pure machines, with sockets and application in memory.
//!
//! They are written once and measured twice. Criterion times them (`benches/micro.rs`, `make bench-micro`), which says
//! what they cost on the machine at hand; callgrind counts their instructions (`main.rs`, `make bench-instructions`),
//! which says the same on a crowded machine and is compared with what is checked in.

pub mod workload;

mod crowd;

mod sink;

mod workloads;

pub use workload::{Work, Workload};
pub use workloads::ALL;

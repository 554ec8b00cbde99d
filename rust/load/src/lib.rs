//! Receives what to measure from the command line · hands a report back · owns the client's side of a benchmark.
//!
//! ```text
//! arguments ─▶ opening ─▶ connection ─▶ driver ─▶ echo | fanout ─▶ tally ─▶ report
//!                    └──▶ conformance: cases of a fuzzing server, whose verdict it is
//!          └─▶ soak, which measures nothing but keeps a ledger of every message
//! ```
//!
//! One thread drives every socket, so that the client fits beside the server on two cores; it reads in large
//! pieces, counts without allocating and checks every message, for a fast wrong answer is worth nothing.

pub mod arguments;
pub mod conformance;
pub mod cpu;
pub mod echo;
pub mod failure;
pub mod fanout;
pub mod report;
pub mod soak;

mod connection;
mod deflating;
mod driver;
mod opening;
mod publications;
mod tally;

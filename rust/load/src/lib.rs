//! Puts WebSocket servers under load and says what a message cost them: receives a plan · hands a report back · owns
//! the clients' side.
//!
//! ```text
//! plan ─▶ run ─▶ course ─▶ driver ─▶ world ─▶ link ─▶ transport
//!                  │         └─▶ scenario: echo, fanout (slow), handshake, idle, churn, storm ─▶ tally
//!                  └─▶ watch: a sample a second ─▶ report
//! conformance: cases of a fuzzing server, whose verdict it is
//! soak, which measures nothing but keeps a ledger of every message
//! ```
//!
//! One thread drives every socket, so that the client fits beside the server on two cores; it reads in large
//! pieces, counts without allocating and checks every message, for a fast wrong answer is worth nothing.

pub mod arguments;
pub mod conformance;
pub mod cpu;
pub mod failure;
pub mod faults;
pub mod plan;
pub mod report;
pub mod run;
pub mod soak;
pub mod tally;
pub mod watch;

pub use scenarios::idle::PingReport;
pub use scenarios::slow::SlowReport;
pub use scenarios::storm::StormReport;

mod course;
mod deflating;
mod driver;
mod frames;
mod hello;
mod label;
mod link;
mod messages;
mod opening;
mod pace;
mod plan_rules;
mod process;
mod publications;
mod scenario;
mod scenarios;
mod site;
mod target;
mod template;
mod timer;
mod transport;
mod trust;
mod world;

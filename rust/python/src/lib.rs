//! The extension module `streamconductor._core`: receives calls from the Python package · hands them to
//! `streamconductor-net` · owns the list of what Python sees, and nothing else.

// What pyo3 extracts from Python's arguments is ours: taking it by value is the natural signature.
#![allow(clippy::needless_pass_by_value)]

mod admin;
mod bridge;
mod connection;
mod convert;
mod error;
mod health;
mod link;
mod load;
mod outgoing;
mod receiver;
mod request;
mod rules;
mod server;
mod settings;
mod site;
mod starting;
mod view;

use pyo3::prelude::*;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The native half of StreamConductor; its public face is the package `streamconductor`.
// `gil_used`: free-threaded interpreters keep their lock for this module until it is audited for running without.
#[pymodule(gil_used = true)]
mod _core {
    #[pymodule_export]
    use crate::admin::Answer;
    #[pymodule_export]
    use crate::bridge::Ticket;
    #[pymodule_export]
    use crate::connection::ConnectionHandle;
    #[pymodule_export]
    use crate::convert::{lifecycle_table, state_names};
    #[pymodule_export]
    use crate::link::forked;
    #[pymodule_export]
    use crate::load::LoadRun;
    #[pymodule_export]
    use crate::outgoing::OutgoingLink;
    #[pymodule_export]
    use crate::receiver::Receiver;
    #[pymodule_export]
    use crate::request::Request;
    #[pymodule_export]
    use crate::rules::{origin_problem, proxy_problem};
    #[pymodule_export]
    use crate::server::Server;

    /// The version of the package, of the wheel and of all crates: there is one.
    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "the name that Python code looks for")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}

//! Receives what went wrong from every part · hands it to whoever started the run · owns the wording.

use std::io;

use streamconductor_core::codec::Violation;

/// Why there is no report. A run that fails anywhere fails as a whole: half a measurement is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The command line does not say what to do.
    #[error("{0}")]
    Usage(String),
    /// The server did not answer an opening handshake as it must.
    #[error("opening {path}: {reason}")]
    Opening {
        /// The path asked for.
        path: String,
        /// What came instead of a correct 101.
        reason: String,
    },
    /// The server broke the protocol.
    #[error("protocol violation: {0}")]
    Violation(#[from] Violation),
    /// A connection ended while it was needed.
    #[error("connection {connection} was ended by the server{detail}")]
    Ended {
        /// Which one, counted in the order of opening.
        connection: usize,
        /// Close code and reason, if the server gave any.
        detail: String,
    },
    /// The server sent something else than it was due to send.
    #[error("connection {connection}: {reason}")]
    Unexpected {
        /// Which one, counted in the order of opening.
        connection: usize,
        /// What was due and what came.
        reason: String,
    },
    /// Nothing came when something had to.
    #[error("{0}")]
    Silence(String),
    /// The server program under soak does not say what it must on its control connection.
    #[error("control connection: {0}")]
    Control(String),
    /// A socket or a clock failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

//! Receives what went wrong on the way to an open connection · hands it to whoever asked for one · owns the kinds and the
//! wording. No text holds a query string, a header's value or a credential.

use std::fmt;
use std::time::Duration;

use streamconductor_core::redial::Failure;

use super::refusal::Refusal;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// What was asked for cannot be done; nothing was sent.
    #[error("{option}: {reason}")]
    Invalid {
        /// The option.
        option: &'static str,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// The host's name has no address.
    #[error("{host}: its name cannot be resolved: {reason}")]
    Resolution {
        /// The host.
        host: String,
        /// What the system says.
        reason: String,
    },
    /// None of the addresses took a connection, or it was lost before it was open.
    #[error("{host} cannot be reached: {reason}")]
    Unreachable {
        /// Host and port.
        host: String,
        /// Each address with what the system says.
        reason: String,
    },
    /// It took longer than it may.
    #[error("{host}: not open within {} s while {stage}; open_timeout says how long it may take", limit.as_secs_f64())]
    TimedOut {
        /// Host and port.
        host: String,
        /// The limit.
        limit: Duration,
        /// What it was about.
        stage: Stage,
    },
    /// No TLS came of it.
    #[error("{host}: TLS failed: {reason}")]
    Tls {
        /// Host and port.
        host: String,
        /// What is wrong with its certificate or with what it says.
        reason: String,
    },
    /// The proxy opens no way to the host.
    #[error("the proxy {proxy} answered {status} to CONNECT; proxy names another one, or none")]
    ProxyRefused {
        /// Host and port of the proxy.
        proxy: String,
        /// The status of its answer; 407: it wants other credentials.
        status: u16,
    },
    /// The server answered with something else than a connection.
    #[error("{0}")]
    Status(Box<Refusal>),
    /// The answer breaks a rule.
    #[error("{host} gave a bad answer: {rule}")]
    BadAnswer {
        /// Host and port.
        host: String,
        /// The rule.
        rule: String,
    },
    /// The server names another place, to which nobody may be sent.
    #[error("{from} redirects to {to}, which is not followed: {reason}")]
    Redirect {
        /// Where the answer came from.
        from: String,
        /// Where it leads.
        to: String,
        /// Why it is not followed.
        reason: &'static str,
    },
    /// The servers send the client from one to the next.
    #[error("more than {limit} redirects, the last one by {from}")]
    TooManyRedirects {
        /// How many are followed.
        limit: usize,
        /// Where the last one came from.
        from: String,
    },
}

impl DialError {
    /// What it means for a link: whether the next attempt may come to something.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Status(refusal) => {
                Failure::Status { status: refusal.status, retry_after: refusal.retry_after }
            }
            // Of a proxy 407: other credentials are what it wants, and there are none.
            Self::Invalid { .. }
            | Self::BadAnswer { .. }
            | Self::Redirect { .. }
            | Self::TooManyRedirects { .. }
            | Self::ProxyRefused { status: 407, .. } => Failure::Terminal,
            Self::Resolution { .. }
            | Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::Tls { .. }
            | Self::ProxyRefused { .. } => Failure::Unreachable,
        }
    }

    pub(super) fn invalid(option: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid { option, reason: reason.into() }
    }

    pub(super) fn unreachable(host: &str, reason: impl Into<String>) -> Self {
        Self::Unreachable { host: host.to_owned(), reason: reason.into() }
    }

    pub(super) fn bad_answer(host: &str, rule: impl Into<String>) -> Self {
        Self::BadAnswer { host: host.to_owned(), rule: rule.into() }
    }
}

/// How far it has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Waiting for the addresses of a name.
    #[default]
    Resolving,
    /// Waiting for an address to take the connection.
    Connecting,
    /// Waiting for the proxy's answer.
    Tunnelling,
    /// Within the TLS handshake.
    Securing,
    /// Waiting for the answer to the opening handshake.
    Opening,
}

impl fmt::Display for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Resolving => "resolving its name",
            Self::Connecting => "connecting",
            Self::Tunnelling => "waiting for the proxy",
            Self::Securing => "within the TLS handshake",
            Self::Opening => "waiting for the answer to the opening handshake",
        })
    }
}

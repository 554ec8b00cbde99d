//! Receives the cause of an ending · hands out its close code, reason and advice · owns the closed list of endings.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

/// Longest close reason in bytes: a control frame carries 125, two of them are the code (RFC 6455 §5.5.1).
pub const MAX_REASON: usize = 123;

/// A WebSocket close code (RFC 6455 §7.4, the IANA registry, and our 44xx and 4008).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(pub u16);

#[allow(missing_docs)] // named as in the RFC and the registry
impl CloseCode {
    pub const NORMAL: Self = Self(1000);
    pub const GOING_AWAY: Self = Self(1001);
    pub const PROTOCOL_ERROR: Self = Self(1002);
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    pub const NO_STATUS: Self = Self(1005);
    pub const ABNORMAL: Self = Self(1006);
    pub const INVALID_DATA: Self = Self(1007);
    pub const POLICY_VIOLATION: Self = Self(1008);
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    pub const INTERNAL_ERROR: Self = Self(1011);
    pub const SERVICE_RESTART: Self = Self(1012);
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    pub const SLOW_CONSUMER: Self = Self(4008);
    pub const TOKEN_EXPIRED: Self = Self(4401);
    pub const DISCONNECTED: Self = Self(4403);

    /// Whether the code may stand in a Close frame: registered (1000–1003, 1007–1014), for libraries
    /// (3000–3999) or for applications (4000–4999), as RFC 6455 §7.4.2 has it.
    pub const fn is_sendable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

/// Whether, and how, the client should come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// At once.
    Return,
    /// After a growing delay.
    BackOff,
    /// After a random delay, so that not all come at once.
    Jittered,
    /// With a fresh token.
    Refresh,
    /// Not at all.
    Stay,
}

/// Who ended the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The other side sent Close first, or its socket ended.
    Peer,
    /// Our application, through `close` or `disconnect` or a handler's end.
    Application,
    /// A limit or policy of the server.
    Server,
}

/// Why a connection ended. A closed list: metrics, logs and documents are made from it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are the value and the limit that the reason names
pub enum Ending {
    /// The peer sent a Close frame (no code: 1005).
    PeerClosed { code: CloseCode, reason: String },
    /// The transport ended without a closing handshake.
    TransportLost,
    /// `connection.close(code, reason)`, or the handler returned.
    Closed { code: CloseCode, reason: String },
    /// The handler raised.
    HandlerRaised,
    /// `server.disconnect(...)`.
    Disconnected { reason: String },
    /// More bytes pending than allowed, or for longer than the dwell.
    SlowConsumer { buffered: usize, limit: usize },
    /// The oldest pending byte is older than `max_lag`.
    Lagging { lag: Duration, limit: Duration },
    /// The socket took no byte for `write_timeout`.
    WriteTimeout { limit: Duration },
    /// No byte came within `ping_timeout` of a ping.
    HeartbeatLost { limit: Duration },
    /// No application message either way for `idle_timeout`.
    Idle { limit: Duration },
    /// Made room for another connection.
    Evicted { order: &'static str },
    /// Shed because the memory budget was reached.
    OverBudget { budget: usize },
    /// The server shuts down.
    Shutdown,
    /// Older than `max_connection_age`.
    MaximumAge { limit: Duration },
    /// The token's life ended.
    TokenExpired,
    /// The peer broke the protocol or a limit; the code says which.
    Violation { code: CloseCode, reason: Cow<'static, str> },
    /// The closing handshake took longer than `close_timeout`.
    CloseTimeout { limit: Duration },
}

impl Ending {
    /// The code that the peer is told, or that we report where it is told none.
    pub const fn code(&self) -> CloseCode {
        match self {
            Self::PeerClosed { code, .. } | Self::Closed { code, .. } | Self::Violation { code, .. } => *code,
            Self::TransportLost
            | Self::WriteTimeout { .. }
            | Self::HeartbeatLost { .. }
            | Self::CloseTimeout { .. } => CloseCode::ABNORMAL,
            Self::HandlerRaised => CloseCode::INTERNAL_ERROR,
            Self::Disconnected { .. } => CloseCode::DISCONNECTED,
            Self::SlowConsumer { .. } | Self::Lagging { .. } => CloseCode::SLOW_CONSUMER,
            Self::Idle { .. } => CloseCode::GOING_AWAY,
            Self::Evicted { .. } | Self::OverBudget { .. } => CloseCode::TRY_AGAIN_LATER,
            Self::Shutdown | Self::MaximumAge { .. } => CloseCode::SERVICE_RESTART,
            Self::TokenExpired => CloseCode::TOKEN_EXPIRED,
        }
    }

    /// The name that metrics, logs and documents use.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::PeerClosed { .. } => "peer_closed",
            Self::TransportLost => "transport_lost",
            Self::Closed { .. } => "closed",
            Self::HandlerRaised => "handler_raised",
            Self::Disconnected { .. } => "disconnected",
            Self::SlowConsumer { .. } => "slow_consumer",
            Self::Lagging { .. } => "lagging",
            Self::WriteTimeout { .. } => "write_timeout",
            Self::HeartbeatLost { .. } => "heartbeat_lost",
            Self::Idle { .. } => "idle",
            Self::Evicted { .. } => "evicted",
            Self::OverBudget { .. } => "over_budget",
            Self::Shutdown => "shutdown",
            Self::MaximumAge { .. } => "maximum_age",
            Self::TokenExpired => "token_expired",
            Self::Violation { .. } => "violation",
            Self::CloseTimeout { .. } => "close_timeout",
        }
    }

    /// Every name that [`Ending::name`] can give, in the order of the list.
    pub const NAMES: [&'static str; 17] = [
        "peer_closed",
        "transport_lost",
        "closed",
        "handler_raised",
        "disconnected",
        "slow_consumer",
        "lagging",
        "write_timeout",
        "heartbeat_lost",
        "idle",
        "evicted",
        "over_budget",
        "shutdown",
        "maximum_age",
        "token_expired",
        "violation",
        "close_timeout",
    ];

    /// The reason with its value and limit, at most [`MAX_REASON`] bytes.
    pub fn reason(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail, so the results carry nothing.
        let _ = match self {
            Self::PeerClosed { reason, .. } | Self::Closed { reason, .. } | Self::Disconnected { reason } => {
                write!(text, "{reason}")
            }
            Self::Violation { reason, .. } => write!(text, "{reason}"),
            Self::TransportLost => write!(text, "connection lost without a closing handshake"),
            Self::HandlerRaised => write!(text, "internal error"),
            Self::SlowConsumer { buffered, limit } => {
                write!(text, "slow consumer: {buffered} bytes pending, limit {limit}")
            }
            Self::Lagging { lag, limit } => {
                write!(text, "slow consumer: oldest byte pending for {lag:.1?}, max_lag {limit:?}")
            }
            Self::WriteTimeout { limit } => write!(text, "socket took no byte for {limit:?}"),
            Self::HeartbeatLost { limit } => write!(text, "nothing received within {limit:?} of a ping"),
            Self::Idle { limit } => write!(text, "idle: no message for {limit:?}"),
            Self::Evicted { order } => write!(text, "evicted to make room, order {order}"),
            Self::OverBudget { budget } => write!(text, "memory budget of {budget} bytes reached"),
            Self::Shutdown => write!(text, "server is shutting down"),
            Self::MaximumAge { limit } => write!(text, "maximum age of {limit:?} reached"),
            Self::TokenExpired => write!(text, "token expired"),
            Self::CloseTimeout { limit } => write!(text, "no closing handshake within {limit:?}"),
        };
        truncate(text)
    }

    /// What the client should do next.
    pub const fn advice(&self) -> Advice {
        match self {
            Self::SlowConsumer { .. }
            | Self::Lagging { .. }
            | Self::Evicted { .. }
            | Self::OverBudget { .. }
            | Self::HandlerRaised => Advice::BackOff,
            Self::Shutdown | Self::MaximumAge { .. } => Advice::Jittered,
            Self::TokenExpired => Advice::Refresh,
            Self::Disconnected { .. } | Self::Violation { .. } => Advice::Stay,
            Self::PeerClosed { code, .. } | Self::Closed { code, .. } => advice_for(*code),
            Self::TransportLost
            | Self::WriteTimeout { .. }
            | Self::HeartbeatLost { .. }
            | Self::Idle { .. }
            | Self::CloseTimeout { .. } => Advice::Return,
        }
    }

    /// Who ended it.
    pub const fn by(&self) -> By {
        match self {
            Self::PeerClosed { .. } | Self::TransportLost => By::Peer,
            Self::Closed { .. } | Self::HandlerRaised | Self::Disconnected { .. } => By::Application,
            _ => By::Server,
        }
    }

    /// Whether no Close frame can reach the peer, so that the socket is reset at once.
    pub const fn is_reset(&self) -> bool {
        matches!(self, Self::HeartbeatLost { .. } | Self::WriteTimeout { .. } | Self::CloseTimeout { .. })
    }

    /// Whether what is pending is still written before our Close: only where the application ends in peace.
    pub const fn flushes(&self) -> bool {
        matches!(
            self,
            Self::Closed { .. }
                | Self::Shutdown
                | Self::MaximumAge { .. }
                | Self::Idle { .. }
                | Self::Disconnected { .. }
        )
    }
}

/// What a client should do after `code`, whoever sent it.
pub const fn advice_for(code: CloseCode) -> Advice {
    match code.0 {
        1001 | 1006 => Advice::Return,
        1011 | 1013 | 4008 => Advice::BackOff,
        1012 => Advice::Jittered,
        4401 => Advice::Refresh,
        _ => Advice::Stay,
    }
}

/// Cuts at a character boundary so that the reason fits a Close frame.
fn truncate(mut text: String) -> String {
    if text.len() > MAX_REASON {
        let mut end = MAX_REASON;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_fit_a_close_frame_and_stay_text() {
        let ending = Ending::Closed { code: CloseCode::NORMAL, reason: "ü".repeat(100) };
        assert_eq!(ending.reason().len(), 122);
        let second = Duration::from_secs(1);
        let slow = Ending::SlowConsumer { buffered: 70_000, limit: 65_536 };
        assert_eq!(slow.reason(), "slow consumer: 70000 bytes pending, limit 65536");
        assert_eq!(Ending::Idle { limit: second }.reason(), "idle: no message for 1s");
    }

    #[test]
    fn codes_that_may_not_be_sent_are_never_told_to_a_peer() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
            assert!(!CloseCode(code).is_sendable(), "{code}");
        }
        for code in [1000, 1003, 1007, 1014, 3000, 4999] {
            assert!(CloseCode(code).is_sendable(), "{code}");
        }
        assert!(Ending::TransportLost.code() == CloseCode::ABNORMAL);
    }

    #[test]
    fn every_ending_that_clients_see_has_its_code_and_advice() {
        let second = Duration::from_secs(1);
        let rows = [
            (Ending::SlowConsumer { buffered: 2, limit: 1 }, 4008, Advice::BackOff),
            (Ending::Evicted { order: "idle" }, 1013, Advice::BackOff),
            (Ending::OverBudget { budget: 1 }, 1013, Advice::BackOff),
            (Ending::Idle { limit: second }, 1001, Advice::Return),
            (Ending::HandlerRaised, 1011, Advice::BackOff),
            (Ending::HeartbeatLost { limit: second }, 1006, Advice::Return),
            (Ending::Shutdown, 1012, Advice::Jittered),
            (Ending::MaximumAge { limit: second }, 1012, Advice::Jittered),
            (Ending::TokenExpired, 4401, Advice::Refresh),
            (Ending::Disconnected { reason: String::new() }, 4403, Advice::Stay),
        ];
        for (ending, code, advice) in rows {
            assert_eq!((ending.code().0, ending.advice()), (code, advice), "{ending:?}");
        }
    }
}

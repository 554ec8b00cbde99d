//! Receives a state and an event from the shard (or, later, the client side) · hands out the next state ·
//! owns the one transition table, executed for both directions and printed as the diagram.

/// Where a connection stands. Public states are the field's four; see [`State::public`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // each is described by the rows of the table
pub enum State {
    // inbound
    Pending,
    Tls,
    Head,
    Admitting,
    Flowing,
    Backpressured,
    Evicting,
    Draining,
    Closing,
    Lingering,
    Closed,
    // outgoing
    Idle,
    Connecting,
    Open,
    Waiting,
    Ending,
    Ended,
}

/// The four states that every WebSocket API knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Public {
    /// The opening handshake is under way.
    Connecting,
    /// Messages flow.
    Open,
    /// The closing handshake is under way.
    Closing,
    /// It is over.
    Closed,
}

/// What happened to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // each is described by the rows of the table
pub enum Event {
    // inbound
    TlsExpected,
    HeadExpected,
    UpgradeRequested,
    PlainAnswered,
    Refused,
    Admitted,
    HighWater,
    LowWater,
    EvictionChosen,
    CloseQueued,
    CloseSent,
    WritingShut,
    SocketEnded,
    Reset,
    // outgoing
    Dial,
    Established,
    Failed,
    RetryDue,
    Stop,
    Stopped,
}

/// Which half of the table a row belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Accepted by the server.
    Inbound,
    /// Opened by the client side.
    Outgoing,
}

/// One row: in `from`, on `event`, go to `to`.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Row {
    pub direction: Direction,
    pub from: State,
    pub event: Event,
    pub to: State,
    pub meaning: &'static str,
}

const fn inbound(from: State, event: Event, to: State, meaning: &'static str) -> Row {
    Row { direction: Direction::Inbound, from, event, to, meaning }
}

const fn outgoing(from: State, event: Event, to: State, meaning: &'static str) -> Row {
    Row { direction: Direction::Outgoing, from, event, to, meaning }
}

/// The table. Whoever wants another behaviour changes a row here.
pub const TABLE: &[Row] = &[
    inbound(
        State::Pending,
        Event::TlsExpected,
        State::Tls,
        "accepted on a TLS address; holds a pending place",
    ),
    inbound(State::Pending, Event::HeadExpected, State::Head, "accepted; holds a pending place"),
    inbound(State::Tls, Event::HeadExpected, State::Head, "TLS established"),
    inbound(State::Tls, Event::Refused, State::Lingering, "no TLS came of it; alert sent, writing shut"),
    inbound(
        State::Head,
        Event::UpgradeRequested,
        State::Admitting,
        "valid upgrade; slot taken unless eviction must find one",
    ),
    inbound(State::Head, Event::PlainAnswered, State::Lingering, "probe or asset answered; writing shut"),
    inbound(State::Head, Event::Refused, State::Lingering, "refused with a status; writing shut"),
    inbound(
        State::Admitting,
        Event::Refused,
        State::Lingering,
        "refused by on_connect, its timeout, or a full pool",
    ),
    inbound(State::Admitting, Event::Admitted, State::Flowing, "101 written; the connection is open"),
    inbound(State::Flowing, Event::HighWater, State::Backpressured, "more than high_water bytes pending"),
    inbound(State::Backpressured, Event::LowWater, State::Flowing, "at most low_water bytes pending"),
    inbound(State::Flowing, Event::EvictionChosen, State::Evicting, "chosen to make room"),
    inbound(State::Backpressured, Event::EvictionChosen, State::Evicting, "chosen to make room"),
    inbound(State::Draining, Event::EvictionChosen, State::Evicting, "chosen to make room"),
    inbound(State::Closing, Event::EvictionChosen, State::Evicting, "chosen to make room"),
    inbound(
        State::Evicting,
        Event::WritingShut,
        State::Lingering,
        "Close 1013 taken at once; slot handed over",
    ),
    inbound(
        State::Flowing,
        Event::CloseQueued,
        State::Draining,
        "Close waits behind what is pending or begun",
    ),
    inbound(
        State::Backpressured,
        Event::CloseQueued,
        State::Draining,
        "Close waits behind what is pending or begun",
    ),
    inbound(State::Draining, Event::CloseSent, State::Closing, "the socket has our Close"),
    inbound(State::Closing, Event::WritingShut, State::Lingering, "both Closes exchanged; slot given back"),
    inbound(State::Lingering, Event::SocketEnded, State::Closed, "the peer ended, or one second passed"),
    inbound(State::Pending, Event::SocketEnded, State::Closed, "the peer went away"),
    inbound(State::Tls, Event::SocketEnded, State::Closed, "the peer went away"),
    inbound(State::Head, Event::SocketEnded, State::Closed, "the peer went away"),
    inbound(
        State::Admitting,
        Event::SocketEnded,
        State::Closed,
        "the peer went away; on_connect is cancelled",
    ),
    inbound(State::Flowing, Event::SocketEnded, State::Closed, "lost without a closing handshake, 1006"),
    inbound(
        State::Backpressured,
        Event::SocketEnded,
        State::Closed,
        "lost without a closing handshake, 1006",
    ),
    inbound(State::Draining, Event::SocketEnded, State::Closed, "lost before our Close went out"),
    inbound(State::Closing, Event::SocketEnded, State::Closed, "the peer ended first"),
    inbound(State::Evicting, Event::SocketEnded, State::Closed, "lost while leaving"),
    inbound(State::Pending, Event::Reset, State::Closed, "deadline, or place reclaimed"),
    inbound(State::Tls, Event::Reset, State::Closed, "deadline, or place reclaimed"),
    inbound(State::Head, Event::Reset, State::Closed, "deadline, or place reclaimed"),
    inbound(State::Admitting, Event::Reset, State::Closed, "server stopped"),
    inbound(State::Flowing, Event::Reset, State::Closed, "heartbeat or write timeout, or grace over"),
    inbound(State::Backpressured, Event::Reset, State::Closed, "heartbeat or write timeout, or grace over"),
    inbound(State::Draining, Event::Reset, State::Closed, "close_timeout, or grace over"),
    inbound(State::Closing, Event::Reset, State::Closed, "close_timeout, or grace over"),
    inbound(State::Evicting, Event::Reset, State::Closed, "the socket did not take Close 1013 at once"),
    inbound(State::Lingering, Event::Reset, State::Closed, "place reclaimed, or grace over"),
    outgoing(State::Idle, Event::Dial, State::Connecting, "first attempt"),
    outgoing(State::Connecting, Event::Established, State::Open, "101 received"),
    outgoing(State::Connecting, Event::Failed, State::Waiting, "refused, unreachable or too late; back off"),
    outgoing(
        State::Connecting,
        Event::Stop,
        State::Ended,
        "given up by the application or a terminal answer",
    ),
    outgoing(
        State::Open,
        Event::Failed,
        State::Waiting,
        "heartbeat or transport lost, or a code that says come back",
    ),
    outgoing(State::Open, Event::Stop, State::Ending, "closed by the application or a terminal code"),
    outgoing(State::Waiting, Event::RetryDue, State::Connecting, "full jitter elapsed"),
    outgoing(State::Waiting, Event::Stop, State::Ended, "given up by the application"),
    outgoing(State::Idle, Event::Stop, State::Ended, "never used"),
    outgoing(State::Ending, Event::Stopped, State::Ended, "closing handshake done or timed out"),
    outgoing(State::Ending, Event::Failed, State::Ended, "lost while closing"),
];

impl State {
    /// How many states there are.
    pub const COUNT: usize = Self::Ended as usize + 1;

    /// The state after `event`, or `None` where the table has no row: a bug in the caller.
    pub const fn next(self, event: Event) -> Option<Self> {
        // A match over the table would be checked by the compiler, but could not be printed; the table
        // has under sixty rows and transitions are rare beside frames.
        let mut row = 0;
        while row < TABLE.len() {
            #[allow(clippy::indexing_slicing)] // bounded by the loop; evaluated in const context too
            let candidate = &TABLE[row];
            if candidate.from as u8 == self as u8 && candidate.event as u8 == event as u8 {
                return Some(candidate.to);
            }
            row += 1;
        }
        None
    }

    /// The state that `connection.state` shows.
    pub const fn public(self) -> Public {
        match self {
            Self::Pending
            | Self::Tls
            | Self::Head
            | Self::Admitting
            | Self::Idle
            | Self::Connecting
            | Self::Waiting => Public::Connecting,
            Self::Flowing | Self::Backpressured | Self::Open => Public::Open,
            Self::Evicting | Self::Draining | Self::Closing | Self::Ending => Public::Closing,
            Self::Lingering | Self::Closed | Self::Ended => Public::Closed,
        }
    }

    /// Open: messages may be sent and are received.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Flowing | Self::Backpressured)
    }

    /// The name in `/status`, logs and diagrams.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Tls => "tls",
            Self::Head => "head",
            Self::Admitting => "admitting",
            Self::Flowing => "flowing",
            Self::Backpressured => "backpressured",
            Self::Evicting => "evicting",
            Self::Draining => "draining",
            Self::Closing => "closing",
            Self::Lingering => "lingering",
            Self::Closed => "closed",
            Self::Idle => "idle",
            Self::Connecting => "connecting",
            Self::Open => "open",
            Self::Waiting => "waiting",
            Self::Ending => "ending",
            Self::Ended => "ended",
        }
    }
}

//! Receives a state and an event from a shard or a link · hands out the next state · owns the one transition table,
//! executed for both directions and printed as the diagrams.

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
    // outgoing, beside those above from flowing on
    Connecting,
    Parting,
    // a link
    Idle,
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
    // outgoing, beside those above
    Connected,
    CloseAnswered,
    // a link
    Dial,
    Established,
    Failed,
    RetryDue,
    Stop,
    Stopped,
}

/// Whose life a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A connection that was accepted.
    Inbound,
    /// A connection that we opened. Its opening handshake is the dialler's; from then on it lives on a shard as the
    /// others do, and most of its rows are theirs.
    Outgoing,
    /// What keeps itself connected by one outgoing connection after another, see [`redial`](crate::redial). It is
    /// `open` for as long as one of them is on a shard, whatever state that one is in there.
    Link,
}

/// One row: in `from`, on `event`, go to `to`.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Row {
    pub directions: &'static [Direction],
    pub from: State,
    pub event: Event,
    pub to: State,
    pub meaning: &'static str,
}

const fn inbound(from: State, event: Event, to: State, meaning: &'static str) -> Row {
    Row { directions: &[Direction::Inbound], from, event, to, meaning }
}

const fn outgoing(from: State, event: Event, to: State, meaning: &'static str) -> Row {
    Row { directions: &[Direction::Outgoing], from, event, to, meaning }
}

/// One row for a connection that is open, whoever opened it.
const fn either(from: State, event: Event, to: State, meaning: &'static str) -> Row {
    Row { directions: &[Direction::Inbound, Direction::Outgoing], from, event, to, meaning }
}

const fn link(from: State, event: Event, to: State, meaning: &'static str) -> Row {
    Row { directions: &[Direction::Link], from, event, to, meaning }
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
    outgoing(
        State::Connecting,
        Event::Connected,
        State::Flowing,
        "101 received; a shard has the connection and what was read ahead",
    ),
    either(State::Flowing, Event::HighWater, State::Backpressured, "more than high_water bytes pending"),
    either(State::Backpressured, Event::LowWater, State::Flowing, "at most low_water bytes pending"),
    either(State::Flowing, Event::EvictionChosen, State::Evicting, "chosen to make room"),
    either(State::Backpressured, Event::EvictionChosen, State::Evicting, "chosen to make room"),
    either(State::Draining, Event::EvictionChosen, State::Evicting, "chosen to make room"),
    either(State::Closing, Event::EvictionChosen, State::Evicting, "chosen to make room"),
    inbound(
        State::Evicting,
        Event::WritingShut,
        State::Lingering,
        "Close 1013 taken at once; slot handed over",
    ),
    either(
        State::Flowing,
        Event::CloseQueued,
        State::Draining,
        "Close waits behind what is pending or begun",
    ),
    either(
        State::Backpressured,
        Event::CloseQueued,
        State::Draining,
        "Close waits behind what is pending or begun",
    ),
    either(State::Draining, Event::CloseSent, State::Closing, "the socket has our Close"),
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
    either(State::Flowing, Event::SocketEnded, State::Closed, "lost without a closing handshake, 1006"),
    either(State::Backpressured, Event::SocketEnded, State::Closed, "lost without a closing handshake, 1006"),
    either(State::Draining, Event::SocketEnded, State::Closed, "lost before our Close went out"),
    either(State::Closing, Event::SocketEnded, State::Closed, "the peer ended first"),
    either(State::Evicting, Event::SocketEnded, State::Closed, "lost while leaving"),
    inbound(State::Pending, Event::Reset, State::Closed, "deadline, or place reclaimed"),
    inbound(State::Tls, Event::Reset, State::Closed, "deadline, or place reclaimed"),
    inbound(State::Head, Event::Reset, State::Closed, "deadline, or place reclaimed"),
    inbound(State::Admitting, Event::Reset, State::Closed, "server stopped"),
    either(State::Flowing, Event::Reset, State::Closed, "heartbeat or write timeout, or grace over"),
    either(State::Backpressured, Event::Reset, State::Closed, "heartbeat or write timeout, or grace over"),
    either(State::Draining, Event::Reset, State::Closed, "close_timeout, or grace over"),
    either(State::Closing, Event::Reset, State::Closed, "close_timeout, or grace over"),
    either(State::Evicting, Event::Reset, State::Closed, "the socket did not take Close 1013 at once"),
    inbound(State::Lingering, Event::Reset, State::Closed, "place reclaimed, or grace over"),
    outgoing(
        State::Closing,
        Event::CloseAnswered,
        State::Parting,
        "both Closes exchanged; the server ends TCP first",
    ),
    outgoing(State::Evicting, Event::CloseAnswered, State::Parting, "Close 1013 taken at once"),
    outgoing(State::Parting, Event::SocketEnded, State::Closed, "the server ended TCP"),
    outgoing(State::Parting, Event::Reset, State::Closed, "it did not within close_timeout, or sends on"),
    link(State::Idle, Event::Dial, State::Connecting, "first attempt"),
    link(State::Connecting, Event::Established, State::Open, "101 received; a shard has the connection"),
    link(State::Connecting, Event::Failed, State::Waiting, "refused, unreachable or too late; back off"),
    link(State::Connecting, Event::Stop, State::Ended, "given up by the application or a terminal answer"),
    link(
        State::Open,
        Event::Failed,
        State::Waiting,
        "heartbeat or transport lost, or a code that says come back",
    ),
    link(State::Open, Event::Stop, State::Ending, "closed by the application or a terminal code"),
    link(State::Waiting, Event::RetryDue, State::Connecting, "full jitter elapsed"),
    link(State::Waiting, Event::Stop, State::Ended, "given up by the application"),
    link(State::Idle, Event::Stop, State::Ended, "never used"),
    link(State::Ending, Event::Stopped, State::Ended, "closing handshake done or timed out"),
    link(State::Ending, Event::Failed, State::Ended, "lost while closing"),
];

impl State {
    /// How many states there are.
    pub const COUNT: usize = Self::Ended as usize + 1;

    /// The state after `event`, or `None` where the table has no row: a bug in the caller.
    pub const fn next(self, event: Event) -> Option<Self> {
        // A match over the table would be checked by the compiler, but could not be printed; the table
        // has sixty rows and transitions are rare beside frames.
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
            Self::Lingering | Self::Parting | Self::Closed | Self::Ended => Public::Closed,
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
            Self::Connecting => "connecting",
            Self::Parting => "parting",
            Self::Idle => "idle",
            Self::Open => "open",
            Self::Waiting => "waiting",
            Self::Ending => "ending",
            Self::Ended => "ended",
        }
    }
}

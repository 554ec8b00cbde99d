//! Receives what its socket and its timers tell one connection · hands out what it does next and, at its end, its
//! account · owns connection and course together, and by when something must have happened.

use std::time::{Duration, Instant};

use super::agenda::Step;
use super::books::Account;
use super::channels::Channels;
use super::course::{Course, Intent, Then};
use super::ledger::Ledger;
use super::peer::{End, Peer};
use super::random::Random;
use super::role::Role;
use super::subscription::Subscription;
use crate::transport::Transport;

/// How long anything that is due may take. Ample, for a crowded machine; what never comes is lost all the same.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two questions how much was dropped.
const ASK: Duration = Duration::from_millis(100);

/// How long a staller does not read: long enough to fill the socket, the ring and the marks of its channel, shorter
/// than any timeout of the server. Every third stall is of no consequence.
const STALL: Duration = Duration::from_secs(6);
const SHORT_STALL: Duration = Duration::from_millis(300);
const STALLS: u32 = 3;

const PEER_CLOSED: &[&str] = &["peer_closed"];
const TRANSPORT_LOST: &[&str] = &["transport_lost"];
const SLOW_CONSUMER: &[&str] = &["slow_consumer"];
const SLOW_CONSUMER_CODE: u16 = 4008;

/// When one side did not run, whatever the server ends for silence or slowness may come from that, as long as the
/// longest of its timeouts lasts.
const EXCUSED_FOR: Duration = Duration::from_secs(30);
const EXCUSED: &[&str] = &[
    "slow_consumer",
    "lagging",
    "write_timeout",
    "heartbeat_lost",
    "close_timeout",
    "transport_lost",
    "peer_closed",
];

/// How a life ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whim {
    /// Leaves its channels for others.
    Move,
    /// Leaves its channels, or waits for its echoes, and closes.
    Leave,
    /// Closes in the midst of its publications.
    Close,
    /// Resets.
    Reset,
    /// Ends its stream without a word.
    Vanish,
    /// Reads nothing for a moment.
    Pause,
}

impl Whim {
    /// What somebody of that role may do.
    pub(crate) fn of(role: Role, random: &mut Random) -> Self {
        use Whim::{Close, Leave, Move, Pause, Reset, Vanish};
        let whims: &[Self] = match role {
            Role::Follow => &[Move, Move, Move, Leave, Leave, Close, Reset, Vanish, Pause],
            Role::Push => &[Close, Close, Reset, Vanish, Pause],
            _ => &[Leave, Leave, Reset],
        };
        whims.get(random.below(whims.len())).copied().unwrap_or(Leave)
    }
}

/// One connection, from its first packet to its last.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) identity: u64,
    role: Role,
    pub(crate) peer: Peer,
    pub(crate) course: Course,
    /// It does not read.
    pub(crate) is_paused: bool,
    /// By when what it waits for must have come.
    pub(crate) due: Option<Instant>,
    /// Until then the server may end it because one of the sides did not run.
    excused_until: Option<Instant>,
}

impl Life {
    /// Begins to connect.
    pub(crate) fn new(
        identity: u64,
        role: Role,
        channels: &[u8],
        transport: Transport,
        now: Instant,
    ) -> Self {
        let path = match (role, channels) {
            (Role::Push, [channel, ..]) => format!("{}/{identity}/{channel}", role.path()),
            _ => format!("{}/{identity}", role.path()),
        };
        Self {
            identity,
            role,
            peer: Peer::new(transport, path),
            course: Course::new(identity, role),
            is_paused: false,
            due: Some(now + PATIENCE),
            excused_until: None,
        }
    }

    /// Whether it may do something else now.
    pub(crate) fn is_free(&self) -> bool {
        self.course.intent == Intent::Living && !self.is_paused
    }

    /// The 101 came: what it does first.
    pub(crate) fn opened(
        &mut self,
        wanted: &[u8],
        channels: &Channels,
        random: &mut Random,
        now: Instant,
    ) -> Result<Option<(Duration, Step)>, End> {
        match self.role {
            Role::Echo | Role::EchoTask => {
                self.live();
                return Ok(Some((random.millis(0, 200), Step::Send)));
            }
            // The server has subscribed it already, and what came with the 101 has been counted.
            Role::Push => self.live(),
            _ => self.subscribe(wanted, channels, now)?,
        }
        Ok(self.role.stalls().then(|| (random.millis(500, 2_000), Step::Stall)))
    }

    /// What the server subscribes it to, before anything comes.
    pub(crate) fn is_subscribed(&mut self, wanted: &[u8], channels: &Channels) {
        let subscriptions = wanted.iter().map(|each| Subscription::new(*each, channels.promise(*each), true));
        self.course.subscriptions = subscriptions.collect();
    }

    /// Subscribes to channels.
    pub(crate) fn subscribe(&mut self, wanted: &[u8], channels: &Channels, now: Instant) -> Result<(), End> {
        let subscriptions =
            wanted.iter().map(|each| Subscription::new(*each, channels.promise(*each), false));
        self.course.subscriptions = subscriptions.collect();
        self.wait(Intent::Joining, now);
        self.command(b'+')
    }

    /// Leaves its channels; of what the server subscribed it to, `ends` says by channel where it ends.
    pub(crate) fn leave(&mut self, then: Then, ends: &[u64], now: Instant) -> Result<(), End> {
        self.wait(Intent::Leaving(then), now);
        if self.role != Role::Push {
            return self.command(b'-');
        }
        for subscription in &mut self.course.subscriptions {
            let end = ends.get(usize::from(subscription.channel)).copied().unwrap_or_default();
            subscription.left(end);
        }
        Ok(())
    }

    /// Sends Close.
    pub(crate) fn close(&mut self, now: Instant) -> Result<(), End> {
        self.wait(Intent::Closing, now);
        self.peer.close()
    }

    /// Sends some echoes.
    pub(crate) fn send(&mut self, count: usize, channels: &Channels, ledger: &mut Ledger) -> Result<(), End> {
        let mut payload = Vec::new();
        for _ in 0..count {
            payload.clear();
            self.course.next_echo(&mut payload, channels);
            ledger.sent += 1;
            self.peer.send(&payload)?;
        }
        Ok(())
    }

    /// Reads no more, until it resumes after the duration returned.
    pub(crate) fn stall(&mut self, random: &mut Random) -> Duration {
        self.is_paused = true;
        if !self.role.stalls() || random.below(3) == 0 {
            return SHORT_STALL;
        }
        self.has_stalled();
        STALL
    }

    /// One of the sides did not run for so long.
    pub(crate) fn was_held_up(&mut self, time: Duration, now: Instant) {
        self.has_stalled();
        self.due = self.due.map(|due| due + time);
        self.excused_until = Some(now + EXCUSED_FOR);
    }

    /// It has not read for so long that its channel may end it, if it is one that does.
    pub(crate) fn has_stalled(&mut self) {
        self.course.may_be_cut |= self.role == Role::Disconnect;
    }

    /// Reads again; returns what it does next and when.
    pub(crate) fn resume(&mut self, random: &mut Random, ledger: &mut Ledger) -> Option<(Duration, Step)> {
        self.is_paused = false;
        if !self.role.stalls() {
            return None;
        }
        ledger.stalled += 1;
        self.course.stalls += 1;
        let step = if self.course.stalls < STALLS { Step::Stall } else { Step::Leave };
        Some((random.millis(1_000, 2_500), step))
    }

    /// Asks how much was dropped, where it still waits for that.
    pub(crate) fn ask(&mut self) -> Result<(), End> {
        let waits = matches!(self.course.intent, Intent::Leaving(_)) && !self.is_paused;
        if waits { self.peer.send(b"?") } else { Ok(()) }
    }

    /// Something came: does what had to wait for it. `wanted`: the channels to move to.
    pub(crate) fn advance(
        &mut self,
        wanted: impl FnOnce() -> Vec<u8>,
        channels: &Channels,
        ledger: &mut Ledger,
        now: Instant,
    ) -> Result<Option<(Duration, Step)>, End> {
        match self.course.intent {
            Intent::Joining if self.course.subscriptions.iter().all(Subscription::has_begun) => self.live(),
            Intent::Leaving(then) if self.course.is_complete() => {
                if self.course.is_lossy() && !self.course.is_accounted(ledger) {
                    let first = !std::mem::replace(&mut self.course.has_asked, true);
                    return Ok(first.then_some((ASK, Step::Ask)));
                }
                if then == Then::Move {
                    ledger.moved += 1;
                    self.subscribe(&wanted(), channels, now)?;
                } else {
                    self.close(now)?;
                }
            }
            _ => {}
        }
        Ok(None)
    }

    /// What comes after a question that did not settle the account.
    pub(crate) const fn ask_again(&self) -> Option<(Duration, Step)> {
        if matches!(self.course.intent, Intent::Leaving(_)) { Some((ASK, Step::Ask)) } else { None }
    }

    /// The connection is gone: this side's account of it; `None`: there is nothing to tell.
    pub(crate) fn ended(&self, end: &End, ledger: &mut Ledger, now: Instant) -> Option<Account> {
        let code = end.close.as_ref().map(|(code, _)| *code);
        if self.course.intent == Intent::Closing && code.is_some() {
            ledger.closed += 1;
            return Some(self.course.account(true, PEER_CLOSED));
        }
        let is_opening = self.course.intent == Intent::Opening;
        if self.course.may_be_cut && !is_opening && code.is_none_or(|code| code == SLOW_CONSUMER_CODE) {
            ledger.cut += 1;
            return Some(self.course.account(code.is_some(), SLOW_CONSUMER));
        }
        if self.excused_until.is_some_and(|until| now < until)
            && code.is_none_or(|code| code == SLOW_CONSUMER_CODE)
        {
            ledger.excused += 1;
            let account = self.course.account(code.is_some(), EXCUSED);
            // Whether the server got as far as to count it is not known.
            return (!is_opening).then(|| account.of_any_drops());
        }
        let (identity, role, intent) = (self.identity, self.role, self.course.intent);
        ledger.violation(|| {
            format!(
                "connection {identity} ({role}): ended while {intent:?}: {:?}, {:?}",
                end.close, end.fault
            )
        });
        Some(self.course.account(code.is_some(), &[]))
    }

    /// Leaves without a closing handshake; returns this side's account.
    pub(crate) fn abandon(mut self, is_reset: bool, ledger: &mut Ledger) -> Account {
        ledger.abandoned += 1;
        let account = self.course.account(false, TRANSPORT_LOST);
        if is_reset {
            self.peer.transport.reset();
        } else {
            self.peer.transport.finish();
        }
        account
    }

    fn command(&mut self, sort: u8) -> Result<(), End> {
        let commands: Vec<_> = self
            .course
            .subscriptions
            .iter()
            .map(|each| format!("{}{:02x}", char::from(sort), each.channel))
            .collect();
        for command in commands {
            self.peer.send(command.as_bytes())?;
        }
        Ok(())
    }

    fn wait(&mut self, intent: Intent, now: Instant) {
        self.course.intent = intent;
        self.due = Some(now + PATIENCE);
    }

    fn live(&mut self) {
        self.course.intent = Intent::Living;
        self.due = None;
    }
}

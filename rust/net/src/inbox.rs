//! Receives sockets, accepted or dialled, commands and forwards for one shard from other threads · hands them to its driver ·
//! owns the bound of each and the one way to wake the driver.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Waker};

use streamconductor_core::ledger::Ledger;
use streamconductor_core::pool::PendingPlace;
use streamconductor_core::shard::Peer;
use streamconductor_core::shard::command::{Command, Forward};
use tokio::sync::Notify;

use crate::listener::Raw;
use crate::mailbox::{Class, Mailbox, Wake};
use crate::outgoing::Connected;

/// Bytes of commands that may wait for one shard, unless a single message needs more.
const COMMAND_BYTES: usize = 8 * 1024 * 1024;

/// More than a command takes beside its payload.
const COMMAND_OVERHEAD: usize = 32 * 1024;

/// Forwards that a shard may owe its peers before they take no more publications.
pub const FORWARDS: usize = 4_096;

/// Wakes a driver; kept apart from the queues so that all of them share one.
#[derive(Clone, Default)]
pub struct Alarm(Arc<Notify>);

impl Alarm {
    /// Completes after a ring that no other wait has consumed.
    pub async fn rung(&self) {
        self.0.notified().await;
    }

    /// Forgets a ring: whoever calls this is about to look at everything.
    pub fn silence(&self) {
        let rung = pin!(self.0.notified());
        // Ready consumes the ring; otherwise there was none.
        let _ = rung.poll(&mut Context::from_waker(Waker::noop()));
    }

    /// Wakes the driver, now or when it next waits.
    pub fn ring(&self) {
        self.0.notify_one();
    }
}

impl Wake for Alarm {
    fn wake(&self) {
        self.ring();
    }
}

/// A socket on its way from the acceptor to a shard.
pub struct Accepted {
    pub raw: Raw,
    pub peer: Peer,
    pub place: PendingPlace,
}

/// Everything that reaches a shard from outside its thread.
pub struct Inbox {
    pub commands: Mailbox<Command, Alarm>,
    pub forwards: Mailbox<(usize, Forward), Alarm>,
    pub accepted: Mailbox<Accepted, Alarm>,
    pub connected: Mailbox<Connected, Alarm>,
    pub alarm: Alarm,
    /// Sockets on the shard and on their way to it.
    pub sockets: AtomicUsize,
    /// Forwards not yet taken.
    pub owed: AtomicUsize,
    /// The acceptor wants a place of it. No command: however often it asks a shard that is slow to answer, one goes.
    pub is_reclaimed: AtomicBool,
    /// Accept time of its oldest socket without a complete head, in microseconds; `u64::MAX`: none.
    pub oldest_headless: AtomicU64,
    /// When its oldest lingering socket began to linger; likewise.
    pub oldest_lingering: AtomicU64,
    /// Its fan-outs owe more than a few turns can do.
    pub is_telling: AtomicBool,
}

/// Bytes of commands that may wait for one shard when a payload may have `max_buffered`. Whoever can wait does so
/// above half of it, so the other half must take one more payload, whatever its size.
const fn command_bytes(max_buffered: usize) -> usize {
    let twice = max_buffered.saturating_add(COMMAND_OVERHEAD).saturating_mul(2);
    if twice > COMMAND_BYTES { twice } else { COMMAND_BYTES }
}

impl Inbox {
    /// An empty inbox, for payloads of at most `max_buffered` bytes.
    pub fn new(max_buffered: usize, ledger: &Ledger) -> Self {
        let alarm = Alarm::default();
        Self {
            commands: Mailbox::new(command_bytes(max_buffered), ledger, alarm.clone()),
            // Bounded by `FORWARDS` through the publishers, and by the pending places through the acceptor.
            forwards: Mailbox::new(usize::MAX, ledger, alarm.clone()),
            accepted: Mailbox::new(usize::MAX, ledger, alarm.clone()),
            // Bounded by the slots.
            connected: Mailbox::new(usize::MAX, ledger, alarm.clone()),
            alarm,
            sockets: AtomicUsize::new(0),
            owed: AtomicUsize::new(0),
            is_reclaimed: AtomicBool::new(false),
            oldest_headless: AtomicU64::new(u64::MAX),
            oldest_lingering: AtomicU64::new(u64::MAX),
            is_telling: AtomicBool::new(false),
        }
    }

    /// The largest payload is another from now on.
    pub fn adopt(&self, max_buffered: usize) {
        self.commands.set_limit(command_bytes(max_buffered));
    }

    /// Takes in a connection that a dialler has opened.
    pub fn connect(&self, connected: Connected) {
        self.sockets.fetch_add(1, Ordering::Relaxed);
        let bytes = size_of::<Connected>() + connected.read_ahead.len();
        // Cannot be refused without a limit.
        let _ = self.connected.append(&mut vec![connected], bytes, Class::Reserved);
    }

    /// Counts forwards that were taken. True: the shard is not behind any more, and the peers wait to be told.
    pub fn settle(&self, forwards: usize) -> bool {
        let before = self.owed.fetch_sub(forwards, Ordering::Relaxed);
        before > FORWARDS && before - forwards <= FORWARDS
    }

    /// Whether this shard is so far behind that others must not publish to it.
    pub fn is_behind(&self) -> bool {
        self.owed.load(Ordering::Relaxed) > FORWARDS || self.is_telling.load(Ordering::Relaxed)
    }
}

//! Receives commands from the Python thread · hands them to the shards' mailboxes, with one wake per turn of the
//! loop · owns corking.
//!
//! A command is in the shard's mailbox as soon as its call returns, so it is accepted or refused there and then.
//! What waits for the end of the loop's turn is only the wake. A shard that is awake anyway, or whose tick has
//! come, takes the commands earlier: a loop that blocks after a send does not hold the send back.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use pyo3::prelude::*;
use streamconductor_core::channel::Channel;
use streamconductor_core::config::Limits;
use streamconductor_core::deflate::Prepared;
use streamconductor_core::gauge::Gauge;
use streamconductor_core::shard::command::{Command, Publication};
use streamconductor_core::time::Timestamp;
use streamconductor_net::driver_weight as weight;
use streamconductor_net::mailbox::{Class, Full};
use streamconductor_net::server::Server;

use crate::admin::Desk;
use crate::convert::Payload;
use crate::outgoing::Outgoing;

/// Commands after which a shard is woken at once.
const COMMANDS: usize = 256;
/// Bytes after which a shard is woken at once.
const BYTES: usize = 64 * 1024;

/// Bytes of a payload from which the interpreter is free for others while it is compressed: about 50 µs.
const UNLOCKED: usize = 2 * 1024;

/// How many forks lie between this process and the one that loaded the module.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// Called in the child after a fork. What was started before has lost its threads, and its locks may be held by one
/// of them for ever.
#[pyfunction]
pub fn forked() {
    FORKS.fetch_add(1, Relaxed);
}

/// A number of the calling thread, which no other ever has. Asked for with every message, and cheaper than the standard
/// library's, which counts a reference.
fn thread_number() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    thread_local! {
        static NUMBER: Cell<u64> = const { Cell::new(0) };
    }
    NUMBER.with(|number| {
        if number.get() == 0 {
            number.set(LAST.fetch_add(1, Relaxed) + 1);
        }
        number.get()
    })
}

/// Compresses without the interpreter where that takes longer than to let go of it and to get it back.
fn unlocked<T: Send>(python: Python<'_>, bytes: usize, compress: impl FnOnce() -> T + Send) -> T {
    if bytes < UNLOCKED { compress() } else { python.detach(compress) }
}

/// What waits for the wake at the end of the turn.
#[derive(Default)]
struct Corked {
    commands: AtomicUsize,
    bytes: AtomicUsize,
}

/// The way from Python to a running server.
pub struct Link {
    pub server: Arc<Server>,
    /// What the admin address shares with the Python side.
    pub desk: Arc<Desk>,
    /// What we have opened ourselves.
    pub outgoing: Outgoing,
    max_buffered: AtomicUsize,
    high_water: AtomicUsize,
    low_water: AtomicUsize,
    max_inbound: AtomicUsize,
    corked: Box<[Corked]>,
    /// Whether the end of this turn of the loop will wake the shards.
    is_scheduled: AtomicBool,
    loop_thread: u64,
    forks: u32,
    event_loop: Py<PyAny>,
    /// Called once per turn of the loop to have `uncork` called at its end.
    schedule: Py<PyAny>,
}

impl Link {
    /// A link for the loop of the calling thread. `schedule` is a plain callable without arguments.
    pub fn new(server: Server, event_loop: Py<PyAny>, schedule: Py<PyAny>) -> Arc<Self> {
        let corked = (0..server.shards()).map(|_| Corked::default()).collect();
        Arc::new(Self {
            server: Arc::new(server),
            desk: Arc::default(),
            outgoing: Outgoing::default(),
            max_buffered: AtomicUsize::new(0),
            high_water: AtomicUsize::new(0),
            low_water: AtomicUsize::new(0),
            max_inbound: AtomicUsize::new(0),
            corked,
            is_scheduled: AtomicBool::new(false),
            loop_thread: thread_number(),
            forks: FORKS.load(Relaxed),
            event_loop,
            schedule,
        })
    }

    /// Takes the limits that are checked at the call.
    pub fn adopt(&self, limits: &Limits) {
        self.max_buffered.store(limits.marks.max_buffered, Relaxed);
        self.high_water.store(limits.marks.high_water, Relaxed);
        self.low_water.store(limits.marks.low_water, Relaxed);
        self.max_inbound.store(limits.max_inbound, Relaxed);
    }

    /// The largest frame, and the most that may be pending on a connection.
    pub fn max_buffered(&self) -> usize {
        self.max_buffered.load(Relaxed)
    }

    /// At or below it they resume.
    pub fn low_water(&self) -> usize {
        self.low_water.load(Relaxed)
    }

    /// Above it senders wait.
    pub fn high_water(&self) -> usize {
        self.high_water.load(Relaxed)
    }

    /// Bytes of messages not taken at which reading pauses.
    pub fn max_inbound(&self) -> usize {
        self.max_inbound.load(Relaxed)
    }

    /// The moment on the server's clock that is so many seconds ahead; in the past it is now.
    pub fn at(&self, seconds: f64) -> Timestamp {
        // What no `Duration` can hold lies beyond the life of any process.
        let ahead = Duration::try_from_secs_f64(seconds.max(0.0)).ok();
        self.server.now().after(ahead)
    }

    /// The loop, as asyncio knows it.
    pub fn event_loop(&self) -> &Py<PyAny> {
        &self.event_loop
    }

    /// Whether the caller is the loop's thread.
    pub fn is_on_loop(&self) -> bool {
        thread_number() == self.loop_thread
    }

    /// Whether the process was forked since: the threads stayed in the parent.
    pub fn is_orphaned(&self) -> bool {
        FORKS.load(Relaxed) != self.forks
    }

    /// A payload as one frame of a connection, compressed where that was negotiated and makes it shorter.
    pub fn frame(&self, python: Python<'_>, gauge: &Gauge, payload: &Payload<'_>) -> Bytes {
        let (encoding, role) = (gauge.encoding(), gauge.role());
        let (kind, bytes) = (payload.kind(), payload.bytes());
        let compression = self.server.compression();
        if !compression.concerns(encoding, bytes.len()) {
            return payload.frame(role);
        }
        let compressed = unlocked(python, bytes.len(), || compression.frame(encoding, kind, bytes));
        compressed.unwrap_or_else(|| payload.frame(role))
    }

    /// A payload for a channel; one that is too long for a shard to compress it comes with its compressed frames.
    pub fn publication(
        &self,
        python: Python<'_>,
        channel: &Channel,
        payload: &Payload<'_>,
        key: u64,
    ) -> Publication {
        let (kind, bytes) = (payload.kind(), payload.bytes());
        let prepared = if channel.encodings().windows().next().is_some() {
            unlocked(python, bytes.len(), || self.server.compression().publication(channel, kind, bytes))
        } else {
            None
        };
        Publication { kind, payload: payload.copy(), key, prepared }
    }

    /// A payload's compressed frames for every encoding that connections have.
    pub fn prepare(&self, python: Python<'_>, payload: &Payload<'_>) -> Prepared {
        let encodings = self.server.deflating().encodings();
        if encodings.windows().next().is_none() {
            return Prepared::default();
        }
        let (kind, bytes) = (payload.kind(), payload.bytes());
        unlocked(python, bytes.len(), || self.server.compression().prepare(encodings, kind, bytes))
    }

    /// Hands a command over; the shard is woken at the end of the loop's turn, or at once from other threads.
    pub fn send(&self, python: Python<'_>, shard: usize, command: Command) -> Result<(), Full> {
        let bytes = weight(&command);
        self.server.post(shard, command, bytes, Class::Ordinary)?;
        if self.is_on_loop() {
            self.cork(python, shard, bytes);
        } else {
            self.server.ring(shard);
        }
        Ok(())
    }

    /// Hands over a command that is never refused, and wakes the shard at once.
    pub fn tell(&self, shard: usize, command: Command) {
        self.server.tell(shard, command);
    }

    fn cork(&self, python: Python<'_>, shard: usize, bytes: usize) {
        let Some(corked) = self.corked.get(shard) else { return };
        // Only the loop's thread comes here, so plain loads and stores do.
        let commands = corked.commands.load(Relaxed) + 1;
        let bytes = corked.bytes.load(Relaxed) + bytes;
        if commands >= COMMANDS || bytes >= BYTES {
            corked.commands.store(0, Relaxed);
            corked.bytes.store(0, Relaxed);
            self.server.ring(shard);
            return;
        }
        corked.commands.store(commands, Relaxed);
        corked.bytes.store(bytes, Relaxed);
        if !self.is_scheduled.swap(true, Relaxed) && self.schedule.call0(python).is_err() {
            // The loop is closed: nobody will come back to uncork.
            self.is_scheduled.store(false, Relaxed);
            self.uncork();
        }
    }

    /// The end of the turn is taken care of: no call of `schedule` is needed.
    pub fn schedule_is_set(&self) {
        self.is_scheduled.store(true, Relaxed);
    }

    /// Wakes every shard that has something new.
    pub fn uncork(&self) {
        self.is_scheduled.store(false, Relaxed);
        for (shard, corked) in self.corked.iter().enumerate() {
            if corked.commands.swap(0, Relaxed) > 0 {
                corked.bytes.store(0, Relaxed);
                self.server.ring(shard);
            }
        }
    }
}

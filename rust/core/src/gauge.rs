//! Receives byte counts from Python (at the call) and from the shard (when written or dropped) · hands each
//! side the one wake it owes the other · owns the atomics that a connection held by Python shares.

use std::time::Duration;

use crate::codec::Role;
use crate::deflate::Encoding;
use crate::ledger::{Ledger, Owner};
use crate::lifecycle::Public;
use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

/// The flag's bit in a [`Level`]; the bytes have the other 63.
const FLAG: u64 = 1 << 63;

const NO_LATENCY: u32 = u32::MAX;

/// Bytes and a flag in one word. "Above the mark, so I wait" and "at the mark, so I wake" are decided on the
/// same word, hence in one order that both threads agree on: between the look and the flag nothing fits, and
/// no wake can be lost. No fence is needed, as no other memory is read on the strength of the answer
/// (acquire and release only make what was written before a wake visible after it).
#[derive(Debug)]
struct Level(AtomicU64);

impl Level {
    fn bytes(&self) -> usize {
        (self.0.load(Acquire) & !FLAG) as usize
    }

    fn add(&self, bytes: usize) -> usize {
        let before = self.0.fetch_add(bytes as u64, AcqRel);
        (before & !FLAG) as usize + bytes
    }

    /// Sets the flag if more than `mark` bytes are counted; says whether it did.
    fn flag_above(&self, mark: usize) -> bool {
        let above = |word: u64| (word & !FLAG > mark as u64).then_some(word | FLAG);
        self.0.fetch_update(AcqRel, Acquire, above).is_ok()
    }

    /// Takes `bytes` off. Clears the flag if it stood and at most `mark` remain; says whether it did.
    fn subtract(&self, bytes: usize, mark: usize) -> bool {
        let lower = |word: u64| {
            // Saturating: a miscount must not turn into a level of exabytes that nobody can ever lower.
            let left = (word & !FLAG).saturating_sub(bytes as u64);
            if left <= mark as u64 { left } else { left | (word & FLAG) }
        };
        let before = self.0.fetch_update(AcqRel, Acquire, |word| Some(lower(word))).unwrap_or_default();
        before & FLAG != 0 && lower(before) & FLAG == 0
    }
}

/// What Python and the shard both see of one connection. Any method may be called from any thread.
pub struct Gauge {
    /// What Python has not taken is real memory: charged as it comes, released as it goes.
    ledger: Ledger,
    role: Role,
    outbound: Level,
    inbound: Level,
    dropped: AtomicU64,
    latency: AtomicU32,
    state: AtomicU8,
    encoding: AtomicU8,
}

impl Gauge {
    /// Nothing is pending and nothing has come, on a connection that was accepted.
    pub fn new(ledger: &Ledger) -> Self {
        Self::with_role(ledger, Role::Server)
    }

    /// The same of a connection on which we have that role.
    pub fn with_role(ledger: &Ledger, role: Role) -> Self {
        Self {
            ledger: ledger.clone(),
            role,
            outbound: Level(AtomicU64::new(0)),
            inbound: Level(AtomicU64::new(0)),
            dropped: AtomicU64::new(0),
            latency: AtomicU32::new(NO_LATENCY),
            state: AtomicU8::new(Public::Connecting as u8),
            encoding: AtomicU8::new(Encoding::Raw.number()),
        }
    }
}

/// Outbound: Python adds, the shard subtracts.
impl Gauge {
    /// Bytes accepted for this connection that are neither written, dropped nor discarded.
    pub fn buffered(&self) -> usize {
        self.outbound.bytes()
    }

    /// Counts `bytes` from the call on, before the shard knows of them; returns the new total.
    pub fn sent(&self, bytes: usize) -> usize {
        self.outbound.add(bytes)
    }

    /// Whether the sender must wait because more than `high_water` bytes are buffered. If so, whoever lowers
    /// the level to low water will owe one wake.
    pub fn must_wait(&self, high_water: usize) -> bool {
        self.outbound.flag_above(high_water)
    }

    /// Takes off `bytes` that were written, dropped, discarded or (by Python, when the mailbox refused them)
    /// never handed over. True: a sender waits and the level is at most `low_water`; the caller must see to
    /// it that the senders are woken, once.
    #[must_use = "true is a wake that is owed to a waiting sender"]
    pub fn settled(&self, bytes: usize, low_water: usize) -> bool {
        self.outbound.subtract(bytes, low_water)
    }
}

/// What a message costs beside its payload, about: an event, an object, a place in a queue. Without it a peer that
/// sends empty messages would never be held back.
const MESSAGE: usize = 64;

/// Inbound: the shard adds, Python subtracts.
impl Gauge {
    /// What a message of that many payload bytes counts for, in both directions of the count.
    pub const fn cost(payload: usize) -> usize {
        payload + MESSAGE
    }

    /// Bytes of complete messages that the handler has not taken.
    pub fn inbound(&self) -> usize {
        self.inbound.bytes()
    }

    /// Counts a complete message. True: `max_inbound` is reached, the shard must pause reading until the
    /// Resume command, which is sure to come.
    #[must_use = "true means that reading must pause"]
    pub fn arrived(&self, bytes: usize, max_inbound: usize) -> bool {
        self.ledger.shift(Owner::Inbound, 0, bytes);
        self.inbound.add(bytes);
        self.inbound.flag_above(max_inbound.saturating_sub(1))
    }

    /// Takes off a message that the handler took. True: reading is paused and at most half of `max_inbound`
    /// remains; the caller must send one Resume command.
    #[must_use = "true is a Resume command that is owed to the shard"]
    pub fn taken(&self, bytes: usize, max_inbound: usize) -> bool {
        self.ledger.shift(Owner::Inbound, bytes, 0);
        self.inbound.subtract(bytes, max_inbound / 2)
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        // Messages that nobody took go with the last holder.
        self.ledger.shift(Owner::Inbound, self.inbound(), 0);
    }
}

impl std::fmt::Debug for Gauge {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Gauge")
            .field("buffered", &self.buffered())
            .field("inbound", &self.inbound())
            .finish_non_exhaustive()
    }
}

/// Readings: the shard writes, Python reads; each stands alone, none orders another.
impl Gauge {
    /// The latest round trip of a ping, in whole microseconds; `None` before the first pong.
    pub fn latency(&self) -> Option<Duration> {
        let micros = self.latency.load(Relaxed);
        (micros != NO_LATENCY).then(|| Duration::from_micros(u64::from(micros)))
    }

    /// Records a round trip; more than 71 minutes counts as 71 minutes.
    pub fn set_latency(&self, latency: Duration) {
        let micros = u32::try_from(latency.as_micros()).unwrap_or(NO_LATENCY).min(NO_LATENCY - 1);
        self.latency.store(micros, Relaxed);
    }

    /// Publications dropped by policy since the connection opened.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Counts dropped publications.
    pub fn add_dropped(&self, messages: u64) {
        self.dropped.fetch_add(messages, Relaxed);
    }

    /// Our role: what is sent as a client is framed as [`message_frame`](crate::codec::message_frame) has it for that
    /// role, and subscribes to no channel.
    pub fn role(&self) -> Role {
        self.role
    }

    /// How messages to it may be encoded; raw, which is always valid, until the shard has said more.
    pub fn encoding(&self) -> Encoding {
        Encoding::from_number(self.encoding.load(Relaxed))
    }

    /// Records what was agreed when it opened.
    pub fn set_encoding(&self, encoding: Encoding) {
        self.encoding.store(encoding.number(), Relaxed);
    }

    /// The state that `connection.state` shows.
    pub fn state(&self) -> Public {
        let state = self.state.load(Acquire);
        [Public::Connecting, Public::Open, Public::Closing]
            .into_iter()
            .find(|public| *public as u8 == state)
            .unwrap_or(Public::Closed)
    }

    /// Publishes a state; what the shard wrote before is visible to who sees it.
    pub fn set_state(&self, state: Public) {
        self.state.store(state as u8, Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_sender_above_high_water_is_owed_one_wake_at_low_water() {
        let gauge = Gauge::new(&Ledger::new(1_000_000));
        assert_eq!(gauge.sent(100), 100);
        assert!(!gauge.must_wait(100), "at high water nobody waits");
        gauge.sent(1);
        assert!(gauge.must_wait(100));
        assert!(!gauge.settled(76, 24), "25 remain, above low water");
        assert!(gauge.settled(1, 24));
        assert!(!gauge.settled(24, 24), "one wake only");
        assert!(!gauge.settled(1, 24));
        assert_eq!(gauge.buffered(), 0, "a miscount never wraps");
    }

    #[test]
    fn reading_pauses_at_the_maximum_and_resumes_once_at_half() {
        let gauge = Gauge::new(&Ledger::new(1_000_000));
        assert!(!gauge.arrived(9, 10));
        assert!(gauge.arrived(1, 10));
        assert!(!gauge.taken(4, 10));
        assert!(gauge.taken(1, 10));
        assert!(!gauge.taken(5, 10));
        assert_eq!(gauge.inbound(), 0);
    }

    #[test]
    fn readings_come_back() {
        let gauge = Gauge::new(&Ledger::new(1_000_000));
        assert_eq!((gauge.latency(), gauge.state()), (None, Public::Connecting));
        gauge.set_latency(Duration::from_secs(100_000));
        assert_eq!(gauge.latency(), Some(Duration::from_micros(u64::from(u32::MAX - 1))));
        gauge.add_dropped(3);
        assert_eq!(gauge.dropped(), 3);
        for state in [Public::Connecting, Public::Open, Public::Closing, Public::Closed] {
            gauge.set_state(state);
            assert_eq!(gauge.state(), state);
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::sync::{Arc, explore};

    #[test]
    fn no_wake_is_lost() {
        explore(|| {
            let gauge = Arc::new(Gauge::new(&Ledger::new(1_000_000)));
            gauge.sent(4);
            let shard = {
                let gauge = gauge.clone();
                loom::thread::spawn(move || (0..2).filter(|_| gauge.settled(2, 1)).count())
            };
            let waits = gauge.must_wait(2);
            let wakes = shard.join().unwrap();
            assert_eq!(wakes, usize::from(waits), "each wait is answered by exactly one wake");
        });
    }

    #[test]
    fn no_resume_is_lost() {
        explore(|| {
            let gauge = Arc::new(Gauge::new(&Ledger::new(1_000_000)));
            assert!(!gauge.arrived(3, 4));
            let python = {
                let gauge = gauge.clone();
                loom::thread::spawn(move || usize::from(gauge.taken(3, 4)))
            };
            let paused = gauge.arrived(1, 4);
            let resumes = python.join().unwrap();
            assert_eq!(resumes, usize::from(paused), "each pause is answered by exactly one resume");
        });
    }
}

//! Receives batches from any number of threads · hands them, in order, to the one reader that it wakes ·
//! owns the queue, its byte bound and the two promises that no wake and no sign of room is lost.

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::sync::PoisonError;
// A mere count, read by nobody to decide anything: not part of what loom has to explore.
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use streamconductor_core::ledger::{Charge, Ledger, Owner};
use sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Release};
use sync::{Mutex, MutexGuard};

#[cfg(loom)]
use loom::sync;
#[cfg(not(loom))]
use std::sync;

/// Capacity that an empty queue may keep; what a burst needed beyond it is freed.
const KEPT: usize = 1_024;

/// How the reader is told that something has come: an eventfd, a task's waker.
pub trait Wake: Send + Sync {
    /// Called by the appending thread, outside the lock, once per sleep of the reader. Must not block.
    fn wake(&self);
}

/// What a batch does to the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Refused when it would pass the limit.
    Ordinary,
    /// Never refused, and counted apart so that it takes no room from others: `close`, `unsubscribe`,
    /// `disconnect`. The caller bounds them: at most one for each connection or subscription.
    Reserved,
}

/// The batch would pass the limit, so that none of it was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// Bytes of the batch.
    pub bytes: usize,
    /// Bytes held by the mailbox at that moment.
    pub held: usize,
    /// The bound.
    pub limit: usize,
}

impl fmt::Display for Full {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, held, limit } = self;
        write!(formatter, "mailbox holds {held} bytes of at most {limit}, no room for {bytes} more")
    }
}

impl std::error::Error for Full {}

/// What a drain leaves behind.
#[must_use = "`more` obliges the reader to drain again, `room` to tell those who wait"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Items remain; nobody will wake the reader for them, so it must come back by itself.
    pub more: bool,
    /// A producer asked for room, and at most half of the limit is used again. Told once per asking.
    pub room: bool,
}

/// What a mailbox holds and has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Bytes of ordinary batches.
    pub held: usize,
    /// Bytes of reserved batches.
    pub reserved: usize,
    /// Items not yet drained.
    pub items: usize,
    /// Batches refused so far.
    pub refused: u64,
    /// Wakes so far.
    pub wakes: u64,
}

struct Batch {
    items: usize,
    bytes: usize,
    class: Class,
}

struct State<T> {
    items: VecDeque<T>,
    /// The batches that `items` came in: a batch's bytes are given back with its last item.
    batches: VecDeque<Batch>,
    held: usize,
    reserved: usize,
    refused: u64,
    wants_room: bool,
    /// Bytes of ordinary batches; under the lock, so that a batch and the sign of room are judged by one bound.
    limit: usize,
    charge: Charge,
}

/// A queue of commands or events: many producers, one reader, bounded by bytes, charged to the ledger.
///
/// The wake protocol: a producer appends, then wakes if `!awake.swap(true)`; the reader clears `awake` before
/// it drains. Either the reader's lock comes after the append and it sees the items, or before, and then the
/// producer sees `awake` cleared and wakes it.
pub struct Mailbox<T, W> {
    state: Mutex<State<T>>,
    awake: AtomicBool,
    wake: W,
    wakes: AtomicU64,
}

impl<T, W: Wake> Mailbox<T, W> {
    /// An empty mailbox for at most `limit` bytes of ordinary batches. A batch of more than `limit` bytes is
    /// always refused, so no single command may be larger.
    pub fn new(limit: usize, ledger: &Ledger, wake: W) -> Self {
        let state = State {
            items: VecDeque::new(),
            batches: VecDeque::new(),
            held: 0,
            reserved: 0,
            refused: 0,
            wants_room: false,
            limit,
            charge: ledger.charge(Owner::Mailboxes, 0),
        };
        Self { state: Mutex::new(state), awake: AtomicBool::new(false), wake, wakes: AtomicU64::new(0) }
    }

    /// Changes the bound. What is held already stays, even if it is more.
    pub fn set_limit(&self, limit: usize) {
        self.lock().limit = limit;
    }

    /// Appends the whole `batch`, leaving it empty, and wakes the reader if it sleeps; or appends nothing,
    /// leaving it as it is. `bytes` is the real memory of all items, their own size included.
    pub fn append(&self, batch: &mut Vec<T>, bytes: usize, class: Class) -> Result<(), Full> {
        if batch.is_empty() {
            return Ok(());
        }
        {
            let mut state = self.lock();
            state.admit(bytes, class)?;
            state.batches.push_back(Batch { items: batch.len(), bytes, class });
            state.items.extend(batch.drain(..));
            state.recharge();
        }
        self.rouse();
        Ok(())
    }

    /// Appends one item and leaves the reader asleep: [`Mailbox::ring`] must follow. For producers that wake
    /// once for many items; a reader that is awake anyway may take it before.
    pub fn post(&self, item: T, bytes: usize, class: Class) -> Result<(), Full> {
        let mut state = self.lock();
        state.admit(bytes, class)?;
        state.batches.push_back(Batch { items: 1, bytes, class });
        state.items.push_back(item);
        state.recharge();
        Ok(())
    }

    /// Wakes the reader if it sleeps and something is there.
    pub fn ring(&self) {
        if !self.is_empty() {
            self.rouse();
        }
    }

    fn rouse(&self) {
        if !self.awake.swap(true, AcqRel) {
            self.wakes.fetch_add(1, Relaxed);
            self.wake.wake();
        }
    }

    /// Whether a producer that can wait should: more than half of the limit is used. If so, the drain that
    /// brings it down to half says [`Drained::room`].
    pub fn must_wait(&self) -> bool {
        let mut state = self.lock();
        let above = state.held > state.limit / 2;
        state.wants_room |= above;
        above
    }

    /// Moves at most `max` items to the end of `into`. For the one reader only.
    pub fn drain(&self, into: &mut Vec<T>, max: usize) -> Drained {
        // A swap and not a store: it reads the producer's swap, so that its append is visible below.
        self.awake.swap(false, AcqRel);
        let drained = {
            let mut state = self.lock();
            let count = max.min(state.items.len());
            into.extend(state.items.drain(..count));
            state.take_off(count);
            let room = state.takes_room_word();
            Drained { more: !state.items.is_empty(), room }
        };
        if drained.more {
            // The reader comes back by itself: until then a wake would be one too many.
            self.awake.store(true, Release);
        }
        drained
    }

    /// Counts bytes that the reader has taken but not dealt with: they go on taking room from the producers.
    pub fn keep(&self, bytes: usize) {
        let mut state = self.lock();
        state.held += bytes;
        state.recharge();
    }

    /// Gives back bytes that were kept. True: a producer that asked for room is to be told, as by
    /// [`Drained::room`].
    #[must_use = "true is a word that is owed to a waiting producer"]
    pub fn let_go(&self, bytes: usize) -> bool {
        let mut state = self.lock();
        state.held = state.held.saturating_sub(bytes);
        state.recharge();
        state.takes_room_word()
    }

    /// Items not yet drained.
    pub fn len(&self) -> usize {
        self.lock().items.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it holds and has seen, for metrics.
    pub fn status(&self) -> Status {
        let wakes = self.wakes.load(Relaxed);
        let state = self.lock();
        let &State { held, reserved, refused, .. } = &*state;
        Status { held, reserved, items: state.items.len(), refused, wakes }
    }

    /// Nothing here can panic while it holds the lock in a state worth distrusting, so poison is ignored.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    /// Counts bytes that come, or refuses them.
    fn admit(&mut self, bytes: usize, class: Class) -> Result<(), Full> {
        let limit = self.limit;
        match class {
            Class::Ordinary if bytes > limit.saturating_sub(self.held) => {
                self.refused += 1;
                return Err(Full { bytes, held: self.held, limit });
            }
            Class::Ordinary => self.held += bytes,
            Class::Reserved => self.reserved += bytes,
        }
        Ok(())
    }

    /// Whether those who asked for room are to be told now; they are told once.
    fn takes_room_word(&mut self) -> bool {
        let room = self.wants_room && self.held <= self.limit / 2;
        self.wants_room &= !room;
        room
    }

    /// Gives back the bytes of the batches whose last item is among the `count` that were taken.
    fn take_off(&mut self, mut count: usize) {
        while let Some(batch) = self.batches.front_mut() {
            if batch.items > count {
                batch.items -= count;
                break;
            }
            count -= batch.items;
            match batch.class {
                Class::Ordinary => self.held -= batch.bytes,
                Class::Reserved => self.reserved -= batch.bytes,
            }
            self.batches.pop_front();
        }
        if self.items.is_empty() {
            self.items.shrink_to(KEPT);
            self.batches.shrink_to(KEPT);
        }
        self.recharge();
    }

    fn recharge(&mut self) {
        self.charge.resize(self.held + self.reserved);
    }
}

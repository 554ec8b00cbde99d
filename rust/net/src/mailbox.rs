//! Receives batches from any number of threads · hands them, in order, to the one reader that it wakes ·
//! owns the queue, its byte bound and the two promises that no wake and no sign of room is lost.

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
    limit: usize,
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
            charge: ledger.charge(Owner::Mailboxes, 0),
        };
        Self {
            state: Mutex::new(state),
            awake: AtomicBool::new(false),
            wake,
            limit,
            wakes: AtomicU64::new(0),
        }
    }

    /// Appends the whole `batch`, leaving it empty, and wakes the reader if it sleeps; or appends nothing,
    /// leaving it as it is. `bytes` is the real memory of all items, their own size included.
    pub fn append(&self, batch: &mut Vec<T>, bytes: usize, class: Class) -> Result<(), Full> {
        if batch.is_empty() {
            return Ok(());
        }
        {
            let mut state = self.lock();
            match class {
                Class::Ordinary if bytes > self.limit.saturating_sub(state.held) => {
                    state.refused += 1;
                    return Err(Full { bytes, held: state.held, limit: self.limit });
                }
                Class::Ordinary => state.held += bytes,
                Class::Reserved => state.reserved += bytes,
            }
            state.batches.push_back(Batch { items: batch.len(), bytes, class });
            state.items.extend(batch.drain(..));
            state.recharge();
        }
        if !self.awake.swap(true, AcqRel) {
            self.wakes.fetch_add(1, Relaxed);
            self.wake.wake();
        }
        Ok(())
    }

    /// Whether a producer that can wait should: more than half of the limit is used. If so, the drain that
    /// brings it down to half says [`Drained::room`].
    pub fn must_wait(&self) -> bool {
        let mut state = self.lock();
        let above = state.held > self.limit / 2;
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
            let room = state.wants_room && state.held <= self.limit / 2;
            state.wants_room &= !room;
            Drained { more: !state.items.is_empty(), room }
        };
        if drained.more {
            // The reader comes back by itself: until then a wake would be one too many.
            self.awake.store(true, Release);
        }
        drained
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    struct Silent;

    impl Wake for Silent {
        fn wake(&self) {}
    }

    fn mailbox(ledger: &Ledger) -> Mailbox<u32, Silent> {
        Mailbox::new(10, ledger, Silent)
    }

    #[test]
    fn one_wake_per_sleep_and_order_is_kept() {
        let mailbox = mailbox(&Ledger::new(1_000));
        let mut into = Vec::new();
        mailbox.append(&mut vec![1, 2], 2, Class::Ordinary).unwrap();
        mailbox.append(&mut vec![3], 1, Class::Reserved).unwrap();
        assert_eq!(mailbox.status().wakes, 1);
        assert_eq!(mailbox.drain(&mut into, 2), Drained { more: true, room: false });
        mailbox.append(&mut vec![4], 1, Class::Ordinary).unwrap();
        assert_eq!(mailbox.status().wakes, 1, "the reader comes back by itself");
        assert_eq!(mailbox.drain(&mut into, 9), Drained { more: false, room: false });
        assert_eq!(into, [1, 2, 3, 4]);
        mailbox.append(&mut Vec::new(), 0, Class::Ordinary).unwrap();
        assert_eq!(mailbox.status().wakes, 1, "nothing came");
        mailbox.append(&mut vec![5], 1, Class::Ordinary).unwrap();
        assert_eq!(mailbox.status().wakes, 2);
    }

    #[test]
    fn a_batch_is_appended_whole_or_refused_whole_and_the_reserve_is_never_refused() {
        let ledger = Ledger::new(1_000);
        let mailbox = mailbox(&ledger);
        let mut into = Vec::new();
        mailbox.append(&mut vec![1, 2], 6, Class::Ordinary).unwrap();
        mailbox.append(&mut vec![3], 50, Class::Reserved).unwrap();
        let mut batch = vec![4, 5];
        let full = mailbox.append(&mut batch, 5, Class::Ordinary).unwrap_err();
        assert_eq!(full, Full { bytes: 5, held: 6, limit: 10 });
        assert_eq!(batch, [4, 5], "the caller keeps what was refused");
        mailbox.append(&mut batch, 4, Class::Ordinary).unwrap();
        assert!(batch.is_empty());
        let status = mailbox.status();
        assert_eq!((status.held, status.reserved, status.items, status.refused), (10, 50, 5, 1));
        assert_eq!(ledger.held_by(Owner::Mailboxes), 60);
        let _ = mailbox.drain(&mut into, 1);
        assert_eq!(mailbox.status().held, 10, "half a batch gives nothing back");
        let _ = mailbox.drain(&mut into, 2);
        assert_eq!((mailbox.status().held, mailbox.status().reserved), (4, 0));
        assert_eq!(ledger.used(), 4);
        drop(mailbox);
        assert_eq!(ledger.used(), 0, "what was never read is given back too");
    }

    #[test]
    fn room_is_told_once_at_half() {
        let mailbox = mailbox(&Ledger::new(1_000));
        let mut into = Vec::new();
        mailbox.append(&mut vec![1], 5, Class::Ordinary).unwrap();
        assert!(!mailbox.must_wait(), "at half there is room");
        mailbox.append(&mut vec![2], 1, Class::Ordinary).unwrap();
        mailbox.append(&mut vec![3], 3, Class::Ordinary).unwrap();
        assert!(mailbox.must_wait());
        assert_eq!(mailbox.drain(&mut into, 1), Drained { more: true, room: true });
        assert_eq!(mailbox.drain(&mut into, 1), Drained { more: true, room: false });
    }

    #[test]
    fn a_burst_leaves_no_storage_behind() {
        let mailbox = Mailbox::new(usize::MAX, &Ledger::new(1_000), Silent);
        let mut into = Vec::new();
        mailbox.append(&mut vec![0; 100_000], 1, Class::Ordinary).unwrap();
        let _ = mailbox.drain(&mut into, usize::MAX);
        assert!(mailbox.lock().items.capacity() < 2 * KEPT);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::{Arc, Notify};
    use loom::thread;

    impl Wake for Arc<Notify> {
        fn wake(&self) {
            self.notify();
        }
    }

    fn explore(body: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(body);
    }

    /// Reads as a shard does: sleeps until woken, comes back by itself while more remains. A lost wake is a
    /// deadlock, which loom reports.
    fn read(mailbox: &Mailbox<u32, Arc<Notify>>, expected: usize) -> (Vec<u32>, usize) {
        let (mut into, mut rooms) = (Vec::new(), 0);
        while into.len() < expected {
            mailbox.wake.wait();
            while {
                let drained = mailbox.drain(&mut into, 1);
                rooms += usize::from(drained.room);
                drained.more
            } {}
        }
        (into, rooms)
    }

    #[test]
    fn no_wake_is_lost() {
        explore(|| {
            let mailbox = Arc::new(Mailbox::new(10, &Ledger::new(100), Arc::new(Notify::new())));
            let producers: Vec<_> = [1, 2]
                .map(|item| {
                    let mailbox = mailbox.clone();
                    thread::spawn(move || mailbox.append(&mut vec![item], 1, Class::Ordinary).unwrap())
                })
                .into();
            let (mut read, _) = read(&mailbox, 2);
            read.sort_unstable();
            assert_eq!(read, [1, 2]);
            for producer in producers {
                producer.join().unwrap();
            }
        });
    }

    #[test]
    fn no_sign_of_room_is_lost() {
        explore(|| {
            let mailbox = Arc::new(Mailbox::new(4, &Ledger::new(100), Arc::new(Notify::new())));
            let producer = {
                let mailbox = mailbox.clone();
                thread::spawn(move || {
                    mailbox.append(&mut vec![1], 2, Class::Ordinary).unwrap();
                    mailbox.append(&mut vec![2], 2, Class::Ordinary).unwrap();
                    mailbox.must_wait()
                })
            };
            let (read, rooms) = read(&mailbox, 2);
            assert_eq!(read, [1, 2]);
            assert_eq!(rooms, usize::from(producer.join().unwrap()), "each asking is answered once");
        });
    }
}

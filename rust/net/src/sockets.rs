//! Receives writes from the shard and readiness from Tokio · hands bytes to the kernel and ready places to the
//! driver · owns one shard's sockets.
//!
//! There is no task per connection: each socket has a waker that puts its place into one list, which the
//! shard's driver works off once a turn.

mod encrypted;

use std::io::IoSlice;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use streamconductor_core::shard::securing::Secured;
use streamconductor_core::wire::{Wire, Wrote};
use tokio::io::ReadBuf;

use crate::inbox::Alarm;
use crate::stream::Stream;
use crate::tls::{Encryption, Scratch};

/// Places whose socket may be read or written, from the wakers to the driver.
#[derive(Default)]
struct ReadyList {
    // Only ever locked by the shard's own thread (Tokio wakes from its park), so never contended; a waker
    // must be `Send` all the same.
    places: Mutex<Vec<u32>>,
    alarm: Alarm,
}

impl ReadyList {
    fn push(&self, index: u32) {
        if self.add(index) {
            self.alarm.ring();
        }
    }

    /// Adds a place that the turn at hand looks at. True: it is the first.
    fn add(&self, index: u32) -> bool {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.push(index);
        places.len() == 1
    }
}

struct Place {
    index: u32,
    list: Arc<ReadyList>,
    /// Whether it stands in the list, where nobody may stand twice: a socket that is never empty would otherwise have
    /// more and more turns, and those behind it would wait longer and longer.
    is_listed: AtomicBool,
}

impl Place {
    fn list(&self) {
        // On one thread only, as above.
        if !self.is_listed.swap(true, Ordering::Relaxed) {
            self.list.push(self.index);
        }
    }
}

impl Wake for Place {
    fn wake(self: Arc<Self>) {
        self.list();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.list();
    }
}

struct Socket {
    stream: Stream,
    /// `None`: its bytes are plain.
    encryption: Option<Box<Encryption>>,
    place: Arc<Place>,
    waker: Waker,
    is_reading: bool,
    awaits_write: bool,
    /// Writing ends as soon as what is encrypted has gone out.
    is_ending: bool,
}

/// What reading brought.
pub enum Read {
    /// That many bytes, and whether there may be more at once.
    Bytes(usize, bool),
    /// Bytes that are worth nothing yet, such as half a TLS record; otherwise as `Bytes`.
    Heard(bool),
    /// TLS is established; otherwise as `Bytes`.
    Secured(Secured, usize, bool),
    /// No TLS will come of it.
    Unsecured,
    /// Nothing now; the place comes back into the list when there is something.
    Nothing,
    /// The peer ended, or the socket failed.
    Ended,
}

/// The sockets of one shard by place.
pub struct Sockets {
    table: Vec<Option<Box<Socket>>>,
    ready: Arc<ReadyList>,
    /// Made for the first socket that is encrypted.
    scratch: Option<Box<Scratch>>,
}

impl Sockets {
    /// No sockets; `alarm` wakes the driver.
    pub fn new(alarm: Alarm) -> Self {
        let ready = Arc::new(ReadyList { places: Mutex::default(), alarm });
        Self { table: Vec::new(), ready, scratch: None }
    }

    /// Takes a socket in. It is looked at in this very turn: most clients have sent already.
    pub fn insert(&mut self, index: u32, stream: Stream, encryption: Option<Box<Encryption>>) {
        let position = index as usize;
        if position >= self.table.len() {
            self.table.resize_with(position + 1, || None);
        }
        let place = Place { index, list: Arc::clone(&self.ready), is_listed: AtomicBool::new(true) };
        let place = Arc::new(place);
        self.ready.add(index);
        let waker = Waker::from(Arc::clone(&place));
        let socket = Socket {
            stream,
            encryption,
            place,
            waker,
            is_reading: true,
            awaits_write: false,
            is_ending: false,
        };
        if let Some(free) = self.table.get_mut(position) {
            *free = Some(Box::new(socket));
        }
    }

    /// Moves the ready places to `into`.
    pub fn take_ready(&self, into: &mut Vec<u32>) {
        into.append(&mut self.ready.places.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// A place of the list has its turn: whatever happens to its socket from now on puts it there anew.
    pub fn begin(&mut self, index: u32) {
        if let Some(socket) = self.get(index) {
            socket.place.is_listed.store(false, Ordering::Relaxed);
        }
    }

    /// Puts a place into the list for the next turn.
    pub fn look_again(&mut self, index: u32) {
        if let Some(socket) = self.get(index) {
            socket.place.list();
        }
    }

    /// Reads once, at most `most` bytes. After a short read Tokio knows that the socket is empty, so asking again costs
    /// no call.
    pub fn read(&mut self, index: u32, into: &mut [u8], most: usize) -> Read {
        let Some(socket) = at(&mut self.table, index) else {
            return Read::Nothing;
        };
        if !socket.is_reading {
            return Read::Nothing;
        }
        if socket.encryption.is_some() {
            return socket.read_tls(self.scratch.get_or_insert_default(), into, most);
        }
        let mut context = Context::from_waker(&socket.waker);
        let most = most.min(into.len());
        let mut buffer = ReadBuf::new(into.get_mut(..most).unwrap_or_default());
        match socket.stream.poll_read(&mut context, &mut buffer) {
            Poll::Pending => Read::Nothing,
            Poll::Ready(Err(_)) => Read::Ended,
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => Read::Ended,
            Poll::Ready(Ok(())) => Read::Bytes(buffer.filled().len(), buffer.remaining() == 0),
        }
    }

    /// Registers for the next readiness; a socket that is ready already comes back next turn.
    pub fn watch(&mut self, index: u32) {
        let Some(socket) = self.get(index) else { return };
        let mut context = Context::from_waker(&socket.waker);
        if socket.is_reading && socket.stream.poll_read_ready(&mut context).is_ready() {
            socket.place.list();
        }
    }

    /// Whether a socket that was full takes bytes again.
    pub fn became_writable(&mut self, index: u32) -> bool {
        let Some(socket) = at(&mut self.table, index) else {
            return false;
        };
        if !socket.awaits_write {
            return false;
        }
        if socket.encryption.is_some() {
            return socket.flush_tls(self.scratch.get_or_insert_default());
        }
        let mut context = Context::from_waker(&socket.waker);
        let is_writable = socket.stream.poll_write_ready(&mut context).is_ready();
        socket.awaits_write = !is_writable;
        is_writable
    }

    fn get(&mut self, index: u32) -> Option<&mut Socket> {
        at(&mut self.table, index)
    }
}

/// Apart from the other parts of [`Sockets`], which a call may need as well.
fn at(table: &mut [Option<Box<Socket>>], index: u32) -> Option<&mut Socket> {
    table.get_mut(index as usize)?.as_deref_mut()
}

impl Wire for Sockets {
    fn write(&mut self, index: u32, slices: &[IoSlice<'_>]) -> Wrote {
        let Some(socket) = at(&mut self.table, index) else {
            return Wrote::Failed;
        };
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        if socket.encryption.is_some() {
            return socket.write_tls(self.scratch.get_or_insert_default(), slices, offered);
        }
        let mut context = Context::from_waker(&socket.waker);
        let wrote = match slices {
            // A plain write is cheaper than a vectored one of a single part.
            [slice] => socket.stream.poll_write(&mut context, slice),
            slices => socket.stream.poll_write_vectored(&mut context, slices),
        };
        match wrote {
            Poll::Pending => {
                socket.awaits_write = true;
                Wrote::Blocked
            }
            Poll::Ready(Err(_)) => Wrote::Failed,
            Poll::Ready(Ok(count)) => {
                if count < offered {
                    socket.awaits_write = true;
                    if socket.stream.poll_write_ready(&mut context).is_ready() {
                        socket.place.list();
                    }
                }
                Wrote::Took(count)
            }
        }
    }

    fn shut_down(&mut self, index: u32) {
        let Some(socket) = at(&mut self.table, index) else { return };
        if socket.encryption.is_some() {
            return socket.end_tls(self.scratch.get_or_insert_default());
        }
        // Fails only when the peer has ended already, which reading will tell.
        let _ = socket.stream.shut_down();
    }

    fn set_reading(&mut self, index: u32, reading: bool) {
        let Some(socket) = self.get(index) else { return };
        let starts = reading && !socket.is_reading;
        socket.is_reading = reading;
        if starts {
            socket.place.list();
        }
    }

    fn release(&mut self, index: u32, reset: bool) {
        let Some(mut socket) = self.table.get_mut(index as usize).and_then(Option::take) else { return };
        if !reset && !socket.is_ending && socket.encryption.is_some() {
            // The peer's close_notify is answered (RFC 5246 §7.2.1), if there is room for it.
            socket.end_tls(self.scratch.get_or_insert_default());
        }
        if reset {
            // A linger of zero turns the close into RST. Where that fails the close is orderly, which is no harm.
            let _ = socket.stream.set_linger(Some(Duration::ZERO));
        }
    }
}

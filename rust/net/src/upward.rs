//! Receives events from all shards · hands them to the application's loop in batches · owns the one door up.

use std::mem::size_of;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use streamconductor_core::ledger::Ledger;
use streamconductor_core::shard::event::Event;

use crate::doorbell::Doorbell;
use crate::mailbox::{Drained, Mailbox, Status, Wake};

/// The events of all shards for one application loop.
///
/// No limit of its own: messages are bounded per connection by `max_inbound`, and of lifecycle events there
/// are a few for each connection that the application knows, which are bounded in number.
pub struct Upward {
    mailbox: Mailbox<Event, Arc<Doorbell>>,
    doorbell: Arc<Doorbell>,
    room: AtomicBool,
}

impl Upward {
    /// An empty mailbox that rings `doorbell`.
    pub fn new(ledger: &Ledger, doorbell: Arc<Doorbell>) -> Self {
        let mailbox = Mailbox::new(usize::MAX, ledger, Arc::clone(&doorbell));
        Self { mailbox, doorbell, room: AtomicBool::new(false) }
    }

    /// Appends a turn's events and rings if the loop sleeps.
    pub fn append(&self, events: &mut Vec<Event>) {
        let bytes = events.len() * size_of::<Event>();
        // Cannot be refused without a limit.
        let _ = self.mailbox.append(events, bytes, crate::mailbox::Class::Reserved);
    }

    /// Tells those who wait with a publication that a shard has room again.
    pub fn tell_room(&self) {
        self.room.store(true, Ordering::Release);
        self.doorbell.wake();
    }

    /// Rings for what lies elsewhere; the loop looks there at its next drain.
    pub fn ring(&self) {
        self.doorbell.wake();
    }

    /// Whether room was told since the last call.
    pub fn take_room(&self) -> bool {
        self.room.swap(false, Ordering::AcqRel)
    }

    /// Moves at most `max` events to `into`; silences the doorbell first, so that none is missed.
    pub fn drain(&self, into: &mut Vec<Event>, max: usize) -> Drained {
        self.doorbell.clear();
        self.mailbox.drain(into, max)
    }

    /// The descriptor's owner.
    pub fn doorbell(&self) -> &Arc<Doorbell> {
        &self.doorbell
    }

    /// What it holds and has seen.
    pub fn status(&self) -> Status {
        self.mailbox.status()
    }
}

//! Receives what shards write · hands out as much room as the test says · owns sockets in memory, which fail the test
//! when they are used in a way that no socket may be.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::IoSlice;
use std::rc::Rc;

use streamconductor_core::wire::{Wire, Wrote};

/// How much a socket takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    All,
    /// This many bytes more.
    Bytes(usize),
    Blocked,
    Failed,
}

/// One socket: what the server wrote, and what the client sent and the server has not read.
#[allow(clippy::struct_excessive_bools, reason = "each is one fact about a socket")]
pub struct Socket {
    pub room: Room,
    pub written: Vec<u8>,
    pub unread: Vec<u8>,
    pub is_reading: bool,
    /// The client ended its direction.
    pub has_ended: bool,
    pub is_shut: bool,
    /// The server let go; true: with a reset.
    pub released: Option<bool>,
    /// The server met a full socket and waits for `writable`.
    pub awaits_write: bool,
}

impl Default for Socket {
    fn default() -> Self {
        Self {
            room: Room::All,
            written: Vec::new(),
            unread: Vec::new(),
            is_reading: true,
            has_ended: false,
            is_shut: false,
            released: None,
            awaits_write: false,
        }
    }
}

/// The sockets of one shard.
#[derive(Default)]
pub struct Memory {
    pub sockets: BTreeMap<u32, Rc<RefCell<Socket>>>,
}

impl Memory {
    fn socket(&self, index: u32) -> std::cell::RefMut<'_, Socket> {
        self.sockets.get(&index).expect("a socket that was released is used").borrow_mut()
    }
}

impl Wire for Memory {
    fn write(&mut self, index: u32, slices: &[IoSlice<'_>]) -> Wrote {
        let mut socket = self.socket(index);
        assert!(!socket.is_shut, "written after writing was shut");
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        assert!(offered > 0, "an empty write");
        let mut left = match socket.room {
            Room::All => offered,
            Room::Bytes(room) => room.min(offered),
            Room::Blocked => 0,
            Room::Failed => return Wrote::Failed,
        };
        let took = left;
        if let Room::Bytes(room) = socket.room {
            socket.room = if took < room { Room::Bytes(room - took) } else { Room::Blocked };
        }
        socket.awaits_write = took < offered;
        for slice in slices {
            let count = slice.len().min(left);
            socket.written.extend_from_slice(&slice[..count]);
            left -= count;
        }
        if took == 0 { Wrote::Blocked } else { Wrote::Took(took) }
    }

    fn shut_down(&mut self, index: u32) {
        let mut socket = self.socket(index);
        assert!(!socket.is_shut, "shut twice");
        socket.is_shut = true;
    }

    fn set_reading(&mut self, index: u32, reading: bool) {
        self.socket(index).is_reading = reading;
    }

    fn release(&mut self, index: u32, reset: bool) {
        self.socket(index).released = Some(reset);
        self.sockets.remove(&index);
    }
}

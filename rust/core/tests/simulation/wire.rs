//! Receives what shards write and what clients send · hands each side the other's bytes · owns sockets in memory,
//! which take as much as the test says, and clients that check every byte they get.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::IoSlice;
use std::rc::Rc;

use streamconductor_core::close::CloseCode;
use streamconductor_core::codec::{Codec, CodecLimits, Control, Item, Kind, Opcode, Role, encode_frame};
use streamconductor_core::id::ConnectionId;
use streamconductor_core::wire::{Wire, Wrote};

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

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

/// What a client got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(u16, String),
}

/// The other end of a socket. It fails the test on a byte that no server may send.
pub struct Client {
    pub id: ConnectionId,
    pub socket: Rc<RefCell<Socket>>,
    codec: Codec,
    consumed: usize,
    head: Option<String>,
    /// Complete messages so far.
    pub messages: u64,
    is_closed: bool,
}

impl Client {
    pub fn new(id: ConnectionId, socket: Rc<RefCell<Socket>>) -> Self {
        let codec = Codec::new(Role::Client);
        Self { id, socket, codec, consumed: 0, head: None, messages: 0, is_closed: false }
    }

    /// The whole response head (and, of a refusal, its body); empty while none has come.
    pub fn head(&mut self) -> String {
        if self.head.is_none() {
            let socket = self.socket.borrow();
            let text = String::from_utf8_lossy(&socket.written).into_owned();
            if let Some(end) = text.find("\r\n\r\n") {
                let is_upgrade = text.starts_with("HTTP/1.1 101 ");
                self.consumed = if is_upgrade { end + 4 } else { socket.written.len() };
                self.head = Some(if is_upgrade { text[..end].to_owned() } else { text });
            }
        }
        self.head.clone().unwrap_or_default()
    }

    /// The status of the response; 0 while none has come.
    pub fn status(&mut self) -> u16 {
        self.head().get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// What has come since the last call.
    pub fn got(&mut self) -> Vec<Got> {
        let limits = CodecLimits { max_message_size: 1 << 26, max_frame_size: 1 << 26, max_fragments: 1 };
        self.head();
        let mut input = self.socket.borrow().written[self.consumed..].to_vec();
        self.consumed += input.len();
        let (mut rest, mut got) = (&mut input[..], Vec::new());
        while !rest.is_empty() {
            assert!(!self.is_closed, "bytes behind the server's Close");
            let (item, after) = self.codec.decode(&limits, rest).expect("what the server sends is valid");
            rest = after;
            let Some(item) = item else { break };
            got.push(match item {
                Item::Message { kind, payload } => {
                    self.messages += 1;
                    match kind {
                        Kind::Text => Got::Text(String::from_utf8(payload.into_vec()).unwrap()),
                        Kind::Binary => Got::Binary(payload.into_vec()),
                    }
                }
                Item::Ping(payload) => Got::Ping(payload.into_vec()),
                Item::Pong(payload) => Got::Pong(payload.into_vec()),
                Item::Close { code, reason } => {
                    self.is_closed = true;
                    Got::Close(code.map_or(1005, |code| code.0), reason)
                }
            });
        }
        got
    }

    /// The texts among what has come since the last call.
    pub fn texts(&mut self) -> Vec<String> {
        let text = |got| if let Got::Text(text) = got { Some(text) } else { None };
        self.got().into_iter().filter_map(text).collect()
    }

    /// The code of the Close among what has come since the last call; 0: none.
    pub fn close_code(&mut self) -> u16 {
        let code = |got| if let Got::Close(code, _) = got { Some(code) } else { None };
        self.got().into_iter().find_map(code).unwrap_or(0)
    }

    pub fn set_room(&self, room: Room) {
        self.socket.borrow_mut().room = room;
    }

    /// Whether the server reset the socket, let it go in order, or still has it.
    pub fn released(&self) -> Option<bool> {
        self.socket.borrow().released
    }

    pub fn is_shut(&self) -> bool {
        self.socket.borrow().is_shut
    }

    pub fn is_reading(&self) -> bool {
        self.socket.borrow().is_reading
    }
}

/// A client's frame.
pub fn frame(opcode: Opcode, is_final: bool, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_frame(&mut out, opcode, is_final, payload, Some(KEY));
    out
}

pub fn text(payload: &str) -> Vec<u8> {
    frame(Opcode::Data(Kind::Text), true, payload.as_bytes())
}

pub fn control(control: Control, payload: &[u8]) -> Vec<u8> {
    frame(Opcode::Control(control), true, payload)
}

pub fn close(code: CloseCode, reason: &str) -> Vec<u8> {
    control(Control::Close, &[&code.0.to_be_bytes(), reason.as_bytes()].concat())
}

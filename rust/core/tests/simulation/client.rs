//! Receives the bytes of a socket in memory · hands out what a client makes of them, and the frames that it sends ·
//! owns the client's half of the protocol, and fails the test on a byte that no server may send.

use std::cell::RefCell;
use std::rc::Rc;

use streamconductor_core::close::CloseCode;
use streamconductor_core::codec::{Codec, CodecLimits, Control, Item, Kind, Opcode, Role, encode_frame};
use streamconductor_core::deflate::{Compressor, Encoding, WindowBits};
use streamconductor_core::id::ConnectionId;

use super::{Room, Socket};

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

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
    encoding: Encoding,
    /// The head of a 101, once it has come.
    upgraded: Option<String>,
    /// Complete messages so far.
    pub messages: u64,
    is_closed: bool,
}

impl Client {
    pub fn new(id: ConnectionId, socket: Rc<RefCell<Socket>>) -> Self {
        let codec = Codec::new(Role::Client);
        Self {
            id,
            socket,
            codec,
            encoding: Encoding::Raw,
            consumed: 0,
            upgraded: None,
            messages: 0,
            is_closed: false,
        }
    }

    /// The whole response head (and, of a refusal, its body); empty while none has come.
    pub fn head(&mut self) -> String {
        if let Some(head) = &self.upgraded {
            return head.clone();
        }
        let text = String::from_utf8_lossy(&self.socket.borrow().written).into_owned();
        match text.find("\r\n\r\n") {
            Some(end) if text.starts_with("HTTP/1.1 101 ") => {
                self.consumed = end + 4;
                if let Some(agreed) = text[..end].split_once("permessage-deflate;") {
                    self.codec.accept_compressed();
                    let bits = agreed.1.split_once("server_max_window_bits=").map_or(15, |(_, rest)| {
                        rest.split("\r\n").next().and_then(|bits| bits.parse().ok()).unwrap()
                    });
                    self.encoding = Encoding::Deflate(WindowBits::new(bits).unwrap());
                }
                self.upgraded.insert(text[..end].to_owned()).clone()
            }
            Some(_) => text,
            None => String::new(),
        }
    }

    /// What the 101 agreed to; raw before it.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The status of the response; 0 while none has come.
    pub fn status(&mut self) -> u16 {
        self.head().get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// What has come since the last call.
    pub fn got(&mut self) -> Vec<Got> {
        let limits = CodecLimits { max_message_size: 1 << 26, max_frame_size: 1 << 26, max_fragments: 1 };
        if self.upgraded.is_none() && self.status() != 101 {
            return Vec::new();
        }
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

/// A client's compressed message.
pub fn compressed(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    assert!(Compressor::new(WindowBits::MAX).encode_message(&mut out, kind, payload), "it does not shrink");
    // A server's frame becomes a client's by a mask, here one that changes nothing.
    let length = if out[1] < 126 { 2 } else { 4 };
    out[1] |= 0x80;
    out.splice(length..length, [0; 4]);
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

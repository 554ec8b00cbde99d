//! Receives bytes of one transport · hands out the messages among them · owns the client's side of the protocol:
//! opening handshake, pongs, closing handshake.

use std::io;

use streamconductor_core::close::CloseCode;
use streamconductor_core::codec::{
    Codec, Control, Item, Kind, Opcode, Role, close_frame, control_frame, encode_frame,
};

use crate::frames::{KEY, LIMITS};
use crate::opening::{Answer, MAX_HEAD, checked, request};
use crate::transport::{Input, Scratch, Transport};

/// How far the connection is.
#[derive(Debug)]
enum Stage {
    Connecting,
    /// The request is out; so much of the response has come.
    Opening(Vec<u8>),
    Open,
    /// Sent first, or answered.
    Closing,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// The code and reason of the server's Close frame; `None`: there was none.
    pub(crate) close: Option<(u16, String)>,
    /// What the socket or the protocol said, where it was no end in peace.
    pub(crate) fault: Option<String>,
}

/// One connection of a soak.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) transport: Transport,
    stage: Stage,
    path: String,
    codec: Codec,
    close: Option<(u16, String)>,
}

impl Peer {
    pub(crate) fn new(transport: Transport, path: String) -> Self {
        Self { transport, stage: Stage::Connecting, path, codec: Codec::new(Role::Client), close: None }
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open)
    }

    /// The socket is writable.
    pub(crate) fn writable(&mut self) -> Result<(), End> {
        if matches!(self.stage, Stage::Connecting) {
            if !self.io(|peer| peer.transport.is_connected())? {
                return Ok(());
            }
            let address = self.io(|peer| peer.transport.stream.peer_addr())?;
            let request = request(address, &self.path, None);
            self.stage = Stage::Opening(Vec::new());
            return self.io(|peer| peer.transport.send(request.as_bytes()));
        }
        self.io(|peer| peer.transport.flush())
    }

    /// The socket is readable: reads all there is and hands each message to `message`. `to_the_end`: the peer may
    /// have ended its side already, of which no edge tells once more.
    pub(crate) fn readable(
        &mut self,
        scratch: &mut Scratch,
        to_the_end: bool,
        mut message: impl FnMut(&[u8]),
    ) -> Result<(), End> {
        if matches!(self.stage, Stage::Connecting) {
            // An error shows as readable first; success as writable.
            return self.io(|peer| peer.transport.is_connected()).map(|_| ());
        }
        loop {
            let input = self.transport.read(scratch, usize::MAX);
            match input {
                Ok(Input::Nothing) => return Ok(()),
                Ok(Input::End) => return Err(self.ended(None)),
                Ok(Input::Bytes { bytes, is_more }) => {
                    self.receive(bytes, &mut message)?;
                    if !is_more && !to_the_end {
                        return Ok(());
                    }
                }
                Err(error) => return Err(self.ended(Some(error.to_string()))),
            }
        }
    }

    fn receive(&mut self, input: &mut [u8], message: &mut impl FnMut(&[u8])) -> Result<(), End> {
        let Stage::Opening(head) = &mut self.stage else { return self.decode(input, message) };
        head.extend_from_slice(input);
        match checked(head) {
            Ok(Some(Answer { head: length, .. })) => {
                let mut early = head.split_off(length);
                self.stage = Stage::Open;
                self.decode(&mut early, message)
            }
            Ok(None) if head.len() <= MAX_HEAD => Ok(()),
            Ok(None) => Err(self.ended(Some(format!("a response head of more than {MAX_HEAD} bytes")))),
            Err(reason) => Err(self.ended(Some(reason))),
        }
    }

    fn decode(&mut self, input: &mut [u8], message: &mut impl FnMut(&[u8])) -> Result<(), End> {
        let mut rest = input;
        // Whatever follows a Close frame is no frame any more.
        while self.close.is_none() {
            let (item, remaining) = match self.codec.decode(&LIMITS, rest) {
                Ok(decoded) => decoded,
                Err(violation) => return Err(self.ended(Some(violation.to_string()))),
            };
            rest = remaining;
            match item {
                Some(Item::Message { payload, .. }) => message(&payload),
                Some(Item::Ping(payload)) => {
                    let pong = control_frame(Control::Pong, &payload, Some(KEY));
                    self.io(|peer| peer.transport.send(&pong))?;
                }
                Some(Item::Pong(_)) => {}
                Some(Item::Close { code, reason }) => {
                    let code = code.unwrap_or(CloseCode::NO_STATUS);
                    self.close = Some((code.0, reason));
                    if self.is_open() {
                        let answer = close_frame(Some(code), "", Some(KEY));
                        self.stage = Stage::Closing;
                        self.io(|peer| peer.transport.send(&answer))?;
                    }
                    // Who answers ends its stream too (RFC 6455 §7.1.1 has the server end first; it does, on ours).
                    self.transport.finish();
                }
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Sends one text message.
    pub(crate) fn send(&mut self, payload: &[u8]) -> Result<(), End> {
        let mut frame = Vec::with_capacity(payload.len() + 16);
        encode_frame(&mut frame, Opcode::Data(Kind::Text), true, payload, Some(KEY));
        self.io(|peer| peer.transport.send(&frame))
    }

    /// Sends Close 1000.
    pub(crate) fn close(&mut self) -> Result<(), End> {
        if !self.is_open() {
            return Ok(());
        }
        self.stage = Stage::Closing;
        let frame = close_frame(Some(CloseCode::NORMAL), "", Some(KEY));
        self.io(|peer| peer.transport.send(&frame))
    }

    fn io<T>(&mut self, call: impl FnOnce(&mut Self) -> io::Result<T>) -> Result<T, End> {
        call(self).map_err(|error| self.ended(Some(error.to_string())))
    }

    fn ended(&self, fault: Option<String>) -> End {
        End { close: self.close.clone(), fault }
    }
}

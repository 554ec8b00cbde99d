//! Receives bytes of one socket from the driver · hands messages to the scenario and frames to the socket · owns
//! the socket, its codec and what the kernel did not take.

use std::io::{self, ErrorKind, Read, Write};
use std::net;
use std::time::Instant;

use mio::net::TcpStream;
use streamconductor_core::close::CloseCode;
use streamconductor_core::codec::{
    Codec, CodecLimits, Control, Item, Kind, Opcode, Role, close_frame, control_frame, encode_frame,
};

use crate::failure::Failure;

/// What masks every frame. A test client's key need not be unpredictable (RFC 6455 §10.3 protects proxies), so
/// a frame may be encoded once and sent often; but it is not zero, which some servers need not unmask.
pub(crate) const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// A server that sends more than this in one message is not measured here.
pub(crate) const LIMITS: CodecLimits =
    CodecLimits { max_message_size: 1 << 24, max_frame_size: 1 << 24, max_fragments: 1024 };

/// Appends one text message as a client's frame to `out`.
pub(crate) fn text_frame(out: &mut Vec<u8>, payload: &[u8]) {
    encode_frame(out, Opcode::Data(Kind::Text), true, payload, Some(KEY));
}

/// One open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    codec: Codec,
    /// What the kernel did not take yet.
    unsent: Vec<u8>,
    number: usize,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, number: usize) -> Self {
        Self { stream, codec: Codec::new(Role::Client), unsent: Vec::new(), number }
    }

    /// Reads once; `None`: nothing is there.
    pub(crate) fn read(&mut self, scratch: &mut [u8]) -> Result<Option<usize>, Failure> {
        loop {
            match self.stream.read(scratch) {
                Ok(0) => return Err(self.ended(String::new())),
                Ok(length) => return Ok(Some(length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Hands each message in `input` to `message`, and answers pings.
    pub(crate) fn receive(
        &mut self,
        input: &mut [u8],
        mut message: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut rest = input;
        loop {
            let (item, remaining) = self.codec.decode(&LIMITS, rest)?;
            rest = remaining;
            match item {
                Some(Item::Message { payload, .. }) => message(&payload)?,
                Some(Item::Ping(payload)) => self.send(&control_frame(Control::Pong, &payload, Some(KEY)))?,
                Some(Item::Pong(_)) => {}
                Some(Item::Close { code, reason }) => {
                    let code = code.map_or(1005, |code| code.0);
                    return Err(self.ended(format!(" with {code} {reason:?}")));
                }
                None => return Ok(()),
            }
        }
    }

    /// Sends frames now; what the kernel does not take goes out when the socket is writable again.
    pub(crate) fn send(&mut self, frames: &[u8]) -> Result<(), Failure> {
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(frames);
            return Ok(());
        }
        let taken = self.write(frames)?;
        self.unsent.extend_from_slice(frames.get(taken..).unwrap_or_default());
        Ok(())
    }

    /// The socket is writable: sends what is left.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let unsent = std::mem::take(&mut self.unsent);
        self.send(&unsent)
    }

    /// Sends Close, and hands the socket out for whoever waits for the server to end it.
    pub(crate) fn close(mut self) -> io::Result<net::TcpStream> {
        let frame = close_frame(Some(CloseCode::NORMAL), "", Some(KEY));
        // Behind an unfinished frame a Close would be payload; then the end of the stream has to do.
        if self.unsent.is_empty() {
            self.stream.write_all(&frame)?;
        }
        let stream = net::TcpStream::from(self.stream);
        stream.set_nonblocking(false)?;
        Ok(stream)
    }

    fn write(&mut self, frames: &[u8]) -> Result<usize, Failure> {
        let mut taken = 0;
        while let Some(rest) = frames.get(taken..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(length) => taken += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(taken)
    }

    fn ended(&self, detail: String) -> Failure {
        Failure::Ended { connection: self.number, detail }
    }
}

/// Waits, at most until `deadline`, for the server to end a connection on which Close was sent; what still
/// comes is discarded.
pub(crate) fn await_end(mut stream: net::TcpStream, scratch: &mut [u8], deadline: Instant) {
    loop {
        let remaining = deadline.saturating_duration_since(Instant::now());
        if remaining.is_zero() || stream.set_read_timeout(Some(remaining)).is_err() {
            return;
        }
        match stream.read(scratch) {
            Ok(length) if length > 0 => {}
            // The end, a reset or too late: nothing depends on which.
            _ => return,
        }
    }
}

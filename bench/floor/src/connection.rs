//! Receives bytes and room of one socket · hands out what was read, and writes · owns what is unfinished in either
//! direction.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

/// What a connection is there for, by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Its head has not come.
    Opening,
    /// Messages come back.
    Echo,
    /// Receives what is published.
    Subscriber,
    /// Its messages are published.
    Publisher,
    /// Nothing.
    Idle,
}

impl Purpose {
    /// The purpose of a path.
    pub fn of(path: &str) -> Self {
        match path {
            "/echo" | "/echo-callback" => Self::Echo,
            "/fanout" => Self::Subscriber,
            "/control" => Self::Publisher,
            _ => Self::Idle,
        }
    }
}

/// One socket.
#[derive(Debug)]
pub struct Connection {
    /// It.
    pub stream: TcpStream,
    /// What for.
    pub purpose: Purpose,
    /// The beginning of a head or of a frame.
    pub unfinished: Vec<u8>,
    unsent: Vec<u8>,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The socket has it all.
    All,
    /// The rest waits for room, and there was none that waited before.
    Waits,
    /// The rest waits as others did already.
    Queued,
}

impl Connection {
    /// A connection that was accepted.
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, purpose: Purpose::Opening, unfinished: Vec::new(), unsent: Vec::new() }
    }

    /// Reads once behind what is unfinished, which is first in `scratch` afterwards; `None`: the socket has ended.
    pub fn read(&mut self, scratch: &mut [u8]) -> Option<usize> {
        let kept = self.unfinished.len();
        scratch.get_mut(..kept)?.copy_from_slice(&self.unfinished);
        self.unfinished.clear();
        match self.stream.read(scratch.get_mut(kept..)?) {
            Ok(0) => None,
            Ok(length) => Some(kept + length),
            Err(error) if waits(&error) => Some(kept),
            Err(_) => None,
        }
    }

    /// Writes, or keeps what the socket does not take.
    ///
    /// # Errors
    /// The socket has failed.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<Written> {
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(bytes);
            return Ok(Written::Queued);
        }
        let taken = match self.stream.write(bytes) {
            Err(error) if waits(&error) => 0,
            result => result?,
        };
        let rest = bytes.get(taken..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(Written::All);
        }
        self.unsent.extend_from_slice(rest);
        Ok(Written::Waits)
    }

    /// There is room: writes what waits.
    ///
    /// # Errors
    /// The socket has failed.
    pub fn flush(&mut self) -> io::Result<Written> {
        let unsent = std::mem::take(&mut self.unsent);
        self.write(&unsent)
    }
}

fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

//! Receives readiness of one socket · hands out when it is open and the messages that come · owns how far a connection
//! is: connecting, TLS and opening handshake, open, closing.

use std::io;
use std::time::Instant;

use mio::net::TcpStream;
use streamconductor_core::close::CloseCode;
use streamconductor_core::codec::{Codec, Control, Item, Role, close_frame, control_frame};
use streamconductor_core::deflate::Inflater;

use crate::faults::{Fault, Sort};
use crate::frames::{KEY, LIMITS};
use crate::opening::{Answer, MAX_HEAD, checked};
use crate::transport::{Input, Scratch, Transport};

/// How far a connection is.
#[derive(Debug)]
enum Stage {
    Connecting,
    /// The request is out; so much of the response has come.
    Opening(Vec<u8>),
    Open,
    /// Our Close is out; whatever comes is discarded.
    Closing,
}

/// What comes beside messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Ping,
    Pong,
}

/// Takes what comes on a connection.
pub(crate) trait Listener {
    /// It is open; `answer`: what the server chose. Returns what the codec must know.
    fn opened(&mut self, answer: &Answer) -> Result<Compressed, Fault>;
    /// A message; `Err`: it is not what was due.
    fn message(&mut self, payload: &[u8]) -> Result<(), String>;
    /// A ping, which is answered, or a pong.
    fn heard(&mut self, heard: Heard);
    /// What inflates; `None`: nobody looks at messages.
    fn inflater(&mut self) -> Option<&mut Inflater>;
}

/// Whether permessage-deflate was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compressed {
    No,
    Yes,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Link {
    transport: Transport,
    stage: Stage,
    codec: Codec,
    /// Which of a run's connections it is; a place has one after the other.
    pub(crate) identity: u64,
    /// When it began to connect.
    pub(crate) began: Instant,
    /// Whether it reads.
    pub(crate) is_paused: bool,
    close: Option<(u16, String)>,
}

impl Link {
    pub(crate) fn new(transport: Transport, identity: u64, began: Instant) -> Self {
        let codec = Codec::new(Role::Client);
        Self { transport, stage: Stage::Connecting, codec, identity, began, is_paused: false, close: None }
    }

    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.transport.stream
    }

    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open)
    }

    pub(crate) fn is_opening(&self) -> bool {
        matches!(self.stage, Stage::Connecting | Stage::Opening(_))
    }

    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.stage, Stage::Closing)
    }

    pub(crate) fn unsent(&self) -> usize {
        self.transport.unsent()
    }

    /// The socket is writable.
    pub(crate) fn writable(&mut self, request: &[u8]) -> Result<(), Fault> {
        if matches!(self.stage, Stage::Connecting) {
            if !self.transport.is_connected().map_err(|error| self.broken(&error))? {
                return Ok(());
            }
            self.stage = Stage::Opening(Vec::new());
            return self.send(request);
        }
        self.transport.flush().map_err(|error| self.broken(&error))
    }

    /// The socket is readable: reads once and hands on what came. Returns whether there may be more.
    #[inline]
    pub(crate) fn readable(
        &mut self,
        scratch: &mut Scratch,
        most: usize,
        listener: &mut impl Listener,
    ) -> Result<bool, Fault> {
        if matches!(self.stage, Stage::Connecting) {
            // An error shows as readable first; success as writable.
            self.transport.is_connected().map_err(|error| self.broken(&error))?;
            return Ok(false);
        }
        match self.transport.read(scratch, most) {
            Ok(Input::Nothing) => Ok(false),
            Ok(Input::End) => Err(self.ended()),
            Ok(Input::Bytes { bytes, is_more }) => {
                match &self.stage {
                    Stage::Open => self.decode(bytes, listener)?,
                    Stage::Closing => {}
                    _ => self.respond(bytes, listener)?,
                }
                Ok(is_more)
            }
            Err(error) => Err(self.broken(&error)),
        }
    }

    fn respond(&mut self, input: &[u8], listener: &mut impl Listener) -> Result<(), Fault> {
        let Stage::Opening(head) = &mut self.stage else { return Ok(()) };
        head.extend_from_slice(input);
        match checked(head) {
            Ok(Some(answer)) => {
                let mut early = head.split_off(answer.head);
                self.stage = Stage::Open;
                if listener.opened(&answer)? == Compressed::Yes {
                    self.codec.accept_compressed();
                }
                self.decode(&mut early, listener)
            }
            Ok(None) if head.len() <= MAX_HEAD => Ok(()),
            Ok(None) => Err(refused(format!("a response head of more than {MAX_HEAD} bytes"))),
            Err(reason) => Err(refused(reason)),
        }
    }

    #[inline]
    fn decode(&mut self, input: &mut [u8], listener: &mut impl Listener) -> Result<(), Fault> {
        let mut rest = input;
        loop {
            let decoded = self.codec.decode_with(&LIMITS, listener.inflater(), rest);
            let (item, remaining) = decoded.map_err(|violation| {
                Fault::new(Sort::Violation, format!("protocol violation: {violation}"))
            })?;
            rest = remaining;
            match item {
                Some(Item::Message { payload, .. }) => {
                    listener.message(&payload).map_err(|text| Fault::new(Sort::Wrong, text))?;
                }
                Some(Item::Ping(payload)) => {
                    let pong = control_frame(Control::Pong, &payload, Some(KEY));
                    self.transport.send(&pong).map_err(|error| self.broken(&error))?;
                    listener.heard(Heard::Ping);
                }
                Some(Item::Pong(_)) => listener.heard(Heard::Pong),
                Some(Item::Close { code, reason }) => {
                    let code = code.unwrap_or(CloseCode::NO_STATUS);
                    self.close = Some((code.0, reason));
                    let answered = (code != CloseCode::NO_STATUS).then_some(code);
                    // The fault that follows is the server's; ours of not reaching it adds nothing.
                    let _ = self.transport.send(&close_frame(answered, "", Some(KEY)));
                    self.transport.finish();
                    return Err(self.ended());
                }
                None => return Ok(()),
            }
        }
    }

    /// Sends frames now; what the kernel does not take goes out when the socket is writable again.
    #[inline]
    pub(crate) fn send(&mut self, frames: &[u8]) -> Result<(), Fault> {
        self.transport.send(frames).map_err(|error| self.broken(&error))
    }

    /// Sends Close 1000; the server ends the connection.
    pub(crate) fn close(&mut self) -> Result<(), Fault> {
        self.stage = Stage::Closing;
        self.is_paused = false;
        self.send(&close_frame(Some(CloseCode::NORMAL), "", Some(KEY)))
    }

    /// Ends it with a reset.
    pub(crate) fn cut(self) {
        self.transport.reset();
    }

    fn broken(&self, error: &io::Error) -> Fault {
        let sort = if self.is_opening() { Sort::Refused } else { Sort::Ended };
        Fault::new(sort, error.to_string())
    }

    fn ended(&self) -> Fault {
        match (&self.close, self.is_opening()) {
            (_, true) => refused("the server ended the connection".to_owned()),
            (None, _) => Fault::new(Sort::Ended, "the server ended the connection without a Close frame"),
            (Some((code, reason)), _) => {
                Fault::new(Sort::Ended, format!("the server ended the connection with {code} {reason:?}"))
            }
        }
    }
}

fn refused(reason: String) -> Fault {
    Fault::new(Sort::Refused, reason)
}

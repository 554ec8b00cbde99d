//! Receives the address of a fuzzing server · plays every case of it as a client that sends back what it gets · owns
//! the client's half of the protocol there: masks, pongs, closing codes.
//!
//! It is a plain loop over the core's codec in the client's role, one blocking socket after the other: here nothing is
//! measured but what the codec takes for right and wrong.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde::Serialize;
use streamconductor_core::close::CloseCode;
use streamconductor_core::codec::{
    Codec, CodecLimits, Control, Item, Opcode, Role, close_frame, control_frame, encode_frame,
};

use crate::deflating::{Deflating, OFFER};
use crate::failure::Failure;
use crate::opening::{self, Opened};

/// The largest case sends 16 MiB in one message, and 4 MiB in frames of 64 bytes.
const LIMITS: CodecLimits =
    CodecLimits { max_message_size: 64 << 20, max_frame_size: 64 << 20, max_fragments: 1 << 20 };

const SCRATCH: usize = 256 * 1024;

/// A fuzzing server that is silent for longer than this has no case that takes so long.
const SILENCE: Duration = Duration::from_mins(1);

/// RFC 6455 §7.1.1: the server ends the TCP connection; after this long the client does it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What to play.
#[derive(Clone, Debug)]
pub struct Conformance {
    /// The fuzzing server.
    pub address: SocketAddr,
    /// The name that the results are kept under.
    pub agent: String,
}

/// What was played. How it went is the fuzzing server's to say.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Played {
    /// Cases.
    pub cases: usize,
}

/// Plays all cases, then has the reports written.
///
/// # Errors
/// [`Failure`]: the fuzzing server could not be reached, or said something else than what it must. What goes wrong
/// within a case is a result, and stands in the reports.
pub fn run(conformance: &Conformance) -> Result<Played, Failure> {
    let Conformance { address, agent } = conformance;
    let answer = Peer::open(*address, "/getCaseCount")?.talk(Manner::Listen);
    let cases: usize = std::str::from_utf8(&answer)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| Failure::Silence("the fuzzing server does not say how many cases it has".into()))?;
    for case in 1..=cases {
        Peer::open(*address, &format!("/runCase?case={case}&agent={agent}"))?.talk(Manner::Echo);
    }
    Peer::open(*address, &format!("/updateReports?agent={agent}"))?.talk(Manner::Listen);
    Ok(Played { cases })
}

/// What is done with messages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// They are sent back.
    Echo,
    /// They are kept.
    Listen,
}

/// Whether the conversation goes on.
enum Then {
    GoOn,
    /// Our Close is out, and nothing that follows counts.
    Over,
}

struct Peer {
    stream: TcpStream,
    codec: Codec,
    /// What came together with the 101.
    early: Vec<u8>,
    /// If the server agreed to it.
    deflating: Option<Deflating>,
}

impl Peer {
    fn open(address: SocketAddr, path: &str) -> Result<Self, Failure> {
        let Opened { stream, early, extensions } = opening::offering(address, path, Some(OFFER))?;
        stream.set_read_timeout(Some(SILENCE))?;
        let mut codec = Codec::new(Role::Client);
        let deflating = extensions.map(|answer| Deflating::agreed(path, &answer)).transpose()?;
        if deflating.is_some() {
            codec.accept_compressed();
        }
        Ok(Self { stream, codec, early, deflating })
    }

    /// Talks until one side closes or the socket ends, and returns what was kept.
    fn talk(mut self, manner: Manner) -> Vec<u8> {
        let mut kept = Vec::new();
        let mut scratch = std::mem::take(&mut self.early);
        let mut length = scratch.len();
        scratch.resize(SCRATCH.max(length), 0);
        loop {
            let input = scratch.get_mut(..length).unwrap_or_default();
            match self.receive(input, manner, &mut kept) {
                Ok(Then::GoOn) => {}
                Ok(Then::Over) => break,
                // A socket that broke is a result like any other.
                Err(_) => return kept,
            }
            length = match self.stream.read(&mut scratch) {
                Ok(0) | Err(_) => return kept,
                Ok(length) => length,
            };
        }
        self.await_end(&mut scratch);
        kept
    }

    fn receive(&mut self, input: &mut [u8], manner: Manner, kept: &mut Vec<u8>) -> std::io::Result<Then> {
        let mut rest = input;
        while !rest.is_empty() {
            let (item, remaining) = match self.codec.decode(&LIMITS, rest) {
                Ok(decoded) => decoded,
                Err(violation) => {
                    // RFC 6455 §7.1.7: the other side hears why, and nothing more is processed.
                    self.send(&close_frame(Some(violation.code), &violation.reason, Some(key())))?;
                    return Ok(Then::Over);
                }
            };
            rest = remaining;
            match item {
                Some(Item::Message { kind, payload }) if manner == Manner::Echo => {
                    let mut frame = Vec::new();
                    match &mut self.deflating {
                        Some(deflating) => deflating.encode(&mut frame, kind, &payload, key()),
                        None => encode_frame(&mut frame, Opcode::Data(kind), true, &payload, Some(key())),
                    }
                    self.send(&frame)?;
                }
                Some(Item::Message { payload, .. }) => kept.extend_from_slice(&payload),
                Some(Item::Ping(payload)) => {
                    self.send(&control_frame(Control::Pong, &payload, Some(key())))?;
                }
                Some(Item::Pong(_)) => {}
                Some(Item::Close { code, .. }) => {
                    // RFC 6455 §5.5.1: answered with the same code.
                    let code = code.filter(|code| *code != CloseCode::NO_STATUS);
                    self.send(&close_frame(code, "", Some(key())))?;
                    return Ok(Then::Over);
                }
                None => break,
            }
        }
        Ok(Then::GoOn)
    }

    fn send(&mut self, frames: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(frames)
    }

    /// Waits for the server to end the connection; what still comes is discarded.
    fn await_end(mut self, scratch: &mut [u8]) {
        if self.stream.set_read_timeout(Some(CLOSE_TIMEOUT)).is_err() {
            return;
        }
        loop {
            match self.stream.read(scratch) {
                Ok(length) if length > 0 => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The end, a reset or too late: nothing depends on which.
                _ => return,
            }
        }
    }
}

/// A masking key for one frame. RFC 6455 §5.3: fresh for each, and not to be told from the others; the standard
/// library's hash keys come from the system's entropy.
fn key() -> [u8; 4] {
    let [a, b, c, d, ..] = RandomState::new().build_hasher().finish().to_ne_bytes();
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc6455_5_3_2_each_frame_has_a_masking_key_of_its_own() {
        let mut keys: Vec<_> = (0..1_000).map(|_| key()).collect();
        keys.sort_unstable();
        keys.dedup();
        // Four equal bytes may meet by chance, once in eight thousand runs of this test.
        assert!(keys.len() >= 998);
    }
}

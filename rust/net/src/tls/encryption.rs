//! Receives records and plain bytes · hands out plain bytes and records · owns the TLS state of one connection, what is
//! unfinished of what came and what is unsent of what goes; no socket.
//!
//! rustls' unbuffered form is used, as it takes its input where it lies and keeps nothing: an idle connection of the
//! buffered form keeps 4 KiB for the next record.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, Error, HandshakeKind, ProtocolVersion, ServerConfig};
use streamconductor_core::ledger::{Charge, Ledger, Owner};
use streamconductor_core::shard::securing::{Secured, TlsVersion};

use super::role::{Role, Said, Saying, Step};
use super::subject::subject;

/// What an idle connection takes beside its buffers: keys, transcripts and the rest of rustls' state, as measured by
/// `bench/tls_memory.py`.
const STATE: usize = 3_584;
/// Bytes that may wait for the rest of a record or of a handshake message; the longest record has 18 KiB, and a client's
/// certificates have to do with the rest.
const UNFINISHED: usize = 32 * 1024;
/// Plain bytes in one record, the most there may be (RFC 8446 §5.1).
pub const RECORD: usize = 16 * 1024;
/// What a record may take beyond its plain bytes, and an alert or a key update that goes before it.
pub const OVERHEAD: usize = 1024;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Handshake,
    Established,
    /// The peer has said that nothing will follow.
    PeerEnded,
    /// What came is not TLS, or not acceptable. The alert is among what is unsent.
    Failed,
    /// The same before there was a connection.
    Refused,
}

/// What came of a batch of input.
#[derive(Debug, PartialEq, Eq)]
pub enum Absorbed {
    /// So many plain bytes, perhaps none.
    Plain(usize),
    /// The handshake is complete, and so many plain bytes came with it.
    Secured(Secured, usize),
    /// Nothing more will come; so many plain bytes came before.
    Over(usize),
    /// No handshake will come of it.
    Refused,
}

/// The TLS state of one connection.
pub struct Encryption {
    connection: Role,
    phase: Phase,
    /// The beginning of a record, or of a handshake message in several.
    unfinished: Vec<u8>,
    /// Records that the socket has not taken, from `sent` on.
    unsent: Vec<u8>,
    sent: usize,
    /// We have said that nothing will follow.
    has_ended: bool,
    /// Why it failed, which whoever connects is told; a server's log has no use for what strangers do wrong.
    failure: Option<Box<Error>>,
    charge: Charge,
}

impl Encryption {
    /// For a socket that was just accepted.
    pub fn begin(config: Arc<ServerConfig>, ledger: &Ledger) -> Option<Self> {
        Some(Self::of(Role::server(config)?, ledger))
    }

    /// For a socket that has just been connected to a host that has to prove this name. What it begins with is unsent.
    pub fn connect(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        ledger: &Ledger,
    ) -> Result<Self, Error> {
        let mut encryption = Self::of(Role::client(config, name)?, ledger);
        // Without input, a client makes its first message.
        encryption.absorb(&mut [], &mut []);
        Ok(encryption)
    }

    fn of(connection: Role, ledger: &Ledger) -> Self {
        Self {
            connection,
            phase: Phase::Handshake,
            unfinished: Vec::new(),
            unsent: Vec::new(),
            sent: 0,
            has_ended: false,
            failure: None,
            charge: ledger.charge(Owner::Tls, STATE),
        }
    }

    /// Why it failed; always `None` for a server.
    pub fn failure(&self) -> Option<&Error> {
        self.failure.as_deref()
    }

    /// What waits for its rest, and belongs before the next input.
    pub fn unfinished(&self) -> &[u8] {
        &self.unfinished
    }

    /// Whether nothing more can come of what the peer sends.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::PeerEnded | Phase::Failed | Phase::Refused)
    }

    /// Whether the peer was refused, so that what it still sends is of no interest, and the alert's arrival is.
    pub fn is_refused(&self) -> bool {
        self.phase == Phase::Refused
    }

    /// Takes in `input`, which begins with what was unfinished, and decrypts into `plain`, which must be as long. After
    /// it there is no whole record left anywhere: what is held back, is held back in plain.
    pub fn absorb(&mut self, input: &mut [u8], plain: &mut [u8]) -> Absorbed {
        if self.is_over() {
            return Absorbed::Over(0);
        }
        let was_handshaking = self.phase == Phase::Handshake;
        let (mut taken, mut filled) = (0, 0);
        loop {
            let rest = input.get_mut(taken..).unwrap_or_default();
            let (done, step) = self.connection.step(rest, plain, &mut filled, &mut self.unsent);
            taken += done;
            match step {
                Step::On => {}
                Step::PeerEnded => self.phase = Phase::PeerEnded,
                Step::Waiting => break,
                Step::Closed => {
                    taken = input.len();
                    break;
                }
                Step::Failed(error) => {
                    self.failure = error.filter(|_| matches!(self.connection, Role::Client(_))).map(Box::new);
                    self.fail(input.get_mut(taken..).unwrap_or_default());
                    break;
                }
            }
        }
        self.keep(input.get(taken..).unwrap_or_default());
        self.verdict(was_handshaking, filled)
    }

    /// Encrypts at most one record's worth of plain bytes to the front of `records`. `None`: the keys are worn out.
    pub fn encrypt(&mut self, plain: &[u8], records: &mut [u8]) -> Option<usize> {
        self.say(&Saying::Plain(plain), records)
    }

    /// Says that nothing will follow, unless that is said or nothing can be.
    pub fn end(&mut self) {
        if self.has_ended || matches!(self.phase, Phase::Handshake | Phase::Failed | Phase::Refused) {
            return;
        }
        self.has_ended = true;
        let mut records = [0; OVERHEAD];
        let count = self.say(&Saying::End, &mut records).unwrap_or_default();
        self.hold(records.get(..count).unwrap_or_default());
    }

    /// Records that the socket has not taken.
    pub fn unsent(&self) -> &[u8] {
        self.unsent.get(self.sent..).unwrap_or_default()
    }

    /// The socket took so many bytes of what was unsent.
    pub fn sent(&mut self, count: usize) {
        self.sent += count;
        if self.sent >= self.unsent.len() {
            (self.unsent, self.sent) = (Vec::new(), 0);
            self.settle();
        }
    }

    /// Keeps records that the socket did not take.
    pub fn hold(&mut self, records: &[u8]) {
        self.unsent.extend_from_slice(records);
        self.settle();
    }

    fn keep(&mut self, rest: &[u8]) {
        if self.is_over() || rest.is_empty() {
            self.unfinished = Vec::new();
        } else {
            self.unfinished.clear();
            self.unfinished.extend_from_slice(rest);
        }
        if self.unfinished.len() > UNFINISHED {
            self.phase = Phase::Failed;
            self.unfinished = Vec::new();
        }
        self.settle();
    }

    fn verdict(&mut self, was_handshaking: bool, filled: usize) -> Absorbed {
        if !was_handshaking {
            return if self.is_over() { Absorbed::Over(filled) } else { Absorbed::Plain(filled) };
        }
        let is_handshaking = self.connection.common().is_handshaking();
        if self.phase == Phase::Handshake && is_handshaking {
            return Absorbed::Plain(filled);
        }
        let is_complete = !is_handshaking && self.phase != Phase::Failed;
        let Some(secured) = self.secured().filter(|_| is_complete) else {
            self.phase = Phase::Refused;
            return Absorbed::Refused;
        };
        if self.phase == Phase::Handshake {
            self.phase = Phase::Established;
        }
        Absorbed::Secured(secured, filled)
    }

    fn secured(&self) -> Option<Secured> {
        let common = self.connection.common();
        let version = match common.protocol_version()? {
            ProtocolVersion::TLSv1_3 => TlsVersion::V1_3,
            ProtocolVersion::TLSv1_2 => TlsVersion::V1_2,
            _ => return None,
        };
        let subject = match (&self.connection, common.peer_certificates().and_then(<[_]>::first)) {
            (Role::Server(_), Some(certificate)) => Some(subject(certificate)?),
            // A server was verified by its name, and what else it is called is of no use.
            _ => None,
        };
        Some(Secured { version, resumed: common.handshake_kind() == Some(HandshakeKind::Resumed), subject })
    }

    /// Gathers the alert that says what is wrong.
    fn fail(&mut self, rest: &mut [u8]) {
        self.phase = Phase::Failed;
        while self.connection.answer(rest, &mut self.unsent) {}
    }

    /// Says something that needs the connection to be ready for traffic, which it is outside of `absorb`.
    fn say(&mut self, saying: &Saying<'_>, records: &mut [u8]) -> Option<usize> {
        if matches!(self.phase, Phase::Failed | Phase::Refused) {
            return None;
        }
        loop {
            match self.connection.say(&mut self.unfinished, saying, records, &mut self.unsent) {
                Said::Records(count) => return Some(count),
                Said::Again(true) => self.phase = Phase::PeerEnded,
                Said::Again(false) => {}
                Said::Nothing => return None,
            }
        }
    }

    /// Holds the ledger to what this connection takes now.
    fn settle(&mut self) {
        let bytes = STATE + self.unfinished.capacity() + self.unsent.capacity();
        if bytes != self.charge.bytes() {
            self.charge.resize(bytes);
        }
    }
}

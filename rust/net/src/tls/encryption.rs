//! Receives records and plain bytes · hands out plain bytes and records · owns the TLS state of one connection, what is
//! unfinished of what came and what is unsent of what goes; no socket.
//!
//! rustls' unbuffered form is used, as it takes its input where it lies and keeps nothing: an idle connection of the
//! buffered form keeps 4 KiB for the next record.

use std::sync::Arc;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus, WriteTraffic};
use rustls::{HandshakeKind, ProtocolVersion, ServerConfig};
use streamconductor_core::ledger::{Charge, Ledger, Owner};
use streamconductor_core::shard::securing::{Secured, TlsVersion};

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
    connection: UnbufferedServerConnection,
    phase: Phase,
    /// The beginning of a record, or of a handshake message in several.
    unfinished: Vec<u8>,
    /// Records that the socket has not taken, from `sent` on.
    unsent: Vec<u8>,
    sent: usize,
    /// We have said that nothing will follow.
    has_ended: bool,
    charge: Charge,
}

impl Encryption {
    /// For a socket that was just accepted.
    pub fn begin(config: Arc<ServerConfig>, ledger: &Ledger) -> Option<Self> {
        Some(Self {
            connection: UnbufferedServerConnection::new(config).ok()?,
            phase: Phase::Handshake,
            unfinished: Vec::new(),
            unsent: Vec::new(),
            sent: 0,
            has_ended: false,
            charge: ledger.charge(Owner::Tls, STATE),
        })
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
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(rest);
            taken += discard;
            match state {
                Ok(ConnectionState::ReadTraffic(mut records)) => {
                    while let Some(Ok(record)) = records.next_record() {
                        let size = record.payload.len();
                        if let Some(room) = plain.get_mut(filled..filled + size) {
                            room.copy_from_slice(record.payload);
                            filled += size;
                        }
                        taken += record.discard;
                    }
                }
                Ok(ConnectionState::EncodeTlsData(data)) => queue(&mut self.unsent, data),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.phase = Phase::PeerEnded,
                Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => break,
                Ok(ConnectionState::Closed) => {
                    taken = input.len();
                    break;
                }
                // Early data is never allowed, and there is no other state.
                Ok(_) | Err(_) => {
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
        self.with_traffic(|mut traffic| traffic.encrypt(plain, records).ok()).flatten()
    }

    /// Says that nothing will follow, unless that is said or nothing can be.
    pub fn end(&mut self) {
        if self.has_ended || matches!(self.phase, Phase::Handshake | Phase::Failed | Phase::Refused) {
            return;
        }
        self.has_ended = true;
        let mut records = [0; OVERHEAD];
        // Where the keys are worn out nothing more can be said.
        let close_notify =
            |mut traffic: WriteTraffic<'_, _>| traffic.queue_close_notify(&mut records).unwrap_or_default();
        let count = self.with_traffic(close_notify).unwrap_or_default();
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
        let is_handshaking = self.connection.is_handshaking();
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
        let version = match self.connection.protocol_version()? {
            ProtocolVersion::TLSv1_3 => TlsVersion::V1_3,
            ProtocolVersion::TLSv1_2 => TlsVersion::V1_2,
            _ => return None,
        };
        let subject = match self.connection.peer_certificates().and_then(<[_]>::first) {
            None => None,
            Some(certificate) => Some(subject(certificate)?),
        };
        Some(Secured {
            version,
            resumed: self.connection.handshake_kind() == Some(HandshakeKind::Resumed),
            subject,
        })
    }

    /// Gathers the alert that says what is wrong.
    fn fail(&mut self, rest: &mut [u8]) {
        self.phase = Phase::Failed;
        // It is handed out before anything else. Asked once more, rustls would take up the bad input again.
        while self.connection.wants_write() {
            let Ok(ConnectionState::EncodeTlsData(data)) = self.connection.process_tls_records(rest).state
            else {
                break;
            };
            queue(&mut self.unsent, data);
        }
    }

    /// Does something that needs the connection to be ready for traffic, which it is outside of `absorb`.
    fn with_traffic<T>(
        &mut self,
        act: impl FnOnce(WriteTraffic<'_, rustls::server::ServerConnectionData>) -> T,
    ) -> Option<T> {
        if matches!(self.phase, Phase::Failed | Phase::Refused) {
            return None;
        }
        loop {
            match self.connection.process_tls_records(&mut self.unfinished).state {
                Ok(ConnectionState::WriteTraffic(traffic)) => return Some(act(traffic)),
                Ok(ConnectionState::EncodeTlsData(data)) => queue(&mut self.unsent, data),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.phase = Phase::PeerEnded,
                _ => return None,
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

/// Appends handshake records, keys or an alert to what is unsent.
fn queue<Data>(unsent: &mut Vec<u8>, mut data: EncodeTlsData<'_, Data>) {
    // Asked for with no room, it says how much it needs.
    let Err(EncodeError::InsufficientSize(needed)) = data.encode(&mut []) else { return };
    let start = unsent.len();
    unsent.resize(start + needed.required_size, 0);
    // There is room now, so that it cannot fail.
    let _ = data.encode(unsent.get_mut(start..).unwrap_or_default());
}

//! Receives records at either end · hands out what rustls makes of them, one step at a time · owns rustls' connection,
//! which has a type for each role.

use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus, WriteTraffic};
use rustls::{ClientConfig, CommonState, Error, ServerConfig};

/// The end of a connection that is ours.
pub enum Role {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// What a step came to.
pub enum Step {
    /// There may be more to do.
    On,
    /// Nothing more without further input.
    Waiting,
    /// The peer has said that nothing will follow; there may be more to do.
    PeerEnded,
    /// Both sides have ended.
    Closed,
    /// The input is not TLS, or not acceptable; `None`: it is what no role of ours allows.
    Failed(Option<Error>),
}

/// What to say where the connection is ready for traffic.
pub enum Saying<'a> {
    /// These plain bytes.
    Plain(&'a [u8]),
    /// That nothing will follow.
    End,
}

/// What saying came to.
pub enum Said {
    /// So many bytes of records.
    Records(usize),
    /// It has to be tried again; true: the peer has said that nothing will follow.
    Again(bool),
    /// The keys are worn out, or the connection is not ready for traffic.
    Nothing,
}

impl Role {
    pub fn server(config: Arc<ServerConfig>) -> Option<Self> {
        UnbufferedServerConnection::new(config).ok().map(Self::Server)
    }

    pub fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, Error> {
        UnbufferedClientConnection::new(config, name).map(Self::Client)
    }

    /// What both roles know of a connection.
    pub fn common(&self) -> &CommonState {
        match self {
            Self::Server(connection) => connection,
            Self::Client(connection) => connection,
        }
    }

    /// One step with `input`, of which so many bytes are done with after it. Plain bytes go behind the first `filled` ones,
    /// what has to be answered goes to `unsent`.
    pub fn step(
        &mut self,
        input: &mut [u8],
        plain: &mut [u8],
        filled: &mut usize,
        unsent: &mut Vec<u8>,
    ) -> (usize, Step) {
        match self {
            Self::Server(connection) => step(connection.process_tls_records(input), plain, filled, unsent),
            Self::Client(connection) => step(connection.process_tls_records(input), plain, filled, unsent),
        }
    }

    /// Says something, as `records` at once.
    pub fn say(
        &mut self,
        unfinished: &mut [u8],
        saying: &Saying<'_>,
        records: &mut [u8],
        unsent: &mut Vec<u8>,
    ) -> Said {
        match self {
            Self::Server(connection) => {
                say(connection.process_tls_records(unfinished), saying, records, unsent)
            }
            Self::Client(connection) => {
                say(connection.process_tls_records(unfinished), saying, records, unsent)
            }
        }
    }

    /// Gathers what has to be said before anything else, such as an alert. False: there is nothing.
    pub fn answer(&mut self, input: &mut [u8], unsent: &mut Vec<u8>) -> bool {
        // Asked once more, rustls would take up the bad input again.
        if !self.common().wants_write() {
            return false;
        }
        match self {
            Self::Server(connection) => answer(connection.process_tls_records(input), unsent),
            Self::Client(connection) => answer(connection.process_tls_records(input), unsent),
        }
    }
}

fn step<Data>(
    UnbufferedStatus { discard, state }: UnbufferedStatus<'_, '_, Data>,
    plain: &mut [u8],
    filled: &mut usize,
    unsent: &mut Vec<u8>,
) -> (usize, Step) {
    let mut taken = discard;
    let step = match state {
        Ok(ConnectionState::ReadTraffic(mut records)) => {
            while let Some(Ok(record)) = records.next_record() {
                let size = record.payload.len();
                if let Some(room) = plain.get_mut(*filled..*filled + size) {
                    room.copy_from_slice(record.payload);
                    *filled += size;
                }
                taken += record.discard;
            }
            Step::On
        }
        Ok(ConnectionState::EncodeTlsData(data)) => {
            queue(unsent, data);
            Step::On
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Step::On
        }
        Ok(ConnectionState::PeerClosed) => Step::PeerEnded,
        Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => Step::Waiting,
        Ok(ConnectionState::Closed) => Step::Closed,
        // Early data is never allowed, and there is no other state.
        Ok(_) => Step::Failed(None),
        Err(error) => Step::Failed(Some(error)),
    };
    (taken, step)
}

fn say<Data>(
    UnbufferedStatus { state, .. }: UnbufferedStatus<'_, '_, Data>,
    saying: &Saying<'_>,
    records: &mut [u8],
    unsent: &mut Vec<u8>,
) -> Said {
    match state {
        Ok(ConnectionState::WriteTraffic(traffic)) => write(traffic, saying, records),
        Ok(ConnectionState::EncodeTlsData(data)) => {
            queue(unsent, data);
            Said::Again(false)
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Said::Again(false)
        }
        Ok(ConnectionState::PeerClosed) => Said::Again(true),
        _ => Said::Nothing,
    }
}

fn write<Data>(mut traffic: WriteTraffic<'_, Data>, saying: &Saying<'_>, records: &mut [u8]) -> Said {
    let written = match saying {
        Saying::Plain(plain) => traffic.encrypt(plain, records).ok(),
        // Where the keys are worn out nothing more can be said.
        Saying::End => traffic.queue_close_notify(records).ok(),
    };
    written.map_or(Said::Nothing, Said::Records)
}

fn answer<Data>(
    UnbufferedStatus { state, .. }: UnbufferedStatus<'_, '_, Data>,
    unsent: &mut Vec<u8>,
) -> bool {
    let Ok(ConnectionState::EncodeTlsData(data)) = state else { return false };
    queue(unsent, data);
    true
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

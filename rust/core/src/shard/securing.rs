//! Receives what the driver's TLS has come to · hands the connection on to its request head, or ends it · owns the state
//! `tls`. The bytes themselves are the wire's concern; here they are plain.

use std::sync::Arc;

use crate::lifecycle::{Event as Happened, State};
use crate::shard::Shard;
use crate::stats::Outcome;
use crate::time::Timestamp;
use crate::wire::Wire;

/// What a TLS handshake has established.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secured {
    /// The version.
    pub version: TlsVersion,
    /// Whether an earlier connection was taken up instead of a whole handshake.
    pub resumed: bool,
    /// The subject of the client's certificate, verified, as RFC 4514 writes it; `None`: it showed none.
    pub subject: Option<Arc<str>>,
}

/// The versions that are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum TlsVersion {
    /// RFC 5246.
    V1_2,
    /// RFC 8446.
    V1_3,
}

impl TlsVersion {
    /// The names of all versions, in order, as OpenSSL and Python have them.
    pub const NAMES: [&'static str; 2] = ["TLSv1.2", "TLSv1.3"];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1_2 => "TLSv1.2",
            Self::V1_3 => "TLSv1.3",
        }
    }
}

impl<W: Wire> Shard<W> {
    /// TLS is established: the request head may come.
    pub fn secured(&mut self, index: u32, secured: Secured) {
        let Some(connection) = self.places.get_mut(index).filter(|one| one.state == State::Tls) else {
            return;
        };
        if let Some(count) = self.stats.secured.get_mut(secured.version as usize) {
            *count += 1;
        }
        self.stats.resumed += u64::from(secured.resumed);
        if let Some(opening) = &mut connection.opening {
            opening.secured = Some(secured);
        }
        self.apply(index, Happened::HeadExpected);
    }

    /// No TLS will come of it. The alert, if there is one to send, is the wire's; the socket lingers, so that a reset does
    /// not overtake it.
    pub fn unsecured(&mut self, index: u32, now: Timestamp) {
        if self.places.get(index).is_some_and(|connection| connection.state == State::Tls) {
            self.count_handshake(Outcome::Tls);
            self.apply(index, Happened::Refused);
            self.start_linger(index, now);
        }
    }

    /// Bytes have come of which nothing can be read yet, such as half a TLS record: the peer lives.
    pub fn heard(&mut self, index: u32, now: Timestamp) {
        if let Some(connection) = self.places.get_mut(index) {
            connection.clocks.last_byte = now;
            connection.heartbeat.awaiting_since = None;
        }
    }
}

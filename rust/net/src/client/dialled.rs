//! Receives the parts of a connection that has just opened · hands them to the shard that takes it · owns nothing of what
//! comes after.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use streamconductor_core::deflate::Agreement;
use streamconductor_core::shard::securing::Secured;
use url::Url;

use crate::listener::Raw;
use crate::stream::Stream;
use crate::tls::Encryption;

/// An open connection, from the client's side.
pub struct Dialled {
    /// The socket.
    pub stream: Stream,
    /// Its encryption, established; `None`: its bytes are plain.
    pub encryption: Option<Box<Encryption>>,
    /// What the TLS handshake has established; `None`: there was none.
    pub secured: Option<Secured>,
    /// What the server sent behind its answer, in plain: it comes before anything that is read from now on.
    pub read_ahead: Bytes,
    /// The subprotocol that the server selected; `None`: none.
    pub subprotocol: Option<String>,
    /// The terms of permessage-deflate; `None`: messages go as they are.
    pub agreement: Option<Agreement>,
    /// The status of the answer, 101.
    pub status: u16,
    /// The headers of the answer: names in lower case, in the order sent.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The address that took the connection, the proxy's where there is one; `None`: a Unix socket.
    pub peer: Option<SocketAddr>,
    /// The URL that opened it, behind all redirects; without credentials.
    pub url: String,
}

/// What a shard takes over: the socket, which no runtime drives any more, and what belongs to it.
pub struct Detached {
    /// The socket.
    pub socket: Raw,
    /// As in [`Dialled`].
    pub encryption: Option<Box<Encryption>>,
    /// As in [`Dialled`].
    pub read_ahead: Bytes,
}

impl Dialled {
    /// The path that was asked for, behind all redirects.
    pub fn path(&self) -> String {
        Url::parse(&self.url).map(|url| url.path().to_owned()).unwrap_or_default()
    }

    /// Takes the socket from the runtime that opened it. Fails where the system does.
    pub fn detach(self) -> io::Result<Detached> {
        let Self { stream, encryption, read_ahead, .. } = self;
        Ok(Detached { socket: stream.detach()?, encryption, read_ahead })
    }
}

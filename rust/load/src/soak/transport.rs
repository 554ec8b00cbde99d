//! Receives a socket, and trust where it shall be TLS · hands out the bytes that come and takes those that go ·
//! owns the socket, the TLS state and what the kernel did not take.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpStream;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use socket2::SockRef;

/// As in the measuring scenarios: a read takes all that a socket holds.
const RAW: usize = 256 * 1024;

/// A TLS client's configuration that trusts one self-signed certificate, that of the server under test.
pub(crate) fn trusting(certificate: &Path) -> Result<Arc<ClientConfig>, String> {
    let failed = |what: &str, error: &dyn ToString| {
        format!("--tls-certificate {}: {what}: {}", certificate.display(), error.to_string())
    };
    let mut roots = RootCertStore::empty();
    let read = CertificateDer::from_pem_file(certificate).map_err(|error| failed("no PEM", &error))?;
    roots.add(read).map_err(|error| failed("no certificate", &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| failed("no TLS version", &error))?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// Space that all connections read into, one after the other.
#[derive(Debug)]
pub(crate) struct Scratch {
    raw: Vec<u8>,
    plain: Vec<u8>,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self { raw: vec![0; RAW], plain: Vec::new() }
    }
}

/// What one read brought.
#[derive(Debug)]
pub(crate) enum Input<'s> {
    /// Nothing is there.
    Nothing,
    /// The peer has ended its side.
    End,
    /// Bytes of the stream, none where TLS had something to say to itself.
    Bytes {
        bytes: &'s mut [u8],
        /// The socket may hold more, which no edge will tell of.
        is_more: bool,
    },
}

/// A socket, plain or under TLS.
#[derive(Debug)]
pub(crate) struct Transport {
    pub(crate) stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// Plain bytes that the kernel did not take; TLS keeps its own.
    unsent: Vec<u8>,
}

impl Transport {
    /// Begins to connect. `receive_buffer`: what the kernel may hold for a reader who stalls; None: its default.
    pub(crate) fn connect(
        address: SocketAddr,
        trust: Option<&Arc<ClientConfig>>,
        receive_buffer: Option<usize>,
    ) -> io::Result<Self> {
        let socket =
            socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        if let Some(size) = receive_buffer {
            // Before the connection is there, or the window offered would be the default's.
            socket.set_recv_buffer_size(size)?;
        }
        match socket.connect(&address.into()) {
            Err(error) if !is_in_progress(&error) => return Err(error),
            _ => {}
        }
        let stream = TcpStream::from_std(socket.into());
        let name = ServerName::from(address.ip());
        let tls = trust
            .map(|trust| ClientConnection::new(Arc::clone(trust), name).map(Box::new))
            .transpose()
            .map_err(io::Error::other)?;
        Ok(Self { stream, tls, unsent: Vec::new() })
    }

    /// Whether the connection is there.
    pub(crate) fn is_connected(&self) -> io::Result<bool> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        match self.stream.peer_addr() {
            Ok(_) => self.stream.set_nodelay(true).map(|()| true),
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads once.
    pub(crate) fn read<'s>(&mut self, scratch: &'s mut Scratch) -> io::Result<Input<'s>> {
        let Scratch { raw, plain } = scratch;
        let Some(length) = unblocked(|| self.stream.read(raw))? else { return Ok(Input::Nothing) };
        if length == 0 {
            return Ok(Input::End);
        }
        let is_more = length == raw.len();
        let bytes = raw.get_mut(..length).unwrap_or_default();
        let Some(tls) = &mut self.tls else { return Ok(Input::Bytes { bytes, is_more }) };

        plain.clear();
        let mut rest: &[u8] = bytes;
        // Behind the peer's close_notify nothing is taken any more.
        while !rest.is_empty() && tls.read_tls(&mut rest)? > 0 {
            let state =
                tls.process_new_packets().map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            let (before, more) = (plain.len(), state.plaintext_bytes_to_read());
            plain.resize(before + more, 0);
            tls.reader().read_exact(plain.get_mut(before..).unwrap_or_default())?;
        }
        self.flush()?;
        Ok(Input::Bytes { bytes: plain.as_mut_slice(), is_more })
    }

    /// Sends now; what the kernel does not take goes out with a later `flush`.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.set_buffer_limit(None);
            tls.writer().write_all(bytes)?;
        } else {
            self.unsent.extend_from_slice(bytes);
        }
        self.flush()
    }

    /// Sends what is left.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                if unblocked(|| tls.write_tls(&mut self.stream))?.is_none() {
                    break;
                }
            }
            return Ok(());
        }
        let mut taken = 0;
        while let Some(rest) = self.unsent.get(taken..).filter(|rest| !rest.is_empty()) {
            let Some(length) = unblocked(|| self.stream.write(rest))? else { break };
            taken += length;
        }
        self.unsent.drain(..taken);
        Ok(())
    }

    /// The end of this side's stream; under TLS with a `close_notify`.
    pub(crate) fn finish(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        // A socket that fails now is as closed as it will be.
        let _ = self.flush();
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    /// Makes the drop of this a reset.
    pub(crate) fn reset(self) {
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }
}

fn is_in_progress(error: &io::Error) -> bool {
    let in_progress = cfg!(unix) && error.raw_os_error() == Some(IN_PROGRESS);
    in_progress || error.kind() == ErrorKind::WouldBlock
}

#[cfg(target_os = "linux")]
const IN_PROGRESS: i32 = libc::EINPROGRESS;
#[cfg(not(target_os = "linux"))]
const IN_PROGRESS: i32 = 36;

/// `None`: it would block.
fn unblocked<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<Option<T>> {
    loop {
        match call() {
            Ok(value) => return Ok(Some(value)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

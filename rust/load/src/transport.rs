//! Receives an address, and trust where it shall be TLS · hands out the bytes that come and takes those that go ·
//! owns the socket, the TLS state and what the kernel did not take.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpStream;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use socket2::SockRef;

/// As in the measuring scenarios: a read takes all that a socket holds.
const RAW: usize = 256 * 1024;

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

/// TLS of a connection: whom it trusts, and whom it expects.
#[derive(Clone, Debug)]
pub(crate) struct Security {
    pub(crate) trust: Arc<ClientConfig>,
    pub(crate) name: ServerName<'static>,
}

impl Transport {
    /// Begins to connect. `source`: the address to connect from; `receive_buffer`: what the kernel may hold for a
    /// reader who stalls. None: as the system does.
    pub(crate) fn connect(
        address: SocketAddr,
        security: Option<&Security>,
        source: Option<IpAddr>,
        receive_buffer: Option<usize>,
    ) -> io::Result<Self> {
        let socket =
            socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        if let Some(size) = receive_buffer {
            // Before the connection is there, or the window offered would be the default's.
            socket.set_recv_buffer_size(size)?;
        }
        if let Some(source) = source {
            choose_port_late(&socket)?;
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        match socket.connect(&address.into()) {
            Err(error) if !is_in_progress(&error) => return Err(error),
            _ => {}
        }
        let stream = TcpStream::from_std(socket.into());
        let tls = security
            .map(|Security { trust, name }| {
                ClientConnection::new(Arc::clone(trust), name.clone()).map(Box::new)
            })
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

    /// Reads once, at most `most` bytes.
    pub(crate) fn read<'s>(&mut self, scratch: &'s mut Scratch, most: usize) -> io::Result<Input<'s>> {
        let Scratch { raw, plain } = scratch;
        let raw = raw.get_mut(..most.min(RAW)).unwrap_or_default();
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
            return self.flush();
        }
        if !self.unsent.is_empty() {
            // The socket is full; it tells when it is not.
            self.unsent.extend_from_slice(bytes);
            return Ok(());
        }
        let taken = write(&mut self.stream, bytes)?;
        self.unsent.extend_from_slice(bytes.get(taken..).unwrap_or_default());
        Ok(())
    }

    /// Bytes that the kernel has not taken; of TLS those are not counted.
    pub(crate) fn unsent(&self) -> usize {
        self.unsent.len()
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
        if !self.unsent.is_empty() {
            let taken = write(&mut self.stream, &self.unsent)?;
            self.unsent.drain(..taken);
        }
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

/// Writes what the kernel takes; returns how much that is.
fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut taken = 0;
    while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
        let Some(length) = unblocked(|| stream.write(rest))? else { break };
        taken += length;
    }
    Ok(taken)
}

/// A port chosen at `bind` is this address's alone; one chosen at `connect` is free again for every other server.
#[cfg(target_os = "linux")]
fn choose_port_late(socket: &socket2::Socket) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let yes: libc::c_int = 1;
    // SAFETY: the call reads one c_int, which outlives it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const yes).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
fn choose_port_late(_socket: &socket2::Socket) -> io::Result<()> {
    Ok(())
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

//! Receives an address · hands out accepted sockets with their options set · owns the listening socket.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;

/// Unsent bytes above which the kernel takes no more from us: the backlog waits in our rings, where policy
/// sees it, and not in the kernel (100 stalled readers: 19 instead of 158 MiB of kernel memory).
const NOT_SENT_LOW_WATER: u32 = 16 * 1024;

/// Where to listen.
#[derive(Clone, Debug)]
pub enum Address {
    /// An IP address and port; port 0: the kernel chooses.
    Tcp(SocketAddr),
    /// A path in the file system. A socket file that nobody listens on is replaced.
    Unix(PathBuf),
}

/// A listening socket that is not yet driven by a runtime.
pub struct Listener {
    socket: Socket,
    path: Option<PathBuf>,
}

/// A socket, accepted or connected, that no runtime knows yet, or no more.
pub enum Raw {
    /// Plain TCP.
    Tcp(std::net::TcpStream),
    /// A Unix socket.
    Unix(std::os::unix::net::UnixStream),
}

impl Listener {
    /// Binds and listens. `backlog` is the kernel's queue of connections that nobody has accepted.
    pub fn bind(address: &Address, backlog: u32) -> io::Result<Self> {
        let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
        match address {
            Address::Tcp(address) => {
                let socket = Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
                socket.set_reuse_address(true)?;
                if address.is_ipv6() {
                    // The IPv4 side of a dual-stack name is bound on its own.
                    socket.set_only_v6(true)?;
                }
                // Accepted sockets inherit both, which saves two calls for each.
                socket.set_tcp_nodelay(true)?;
                set_not_sent_low_water(&socket)?;
                socket.set_nonblocking(true)?;
                socket.bind(&(*address).into())?;
                socket.listen(backlog)?;
                Ok(Self { socket, path: None })
            }
            Address::Unix(path) => {
                remove_stale(path)?;
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
                socket.set_nonblocking(true)?;
                socket.bind(&socket2::SockAddr::unix(path)?)?;
                socket.listen(backlog)?;
                Ok(Self { socket, path: Some(path.clone()) })
            }
        }
    }

    /// The address that was bound; `None` for a Unix socket.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()?.as_socket()
    }

    /// Lets the current runtime drive it.
    pub fn drive(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: both `AsFd` and `AsRawFd` name the descriptor that `socket` owns; it is opened before the
        // registration, never replaced, and closed only when `self` is dropped, after the deregistration.
        let driven = unsafe { AsyncFd::register_with_interest(self, tokio::io::Interest::READABLE) };
        driven.map_err(io::Error::from)
    }

    /// Whether somebody waits to be accepted. A runtime only knows that somebody did when it last looked.
    #[cfg(target_os = "linux")]
    pub fn is_awaited(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&at_once)) != Ok(0)
    }

    /// Whether somebody waits to be accepted: perhaps, and accepting will tell.
    #[cfg(not(target_os = "linux"))]
    #[allow(clippy::unused_self)] // the other one needs it
    pub fn is_awaited(&self) -> bool {
        true
    }

    /// Accepts one socket and says who it is.
    #[cfg(target_os = "linux")]
    pub fn accept(&self) -> io::Result<(Raw, Option<SocketAddr>)> {
        use rustix::net::{SocketFlags, acceptfrom_with};
        // One call instead of three.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (descriptor, address) = acceptfrom_with(&self.socket, flags)?;
        let address = address.and_then(|address| SocketAddr::try_from(address).ok());
        Ok((self.raw(descriptor), address))
    }

    /// Accepts one socket and says who it is.
    #[cfg(not(target_os = "linux"))]
    pub fn accept(&self) -> io::Result<(Raw, Option<SocketAddr>)> {
        let (socket, address) = self.socket.accept()?;
        socket.set_nonblocking(true)?;
        Ok((self.raw(socket.into()), address.as_socket()))
    }

    fn raw(&self, descriptor: OwnedFd) -> Raw {
        match self.path {
            None => Raw::Tcp(descriptor.into()),
            Some(_) => Raw::Unix(descriptor.into()),
        }
    }
}

// Both name the one descriptor that the socket owns for as long as the listener lives.
impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // Somebody else may have removed it: then there is nothing to do.
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(target_os = "linux")]
/// Bounds what the kernel keeps unsent.
pub(crate) fn set_not_sent_low_water(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_notsent_lowat(NOT_SENT_LOW_WATER)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn set_not_sent_low_water(_: &Socket) -> io::Result<()> {
    let _ = NOT_SENT_LOW_WATER;
    Ok(())
}

/// Removes a socket file that a server left behind when it was killed; a live one is left alone.
fn remove_stale(path: &PathBuf) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket is in the way"));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "somebody listens on this socket")),
        Err(_) => std::fs::remove_file(path),
    }
}

//! Receives descriptors to watch · hands out those that are ready · owns the epoll instance and every call that the
//! standard library has no safe form for.
//!
//! Level-triggered: a socket is read once for each time it is ready, so no call ends in `EAGAIN` for nothing.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// So many sockets are taken up at once.
const EVENTS: u16 = 1024;

/// A descriptor that is ready, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// The descriptor.
    pub descriptor: RawFd,
    /// It takes bytes again.
    pub is_writable: bool,
    /// It has bytes, or its end, or an error that a read tells.
    pub is_readable: bool,
}

/// The instance.
#[derive(Debug)]
pub struct Epoll(OwnedFd);

impl Epoll {
    /// Makes an instance that watches nothing yet.
    ///
    /// # Errors
    /// What the system says.
    pub fn new() -> io::Result<Self> {
        // SAFETY: the call takes no pointer.
        let descriptor = checked(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the descriptor was made just now and belongs to nobody else.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    /// Watches a descriptor for bytes; closing it ends that.
    ///
    /// # Errors
    /// What the system says.
    pub fn watch(&self, descriptor: RawFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, descriptor, libc::EPOLLIN)
    }

    /// Watches a descriptor for room, too, or no longer.
    ///
    /// # Errors
    /// What the system says.
    pub fn watch_room(&self, descriptor: RawFd, room: bool) -> io::Result<()> {
        let events = if room { libc::EPOLLIN | libc::EPOLLOUT } else { libc::EPOLLIN };
        self.control(libc::EPOLL_CTL_MOD, descriptor, events)
    }

    fn control(&self, operation: libc::c_int, descriptor: RawFd, events: libc::c_int) -> io::Result<()> {
        let mut event =
            libc::epoll_event { events: events.cast_unsigned(), u64: u64::from(descriptor.cast_unsigned()) };
        // SAFETY: the call reads one epoll_event, from a place that outlives it.
        checked(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, descriptor, &raw mut event) })?;
        Ok(())
    }

    /// Waits until something is ready; `ready` holds it afterwards.
    ///
    /// # Errors
    /// What the system says.
    pub fn wait(&self, ready: &mut Vec<Ready>) -> io::Result<()> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS as usize];
        // SAFETY: the call writes at most EVENTS events, to a place that has room for them and outlives it.
        let result =
            checked(unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), EVENTS.into(), -1) });
        let count = match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            result => result?.cast_unsigned() as usize,
        };
        ready.clear();
        ready.extend(events.iter().take(count).map(|event| {
            let what = event.events.cast_signed();
            Ready {
                descriptor: (event.u64 as u32).cast_signed(),
                is_writable: what & libc::EPOLLOUT != 0,
                is_readable: what & !libc::EPOLLOUT != 0,
            }
        }));
        Ok(())
    }
}

/// Accepts one connection whose reads and writes do not block; one call where the standard library needs two.
///
/// # Errors
/// What the system says; `WouldBlock` when the peer is gone again.
pub fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: null is allowed for an address that nobody wants to know.
    let descriptor =
        checked(unsafe { libc::accept4(listener.as_raw_fd(), ptr::null_mut(), ptr::null_mut(), flags) })?;
    // SAFETY: the descriptor was made just now and belongs to nobody else.
    Ok(unsafe { TcpStream::from_raw_fd(descriptor) })
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

//! Receives rings from shard threads · hands the Python loop a readable file descriptor · owns that descriptor.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;
#[cfg(not(target_os = "linux"))]
use std::os::unix::net::UnixStream;

use crate::mailbox::Wake;

/// Makes an event loop come and look: its descriptor is readable from `wake` until `clear`. No attach to the
/// interpreter is needed to ring it.
pub struct Doorbell {
    #[cfg(target_os = "linux")]
    counter: OwnedFd,
    #[cfg(not(target_os = "linux"))]
    pair: (UnixStream, UnixStream),
}

#[cfg(target_os = "linux")]
impl Doorbell {
    /// A doorbell that has not been rung: an eventfd.
    pub fn new() -> io::Result<Self> {
        use rustix::event::{EventfdFlags, eventfd};
        Ok(Self { counter: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }

    /// Makes the descriptor unreadable until the next ring.
    pub fn clear(&self) {
        // Nothing to read means nothing to clear.
        let _ = rustix::io::read(&self.counter, &mut [0; 8]);
    }
}

#[cfg(target_os = "linux")]
impl Wake for Doorbell {
    fn wake(&self) {
        // Full (2^64 rings nobody cleared) still means readable.
        let _ = rustix::io::write(&self.counter, &1_u64.to_ne_bytes());
    }
}

#[cfg(target_os = "linux")]
impl AsRawFd for Doorbell {
    fn as_raw_fd(&self) -> RawFd {
        self.counter.as_raw_fd()
    }
}

#[cfg(not(target_os = "linux"))]
impl Doorbell {
    /// A doorbell that has not been rung: a socket pair.
    pub fn new() -> io::Result<Self> {
        let (outer, inner) = UnixStream::pair()?;
        outer.set_nonblocking(true)?;
        inner.set_nonblocking(true)?;
        Ok(Self { pair: (outer, inner) })
    }

    /// Makes the descriptor unreadable until the next ring.
    pub fn clear(&self) {
        use std::io::Read;
        let mut bytes = [0; 64];
        while matches!((&self.pair.0).read(&mut bytes), Ok(64)) {}
    }
}

#[cfg(not(target_os = "linux"))]
impl Wake for Doorbell {
    fn wake(&self) {
        use std::io::Write;
        // Full still means readable.
        let _ = (&self.pair.1).write(&[1]);
    }
}

#[cfg(not(target_os = "linux"))]
impl AsRawFd for Doorbell {
    fn as_raw_fd(&self) -> RawFd {
        self.pair.0.as_raw_fd()
    }
}

impl Wake for std::sync::Arc<Doorbell> {
    fn wake(&self) {
        self.as_ref().wake();
    }
}

//! Receives how long a turn may wait · hands out what the poll may wait for, and rings in between · owns the system's
//! timer: a poll counts milliseconds, and an open loop at a high rate needs microseconds.

use std::io;
use std::time::Duration;

use mio::{Registry, Token};

/// A timer that rings through the poll.
#[derive(Debug)]
pub(crate) struct Timer {
    #[cfg(target_os = "linux")]
    descriptor: std::os::fd::OwnedFd,
}

/// Waits that are longer lose little by being rounded to milliseconds.
const COARSE: Duration = Duration::from_millis(50);

impl Timer {
    /// What it rings with.
    pub(crate) const TOKEN: Token = Token(usize::MAX);

    #[cfg(target_os = "linux")]
    pub(crate) fn new(registry: &Registry) -> io::Result<Self> {
        use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
        // SAFETY: no pointer is involved.
        let raw =
            unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let descriptor = unsafe { OwnedFd::from_raw_fd(raw) };
        let mut source = mio::unix::SourceFd(&descriptor.as_raw_fd());
        registry.register(&mut source, Self::TOKEN, mio::Interest::READABLE)?;
        Ok(Self { descriptor })
    }

    #[cfg(not(target_os = "linux"))]
    #[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
    pub(crate) fn new(_registry: &Registry) -> io::Result<Self> {
        Ok(Self {})
    }

    /// Rings after `wait`, if that needs a timer, with a new edge each time, read or not; returns what the poll shall
    /// wait.
    #[cfg(target_os = "linux")]
    pub(crate) fn arm(&self, wait: Duration) -> io::Result<Duration> {
        use std::os::fd::AsRawFd;
        if wait.is_zero() || wait >= COARSE {
            return Ok(wait);
        }
        let time = libc::timespec {
            tv_sec: wait.as_secs().cast_signed(),
            tv_nsec: libc::c_long::from(wait.subsec_nanos().cast_signed()),
        };
        let none = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let setting = libc::itimerspec { it_interval: none, it_value: time };
        let descriptor = self.descriptor.as_raw_fd();
        // SAFETY: the call reads one itimerspec, which outlives it, and writes nothing.
        if unsafe { libc::timerfd_settime(descriptor, 0, &raw const setting, std::ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(COARSE)
    }

    /// Elsewhere the poll's own time has to do.
    #[cfg(not(target_os = "linux"))]
    #[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
    pub(crate) fn arm(&self, wait: Duration) -> io::Result<Duration> {
        Ok(wait)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Instant;

    use mio::{Events, Poll};

    use super::*;

    #[test]
    fn it_rings_again_and_again_and_not_before_its_time() {
        let mut poll = Poll::new().unwrap();
        let timer = Timer::new(poll.registry()).unwrap();
        let mut events = Events::with_capacity(4);
        for micros in [300, 1_700, 300] {
            let wait = Duration::from_micros(micros);
            let began = Instant::now();
            assert_eq!(timer.arm(wait).unwrap(), COARSE);
            poll.poll(&mut events, Some(Duration::from_secs(5))).unwrap();
            assert!(began.elapsed() >= wait);
            assert_eq!(events.iter().map(mio::event::Event::token).collect::<Vec<_>>(), [Timer::TOKEN]);
        }
        assert_eq!(timer.arm(Duration::from_millis(60)).unwrap(), Duration::from_millis(60));
    }
}

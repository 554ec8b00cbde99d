//! Receives an accepted or connected socket · hands bytes to and from the kernel · owns when the runtime is told of the socket: as
//! soon as it has to wait, and not before.
//!
//! Most clients have sent their request before they are accepted. It is read, and answered, without asking the runtime
//! whether there is anything to read, which it would only know after it has asked the kernel.

use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::listener::{Raw, set_not_sent_low_water};

/// A socket, accepted or connected.
pub enum Stream {
    /// It has not had to wait yet. `None`: it had to, and the runtime could not take it.
    Fresh(Option<Raw>),
    /// Plain TCP, registered with the runtime of its shard, and whether that is known to know when there is room.
    Tcp(TcpStream, bool),
    /// A Unix socket, likewise.
    Unix(UnixStream, bool),
}

impl From<Raw> for Stream {
    fn from(raw: Raw) -> Self {
        Self::Fresh(Some(raw))
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream, false)
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Self::Unix(stream, false)
    }
}

impl Stream {
    /// Sets what accepted sockets inherit, on one that was connected.
    pub(crate) fn set_options(&self) -> io::Result<()> {
        if let Self::Tcp(stream, _) = self {
            stream.set_nodelay(true)?;
            set_not_sent_low_water(&*self.reference()?)?;
        }
        Ok(())
    }

    /// Takes it from the runtime that drives it.
    pub fn detach(self) -> io::Result<Raw> {
        match self {
            Self::Fresh(raw) => raw.ok_or_else(|| io::ErrorKind::NotConnected.into()),
            Self::Tcp(stream, _) => stream.into_std().map(Raw::Tcp),
            Self::Unix(stream, _) => stream.into_std().map(Raw::Unix),
        }
    }

    /// Reads what is there.
    pub fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Self::Fresh(Some(raw)) = self {
            match raw.read(buffer.initialize_unfilled()) {
                Ok(count) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if waits(&error) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        match self.registered()? {
            Registered::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Registered::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }

    /// Writes what there is room for.
    pub fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Self::Fresh(Some(raw)) = self {
            match raw.write(bytes) {
                Err(error) if waits(&error) => {}
                result => return Poll::Ready(result),
            }
        }
        let polled = match self.registered()? {
            Registered::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Registered::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        };
        self.write_unasked(polled, |socket| socket.send(bytes))
    }

    /// The same of several slices.
    pub fn poll_write_vectored(
        &mut self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = match self.registered()? {
            Registered::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Registered::Unix(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        };
        self.write_unasked(polled, |socket| socket.send_vectored(slices))
    }

    /// What writing came to, or writes where the runtime knows of no room because it knows nothing yet: the kernel has
    /// not been asked since it was told of the socket, and a 101 that cannot be written ends the connection.
    fn write_unasked(
        &mut self,
        polled: Poll<io::Result<usize>>,
        write: impl FnOnce(&SockRef<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let is_unknown = matches!(self, Self::Tcp(_, false) | Self::Unix(_, false));
        if is_unknown && polled.is_pending() {
            match write(&self.reference()?) {
                Err(error) if waits(&error) => {}
                result => return Poll::Ready(result),
            }
        }
        if let Self::Tcp(_, is_known) | Self::Unix(_, is_known) = self {
            *is_known = true;
        }
        polled
    }

    /// Whether there is something to read, the end included; if not, `context` is woken when there is.
    pub fn poll_read_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.registered()? {
            Registered::Tcp(stream) => stream.poll_read_ready(context),
            Registered::Unix(stream) => stream.poll_read_ready(context),
        }
    }

    /// The same of writing.
    pub fn poll_write_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.registered()? {
            Registered::Tcp(stream) => stream.poll_write_ready(context),
            Registered::Unix(stream) => stream.poll_write_ready(context),
        }
    }

    /// Ends our direction.
    pub fn shut_down(&self) -> io::Result<()> {
        self.reference()?.shutdown(std::net::Shutdown::Write)
    }

    /// What closing does with unsent bytes; zero: reset.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.reference()?.set_linger(linger)
    }

    fn reference(&self) -> io::Result<SockRef<'_>> {
        match self {
            Self::Fresh(Some(Raw::Tcp(stream))) => Ok(SockRef::from(stream)),
            Self::Fresh(Some(Raw::Unix(stream))) => Ok(SockRef::from(stream)),
            Self::Fresh(None) => Err(io::ErrorKind::NotConnected.into()),
            Self::Tcp(stream, _) => Ok(SockRef::from(stream)),
            Self::Unix(stream, _) => Ok(SockRef::from(stream)),
        }
    }

    /// Makes the socket known to the current runtime, unless it is. Fails only when the kernel is out of memory; the
    /// socket is closed then, and this says so from now on.
    fn registered(&mut self) -> io::Result<Registered<'_>> {
        if let Self::Fresh(raw) = self {
            *self = match raw.take() {
                Some(Raw::Tcp(stream)) => Self::Tcp(TcpStream::from_std(stream)?, false),
                Some(Raw::Unix(stream)) => Self::Unix(UnixStream::from_std(stream)?, false),
                None => Self::Fresh(None),
            };
        }
        match self {
            Self::Tcp(stream, _) => Ok(Registered::Tcp(stream)),
            Self::Unix(stream, _) => Ok(Registered::Unix(stream)),
            Self::Fresh(_) => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// Tokio's two stream types.
enum Registered<'stream> {
    Tcp(&'stream mut TcpStream),
    Unix(&'stream mut UnixStream),
}

impl Raw {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(into),
            Self::Unix(stream) => stream.read(into),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }
}

fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream as Pair;
    use std::task::Waker;

    #[test]
    fn a_socket_that_the_runtime_has_just_been_told_of_takes_bytes() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _entered = runtime.enter();
        let (mut peer, mine) = Pair::pair().unwrap();
        mine.set_nonblocking(true).unwrap();
        let mut stream = Stream::from(Raw::Unix(mine));
        let mut context = Context::from_waker(Waker::noop());
        assert!(stream.poll_read_ready(&mut context).is_pending());
        // The runtime has not asked the kernel since.
        assert!(matches!(stream.poll_write(&mut context, b"one"), Poll::Ready(Ok(3))));
        let slices = [IoSlice::new(b"t"), IoSlice::new(b"wo")];
        assert!(matches!(stream.poll_write_vectored(&mut context, &slices), Poll::Ready(Ok(3))));
        let mut bytes = [0; 6];
        peer.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"onetwo");
    }
}

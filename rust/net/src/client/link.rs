//! Receives a connected socket · hands plain bytes to the opening handshake and takes them from it · owns the socket, its
//! encryption, and plain bytes that nobody has asked for yet.
//!
//! The encryption is the one that the shard goes on with, and no byte that was decrypted stays behind in this.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use streamconductor_core::ledger::Ledger;
use streamconductor_core::shard::securing::Secured;
use streamconductor_core::wire::Wrote;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::stream::Stream;
use crate::tls::{Encryption, INCOMING, Incoming, Scratch, Secure};

/// A socket, perhaps encrypted.
pub struct Link {
    stream: Stream,
    secure: Option<Box<Layer>>,
}

/// What TLS adds to a socket while the connection opens.
struct Layer {
    encryption: Box<Encryption>,
    scratch: Scratch,
    plain: Box<[u8]>,
    /// Where in `plain` bytes wait.
    waiting: std::ops::Range<usize>,
    secured: Option<Secured>,
}

/// What a link was made of, and what it had read.
pub struct Parts {
    pub stream: Stream,
    pub encryption: Option<Box<Encryption>>,
    pub secured: Option<Secured>,
    pub read_ahead: Vec<u8>,
}

impl Link {
    pub fn new(stream: Stream) -> Self {
        Self { stream, secure: None }
    }

    /// Establishes TLS with a host that has to prove this name. An error is what is wrong.
    pub async fn secure(
        &mut self,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        ledger: &Ledger,
    ) -> Result<(), String> {
        let encryption = Encryption::connect(config, name, ledger).map_err(|error| error.to_string())?;
        let layer = self.secure.insert(Box::new(Layer {
            encryption: Box::new(encryption),
            scratch: Scratch::default(),
            plain: vec![0; INCOMING].into_boxed_slice(),
            waiting: 0..0,
            secured: None,
        }));
        let stream = &mut self.stream;
        std::future::poll_fn(|context| layer.poll_secured(stream, context)).await
    }

    /// Why TLS failed, if it did.
    pub fn failure(&self) -> Option<String> {
        self.secure.as_ref()?.failure()
    }

    /// Takes it apart. `read_ahead`: plain bytes that were taken out of it and not used; what it holds comes behind them.
    pub fn into_parts(self, mut read_ahead: Vec<u8>) -> Parts {
        let Self { stream, secure } = self;
        let Some(layer) = secure else {
            return Parts { stream, encryption: None, secured: None, read_ahead };
        };
        let Layer { encryption, plain, waiting, secured, .. } = *layer;
        read_ahead.extend_from_slice(plain.get(waiting).unwrap_or_default());
        Parts { stream, encryption: Some(encryption), secured, read_ahead }
    }
}

impl Layer {
    fn tls<'a>(&'a mut self, stream: &'a mut Stream) -> (Secure<'a>, &'a mut [u8]) {
        let Self { encryption, scratch, plain, .. } = self;
        (Secure { stream, encryption, scratch }, plain)
    }

    fn failure(&self) -> Option<String> {
        self.encryption.failure().map(ToString::to_string)
    }

    /// Sends what is to be sent, reads what is there.
    fn poll_incoming(&mut self, stream: &mut Stream, context: &mut Context<'_>) -> io::Result<Incoming> {
        let (mut tls, plain) = self.tls(stream);
        if tls.flush(context) == Wrote::Failed {
            return Err(ErrorKind::ConnectionReset.into());
        }
        let incoming = tls.read(context, plain, INCOMING);
        if let Incoming::Plain(count, _) | Incoming::Secured(_, count, _) = incoming {
            self.waiting = 0..count;
        }
        Ok(incoming)
    }

    fn poll_secured(&mut self, stream: &mut Stream, context: &mut Context<'_>) -> Poll<Result<(), String>> {
        loop {
            match self.poll_incoming(stream, context) {
                Ok(Incoming::Plain(..)) => {}
                Ok(Incoming::Nothing) => return Poll::Pending,
                Ok(Incoming::Secured(secured, ..)) => {
                    self.secured = Some(secured);
                    return Poll::Ready(Ok(()));
                }
                Ok(Incoming::Refused | Incoming::Ended) | Err(_) => {
                    // The alert goes out as far as the socket takes it at once.
                    let _ = self.tls(stream).0.flush(context);
                    let ended = || "the server ended the connection within the handshake".to_owned();
                    return Poll::Ready(Err(self.failure().unwrap_or_else(ended)));
                }
            }
        }
    }

    fn poll_read(
        &mut self,
        stream: &mut Stream,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.waiting.is_empty() {
            match self.poll_incoming(stream, context)? {
                Incoming::Nothing => return Poll::Pending,
                Incoming::Plain(..) | Incoming::Secured(..) => {}
                Incoming::Refused | Incoming::Ended => return Poll::Ready(Ok(())),
            }
        }
        let plain = self.plain.get(self.waiting.clone()).unwrap_or_default();
        let count = plain.len().min(buffer.remaining());
        buffer.put_slice(plain.get(..count).unwrap_or_default());
        self.waiting.start += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, secure } = &mut *self;
        match secure {
            None => stream.poll_read(context, buffer),
            Some(layer) => layer.poll_read(stream, context, buffer),
        }
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, secure } = &mut *self;
        let Some(layer) = secure else { return stream.poll_write(context, bytes) };
        match layer.tls(stream).0.write(context, &[IoSlice::new(bytes)]) {
            Wrote::Took(count) => Poll::Ready(Ok(count)),
            Wrote::Blocked => Poll::Pending,
            Wrote::Failed => Poll::Ready(Err(ErrorKind::ConnectionReset.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, secure } = &mut *self;
        let Some(layer) = secure else { return Poll::Ready(Ok(())) };
        match layer.tls(stream).0.flush(context) {
            Wrote::Took(_) => Poll::Ready(Ok(())),
            Wrote::Blocked => Poll::Pending,
            Wrote::Failed => Poll::Ready(Err(ErrorKind::ConnectionReset.into())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(context))?;
        Poll::Ready(self.stream.shut_down())
    }
}

//! Receives a link and a request · hands out what the server answered, and what it sent behind that · owns what is judged of
//! an answer beside what tungstenite judges (RFC 6455 §4.1).
//!
//! tungstenite keeps what it reads ahead, where nobody gets at it. So it is given the head of the answer and no more, and of
//! that only the lines that it looks at: everything else is bounded and judged before it comes to see it.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use streamconductor_core::deflate::{Agreement, confirm};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::{ProtocolError, SubProtocolError};
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::error::DialError;
use super::head::{Head, HeadReader};
use super::link::Link;

/// Headers that must not come twice (RFC 6455 §11.3.3, §11.3.4), as two readers may take two values for the one.
const SINGLE: [&str; 2] = ["sec-websocket-accept", "sec-websocket-protocol"];

/// What the server answered.
pub struct Answer {
    pub head: Head,
    /// What it sent behind the head: the first frames, or the body.
    pub rest: Vec<u8>,
    /// What was agreed, where the answer opens the connection.
    pub terms: Option<Terms>,
}

/// What an opened connection has agreed on.
pub struct Terms {
    pub subprotocol: Option<String>,
    pub agreement: Option<Agreement>,
}

/// Makes the opening handshake with the host of that name.
pub async fn open(
    link: &mut Link,
    request: Request,
    offers_compression: bool,
    host: &str,
) -> Result<Answer, DialError> {
    let mut gate =
        Gate { link, reader: HeadReader::default(), head: None, given: io::Cursor::default(), broken: None };
    // It never comes to speak in frames, for which it would keep a large buffer.
    let config = WebSocketConfig::default().read_buffer_size(0).write_buffer_size(0);
    let opened = client_async_with_config(request, &mut gate, Some(config)).await.map(|_| ());
    let Gate { link, reader, head, broken, .. } = gate;
    let bad = |rule: String| DialError::bad_answer(host, rule);
    if let Some(rule) = broken {
        return Err(bad(rule));
    }
    let Some(head) = head else {
        return Err(lost(host, link, opened.err()));
    };
    let rest = reader.into_rest();
    match opened {
        // To choose none of the subprotocols is the server's right.
        Ok(())
        | Err(Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(
            SubProtocolError::NoSubProtocol,
        ))) => {}
        Err(Error::Http(_)) => return Ok(Answer { head, rest, terms: None }),
        Err(error) => return Err(bad(rule(&error))),
    }
    if let Some(name) = SINGLE.iter().find(|name| head.all(name).count() > 1) {
        return Err(bad(format!("its answer has more than one {name}")));
    }
    let agreement = confirm(head.all("sec-websocket-extensions"), offers_compression);
    let agreement = agreement.map_err(|error| bad(error.to_string()))?;
    let subprotocol = head.first("sec-websocket-protocol").map(|value| String::from_utf8_lossy(value).into());
    Ok(Answer { head, rest, terms: Some(Terms { subprotocol, agreement }) })
}

/// The rule that tungstenite found broken.
fn rule(error: &Error) -> String {
    let rule = match error {
        Error::Protocol(ProtocolError::SecWebSocketAcceptKeyMismatch) => {
            "its Sec-WebSocket-Accept is not the answer to our key"
        }
        Error::Protocol(ProtocolError::MissingUpgradeWebSocketHeader) => "its 101 lacks Upgrade: websocket",
        Error::Protocol(ProtocolError::MissingConnectionUpgradeHeader) => "its 101 lacks Connection: Upgrade",
        Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)) => {
            "it selects a subprotocol that was not offered"
        }
        Error::Protocol(ProtocolError::WrongHttpVersion) => "it answers in HTTP/1.0",
        other => return other.to_string(),
    };
    rule.to_owned()
}

/// What became of a connection that ended before the answer was complete.
fn lost(host: &str, link: &Link, error: Option<Error>) -> DialError {
    if let Some(reason) = link.failure() {
        return DialError::Tls { host: host.to_owned(), reason };
    }
    let reason = match error {
        Some(Error::Io(error)) if error.kind() != ErrorKind::UnexpectedEof => error.to_string(),
        _ => "it ended the connection before its answer was complete".to_owned(),
    };
    DialError::unreachable(host, reason)
}

/// What tungstenite takes for the socket.
struct Gate<'a> {
    link: &'a mut Link,
    reader: HeadReader,
    head: Option<Head>,
    /// What of the head it is shown.
    given: io::Cursor<Vec<u8>>,
    /// The rule that the head breaks.
    broken: Option<String>,
}

impl Gate<'_> {
    fn poll_head(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Head>> {
        loop {
            match self.reader.head() {
                // Something to be told before the answer (RFC 9110 §15.2).
                Ok(Some(Head { status: 100 | 102..=199, .. })) => continue,
                Ok(Some(head)) => return Poll::Ready(Ok(head)),
                Ok(None) => {}
                Err(rule) => {
                    self.broken = Some(rule);
                    return Poll::Ready(Err(ErrorKind::InvalidData.into()));
                }
            }
            let mut piece = [0; 4096];
            let mut buffer = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut *self.link).poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Err(ErrorKind::UnexpectedEof.into()));
            }
            self.reader.add(buffer.filled());
        }
    }
}

impl AsyncRead for Gate<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.head.is_none() {
            let head = ready!(self.poll_head(context))?;
            self.given = io::Cursor::new(shown(&head));
            self.head = Some(head);
        }
        Pin::new(&mut self.given).poll_read(context, buffer)
    }
}

impl AsyncWrite for Gate<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.link).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.link).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.link).poll_shutdown(context)
    }
}

/// The head as tungstenite is shown it. It knows `Connection` with one token only, and a list that has it among others is
/// just as good (RFC 9110 §7.6.1).
fn shown(head: &Head) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.{} {:03} \r\n", head.version, head.status).into_bytes();
    if head.lists("connection", "upgrade") {
        bytes.extend_from_slice(b"Connection: Upgrade\r\n");
    }
    for name in ["upgrade", SINGLE[0], SINGLE[1]] {
        if let Some(value) = head.first(name) {
            bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

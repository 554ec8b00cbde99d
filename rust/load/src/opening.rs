//! Receives what to ask for · hands out the request and what the response says; to the conformance run an open
//! connection · owns the client's opening handshake.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::failure::Failure;

/// The example of RFC 6455 §1.3. The key guards against caches that answer by accident; a test client may
/// always use the same and so needs no SHA-1.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const TIMEOUT: Duration = Duration::from_secs(10);
pub(crate) const MAX_HEAD: usize = 16 * 1024;
pub(crate) const MAX_HEADERS: usize = 64;

/// A connection that is open.
pub(crate) struct Opened {
    pub(crate) stream: TcpStream,
    /// What came behind the response and belongs to the first frames.
    pub(crate) early: Vec<u8>,
    /// What the server chose of the extensions that were offered.
    pub(crate) extensions: Option<String>,
}

/// What a response that opens the connection says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Bytes of the head; what follows are frames.
    pub(crate) head: usize,
    pub(crate) extensions: Option<String>,
    pub(crate) subprotocol: Option<String>,
}

/// Opens a connection, blocking, and offers extensions.
pub(crate) fn offering(address: SocketAddr, path: &str, offer: Option<&str>) -> Result<Opened, Failure> {
    let failed = |reason: String| Failure::Opening { path: path.to_owned(), reason };
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(request(address, path, offer).as_bytes())?;

    let mut received = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let length =
            stream.read(&mut piece).map_err(|error| failed(format!("no whole response: {error}")))?;
        if length == 0 {
            return Err(failed("the server ended the connection".to_owned()));
        }
        received.extend_from_slice(piece.get(..length).unwrap_or_default());
        if let Some(Answer { head, extensions, .. }) = checked(&received).map_err(failed)? {
            if offer.is_none() && extensions.is_some() {
                return Err(failed("the server chose an extension that was not offered".to_owned()));
            }
            received.drain(..head);
            return Ok(Opened { stream, early: received, extensions });
        }
        if received.len() > MAX_HEAD {
            return Err(failed(format!("a response head of more than {MAX_HEAD} bytes")));
        }
    }
}

/// The request that opens a connection; `offer`: the extensions that are offered.
pub(crate) fn request(address: SocketAddr, path: &str, offer: Option<&str>) -> String {
    request_with(&address.to_string(), path, offer, &[], &[])
}

/// The same, with whatever else a request may say; `host`: what stands in its header.
pub(crate) fn request_with(
    host: &str,
    path: &str,
    offer: Option<&str>,
    subprotocols: &[String],
    headers: &[(String, String)],
) -> String {
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n"
    );
    let offered = (!subprotocols.is_empty()).then(|| subprotocols.join(", "));
    let protocol = ("Sec-WebSocket-Protocol", offered.as_deref());
    let own = [("Sec-WebSocket-Extensions", offer), protocol];
    let own = own.into_iter().filter_map(|(name, value)| value.map(|value| (name, value)));
    let given = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in own.chain(given) {
        request.extend([name, ": ", value, "\r\n"]);
    }
    request + "\r\n"
}

/// What the response says, once its head is complete and opens the connection.
pub(crate) fn checked(received: &[u8]) -> Result<Option<Answer>, String> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(received) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(format!("no HTTP response: {error}")),
    };
    if response.code != Some(101) {
        let (code, reason) = (response.code.unwrap_or_default(), response.reason.unwrap_or_default());
        return Err(format!("the server answered {code} {reason}"));
    }
    let value = |name: &str| {
        response
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name))
            .map(|header| header.value)
    };
    let text = |name: &str| value(name).map(|value| String::from_utf8_lossy(value).into_owned());
    match value("sec-websocket-accept") {
        Some(ACCEPT) => Ok(Some(Answer {
            head,
            extensions: text("sec-websocket-extensions"),
            subprotocol: text("sec-websocket-protocol"),
        })),
        _ => Err("the 101 carries no correct Sec-WebSocket-Accept".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

    #[test]
    fn frames_behind_the_head_are_not_part_of_it() {
        let received = format!("{HEAD}\u{1}\u{1}x");
        let answer = Answer { head: HEAD.len(), extensions: None, subprotocol: None };
        assert_eq!(checked(received.as_bytes()), Ok(Some(answer)));
        assert_eq!(checked(&HEAD.as_bytes()[..HEAD.len() - 1]), Ok(None));
    }

    #[test]
    fn only_a_correct_101_opens() {
        let refused = checked(b"HTTP/1.1 503 Service Unavailable\r\n\r\n");
        assert_eq!(refused, Err("the server answered 503 Service Unavailable".to_owned()));
        assert!(checked(HEAD.replace("s3pP", "s3pQ").as_bytes()).is_err());
        assert!(checked(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").is_err());
    }

    #[test]
    fn a_request_says_what_it_is_told_to() {
        let headers = [("Cookie".to_owned(), "a=b".to_owned())];
        let asked = request_with("h:1", "/p", Some("x"), &["chat".into(), "talk".into()], &headers);
        let lines: Vec<_> = asked.split("\r\n").collect();
        assert_eq!(lines.first(), Some(&"GET /p HTTP/1.1"));
        for line in
            ["Host: h:1", "Sec-WebSocket-Extensions: x", "Sec-WebSocket-Protocol: chat, talk", "Cookie: a=b"]
        {
            assert!(lines.contains(&line), "{line}");
        }
        assert!(asked.ends_with("\r\n\r\n"));
    }
}

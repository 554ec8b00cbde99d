//! Receives an address and a path · hands out an open connection and what came behind the 101 · owns the
//! client's opening handshake, which is not what is measured and therefore simply blocks.

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

/// Opens a connection without extensions, so nothing is compressed. The bytes returned came behind the response
/// and belong to the first frames.
pub(crate) fn open(address: SocketAddr, path: &str) -> Result<(TcpStream, Vec<u8>), Failure> {
    offering(address, path, None).map(|opened| (opened.stream, opened.early))
}

/// Opens a connection and offers extensions.
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
        if let Some((head, extensions)) = checked(&received).map_err(failed)? {
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
    let extensions = offer.map_or_else(String::new, |offer| format!("Sec-WebSocket-Extensions: {offer}\r\n"));
    format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{extensions}\r\n"
    )
}

/// How many bytes the head has, once it is complete and opens the connection, and the extensions that it names.
pub(crate) fn checked(received: &[u8]) -> Result<Option<(usize, Option<String>)>, String> {
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
    let extensions =
        value("sec-websocket-extensions").map(|value| String::from_utf8_lossy(value).into_owned());
    match value("sec-websocket-accept") {
        Some(ACCEPT) => Ok(Some((head, extensions))),
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
        assert_eq!(checked(received.as_bytes()), Ok(Some((HEAD.len(), None))));
        assert_eq!(checked(&HEAD.as_bytes()[..HEAD.len() - 1]), Ok(None));
    }

    #[test]
    fn only_a_correct_101_opens() {
        let refused = checked(b"HTTP/1.1 503 Service Unavailable\r\n\r\n");
        assert_eq!(refused, Err("the server answered 503 Service Unavailable".to_owned()));
        assert!(checked(HEAD.replace("s3pP", "s3pQ").as_bytes()).is_err());
        assert!(checked(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").is_err());
    }
}

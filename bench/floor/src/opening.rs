//! Receives the head of a request · hands out the path and the response that opens the connection · owns nothing.

use tungstenite::handshake::derive_accept_key;

/// What a head asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Opening<'a> {
    /// The path, without a query.
    pub path: &'a str,
    key: &'a str,
    /// Bytes of the head.
    pub length: usize,
}

impl<'a> Opening<'a> {
    /// Reads a head; `None`: it is not whole or asks for something else.
    pub fn read(received: &'a [u8]) -> Option<Self> {
        let length = received.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let mut lines = str::from_utf8(received.get(..length)?).ok()?.split("\r\n");
        let target = lines.next()?.strip_prefix("GET ")?.split(' ').next()?;
        let path = target.split('?').next()?;
        let key = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim())
        })?;
        Some(Self { path, key, length })
    }

    /// The response.
    pub fn response(&self) -> String {
        let accept = derive_accept_key(self.key.as_bytes());
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "GET /echo?x=1 HTTP/1.1\r\nHost: a\r\nSEC-WebSocket-Key:  dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

    #[test]
    fn rfc6455_1_3_the_sample_key_gets_the_sample_answer() {
        let opening = Opening::read(HEAD.as_bytes()).unwrap();
        assert_eq!((opening.path, opening.length), ("/echo", HEAD.len()));
        assert!(opening.response().contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    }

    #[test]
    fn half_a_head_and_another_request_are_none() {
        assert_eq!(Opening::read(&HEAD.as_bytes()[..HEAD.len() - 1]), None);
        assert_eq!(Opening::read(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), None);
    }
}

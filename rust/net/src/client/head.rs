//! Receives the bytes that a server or a proxy sends first · hands out the head of its answer, and keeps what is behind it
//! · owns how much of a head is read at all.

use httparse::{EMPTY_HEADER, Response, Status};

/// Bytes of an answer's head, blank line included.
pub const MAX_HEAD: usize = 16 * 1024;
/// Header lines of an answer.
pub const MAX_HEADERS: usize = 128;

const START: &[u8] = b"HTTP/1.";

/// The head of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub status: u16,
    /// The minor version of HTTP/1.
    pub version: u8,
    /// Names in lower case, in the order sent.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Head {
    /// The values of a header, in the order sent.
    pub fn all<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
        self.headers.iter().filter(move |header| header.0 == name).map(|header| header.1.as_slice())
    }

    /// The value of a header; the first, where it comes again.
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|header| header.0 == name).map(|header| header.1.as_slice())
    }

    /// Whether one of the list's elements is this token.
    pub fn lists(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .any(|element| element.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }
}

/// Collects a head.
#[derive(Default)]
pub struct HeadReader {
    bytes: Vec<u8>,
    /// Bytes known to hold no end of a head.
    scanned: usize,
}

impl HeadReader {
    /// Adds what was read.
    pub fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The head once it is complete; an error is the rule that it breaks.
    pub fn head(&mut self) -> Result<Option<Head>, String> {
        let beginning = START.len().min(self.bytes.len());
        if self.bytes.get(..beginning) != START.get(..beginning) {
            // Another protocol may never send the blank line that is waited for.
            return Err("it does not speak HTTP/1.1".to_owned());
        }
        let from = self.scanned.saturating_sub(3);
        let end = self.bytes.get(from..).unwrap_or_default().windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.map(|position| from + position + 4);
        if end.unwrap_or(self.bytes.len()) > MAX_HEAD {
            return Err(format!("its head has more than {MAX_HEAD} bytes"));
        }
        let Some(end) = end else {
            self.scanned = self.bytes.len();
            return Ok(None);
        };
        let head = parse(self.bytes.get(..end).unwrap_or_default())?;
        self.bytes.drain(..end);
        self.scanned = 0;
        Ok(Some(head))
    }

    /// What came behind the head.
    pub fn into_rest(self) -> Vec<u8> {
        self.bytes
    }
}

fn parse(bytes: &[u8]) -> Result<Head, String> {
    // The parser takes a bare LF for the end of a line; others on the way may not, and see another answer.
    let is_bare = |two: &[u8]| matches!(two, [before, b'\n'] if *before != b'\r');
    if bytes.windows(2).any(is_bare) {
        return Err("its head has a line that does not end in CRLF".to_owned());
    }
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut response = Response::new(&mut headers);
    match response.parse(bytes) {
        Ok(Status::Complete(_)) => {}
        Ok(Status::Partial) => return Err("its head is no HTTP".to_owned()),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(format!("its head has more than {MAX_HEADERS} headers"));
        }
        Err(error) => return Err(format!("its head is no HTTP: {error}")),
    }
    let headers = response.headers.iter();
    Ok(Head {
        status: response.code.unwrap_or_default(),
        version: response.version.unwrap_or_default(),
        headers: headers.map(|one| (one.name.to_ascii_lowercase(), one.value.to_vec())).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_gives_the_same_head_and_keeps_what_is_behind_it() {
        let bytes = b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nX:\r\n\r\n\r\n\r\nframes";
        let head = "\r\n\r\nframes";
        for each in 1..bytes.len() {
            let mut reader = HeadReader::default();
            let mut found = None;
            for part in bytes.chunks(each) {
                reader.add(part);
                if found.is_none() {
                    found = reader.head().unwrap();
                }
            }
            let found = found.unwrap();
            assert_eq!((found.status, found.version, found.headers.len()), (101, 1, 2));
            assert_eq!(found.first("upgrade"), Some(&b"websocket"[..]));
            assert_eq!(reader.into_rest(), head.as_bytes());
        }
    }

    #[test]
    fn what_is_no_answer_is_refused_as_soon_as_it_shows() {
        let refused = |bytes: &[u8]| {
            let mut reader = HeadReader::default();
            reader.add(bytes);
            reader.head().err()
        };
        assert!(refused(b"SSH-2.0-Open").is_some());
        assert!(refused(b"HTTP/2").is_some());
        assert_eq!(refused(b"HTTP"), None);
        assert!(refused(b"HTTP/1.1 101 x\nA: b\r\n\r\n").is_some());
        assert!(refused(b"HTTP/1.1 1O1 x\r\n\r\n").is_some());
        assert!(refused(b"HTTP/1.1 200 x\r\n folded\r\n\r\n").is_some());
    }

    #[test]
    fn a_head_is_bounded_to_the_byte_and_to_the_line() {
        let start = "HTTP/1.1 101 x\r\nA: ";
        let of = |size: usize| format!("{start}{}\r\n\r\n", "x".repeat(size - start.len() - 4));
        let read = |text: &str| {
            let mut reader = HeadReader::default();
            reader.add(text.as_bytes());
            reader.head().map(|head| head.is_some())
        };
        assert_eq!(read(&of(MAX_HEAD)), Ok(true));
        assert!(read(&of(MAX_HEAD + 1)).is_err());
        assert!(read(&of(MAX_HEAD + 5)[..=MAX_HEAD]).is_err(), "without an end in sight");
        let lines = |count: usize| format!("HTTP/1.1 101 x\r\n{}\r\n", "a: b\r\n".repeat(count));
        assert_eq!(read(&lines(MAX_HEADERS)), Ok(true));
        assert!(read(&lines(MAX_HEADERS + 1)).is_err());
    }
}

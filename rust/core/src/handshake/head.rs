//! Receives the first bytes of a socket, in any split · hands out the [`Request`] or the refusal · owns the
//! bytes until the blank line, never more than [`MAX_HEAD`].
//!
//! Each byte is looked at once as it comes, so a client that sends one at a time costs no more than another;
//! httparse sees the first line once and the whole head once. httparse forgives what RFC 9112 does not (bare
//! LF, empty lines before the request), so line ends are judged here.

use super::request::Request;
use super::response::Refusal;
use super::{MAX_HEAD, MAX_HEADERS, MAX_TARGET};

/// Collects a request head. Boxed by whoever reads the socket, dropped after the handshake.
#[derive(Default)]
pub struct HeadReader {
    buffer: Vec<u8>,
    /// Lines that have ended, the request line included.
    lines: usize,
    /// Bytes of the current line.
    column: usize,
    /// Spaces of the request line so far; the target stands between the first and the second.
    spaces: usize,
    /// Bytes of the target so far.
    target: usize,
    /// The last byte was CR, so that only LF may follow.
    returned: bool,
    stage: Stage,
}

#[derive(Clone, Copy, Default)]
enum Stage {
    #[default]
    Reading,
    /// An upgrade was handed out, and no 101 is known to have been sent.
    Answering,
    /// Whatever comes now is discarded.
    Finished,
}

impl HeadReader {
    /// A reader that has seen nothing and holds no memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes held: 0 once a request or a refusal was handed out, at most [`MAX_HEAD`] before.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Adds bytes. `Ok(None)`: more are needed. `Ok(Some)`: the head is complete.
    ///
    /// Nothing may follow the head of an upgrade before our 101 (no frame, no second request, no body): bytes
    /// behind it are refused with 400, in the same call or in a later one. Behind any other head, and after a
    /// refusal, they are ignored, since the answer closes the connection.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Option<Request>, Refusal> {
        match self.stage {
            Stage::Reading => {}
            Stage::Answering if !bytes.is_empty() => {
                self.stage = Stage::Finished;
                return Err(too_early());
            }
            Stage::Answering | Stage::Finished => return Ok(None),
        }
        let outcome = self.advance(bytes);
        self.stage = match &outcome {
            Ok(None) => return outcome,
            Ok(Some(request)) if request.is_upgrade() => Stage::Answering,
            _ => Stage::Finished,
        };
        self.buffer = Vec::new();
        outcome
    }

    fn advance(&mut self, bytes: &[u8]) -> Result<Option<Request>, Refusal> {
        // For all of them at once: a buffer that grows from nothing copies the head again and again.
        self.buffer.reserve(bytes.len().min(MAX_HEAD - self.buffer.len()));
        let mut rest = bytes;
        while let Some((byte, after)) = rest.split_first() {
            if self.buffer.len() == MAX_HEAD {
                return Err(too_large());
            }
            let (run, behind) = rest.split_at(self.run(rest));
            if !run.is_empty() {
                self.buffer.extend_from_slice(run);
                self.column += run.len();
                rest = behind;
                continue;
            }
            self.buffer.push(*byte);
            rest = after;
            if self.step(*byte)? {
                let request = Request::parse(std::mem::take(&mut self.buffer))?;
                let is_last = rest.is_empty();
                return if is_last || !request.is_upgrade() { Ok(Some(request)) } else { Err(too_early()) };
            }
        }
        Ok(None)
    }

    /// How many bytes at the start of `bytes` only make a header line longer, which is most of a head. For them
    /// [`HeadReader::step`] would do no more than count.
    fn run(&self, bytes: &[u8]) -> usize {
        if self.returned || !(1..=MAX_HEADERS).contains(&self.lines) {
            return 0;
        }
        let room = bytes.get(..MAX_HEAD - self.buffer.len()).unwrap_or(bytes);
        let is_special = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
        // Sixteen at a time, for which there are vector instructions as long as nothing ends the loop within them.
        let is_plain = |many: &&[u8; 16]| !many.iter().fold(false, |found, byte| found | is_special(byte));
        let plain = room.as_chunks().0.iter().take_while(is_plain).count() * 16;
        let rest = room.get(plain..).unwrap_or_default();
        plain + rest.iter().position(is_special).unwrap_or(rest.len())
    }

    /// Judges one byte; `true` when it ends the head.
    fn step(&mut self, byte: u8) -> Result<bool, Refusal> {
        if self.returned != (byte == b'\n') {
            return Err(Refusal::new(400, "a line does not end in CRLF"));
        }
        match byte {
            b'\n' => {
                self.returned = false;
                let is_blank = self.column == 0;
                self.column = 0;
                self.lines += 1;
                return match (self.lines, is_blank) {
                    // Tolerating empty lines first serves persistent connections only (§2.2); here there is one request.
                    (1, true) => Err(Refusal::new(400, "the request line is empty")),
                    (1, false) => self.request_line().map(|()| false),
                    (_, is_blank) => Ok(is_blank),
                };
            }
            b'\r' => {
                self.returned = true;
                return Ok(false);
            }
            b'\t' => {}
            // Ends a TLS greeting on a plain port at its first byte, too.
            _ if byte.is_ascii_control() => return Err(Refusal::new(400, "a control character in the head")),
            _ => {}
        }
        self.column += 1;
        if self.lines > MAX_HEADERS {
            return Err(Refusal::new(431, format!("more than {MAX_HEADERS} headers")));
        }
        if self.lines == 0 {
            if byte == b' ' {
                self.spaces += 1;
            } else if self.spaces == 1 {
                self.target += 1;
            }
            if self.target > MAX_TARGET {
                return Err(Refusal::new(414, format!("request target above {MAX_TARGET} bytes")));
            }
        }
        Ok(false)
    }

    /// Judges the request line before any header came: HTTP/0.9, 1.0 and 2 clients would wait for us here.
    fn request_line(&self) -> Result<(), Refusal> {
        let mut none = [];
        let mut line = httparse::Request::new(&mut none);
        match line.parse(&self.buffer) {
            Ok(_) if line.version == Some(1) => Ok(()),
            Ok(_) => Err(unsupported_version()),
            Err(httparse::Error::Version) if self.names_a_version() => Err(unsupported_version()),
            Err(_) => Err(Refusal::new(400, "malformed request line")),
        }
    }

    /// Whether the third and last word of the request line is `HTTP/` with two digits.
    fn names_a_version(&self) -> bool {
        let mut words = self.buffer.trim_ascii_end().split(|byte| *byte == b' ').skip(2);
        let version = words.next().and_then(|word| word.strip_prefix(b"HTTP/"));
        let is_version =
            matches!(version, Some([major, b'.', minor]) if major.is_ascii_digit() && minor.is_ascii_digit());
        is_version && words.next().is_none()
    }
}

fn too_large() -> Refusal {
    Refusal::new(431, format!("request head above {MAX_HEAD} bytes"))
}

fn too_early() -> Refusal {
    Refusal::new(400, "bytes before the handshake was answered")
}

fn unsupported_version() -> Refusal {
    Refusal::new(505, "only HTTP/1.1 is spoken here")
}

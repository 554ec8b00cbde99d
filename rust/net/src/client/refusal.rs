//! Receives the head of an answer that opens nothing, and what comes behind it · hands out what the server had to say ·
//! owns how much of that is read: a piece of the body, for people.

use std::fmt;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncRead, AsyncReadExt};

use super::head::Head;

/// Bytes of a body that are kept.
const MAX_BODY: usize = 4 * 1024;
/// How long a body is waited for: a refusal is as good without it.
const BODY_TIME: Duration = Duration::from_millis(500);

/// An answer other than a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Who answered: the URL without its query.
    pub url: String,
    /// The status.
    pub status: u16,
    /// How long the server asks to be left alone, at the time it answered; `None`: it does not say.
    pub retry_after: Option<Duration>,
    /// Header names in lower case, with their values, in the order sent.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The first 4 KiB of the body at most, fewer where it does not come within half a second.
    pub body: Vec<u8>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} answered {} and opened no connection", self.url, self.status)?;
        match self.retry_after {
            Some(time) => write!(formatter, "; it asks for {} s before the next try", time.as_secs()),
            None => Ok(()),
        }
    }
}

impl Refusal {
    /// Reads what there is of the body behind the head. `rest`: bytes of it that were read with the head.
    pub async fn read(url: &str, head: Head, rest: Vec<u8>, link: &mut (impl AsyncRead + Unpin)) -> Self {
        let mut raw = rest;
        let is_chunked = head.lists("transfer-encoding", "chunked");
        let length = head.first("content-length").and_then(|value| std::str::from_utf8(value).ok());
        let length: Option<usize> = length.and_then(|text| text.parse().ok()).filter(|_| !is_chunked);
        // Chunks have lines of their own; with twice as much there is enough of what is in them.
        let wanted = length.map_or(2 * MAX_BODY, |length| length.min(MAX_BODY));
        let reading = async {
            let mut piece = [0; 1024];
            while raw.len() < wanted && !(is_chunked && raw.ends_with(b"0\r\n\r\n")) {
                match link.read(&mut piece).await {
                    Ok(count) if count > 0 => raw.extend_from_slice(piece.get(..count).unwrap_or_default()),
                    _ => break,
                }
            }
        };
        // Whatever came in time is what there is.
        let _ = tokio::time::timeout(BODY_TIME, reading).await;
        raw.truncate(wanted);
        let mut body = if is_chunked { joined(&raw) } else { raw };
        body.truncate(MAX_BODY);
        let retry_after = head.first("retry-after").and_then(retry_after);
        Self { url: url.to_owned(), status: head.status, retry_after, headers: head.headers, body }
    }
}

/// What is in the chunks (RFC 9112 §7.1), as far as they are whole or begun.
fn joined(mut raw: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(httparse::Status::Complete((start, size))) = httparse::parse_chunk_size(raw) {
        let rest = raw.get(start..).unwrap_or_default();
        let size = usize::try_from(size).unwrap_or(usize::MAX).min(rest.len());
        let (chunk, after) = rest.split_at_checked(size).unwrap_or((rest, &[]));
        if chunk.is_empty() {
            break;
        }
        body.extend_from_slice(chunk);
        raw = after.get(2..).unwrap_or_default();
    }
    body
}

/// The time that `Retry-After` asks for (RFC 9110 §10.2.3): seconds, or a date.
fn retry_after(value: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim();
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(Duration::from_secs);
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(retry_after(b"121"), Some(Duration::from_secs(121)));
        assert_eq!(retry_after(b"Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO), "long past");
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
        let time = retry_after(soon.as_bytes()).unwrap().as_secs();
        assert!((90..=100).contains(&time), "{time}");
        for nonsense in ["", "-1", "soon", "1.5", "99999999999999999999"] {
            assert_eq!(retry_after(nonsense.as_bytes()), None, "{nonsense}");
        }
    }

    #[test]
    fn chunks_are_joined_as_far_as_they_came() {
        assert_eq!(joined(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"), b"abcde");
        assert_eq!(joined(b"3\r\nabc\r\n5\r\nde"), b"abcde");
        assert_eq!(joined(b"ffffffffffffffff\r\nab"), b"ab");
        assert_eq!(joined(b"no chunk"), b"");
    }
}

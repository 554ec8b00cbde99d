//! Receives a complete head from the reader · hands out its parts to the verdict, the application and the
//! logs · owns the head's bytes as one blob with an index of 16-bit offsets.

use std::fmt;
use std::sync::Arc;

use super::MAX_HEADERS;
use super::authority::Authority;
use super::response::Refusal;
use super::syntax::elements;
use super::target::Target;

/// A request head. A clone shares the bytes and may go to another thread.
#[derive(Clone)]
pub struct Request {
    head: Arc<Head>,
    /// Whether the request is known to have come over TLS. `false` when read; the reader's owner sets it.
    pub secure: bool,
}

struct Head {
    bytes: Box<[u8]>,
    method: Span,
    target: Span,
    headers: Box<[(Span, Span)]>,
    /// Found out once, as whoever reads, judges and answers asks.
    is_upgrade: bool,
}

/// A part of the blob; [`super::MAX_HEAD`] keeps every offset within 16 bits.
#[derive(Clone, Copy)]
struct Span {
    start: u16,
    end: u16,
}

impl Span {
    /// Where `part`, a slice of `whole`, lies in it.
    fn of(whole: &[u8], part: &[u8]) -> Self {
        let start = part.as_ptr().addr().saturating_sub(whole.as_ptr().addr());
        Self { start: start as u16, end: (start + part.len()) as u16 }
    }
}

impl Head {
    fn bytes(&self, span: Span) -> &[u8] {
        self.bytes.get(usize::from(span.start)..usize::from(span.end)).unwrap_or_default()
    }

    /// A part that httparse found to be text.
    fn text(&self, span: Span) -> &str {
        std::str::from_utf8(self.bytes(span)).unwrap_or_default()
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        // As bytes: that a name is text need not be found out for every header at every look.
        let is_named = move |other: Span| self.bytes(other).eq_ignore_ascii_case(name.as_bytes());
        let headers = self.headers.iter().filter(move |(other, _)| is_named(*other));
        headers.map(|(_, value)| self.bytes(*value))
    }

    fn elements(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.values(name).flat_map(elements)
    }

    fn asks_to_be_upgraded(&self) -> bool {
        let names = |header, value: &[u8]| self.elements(header).any(|word| word.eq_ignore_ascii_case(value));
        self.bytes(self.method) == b"GET" && names("upgrade", b"websocket") && names("connection", b"upgrade")
    }
}

impl Request {
    /// Reads a head that ends in its blank line, and refuses what RFC 9112 calls malformed.
    pub(super) fn parse(bytes: Vec<u8>) -> Result<Self, Refusal> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        // httparse refuses obsolete folding, blanks before the colon and names that are not tokens.
        let complete = parsed.parse(&bytes).is_ok_and(|status| status.is_complete());
        let (true, Some(method), Some(target)) = (complete, parsed.method, parsed.path) else {
            return Err(Refusal::new(400, "malformed header line"));
        };
        let span = |part: &[u8]| Span::of(&bytes, part);
        let (method, target) = (span(method.as_bytes()), span(target.as_bytes()));
        let headers =
            parsed.headers.iter().map(|header| (span(header.name.as_bytes()), span(header.value))).collect();
        let mut head = Head { bytes: bytes.into_boxed_slice(), method, target, headers, is_upgrade: false };
        head.is_upgrade = head.asks_to_be_upgraded();
        let request = Self { head: Arc::new(head), secure: false };

        Target::parse(request.method(), request.target()).map_err(|reason| Refusal::new(400, reason))?;
        request.check_host()?;
        Ok(request)
    }

    /// The method as sent; methods are case-sensitive.
    pub fn method(&self) -> &str {
        self.head.text(self.head.method)
    }

    /// The request target as sent: path and query, or an absolute URI.
    pub fn target(&self) -> &str {
        self.head.text(self.head.target)
    }

    /// The path as sent, still percent-encoded; its decoded form is text without control characters.
    pub fn path(&self) -> &str {
        self.parts().path
    }

    /// What follows the first `?`, as sent. It may carry secrets and never belongs into a log.
    pub fn query(&self) -> Option<&str> {
        self.parts().query
    }

    /// `host[:port]` that the client meant: of an absolute target, else of `Host`; empty when `Host` is.
    pub fn host(&self) -> &str {
        let header = || self.header("host").and_then(|host| std::str::from_utf8(host).ok());
        self.parts().authority.or_else(header).unwrap_or_default()
    }

    /// The `Origin` as sent: the page that a browser connects from.
    pub fn origin(&self) -> Option<&[u8]> {
        self.header("origin")
    }

    /// The first header of this name, in whatever case, without the white space around it.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.header_values(name).next()
    }

    /// Every header of this name, in the order sent.
    pub fn header_values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.head.values(name)
    }

    /// All headers in the order sent.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.head.headers.iter().map(|(name, value)| (self.head.text(*name), self.head.bytes(*value)))
    }

    /// The subprotocols that the client offers, in its order, a `bearer.<token>` among them.
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        self.elements("sec-websocket-protocol").filter_map(|offer| std::str::from_utf8(offer).ok())
    }

    /// Whether this is a GET that asks to become a WebSocket connection (RFC 6455 §4.2.1, 1 to 4).
    pub fn is_upgrade(&self) -> bool {
        self.head.is_upgrade
    }

    /// The elements of a header that is a comma-separated list, over all its lines.
    pub(super) fn elements(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.head.elements(name)
    }

    fn check_host(&self) -> Result<(), Refusal> {
        let mut hosts = self.header_values("host");
        match (hosts.next(), hosts.next()) {
            (None, _) => Err(Refusal::new(400, "no Host")),
            (_, Some(_)) => Err(Refusal::new(400, "more than one Host")),
            // An empty one is valid (RFC 9112 §3.2) and sent by probes; it equals no origin.
            (Some(host), None) if host.is_empty() || Authority::parse(host).is_some() => Ok(()),
            _ => Err(Refusal::new(400, "the Host is not host[:port]")),
        }
    }

    /// The target was taken apart once when it was read, so the fallback never shows.
    fn parts(&self) -> Target<'_> {
        let target = self.target();
        Target::parse(self.method(), target).unwrap_or(Target { authority: None, path: target, query: None })
    }
}

impl fmt::Debug for Request {
    /// Method, path and the number of headers: neither query strings nor header values belong into a log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Request")
            .field("method", &self.method())
            .field("path", &self.path())
            .field("headers", &self.head.headers.len())
            .field("secure", &self.secure)
            .finish()
    }
}

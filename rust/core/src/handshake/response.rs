//! Receives verdicts and what the application adds to them · hands out the bytes of the answer · owns the
//! form of responses: one, then the connection closes or speaks WebSocket.

use std::borrow::Cow;
use std::time::Duration;

use tungstenite::handshake::derive_accept_key;
use tungstenite::http::StatusCode;

use super::request::Request;
use super::syntax::{BEARER_SUBPROTOCOL, is_token};
use super::upgrade::key;
use crate::deflate::Agreement;

/// A refusal of the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status, 300 to 599; any other (and 304, which has no body) is sent as 500.
    pub status: u16,
    /// One sentence for the person at the other end; it is the body.
    pub reason: Cow<'static, str>,
    /// Headers beside those that every refusal has.
    pub headers: ResponseHeaders,
}

impl Refusal {
    /// A refusal without headers of its own.
    pub fn new(status: u16, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { status, reason: reason.into(), headers: ResponseHeaders::default() }
    }

    /// Adds `Retry-After`, in whole seconds rounded up, at least one: when the client should try again.
    pub fn retry_after(mut self, delay: Duration) -> Self {
        let seconds = delay.as_millis().div_ceil(1000).max(1);
        self.headers.pairs.push(("Retry-After".into(), seconds.to_string().into()));
        self
    }

    /// Adds a header that only the handshake itself may set.
    pub(crate) fn with_own(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.pairs.push((name.into(), value.into()));
        self
    }
}

/// Headers that the application adds to a response, each checked when added, so that none can split it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseHeaders {
    pairs: Vec<(Cow<'static, str>, Cow<'static, str>)>,
}

/// Why a header cannot stand in a response. Values are not repeated: they may be secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The name is not a token.
    #[error("header name {0:?} is not a token (RFC 9110 §5.6.2)")]
    Name(String),
    /// The value holds a control character such as CR, LF or NUL.
    #[error("the value of header {0:?} holds a control character")]
    Value(String),
    /// The handshake sets it.
    #[error("header {0:?} is set by the handshake itself")]
    Own(String),
}

impl ResponseHeaders {
    /// The headers of `pairs`, or what is wrong with the first that cannot stand in a response.
    pub fn checked<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, HeaderError> {
        let mut headers = Self::default();
        for (name, value) in pairs {
            headers.add(name.as_ref(), value.as_ref())?;
        }
        Ok(headers)
    }

    /// Adds one header. Names may repeat (`Set-Cookie`).
    pub fn add(&mut self, name: &str, value: &str) -> Result<(), HeaderError> {
        if !is_token(name.as_bytes()) {
            return Err(HeaderError::Name(name.to_owned()));
        }
        // HTAB is the one control that a value may hold (RFC 9110 §5.5).
        if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
            return Err(HeaderError::Value(name.to_owned()));
        }
        if is_own(name) {
            return Err(HeaderError::Own(name.to_owned()));
        }
        self.pairs.push((name.to_owned().into(), value.to_owned().into()));
        Ok(())
    }

    /// Name and value in the order added.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    fn has(&self, name: &str) -> bool {
        self.iter().any(|(other, _)| other.eq_ignore_ascii_case(name))
    }
}

/// What decides where the response ends and what follows it.
fn is_own(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("sec-websocket-")
        || matches!(
            name.as_str(),
            "connection" | "upgrade" | "content-length" | "content-type" | "transfer-encoding" | "trailer"
        )
}

/// Why a request cannot be answered with 101.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SwitchError {
    /// [`super::judge`] would not have called it an upgrade.
    #[error("the request is not a valid upgrade")]
    NotAnUpgrade,
    /// A client fails the connection on a subprotocol that it did not offer (RFC 6455 §4.1).
    #[error("the client did not offer this subprotocol")]
    NotOffered,
    /// It would send a token back in clear sight of logs and proxies.
    #[error("a subprotocol \"bearer.<token>\" carries a token and is never selected")]
    Bearer,
}

/// The 101 that ends the handshake; the next byte is a frame. `deflate` is what was agreed of this request's offers;
/// `None`: no extension.
pub fn switching_protocols(
    request: &Request,
    subprotocol: Option<&str>,
    deflate: Option<Agreement>,
    headers: &ResponseHeaders,
) -> Result<Vec<u8>, SwitchError> {
    let (true, Some(key)) = (request.is_upgrade(), key(request)) else {
        return Err(SwitchError::NotAnUpgrade);
    };
    let accept = derive_accept_key(key);
    let mut own =
        vec![("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", &accept)];
    if let Some(subprotocol) = subprotocol {
        if subprotocol.starts_with(BEARER_SUBPROTOCOL) {
            return Err(SwitchError::Bearer);
        }
        // The offers of a judged request are tokens, so an offered one cannot split the response.
        if !is_token(subprotocol.as_bytes()) || !request.subprotocols().any(|offer| offer == subprotocol) {
            return Err(SwitchError::NotOffered);
        }
        own.push(("Sec-WebSocket-Protocol", subprotocol));
    }
    let extensions = deflate.map(|agreement| agreement.to_string());
    if let Some(extensions) = &extensions {
        own.push(("Sec-WebSocket-Extensions", extensions));
    }
    Ok(response(101, own.into_iter().chain(headers.iter()), b""))
}

/// The bytes of a refusal: plain text that a browser will not take for anything else.
pub fn refusal_response(refusal: &Refusal, head_only: bool) -> Vec<u8> {
    // A status below 300 would tell the client that it was let in.
    let status = if matches!(refusal.status, 300..=303 | 305..=599) { refusal.status } else { 500 };
    let reason = if refusal.reason.is_empty() { phrase(status) } else { &refusal.reason };
    let body = format!("{reason}\n");
    plain_response(status, "text/plain; charset=utf-8", body.as_bytes(), head_only, &refusal.headers)
}

/// A complete answer after which the connection closes. `head_only` leaves out the body, not its length
/// (RFC 9110 §9.3.2). `content_type` is ours, never a client's.
pub fn plain_response(
    status: u16,
    content_type: &'static str,
    body: &[u8],
    head_only: bool,
    headers: &ResponseHeaders,
) -> Vec<u8> {
    let length = body.len().to_string();
    // Whoever sends Upgrade also sends it as a connection option (RFC 9110 §7.8).
    let connection = if headers.has("upgrade") { "close, upgrade" } else { "close" };
    let own = [
        ("Connection", connection),
        ("Content-Type", content_type),
        ("Content-Length", &length),
        ("X-Content-Type-Options", "nosniff"),
    ];
    response(status, own.into_iter().chain(headers.iter()), if head_only { b"" } else { body })
}

fn response<'pair>(
    status: u16,
    headers: impl Iterator<Item = (&'pair str, &'pair str)>,
    body: &[u8],
) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {status} {}\r\n", phrase(status)).into_bytes();
    for (name, value) in headers {
        for part in [name, ": ", value, "\r\n"] {
            bytes.extend_from_slice(part.as_bytes());
        }
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

fn phrase(status: u16) -> &'static str {
    StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default()
}

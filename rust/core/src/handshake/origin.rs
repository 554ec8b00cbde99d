//! Receives the `Origin` of a request and the configured [`Origins`] · hands out whether a page there may
//! connect · owns the origin rule, which is what keeps other sites' scripts from using a visitor's cookies.

use std::fmt;

use super::authority::Authority;
use super::request::Request;
use super::response::Refusal;
use crate::config::Origins;

/// An origin in normal form (RFC 6454 §4): scheme and host in lower case, the default port filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    authority: Authority,
}

impl Origin {
    /// Reads `scheme://host[:port]`. `None` for anything else: a path, a trailing slash, user information,
    /// a wildcard, `null`. Configuration uses it to refuse entries that could never match.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let valid = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
        let authority = Authority::parse(rest.as_bytes())?;
        if !valid || authority.host.contains('*') {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        let port = authority.port.or_else(|| default_port(&scheme));
        Some(Self { scheme, authority: Authority { port, ..authority } })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}", self.scheme, self.authority.host)?;
        match self.authority.port {
            Some(port) if default_port(&self.scheme) != Some(port) => write!(formatter, ":{port}"),
            _ => Ok(()),
        }
    }
}

/// `Ok` when the request may connect: it has no `Origin` (no browser sent it), or an allowed one.
///
/// * two `Origin`s: 400, whatever is configured;
/// * [`Origins::Any`]: every origin;
/// * [`Origins::Listed`]: scheme, host and port equal to an entry; `null` only when listed;
/// * [`Origins::Same`]: host and port equal to the request's own, and the scheme `https` when the request is
///   known to have come over TLS (`http` proves nothing: a proxy may have ended the TLS). Or all of peer,
///   `Host` and origin are loopback, so that a development server on another port may connect. `Host` counts
///   too, because behind a proxy on this machine every peer is loopback.
pub(super) fn check(request: &Request, origins: &Origins, peer_is_loopback: bool) -> Result<(), Refusal> {
    let mut values = request.header_values("origin");
    let Some(value) = values.next() else { return Ok(()) };
    if values.next().is_some() {
        return Err(Refusal::new(400, "more than one Origin"));
    }
    let origin = std::str::from_utf8(value).ok().and_then(Origin::parse);
    let allowed = match origins {
        Origins::Any => true,
        Origins::Listed(listed) => match &origin {
            Some(origin) => listed.iter().any(|entry| Origin::parse(entry).as_ref() == Some(origin)),
            None => value == b"null" && listed.iter().any(|entry| entry == "null"),
        },
        Origins::Same => origin.as_ref().is_some_and(|origin| is_same(origin, request, peer_is_loopback)),
    };
    match (allowed, origin) {
        (true, _) => Ok(()),
        // Named in its normal form, a short text without blanks: nothing else that was sent is repeated.
        (false, Some(origin)) => Err(Refusal::new(403, format!("origin {origin} is not allowed"))),
        (false, None) if value == b"null" => Err(Refusal::new(403, "origin null is not allowed")),
        (false, None) => Err(Refusal::new(403, "the Origin is not scheme://host[:port]")),
    }
}

fn is_same(origin: &Origin, request: &Request, peer_is_loopback: bool) -> bool {
    let Some(host) = Authority::parse(request.host().as_bytes()) else { return false };
    if default_port(&origin.scheme).is_none() {
        return false;
    }
    let same = origin.authority.host == host.host
        && origin.authority.port == host.port.or_else(|| default_port(&origin.scheme))
        && (!request.secure || origin.scheme == "https");
    same || (peer_is_loopback && host.is_loopback() && origin.authority.is_loopback())
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

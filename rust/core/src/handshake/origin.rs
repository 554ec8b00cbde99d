//! Receives the `Origin` of a request and the configured [`Origins`] · hands out whether a page there may
//! connect · owns the origin rule, which is what keeps other sites' scripts from using a visitor's cookies.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

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

/// The origins that a server or a route lists, read once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedOrigins(Arc<[Pattern]>);

/// One entry of a list of origins.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    /// The word `null`: pages without an origin of their own, such as sandboxed frames and files.
    Null,
    Exact(Origin),
    /// Every host with at least one more label in front of this one's; scheme and port are equal.
    Below(Origin),
}

/// Why an entry is no origin. The text names the fix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{entry:?} {problem}")]
pub struct OriginError {
    entry: String,
    problem: &'static str,
}

impl OriginError {
    /// What is wrong, to stand behind the entry.
    pub const fn problem(&self) -> &str {
        self.problem
    }
}

impl AllowedOrigins {
    /// Reads `scheme://host[:port]`, `scheme://*.domain[:port]` for all hosts below a domain, and `null`.
    pub fn listed(entries: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, OriginError> {
        let parse = |entry: &str| {
            Pattern::parse(entry).map_err(|problem| OriginError { entry: entry.to_owned(), problem })
        };
        entries.into_iter().map(|entry| parse(entry.as_ref())).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a page of this origin may connect; `None` is `null`.
    fn allow(&self, origin: Option<&Origin>) -> bool {
        self.0.iter().any(|pattern| match (pattern, origin) {
            (Pattern::Null, None) => true,
            (Pattern::Exact(entry), Some(origin)) => entry == origin,
            (Pattern::Below(entry), Some(origin)) => origin.is_below(entry),
            _ => false,
        })
    }
}

impl Pattern {
    fn parse(entry: &str) -> Result<Self, &'static str> {
        if entry == "null" {
            return Ok(Self::Null);
        }
        let Some((scheme, host)) = entry.split_once("://*") else {
            let problem = if entry.contains('*') {
                "has a * elsewhere than in front; write scheme://*.domain for all hosts below a domain, or \"*\" \
                 alone for any origin"
            } else {
                "is no origin; write scheme://host[:port] without a path"
            };
            return Origin::parse(entry).map(Self::Exact).ok_or(problem);
        };
        let Some(domain) = host.strip_prefix('.') else {
            return Err("has a * that is no whole label; write scheme://*.domain, or \"*\" for any origin");
        };
        // Exactly what may stand alone: one entry must not be read in two ways.
        let origin = Origin::parse(&format!("{scheme}://{domain}"));
        origin.filter(Origin::is_domain).map(Self::Below).ok_or(
            "has no domain behind its *.; write scheme://*.domain[:port] without a path, and one * only",
        )
    }
}

impl Origin {
    /// Whether the host is a name of labels, none of them empty, and no address.
    fn is_domain(&self) -> bool {
        let host = &self.authority.host;
        !host.starts_with('[') && host.parse::<Ipv4Addr>().is_err() && are_labels(host)
    }

    /// Whether it differs from `domain` only by one label or more in front of the host.
    fn is_below(&self, domain: &Self) -> bool {
        let front = self.authority.host.strip_suffix(&domain.authority.host);
        let front = front.and_then(|front| front.strip_suffix('.'));
        self.scheme == domain.scheme
            && self.authority.port == domain.authority.port
            && front.is_some_and(are_labels)
    }
}

fn are_labels(name: &str) -> bool {
    name.split('.').all(|label| !label.is_empty())
}

/// `Ok` when the request may connect: its `Origin` is allowed, or it has none and may do without.
///
/// * two `Origin`s: 400, whatever is configured;
/// * [`Origins::Any`]: every origin;
/// * [`Origins::Listed`]: scheme, host and port as an entry has them; `null` only when listed. Without an `Origin` no
///   browser of today has sent it, and it may come, but not on the strength of cookies alone, which a page of another
///   site might have made an old browser send: with a `Cookie` it needs a bearer token in `Authorization` or a
///   subprotocol, where no page of another site can know one;
/// * [`Origins::Same`]: host and port equal to the request's own, and the scheme `https` when the request is
///   known to have come over TLS (`http` proves nothing: a proxy may have ended the TLS). Or all of peer,
///   `Host` and origin are loopback, so that a development server on another port may connect. `Host` counts
///   too, because behind a proxy on this machine every peer is loopback.
pub(super) fn check(request: &Request, origins: &Origins, peer_is_loopback: bool) -> Result<(), Refusal> {
    let mut values = request.header_values("origin");
    let Some(value) = values.next() else { return without_origin(request, origins) };
    if values.next().is_some() {
        return Err(Refusal::new(400, "more than one Origin"));
    }
    let origin = std::str::from_utf8(value).ok().and_then(Origin::parse);
    let allowed = match origins {
        Origins::Any => true,
        Origins::Listed(listed) => (origin.is_some() || value == b"null") && listed.allow(origin.as_ref()),
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

fn without_origin(request: &Request, origins: &Origins) -> Result<(), Refusal> {
    let is_listed = matches!(origins, Origins::Listed(_));
    // The cookie that may carry the token is a cookie like any other here.
    if is_listed && request.header("cookie").is_some() && request.bearer_token(None).is_none() {
        return Err(Refusal::new(403, "cookies without an Origin or a bearer token (origins is set)"));
    }
    Ok(())
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

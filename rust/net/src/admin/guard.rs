//! Receives who asks, what for and with which credentials · hands out a refusal or nothing · owns the rules that
//! keep web pages, other names and strangers away.

use std::net::{IpAddr, Ipv6Addr};

use hyper::header::{AUTHORIZATION, HOST, ORIGIN};
use hyper::{HeaderMap, StatusCode, Uri};

use super::connection::Ends;

/// How far a request reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Probes and metrics: numbers without names.
    Health,
    /// The status, which names channels and checks.
    Status,
    /// What changes something: publishing, reconfiguring.
    Change,
}

/// Why a request is refused.
pub type Refusal = (StatusCode, &'static str);

/// The rules of one admin address.
pub struct Guard {
    token: Option<Box<str>>,
}

impl Guard {
    /// `token`: what lets in whoever carries it; an empty one lets nobody in.
    pub fn new(token: Option<String>) -> Self {
        Self { token: token.map(String::into_boxed_str) }
    }

    /// Judges a request.
    pub fn judge(&self, ends: Ends, uri: &Uri, headers: &HeaderMap, reach: Reach) -> Result<(), Refusal> {
        if self.is_token(headers) {
            return Ok(());
        }
        // A page that resolved its own name to us (DNS rebinding) still sends that name.
        let host = host_of(uri, headers)?;
        if !is_own(host, ends.local) {
            return Err((
                StatusCode::FORBIDDEN,
                "this Host is neither loopback nor the address of this server",
            ));
        }
        if headers.contains_key(ORIGIN) {
            return Err((StatusCode::FORBIDDEN, "requests of web pages need the admin token"));
        }
        let is_near = ends.peer.is_loopback();
        match (reach, &self.token) {
            (Reach::Change, Some(_)) => Err(UNAUTHORIZED),
            (Reach::Status, Some(_)) if !is_near => Err(UNAUTHORIZED),
            (Reach::Change, None) if !is_near => {
                Err((StatusCode::FORBIDDEN, "without admin_token only this machine may do this"))
            }
            _ => Ok(()),
        }
    }

    fn is_token(&self, headers: &HeaderMap) -> bool {
        let Some(token) = self.token.as_deref().filter(|token| !token.is_empty()) else { return false };
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        let Some((scheme, given)) = value.as_bytes().split_at_checked("Bearer ".len()) else { return false };
        scheme.eq_ignore_ascii_case(b"Bearer ") && is_equal(given.trim_ascii(), token.as_bytes())
    }
}

const UNAUTHORIZED: Refusal = (StatusCode::UNAUTHORIZED, "this needs the admin token");

/// Looks at every byte, so that the time tells nothing but the length.
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let difference =
        one.iter().zip(other).fold(0, |all, (one, other)| std::hint::black_box(all | (one ^ other)));
    one.len() == other.len() && difference == 0
}

/// The host that the request is for: of an absolute target, else of the one `Host` (RFC 9112 §3.2).
fn host_of<'request>(uri: &'request Uri, headers: &'request HeaderMap) -> Result<&'request str, Refusal> {
    if let Some(authority) = uri.authority() {
        return Ok(authority.as_str());
    }
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next().and_then(|host| host.to_str().ok()), hosts.next()) {
        (Some(host), None) => Ok(host),
        _ => Err((StatusCode::BAD_REQUEST, "exactly one valid Host is needed")),
    }
}

/// Whether `host`, with or without a port (a tunnel has another), is this machine or the address that the
/// connection came in on.
fn is_own(host: &str, local: IpAddr) -> bool {
    let is_port = |rest: &str| {
        rest.is_empty()
            || rest.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let address = if let Some(bracketed) = host.strip_prefix('[') {
        let Some((address, _)) = bracketed.split_once(']').filter(|(_, rest)| is_port(rest)) else {
            return false;
        };
        address.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
    } else {
        let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
        if !is_port(port) {
            return false;
        }
        if name.eq_ignore_ascii_case("localhost") {
            return true;
        }
        name.parse().ok().filter(IpAddr::is_ipv4)
    };
    address
        .map(|address| address.to_canonical())
        .is_some_and(|address| address.is_loopback() || address == local)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEAR: Ends = Ends { peer: IpAddr::V6(Ipv6Addr::LOCALHOST), local: IpAddr::V6(Ipv6Addr::LOCALHOST) };

    fn far() -> Ends {
        Ends { peer: "192.0.2.7".parse().unwrap(), local: "192.0.2.1".parse().unwrap() }
    }

    fn judge(token: Option<&str>, ends: Ends, headers: &[(&'static str, &str)], reach: Reach) -> u16 {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (hyper::header::HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        let guard = Guard::new(token.map(str::to_owned));
        guard
            .judge(ends, &Uri::from_static("/"), &headers, reach)
            .map_or_else(|(status, _)| status.as_u16(), |()| 200)
    }

    #[test]
    fn only_own_and_loopback_hosts_are_answered() {
        for host in [
            "localhost",
            "LOCALHOST:1",
            "127.8.9.10:80",
            "[::1]",
            "[::1]:9",
            "[::ffff:127.0.0.1]",
            "192.0.2.1",
        ] {
            assert_eq!(judge(None, far(), &[("host", host)], Reach::Health), 200, "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "192.0.2.2",
            "localhost:80x",
            "localhost:80:80",
            "[::1",
            "[::1]x",
            "::1",
            "",
            "127.1",
            "0.0.0.0",
            "user@localhost",
            "[::2]",
        ] {
            assert_eq!(judge(None, far(), &[("host", host)], Reach::Health), 403, "{host}");
        }
        assert_eq!(judge(None, NEAR, &[], Reach::Health), 400);
        assert_eq!(judge(None, NEAR, &[("host", "localhost"), ("host", "localhost")], Reach::Health), 400);
    }

    #[test]
    fn an_absolute_target_replaces_the_host() {
        let headers: HeaderMap = [(HOST, "localhost".parse().unwrap())].into_iter().collect();
        let guard = Guard::new(None);
        let judge = |uri| guard.judge(NEAR, &Uri::from_static(uri), &headers, Reach::Health);
        assert!(judge("http://evil.example/livez").is_err());
        assert!(judge("http://127.0.0.1:1/livez").is_ok());
    }

    #[test]
    fn who_may_do_what() {
        use Reach::{Change, Health, Status};
        let host = ("host", "localhost");
        let (right, wrong) = (("authorization", "bearer secret"), ("authorization", "Bearer secreT"));
        for (token, ends, extra, expected) in [
            (None, NEAR, None, [200, 200, 200]),
            (None, far(), None, [200, 200, 403]),
            (Some("secret"), NEAR, None, [200, 200, 401]),
            (Some("secret"), far(), None, [200, 401, 401]),
            (Some("secret"), far(), Some(wrong), [200, 401, 401]),
            (Some("secret"), far(), Some(right), [200, 200, 200]),
            (Some(""), far(), Some(("authorization", "Bearer ")), [200, 401, 401]),
            (None, NEAR, Some(("origin", "http://localhost")), [403, 403, 403]),
        ] {
            let headers: Vec<_> = [Some(host), extra].into_iter().flatten().collect();
            let seen = [Health, Status, Change].map(|reach| judge(token, ends, &headers, reach));
            assert_eq!(seen, expected, "{token:?} {ends:?} {extra:?}");
        }
        let page = [right, ("host", "evil.example"), ("origin", "http://evil.example")];
        assert_eq!(judge(Some("secret"), far(), &page, Change), 200, "the token opens every door");
    }

    #[test]
    fn tokens_are_equal_only_as_a_whole() {
        assert!(is_equal(b"secret", b"secret"));
        for other in ["", "secre", "secrets", "Secret", "secres"] {
            assert!(!is_equal(b"secret", other.as_bytes()), "{other}");
        }
    }
}

//! Receives `host[:port]` from `Host`, `Origin` or a request target · hands out its normal form · owns what a
//! host may look like (RFC 3986 §3.2).

use std::net::{Ipv4Addr, Ipv6Addr};

/// Longest host name (RFC 1035 §2.3.4).
const MAX_HOST: usize = 253;

/// A host in lower case and a port, both comparable with `==`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    pub(super) host: String,
    pub(super) port: Option<u16>,
}

impl Authority {
    /// Reads `host[:port]`; `None` for anything else, user information included.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (host, rest) = if let Some(bracketed) = text.strip_prefix('[') {
            let (address, rest) = bracketed.split_once(']')?;
            // One address has many spellings; only its normal form may be compared.
            (format!("[{}]", address.parse::<Ipv6Addr>().ok()?), rest)
        } else {
            let (host, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
            if host.is_empty() || host.len() > MAX_HOST || !host.bytes().all(is_name_byte) {
                return None;
            }
            (host.to_ascii_lowercase(), rest)
        };
        let port = match rest.strip_prefix(':') {
            None if rest.is_empty() => None,
            // RFC 3986 allows a colon without digits.
            Some("") => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
            _ => return None,
        };
        Some(Self { host, port })
    }

    /// Whether the host is this machine: `localhost` and what browsers resolve like it, 127.0.0.0/8, `[::1]`.
    pub(super) fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self.host.ends_with(".localhost")
            || self.host == "[::1]"
            || self.host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
    }
}

/// unreserved, sub-delims and the percent sign of a registered name.
const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%')
        || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
}

//! Receives what proxies wrote into a request and which of them are trusted · hands out who the client is · owns the
//! reading of `Forwarded` (RFC 7239), `X-Forwarded-For` and `X-Forwarded-Proto`.
//!
//! Anybody can send these headers. They count only from a trusted peer, and only as far to the left as each address is
//! that of a trusted proxy: the client is the right-most hop that is not. Where a hop is hidden (`unknown`, `_name`),
//! missing or malformed, the way ends at the last address that is known to be true, which is that of the proxy which
//! wrote the hop.
//!
//! Lists are read from the right, where the trusted proxies have written. So nothing that a client put before, such
//! as a quote that is never closed, changes how their part is read.
//!
//! Proxies often write one of the two forms and pass the other on as the client sent it. So when both name somebody,
//! they must name the same: 400 otherwise, since one of them is the client's word, and nobody can tell which.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::network::TrustedProxies;
use super::request::Request;
use super::response::Refusal;
use super::syntax::is_token;

/// Hops that are looked at, from the right: more trusted proxies in a row nobody has.
const MAX_HOPS: usize = 32;

const FORWARDED: &str = "forwarded";
const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// Whom a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarding {
    /// From the peer: no proxy says anything.
    Direct,
    /// From the peer, who names somebody else and is not trusted.
    Ignored,
    /// From somebody whom a trusted proxy names.
    Client {
        /// The address; port 0 where it is not named. The peer's own where the client's is not known; `None` on a
        /// Unix socket.
        address: Option<SocketAddr>,
        /// Whether the client came over TLS; `None`: not said.
        secure: Option<bool>,
    },
}

/// One hop of the way: who the proxy behind it had for a peer, and how.
#[derive(Clone, Copy, Default)]
struct Hop {
    node: Option<SocketAddr>,
    secure: Option<bool>,
}

/// Who sent `request`, which came from `peer` (`None`: on a Unix socket).
pub fn forwarding(
    request: &Request,
    proxies: &TrustedProxies,
    peer: Option<SocketAddr>,
) -> Result<Forwarding, Refusal> {
    let is_any =
        [FORWARDED, FORWARDED_FOR, FORWARDED_PROTO].iter().any(|name| request.header(name).is_some());
    if !is_any {
        return Ok(Forwarding::Direct);
    }
    if !proxies.trusts(peer.map(|peer| peer.ip())) {
        return Ok(Forwarding::Ignored);
    }
    let standard = last_known(from_the_right(request, FORWARDED, elements).map(element), proxies);
    let usual = last_known(from_the_right(request, FORWARDED_FOR, words).map(word), proxies);
    if let (Some(one), Some(other)) = (standard.node, usual.node)
        && one.ip() != other.ip()
    {
        return Err(Refusal::new(400, "Forwarded and X-Forwarded-For name different clients"));
    }
    let secure = || from_the_right(request, FORWARDED_PROTO, words).next().and_then(is_secure);
    Ok(Forwarding::Client {
        address: standard.node.or(usual.node).or(peer),
        secure: standard.secure.or_else(secure),
    })
}

/// Goes from hop to hop as long as each is a trusted proxy: the last address that is known, and what is said of it.
fn last_known(hops: impl Iterator<Item = Hop>, proxies: &TrustedProxies) -> Hop {
    let mut last = Hop::default();
    for hop in hops.take(MAX_HOPS) {
        last.secure = hop.secure;
        let Some(node) = hop.node else { break };
        last.node = Some(node);
        if !proxies.trusts(Some(node.ip())) {
            break;
        }
    }
    last
}

/// The parts of a header that is a list, over all its lines, the last one first.
fn from_the_right<'request, Parts: Iterator<Item = &'request [u8]>>(
    request: &'request Request,
    name: &str,
    parts: fn(&'request [u8]) -> Parts,
) -> impl Iterator<Item = &'request [u8]> {
    let lines: Vec<_> = request.header_values(name).collect();
    lines.into_iter().rev().flat_map(parts).map(<[u8]>::trim_ascii).filter(|part| !part.is_empty())
}

/// The parts between commas, the last one first.
fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.rsplit(|byte| *byte == b',')
}

/// The parts between commas that do not stand in quotes, the last one first.
fn elements(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let mut is_quoted = false;
        for (position, byte) in line.iter().enumerate().rev() {
            let before = line.get(..position).unwrap_or_default();
            match byte {
                // Within quotes a quote is the opening one, unless it is escaped. Seen from the right that is a matter
                // of the backslashes before it; each is counted once, so that this is linear.
                b'"' if is_quoted => {
                    let escapes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
                    is_quoted = !escapes.is_multiple_of(2);
                }
                b'"' => is_quoted = true,
                b',' if !is_quoted => {
                    rest = Some(before);
                    return line.get(position + 1..);
                }
                _ => {}
            }
        }
        rest.take()
    })
}

/// An element of `Forwarded`: pairs, each at most once (RFC 7239 §4). A malformed one says nothing.
fn element(text: &[u8]) -> Hop {
    let (mut hop, mut has_for, mut has_proto) = (Hop::default(), false, false);
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(b";") {
            rest = after.trim_ascii_start();
            continue;
        }
        let Some((name, value, after)) = pair(rest) else { return Hop::default() };
        let seen = match name {
            name if name.eq_ignore_ascii_case(b"for") => {
                hop.node = node(&value);
                Some(&mut has_for)
            }
            name if name.eq_ignore_ascii_case(b"proto") => {
                hop.secure = is_secure(&value);
                Some(&mut has_proto)
            }
            _ => None,
        };
        if seen.is_some_and(|seen| std::mem::replace(seen, true)) {
            return Hop::default();
        }
        rest = after;
    }
    hop
}

/// `name=value` or `name="value"`, up to the next semicolon, and what is behind that.
fn pair(text: &[u8]) -> Option<(&[u8], Vec<u8>, &[u8])> {
    let (name, rest) = split_at_byte(text, b'=')?;
    let name = name.trim_ascii_start();
    let (value, rest) = if let Some(quoted) = rest.strip_prefix(b"\"") {
        unquoted(quoted)?
    } else {
        let end = rest.iter().position(|byte| *byte == b';').unwrap_or(rest.len());
        let (value, rest) = rest.split_at_checked(end)?;
        let value = value.trim_ascii_end();
        // Addresses with colons and brackets belong in quotes, and often come without.
        let is_value = |byte: &u8| matches!(byte, b':' | b'[' | b']') || is_token(&[*byte]);
        if value.is_empty() || !value.iter().all(is_value) {
            return None;
        }
        (value.to_vec(), rest)
    };
    let rest = rest.trim_ascii_start();
    (is_token(name) && (rest.is_empty() || rest.starts_with(b";"))).then_some((name, value, rest))
}

fn split_at_byte(text: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let position = text.iter().position(|other| *other == byte)?;
    Some((text.get(..position)?, text.get(position + 1..)?))
}

/// The content of a quoted-string (RFC 9110 §5.6.4) whose opening quote is gone, and what follows its end.
fn unquoted(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut value = Vec::new();
    let mut bytes = text.iter();
    loop {
        match bytes.next()? {
            b'"' => return Some((value, bytes.as_slice())),
            b'\\' => value.push(*bytes.next()?),
            byte => value.push(*byte),
        }
    }
}

/// A hop of `X-Forwarded-For`, which has no specification: an address, with or without brackets, port and quotes.
fn word(text: &[u8]) -> Hop {
    let text = text.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(text);
    let bare = || std::str::from_utf8(text).ok()?.parse::<Ipv6Addr>().ok();
    let node = node(text).or_else(|| bare().map(|address| SocketAddr::new(canonical(address), 0)));
    Hop { node, secure: None }
}

/// An IPv4 address or an IPv6 address in brackets, perhaps with a port (RFC 7239 §6). What is hidden or malformed is
/// nobody.
fn node(text: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let (address, rest): (IpAddr, _) = if let Some(bracketed) = text.strip_prefix('[') {
        let (address, rest) = bracketed.split_once(']')?;
        (canonical(address.parse().ok()?), rest)
    } else {
        let (address, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
        (IpAddr::V4(address.parse().ok()?), rest)
    };
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => 0,
        Some(name) if name.starts_with('_') && name.len() > 1 => 0,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

fn canonical(address: Ipv6Addr) -> IpAddr {
    IpAddr::V6(address).to_canonical()
}

fn is_secure(scheme: &[u8]) -> Option<bool> {
    let is = |names: [&str; 2]| names.iter().any(|name| scheme.eq_ignore_ascii_case(name.as_bytes()));
    if is(["https", "wss"]) { Some(true) } else { is(["http", "ws"]).then_some(false) }
}

//! Receives a request target · hands out its authority, path and query, and decoded paths · owns the forms of
//! RFC 9112 §3.2 and percent-decoding (RFC 3986 §2.1).

use std::borrow::Cow;

use super::authority::Authority;

/// A request target taken apart; every part is a slice of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'target> {
    /// Only in absolute-form, where it replaces `Host` (RFC 9112 §3.2.2).
    pub(super) authority: Option<&'target str>,
    pub(super) path: &'target str,
    pub(super) query: Option<&'target str>,
}

impl<'target> Target<'target> {
    /// Takes `target` apart; the error says in what way it is malformed.
    pub(super) fn parse(method: &str, target: &'target str) -> Result<Self, &'static str> {
        if !target.is_ascii() || target.contains('#') {
            return Err("the request target is not a URI");
        }
        // `CONNECT host:port` and `OPTIONS *` are well-formed; that no route has such a path refuses them later.
        if method == "CONNECT" || (method == "OPTIONS" && target == "*") {
            return Ok(Self { authority: None, path: target, query: None });
        }
        let (authority, rest) = if target.starts_with('/') {
            (None, target)
        } else {
            let (scheme, rest) = target.split_once("://").ok_or("the request target is not a path")?;
            if !["http", "https", "ws", "wss"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
                return Err("the request target has an unknown scheme");
            }
            let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            if Authority::parse(authority.as_bytes()).is_none() {
                return Err("the request target has no valid host");
            }
            (Some(authority), rest)
        };
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        // Controls would travel from a path parameter into somebody's log line.
        match decode(path) {
            Some(decoded) if !decoded.chars().any(char::is_control) => {}
            _ => return Err("the path is not percent-encoded text"),
        }
        let path = if path.is_empty() { "/" } else { path };
        Ok(Self { authority, path, query })
    }
}

/// `raw` percent-decoded; `None` when an escape is malformed or the result is not UTF-8.
pub(super) fn decode(raw: &str) -> Option<Cow<'_, str>> {
    let (clean, mut rest) = raw.split_at(raw.find('%').unwrap_or(raw.len()));
    if rest.is_empty() {
        return Some(Cow::Borrowed(raw));
    }
    let mut decoded = clean.as_bytes().to_vec();
    while let Some((escape, after)) = rest.strip_prefix('%').and_then(|escaped| escaped.split_at_checked(2)) {
        let mut digits = escape.chars().map(|digit| digit.to_digit(16));
        let (high, low) = (digits.next()??, digits.next()??);
        decoded.push((high * 16 + low) as u8);
        let (clean, remaining) = after.split_at(after.find('%').unwrap_or(after.len()));
        decoded.extend_from_slice(clean.as_bytes());
        rest = remaining;
    }
    // What is left is an escape that ends too early.
    if rest.is_empty() { String::from_utf8(decoded).ok().map(Cow::Owned) } else { None }
}

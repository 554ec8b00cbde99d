//! Receives a URL · hands out the address, the host name and the path in it · owns how such URLs are written.

use std::net::{SocketAddr, ToSocketAddrs};

use crate::failure::Failure;

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) is_tls: bool,
    /// Name or address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Path and query, as they go into the request.
    pub(crate) path: String,
}

impl Target {
    /// Reads a URL.
    pub(crate) fn read(url: &str) -> Result<Self, Failure> {
        let wrong =
            |what: &str| Failure::Usage(format!("{url:?} {what}; write ws://host:port/path or wss://…"));
        let (is_tls, rest) = match url.split_once("://") {
            Some(("ws", rest)) => (false, rest),
            Some(("wss", rest)) => (true, rest),
            _ => return Err(wrong("does not begin with ws:// or wss://")),
        };
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) => (rest.get(..at).unwrap_or_default(), rest.get(at..).unwrap_or_default()),
            None => (rest, ""),
        };
        if path.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'#') {
            return Err(wrong("has a path that is not percent-encoded, or a fragment"));
        }
        if authority.contains('@') {
            return Err(wrong("names a user; give a header Authorization"));
        }
        let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, rest)) => {
                (host, Some(rest.strip_prefix(':').ok_or_else(|| wrong("has a host of a wrong form"))?))
            }
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        if host.is_empty()
            || !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:%".contains(&byte))
        {
            return Err(wrong("has no host, or one of a wrong form"));
        }
        let default = if is_tls { 443 } else { 80 };
        let port = port.map_or(Ok(default), str::parse).ok().filter(|port| *port > 0);
        let port = port.ok_or_else(|| wrong("has a port that is none"))?;
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { is_tls, host: host.to_owned(), port, path })
    }

    /// What the header `Host` says.
    pub(crate) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let is_default = self.port == if self.is_tls { 443 } else { 80 };
        if is_default { host } else { format!("{host}:{}", self.port) }
    }

    /// The first address that the host has.
    pub(crate) fn resolve(&self) -> Result<SocketAddr, Failure> {
        let first = (self.host.as_str(), self.port).to_socket_addrs()?.next();
        first.ok_or_else(|| Failure::Usage(format!("{} has no address", self.host)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where() {
        let read = |url: &str| {
            let target = Target::read(url).unwrap();
            (target.authority(), target.port, target.path, target.is_tls)
        };
        assert_eq!(read("ws://a.example/x?y=1"), ("a.example".into(), 80, "/x?y=1".into(), false));
        assert_eq!(read("wss://a.example"), ("a.example".into(), 443, "/".into(), true));
        assert_eq!(read("wss://127.0.0.1:80/"), ("127.0.0.1:80".into(), 80, "/".into(), true));
        assert_eq!(read("ws://[::1]:8000?q"), ("[::1]:8000".into(), 8000, "/?q".into(), false));
        assert_eq!(
            Target::read("ws://[::1]:8000").unwrap().resolve().unwrap(),
            "[::1]:8000".parse().unwrap()
        );
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for url in [
            "",
            "http://a/",
            "ws://",
            "ws://a:b/",
            "ws://a:0/",
            "ws://a:70000/",
            "ws://u@a/",
            "ws://a/ b",
            "ws://a/#b",
        ] {
            assert!(Target::read(url).is_err(), "{url}");
        }
    }
}

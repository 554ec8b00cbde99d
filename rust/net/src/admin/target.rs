//! Receives the path and query of a request · hands out the route it names, decoded · owns the list of routes.

use hyper::{Method, Uri};

use super::guard::Reach;

/// What can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/livez`.
    Alive,
    /// `/readyz`.
    Ready,
    /// `/status`.
    Status,
    /// `/metrics`.
    Metrics,
    /// `/channels/<name>`, the name still encoded.
    Publish(String),
    /// `/reconfigure`.
    Reconfigure,
}

impl Route {
    /// The route of a path; `None`: there is none.
    pub fn find(path: &str) -> Option<Self> {
        Some(match path {
            "/livez" => Self::Alive,
            "/readyz" => Self::Ready,
            "/status" => Self::Status,
            "/metrics" => Self::Metrics,
            "/reconfigure" => Self::Reconfigure,
            _ => Self::Publish(path.strip_prefix("/channels/")?.to_owned()),
        })
    }

    /// How far it reaches.
    pub fn reach(&self) -> Reach {
        match self {
            Self::Alive | Self::Ready | Self::Metrics => Reach::Health,
            Self::Status => Reach::Status,
            Self::Publish(_) | Self::Reconfigure => Reach::Change,
        }
    }

    /// The methods it answers, as `Allow` lists them.
    pub fn allow(&self) -> &'static str {
        if self.reach() == Reach::Change { "POST" } else { "GET, HEAD" }
    }

    /// Whether it answers `method`.
    pub fn allows(&self, method: &Method) -> bool {
        self.allow().split(", ").any(|allowed| method == allowed)
    }
}

/// `key` of the query, if it is there; the error is for people. A parameter that is not known is one: it would
/// be a misspelt one.
pub fn key_of(uri: &Uri) -> Result<Option<String>, &'static str> {
    let mut key = None;
    for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if name != "key" || key.is_some() {
            return Err("the query may hold one key and nothing else");
        }
        // A query is a form: plus is a space.
        key = Some(decode(&value.replace('+', " ")).ok_or("the key is not percent-encoded text")?);
    }
    Ok(key)
}

/// `raw` percent-decoded (RFC 3986 §2.1); `None` when an escape is malformed or the result is not UTF-8.
pub fn decode(raw: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            decoded.push((digit()? * 16 + digit()?) as u8);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_or_refused() {
        for (raw, expected) in [
            ("prices:EURUSD", Some("prices:EURUSD")),
            ("a/b%2Fc%20d", Some("a/b/c d")),
            ("%C3%BC", Some("ü")),
            ("1+1", Some("1+1")),
            ("%", None),
            ("%4", None),
            ("%4g", None),
            ("%+1", None),
            ("%FF", None),
        ] {
            assert_eq!(decode(raw).as_deref(), expected, "{raw}");
        }
    }

    #[test]
    fn the_query_holds_one_key_or_nothing() {
        let key = |uri| key_of(&Uri::from_static(uri));
        assert_eq!(key("/"), Ok(None));
        assert_eq!(key("/?"), Ok(None));
        assert_eq!(key("/?key=a+b%2B"), Ok(Some("a b+".to_owned())));
        for uri in ["/?keys=a", "/?key=a&key=b", "/?key=%"] {
            assert!(key(uri).is_err(), "{uri}");
        }
    }
}

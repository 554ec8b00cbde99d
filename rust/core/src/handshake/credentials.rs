//! Receives a request · hands out the bearer token it carries · owns the three places where one may stand.

use super::request::Request;
use super::syntax::{BEARER_SUBPROTOCOL, visible};

impl Request {
    /// The bearer token: of `Authorization: Bearer`, else the cookie named `cookie`, else of an offered
    /// subprotocol `bearer.<token>`. What is empty or not visible ASCII counts as absent.
    pub fn bearer_token(&self, cookie: Option<&str>) -> Option<&str> {
        self.authorization_token()
            .or_else(|| self.cookie(cookie?))
            .or_else(|| self.subprotocols().find_map(|offer| bearer_of(offer)))
    }

    fn authorization_token(&self) -> Option<&str> {
        let value = self.header("authorization")?;
        let (scheme, token) = value.split_at_checked("Bearer ".len())?;
        if scheme.eq_ignore_ascii_case(b"Bearer ") { visible(token.trim_ascii()) } else { None }
    }

    /// The first cookie of exactly this name (RFC 6265 §5.4), without the quotes it may stand in.
    fn cookie(&self, name: &str) -> Option<&str> {
        let pairs = self.header_values("cookie").flat_map(|value| value.split(|byte| *byte == b';'));
        let value = pairs
            .map(<[u8]>::trim_ascii)
            .find_map(|pair| pair.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")))?;
        visible(value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value))
    }
}

fn bearer_of(offer: &str) -> Option<&str> {
    offer.strip_prefix(BEARER_SUBPROTOCOL).and_then(|token| visible(token.as_bytes()))
}

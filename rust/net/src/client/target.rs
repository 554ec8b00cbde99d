//! Receives a URL, or a `Location` · hands out where to connect and what to ask for there · owns what a WebSocket URL may
//! be, and which two have the same origin.

use std::net::IpAddr;

use percent_encoding::percent_decode_str;
use url::{Host, Position, Url};

use super::error::DialError;

/// A name and a password, decoded.
#[derive(Clone, PartialEq, Eq)]
pub struct UserInfo {
    pub user: String,
    pub password: String,
}

/// A WebSocket URL without credentials and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(Url);

impl Target {
    /// Reads a URL of the caller's.
    pub fn parse(text: &str) -> Result<(Self, Option<UserInfo>), DialError> {
        let url = read("url", text)?;
        if url.fragment().is_some() {
            return Err(DialError::invalid("url", "has a fragment (#…), which means nothing to a server"));
        }
        let info = user_info("url", &url)?;
        let target = Self::of(url).ok_or_else(|| {
            DialError::invalid("url", "has another scheme than ws and wss, or http and https in their place")
        })?;
        Ok((target, info))
    }

    /// Where a `Location` leads from here; `None`: it is no URL that could be followed. What it says of credentials is
    /// left out: they are the caller's to give.
    pub fn redirected(&self, location: &[u8]) -> Option<Self> {
        let location = std::str::from_utf8(location).ok().filter(|text| !has_controls(text))?;
        Self::of(self.0.join(location).ok()?)
    }

    fn of(mut url: Url) -> Option<Self> {
        let scheme = match url.scheme() {
            "ws" | "http" => "ws",
            "wss" | "https" => "wss",
            _ => return None,
        };
        url.set_scheme(scheme).ok()?;
        url.host()?;
        url.set_username("").ok()?;
        url.set_password(None).ok()?;
        url.set_fragment(None);
        Some(Self(url))
    }

    /// Whether its connection is encrypted.
    pub fn is_secure(&self) -> bool {
        self.0.scheme() == "wss"
    }

    /// The host, an IPv6 address without brackets.
    pub fn host(&self) -> String {
        host_of(&self.0)
    }

    /// The host where it is an address and needs no resolution.
    pub fn address(&self) -> Option<IpAddr> {
        address_of(&self.0)
    }

    /// The port, the scheme's own where none is named.
    pub fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or_default()
    }

    /// The value of `Host`: the port is left out where it is the scheme's own.
    pub fn host_header(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        self.0.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// Host and port, for `CONNECT` and for messages.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.0.host_str().unwrap_or_default(), self.port())
    }

    /// What is asked for: path and query.
    pub fn path_and_query(&self) -> &str {
        &self.0[Position::BeforePath..Position::AfterQuery]
    }

    /// The URL as messages may show it: a query often holds a token.
    pub fn shown(&self) -> &str {
        &self.0[..Position::AfterPath]
    }

    /// The whole URL.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether what one may know the other may know.
    pub fn has_origin_of(&self, other: &Self) -> bool {
        self.is_secure() == other.is_secure()
            && self.0.host() == other.0.host()
            && self.port() == other.port()
    }
}

/// A URL that nothing was silently taken out of: the parser would drop a line break, and with it what somebody smuggled in.
pub fn read(option: &'static str, text: &str) -> Result<Url, DialError> {
    if has_controls(text) {
        let reason = "holds a line break, a NUL or another control character";
        return Err(DialError::invalid(option, reason));
    }
    if text.trim() != text {
        return Err(DialError::invalid(option, "begins or ends with white space"));
    }
    Url::parse(text).map_err(|error| DialError::invalid(option, format!("is no URL: {error}")))
}

/// The credentials in a URL.
pub fn user_info(option: &'static str, url: &Url) -> Result<Option<UserInfo>, DialError> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let decoded = |text: &str| {
        let text = percent_decode_str(text).decode_utf8().ok().filter(|text| !has_controls(text));
        let reason = "has credentials that are no UTF-8, or hold a control character";
        text.map(String::from).ok_or_else(|| DialError::invalid(option, reason))
    };
    let (user, password) = (decoded(url.username())?, decoded(url.password().unwrap_or_default())?);
    if user.contains(':') {
        let reason = "has a user name with a colon, which basic authentication cannot say (RFC 7617)";
        return Err(DialError::invalid(option, reason));
    }
    Ok(Some(UserInfo { user, password }))
}

/// The host of a URL, an IPv6 address without brackets.
pub fn host_of(url: &Url) -> String {
    match url.host() {
        Some(Host::Domain(name)) => name.to_owned(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
        None => String::new(),
    }
}

/// The host of a URL where it is an address.
pub fn address_of(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Domain(_) => None,
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
    }
}

fn has_controls(text: &str) -> bool {
    text.chars().any(char::is_control)
}

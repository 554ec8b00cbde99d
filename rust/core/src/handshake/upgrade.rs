//! Receives a complete request and the routes · hands out the [`Verdict`] · owns the server's rules of the
//! opening handshake (RFC 6455 §4.2), in the order that the module `handshake` lists.

use super::extensions;
use super::origin;
use super::request::Request;
use super::response::Refusal;
use super::route::{Parameters, RouteSettings, Router};
use super::syntax::{BEARER_SUBPROTOCOL, is_token};
use crate::config::Origins;

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A valid upgrade: it may have a slot, then `on_connect` decides.
    Upgrade(Upgrade),
    /// GET or HEAD of a probe or an asset: it is answered and closed.
    Plain {
        /// HEAD: the answer leaves out the body.
        head_only: bool,
    },
    /// It is answered with this and closed.
    Refused(Refusal),
}

/// A valid upgrade and where it leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// The index that [`Router::add`] gave the route.
    pub route: usize,
    /// The decoded parameters of the path.
    pub parameters: Parameters,
    /// The first of the route's subprotocols that the client offers; `None`: the 101 names none.
    pub subprotocol: Option<String>,
}

/// Decides about a complete head. `origins` are the server's, which a route may override;
/// `plain` says whether a path is a probe or an asset, which go before routes so that no route hides a probe.
pub fn judge(
    request: &Request,
    router: &Router,
    origins: &Origins,
    peer_is_loopback: bool,
    plain: &dyn Fn(&str) -> bool,
) -> Verdict {
    let verdict = if request.method() == "CONNECT" {
        Err(not_allowed("GET"))
    } else if plain(request.path()) {
        match request.method() {
            "GET" => Ok(Verdict::Plain { head_only: false }),
            "HEAD" => Ok(Verdict::Plain { head_only: true }),
            _ => Err(not_allowed("GET, HEAD")),
        }
    } else {
        upgrade(request, router, origins, peer_is_loopback).map(Verdict::Upgrade)
    };
    verdict.unwrap_or_else(Verdict::Refused)
}

fn upgrade(
    request: &Request,
    router: &Router,
    origins: &Origins,
    peer_is_loopback: bool,
) -> Result<Upgrade, Refusal> {
    let found = router.find(request.path());
    let found = found.and_then(|(route, parameters)| Some((route, parameters, router.settings(route)?)));
    let Some((route, parameters, settings)) = found else {
        return Err(Refusal::new(404, "no such path"));
    };
    if request.method() != "GET" {
        return Err(not_allowed("GET"));
    }
    if !request.is_upgrade() {
        return Err(upgrade_required("a WebSocket path: send Upgrade: websocket and Connection: Upgrade"));
    }
    if single(request, "sec-websocket-version") != Some(b"13") {
        return Err(upgrade_required("exactly one Sec-WebSocket-Version, 13, is understood"));
    }
    // A body would stand where frames are expected: what proxies and we take it for could differ.
    if request.header("transfer-encoding").is_some()
        || request.header_values("content-length").any(|length| length != b"0")
    {
        return Err(Refusal::new(400, "an upgrade has no body"));
    }
    if key(request).is_none() {
        return Err(Refusal::new(400, "Sec-WebSocket-Key must come once and be 16 bytes in base64"));
    }
    if !request.elements("sec-websocket-protocol").all(is_token) {
        return Err(Refusal::new(400, "a Sec-WebSocket-Protocol is not a token"));
    }
    if !extensions::is_list(request.header_values("sec-websocket-extensions")) {
        return Err(Refusal::new(400, "Sec-WebSocket-Extensions is not a list of extensions"));
    }
    origin::check(request, settings.origins.as_ref().unwrap_or(origins), peer_is_loopback)?;
    Ok(Upgrade { route, parameters, subprotocol: subprotocol(request, settings) })
}

/// The `Sec-WebSocket-Key` when there is exactly one and it encodes 16 bytes: 22 digits and two equals signs.
/// The unused bits of the last digit are not looked at: they are set in RFC 6455's own example (erratum 3150).
pub(super) fn key(request: &Request) -> Option<&[u8]> {
    let key = single(request, "sec-websocket-key")?;
    let digits = key.strip_suffix(b"==")?;
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    (digits.len() == 22 && digits.iter().all(is_digit)).then_some(key)
}

/// The value of a header that may come only once.
fn single<'request>(request: &'request Request, name: &str) -> Option<&'request [u8]> {
    let mut values = request.header_values(name);
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// The server's preference decides. A token in disguise is never selected, whatever the settings say.
fn subprotocol(request: &Request, settings: &RouteSettings) -> Option<String> {
    let choosable = settings.subprotocols.iter().filter(|name| !name.starts_with(BEARER_SUBPROTOCOL));
    choosable.into_iter().find(|name| request.subprotocols().any(|offer| offer == **name)).cloned()
}

fn not_allowed(methods: &'static str) -> Refusal {
    Refusal::new(405, format!("allowed here: {methods}")).with_own("Allow", methods)
}

/// 426 carries `Upgrade` (RFC 9110 §15.5.22) and the one version that we speak (RFC 6455 §4.4).
fn upgrade_required(reason: &'static str) -> Refusal {
    Refusal::new(426, reason).with_own("Upgrade", "websocket").with_own("Sec-WebSocket-Version", "13")
}

//! Receives the parts of a request that a test varies · hands out heads and verdicts · owns the valid head
//! that all tests start from.
#![allow(dead_code, reason = "each test binary compiles this anew and uses a part of it")]

use streamconductor_core::config::Origins;
use streamconductor_core::handshake::{HeadReader, Refusal, Request, RouteSettings, Router, Verdict, judge};

/// The headers of a valid upgrade; the key is RFC 6455's own.
pub const UPGRADE: &str = "Host: app.example.com\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A GET with the headers of a valid upgrade and `more`.
pub fn upgrade(target: &str, more: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\n{UPGRADE}{more}\r\n").into_bytes()
}

/// The valid upgrade of `/chat` with one of its lines replaced.
pub fn with(line: &str, replacement: &str) -> Vec<u8> {
    let head = String::from_utf8(upgrade("/chat", "")).unwrap();
    assert!(head.contains(line), "{line:?} is no part of the head");
    head.replace(line, replacement).into_bytes()
}

/// Reads `bytes` in one piece.
pub fn read(bytes: &[u8]) -> Result<Option<Request>, Refusal> {
    HeadReader::new().read(bytes)
}

/// Reads a head that is complete and well-formed.
pub fn request(bytes: &[u8]) -> Request {
    read(bytes).unwrap().unwrap()
}

/// The status with which reading `bytes` in one piece is refused.
pub fn refused(bytes: &[u8]) -> u16 {
    read(bytes).map(|request| request.is_some()).unwrap_err().status
}

/// The routes that tests judge with.
pub fn router() -> Router {
    let mut router = Router::new();
    let chat = RouteSettings { subprotocols: vec!["v2".into(), "v1".into()], origins: None };
    router.add("/chat", chat).unwrap();
    router.add("/rooms/{room}", RouteSettings::default()).unwrap();
    let open = RouteSettings { subprotocols: vec![], origins: Some(Origins::Any) };
    router.add("/open", open).unwrap();
    router
}

/// The verdict on a head under `origins`, from a peer elsewhere.
pub fn verdict_under(origins: &Origins, bytes: &[u8]) -> Verdict {
    judge(&request(bytes), &router(), origins, false, &|path| path == "/livez")
}

/// The verdict on a head, or the refusal when it could not be read.
pub fn verdict(bytes: &[u8]) -> Verdict {
    match read(bytes) {
        Ok(Some(request)) => judge(&request, &router(), &Origins::Same, false, &|path| path == "/livez"),
        Ok(None) => panic!("the head is not complete"),
        Err(refusal) => Verdict::Refused(refusal),
    }
}

/// The refusal of a head, by the reader or the verdict.
pub fn refusal(bytes: &[u8]) -> Refusal {
    match verdict(bytes) {
        Verdict::Refused(refusal) => refusal,
        other => panic!("{other:?} of {}", String::from_utf8_lossy(bytes)),
    }
}

/// The status of a head, 101 for a valid upgrade and 200 for a probe.
pub fn status(bytes: &[u8]) -> u16 {
    match verdict(bytes) {
        Verdict::Upgrade(_) => 101,
        Verdict::Plain { .. } => 200,
        Verdict::Refused(refusal) => refusal.status,
    }
}

/// The value of a refusal's own header.
pub fn header<'refusal>(refusal: &'refusal Refusal, name: &str) -> Option<&'refusal str> {
    refusal.headers.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
}

//! Receives the first bytes of a socket · fails when the split of the reads changes the verdict, when a bound is
//! passed, or when an answer is no HTTP · owns what must hold for every request head.

use std::borrow::Cow;

use streamconductor_core::config::Origins;
use streamconductor_core::deflate::negotiate;
use streamconductor_core::handshake::{
    Forwarding, HeadReader, MAX_HEAD, Origin, Refusal, Request, ResponseHeaders, Router, TrustedProxies,
    Verdict, forwarding, judge, refusal_response, switching_protocols,
};

use super::splits;
use crate::handshake_support::router;

/// What is to be told of a whole input: nothing yet, a refusal, or a request.
type Outcome = Result<Option<Request>, Refusal>;

pub fn http_front(input: &[u8]) {
    let router = router();
    let mut outcomes = splits(input).into_iter().map(|pieces| read(&pieces));
    let whole = outcomes.next().unwrap();
    for outcome in outcomes {
        compare(&whole, &outcome);
    }
    match &whole {
        Ok(Some(request)) => {
            look_at(request);
            forward(request);
            for origins in [Origins::Same, Origins::Any, listed()] {
                for peer_is_loopback in [false, true] {
                    answer(request, &router, &origins, peer_is_loopback);
                }
            }
        }
        Ok(None) => {}
        Err(refusal) => is_a_response(&refusal_response(refusal, false), refusal.status),
    }
}

fn listed() -> Origins {
    Origins::listed(["https://app.example.com", "https://*.example.org", "null"]).unwrap()
}

/// Reads all pieces. Bytes behind an upgrade refuse what was a request before they came.
fn read(pieces: &[&[u8]]) -> Outcome {
    let mut reader = HeadReader::new();
    let mut outcome = Ok(None);
    for piece in pieces {
        let step = reader.read(piece);
        assert!(reader.buffered() <= MAX_HEAD);
        match step {
            Ok(None) => continue,
            Ok(Some(_)) => assert!(matches!(outcome, Ok(None)), "a second request"),
            Err(_) => assert!(outcome.is_ok(), "a second refusal"),
        }
        assert_eq!(reader.buffered(), 0, "what was decided holds no bytes");
        outcome = step;
    }
    outcome
}

fn compare(whole: &Outcome, split: &Outcome) {
    match (whole, split) {
        (Ok(None), Ok(None)) => {}
        (Ok(Some(one)), Ok(Some(other))) => {
            assert_eq!((one.method(), one.target()), (other.method(), other.target()));
            assert!(one.headers().eq(other.headers()));
        }
        (Err(one), Err(other)) => assert_eq!(one, other),
        _ => panic!("whole {whole:?}, split {split:?}"),
    }
}

/// Everything that Python may ask of a request.
fn look_at(request: &Request) {
    assert!(!request.method().is_empty());
    assert!(!request.path().contains(['?', '\r', '\n', ' ']));
    let parts = [request.method(), request.target(), request.path(), request.host()];
    assert!(parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_graphic())), "{parts:?}");
    for (name, value) in request.headers() {
        assert!(!name.is_empty() && !value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
        assert!(request.header(name).is_some());
    }
    for token in [request.bearer_token(None), request.bearer_token(Some("token"))].into_iter().flatten() {
        assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    for offer in request.subprotocols() {
        assert!(!offer.contains(','));
    }
    if let Some(origin) = request.origin().and_then(|value| std::str::from_utf8(value).ok())
        && let Some(origin) = Origin::parse(origin)
    {
        // The normal form, which logs show, is an origin itself, and the same.
        assert_eq!(Origin::parse(&origin.to_string()), Some(origin));
    }
}

/// Nobody is believed who is not trusted, and there is always somebody: in doubt the peer.
fn forward(request: &Request) {
    let peer = "10.0.0.1:7".parse().unwrap();
    for networks in [&[][..], &["10.0.0.0/8"], &["0.0.0.0/0", "::/0", "unix"]] {
        let proxies = TrustedProxies::listed(networks).unwrap();
        match forwarding(request, &proxies, Some(peer)) {
            Ok(Forwarding::Client { address, .. }) => assert!(!networks.is_empty() && address.is_some()),
            Ok(Forwarding::Ignored) => assert!(networks.is_empty()),
            Ok(Forwarding::Direct) => {}
            Err(refusal) => assert!(refusal.status == 400 && !networks.is_empty()),
        }
    }
}

fn answer(request: &Request, router: &Router, origins: &Origins, peer_is_loopback: bool) {
    match judge(request, router, origins, peer_is_loopback, &|path| path == "/livez") {
        Verdict::Plain { .. } => assert!(matches!(request.method(), "GET" | "HEAD")),
        Verdict::Refused(refusal) => {
            assert!((400..=599).contains(&refusal.status), "{refusal:?}");
            is_a_response(&refusal_response(&refusal, request.method() == "HEAD"), refusal.status);
        }
        Verdict::Upgrade(upgrade) => {
            assert!(request.is_upgrade() && router.settings(upgrade.route).is_some());
            let headers = ResponseHeaders::default();
            for deflate in [None, negotiate(request.header_values("sec-websocket-extensions"))] {
                let subprotocol = upgrade.subprotocol.as_deref();
                let switching = switching_protocols(request, subprotocol, deflate, &headers).unwrap();
                is_a_response(&switching, 101);
                assert!(switching.ends_with(b"\r\n\r\n"), "nothing follows the head of a 101");
            }
        }
    }
}

/// One response, no more and no less, as another parser reads it.
fn is_a_response(bytes: &[u8], status: u16) {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut headers);
    let head = response.parse(bytes).unwrap().unwrap();
    assert_eq!(response.code, Some(status));
    let length = response.headers.iter().find(|header| header.name == "Content-Length");
    let length = length.map_or(Cow::Borrowed("0"), |header| String::from_utf8_lossy(header.value));
    let body = bytes.len() - head;
    assert!(body == 0 || length.parse() == Ok(body), "{length} bytes promised, {body} sent");
}

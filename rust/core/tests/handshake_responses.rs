//! The answers: the 101, refusals, plain responses, and that no header can split them.
#![allow(clippy::unwrap_used, clippy::panic)]

mod handshake_support;

use std::time::Duration;

use handshake_support::{refusal, request, upgrade, with};
use streamconductor_core::handshake::{
    HeaderError, Refusal, ResponseHeaders, SwitchError, plain_response, refusal_response, switching_protocols,
};

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn the_101_is_the_one_of_the_rfc() {
    let request = request(&upgrade("/chat", "Sec-WebSocket-Protocol: v1, bearer.x\r\n"));
    let none = ResponseHeaders::default();
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    assert_eq!(text(switching_protocols(&request, None, None, &none).unwrap()), format!("{head}\r\n"));
    let headers = ResponseHeaders::checked([("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]).unwrap();
    assert_eq!(
        text(switching_protocols(&request, Some("v1"), None, &headers).unwrap()),
        format!("{head}Sec-WebSocket-Protocol: v1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n")
    );
}

#[test]
fn h8_the_101_chooses_no_extension() {
    let request = request(&upgrade("/chat", "Sec-WebSocket-Extensions: permessage-deflate\r\n"));
    let response = text(switching_protocols(&request, None, None, &ResponseHeaders::default()).unwrap());
    assert!(!response.contains("Extensions"));
}

#[test]
fn only_an_upgrade_and_an_offered_subprotocol_get_a_101() {
    let none = ResponseHeaders::default();
    let offers = request(&upgrade("/chat", "Sec-WebSocket-Protocol: v1, bearer.x\r\n"));
    assert_eq!(switching_protocols(&offers, Some("v2"), None, &none), Err(SwitchError::NotOffered));
    assert_eq!(switching_protocols(&offers, Some("v1\r\nX: y"), None, &none), Err(SwitchError::NotOffered));
    assert_eq!(switching_protocols(&offers, Some("bearer.x"), None, &none), Err(SwitchError::Bearer));
    for head in [
        with("GET", "POST"),
        with("Upgrade: websocket", "Upgrade: h2c"),
        with("dGhlIHNhbXBsZSBub25jZQ==", "short"),
    ] {
        assert_eq!(switching_protocols(&request(&head), None, None, &none), Err(SwitchError::NotAnUpgrade));
    }
}

#[test]
fn h23_no_header_of_the_application_can_split_or_override_a_response() {
    for name in ["", "X Y", "X:", "X\r\nY", "caf\u{e9}"] {
        assert_eq!(ResponseHeaders::checked([(name, "v")]), Err(HeaderError::Name(name.into())));
    }
    for value in ["a\r\nX: y", "a\n", "a\r", "\0", "\u{1b}[31m", "\u{7f}"] {
        assert_eq!(
            ResponseHeaders::checked([("X", value)]),
            Err(HeaderError::Value("X".into())),
            "{value:?}"
        );
    }
    for name in [
        "Connection",
        "UPGRADE",
        "Content-Length",
        "content-type",
        "Transfer-Encoding",
        "Trailer",
        "Sec-WebSocket-Accept",
        "sec-websocket-extensions",
        "Sec-WebSocket-Protocol",
    ] {
        assert_eq!(ResponseHeaders::checked([(name, "v")]), Err(HeaderError::Own(name.into())));
    }
    assert!(ResponseHeaders::checked([("X-Tab", "a\tb"), ("X-Empty", "")]).is_ok());
    let error = ResponseHeaders::checked([("X-Token", "s3cr3t\n")]).unwrap_err();
    assert!(!error.to_string().contains("s3cr3t"), "{error}");
}

#[test]
fn a_refusal_is_plain_text_and_closes() {
    let mut refusal = Refusal::new(503, "the pool is full").retry_after(Duration::from_millis(1_200));
    refusal.headers.add("X-Reason", "full").unwrap();
    let head = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n\
                Content-Length: 17\r\nX-Content-Type-Options: nosniff\r\nRetry-After: 2\r\nX-Reason: full\r\n\r\n";
    assert_eq!(text(refusal_response(&refusal, false)), format!("{head}the pool is full\n"));
    assert_eq!(text(refusal_response(&refusal, true)), head);
    let at_once = Refusal::new(503, "").retry_after(Duration::ZERO);
    let response = text(refusal_response(&at_once, false));
    assert!(
        response.contains("\r\nRetry-After: 1\r\n") && response.ends_with("\r\n\r\nService Unavailable\n")
    );
}

#[test]
fn a_426_names_the_upgrade_as_a_connection_option() {
    let response = text(refusal_response(&refusal(&with("Upgrade: websocket\r\n", "")), false));
    assert!(
        response.starts_with("HTTP/1.1 426 Upgrade Required\r\nConnection: close, upgrade\r\n"),
        "{response}"
    );
    assert!(response.contains("\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n"), "{response}");
}

#[test]
fn a_refusal_never_looks_like_a_welcome() {
    for status in [0, 100, 101, 200, 204, 299, 304, 600, 1000] {
        let response = text(refusal_response(&Refusal::new(status, "no"), false));
        assert!(response.starts_with("HTTP/1.1 500 Internal Server Error\r\n"), "{status}: {response}");
    }
    for status in [302, 401, 418, 599] {
        let response = text(refusal_response(&Refusal::new(status, "no"), false));
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {response}");
    }
}

#[test]
fn a_plain_response_has_the_length_of_its_body_even_without_it() {
    let headers = ResponseHeaders::checked([("Cache-Control", "no-store")]).unwrap();
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\
                X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n\r\n";
    let response = |head_only| text(plain_response(200, "application/json", b"{}", head_only, &headers));
    assert_eq!(response(false), format!("{head}{{}}"));
    assert_eq!(response(true), head);
}

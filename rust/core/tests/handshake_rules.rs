//! The verdict: H6 to H12, H14, H15, H21, subprotocols and bearer tokens.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod handshake_support;

use std::time::Duration;

use handshake_support::{header, refusal, request, status, upgrade, verdict, with};
use streamconductor_core::config::Origins;
use streamconductor_core::handshake::{HeadReader, Refusal, RouteSettings, Router, Upgrade, Verdict, judge};

fn subprotocol(offers: &str) -> Option<String> {
    match verdict(&upgrade("/chat", offers)) {
        Verdict::Upgrade(upgrade) => upgrade.subprotocol,
        other => panic!("{other:?} of {offers:?}"),
    }
}

#[test]
fn a_valid_upgrade_leads_to_its_route() {
    let Verdict::Upgrade(Upgrade { route, parameters, subprotocol }) =
        verdict(&upgrade("/rooms/a%2Fb%20c?x", ""))
    else {
        panic!("refused");
    };
    assert_eq!((route, subprotocol), (1, None));
    assert_eq!(parameters, [("room".into(), "a/b c".to_owned())]);
}

#[test]
fn h6_bytes_beyond_ascii_are_no_subprotocol() {
    let mut head = upgrade("/chat", "Sec-WebSocket-Protocol: v1, ??\r\n");
    let position = head.iter().position(|byte| *byte == b'?').unwrap();
    head[position..position + 2].copy_from_slice(b"\x80\xff");
    assert_eq!(status(&head), 400);
    assert_eq!(status(&upgrade("/chat", "Sec-WebSocket-Protocol: caf\u{e9}\r\n")), 400);
}

#[test]
fn h7_a_subprotocol_of_blanks_is_refused_in_linear_time() {
    let offer =
        |blanks: usize| upgrade("/chat", &format!("Sec-WebSocket-Protocol: b{}x\r\n", " ".repeat(blanks)));
    assert_eq!(status(&offer(32_000)), 431);
    assert_eq!(status(&offer(16_000)), 400);
    // 1,000 of them: far beyond any bound if blanks were looked at more than a few times each.
    let head = offer(16_000);
    assert!((0..1_000).all(|_| status(&head) == 400));
}

#[test]
fn h8_extension_offers_of_any_kind_are_passed_over_and_what_is_no_offer_is_400() {
    let many = "x, ".repeat(1_000);
    for (offer, expected) in [
        ("constructor", 101),
        (&*many, 101),
        ("permessage-deflate; client_max_window_bits=99", 101),
        ("\"; =\"\\\",,;;", 400),
        ("", 400),
        ("a;b=\"\u{e9}", 400),
    ] {
        let head = upgrade("/chat", &format!("Sec-WebSocket-Extensions: {offer}\r\n"));
        assert_eq!(status(&head), expected, "{offer:.40}");
    }
}

#[test]
fn h10_the_key_comes_once_and_is_16_bytes_of_base64() {
    let line = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for key in [
        "",
        "AAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAAAAAA=",
        "AAAAAAAAAAAAAAAAAAAAAAAA",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25j==",
        "dGhlIHNhbXBsZSBub25jZSEhIQ==",
        "dGhlIHNhbXBsZSBub25jZ===",
        "dGhlIHNhbXBsZSBub25j!Q==",
        "dGhlIHNhbXBsZSBub25j-Q==",
        "dGhlIHNhbXBsZS Bub25jZ==",
        "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
        "dGhlIHNhbXBsZSBub25jZQ\u{e9}=",
    ] {
        assert_eq!(status(&with(line, &format!("Sec-WebSocket-Key: {key}\r\n"))), 400, "{key}");
    }
    assert_eq!(status(&with(line, "")), 400, "none");
    assert_eq!(status(&with(line, &line.repeat(2))), 400, "twice");
    assert_eq!(
        status(&with("dGhlIHNhbXBsZSBub25jZQ==", "AQIDBAUGBwgJCgsMDQ4PEC==")),
        101,
        "RFC 6455 §4.1, note"
    );
}

#[test]
fn h10_refusals_leave_nothing_in_the_reader() {
    let head = with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "");
    let mut reader = HeadReader::new();
    assert!(reader.read(&head).unwrap().is_some());
    assert_eq!(reader.buffered(), 0);
}

#[test]
fn h11_other_versions_of_the_protocol_are_426_and_told_ours() {
    let line = "Sec-WebSocket-Version: 13\r\n";
    for other in [
        "",
        "Sec-WebSocket-Version: 8\r\n",
        "Sec-WebSocket-Version: 13, 8\r\n",
        "Sec-WebSocket-Version: 013\r\n",
    ] {
        let refusal = refusal(&with(line, other));
        assert_eq!(
            (refusal.status, header(&refusal, "Sec-WebSocket-Version")),
            (426, Some("13")),
            "{other:?}"
        );
        assert_eq!(header(&refusal, "Upgrade"), Some("websocket"));
    }
    assert_eq!(status(&with(line, &line.repeat(2))), 426, "twice");
}

#[test]
fn h12_other_methods_are_405_and_told_which_are_allowed() {
    for method in ["POST", "HEAD", "get", "OPTIONS", "BREW"] {
        let refusal = refusal(&with("GET /chat", &format!("{method} /chat")));
        assert_eq!((refusal.status, header(&refusal, "Allow")), (405, Some("GET")), "{method}");
    }
    let connect = refusal(&with("GET /chat", "CONNECT app.example.com:80"));
    assert_eq!((connect.status, header(&connect, "Allow")), (405, Some("GET")));
    let post = refusal(b"POST /livez HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((post.status, header(&post, "Allow")), (405, Some("GET, HEAD")));
    assert_eq!(status(&with("GET /chat", "POST /nowhere")), 404);
    assert_eq!(status(&with("GET /chat", "OPTIONS *")), 404);
}

#[test]
fn h14_no_upgrade_is_426_on_a_route_and_404_elsewhere() {
    for (line, replacement) in [
        ("Upgrade: websocket\r\n", ""),
        ("Upgrade: websocket\r\n", "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"),
        ("Upgrade: websocket\r\n", "Upgrade: websockets\r\n"),
        ("Connection: keep-alive, Upgrade\r\n", ""),
        ("Connection: keep-alive, Upgrade\r\n", "Connection: keep-alive\r\n"),
        ("Connection: keep-alive, Upgrade\r\n", "Connection: keep-alive Upgrade\r\n"),
    ] {
        let refusal = refusal(&with(line, replacement));
        assert_eq!(refusal.status, 426, "{replacement:?}");
        assert_eq!(header(&refusal, "Upgrade"), Some("websocket"));
        assert_eq!(header(&refusal, "Sec-WebSocket-Version"), Some("13"));
        let elsewhere = String::from_utf8(with(line, replacement)).unwrap().replace("/chat", "/nowhere");
        assert_eq!(status(elsewhere.as_bytes()), 404);
    }
    assert_eq!(status(&with("Upgrade: websocket\r\n", "upgrade: h2c, WebSocket\r\n")), 101);
    assert_eq!(status(&with("keep-alive, Upgrade\r\n", "keep-alive\r\nCONNECTION: uPGRADE\r\n")), 101);
    assert_eq!(status(&upgrade("/nowhere", "")), 404);
}

#[test]
fn h15_an_upgrade_has_no_body() {
    for lines in [
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 0\r\nContent-Length: 5\r\n",
        "Content-Length: 0, 5\r\n",
        "Content-Length: +0\r\n",
        "Transfer-Encoding: identity\r\n",
    ] {
        assert_eq!(status(&upgrade("/chat", lines)), 400, "{lines:?}");
        assert_eq!(status(&[upgrade("/chat", lines), b"hello".to_vec()].concat()), 400, "{lines:?}");
    }
    assert_eq!(status(&upgrade("/chat", "Content-Length: 0\r\n")), 101);
}

#[test]
fn h21_forwarding_headers_decide_nothing() {
    let lines = "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.example\r\n\
                 Forwarded: host=evil.example\r\n";
    let request = request(&upgrade("/chat", lines));
    assert_eq!((request.host(), request.secure), ("app.example.com", false));
    assert_eq!(status(&upgrade("/chat", &format!("{lines}Origin: https://evil.example\r\n"))), 403);
}

#[test]
fn probes_answer_get_and_head_whatever_else_they_carry() {
    let probe = |method: &str| format!("{method} /livez?verbose HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
    assert_eq!(verdict(&probe("GET")), Verdict::Plain { head_only: false });
    assert_eq!(verdict(&probe("HEAD")), Verdict::Plain { head_only: true });
    assert_eq!(status(&upgrade("/livez", "Origin: https://evil.example\r\n")), 200);
    assert_eq!(status(&upgrade("/livez/", "")), 404);
    let mut router = Router::new();
    router.add("/{rest:path}", RouteSettings::default()).unwrap();
    let verdict =
        judge(&request(&upgrade("/livez", "")), &router, &Origins::Any, false, &|path| path == "/livez");
    assert_eq!(verdict, Verdict::Plain { head_only: false }, "a route that takes all hides no probe");
}

#[test]
fn the_servers_preference_chooses_among_the_offers() {
    assert_eq!(subprotocol("Sec-WebSocket-Protocol: v1, v2\r\n").as_deref(), Some("v2"));
    assert_eq!(
        subprotocol("Sec-WebSocket-Protocol: v1\r\nsec-websocket-protocol: ,v2 ,\r\n").as_deref(),
        Some("v2")
    );
    assert_eq!(subprotocol("Sec-WebSocket-Protocol: other,v1\r\n").as_deref(), Some("v1"));
    assert_eq!(subprotocol("Sec-WebSocket-Protocol: V1, v11\r\n"), None);
    assert_eq!(subprotocol(""), None);
    assert_eq!(subprotocol("Sec-WebSocket-Protocol: bearer.v1\r\n"), None);
}

#[test]
fn the_bearer_token_comes_from_the_first_place_that_has_one() {
    let authorization = "Authorization: bEaReR  from.header\r\n";
    let cookie = "Cookie: other=1; xtoken=no; tokens=no; token=\"from.cookie\"; token=second\r\n";
    let offer = "Sec-WebSocket-Protocol: v1, bearer., bearer.from.offer, bearer.second\r\n";
    let token = |lines: &str, name: Option<&str>| {
        request(&upgrade("/chat", lines)).bearer_token(name).map(str::to_owned)
    };
    let all = format!("{offer}{cookie}{authorization}");
    assert_eq!(token(&all, Some("token")).as_deref(), Some("from.header"));
    assert_eq!(token(&format!("{offer}{cookie}"), Some("token")).as_deref(), Some("from.cookie"));
    assert_eq!(token(&format!("{offer}{cookie}"), Some("Token")).as_deref(), Some("from.offer"));
    assert_eq!(token(&format!("{offer}{cookie}"), None).as_deref(), Some("from.offer"));
    assert_eq!(token(&format!("{offer}Authorization: Basic YTpi\r\n"), None).as_deref(), Some("from.offer"));
    for nothing in [
        "",
        "Authorization: Bearer\r\n",
        "Authorization: Bearer \r\n",
        "Authorization: Bearertoken\r\n",
        "Authorization: Bearer two words\r\n",
        "Authorization: Bearer caf\u{e9}\r\n",
        "Cookie: token=\r\n",
        "Cookie: token\r\n",
        "Sec-WebSocket-Protocol: Bearer.x\r\n",
    ] {
        assert_eq!(token(nothing, Some("token")), None, "{nothing:?}");
    }
}

#[test]
fn the_first_broken_rule_in_the_documented_order_answers() {
    // From a request that breaks everything, one mended rule after another.
    let mut head =
        "POST /nowhere HTTP/1.0\r\nHost : a\r\nUpgrade: h2c\r\nContent-Length: 5\r\nSec-WebSocket-Key: k\r\n\
                    Sec-WebSocket-Protocol: \"\r\nOrigin: null\r\nOrigin: null\r\nConnection: upgrade\r\n\r\n"
            .to_owned();
    for (line, mended, before) in [
        ("HTTP/1.0", "HTTP/1.1", 505),
        ("Host : a", "Host: a", 400),
        ("/nowhere", "/chat", 404),
        ("POST", "GET", 405),
        ("h2c", "websocket", 426),
        ("Content-Length: 5", "Sec-WebSocket-Version: 13\r\nContent-Length: 5", 426),
        ("Content-Length: 5\r\n", "", 400),
        ("Key: k", "Key: dGhlIHNhbXBsZSBub25jZQ==", 400),
        ("Protocol: \"", "Protocol: v1", 400),
        ("Origin: null\r\nOrigin: null", "Origin: null", 400),
        ("Origin: null\r\n", "", 403),
    ] {
        assert_eq!(status(head.as_bytes()), before, "before {mended:?}");
        assert!(head.contains(line));
        head = head.replacen(line, mended, 1);
    }
    assert_eq!(status(head.as_bytes()), 101);
}

#[test]
fn no_refusal_repeats_what_was_sent() {
    let secret = "s3cr3t";
    for head in [
        upgrade("/nowhere?s3cr3t", "Authorization: Bearer s3cr3t\r\n"),
        upgrade("/chat?s3cr3t", "Sec-WebSocket-Protocol: bearer.s3cr3t, \"\r\n"),
        upgrade("/chat", "Origin: https://a/s3cr3t\r\n"),
        with("Host: app.example.com", "Host: s3cr3t@a"),
        with("dGhlIHNhbXBsZSBub25jZQ==", "s3cr3t"),
        with("Version: 13", "Version: s3cr3t"),
        with("Upgrade: websocket", "Upgrade: s3cr3t"),
        with("GET /chat", "s3cr3t /chat"),
        with("/chat HTTP/1.1", "/%s3cr3t HTTP/1.1"),
    ] {
        let refusal: Refusal = refusal(&head).retry_after(Duration::from_millis(1));
        assert!(!format!("{refusal:?}").contains(secret), "{refusal:?}");
    }
}

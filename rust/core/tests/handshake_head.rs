//! The head reader: bounds (H1 to H3), versions (H13), nothing before our 101 (H16), RFC 9112's syntax (H17),
//! and that neither the split of the reads nor random bytes change or break anything.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod handshake_support;

use handshake_support::{UPGRADE, read, refused, request, upgrade, with};
use proptest::prelude::*;
use streamconductor_core::handshake::{HeadReader, MAX_HEAD, MAX_HEADERS, MAX_TARGET};

/// Feeds `bytes` in the pieces that `sizes` cycles through; what was decided, and after how many bytes.
fn feed(bytes: &[u8], sizes: &[usize]) -> (Option<Result<String, u16>>, usize) {
    let mut reader = HeadReader::new();
    let mut rest = bytes;
    for size in sizes.iter().cycle() {
        let (piece, after) = rest.split_at((*size).clamp(1, rest.len().max(1)).min(rest.len()));
        rest = after;
        match reader.read(piece) {
            Ok(None) => assert!(reader.buffered() <= MAX_HEAD),
            Ok(Some(request)) => {
                assert_eq!(reader.buffered(), 0);
                return (Some(Ok(format!("{request:?}"))), bytes.len() - rest.len());
            }
            Err(refusal) => {
                assert_eq!(reader.buffered(), 0);
                return (Some(Err(refusal.status)), bytes.len() - rest.len());
            }
        }
        if rest.is_empty() {
            break;
        }
    }
    (None, bytes.len())
}

fn valid_heads() -> Vec<Vec<u8>> {
    vec![
        upgrade("/chat", ""),
        upgrade("/rooms/caf%C3%A9?token=a%20b&x", "Cookie: a=1; b=2\r\nX-Empty:\r\nX-Tab:\ta\tb \r\n"),
        upgrade("http://App.Example.com:80/chat", "X-Latin: caf\u{e9}\r\n"),
        b"GET /livez HTTP/1.1\r\nHost:\r\n\r\n".to_vec(),
        b"HEAD / HTTP/1.1\r\nhost: [::1]:8000\r\n\r\n".to_vec(),
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n".to_vec(),
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
    ]
}

#[test]
fn every_valid_head_is_the_same_split_at_every_byte() {
    for head in valid_heads() {
        let (whole, _) = feed(&head, &[head.len()]);
        assert!(matches!(whole, Some(Ok(_))), "{whole:?} of {}", String::from_utf8_lossy(&head));
        assert_eq!(feed(&head, &[1]), (whole.clone(), head.len()));
        for split in 1..head.len() {
            let mut reader = HeadReader::new();
            assert!(reader.read(&head[..split]).unwrap().is_none(), "complete after {split} bytes");
            assert_eq!(reader.buffered(), split);
            let request = reader.read(&head[split..]).unwrap().unwrap();
            assert_eq!(Some(Ok(format!("{request:?}"))), whole);
        }
    }
}

#[test]
fn the_parts_of_a_request_are_what_was_sent() {
    let head = upgrade("/rooms/caf%C3%A9?token=a%20b?&x", "X-Value: \t caf\u{e9} , b\t \r\nX-Empty:\r\n");
    let request = request(&head);
    assert_eq!((request.method(), request.path()), ("GET", "/rooms/caf%C3%A9"));
    assert_eq!(request.query(), Some("token=a%20b?&x"));
    assert_eq!(request.target(), "/rooms/caf%C3%A9?token=a%20b?&x");
    assert_eq!(request.host(), "app.example.com");
    assert_eq!(request.header("x-vALUE"), Some("caf\u{e9} , b".as_bytes()));
    assert_eq!(request.header("X-Empty"), Some(&b""[..]));
    assert_eq!(request.header("X-Emp"), None);
    assert_eq!(request.headers().count(), 7);
    assert_eq!(request.headers().next(), Some(("Host", &b"app.example.com"[..])));
    assert!(request.is_upgrade());
    assert!(!format!("{request:?}").contains("token"), "the query string shows in {request:?}");
}

#[test]
fn an_absolute_target_names_the_host() {
    let absolute = request(&upgrade("HTTP://Other.example:8080?q", ""));
    assert_eq!((absolute.host(), absolute.path(), absolute.query()), ("Other.example:8080", "/", Some("q")));
}

#[test]
fn h1_a_header_of_20_mb_is_431_within_the_bound() {
    let mut head = b"GET /chat HTTP/1.1\r\nX: ".to_vec();
    head.resize(20_000_000, b'a');
    assert_eq!(refused(&head), 431);
    assert_eq!(feed(&head, &[1]), (Some(Err(431)), MAX_HEAD + 1));
    assert_eq!(feed(&vec![b'A'; MAX_HEAD + 1], &[1000]).0, Some(Err(431)));
    assert_eq!(feed(&vec![b'A'; MAX_HEAD], &[1000]).0, None);
}

#[test]
fn h1_the_bound_itself_is_allowed() {
    let padded = |length: usize| {
        let empty = upgrade("/chat", "X: \r\n").len();
        upgrade("/chat", &format!("X: {}\r\n", "a".repeat(length - empty)))
    };
    assert_eq!(padded(MAX_HEAD).len(), MAX_HEAD);
    assert!(read(&padded(MAX_HEAD)).unwrap().is_some());
    assert_eq!(refused(&padded(MAX_HEAD + 1)), 431);
}

#[test]
fn h2_two_thousand_headers_are_431_at_the_101st() {
    let lines = |count: usize| format!("GET /chat HTTP/1.1\r\nHost: a\r\n{}", "X: 1\r\n".repeat(count - 1));
    let (_, decided) = feed(lines(2000).as_bytes(), &[1]);
    assert_eq!(refused(lines(2000).as_bytes()), 431);
    assert_eq!(decided, lines(MAX_HEADERS).len() + 1);
    assert!(read(format!("{}\r\n", lines(MAX_HEADERS)).as_bytes()).unwrap().is_some());
}

#[test]
fn h3_a_target_above_8_kib_is_414_before_its_line_ends() {
    let target = |length: usize| format!("/{}", "a".repeat(length - 1));
    assert_eq!(
        feed(format!("GET {}", target(20_000)).as_bytes(), &[1]),
        (Some(Err(414)), 4 + MAX_TARGET + 1)
    );
    assert!(read(&upgrade(&target(MAX_TARGET), "")).unwrap().is_some());
    assert_eq!(refused(&upgrade(&target(MAX_TARGET + 1), "")), 414);
}

#[test]
fn h13_other_versions_are_505_at_the_end_of_the_first_line() {
    for line in
        ["GET /chat HTTP/1.0", "GET /chat HTTP/2.0", "PRI * HTTP/2.0", "GET /chat HTTP/1.2", "GET / HTTP/0.9"]
    {
        assert_eq!(refused(format!("{line}\r\n").as_bytes()), 505, "{line}");
    }
    assert_eq!(refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505);
    assert_eq!(refused(&with(" HTTP/1.1", " HTTP/1.0")), 505);
}

#[test]
fn a_malformed_first_line_is_400_at_its_end() {
    for line in [
        "GET /",
        "GET",
        "GET /chat",
        "/chat HTTP/1.1",
        "GET  /chat HTTP/1.1",
        "GET /chat  HTTP/1.1",
        "GET /chat HTTP/1.1 ",
        "GET /a b HTTP/1.1",
        "GET /a b HTTP/1.0",
        "GET /a HTTP/2.0 b",
        "GET /chat http/1.1",
        "GET /chat HTTP/1",
        "GET /chat HTTP/11.1",
        " GET /chat HTTP/1.1",
        "G\u{e9}T / HTTP/1.1",
        "G(T / HTTP/1.1",
        "GET\t/chat HTTP/1.1",
        "",
    ] {
        assert_eq!(refused(format!("{line}\r\n").as_bytes()), 400, "{line:?}");
    }
}

#[test]
fn a_malformed_target_is_400() {
    for target in [
        "chat",
        "*",
        "app.example.com:80",
        "/chat#here",
        "/caf\u{e9}",
        "ftp://app.example.com/chat",
        "http:///chat",
        "http://user@app.example.com/chat",
        "http://app.example.com:x/chat",
        "/%",
        "/%4",
        "/%zz",
        "/%+1",
        "/%ff",
        "/a%00",
        "/a%0d%0ab",
        "/a%1b",
        "/%C2%85",
        "/%\u{e9}\u{e9}",
    ] {
        assert_eq!(refused(&upgrade(target, "")), 400, "{target:?}");
    }
}

#[test]
fn h16_nothing_may_come_before_the_101() {
    for more in [&b"\x81\x85\0\0\0\0hello"[..], &upgrade("/chat", ""), b"x", b"\r\n"] {
        let head = upgrade("/chat", "");
        assert_eq!(refused(&[&head, more].concat()), 400);

        let mut reader = HeadReader::new();
        assert!(reader.read(&head).unwrap().is_some());
        assert!(reader.read(b"").unwrap().is_none());
        assert_eq!(reader.read(more).unwrap_err().status, 400);
        assert!(reader.read(more).unwrap().is_none(), "one refusal is enough");
    }
    // Behind what is no upgrade they do not matter: its answer closes the connection.
    let mut reader = HeadReader::new();
    assert!(reader.read(b"POST /chat HTTP/1.1\r\nHost: a\r\n\r\nbody").unwrap().is_some());
    assert!(reader.read(b"more").unwrap().is_none());
}

#[test]
fn h17_what_rfc_9112_refuses_is_400() {
    let host = "Host: app.example.com\r\n";
    for (what, head) in [
        ("obs-fold", with(host, "Host: app.example.com\r\n folded\r\n")),
        ("obs-fold with a tab", with(host, "Host: app.example.com\r\n\tfolded: x\r\n")),
        ("folded first header", with(host, " Host: app.example.com\r\n")),
        ("bare LF", with("websocket\r\n", "websocket\n")),
        ("bare LF in the first line", with("HTTP/1.1\r\n", "HTTP/1.1\n")),
        ("bare LF as the blank line", with("==\r\n\r\n", "==\r\n\n")),
        ("bare CR", with("websocket\r\n", "web\rsocket\r\n")),
        ("CR CR LF", with("websocket\r\n", "websocket\r\r\n")),
        ("NUL", with("websocket", "web\0socket")),
        ("NUL in a name", with("Upgrade:", "Up\0grade:")),
        ("escape", with("websocket", "\u{1b}[31m")),
        ("DEL", with("websocket", "web\u{7f}")),
        ("blank before the colon", with("Host:", "Host :")),
        ("tab before the colon", with("Host:", "Host\t:")),
        ("no colon", with(host, "Host: a\r\nnonsense\r\n")),
        ("no name", with(host, "Host: a\r\n: value\r\n")),
        ("name with a blank", with(host, "Host: a\r\nTwo words: x\r\n")),
        ("name that is no token", with(host, "Host: a\r\nX(y): x\r\n")),
        ("name beyond ASCII", with(host, "Host: a\r\nX-\u{e9}: x\r\n")),
        ("two Hosts", with(host, "Host: app.example.com\r\nhost: app.example.com\r\n")),
        ("no Host", with(host, "")),
        ("Host with a path", with(host, "Host: app.example.com/x\r\n")),
        ("Host with a user", with(host, "Host: me@app.example.com\r\n")),
        ("Host with two ports", with(host, "Host: app.example.com:1:2\r\n")),
        ("Host with a large port", with(host, "Host: app.example.com:65536\r\n")),
        ("Host that is a list", with(host, "Host: a, b\r\n")),
        ("empty line first", [b"\r\n".to_vec(), upgrade("/chat", "")].concat()),
    ] {
        assert_eq!(refused(&head), 400, "{what}");
        assert_eq!(feed(&head, &[1]).0, Some(Err(400)), "{what}, byte by byte");
    }
}

#[test]
fn a_tls_greeting_is_refused_at_its_first_byte() {
    assert_eq!(feed(&[0x16, 3, 1, 2, 0, 1], &[1]), (Some(Err(400)), 1));
}

#[test]
fn bare_line_feeds_do_not_wait_for_a_blank_line() {
    assert_eq!(feed(b"GET / HTTP/1.1\nHost: a\n\n", &[1]), (Some(Err(400)), 15));
}

/// Bytes that reach deep: pieces of heads, bytes that matter, and a few that are anything.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"GET /chat HTTP/1.1\r\n".to_vec()),
        Just(UPGRADE.as_bytes().to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\r\n\r\n".to_vec()),
        Just(b"Host: a\r\n".to_vec()),
        Just(b"Sec-WebSocket-Protocol: a, b\r\n".to_vec()),
        Just(b"Origin: http://a:1\r\n".to_vec()),
        Just(b"%41%".to_vec()),
        Just(vec![b'a'; 9000]),
        proptest::collection::vec(any::<u8>(), 0..40),
        "[ -~]{0,40}".prop_map(String::into_bytes),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_bytes_in_any_split_end_the_same_within_the_bound(
        bytes in bytes(),
        sizes in proptest::collection::vec(1usize..5000, 1..8),
    ) {
        let (one_by_one, decided) = feed(&bytes, &[1]);
        prop_assert!(decided <= MAX_HEAD + 1);
        // What was decided at a byte does not change with the split; only bytes behind an upgrade may refuse it.
        prop_assert_eq!(&feed(&bytes[..decided], &sizes).0, &one_by_one);
        let (split, _) = feed(&bytes, &sizes);
        let refused_for_more = split == Some(Err(400)) && decided < bytes.len();
        prop_assert!(split == one_by_one || refused_for_more);
    }

    #[test]
    fn one_changed_byte_never_panics_and_is_always_decided(position in 0usize..190, byte in any::<u8>()) {
        let mut head = upgrade("/rooms/a%20b?c", "Origin: https://app.example.com\r\n");
        let position = position % head.len();
        head[position] = byte;
        if let Ok(Some(request)) = read(&head) {
            handshake_support::verdict(&head);
            prop_assert_eq!(request.headers().count(), 6);
        }
    }
}

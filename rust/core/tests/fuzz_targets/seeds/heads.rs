//! Receives nothing · hands out request heads · owns the rows of the HTTP front, and the good heads beside them.

use crate::handshake_support::{upgrade, with};

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";
const HOST: &str = "Host: app.example.com\r\n";

pub fn heads() -> Vec<(&'static str, Vec<u8>)> {
    let header = |line: &str| upgrade("/chat", &format!("{line}\r\n"));
    let many = |name: &str, count: usize| upgrade("/chat", &format!("{name}: x\r\n").repeat(count));
    let raw = |bytes: &[u8]| bytes.to_vec();
    vec![
        ("good-upgrade", upgrade("/chat", "")),
        ("good-parameters", upgrade("/rooms/caf%C3%A9%2Fb?token=a%20b&x", "Cookie: a=1; token=\"b\"\r\n")),
        ("good-absolute", upgrade("http://App.Example.com:80/chat", "X-Latin: caf\u{e9}\r\n")),
        ("good-token", header("Authorization: Bearer abc.def.ghi")),
        ("good-offered-token", header("Sec-WebSocket-Protocol: v1, bearer.abc, v2")),
        ("good-probe", raw(b"GET /livez HTTP/1.1\r\nHost:\r\n\r\n")),
        ("good-probe-head", raw(b"HEAD /livez HTTP/1.1\r\nhost: [::1]:8000\r\n\r\n")),
        ("h01-one-header-too-long", header(&format!("X: {}", "a".repeat(17_000)))),
        ("h02-too-many-headers", many("X", 101)),
        ("h03-target-too-long", upgrade(&format!("/{}", "a".repeat(8_200)), "")),
        ("h05-nothing-complete", raw(b"GET /chat HTTP/1.1\r\nHost: app.exam")),
        ("h06-subprotocol-beyond-ascii", header("Sec-WebSocket-Protocol: caf\u{e9}")),
        ("h07-subprotocol-of-blanks", header(&format!("Sec-WebSocket-Protocol: b{}x", " ".repeat(2_000)))),
        ("h08-extension-constructor", header("Sec-WebSocket-Extensions: constructor")),
        ("h08-extensions-many", header(&format!("Sec-WebSocket-Extensions: {}", "x, ".repeat(400)))),
        ("h08-extensions-quoted", header("Sec-WebSocket-Extensions: \"; =\"\\\",,;;a;b=\"\u{e9}")),
        (
            "h09-window-bits",
            header("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=99"),
        ),
        (
            "h09-deflate-twice",
            header(
                "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
                 server_no_context_takeover, permessage-deflate; server_max_window_bits=9",
            ),
        ),
        ("h10-no-key", with(KEY, "")),
        ("h10-key-twice", with(KEY, &KEY.repeat(2))),
        ("h10-key-short", with(KEY, "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAA\r\n")),
        ("h11-no-version", with(VERSION, "")),
        ("h11-version-8", with(VERSION, "Sec-WebSocket-Version: 8\r\n")),
        ("h11-version-twice", with(VERSION, &VERSION.repeat(2))),
        ("h12-post", with("GET ", "POST ")),
        ("h12-connect", raw(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n")),
        ("h13-http-1-0", with(" HTTP/1.1", " HTTP/1.0")),
        ("h13-http-2-preface", raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")),
        ("h14-no-upgrade", with("Upgrade: websocket\r\n", "")),
        ("h14-h2c", with("Upgrade: websocket", "Upgrade: h2c")),
        ("h15-content-length", header("Content-Length: 5")),
        ("h15-chunked", header("Transfer-Encoding: chunked")),
        (
            "h15-both-and-a-body",
            [header("Content-Length: 5\r\nTransfer-Encoding: chunked"), raw(b"hello")].concat(),
        ),
        ("h16-frame-before-101", [upgrade("/chat", ""), raw(b"\x81\x85\0\0\0\0hello")].concat()),
        ("h16-second-request", upgrade("/chat", "").repeat(2)),
        ("h17-obs-fold", with(HOST, "Host: app.example.com\r\n folded\r\n")),
        ("h17-bare-lf", with("websocket\r\n", "websocket\n")),
        ("h17-nul", with("websocket", "web\0socket")),
        ("h17-blank-before-colon", with("Host:", "Host :")),
        ("h17-two-hosts", with(HOST, &HOST.repeat(2))),
        ("h17-no-host", with(HOST, "")),
        ("h18-other-origin", header("Origin: https://app.example.com.evil.example")),
        ("h18-other-port", header("Origin: http://app.example.com:81")),
        ("h18-same-origin", header("Origin: http://app.example.com")),
        ("h19-null-origin", header("Origin: null")),
        ("h19-two-origins", header("Origin: null\r\nOrigin: http://app.example.com")),
        ("h20-cookie-only", header("Cookie: token=abc")),
        ("h21-forwarded-for", header("X-Forwarded-For: 198.51.100.1, [2001:db8::1]:80, unknown")),
        ("h21-forwarded", header("Forwarded: for=\"[2001:db8::1]:4711\";proto=https;host=a, for=_hidden")),
        ("h21-forwarded-proto", header("X-Forwarded-Proto: https\r\nX-Forwarded-Host: app.example.com")),
        ("h22-token-alg-none", header("Authorization: Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.")),
        ("h22-token-too-long", header(&format!("Authorization: Bearer {}", "a".repeat(16_000)))),
        ("h23-escape-in-path", upgrade("/rooms/a%0d%0a%1b[31m", "")),
        ("h23-escape-in-agent", header("User-Agent: a\u{1b}[31m")),
        ("h28-tls-greeting", raw(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3])),
    ]
}

//! What the admin address answers, and to whom, over real sockets.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)] // a panic is a failed test

mod admin_support;

use admin_support::{MAX_PAYLOAD, Stand, ask, expect};
use serde_json::json;
use streamconductor_core::ledger::Owner;

const SECRET: &str = "Authorization: Bearer secret\r\n";

#[test]
fn probes_follow_readiness() {
    let stand = Stand::start(None);
    let alive = stand.get("/livez");
    assert_eq!((alive.status, alive.body.as_str()), (200, "{\"status\":\"alive\"}\n"));
    assert_eq!(stand.get("/readyz").status, 200);
    stand.readiness.drain();
    let red = stand.get("/readyz");
    assert_eq!((red.status, &red.json()["reasons"]), (503, &json!(["the server is shutting down"])));
    assert_eq!(stand.get("/livez").status, 200);
}

#[test]
fn head_is_get_without_the_body() {
    let stand = Stand::start(None);
    for path in ["/livez", "/readyz", "/status", "/metrics"] {
        let head = format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let (head, get) = (ask(stand.admin.address(), head), stand.get(path));
        assert_eq!((head.status, head.body.as_str()), (get.status, ""), "{path}");
        assert_eq!(head.headers["content-type"], get.headers["content-type"]);
        assert_ne!(head.headers["content-length"], "0", "{path}");
        assert_eq!(get.headers["cache-control"], "no-store");
    }
}

#[test]
fn other_paths_and_methods_are_refused() {
    let stand = Stand::start(None);
    for path in ["/", "/channels", "/livez/", "/Status"] {
        assert_eq!(stand.get(path).status, 404, "{path}");
    }
    let refused = stand.post("/status", "", "");
    assert_eq!((refused.status, refused.headers["allow"].as_str()), (405, "GET, HEAD"));
    let refused = stand.get("/channels/room");
    assert_eq!((refused.status, refused.headers["allow"].as_str()), (405, "POST"));
}

#[test]
fn a_publication_reaches_the_subscribers_as_text_or_binary() {
    let stand = Stand::start(None);
    assert_eq!(stand.post("/channels/nobody", "", "hi").json(), json!({"subscribers": 0}));
    let mut subscriber = stand.subscriber("room/ü");
    let text = "Content-Type: text/plain; charset=utf-8\r\n";
    let taken = stand.post("/channels/room%2F%C3%BC?key=a", text, "hi");
    assert_eq!((taken.status, taken.json()), (202, json!({"subscribers": 1})));
    expect(&mut subscriber, &[0x81, 2, b'h', b'i']);
    stand.post("/channels/room/%c3%bc", "", "hi");
    expect(&mut subscriber, &[0x82, 2, b'h', b'i']);
    stand.post("/channels/room/%c3%bc", text, b"\xff");
    expect(&mut subscriber, &[0x82, 1, 0xFF]);
}

#[test]
fn a_publication_that_cannot_be_is_refused() {
    let stand = Stand::start(None);
    let long = format!("/channels/{}", "n".repeat(256));
    let longest = format!("/channels/{}", "n".repeat(255));
    for path in
        ["/channels/", "/channels/a%00b", "/channels/a%C2%85", "/channels/%FF", "/channels/%4", long.as_str()]
    {
        assert_eq!(stand.post(path, "", "hi").status, 400, "{path}");
    }
    assert_eq!(stand.post("/channels/room?kee=a", "", "hi").status, 400);
    assert_eq!(stand.post(&longest, "", vec![b'x'; MAX_PAYLOAD]).status, 202, "both at their limits");
    assert_eq!(stand.post("/channels/room", "", vec![b'x'; MAX_PAYLOAD + 1]).status, 413);
    let head = "POST /channels/room HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunked = format!("{head}3e8\r\n{}\r\n1\r\nx\r\n", "x".repeat(MAX_PAYLOAD));
    assert_eq!(ask(stand.admin.address(), chunked).status, 413, "as soon as it is too long, not at its end");
    let endless = "POST /channels/room HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000000\r\n\r\n";
    assert_eq!(ask(stand.admin.address(), endless).status, 413, "before a byte of it came");
    assert_eq!(ask(stand.admin.address(), [endless.as_bytes(), &vec![b'x'; 30_000]].concat()).status, 413);
}

#[test]
fn a_publication_comes_back_later_when_memory_is_short() {
    let stand = Stand::start(None);
    let charge = stand.ledger.charge(Owner::Rings, stand.ledger.budget() * 95 / 100);
    let refused = stand.post("/channels/room", "", "hi");
    assert_eq!((refused.status, refused.headers["retry-after"].as_str()), (503, "1"));
    assert_eq!(stand.post("/channels/room", "", "").status, 503, "also without a body to read");
    drop(charge);
    assert_eq!(stand.post("/channels/room", "", "hi").status, 202);
    assert_eq!(stand.ledger.held_by(Owner::Mailboxes), 0, "bodies are given back");
}

#[test]
fn changes_are_handed_on_or_refused_with_the_reason() {
    let stand = Stand::start(None);
    assert_eq!(stand.post("/reconfigure", "", "{\"max_connections\": 5}").status, 202);
    assert_eq!(*stand.changes.lock().unwrap(), [json!({"max_connections": 5})]);
    let refused = stand.post("/reconfigure", "", "{\"wrong\": 1}");
    assert_eq!((refused.status, refused.json()), (400, json!({"error": "wrong is not a field"})));
    assert_eq!(stand.post("/reconfigure", "", "{").status, 400);
    assert_eq!(stand.post("/reconfigure", "", vec![b' '; 65_537]).status, 413);
}

#[test]
fn pages_other_names_and_those_without_the_token_stay_out() {
    let stand = Stand::start(Some("secret"));
    let address = stand.admin.address();
    let get = |headers: &str| {
        ask(address, format!("GET /livez HTTP/1.1\r\nConnection: close\r\n{headers}\r\n")).status
    };
    assert_eq!(get(&format!("Host: {address}\r\n")), 200);
    assert_eq!(get("Host: evil.example\r\n"), 403);
    assert_eq!(get("Host: localhost\r\nOrigin: http://localhost\r\n"), 403);
    assert_eq!(get(&format!("Host: evil.example\r\nOrigin: http://evil.example\r\n{SECRET}")), 200);
    assert_eq!(get(""), 400);

    let refused = stand.post("/channels/room", "", "hi");
    assert_eq!((refused.status, refused.headers["www-authenticate"].as_str()), (401, "Bearer"));
    assert_eq!(stand.post("/reconfigure", "Authorization: Bearer secre\r\n", "{}").status, 401);
    assert!(stand.changes.lock().unwrap().is_empty());
    assert_eq!(stand.post("/channels/room", SECRET, "hi").status, 202);
    assert_eq!(stand.post("/reconfigure", SECRET, "{}").status, 202);
    assert_eq!(
        stand.post("/nowhere", "Origin: http://evil.example\r\n", "").status,
        403,
        "nor do they learn paths"
    );
}

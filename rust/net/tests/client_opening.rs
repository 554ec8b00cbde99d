//! What a client makes of answers to its opening handshake, scripted byte by byte (RFC 6455 §4.1).
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)] // a panic is a failed test

mod client_support;

use std::io::Write;
use std::sync::mpsc::channel;
use std::time::Duration;

use client_support::{
    Scripted, accept, broken_rule, dialled, failed, header, ledger, read, run, switching, to, wait_for_end,
};
use streamconductor_core::deflate::{Encoding, OFFER, WindowBits};
use streamconductor_net::client::{Dial, DialError, MAX_HEAD, MAX_HEADERS, Stage, dial};

const FRAMES: &[u8] = b"\x81\x05hello\x89\x00\r\n\r\n";

#[test]
fn frames_in_the_packet_of_the_answer_are_kept_to_the_byte() {
    let server = Scripted::start(|_, head, socket| {
        let head = switching("").replace("{accept}", &accept(head));
        socket.write_all(&[head.as_bytes(), FRAMES].concat()).unwrap();
        wait_for_end(socket);
    });
    dialled(&to(server.url()), async |connection| {
        assert_eq!(&connection.read_ahead[..], FRAMES);
        assert_eq!((connection.status, connection.peer), (101, Some(server.address())));
        assert_eq!(connection.url, server.url());
        assert!(connection.encryption.is_none() && connection.secured.is_none());
        assert!(connection.headers.contains(&("upgrade".to_owned(), b"websocket".to_vec())));
    });
}

#[test]
fn an_answer_in_any_pieces_loses_nothing_of_what_follows() {
    let server = Scripted::start(|_, head, socket| {
        let head = switching("").replace("{accept}", &accept(head));
        for byte in [head.as_bytes(), FRAMES].concat() {
            socket.write_all(&[byte]).unwrap();
        }
        wait_for_end(socket);
    });
    dialled(&to(server.url()), async |mut connection| {
        let mut got = connection.read_ahead.to_vec();
        got.extend(read(&mut connection.stream, FRAMES.len() - got.len()).await);
        assert_eq!(got, FRAMES);
    });
}

#[test]
fn a_wrong_accept_fails() {
    for line in ["Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", "", "Sec-WebSocket-Accept: \r\n"] {
        let answer = switching("").replace("Sec-WebSocket-Accept: {accept}\r\n", line);
        assert!(broken_rule(&to(Scripted::answering(answer).url())).contains("Sec-WebSocket-Accept"));
    }
    let twice = switching("Sec-WebSocket-Accept: {accept}\r\n");
    assert!(broken_rule(&to(Scripted::answering(twice).url())).contains("more than one"));
}

#[test]
fn what_else_a_101_must_say_is_asked_for() {
    for (line, rule) in [("Upgrade: websocket\r\n", "Upgrade"), ("Connection: Upgrade\r\n", "Connection")] {
        let server = Scripted::answering(switching("").replace(line, ""));
        assert!(broken_rule(&to(server.url())).contains(rule));
    }
    let old = Scripted::answering(switching("").replace("HTTP/1.1", "HTTP/1.0"));
    assert!(broken_rule(&to(old.url())).contains("HTTP/1.0"));
    // Lists and letters as proxies write them.
    let answer = switching("").replace("Connection: Upgrade", "connection: keep-alive, upgrade");
    let answer = answer.replace("Upgrade: websocket", "UPGRADE: WebSocket");
    dialled(&to(Scripted::answering(answer).url()), async |connection| assert_eq!(connection.status, 101));
}

#[test]
fn something_told_before_the_answer_is_passed_over() {
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let server = Scripted::answering(format!("{hint}{}", switching("X-Last: 1\r\n")));
    dialled(&to(server.url()), async |connection| {
        assert_eq!(connection.headers.last().unwrap().0, "x-last");
        assert!(connection.read_ahead.is_empty());
    });
}

#[test]
fn a_subprotocol_that_was_not_offered_fails() {
    let offering = |answer: &str, subprotocols: &[&str]| {
        let server = Scripted::answering(switching(answer));
        let subprotocols = subprotocols.iter().map(|name| (*name).to_owned()).collect();
        (Dial { subprotocols, ..to(server.url()) }, server)
    };
    for (answer, offered) in [
        ("Sec-WebSocket-Protocol: chat\r\n", &[][..]),
        ("Sec-WebSocket-Protocol: chat\r\n", &["talk"]),
        ("Sec-WebSocket-Protocol: Chat\r\n", &["chat"]),
        ("Sec-WebSocket-Protocol: chat, talk\r\n", &["chat", "talk"]),
        ("Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: talk\r\n", &["chat", "talk"]),
    ] {
        let (options, _server) = offering(answer, offered);
        let rule = broken_rule(&options);
        assert!(rule.contains("subprotocol") || rule.contains("sec-websocket-protocol"), "{rule}");
    }
    let (options, server) = offering("Sec-WebSocket-Protocol: talk\r\n", &["chat", "talk"]);
    dialled(&options, async |connection| assert_eq!(connection.subprotocol.as_deref(), Some("talk")));
    assert_eq!(header(&server.heads()[0], "Sec-WebSocket-Protocol"), Some("chat, talk"));
    let (options, _server) = offering("", &["chat"]);
    dialled(&options, async |connection| assert_eq!(connection.subprotocol, None));
}

#[test]
fn extensions_are_what_was_offered_or_nothing() {
    let answering = |extensions: &str, compression: bool| {
        let server = Scripted::answering(switching(extensions));
        (Dial { compression, ..to(server.url()) }, server)
    };
    let (options, _server) = answering("Sec-WebSocket-Extensions: permessage-deflate\r\n", false);
    assert!(broken_rule(&options).contains("not offered"));
    for extensions in ["x-mux", "permessage-deflate", "permessage-deflate; server_no_context_takeover; x=1"] {
        let (options, _server) = answering(&format!("Sec-WebSocket-Extensions: {extensions}\r\n"), true);
        broken_rule(&options);
    }
    let (options, server) =
        answering("Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n", true);
    dialled(&options, async |connection| {
        assert_eq!(connection.agreement.unwrap().encoding(), Encoding::Deflate(WindowBits::MAX));
    });
    assert_eq!(header(&server.heads()[0], "Sec-WebSocket-Extensions"), Some(OFFER));
    let (options, _server) = answering("", true);
    dialled(&options, async |connection| assert_eq!(connection.agreement, None));
}

#[test]
fn an_endless_head_is_cut_off_at_its_limits() {
    let lines = "X-Line: of a head without an end\r\n".repeat(1_000);
    let (tell, told) = channel();
    let server = Scripted::start(move |_, _, socket| {
        let _ = socket.write_all(b"HTTP/1.1 101 Switching Protocols\r\n");
        let mut sent = 0_usize;
        // Far more than any buffer of the kernel; it ends when the client has closed.
        while sent < 1 << 30 && socket.write_all(lines.as_bytes()).is_ok() {
            sent += lines.len();
        }
        tell.send(sent).unwrap();
    });
    assert!(broken_rule(&to(server.url())).contains(&MAX_HEAD.to_string()));
    assert!(told.recv_timeout(Duration::from_secs(10)).unwrap() < 1 << 30);

    let many = Scripted::answering(switching(&"A: b\r\n".repeat(MAX_HEADERS)));
    assert!(broken_rule(&to(many.url())).contains(&MAX_HEADERS.to_string()));
    let line = Scripted::answering(switching(&format!("A: {}\r\n", "b".repeat(MAX_HEAD))));
    assert!(broken_rule(&to(line.url())).contains(&MAX_HEAD.to_string()));
}

#[test]
fn what_is_no_http_fails_at_once() {
    let server = Scripted::answering("SSH-2.0-OpenSSH_9.2\r\n");
    assert!(broken_rule(&to(server.url())).contains("HTTP"));
    let bare = Scripted::answering(switching("").replace("\r\nUpgrade", "\nUpgrade"));
    assert!(broken_rule(&to(bare.url())).contains("CRLF"));
    let gone = Scripted::start(|_, _, socket| {
        let _ = socket.write_all(b"HTTP/1.1 101 Swi");
    });
    let error = failed(&to(gone.url()));
    assert!(matches!(error, DialError::Unreachable { .. }), "{error}");
}

#[test]
fn another_status_is_told_with_its_body_and_the_time_to_wait() {
    let refusal = |answer: String| {
        let server = Scripted::answering(answer);
        match failed(&to(format!("{}path?token=secret", server.url()))) {
            DialError::Status(refusal) => *refusal,
            other => panic!("{other}"),
        }
    };
    let ok = refusal("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, and what is not of it".to_owned());
    assert_eq!((ok.status, &ok.body[..], ok.retry_after), (200, &b"hello"[..], None));
    let busy = refusal(
        "HTTP/1.1 503 x\r\nRetry-After: 7\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfull\r\n0\r\n\r\n".into(),
    );
    assert_eq!(
        (busy.status, &busy.body[..], busy.retry_after),
        (503, &b"full"[..], Some(Duration::from_secs(7)))
    );
    assert!(busy.to_string().contains("503") && busy.to_string().contains("7 s"), "{busy}");
    assert!(!busy.to_string().contains("secret") && busy.to_string().contains("/path"), "{busy}");
    let long = refusal(format!("HTTP/1.1 404 x\r\n\r\n{}", "x".repeat(100_000)));
    assert_eq!((long.status, long.body.len()), (404, 4_096));
    let short = refusal("HTTP/1.1 403 x\r\nContent-Length: 100\r\n\r\nwithout the rest".to_owned());
    assert_eq!((short.status, &short.body[..]), (403, &b"without the rest"[..]));
}

#[test]
fn one_limit_is_over_everything_and_says_what_it_was_about() {
    let (tell, told) = channel();
    let server = Scripted::start(move |_, _, socket| {
        let _ = socket.write_all(b"HTTP/1.1 101 Switching Protocols\r\n");
        tell.send(wait_for_end(socket)).unwrap();
    });
    let limit = Duration::from_millis(200);
    let error = failed(&Dial { open_timeout: Some(limit), ..to(server.url()) });
    let DialError::TimedOut { stage: Stage::Opening, limit: told_limit, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(*told_limit, limit);
    assert!(error.to_string().contains("0.2 s") && error.to_string().contains("open_timeout"), "{error}");
    assert!(told.recv_timeout(Duration::from_secs(10)).unwrap(), "the server sees the end");
}

#[test]
fn who_drops_it_closes_everything() {
    let (tell, told) = channel();
    let server = Scripted::start(move |_, _, socket| tell.send(wait_for_end(socket)).unwrap());
    let options = Dial { open_timeout: None, ..to(server.url()) };
    run(async {
        let ledger = ledger();
        let mut dialling = Box::pin(dial(&options, &ledger));
        while server.heads().is_empty() {
            let turn = tokio::time::timeout(Duration::from_millis(5), &mut dialling).await;
            assert!(turn.is_err(), "nobody has answered");
        }
        drop(dialling);
        assert!(told.recv_timeout(Duration::from_secs(10)).unwrap());
    });
}

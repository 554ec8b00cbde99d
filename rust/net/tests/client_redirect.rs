//! Redirects: which are followed, how many, and what is left behind on the way.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)] // a panic is a failed test

mod client_support;

use std::io::Write;

use client_support::{Scripted, accept, dialled, failed, header, switching, to, wait_for_end};
use streamconductor_net::client::{Destination, Dial, DialError, MAX_REDIRECTS};

/// A server that sends whoever asks for anything but `/there` to `location`, with this status.
fn sending(status: u16, location: impl Into<String>) -> Scripted {
    let location = location.into();
    Scripted::start(move |_, head, socket| {
        let answer = if head.starts_with("GET /there") {
            switching("").replace("{accept}", &accept(head))
        } else {
            format!("HTTP/1.1 {status} x\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
        };
        let _ = socket.write_all(answer.as_bytes());
        wait_for_end(socket);
    })
}

fn with_secrets(url: String) -> Dial {
    let headers =
        [("Cookie", "a=b"), ("X-Kept", "1"), ("Proxy-Authorization", "p"), ("Host", "named.example")];
    Dial {
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        subprotocols: vec!["chat".into(), "bearer.secret".into()],
        ..to(url)
    }
}

fn first_line(head: &str) -> &str {
    head.lines().next().unwrap_or_default()
}

#[test]
fn each_kind_of_redirect_is_followed_relative_or_not() {
    for status in [301, 302, 303, 307, 308] {
        let server = sending(status, "../there?x=1#part");
        dialled(&to(format!("{}a/b", server.url())), async |connection| {
            assert_eq!(connection.url, format!("{}there?x=1", server.url()));
        });
        let lines: Vec<_> = server.heads().iter().map(|head| first_line(head).to_owned()).collect();
        assert_eq!(lines, ["GET /a/b HTTP/1.1", "GET /there?x=1 HTTP/1.1"]);
    }
    // The scheme that servers write.
    let server = sending(302, "/there");
    let first = sending(302, format!("http://{}/there", server.address()));
    dialled(&to(first.url()), async |connection| {
        assert_eq!(connection.url, format!("{}there", server.url()));
    });
}

#[test]
fn other_statuses_and_a_redirect_to_nowhere_are_answers_like_any_other() {
    for answer in ["300 x\r\nLocation: /there", "304 x\r\nLocation: /there", "302 x\r\nX: y"] {
        let server = Scripted::answering(format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n"));
        let error = failed(&to(server.url()));
        assert!(matches!(error, DialError::Status(_)), "{error}");
        assert_eq!(server.heads().len(), 1);
    }
    for location in ["mailto:a@b", "ftp://h/", "ws://", "http://h:99999/"] {
        let error = failed(&to(sending(302, location).url()));
        assert!(matches!(error, DialError::Redirect { .. }), "{location}: {error}");
    }
}

#[test]
fn a_loop_ends_after_ten() {
    let server = sending(301, "/again");
    let error = failed(&to(server.url()));
    assert!(matches!(error, DialError::TooManyRedirects { limit: MAX_REDIRECTS, .. }), "{error}");
    assert_eq!(server.heads().len(), 1 + 10);
    assert!(error.to_string().contains("10"), "{error}");
}

#[test]
fn another_origin_is_told_no_secret_and_neither_is_the_way_back() {
    let last = sending(302, "/there");
    let back = sending(302, format!("ws://{}/there", last.address()));
    let first = sending(302, back.url());
    for options in [
        with_secrets(first.url().replace("ws://", "ws://u:p@")),
        Dial { bearer_token: Some("t".into()), ..with_secrets(first.url()) },
    ] {
        dialled(&options, async |_| ());
    }
    for head in first.heads() {
        for secret in ["Authorization", "Cookie", "Proxy-Authorization"] {
            assert!(header(&head, secret).is_some(), "{secret}");
        }
        assert_eq!(header(&head, "Host"), Some("named.example"));
        assert_eq!(header(&head, "Sec-WebSocket-Protocol"), Some("chat, bearer.secret"));
    }
    let heads = [back.heads(), last.heads()].concat();
    assert_eq!(heads.len(), 4);
    for head in heads {
        for secret in ["Authorization", "Cookie", "Proxy-Authorization"] {
            assert_eq!(header(&head, secret), None, "{secret}");
        }
        assert!(header(&head, "Host").unwrap().starts_with("127.0.0.1:"));
        assert_eq!(header(&head, "Sec-WebSocket-Protocol"), Some("chat"));
        assert_eq!(header(&head, "X-Kept"), Some("1"));
    }
}

#[test]
fn the_same_origin_is_told_everything_again_but_nothing_by_the_server() {
    let server = sending(307, "/there");
    dialled(&with_secrets(server.url().replace("ws://", "ws://u:p@")), async |_| ());
    let heads = server.heads();
    assert_eq!(header(&heads[1], "Authorization"), header(&heads[0], "Authorization"));
    assert_eq!(header(&heads[1], "Cookie"), Some("a=b"));
    assert_ne!(header(&heads[1], "Sec-WebSocket-Key"), header(&heads[0], "Sec-WebSocket-Key"));
    // Credentials that a Location puts in are not the caller's.
    let other = sending(307, "/there");
    let first = sending(307, format!("ws://x:y@{}/there", other.address()));
    dialled(&to(first.url()), async |_| ());
    assert_eq!(header(&other.heads()[0], "Authorization"), None);
}

#[test]
fn where_the_caller_fixed_the_place_another_origin_is_not_followed() {
    let server = sending(302, "ws://elsewhere.example/there?token=secret");
    let destination = Destination::Addresses(vec![server.address()]);
    let error = failed(&Dial { destination: destination.clone(), ..to("ws://here.example/") });
    assert!(matches!(error, DialError::Redirect { .. }), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
    let same = sending(302, "/there");
    let destination = Destination::Addresses(vec![same.address()]);
    dialled(&Dial { destination, ..to("ws://here.example/") }, async |connection| {
        assert_eq!(connection.url, "ws://here.example/there");
    });
}

//! What a client says in its opening handshake, and what it refuses to say.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)] // a panic is a failed test

mod client_support;

use client_support::{Scripted, dialled, failed, header, switching, to};
use streamconductor_net::client::{Destination, Dial, DialError};

/// The head that these options make, sent to `host`, which is never asked for.
fn asked(options: &Dial) -> String {
    let server = Scripted::answering(switching(""));
    let destination = Destination::Addresses(vec![server.address()]);
    dialled(&Dial { destination, ..options.clone() }, async |_| ());
    server.heads().remove(0)
}

fn named(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_request_says_what_it_is_told_to() {
    let head = asked(&Dial {
        headers: named(&[("X-One", "1"), ("Cookie", "a=b"), ("X-One", "2"), ("X-City", "Montréal")]),
        origin: Some("https://page.example".into()),
        ..to("ws://Host.Example/a%20b/c d?q=1&r=ü")
    });
    assert!(head.starts_with("GET /a%20b/c%20d?q=1&r=%C3%BC HTTP/1.1\r\n"), "{head}");
    assert_eq!(header(&head, "Host"), Some("host.example"));
    assert_eq!((header(&head, "Upgrade"), header(&head, "Connection")), (Some("websocket"), Some("Upgrade")));
    assert_eq!(header(&head, "Sec-WebSocket-Version"), Some("13"));
    assert_eq!(header(&head, "Sec-WebSocket-Key").map(str::len), Some(24));
    assert_eq!(header(&head, "Origin"), Some("https://page.example"));
    assert_eq!(header(&head, "Cookie"), Some("a=b"));
    assert_eq!(header(&head, "X-City"), Some("Montréal"));
    assert_eq!(head.matches("x-one: ").count(), 2);
    assert!(header(&head, "User-Agent").unwrap().starts_with("streamconductor/"));
    for absent in ["Authorization", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"] {
        assert_eq!(header(&head, absent), None);
    }
    let other = asked(&to("ws://host.example/"));
    assert_ne!(header(&head, "Sec-WebSocket-Key"), header(&other, "Sec-WebSocket-Key"));
}

#[test]
fn hosts_and_ports_are_written_as_they_must_be() {
    for (url, host) in [
        ("ws://h", "h"),
        ("ws://h:80/", "h"),
        ("ws://h:443/", "h:443"),
        ("http://h:8080/", "h:8080"),
        ("ws://[::1]:81/", "[::1]:81"),
        ("ws://bücher.example/", "xn--bcher-kva.example"),
    ] {
        assert_eq!(header(&asked(&to(url)), "Host"), Some(host), "{url}");
    }
    let headers = named(&[("Host", "another:1")]);
    let head = asked(&Dial { headers, ..to("ws://h/") });
    assert_eq!(
        (header(&head, "Host"), head.to_lowercase().matches("\nhost:").count()),
        (Some("another:1"), 1)
    );
}

#[test]
fn credentials_are_sent_once_and_decoded() {
    let head = asked(&to("ws://us%40er:p%3Ass@h/"));
    assert_eq!(header(&head, "Authorization"), Some("Basic dXNAZXI6cDpzcw=="));
    let bearer = Dial { bearer_token: Some("abc.def".into()), ..to("ws://h/") };
    assert_eq!(header(&asked(&bearer), "Authorization"), Some("Bearer abc.def"));
    let server = Scripted::answering(switching(""));
    dialled(&to(format!("ws://u:p@{}/x", server.address())), async |connection| {
        assert_eq!(connection.url, format!("{}x", server.url()));
    });
    for options in [
        Dial { bearer_token: Some("t".into()), ..to("ws://u:p@h/") },
        Dial { headers: named(&[("authorization", "x")]), ..bearer },
        Dial { headers: named(&[("Authorization", "x")]), ..to("ws://u:p@h/") },
    ] {
        let error = failed(&options);
        assert!(matches!(error, DialError::Invalid { .. }), "{error}");
    }
}

#[test]
fn what_would_break_out_of_a_line_is_refused_before_anything_is_sent() {
    let server = Scripted::answering(switching(""));
    let url = server.url();
    let with_headers =
        |name: &str, value: &str| Dial { headers: named(&[(name, value)]), ..to(url.as_str()) };
    let mut wrong: Vec<(&str, Dial)> = Vec::new();
    for evil in ["\r\nX: y", "\n", "\r", "\0", "\u{7f}"] {
        wrong.push(("url", to(format!("{url}{evil}"))));
        wrong.push(("url", to(format!("ws://a{evil}@{}/", server.address()))));
        wrong.push(("headers", with_headers(&format!("X{evil}"), "y")));
        wrong.push(("headers", with_headers("X", &format!("y{evil}z"))));
        wrong.push(("origin", Dial { origin: Some(evil.into()), ..to(url.as_str()) }));
        wrong.push(("bearer_token", Dial { bearer_token: Some(evil.into()), ..to(url.as_str()) }));
        wrong.push(("user_agent", Dial { user_agent: Some(evil.into()), ..to(url.as_str()) }));
        wrong.push(("subprotocols", Dial { subprotocols: vec![evil.into()], ..to(url.as_str()) }));
    }
    wrong.push(("url", to(format!("ws://u%0d%0aX:y@{}/", server.address()))));
    wrong.push(("headers", with_headers("", "y")));
    for (expected, options) in wrong {
        let error = failed(&options);
        let DialError::Invalid { option, .. } = &error else { panic!("{expected}: {error}") };
        assert_eq!(*option, expected, "{error}");
    }
    assert_eq!(server.heads(), [""; 0], "nobody has connected");
}

#[test]
fn what_means_nothing_is_refused_and_says_what_would_do() {
    let invalid = |options: Dial| match failed(&options) {
        DialError::Invalid { option, reason } => (option, reason),
        other => panic!("{other}"),
    };
    for url in
        ["", "h", "ftp://h/", "ws://", "ws://h:99999/", " ws://h/", "ws://h/#part", "ws://us%3aer:x@h/"]
    {
        assert_eq!(invalid(to(url)).0, "url", "{url}");
    }
    for name in ["Connection", "upgrade", "Sec-WebSocket-Key", "Content-Length", "Sec-WebSocket-Protocol"] {
        let (option, reason) = invalid(Dial { headers: named(&[(name, "x")]), ..to("ws://h/") });
        assert_eq!(option, "headers");
        assert!(reason.contains(&name.to_lowercase()), "{reason}");
    }
    let twice = Dial { subprotocols: vec!["a".into(), "a".into()], ..to("ws://h/") };
    assert_eq!(invalid(twice).0, "subprotocols");
    let name = Dial { server_hostname: Some("no name".into()), ..to("wss://h/") };
    assert_eq!(invalid(name).0, "server_hostname");
}

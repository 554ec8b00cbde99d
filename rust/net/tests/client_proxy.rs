//! Ways through HTTP proxies that are scripted byte by byte.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)] // a panic is a failed test

mod client_support;

use std::io::Write;
use std::net::TcpStream;

use client_support::{Scripted, accept, dialled, failed, header, read_head, switching, to, wait_for_end};
use streamconductor_net::client::{Dial, DialError, MAX_HEAD, ProxyChoice};

/// A proxy that answers `CONNECT` with these bytes, and then is the server at the other end itself.
fn proxy(answer: &'static str) -> Scripted {
    Scripted::start(move |_, _, socket| {
        let _ = socket.write_all(answer.as_bytes());
        let head = read_head(socket);
        if !head.is_empty() {
            let head = switching(&format!("X-Asked: {}\r\n", header(&head, "Host").unwrap_or_default()))
                .replace("{accept}", &accept(&head));
            let _ = socket.write_all(&[head.as_bytes(), b"\x81\x02hi"].concat());
        }
        wait_for_end(socket);
    })
}

fn through(proxy: &str, url: &str) -> Dial {
    Dial { proxy: ProxyChoice::At(proxy.to_owned()), ..to(url) }
}

fn at(proxy: &Scripted) -> String {
    format!("http://{}", proxy.address())
}

#[test]
fn a_tunnel_leads_to_the_target_by_name() {
    let proxy = proxy("HTTP/1.1 200 Connection established\r\nContent-Length: 9\r\n\r\n");
    for (url, to, host) in [
        ("ws://nowhere.invalid/x", "nowhere.invalid:80", "nowhere.invalid"),
        ("ws://[::1]:9/", "[::1]:9", "[::1]:9"),
    ] {
        dialled(&through(&at(&proxy), url), async |connection| {
            assert!(connection.headers.contains(&("x-asked".to_owned(), host.as_bytes().to_vec())));
            assert_eq!(&connection.read_ahead[..], b"\x81\x02hi");
            assert_eq!(connection.peer, Some(proxy.address()));
        });
        let head = proxy.heads().pop().unwrap();
        assert!(head.starts_with(&format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n")), "{head}");
        assert_eq!(header(&head, "Proxy-Authorization"), None);
    }
}

#[test]
fn the_proxy_is_told_its_own_credentials_and_no_others() {
    let proxy = proxy("HTTP/1.1 204 fine\r\n\r\n");
    let url = at(&proxy).replace("http://", "http://us%40er:p%3Ass@");
    let options = Dial {
        headers: vec![("Cookie".to_owned(), "a=b".to_owned())],
        ..through(&url, "ws://name:word@nowhere.invalid/")
    };
    dialled(&options, async |_| ());
    let head = proxy.heads().remove(0);
    assert_eq!(header(&head, "Proxy-Authorization"), Some("Basic dXNAZXI6cDpzcw=="));
    assert_eq!((header(&head, "Authorization"), header(&head, "Cookie")), (None, None));
}

#[test]
fn a_proxy_that_refuses_is_named_with_its_status() {
    for status in [407, 403, 502, 302, 101] {
        let answer = format!("HTTP/1.1 {status} x\r\nLocation: /\r\nContent-Length: 0\r\n\r\n");
        let proxy = Scripted::answering(answer);
        let url = at(&proxy).replace("http://", "http://user:secret@");
        let error = failed(&through(&url, "ws://nowhere.invalid/"));
        let DialError::ProxyRefused { status: told, proxy: named } = &error else { panic!("{error}") };
        assert_eq!((*told, named), (status, &proxy.address().to_string()));
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[test]
fn a_proxy_that_breaks_the_rules_is_found_out() {
    let broken = |proxy: &Scripted| match failed(&through(&at(proxy), "ws://nowhere.invalid/")) {
        DialError::BadAnswer { host, rule } => {
            assert!(host.starts_with("the proxy "), "{host}");
            rule
        }
        other => panic!("{other}"),
    };
    let early = Scripted::answering("HTTP/1.1 200 x\r\n\r\n\x16\x03");
    assert!(broken(&early).contains("CONNECT"));
    let endless = Scripted::start(|_, _, socket| {
        let _ = socket.write_all(b"HTTP/1.1 200 x\r\n");
        while socket.write_all(&b"X-Line: y\r\n".repeat(100)).is_ok() {}
    });
    assert!(broken(&endless).contains(&MAX_HEAD.to_string()));
    assert!(broken(&Scripted::answering("\x05\x00")).contains("HTTP"));

    let gone = Scripted::start(|_, _, socket| drop(socket.write_all(b"HTTP/1.1 2")));
    let error = failed(&through(&at(&gone), "ws://nowhere.invalid/"));
    assert!(matches!(error, DialError::Unreachable { .. }), "{error}");
}

#[test]
fn a_kind_of_proxy_that_is_not_known_is_refused_before_anything_is_sent() {
    let listener = Scripted::answering("");
    for scheme in ["https", "socks5", "socks5h"] {
        let url = format!("{scheme}://u:secret@{}", listener.address());
        let error = failed(&through(&url, "ws://nowhere.invalid/"));
        assert!(matches!(&error, DialError::Invalid { option: "proxy", .. }), "{error}");
        assert!(error.to_string().contains("http://") && !error.to_string().contains("secret"), "{error}");
    }
    // Had somebody connected, this connection would not be the first.
    drop(TcpStream::connect(listener.address()).unwrap());
    assert!(listener.heads().len() <= 1);
}

//! The origin rule: H18 to H20, as tables.
#![allow(clippy::unwrap_used, clippy::panic)]

mod handshake_support;

use handshake_support::{refusal, request, router, status, upgrade, verdict_under};
use streamconductor_core::config::Origins;
use streamconductor_core::handshake::{Origin, Verdict, judge};

/// The status under the default rule, of a request to `host` with `origin`.
fn same(host: &str, origin: &str, peer_is_loopback: bool, secure: bool) -> u16 {
    let head = String::from_utf8(upgrade("/chat", &format!("Origin: {origin}\r\n"))).unwrap();
    let mut request = request(head.replace("Host: app.example.com", &format!("Host: {host}")).as_bytes());
    request.secure = secure;
    match judge(&request, &router(), &Origins::Same, peer_is_loopback, &|_| false) {
        Verdict::Upgrade(_) => 101,
        Verdict::Refused(refusal) => refusal.status,
        Verdict::Plain { .. } => panic!("no probe here"),
    }
}

fn listed(entries: &[&str], origin: &str) -> u16 {
    let origins = Origins::listed(entries).unwrap();
    match verdict_under(&origins, &upgrade("/chat", &format!("Origin: {origin}\r\n"))) {
        Verdict::Upgrade(_) => 101,
        Verdict::Refused(refusal) => refusal.status,
        Verdict::Plain { .. } => panic!("no probe here"),
    }
}

#[test]
fn h18_same_origin_compares_host_and_port_and_no_suffix_passes() {
    for (host, origin, expected) in [
        ("app.example.com", "https://app.example.com", 101),
        ("app.example.com", "http://app.example.com", 101), // a proxy may have ended the TLS
        ("app.example.com", "HTTPS://APP.example.COM", 101),
        ("APP.example.com", "https://app.example.com", 101),
        ("app.example.com:443", "https://app.example.com", 101),
        ("app.example.com", "https://app.example.com:443", 101),
        ("app.example.com:8443", "https://app.example.com:8443", 101),
        ("app.example.com:80", "http://app.example.com", 101),
        ("[2001:DB8::1]:8000", "http://[2001:db8:0::1]:8000", 101),
        ("app.example.com", "https://evil.example", 403),
        ("app.example.com", "https://app.example.com.evil.tld", 403),
        ("app.example.com", "https://evilapp.example.com", 403),
        ("app.example.com", "https://example.com", 403),
        ("app.example.com", "https://app.example.com:8443", 403),
        ("app.example.com", "https://app.example.com:80", 403),
        ("app.example.com:80", "https://app.example.com", 403),
        ("app.example.com:8443", "https://app.example.com", 403),
        ("app.example.com", "https://app.example.com@evil.tld", 403),
        ("app.example.com", "https://evil.tld/app.example.com", 403),
        ("app.example.com", "https://evil.tld#app.example.com", 403),
        ("app.example.com", "https://app.example.com/", 403),
        ("app.example.com", "https://app.example.com evil.tld", 403),
        ("app.example.com", "https://app.example.com, https://evil.tld", 403),
        ("app.example.com", "app.example.com", 403),
        ("app.example.com", "//app.example.com", 403),
        ("app.example.com", "://app.example.com", 403),
        ("app.example.com", "1https://app.example.com", 403),
        ("app.example.com", "chrome-extension://app.example.com", 403),
        ("app.example.com", "", 403),
        ("app.example.com", "caf\u{e9}", 403),
        ("app.example.com", "null", 403),
        ("null", "null", 403),
        ("", "https://app.example.com", 403),
    ] {
        assert_eq!(same(host, origin, false, false), expected, "{origin} to {host}");
    }
}

#[test]
fn h18_over_tls_the_scheme_is_known_and_compared() {
    assert_eq!(same("app.example.com", "https://app.example.com", false, true), 101);
    assert_eq!(same("app.example.com", "http://app.example.com", false, true), 403);
    assert_eq!(same("app.example.com:8000", "http://app.example.com:8000", false, true), 403);
}

#[test]
fn loopback_to_loopback_passes_only_when_peer_host_and_origin_are_loopback() {
    for (host, origin) in [
        ("127.0.0.1:8000", "http://localhost:3000"),
        ("localhost:8000", "http://127.0.0.1:5173"),
        ("localhost:8000", "https://app.localhost"),
        ("[::1]:8000", "http://localhost"),
    ] {
        assert_eq!(same(host, origin, true, false), 101, "{origin} to {host}");
        assert_eq!(same(host, origin, false, false), 403, "{origin} to {host}, from elsewhere");
        assert_eq!(
            same("app.example.com", origin, true, false),
            403,
            "{origin} through a proxy on this machine"
        );
    }
    for origin in [
        "http://evil.example",
        "http://localhost.evil.example",
        "http://notlocalhost",
        "http://128.0.0.1",
        "http://127.0.0.1.evil.example",
        "app://localhost",
        "null",
    ] {
        assert_eq!(same("localhost:8000", origin, true, false), 403, "{origin}");
    }
}

#[test]
fn h18_listed_origins_match_in_scheme_host_and_port() {
    let entries = ["https://app.example.com", "http://Local.Example:3000", "capacitor://localhost"];
    for (origin, expected) in [
        ("https://app.example.com", 101),
        ("https://APP.example.com:443", 101),
        ("http://local.example:3000", 101),
        ("capacitor://localhost", 101),
        ("http://app.example.com", 403),
        ("https://app.example.com:8443", 403),
        ("https://app.example.com.evil.tld", 403),
        ("https://sub.app.example.com", 403),
        ("https://app.example.co", 403),
        ("http://local.example", 403),
        ("capacitor://localhost:80", 403),
        ("null", 403),
    ] {
        assert_eq!(listed(&entries, origin), expected, "{origin}");
    }
    assert_eq!(listed(&[], "https://app.example.com"), 403);
}

#[test]
fn what_could_never_match_is_refused_when_it_is_configured() {
    for (entry, problem) in [
        ("*", "elsewhere than in front"),
        ("", "is no origin"),
        ("app.example.com", "is no origin"),
        ("*.example.com", "elsewhere than in front"),
        ("https://app.example.com/", "is no origin"),
        ("https://", "is no origin"),
        ("NULL", "is no origin"),
        ("https://*", "no whole label"),
        ("https://*example.com", "no whole label"),
        ("https://*:443", "no whole label"),
        ("https://*.", "no domain"),
        ("https://*..example.com", "no domain"),
        ("https://*.example.com.", "no domain"),
        ("https://*.*.example.com", "no domain"),
        ("https://*.exa*mple.com", "no domain"),
        ("https://*.10.0.0.1", "no domain"),
        ("https://*.[::1]", "no domain"),
        ("https://*.example.com/", "no domain"),
        ("https://*.example.com:x", "no domain"),
        ("https://*.user@example.com", "no domain"),
        ("https://app.*.com", "elsewhere than in front"),
        ("https://app*.example.com", "elsewhere than in front"),
        ("https://app.example.com:*", "elsewhere than in front"),
        ("*://app.example.com", "elsewhere than in front"),
        ("http*://app.example.com", "elsewhere than in front"),
    ] {
        let error = Origins::listed(["https://fine.example", entry]).unwrap_err().to_string();
        assert!(error.contains(problem) && error.contains(&format!("{entry:?}")), "{entry}: {error}");
        assert_eq!(Origin::parse(entry), None, "{entry}");
    }
}

#[test]
fn h18_a_wildcard_stands_for_one_label_or_more_in_front_and_for_nothing_else() {
    let entries = ["https://*.example.com", "http://*.Local.Example:3000"];
    for (origin, expected) in [
        ("https://app.example.com", 101),
        ("https://a.b.c.example.com", 101),
        ("https://APP.Example.Com:443", 101),
        ("http://app.local.example:3000", 101),
        ("https://example.com", 403),
        ("https://.example.com", 403),
        ("https://a..example.com", 403),
        ("https://.a.example.com", 403),
        ("https://evilexample.com", 403),
        ("https://evil-example.com", 403),
        ("https://app.example.com.evil.tld", 403),
        ("https://app.example.com.", 403),
        ("https://app.example.comx", 403),
        ("https://example.com.app", 403),
        ("http://app.example.com", 403),
        ("wss://app.example.com", 403),
        ("https://app.example.com:8443", 403),
        ("https://*.example.com", 403),
        ("https://evil.tld?.example.com", 403),
        ("https://evil.tld#.example.com", 403),
        ("https://evil.tld/.example.com", 403),
        ("https://user@app.example.com", 403),
        ("https://[::1].example.com", 403),
        ("http://app.local.example", 403),
        ("https://app.local.example:3000", 403),
        ("null", 403),
    ] {
        assert_eq!(listed(&entries, origin), expected, "{origin}");
    }
    // A top-level domain is as good as another: whose it is, is for the operator to know.
    assert_eq!(listed(&["https://*.test"], "https://a.test"), 101);
}

#[test]
fn h19_null_passes_only_when_listed_and_two_origins_never() {
    assert_eq!(listed(&["null"], "null"), 101);
    assert_eq!(listed(&["null"], "NULL"), 403);
    assert_eq!(listed(&["https://app.example.com"], "null"), 403);
    let two = "Origin: https://app.example.com\r\n".repeat(2);
    assert_eq!(status(&upgrade("/chat", &two)), 400);
    assert_eq!(status(&upgrade("/open", &two)), 400, "not even where any origin may come");
}

#[test]
fn h20_without_an_origin_no_browser_asked_and_it_passes_but_not_on_cookies_alone() {
    let under = |origins: &Origins, headers: &str| match verdict_under(origins, &upgrade("/chat", headers)) {
        Verdict::Upgrade(_) => 101,
        Verdict::Refused(refusal) => refusal.status,
        Verdict::Plain { .. } => panic!("no probe here"),
    };
    let listed = Origins::listed(["https://app.example.com"]).unwrap();
    let nobody = Origins::listed([""; 0]).unwrap();
    for (headers, expected) in [
        ("", 101),
        ("Cookie: token=x\r\n", 403),
        ("Cookie: \r\n", 403),
        ("Cookie: token=x\r\nAuthorization: Bearer secret\r\n", 101),
        ("Cookie: token=x\r\nSec-WebSocket-Protocol: v1, bearer.secret\r\n", 101),
        ("Authorization: Bearer secret\r\n", 101),
        // What a browser would add by itself is no token.
        ("Cookie: token=x\r\nAuthorization: Basic dXNlcjpwYXNz\r\n", 403),
        ("Cookie: token=x\r\nAuthorization: Bearer \r\n", 403),
        ("Cookie: token=x\r\nSec-WebSocket-Protocol: v1\r\n", 403),
    ] {
        assert_eq!(under(&listed, headers), expected, "{headers}");
        assert_eq!(under(&nobody, headers), expected, "{headers}");
        // Where no origins are listed, nothing is asked of who sends none.
        assert_eq!(under(&Origins::Same, headers), 101, "{headers}");
        assert_eq!(under(&Origins::Any, headers), 101, "{headers}");
    }
    // With an allowed origin cookies are what they are for.
    assert_eq!(under(&listed, "Origin: https://app.example.com\r\nCookie: token=x\r\n"), 101);
}

#[test]
fn a_route_overrides_the_origins_of_the_server() {
    for origin in ["https://evil.example", "null", "nonsense"] {
        let line = format!("Origin: {origin}\r\n");
        assert_eq!(status(&upgrade("/open", &line)), 101, "{origin}");
        assert_eq!(status(&upgrade("/chat", &line)), 403, "{origin}");
    }
}

#[test]
fn a_refused_origin_is_named_in_normal_form_so_that_it_can_be_pasted() {
    let refusal = refusal(&upgrade("/chat", "Origin: HTTPS://Evil.example:443\r\n"));
    assert_eq!(refusal.reason, "origin https://evil.example is not allowed");
    for origin in ["https://evil.example", "http://evil.example:8080", "https://[::1]:1"] {
        assert_eq!(Origin::parse(origin).unwrap().to_string(), origin);
    }
}

//! Receives requests as proxies pass them on · looks at whom the server takes for the client · owns the promise that
//! nobody's word counts but that of a listed proxy (H21).
#![allow(clippy::unwrap_used, clippy::panic, clippy::format_collect)]

mod handshake_support;

use std::net::{IpAddr, SocketAddr};

use handshake_support::{request, upgrade};
use proptest::prelude::*;
use streamconductor_core::handshake::{Forwarding, TrustedProxies, forwarding};

/// Our proxies: one of each family, and a network of them.
const TRUSTED: [&str; 3] = ["10.0.0.0/8", "127.0.0.1", "fd00::/8"];

const PROXY: &str = "10.0.0.1";

fn trusted() -> TrustedProxies {
    TrustedProxies::listed(TRUSTED).unwrap()
}

fn peer(address: &str) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), 40_000)
}

fn of(headers: &[(&str, &str)], from: &str) -> Result<Forwarding, u16> {
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    forwarding(&request(&upgrade("/chat", &lines)), &trusted(), Some(peer(from)))
        .map_err(|refusal| refusal.status)
}

/// Whom a request through [`PROXY`] comes from, as `ip` or `ip:port`, and whether over TLS.
fn client(headers: &[(&str, &str)]) -> (String, Option<bool>) {
    match of(headers, PROXY) {
        Ok(Forwarding::Client { address, secure }) => {
            let address = address.unwrap();
            let shown = if address.port() == 0 { address.ip().to_string() } else { address.to_string() };
            (shown, secure)
        }
        other => panic!("{other:?} of {headers:?}"),
    }
}

/// The proxy itself: nothing better is known.
fn proxy() -> String {
    peer(PROXY).to_string()
}

#[test]
fn h21_from_a_peer_that_is_not_listed_everything_is_ignored() {
    for header in [
        ("X-Forwarded-For", "203.0.113.7"),
        ("X-Forwarded-Proto", "https"),
        ("Forwarded", "for=203.0.113.7;proto=https"),
        ("Forwarded", "\"\"\";;=,junk"),
    ] {
        for from in ["198.51.100.1", "11.0.0.1", "127.0.0.2", "2001:db8::1", "fc00::1"] {
            assert_eq!(of(&[header], from), Ok(Forwarding::Ignored), "{header:?} from {from}");
        }
        for from in [PROXY, "10.255.255.255", "127.0.0.1", "fd00::1", "::ffff:10.1.2.3"] {
            assert!(matches!(of(&[header], from), Ok(Forwarding::Client { .. })), "{header:?} from {from}");
        }
    }
    for from in [PROXY, "198.51.100.1"] {
        assert_eq!(of(&[("User-Agent", "x"), ("X-Real-IP", "1.2.3.4")], from), Ok(Forwarding::Direct));
    }
}

#[test]
fn h21_the_client_is_the_right_most_hop_that_is_no_proxy_of_ours() {
    for (value, expected) in [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:5000", "203.0.113.7:5000"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:db8::7]:5000", "[2001:db8::7]:5000"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        // What stands before is what the client said of itself.
        ("1.1.1.1, 203.0.113.7", "203.0.113.7"),
        ("10.0.0.9, 203.0.113.7", "203.0.113.7"),
        ("127.0.0.1,203.0.113.7", "203.0.113.7"),
        // Our own proxies in a row are passed.
        ("203.0.113.7, 10.0.0.2", "203.0.113.7"),
        ("1.1.1.1, 203.0.113.7, fd00::5, 10.0.0.3", "203.0.113.7"),
        ("1.1.1.1, 203.0.113.7, [fd00::5]:80, 10.0.0.3:4711", "203.0.113.7"),
        ("  203.0.113.7 ,, 10.0.0.2 , ", "203.0.113.7"),
        // Everybody is ours: it came from within.
        ("10.0.0.4, 10.0.0.3", "10.0.0.4"),
        // Junk ends the way at the last that is known.
        ("203.0.113.7, junk, 10.0.0.2", "10.0.0.2"),
        ("203.0.113.7, unknown, 10.0.0.2", "10.0.0.2"),
        ("203.0.113.7, 10.0.0.256, 10.0.0.2", "10.0.0.2"),
        ("203.0.113.7, 10.0.0.2:99999", "10.0.0.1:40000"),
        ("203.0.113.7, fe80::1%eth0", "10.0.0.1:40000"),
        ("203.0.113.7 198.51.100.9", "10.0.0.1:40000"),
        ("", "10.0.0.1:40000"),
    ] {
        assert_eq!(client(&[("X-Forwarded-For", value)]).0, expected, "{value:?}");
    }
    let lines =
        [("X-Forwarded-For", "1.1.1.1"), ("x-forwarded-for", "203.0.113.7"), ("X-FORWARDED-FOR", "10.0.0.2")];
    assert_eq!(client(&lines).0, "203.0.113.7", "lines are one list, in their order");
}

#[test]
fn the_standard_header_is_read_as_rfc_7239_has_it() {
    for (value, expected, secure) in [
        ("for=203.0.113.7", "203.0.113.7", None),
        ("For=203.0.113.7;PROTO=https;by=10.0.0.1", "203.0.113.7", Some(true)),
        ("proto=http; host=app.example.com; for=203.0.113.7", "203.0.113.7", Some(false)),
        ("for=203.0.113.7;proto=WSS", "203.0.113.7", Some(true)),
        ("for=203.0.113.7;proto=ws", "203.0.113.7", Some(false)),
        ("for=203.0.113.7;proto=gopher", "203.0.113.7", None),
        (r#"for="203.0.113.7:5000""#, "203.0.113.7:5000", None),
        (r#"for="[2001:db8:cafe::17]:4711""#, "[2001:db8:cafe::17]:4711", None),
        (r#"for="[2001:db8:cafe::17]";proto="https""#, "2001:db8:cafe::17", Some(true)),
        (r#"for="203.0.113.7:_http""#, "203.0.113.7", None),
        (r#"for="\2\03.0.113.7""#, "203.0.113.7", None),
        // Quotes that should be there, and often are not.
        ("for=203.0.113.7:5000", "203.0.113.7:5000", None),
        ("for=[2001:db8::7]:5000;proto=https", "[2001:db8::7]:5000", Some(true)),
        // The element that names the client is also the one whose protocol counts.
        (
            "for=1.1.1.1;proto=http, for=203.0.113.7;proto=https, for=10.0.0.2;proto=http",
            "203.0.113.7",
            Some(true),
        ),
        (r#"for="a,b", for="203.0.113.7";ext="x,y\",z""#, "203.0.113.7", None),
        ("for=203.0.113.7;;", "203.0.113.7", None),
        // Hidden, absent or malformed: the last that is known, and the protocol of the hop that hides it.
        ("for=203.0.113.7, for=unknown;proto=https", "10.0.0.1:40000", Some(true)),
        ("for=203.0.113.7, for=_hidden, for=10.0.0.2", "10.0.0.2", None),
        (r#"for=203.0.113.7, for="_a:_b""#, "10.0.0.1:40000", None),
        ("for=203.0.113.7, proto=https", "10.0.0.1:40000", Some(true)),
        ("for=203.0.113.7, junk, for=10.0.0.2", "10.0.0.2", None),
        ("for=203.0.113.7;for=198.51.100.9", "10.0.0.1:40000", None),
        ("for=203.0.113.7;proto=http;proto=https", "10.0.0.1:40000", None),
        ("for=2001:db8::7", "10.0.0.1:40000", None),
        (r#"for="2001:db8::7""#, "10.0.0.1:40000", None),
        (r#"for="203.0.113.7"#, "10.0.0.1:40000", None),
        (r#"for=203.0.113.7""#, "10.0.0.1:40000", None),
        (r#"for="203.0.113.7"x;proto=https"#, "10.0.0.1:40000", None),
        (r#"for="203.0.113.7\"#, "10.0.0.1:40000", None),
        ("for = 203.0.113.7", "10.0.0.1:40000", None),
        ("for=", "10.0.0.1:40000", None),
        ("=203.0.113.7", "10.0.0.1:40000", None),
        ("for", "10.0.0.1:40000", None),
        (";", "10.0.0.1:40000", None),
        (r#"for="203.0.113.7:99999""#, "10.0.0.1:40000", None),
        (r#"for="203.0.113.7:_""#, "10.0.0.1:40000", None),
        (r#"for="[2001:db8::7""#, "10.0.0.1:40000", None),
        (r#"for="[203.0.113.7]""#, "10.0.0.1:40000", None),
    ] {
        assert_eq!(client(&[("Forwarded", value)]), (expected.to_owned(), secure), "{value:?}");
    }
    let lines = [
        ("Forwarded", r#"for=1.1.1.1;x=""#),
        ("Forwarded", "for=203.0.113.7"),
        ("Forwarded", "for=10.0.0.2"),
    ];
    assert_eq!(client(&lines).0, "203.0.113.7", "a quote does not reach into the next line");
}

#[test]
fn what_a_client_puts_before_the_word_of_a_proxy_cannot_change_it() {
    for junk in [
        "for=1.1.1.1",
        "for=\"",
        "for=\"1.1.1.1",
        "for=1.1.1.1;x=\"",
        "for=1.1.1.1;x=\"\\",
        "x=\"\\\"",
        "\"",
        "\\",
        "\\\"",
        "\"\"\"",
        ",,,",
        "for=\"[::1",
        ";;;=;",
        "for=10.0.0.9;for=",
        "\u{fffd}\u{fffd}",
    ] {
        for own in [
            "for=203.0.113.7;proto=https",
            r#"for="203.0.113.7";proto="https""#,
            r#"by="\"\\";for=203.0.113.7;proto=https"#,
        ] {
            let value = format!("{junk}, {own}");
            assert_eq!(client(&[("Forwarded", &value)]), ("203.0.113.7".to_owned(), Some(true)), "{value}");
        }
        let value = format!("{junk}, 203.0.113.7");
        assert_eq!(client(&[("X-Forwarded-For", &value)]).0, "203.0.113.7", "{value}");
    }
}

#[test]
fn both_headers_must_name_the_same_client_since_one_of_them_may_be_its_own() {
    let standard = ("Forwarded", "for=\"203.0.113.7:5000\"");
    assert_eq!(client(&[standard, ("X-Forwarded-For", "203.0.113.7")]).0, "203.0.113.7:5000");
    for other in ["198.51.100.9", "203.0.113.7, 10.0.0.2, 198.51.100.9", "10.0.0.2", "203.0.113.8"] {
        assert_eq!(of(&[standard, ("X-Forwarded-For", other)], PROXY), Err(400), "{other}");
        assert_eq!(of(&[standard, ("X-Forwarded-For", other)], "198.51.100.1"), Ok(Forwarding::Ignored));
    }
    // One that names nobody contradicts nobody.
    for other in ["unknown", "", "junk, more"] {
        assert_eq!(client(&[standard, ("X-Forwarded-For", other)]).0, "203.0.113.7:5000", "{other}");
        let value = format!("for={other}");
        let usual = ("X-Forwarded-For", "203.0.113.7");
        assert_eq!(client(&[("Forwarded", &value), usual]).0, "203.0.113.7", "{other}");
    }
}

#[test]
fn the_protocol_may_come_in_a_header_of_its_own() {
    for (value, expected) in [
        ("https", Some(true)),
        ("HTTPS", Some(true)),
        ("wss", Some(true)),
        ("http", Some(false)),
        ("ws", Some(false)),
        ("https, http", Some(false)),
        ("http,https", Some(true)),
        ("httpsx", None),
        ("", None),
    ] {
        let usual = [("X-Forwarded-For", "203.0.113.7"), ("X-Forwarded-Proto", value)];
        assert_eq!(client(&usual), ("203.0.113.7".to_owned(), expected), "{value}");
        assert_eq!(client(&[("X-Forwarded-Proto", value)]), (proxy(), expected), "{value}");
    }
    let both = [("Forwarded", "for=203.0.113.7;proto=http"), ("X-Forwarded-Proto", "https")];
    assert_eq!(client(&both).1, Some(false), "the standard one first");
    let both = [("Forwarded", "for=203.0.113.7"), ("X-Forwarded-Proto", "https")];
    assert_eq!(client(&both).1, Some(true));
}

#[test]
fn a_peer_on_a_unix_socket_is_trusted_by_that_word_only() {
    let request = request(&upgrade("/chat", "X-Forwarded-For: 203.0.113.7\r\n"));
    let of =
        |entries: &[&str]| forwarding(&request, &TrustedProxies::listed(entries).unwrap(), None).unwrap();
    let address = Some(SocketAddr::from(([203, 0, 113, 7], 0)));
    assert_eq!(of(&["unix"]), Forwarding::Client { address, secure: None });
    assert_eq!(of(&["0.0.0.0/0", "::/0"]), Forwarding::Ignored);
    assert!(!TrustedProxies::listed(["unix"]).unwrap().trusts(Some("127.0.0.1".parse().unwrap())));
}

#[test]
fn networks_hold_what_their_prefix_says() {
    for (network, inside, outside) in [
        ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
        ("192.168.4.0/22", "192.168.7.255", "192.168.8.0"),
        ("203.0.113.7", "203.0.113.7", "203.0.113.6"),
        ("203.0.113.7/32", "::ffff:203.0.113.7", "203.0.113.8"),
        ("128.0.0.0/1", "255.255.255.255", "127.255.255.255"),
        ("0.0.0.0/0", "198.51.100.1", "2001:db8::1"),
        ("::/0", "2001:db8::1", "198.51.100.1"),
        ("fd00::/8", "fdff::1", "fe00::"),
        ("2001:db8::/33", "2001:db8:7fff::", "2001:db8:8000::"),
        ("::1", "::1", "::2"),
        ("::1/128", "::1", "::"),
    ] {
        let proxies = TrustedProxies::listed([network]).unwrap();
        assert!(proxies.trusts(Some(inside.parse().unwrap())), "{inside} in {network}");
        assert!(!proxies.trusts(Some(outside.parse().unwrap())), "{outside} in {network}");
    }
    assert!(!TrustedProxies::default().trusts(None));
    for (entry, problem) in [
        ("", "no network"),
        ("proxy.example.com", "no network"),
        ("10.0.0", "no network"),
        ("10.0.0.0/", "0 to 32"),
        ("10.0.0.0/33", "0 to 32"),
        ("10.0.0.0/+8", "0 to 32"),
        ("10.0.0.0/8/8", "0 to 32"),
        ("fd00::/129", "0 to 128"),
        ("10.0.0.1/8", "write 10.0.0.0/8"),
        ("fd00::1/64", "write fd00::/64"),
        ("128.0.0.0/0", "write 0.0.0.0/0"),
        ("UNIX", "no network"),
        ("*", "no network"),
    ] {
        let error = TrustedProxies::listed([entry]).unwrap_err().to_string();
        assert!(error.contains(problem) && error.starts_with(&format!("{entry:?}")), "{error}");
    }
}

#[test]
fn a_head_full_of_hops_costs_little_and_names_nobody_new() {
    let hops = "10.0.0.9,".repeat(1_400);
    assert_eq!(client(&[("X-Forwarded-For", &format!("203.0.113.7,{hops}"))]).0, "10.0.0.9");
    let near = "10.0.0.9,".repeat(31);
    assert_eq!(client(&[("X-Forwarded-For", &format!("203.0.113.7,{near}"))]).0, "203.0.113.7");
    // Whatever is quadratic in these would take seconds.
    let began = std::time::Instant::now();
    for junk in ["\"\\", "\\", "\"", ",", ";", "for=", "\"\\\","] {
        let value = junk.repeat(14_000 / junk.len());
        for _ in 0..20 {
            assert_eq!(client(&[("Forwarded", &value)]).0, proxy());
        }
    }
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
}

/// The rule as it is said, over hops that are whole: from the right, past our own, to the first that is not.
fn reference(hops: &[Option<IpAddr>]) -> Option<IpAddr> {
    let mut last = None;
    for hop in hops.iter().rev() {
        match hop {
            None => break,
            Some(address) => last = Some(*address),
        }
        if !trusted().trusts(*hop) {
            break;
        }
    }
    last
}

fn hop() -> impl Strategy<Value = Option<IpAddr>> {
    prop_oneof![
        4 => (0_u8..4).prop_map(|last| Some(IpAddr::from([10, 0, 0, last]))),
        3 => any::<[u8; 4]>().prop_map(|bytes| Some(IpAddr::from(bytes))),
        2 => (0_u16..3).prop_map(|last| Some(IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last]))),
        1 => any::<[u16; 8]>().prop_map(|words| Some(IpAddr::from(words).to_canonical())),
        1 => Just(None),
    ]
}

/// One way of writing a hop in `Forwarded`.
fn written(hop: Option<IpAddr>, style: u8) -> String {
    let node = match hop {
        None if style.is_multiple_of(2) => "unknown".to_owned(),
        None => "_gazonk".to_owned(),
        Some(IpAddr::V4(address)) => address.to_string(),
        Some(IpAddr::V6(address)) => format!("[{address}]"),
    };
    let port = if style & 4 > 0 { ":80" } else { "" };
    match (hop, style % 4) {
        (None, _) => format!("for={node}"),
        (_, 0) => format!("by=_x;for=\"{node}{port}\""),
        (_, 1) => format!("FOR=\"{node}{port}\";host=\"a,b;for=1.1.1.1\""),
        (_, 2) => format!("for=\"\\{}\";ext=\"\\\"\"", &node),
        _ => format!("proto=https;for=\"{node}\""),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn both_headers_are_the_rule(
        hops in proptest::collection::vec((hop(), any::<u8>()), 0..8),
        junk in "[ -~]{0,30}",
    ) {
        let addresses: Vec<_> = hops.iter().map(|(hop, _)| *hop).collect();
        let expected = reference(&addresses);
        // Behind a stranger nothing is looked at, so whatever stands before it may be anything.
        let is_ended = addresses.iter().any(|hop| hop.is_none() || !trusted().trusts(*hop));
        let before = if is_ended { format!("{junk}, ") } else { String::new() };
        let elements: Vec<_> = hops.iter().map(|(hop, style)| written(*hop, *style)).collect();
        let words: Vec<_> =
            addresses.iter().map(|hop| hop.map_or_else(|| "unknown".to_owned(), |hop| hop.to_string())).collect();
        for header in [
            ("Forwarded", format!("{before}{}", elements.join(", "))),
            ("X-Forwarded-For", format!("{before}{}", words.join(","))),
        ] {
            let expected = expected.unwrap_or_else(|| PROXY.parse().unwrap());
            match of(&[(header.0, &header.1)], PROXY) {
                Ok(Forwarding::Client { address, .. }) => prop_assert_eq!(address.unwrap().ip(), expected, "{:?}", header),
                other => prop_assert!(false, "{:?} of {:?}", other, header),
            }
        }
    }

    #[test]
    fn anything_is_read_without_a_panic_and_names_somebody(value in "[ -~\t]{0,200}", other in "[ -~]{0,60}") {
        let _ = of(&[("Forwarded", &value), ("X-Forwarded-For", &other), ("X-Forwarded-Proto", &value)], PROXY);
    }
}

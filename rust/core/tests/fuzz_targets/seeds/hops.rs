//! Receives nothing · hands out values of `Forwarded` and `X-Forwarded-For` · owns the ways of writing a hop, good and bad.

pub fn hops() -> Vec<(&'static str, Vec<u8>)> {
    [
        ("good-address", "192.0.2.60"),
        ("good-address-with-port", "192.0.2.60:4711"),
        ("good-list", "192.0.2.60, 10.0.0.1, 10.0.0.1"),
        ("good-ipv6", "2001:db8::1"),
        ("good-ipv6-in-brackets", "[2001:db8::1]:4711"),
        ("good-mapped", "::ffff:192.0.2.60"),
        ("good-pair", "for=192.0.2.60;proto=http;by=203.0.113.43"),
        ("good-quoted", "For=\"[2001:db8:cafe::17]:4711\""),
        ("good-hidden", "for=_gazonk, for=unknown, for=\"_mdn\""),
        ("h21-unclosed-quote", "for=\"192.0.2.60"),
        ("h21-escaped-quote", "for=\"a\\\"b, c\""),
        ("h21-backslashes", "for=\"\\\\\\\\\", \"\\\\\\"),
        ("h21-twice", "for=192.0.2.60;for=192.0.2.61"),
        ("h21-other-form", "a\r\nForwarded: for=192.0.2.60\r\nX: b"),
        ("h21-other-usual-form", "a\r\nX-Forwarded-For: 192.0.2.60\r\nX: b"),
        ("h21-many", ", ,,; =;\"\",for=;proto=\"https"),
        ("h21-port-too-large", "192.0.2.60:65536"),
    ]
    .map(|(name, value)| (name, value.as_bytes().to_vec()))
    .into()
}

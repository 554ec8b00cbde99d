//! Which offers of permessage-deflate are taken, and what is agreed; names cite the sections of RFC 7692 and the rows
//! of the reliability table.

use std::time::{Duration, Instant};

use streamconductor_core::deflate::{Agreement, Encoding, WindowBits, negotiate};

const BARE: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

fn agreed(lines: &[&str]) -> Option<String> {
    negotiate(lines.iter().map(|line| line.as_bytes())).map(|agreement| agreement.to_string())
}

#[track_caller]
fn takes(offer: &str, expected: &str) {
    assert_eq!(agreed(&[offer]).as_deref(), Some(expected), "{offer}");
}

#[track_caller]
fn declines(offer: &str) {
    assert_eq!(agreed(&[offer]), None, "{offer}");
}

#[test]
fn section_7_1_1_no_context_is_taken_over_whoever_asks() {
    for offer in [
        "permessage-deflate",
        "permessage-deflate; server_no_context_takeover",
        "permessage-deflate; client_no_context_takeover",
        "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
        "permessage-deflate;server_no_context_takeover ; client_no_context_takeover\t",
    ] {
        takes(offer, BARE);
    }
    declines("permessage-deflate; server_no_context_takeover=1");
    declines("permessage-deflate; client_no_context_takeover=\"true\"");
}

#[test]
fn section_7_1_2_1_the_server_keeps_to_the_window_that_the_client_has() {
    for bits in 9..=15 {
        let expected = format!("{BARE}; server_max_window_bits={bits}");
        takes(&format!("permessage-deflate; server_max_window_bits={bits}"), &expected);
        takes(&format!("permessage-deflate; server_max_window_bits=\"{bits}\""), &expected);
        let offer = format!("permessage-deflate; server_max_window_bits={bits}");
        let agreement = negotiate([offer.as_bytes()]);
        assert_eq!(
            agreement.map(Agreement::encoding),
            WindowBits::new(bits).map(Encoding::Deflate),
            "what is agreed is what is made"
        );
    }
    let agreement = negotiate([&b"permessage-deflate"[..]]);
    assert_eq!(agreement.map(Agreement::encoding), Some(Encoding::Deflate(WindowBits::MAX)));
    // Valid, but raw deflate cannot be made for it.
    declines("permessage-deflate; server_max_window_bits=8");
    for value in
        ["", "=", "=7", "=16", "=99", "=08", "=010", "=015", "=+9", "=-9", "=1_0", "=0xA", "=10.0", "=1 0"]
    {
        declines(&format!("permessage-deflate; server_max_window_bits{value}"));
    }
}

#[test]
fn section_7_1_2_2_what_the_client_may_have_is_inflated_with_the_largest_window() {
    takes("permessage-deflate; client_max_window_bits", BARE);
    for bits in 8..=15 {
        takes(&format!("permessage-deflate; client_max_window_bits={bits}"), BARE);
        takes(&format!("permessage-deflate; client_max_window_bits=\"{bits}\""), BARE);
    }
    for value in ["=", "=7", "=16", "=99", "=08", "=\"\"", "=\"1\"5"] {
        declines(&format!("permessage-deflate; client_max_window_bits{value}"));
    }
}

#[test]
fn section_7_1_a_parameter_that_is_unknown_or_comes_twice_declines_the_offer() {
    for twice in [
        "server_no_context_takeover",
        "client_no_context_takeover",
        "server_max_window_bits=10",
        "client_max_window_bits",
    ] {
        declines(&format!("permessage-deflate; {twice}; {twice}"));
    }
    declines("permessage-deflate; client_max_window_bits; client_max_window_bits=12");
    declines("permessage-deflate; mem_level=9");
    declines("permessage-deflate; Server_No_Context_Takeover");
    declines("permessage-deflate;");
    declines("permessage-deflate; =10");
    declines("permessage-deflate; ; client_max_window_bits");
}

#[test]
fn section_7_1_3_the_first_acceptable_offer_is_taken() {
    let ten = format!("{BARE}; server_max_window_bits=10");
    // The examples of the RFC.
    takes(
        "permessage-deflate; client_max_window_bits; server_max_window_bits=10, permessage-deflate; client_max_window_bits",
        &ten,
    );
    takes("permessage-deflate; server_max_window_bits=10", &ten);
    takes("permessage-deflate; server_max_window_bits=10, permessage-deflate", &ten);
    takes("permessage-deflate; server_max_window_bits=8, permessage-deflate", BARE);
    takes("permessage-bzip2, x-webkit-deflate-frame, permessage-deflate; server_max_window_bits=10", &ten);
    // Several lines are one list, in their order.
    assert_eq!(
        agreed(&["foo", "permessage-deflate; server_max_window_bits=10, permessage-deflate"]),
        Some(ten)
    );
    assert_eq!(agreed(&[]), None);
    declines("");
    declines("permessage-deflate-frame");
    declines("deflate");
}

#[test]
fn h8_junk_is_passed_over_and_hides_nothing_that_follows_it() {
    for junk in
        ["constructor", "a; b=\"c, permessage-deflate\"", "=", ";", "a;;", "\"\\\\\"", "\u{ff}", "a b", ",,,"]
    {
        declines(junk);
        takes(&format!("{junk}, permessage-deflate"), BARE);
    }
    // A quote that is never closed holds the rest of its line, and no more.
    declines("a; b=\", permessage-deflate");
    assert_eq!(agreed(&["a; b=\"", "permessage-deflate"]).as_deref(), Some(BARE));
    declines("permessage-deflate; server_max_window_bits=\"10");
    declines("permessage-deflate; server_max_window_bits=\"10\\\"");
    takes("permessage-deflate; client_max_window_bits=\"1\\2\"", BARE);
}

#[test]
fn h8_a_thousand_offers_are_looked_at_in_linear_time() {
    let time = |offer: &str, count: usize| {
        let line = vec![offer; count].join(", ");
        (0..5)
            .map(|_| {
                let start = Instant::now();
                assert_eq!(negotiate([line.as_bytes()]), None);
                start.elapsed()
            })
            .min()
            .unwrap_or_default()
    };
    for offer in ["permessage-deflate; client_max_window_bits=99", "e; p=\"\\\"\"", "e; p=\"", ";", "=\"=\""]
    {
        let (few, many) = (time(offer, 1_000), time(offer, 100_000));
        // A hundred times as many: were it quadratic, ten thousand times as long.
        assert!(many < few * 1_000 + Duration::from_millis(100), "{offer}: {few:?}, {many:?}");
    }
}

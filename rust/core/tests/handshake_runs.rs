//! The head reader takes most of a head in runs: that every byte which a run must not pass is judged where it stands,
//! wherever in the run that is.
#![allow(clippy::unwrap_used, clippy::panic)]

mod handshake_support;

use handshake_support::read;

/// Longer than two of the steps in which a run is looked through, and not a multiple of one.
const PLACES: usize = 45;

/// A head that ends within a header line, which has `before` bytes of its value.
fn unfinished(before: usize) -> Vec<u8> {
    [b"GET / HTTP/1.1\r\nHost: example.com\r\nX-Long:", &b"v".repeat(before)[..]].concat()
}

fn refused_with(bytes: &[u8], more: &[u8]) -> Option<u16> {
    assert!(read(bytes).unwrap().is_none(), "what precedes it is in order");
    // Bytes behind it, so that it is not the last of a read that shows.
    let whole = [bytes, more, b"and what follows in the same read"].concat();
    read(&whole).err().map(|refusal| refusal.status)
}

#[test]
fn a_control_character_is_refused_wherever_it_stands_in_a_line() {
    for byte in (0..=0x7F_u8).filter(|byte| byte.is_ascii_control() && !b"\t\r\n".contains(byte)) {
        for place in 0..PLACES {
            assert_eq!(refused_with(&unfinished(place), &[byte]), Some(400), "{byte:#x} at {place}");
        }
    }
}

#[test]
fn a_line_feed_alone_and_a_return_alone_are_refused_wherever_they_stand() {
    for place in 0..PLACES {
        assert_eq!(refused_with(&unfinished(place), b"\n"), Some(400), "at {place}");
        assert_eq!(refused_with(&unfinished(place), b"\r"), Some(400), "at {place}");
    }
}

#[test]
fn tabs_and_bytes_beyond_ascii_are_no_reason_to_refuse() {
    for byte in (0x80..=0xFF).chain([b'\t']) {
        for place in 0..PLACES {
            assert_eq!(refused_with(&unfinished(place), &[byte]), None, "{byte:#x} at {place}");
        }
    }
}

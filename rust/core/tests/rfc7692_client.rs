//! RFC 7692, the codec in the client's role: what it makes of a server's compressed messages, by number.

mod codec_frames;

use codec_frames::{LIMITS, Seen, feed};
use streamconductor_core::codec::{Codec, Kind, Role};
use streamconductor_core::deflate::{Compressor, WindowBits};

#[test]
fn rfc7692_7_2_2_5_the_client_inflates_with_a_window_of_32_kib() {
    // Noise that comes again after almost a whole window.
    let mut state = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(32_768 - 300)
    .collect();
    let payload = noise.repeat(2);
    let mut frame = Vec::new();
    assert!(Compressor::new(WindowBits::MAX).encode_message(&mut frame, Kind::Binary, &payload));
    assert!(frame.len() < 40_000, "the second half is worth a reference");
    let (mut codec, mut seen) = (Codec::new(Role::Client), Vec::new());
    codec.accept_compressed();
    feed(&mut codec, &LIMITS, &frame, &mut seen).unwrap();
    assert_eq!(seen, [Seen::Message(Kind::Binary, payload)]);
}

//! Receives whatever bytes a fuzzer, or a file that one left, holds · fails where a promise is broken · owns the list of
//! fuzz targets. `rust/fuzz` runs each under libFuzzer, and `corpora.rs` runs it over the saved inputs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod codec;
mod forwarded;
mod http_front;
mod inflate;
pub mod seeds;
mod shard;

pub use codec::{codec_client, codec_server};
pub use forwarded::forwarded;
pub use http_front::http_front;
pub use inflate::inflate;
pub use shard::shard;

/// Fails where a promise is broken.
pub type Target = fn(&[u8]);

/// Every target, under the name of its corpus.
pub const TARGETS: [(&str, Target); 6] = [
    ("http_front", http_front),
    ("codec_server", codec_server),
    ("codec_client", codec_client),
    ("forwarded", forwarded),
    ("inflate", inflate),
    ("shard", shard),
];

/// Ways in which a network may cut `input`: whole, byte by byte, into equal pieces, and once, at a place that the input
/// itself chooses, so that the fuzzer can move it.
pub fn splits(input: &[u8]) -> Vec<Vec<&[u8]>> {
    let sum = input.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    let (first, second) = input.split_at(sum % (input.len() + 1));
    vec![vec![input], input.chunks(1).collect(), input.chunks(7).collect(), vec![first, second]]
}

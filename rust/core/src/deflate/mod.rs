//! Receives offers of permessage-deflate (RFC 7692) and payloads · hands out what was agreed, compressed frames and
//! inflated messages · owns the contexts that cost memory.
//!
//! ```text
//! offers   ─▶ negotiate ─▶ Agreement ─▶ the 101, and the connection's Encoding
//! inbound  codec, RSV1 ─▶ Inflater ─▶ payload, bounded while it grows
//! outbound payload ─▶ Compressor ─▶ one frame for all connections of one encoding
//! ```
//!
//! What is agreed always says that neither side carries its window from one message into the next. So a connection
//! has no context of its own: a shard inflates and compresses for all of its connections with the same few, and one
//! compressed frame is valid for every subscriber that takes its window.

mod answer;
mod compress;
mod contexts;
mod encoding;
mod in_use;
mod inflate;
mod negotiation;
mod prepared;

use std::time::Duration;

pub use answer::{AnswerError, OFFER, confirm};
pub use compress::Compressor;
pub use contexts::Contexts;
pub use encoding::{Encoding, Encodings, WindowBits};
pub use in_use::InUse;
pub use inflate::{InflateError, Inflater};
pub use negotiation::{Agreement, negotiate};
pub use prepared::Prepared;

/// The most that a shard compresses of one publication, all windows together: a quarter of a millisecond.
pub const INLINE: usize = 16 * 1024;

/// A shard that has compressed so many bytes in a turn takes further publications in the next.
pub const BYTES_PER_TURN: usize = 16 * 1024;

/// Whether a shard compresses a payload for so many windows. One that it does not is compressed by whoever publishes
/// it, on its own thread; where that did not happen it goes out raw.
pub const fn is_inline(payload: usize, windows: usize) -> bool {
    payload.saturating_mul(windows) <= INLINE
}

/// How long a shard keeps contexts that it does not use.
pub const IDLE: Duration = Duration::from_secs(30);

/// What RFC 7692 §7.2.1 takes off the end of every compressed message, and §7.2.2 puts back: an empty block.
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

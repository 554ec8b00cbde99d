//! Receives bytes of one connection from the shard · hands complete messages and control frames to the
//! lifecycle, and encoded frames to the ring · owns the framing rules of RFC 6455 for both roles.
//!
//! ```text
//! inbound    header ─▶ limits ─▶ mask ─▶ whole frame, or assembly ─▶ inflate ─▶ utf8 ─▶ Item
//! outbound   payload ─▶ encode_header ─▶ bytes, minimal and final; towards a server masked, a fresh key each
//! ```

use std::ops::Deref;

use crate::close::CloseCode;
use crate::config::Limits;

mod decode;
mod encode;
mod header;
mod keys;
mod mask;
mod masking;
mod utf8;
mod violation;

pub use decode::Codec;
pub use encode::{ControlFrame, close_frame, control_frame, encode_frame, encode_message};
pub use header::{Control, MAX_CONTROL, MAX_HEADER, Opcode, encode_header};
pub use keys::MaskingKeys;
pub use masking::{frame_size, masked, message_frame};
pub use violation::Violation;

/// Which side of the connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Receives masked frames and sends unmasked ones.
    Server,
    /// Receives unmasked frames and sends masked ones.
    Client,
}

/// What a message carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Valid UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

/// What one inbound message may cost. All connections of a shard share one copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodecLimits {
    /// Bytes of one message, all its frames together. At the header that would pass it: 1009. A compressed message
    /// obeys it as it comes and, byte by byte while it is inflated, as it is.
    pub max_message_size: usize,
    /// Bytes of one frame. At the header that declares more: 1009.
    pub max_frame_size: usize,
    /// Frames of one message, empty ones included. At the header of one more: 1008.
    pub max_fragments: u32,
}

impl From<&Limits> for CodecLimits {
    fn from(limits: &Limits) -> Self {
        Self {
            max_message_size: limits.max_message_size,
            max_frame_size: limits.max_frame_size,
            max_fragments: limits.max_fragments,
        }
    }
}

/// What the peer said: a message, or one control frame.
#[derive(Debug)]
pub enum Item<'i> {
    /// A complete message.
    Message {
        /// Text or binary.
        kind: Kind,
        /// Its bytes; valid UTF-8 when `kind` is text.
        payload: Payload<'i>,
    },
    /// A ping, to be answered with a pong that carries the same payload, at most [`MAX_CONTROL`] bytes.
    Ping(Payload<'i>),
    /// A pong, at most [`MAX_CONTROL`] bytes.
    Pong(Payload<'i>),
    /// The peer closes. Whatever it sends after this is discarded, not decoded (RFC 6455 §5.5.1).
    Close {
        /// The peer's code, always one that may be sent; `None`: it gave none, which is reported as 1005.
        code: Option<CloseCode>,
        /// The peer's reason, at most 123 bytes; empty when it gave none.
        reason: String,
    },
}

/// The bytes of an [`Item`].
#[derive(Debug)]
pub enum Payload<'i> {
    /// The frame was complete in the input: borrowed from there, nothing copied.
    Whole(&'i [u8]),
    /// It came in several frames or several reads, or compressed.
    Assembled(Vec<u8>),
}

impl Payload<'_> {
    /// The bytes as a vector; copies only what was borrowed.
    pub fn into_vec(self) -> Vec<u8> {
        match self {
            Self::Whole(bytes) => bytes.to_vec(),
            Self::Assembled(bytes) => bytes,
        }
    }
}

impl Deref for Payload<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Whole(bytes) => bytes,
            Self::Assembled(bytes) => bytes,
        }
    }
}

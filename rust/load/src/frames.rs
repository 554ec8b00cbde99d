//! Receives payloads · hands out a client's frames · owns what all connections have in common: the masking key and the
//! bounds of what may come.

use streamconductor_core::codec::{CodecLimits, Kind, Opcode, encode_frame};

use crate::plan_rules::MOST_BYTES;

/// What masks every frame. A test client's key need not be unpredictable (RFC 6455 §10.3 protects proxies), but it is
/// not zero, which some servers need not unmask.
pub(crate) const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// A server that sends more than this in one message is not measured here.
pub(crate) const LIMITS: CodecLimits =
    CodecLimits { max_message_size: MOST_BYTES, max_frame_size: MOST_BYTES, max_fragments: 1024 };

/// Appends one message as a client's frame to `out`.
pub(crate) fn frame(out: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
    encode_frame(out, Opcode::Data(kind), true, payload, Some(KEY));
}
